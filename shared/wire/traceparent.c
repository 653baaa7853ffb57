/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/traceparent.h"

#include "shared/base/err.h"
#include "shared/base/rng.h"

/* Where each field's digits begin in the text. */
enum { AT_TRACE_ID = 3, AT_PARENT_ID = 36, AT_FLAGS = 53 };

struct traceparent traceparent_new(struct rng *rng)
{
	struct traceparent t = {0};
	uint64_t words[3] = {rng_next(rng), rng_next(rng), rng_next(rng)};
	memcpy(t.trace_id, words, sizeof(t.trace_id));
	memcpy(t.parent_id, &words[2], sizeof(t.parent_id));
	return t;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool hex_read(const char *p, size_t bytes, uint8_t *out)
{
	for (size_t i = 0; i < bytes; i++) {
		int hi = hex_digit(p[2 * i]), lo = hex_digit(p[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static char *hex_write(char *p, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		*p++ = digits[bytes[i] >> 4];
		*p++ = digits[bytes[i] & 15];
	}
	return p;
}

int traceparent_parse(struct str text, struct traceparent *out)
{
	struct traceparent t;
	if (text.n != TRACEPARENT_TEXT_LEN || text.p[AT_TRACE_ID - 1] != '-' ||
	    text.p[AT_PARENT_ID - 1] != '-' || text.p[AT_FLAGS - 1] != '-')
		return ERR_SYNTAX;
	if (!hex_read(text.p, 1, &t.version) ||
	    !hex_read(text.p + AT_TRACE_ID, sizeof(t.trace_id), t.trace_id) ||
	    !hex_read(text.p + AT_PARENT_ID, sizeof(t.parent_id), t.parent_id) ||
	    !hex_read(text.p + AT_FLAGS, 1, &t.flags))
		return ERR_SYNTAX;
	*out = t;
	return 0;
}

const char *traceparent_text(const struct traceparent *t, char out[TRACEPARENT_TEXT_LEN + 1])
{
	char *p = hex_write(out, &t->version, 1);
	*p++ = '-';
	p = hex_write(p, t->trace_id, sizeof(t->trace_id));
	*p++ = '-';
	p = hex_write(p, t->parent_id, sizeof(t->parent_id));
	*p++ = '-';
	p = hex_write(p, &t->flags, 1);
	*p = '\0';
	return out;
}

const char *traceparent_id(const struct traceparent *t, char out[TRACEPARENT_ID_LEN + 1])
{
	*hex_write(out, t->trace_id, sizeof(t->trace_id)) = '\0';
	return out;
}
