/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads or writes bytes in order; the first error sticks, so a parser reads straight down and asks once at the
 * end (cursor_error). Reads past the end give zeroes and set the error. Integers are big endian (network order).
 */
#ifndef GAUZE_BASE_CURSOR_H
#define GAUZE_BASE_CURSOR_H

#include "base.h"

struct cursor {
	uint8_t *p;
	size_t len, pos;
	int error; /* 0 or the first error: ERR_TRUNCATED, or what cursor_fail said */
};

struct cursor cursor_read(const void *bytes, size_t len);
struct cursor cursor_write(void *bytes, size_t cap);
static inline size_t cursor_left(const struct cursor *c)
{
	return c->error ? 0 : c->len - c->pos;
}
static inline int cursor_error(const struct cursor *c)
{
	return c->error;
}
void cursor_fail(struct cursor *c, int error);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u24(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
/* Borrowed view of the next n bytes; empty on error. */
struct str cursor_bytes(struct cursor *c, size_t n);
void cursor_skip(struct cursor *c, size_t n);
void cursor_put_u8(struct cursor *c, uint8_t v);
void cursor_put_u16(struct cursor *c, uint16_t v);
void cursor_put_u24(struct cursor *c, uint32_t v);
void cursor_put_u32(struct cursor *c, uint32_t v);
void cursor_put(struct cursor *c, const void *bytes, size_t n);

#endif
