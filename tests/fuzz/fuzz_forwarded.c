/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "shared/wire/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str value = {(const char *)data, size};
	struct str host = forwarded_host(value);
	if (host.n == 0)
		return 0;
	CHECK(host.p >= value.p && host.p + host.n <= value.p + value.n);
	CHECK(!memchr(host.p, ';', host.n) && !memchr(host.p, '\n', host.n));
	return 0;
}
