/* SPDX-License-Identifier: Apache-2.0 */
#include "rstr.h"

#include <stdlib.h>

#include "hash.h"

enum { BUCKETS_MIN = 64 };

struct entry {
	struct entry *next;
	struct rstr s; /* last: its text follows */
};

/* Of the control thread. */
static struct {
	struct entry **bucket;
	size_t buckets, count;
} table;

static size_t index_of(uint64_t hash)
{
	return hash & (table.buckets - 1);
}

static bool grow(void)
{
	size_t buckets = table.buckets ? table.buckets * 2 : BUCKETS_MIN;
	struct entry **bucket = calloc(buckets, sizeof(*bucket));
	if (!bucket)
		return table.buckets > 0; /* longer chains will do */
	for (size_t b = 0; b < table.buckets; b++) {
		struct entry *next;
		for (struct entry *e = table.bucket[b]; e; e = next) {
			next = e->next;
			e->next = bucket[e->s.hash & (buckets - 1)];
			bucket[e->s.hash & (buckets - 1)] = e;
		}
	}
	free(table.bucket);
	table.bucket = bucket;
	table.buckets = buckets;
	return true;
}

struct rstr *rstr_intern(struct str text)
{
	if (text.n > UINT32_MAX - 1 || (table.count >= table.buckets && !grow()))
		return NULL;
	uint64_t hash = hash_str(text);
	for (struct entry *e = table.bucket[index_of(hash)]; e; e = e->next)
		if (e->s.hash == hash && str_eq(rstr_str(&e->s), text))
			return rstr_get(&e->s);

	struct entry *e = malloc(sizeof(*e) + text.n + 1);
	if (!e)
		return NULL;
	e->s.refs = 1;
	e->s.len = (uint32_t)text.n;
	e->s.hash = hash;
	if (text.n)
		memcpy(e->s.text, text.p, text.n);
	e->s.text[text.n] = '\0';
	e->next = table.bucket[index_of(hash)];
	table.bucket[index_of(hash)] = e;
	table.count++;
	return &e->s;
}

struct rstr *rstr_get(struct rstr *s)
{
	/* Relaxed: whoever takes a reference got the string through one, or is the control thread. */
	__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void rstr_put(struct rstr *s)
{
	if (!s)
		return;
	/* Release: our reads of the text come before the sweep that sees the count. */
	uint32_t was = __atomic_fetch_sub(&s->refs, 1, __ATOMIC_RELEASE);
	CHECK(was > 0);
}

size_t rstr_sweep(void)
{
	size_t freed = 0;
	for (size_t b = 0; b < table.buckets; b++) {
		struct entry **link = &table.bucket[b];
		while (*link) {
			struct entry *e = *link;
			/*
			 * Acquire: pairs with rstr_put(). Nothing brings a count back from zero but
			 * rstr_intern(), which runs on this thread.
			 */
			if (__atomic_load_n(&e->s.refs, __ATOMIC_ACQUIRE) > 0) {
				link = &e->next;
				continue;
			}
			*link = e->next;
			free(e);
			freed++;
		}
	}
	table.count -= freed;
	if (table.count == 0) {
		free(table.bucket);
		table.bucket = NULL;
		table.buckets = 0;
	}
	return freed;
}

size_t rstr_count(void)
{
	return table.count;
}
