/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/proxy_v2.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"

enum {
	VERSION_2_PROXY = 0x21,
	UNSPEC_STREAM = 0x01,
	INET_STREAM = 0x11,
	INET6_STREAM = 0x21,
	TLV_HEAD_BYTES = 3,
};

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static uint8_t family_of(const struct addr *source, const struct addr *destination)
{
	if (source->ip.len == 0 || source->ip.len != destination->ip.len)
		return UNSPEC_STREAM;
	return source->ip.len == 4 ? INET_STREAM : INET6_STREAM;
}

int proxy_v2_build(const struct addr *source, const struct addr *destination, struct str identity,
		   uint8_t out[PROXY_V2_BYTES_MAX], size_t *len)
{
	if (identity.n > SPIFFE_TEXT_MAX)
		return ERR_TOO_LARGE;
	uint8_t family = family_of(source, destination);
	size_t body = family == UNSPEC_STREAM ? 0 : 2U * source->ip.len + 4;
	if (identity.n > 0)
		body += TLV_HEAD_BYTES + identity.n;

	struct cursor c = cursor_write(out, PROXY_V2_BYTES_MAX);
	cursor_put(&c, signature, sizeof(signature));
	cursor_put_u8(&c, VERSION_2_PROXY);
	cursor_put_u8(&c, family);
	cursor_put_u16(&c, (uint16_t)body);
	if (family != UNSPEC_STREAM) {
		cursor_put(&c, source->ip.b, source->ip.len);
		cursor_put(&c, destination->ip.b, destination->ip.len);
		cursor_put_u16(&c, source->port);
		cursor_put_u16(&c, destination->port);
	}
	if (identity.n > 0) {
		cursor_put_u8(&c, PROXY_V2_TLV_IDENTITY);
		cursor_put_u16(&c, (uint16_t)identity.n);
		cursor_put(&c, identity.p, identity.n);
	}
	CHECK(cursor_error(&c) == 0);
	*len = c.pos;
	return 0;
}
