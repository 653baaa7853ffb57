/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <strings.h>

#include "shared/wire/traceparent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct traceparent t;
	char text[TRACEPARENT_TEXT_LEN + 1];
	if (traceparent_parse((struct str){(const char *)data, size}, &t))
		return 0;
	CHECK(size == TRACEPARENT_TEXT_LEN);
	CHECK(strncasecmp(traceparent_text(&t, text), (const char *)data, size) == 0);
	return 0;
}
