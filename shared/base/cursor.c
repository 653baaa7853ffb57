/* SPDX-License-Identifier: Apache-2.0 */
#include "cursor.h"

#include "err.h"

struct cursor cursor_read(const void *bytes, size_t len)
{
	/* The reading functions never write through it. */
	return (struct cursor){.p = (uint8_t *)(uintptr_t)bytes, .len = len};
}

struct cursor cursor_write(void *bytes, size_t cap)
{
	return (struct cursor){.p = bytes, .len = cap};
}

void cursor_fail(struct cursor *c, int error)
{
	if (!c->error)
		c->error = error;
}

/* The next n bytes, or NULL with the error set. */
static uint8_t *take(struct cursor *c, size_t n)
{
	if (n > cursor_left(c)) {
		cursor_fail(c, ERR_TRUNCATED);
		return NULL;
	}
	uint8_t *p = c->p + c->pos;
	c->pos += n;
	return p;
}

static uint32_t read_be(struct cursor *c, size_t n)
{
	const uint8_t *p = take(c, n);
	uint32_t v = 0;
	for (size_t i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static void write_be(struct cursor *c, size_t n, uint32_t v)
{
	uint8_t *p = take(c, n);
	for (size_t i = n; p && i > 0; i--, v >>= 8)
		p[i - 1] = (uint8_t)v;
}

uint8_t cursor_u8(struct cursor *c)
{
	return (uint8_t)read_be(c, 1);
}

uint16_t cursor_u16(struct cursor *c)
{
	return (uint16_t)read_be(c, 2);
}

uint32_t cursor_u24(struct cursor *c)
{
	return read_be(c, 3);
}

uint32_t cursor_u32(struct cursor *c)
{
	return read_be(c, 4);
}

struct str cursor_bytes(struct cursor *c, size_t n)
{
	const uint8_t *p = n ? take(c, n) : NULL;
	return p ? (struct str){(const char *)p, n} : (struct str){"", 0};
}

void cursor_skip(struct cursor *c, size_t n)
{
	if (n)
		take(c, n);
}

void cursor_put_u8(struct cursor *c, uint8_t v)
{
	write_be(c, 1, v);
}

void cursor_put_u16(struct cursor *c, uint16_t v)
{
	write_be(c, 2, v);
}

void cursor_put_u24(struct cursor *c, uint32_t v)
{
	write_be(c, 3, v);
}

void cursor_put_u32(struct cursor *c, uint32_t v)
{
	write_be(c, 4, v);
}

void cursor_put(struct cursor *c, const void *bytes, size_t n)
{
	uint8_t *p = n ? take(c, n) : NULL;
	if (p)
		memcpy(p, bytes, n);
}
