/* SPDX-License-Identifier: Apache-2.0 */
/* Identities from certificates and files: what parses is written back the same. */
#include <stdint.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/spiffe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str uri = {(const char *)data, size};
	struct spiffe id = {.ns = {NULL, 77}};
	char text[SPIFFE_TEXT_MAX];

	if (spiffe_parse(uri, &id) != 0) {
		CHECK(id.ns.n == 77);
		return 0;
	}
	CHECK(spiffe_format(&id, text) == 0);
	CHECK(str_eq(str_of(text), uri));
	return 0;
}
