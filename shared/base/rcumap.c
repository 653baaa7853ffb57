/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chained buckets. A node has two links: one table uses link 0, the next one link 1, so that a resize builds the
 * new chains while readers still walk the old ones, and moves no node. The old table's links are free for use
 * again when its last reader has left, which is when the epoch frees it; until then no other resize begins.
 *
 * Who may still see a node after rcumap_del(): readers that found it before, and readers of the old table, which
 * was retired earlier than the node and so outlives none of them.
 */
#include "rcumap.h"

#include <stdlib.h>

#include "epoch.h"
#include "err.h"
#include "hash.h"

enum { BUCKETS_MIN = 8 };

struct node {
	struct node *next[2]; /* atomic */
	void *value;	      /* atomic */
	uint64_t hash;
	struct epoch_node retired;
	uint32_t len;
	char key[];
};

struct table {
	struct epoch_node retired;
	struct rcumap
		*map; /* told when this table, retired, is freed; NULL when the map went first */
	size_t mask;
	int link;	       /* which of a node's links the chains use */
	struct node *bucket[]; /* atomic */
};

struct rcumap {
	struct table *table; /* atomic */
	struct table *old;   /* retired and perhaps still read */
	struct epoch *epoch;
	size_t count; /* atomic */
};

static struct table *table_new(size_t buckets, int link)
{
	struct table *t = calloc(1, sizeof(*t) + buckets * sizeof(t->bucket[0]));
	if (t) {
		t->mask = buckets - 1;
		t->link = link;
	}
	return t;
}

struct rcumap *rcumap_new(struct epoch *epoch)
{
	struct rcumap *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->epoch = epoch;
	m->table = table_new(BUCKETS_MIN, 0);
	if (!m->table) {
		free(m);
		return NULL;
	}
	return m;
}

static void free_node(struct epoch_node *retired)
{
	free(container_of(retired, struct node, retired));
}

static void free_table(struct epoch_node *retired)
{
	struct table *t = container_of(retired, struct table, retired);
	if (t->map)
		t->map->old = NULL;
	free(t);
}

void rcumap_free(struct rcumap *m)
{
	if (!m)
		return;
	struct table *t = m->table;
	for (size_t b = 0; b <= t->mask; b++) {
		struct node *next;
		for (struct node *n = t->bucket[b]; n; n = next) {
			next = n->next[t->link];
			free(n);
		}
	}
	if (m->old)
		m->old->map = NULL;
	free(t);
	free(m);
}

static bool node_is(const struct node *n, uint64_t hash, struct str key)
{
	return n->hash == hash && str_eq((struct str){n->key, n->len}, key);
}

void *rcumap_get(const struct rcumap *m, struct str key)
{
	uint64_t hash = hash_str(key);
	/* Acquire, here and along the chain: pairs with the release that published the table, the node, the value. */
	const struct table *t = __atomic_load_n(&m->table, __ATOMIC_ACQUIRE);
	const struct node *n = __atomic_load_n(&t->bucket[hash & t->mask], __ATOMIC_ACQUIRE);
	while (n && !node_is(n, hash, key))
		n = __atomic_load_n(&n->next[t->link], __ATOMIC_ACQUIRE);
	return n ? __atomic_load_n(&n->value, __ATOMIC_ACQUIRE) : NULL;
}

/* Writer: the link that leads to the node with that key, or to the end of its chain. */
static struct node **find_link(struct table *t, uint64_t hash, struct str key)
{
	struct node **link = &t->bucket[hash & t->mask];
	while (*link && !node_is(*link, hash, key))
		link = &(*link)->next[t->link];
	return link;
}

/* A table of another size is a matter of speed: without memory for it the map goes on with what it has. */
static void resize(struct rcumap *m, size_t buckets)
{
	struct table *was = m->table;
	struct table *t = table_new(buckets, !was->link);
	if (!t)
		return;
	for (size_t b = 0; b <= was->mask; b++) {
		for (struct node *n = was->bucket[b]; n; n = n->next[was->link]) {
			struct node **head = &t->bucket[n->hash & t->mask];
			/* Relaxed: nobody follows this link before the table is published. */
			__atomic_store_n(&n->next[t->link], *head, __ATOMIC_RELAXED);
			*head = n;
		}
	}
	/* Release: the chains above come before the table that leads to them. */
	__atomic_store_n(&m->table, t, __ATOMIC_RELEASE);
	was->map = m;
	m->old = was;
	epoch_retire(m->epoch, &was->retired, free_table);
}

static void resize_if_due(struct rcumap *m)
{
	size_t buckets = m->table->mask + 1;
	if (m->old)
		return;
	if (m->count > buckets)
		resize(m, buckets * 2);
	else if (buckets > BUCKETS_MIN && m->count < buckets / 8)
		resize(m, buckets / 4 < BUCKETS_MIN ? BUCKETS_MIN : buckets / 4);
}

static void set_count(struct rcumap *m, size_t count)
{
	/* Relaxed: a figure for others, ordering nothing. */
	__atomic_store_n(&m->count, count, __ATOMIC_RELAXED);
}

int rcumap_put(struct rcumap *m, struct str key, void *value, void **old)
{
	CHECK(value && key.n <= UINT32_MAX);
	uint64_t hash = hash_str(key);
	struct node **link = find_link(m->table, hash, key);
	if (*link) {
		/* Release: what the value points to comes first. */
		*old = __atomic_exchange_n(&(*link)->value, value, __ATOMIC_ACQ_REL);
		return 0;
	}
	struct node *n = malloc(sizeof(*n) + key.n);
	if (!n)
		return ERR_NOMEM;
	*n = (struct node){.value = value, .hash = hash, .len = (uint32_t)key.n};
	if (key.n)
		memcpy(n->key, key.p, key.n);
	/* Release: the whole node comes before the link to it. */
	__atomic_store_n(link, n, __ATOMIC_RELEASE);
	set_count(m, m->count + 1);
	*old = NULL;
	resize_if_due(m);
	return 0;
}

void *rcumap_del(struct rcumap *m, struct str key)
{
	struct table *t = m->table;
	struct node **link = find_link(t, hash_str(key), key);
	struct node *n = *link;
	if (!n)
		return NULL;
	/* Release: the next node, published long ago, is now reached without the acquire on n. */
	__atomic_store_n(link, n->next[t->link], __ATOMIC_RELEASE);
	set_count(m, m->count - 1);
	void *value = n->value;
	epoch_retire(m->epoch, &n->retired, free_node);
	resize_if_due(m);
	return value;
}

size_t rcumap_count(const struct rcumap *m)
{
	return __atomic_load_n(&m->count, __ATOMIC_RELAXED);
}

void rcumap_each(const struct rcumap *m, bool (*fn)(void *arg, struct str key, void *value),
		 void *arg)
{
	const struct table *t = __atomic_load_n(&m->table, __ATOMIC_ACQUIRE);
	for (size_t b = 0; b <= t->mask; b++) {
		const struct node *n = __atomic_load_n(&t->bucket[b], __ATOMIC_ACQUIRE);
		while (n) {
			/* First, since fn may delete this very key. */
			const struct node *next =
				__atomic_load_n(&n->next[t->link], __ATOMIC_ACQUIRE);
			void *value = __atomic_load_n(&n->value, __ATOMIC_ACQUIRE);
			if (!fn(arg, (struct str){n->key, n->len}, value))
				return;
			n = next;
		}
	}
}
