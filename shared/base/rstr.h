/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interned, counted, immutable strings. Equal strings that are alive are the same object, so equality is pointer
 * equality. The table belongs to the control thread (rstr_intern, rstr_sweep); any thread may take and drop
 * references.
 */
#ifndef GAUZE_BASE_RSTR_H
#define GAUZE_BASE_RSTR_H

#include "base.h"

struct rstr {
	uint32_t refs; /* atomic; the table itself holds none */
	uint32_t len;
	uint64_t hash;
	char text[]; /* terminated */
};

/* A reference to the one string with that text; NULL when out of memory. Control thread only. */
struct rstr *rstr_intern(struct str text);
struct rstr *rstr_get(struct rstr *s);
/* NULL is allowed. */
void rstr_put(struct rstr *s);
/* Frees strings that nobody refers to; returns how many. Control thread only. */
size_t rstr_sweep(void);
size_t rstr_count(void);

static inline struct str rstr_str(const struct rstr *s)
{
	return s ? (struct str){s->text, s->len} : (struct str){"", 0};
}

static inline const char *rstr_z(const struct rstr *s)
{
	return s ? s->text : "";
}

#endif
