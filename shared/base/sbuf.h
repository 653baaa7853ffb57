/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that grows: metrics, JSON, log lines. The first error sticks and later puts do nothing, so that a writer
 * writes straight down and asks once at the end.
 */
#ifndef GAUZE_BASE_SBUF_H
#define GAUZE_BASE_SBUF_H

#include <stdarg.h>

#include "base.h"

struct sbuf {
	char *p; /* terminated when n > 0 */
	size_t n, cap, max;
	int error; /* 0, ERR_NOMEM, or ERR_TOO_LARGE beyond max */
	bool fixed;
};

/* max counts text without the terminator. */
void sbuf_init(struct sbuf *sb, size_t max);
/* Writes into the caller's memory and never allocates: beyond cap - 1 bytes the error is ERR_TOO_LARGE. */
void sbuf_init_fixed(struct sbuf *sb, char *mem, size_t cap);
void sbuf_fini(struct sbuf *sb);
/* Forgets text and error, keeps the memory. */
void sbuf_reset(struct sbuf *sb);
void sbuf_put(struct sbuf *sb, struct str s);
void sbuf_putz(struct sbuf *sb, const char *z);
void sbuf_putc(struct sbuf *sb, char c);
void sbuf_u64(struct sbuf *sb, uint64_t v);
void sbuf_printf(struct sbuf *sb, const char *fmt, ...) printf_like(2, 3);
void sbuf_vprintf(struct sbuf *sb, const char *fmt, va_list args) printf_like(2, 0);
/* A JSON string with its quotes (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD. */
void sbuf_json(struct sbuf *sb, struct str s);
/* A quoted string as in logs: quote, backslash and control characters escaped (\n, \u{7f}). */
void sbuf_quoted(struct sbuf *sb, struct str s);
/* The same without quotes around it and with quotes in it as they are: nothing in it can end the line. */
void sbuf_bare(struct sbuf *sb, struct str s);
static inline int sbuf_error(const struct sbuf *sb)
{
	return sb->error;
}
static inline struct str sbuf_str(const struct sbuf *sb)
{
	return (struct str){sb->n ? sb->p : "", sb->n};
}
/* Gives the memory to the caller (free()); NULL after an error or when fixed. *n is the length. */
char *sbuf_take(struct sbuf *sb, size_t *n);

#endif
