/* SPDX-License-Identifier: Apache-2.0 */
#include "sbuf.h"

#include <stdio.h>
#include <stdlib.h>

#include "err.h"

enum { CAP_MIN = 128 };

void sbuf_init(struct sbuf *sb, size_t max)
{
	*sb = (struct sbuf){.max = max};
}

void sbuf_init_fixed(struct sbuf *sb, char *mem, size_t cap)
{
	CHECK(cap > 0);
	*sb = (struct sbuf){.p = mem, .cap = cap, .max = cap - 1, .fixed = true};
}

void sbuf_fini(struct sbuf *sb)
{
	if (!sb->fixed)
		free(sb->p);
	*sb = (struct sbuf){0};
}

void sbuf_reset(struct sbuf *sb)
{
	sb->n = 0;
	sb->error = 0;
}

/* Room for n more bytes and the terminator. */
static bool room(struct sbuf *sb, size_t n)
{
	if (sb->error)
		return false;
	if (n > sb->max - sb->n) {
		sb->error = ERR_TOO_LARGE;
		return false;
	}
	size_t need = sb->n + n + 1;
	if (need <= sb->cap)
		return true;
	size_t cap = MAX(MAX(need, sb->cap * 2), (size_t)CAP_MIN);
	char *p = realloc(sb->p, cap);
	if (!p) {
		sb->error = ERR_NOMEM;
		return false;
	}
	sb->p = p;
	sb->cap = cap;
	return true;
}

void sbuf_put(struct sbuf *sb, struct str s)
{
	if (s.n == 0 || !room(sb, s.n))
		return;
	memcpy(sb->p + sb->n, s.p, s.n);
	sb->n += s.n;
	sb->p[sb->n] = '\0';
}

void sbuf_putz(struct sbuf *sb, const char *z)
{
	sbuf_put(sb, str_of(z));
}

void sbuf_putc(struct sbuf *sb, char c)
{
	sbuf_put(sb, (struct str){&c, 1});
}

void sbuf_u64(struct sbuf *sb, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);
	do
		digits[--n] = (char)('0' + v % 10);
	while (v /= 10);
	sbuf_put(sb, (struct str){digits + n, sizeof(digits) - n});
}

void sbuf_vprintf(struct sbuf *sb, const char *fmt, va_list args)
{
	char small[256];
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(small, sizeof(small), fmt, args);
	CHECK(n >= 0);
	if ((size_t)n < sizeof(small)) {
		sbuf_put(sb, (struct str){small, (size_t)n});
	} else if (room(sb, (size_t)n)) {
		vsnprintf(sb->p + sb->n, (size_t)n + 1, fmt, again);
		sb->n += (size_t)n;
	}
	va_end(again);
}

void sbuf_printf(struct sbuf *sb, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	sbuf_vprintf(sb, fmt, args);
	va_end(args);
}

/* Length of the valid UTF-8 sequence at p (RFC 3629 section 4), or 0. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
	uint8_t lo = 0x80, hi = 0xbf;
	size_t len = p[0] < 0x80   ? 1
		     : p[0] < 0xc2 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4
				   : 0;
	if (len == 0 || len > n)
		return 0;
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	for (size_t i = 1; i < len; i++, lo = 0x80, hi = 0xbf)
		if (p[i] < lo || p[i] > hi)
			return 0;
	return len;
}

enum style { JSON, QUOTED, BARE };

static char short_escape(uint8_t c, enum style style)
{
	switch (c) {
	case '\n': return 'n';
	case '\r': return 'r';
	case '\t': return 't';
	case '"':
	case '\\': return style == BARE ? '\0' : (char)c;
	default: return '\0';
	}
}

static void put_control(struct sbuf *sb, uint8_t c, enum style style)
{
	static const char hex[] = "0123456789abcdef";
	const char json[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
	if (style == JSON)
		sbuf_put(sb, (struct str){json, sizeof(json)});
	else
		sbuf_printf(sb, "\\u{%x}", c);
}

static void put_escaped(struct sbuf *sb, struct str s, enum style style)
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t start = 0; /* of what goes out as it is */
	for (size_t i = 0; i < s.n;) {
		size_t len = utf8_len(p + i, s.n - i);
		bool control = p[i] < 0x20 || p[i] == 0x7f;
		char esc = short_escape(p[i], style);
		if (len > 0 && !control && !esc) {
			i += len;
			continue;
		}
		sbuf_put(sb, (struct str){s.p + start, i - start});
		if (len == 0)
			sbuf_putz(sb, "\xef\xbf\xbd");
		else if (esc)
			sbuf_put(sb, (struct str){(const char[]){'\\', esc}, 2});
		else
			put_control(sb, p[i], style);
		start = ++i;
	}
	sbuf_put(sb, (struct str){s.p + start, s.n - start});
}

void sbuf_json(struct sbuf *sb, struct str s)
{
	sbuf_putc(sb, '"');
	put_escaped(sb, s, JSON);
	sbuf_putc(sb, '"');
}

void sbuf_quoted(struct sbuf *sb, struct str s)
{
	sbuf_putc(sb, '"');
	put_escaped(sb, s, QUOTED);
	sbuf_putc(sb, '"');
}

void sbuf_bare(struct sbuf *sb, struct str s)
{
	put_escaped(sb, s, BARE);
}

char *sbuf_take(struct sbuf *sb, size_t *n)
{
	if (sb->error || sb->fixed || !room(sb, 0)) {
		sbuf_fini(sb);
		return NULL;
	}
	char *p = sb->p;
	p[sb->n] = '\0';
	*n = sb->n;
	*sb = (struct sbuf){.max = sb->max};
	return p;
}
