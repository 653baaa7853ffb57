/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/socks5.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "shared/wire/text.h"

enum {
	VERSION = 5,
	METHOD_NONE = 0,
	COMMAND_CONNECT = 1,
	TYPE_IPV4 = 1,
	TYPE_NAME = 3,
	TYPE_IPV6 = 4
};

void socks5_init(struct socks5 *s)
{
	*s = (struct socks5){.state = SOCKS5_GREETING};
}

static void put_reply(struct socks5 *s, enum socks5_code code)
{
	const uint8_t reply[10] = {VERSION, (uint8_t)code, 0, TYPE_IPV4};
	CHECK(s->out_len + sizeof(reply) <= sizeof(s->out));
	memcpy(s->out + s->out_len, reply, sizeof(reply));
	s->out_len += sizeof(reply);
}

/*
 * The two readers below look at what has come so far: ERR_TRUNCATED asks for more, 0 means the message is whole
 * and nothing was read beyond it, anything else is the peer's fault. What is wrong is said as soon as it shows.
 */
static int read_greeting(struct cursor *c)
{
	if (cursor_u8(c) != VERSION && !cursor_error(c))
		return ERR_UNSUPPORTED;
	uint8_t count = cursor_u8(c);
	if (!cursor_error(c) && count == 0)
		return ERR_SYNTAX;
	struct str methods = cursor_bytes(c, count);
	if (cursor_error(c))
		return cursor_error(c);
	return memchr(methods.p, METHOD_NONE, methods.n) ? 0 : ERR_UNSUPPORTED;
}

static int read_request(struct cursor *c, struct addr *target, struct str *host)
{
	if (cursor_u8(c) != VERSION && !cursor_error(c))
		return ERR_UNSUPPORTED;
	if (cursor_u8(c) != COMMAND_CONNECT && !cursor_error(c))
		return ERR_UNSUPPORTED;
	cursor_skip(c, 1);
	uint8_t type = cursor_u8(c);
	if (cursor_error(c))
		return cursor_error(c);
	if (type != TYPE_IPV4 && type != TYPE_IPV6 && type != TYPE_NAME)
		return ERR_UNSUPPORTED;

	bool named = type == TYPE_NAME;
	size_t len = named ? cursor_u8(c) : type == TYPE_IPV4 ? 4 : 16;
	if (!cursor_error(c) && len == 0)
		return ERR_SYNTAX;
	struct str bytes = cursor_bytes(c, len);
	target->port = cursor_u16(c);
	if (cursor_error(c))
		return cursor_error(c);
	if (!named)
		return ip_from_bytes(bytes.p, bytes.n, &target->ip);
	if (!text_is_visible(bytes))
		return ERR_SYNTAX;
	*host = bytes;
	return 0;
}

static int fail(struct socks5 *s, int rc)
{
	s->state = SOCKS5_FAILED;
	put_reply(s, SOCKS5_NOT_SUPPORTED);
	return rc;
}

/* Looks at the message again with each byte: it is short, and so nothing has to be remembered. */
static int step(struct socks5 *s)
{
	struct cursor c = cursor_read(s->in, s->in_len);
	if (s->state == SOCKS5_GREETING) {
		int rc = read_greeting(&c);
		if (rc)
			return rc == ERR_TRUNCATED ? 0 : fail(s, rc);
		s->out[s->out_len++] = VERSION;
		s->out[s->out_len++] = METHOD_NONE;
		s->in_len = 0;
		s->state = SOCKS5_REQUEST;
		return 0;
	}
	struct addr target = {0};
	struct str host = {0};
	int rc = read_request(&c, &target, &host);
	if (rc)
		return rc == ERR_TRUNCATED ? 0 : fail(s, rc);
	s->target = target;
	s->host = host;
	s->state = SOCKS5_READY;
	return 0;
}

int socks5_feed(struct socks5 *s, const void *bytes, size_t n, size_t *used)
{
	const uint8_t *p = bytes;
	size_t i = 0;
	int rc = 0;
	while (i < n && rc == 0 && (s->state == SOCKS5_GREETING || s->state == SOCKS5_REQUEST)) {
		/* Longer than any message: the readers above were done before. */
		CHECK(s->in_len < sizeof(s->in));
		s->in[s->in_len++] = p[i++];
		rc = step(s);
	}
	*used = i;
	return rc;
}

void socks5_reply(struct socks5 *s, enum socks5_code code)
{
	CHECK(s->state == SOCKS5_READY);
	put_reply(s, code);
	s->state = code == SOCKS5_OK ? SOCKS5_DONE : SOCKS5_FAILED;
}
