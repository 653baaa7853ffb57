/* SPDX-License-Identifier: Apache-2.0 */
/* Any two addresses and any identity: what is written has the length it claims. */
#include <stddef.h>

#include "shared/base/cursor.h"
#include "shared/wire/proxy_v2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct addr take_addr(struct cursor *c)
{
	static const uint8_t lengths[] = {0, 4, 16, 16};
	struct addr a = {0};
	struct str bytes = cursor_bytes(c, lengths[cursor_u8(c) & 3]);
	if (bytes.n > 0)
		CHECK(ip_from_bytes(bytes.p, bytes.n, &a.ip) == 0);
	a.port = cursor_u16(c);
	return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_read(data, size);
	struct addr source = take_addr(&c), destination = take_addr(&c);
	struct str identity = cursor_bytes(&c, cursor_left(&c));
	uint8_t out[PROXY_V2_BYTES_MAX];
	size_t len;
	if (proxy_v2_build(&source, &destination, identity, out, &len)) {
		CHECK(identity.n > SPIFFE_TEXT_MAX);
		return 0;
	}
	struct cursor w = cursor_read(out, len);
	cursor_skip(&w, 12);
	CHECK(cursor_u8(&w) == 0x21);
	uint8_t family = cursor_u8(&w) >> 4;
	CHECK(cursor_u16(&w) == len - 16);
	cursor_skip(&w, family == 1 ? 12 : family == 2 ? 36 : 0);
	if (identity.n > 0) {
		CHECK(cursor_u8(&w) == PROXY_V2_TLV_IDENTITY);
		CHECK(str_eq(cursor_bytes(&w, cursor_u16(&w)), identity));
	}
	CHECK(cursor_error(&w) == 0 && cursor_left(&w) == 0);
	return 0;
}
