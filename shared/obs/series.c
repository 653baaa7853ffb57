/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labelled series of a shard. All structure is the owner's; a scrape only follows the list of a family's series
 * and reads what is immutable or atomic. Who may still see a series that was unlinked: a scrape that was running
 * at that moment, and nobody when none was. So an unlinked series is freed at once when no scrape runs, and else
 * by a later change of the shard, when that scrape is over.
 */
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/obs/metrics_private.h"

enum { TABLE_MIN = 64, VALUE_BYTES_MAX = 512, PACKED_BYTES_MAX = 8192 };

/* Odd while a scrape runs; atomic. */
static uint64_t scrape_clock;

void series_scrape_begin(void)
{
	__atomic_store_n(&scrape_clock, scrape_clock + 1, __ATOMIC_RELAXED);
	/* Pairs with the barrier in discard(): it sees us scraping, or we do not see what it unlinked. */
	__sync_synchronize();
}

void series_scrape_end(void)
{
	/* Release: our reads come before what the owner frees. */
	__atomic_store_n(&scrape_clock, scrape_clock + 1, __ATOMIC_RELEASE);
}

/* ---- label values ---- */

static uint32_t pack(const struct str *labels, size_t n, char out[PACKED_BYTES_MAX])
{
	uint32_t len = 0;
	for (size_t i = 0; i < n; i++) {
		struct str v = labels[i].n ? labels[i] : STR("unknown");
		uint16_t k = (uint16_t)MIN(v.n, (size_t)VALUE_BYTES_MAX);
		/* Whole sets have at most 27 values, so only absurd ones are cut further. */
		k = (uint16_t)MIN((size_t)k, PACKED_BYTES_MAX / (n + 1) - sizeof(k));
		memcpy(out + len, &k, sizeof(k));
		memcpy(out + len + sizeof(k), v.p, k);
		len += sizeof(k) + k;
	}
	return len;
}

static bool values_are(const struct label_values *v, uint64_t hash, const char *packed,
		       uint32_t len, size_t n)
{
	return v->hash == hash && v->len == len && v->count == n &&
	       memcmp(v->packed, packed, len) == 0;
}

static void table_grow(struct metrics_shard *m)
{
	uint32_t size = m->table_size ? m->table_size * 2 : TABLE_MIN;
	struct label_values **table = calloc(size, sizeof(*table));
	if (!table)
		return; /* longer chains will do */
	for (uint32_t b = 0; b < m->table_size; b++) {
		struct label_values *next;
		for (struct label_values *v = m->table[b]; v; v = next) {
			next = v->next;
			v->next = table[v->hash & (size - 1)];
			table[v->hash & (size - 1)] = v;
		}
	}
	free(m->table);
	m->table = table;
	m->table_size = size;
}

static struct label_values *values_make(const char *packed, uint32_t len, size_t n)
{
	struct label_values *v = malloc(sizeof(*v) + len);
	if (!v)
		return NULL;
	*v = (struct label_values){
		.hash = hash_bytes(packed, len), .len = len, .count = (uint16_t)n};
	memcpy(v->packed, packed, len);
	return v;
}

static struct label_values *values_get(struct metrics_shard *m, const struct str *labels, size_t n)
{
	char packed[PACKED_BYTES_MAX];
	uint32_t len = pack(labels, n, packed);
	uint64_t hash = hash_bytes(packed, len);
	struct label_values *v = m->table[hash & (m->table_size - 1)];
	while (v && !values_are(v, hash, packed, len, n))
		v = v->next;
	if (v)
		return v;
	if (m->values_count >= m->table_size)
		table_grow(m);
	v = values_make(packed, len, n);
	if (!v)
		return NULL;
	v->next = m->table[hash & (m->table_size - 1)];
	m->table[hash & (m->table_size - 1)] = v;
	m->values_count++;
	return v;
}

static void values_unlink(struct metrics_shard *m, struct label_values *v)
{
	struct label_values **link = &m->table[v->hash & (m->table_size - 1)];
	while (*link != v)
		link = &(*link)->next;
	*link = v->next;
	m->values_count--;
}

/* ---- birth and death ---- */

static struct series *series_make(struct metrics_shard *m, enum metric id,
				  struct label_values *values)
{
	uint32_t cells = family_cells(&metric_families[id]);
	struct series *s = calloc(1, sizeof(*s) + cells * sizeof(s->cell[0]));
	if (!s)
		return NULL;
	s->values = values;
	s->shard = m;
	s->family = (uint16_t)id;
	list_init(&s->idle);
	s->next = m->series[id];
	s->link = &m->series[id];
	if (s->next)
		s->next->link = &s->next;
	/* Release: the series is whole before a scrape finds it. */
	__atomic_store_n(&m->series[id], s, __ATOMIC_RELEASE);
	m->series_count[id]++;
	return s;
}

static void sweep(struct metrics_shard *m)
{
	/* Acquire: pairs with series_scrape_end(). */
	uint64_t now = __atomic_load_n(&scrape_clock, __ATOMIC_ACQUIRE);
	struct series_garbage **link = &m->garbage;
	while (*link) {
		struct series_garbage *g = *link;
		if (g->scrape == now) {
			link = &g->next;
			continue;
		}
		*link = g->next;
		free(g->series);
		free(g->values);
		free(g);
	}
}

/* Takes an idle series away. False when there is no memory to remember it by; nothing has happened then. */
static bool discard(struct metrics_shard *m, struct series *s)
{
	struct series_garbage *g = malloc(sizeof(*g));
	if (!g)
		return false;
	CHECK(s->refs == 0 && !s->overflow);
	list_del(&s->idle);
	if (s->next)
		s->next->link = s->link;
	/* Release: what follows, published long ago, is now reached without the acquire on s. */
	__atomic_store_n(s->link, s->next, __ATOMIC_RELEASE);
	m->series_count[s->family]--;

	struct series **of = &s->values->first;
	while (*of != s)
		of = &(*of)->next_of_values;
	*of = s->next_of_values;
	bool last = s->values->first == NULL;
	if (last)
		values_unlink(m, s->values);

	__sync_synchronize(); /* see series_scrape_begin() */
	*g = (struct series_garbage){
		.next = m->garbage,
		.series = s,
		.values = last ? s->values : NULL,
		.scrape = __atomic_load_n(&scrape_clock, __ATOMIC_ACQUIRE),
	};
	/* None runs: any number that the clock never shows will do. */
	if (g->scrape % 2 == 0)
		g->scrape = UINT64_MAX;
	m->garbage = g;
	sweep(m);
	return true;
}

int series_init(struct metrics_shard *m)
{
	char packed[PACKED_BYTES_MAX];
	struct str labels[TRAFFIC_LABELS];
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
		labels[i] = STR("overflow");
	uint32_t len = pack(labels, ARRAY_SIZE(labels), packed);
	m->overflow_values = values_make(packed, len, ARRAY_SIZE(labels));
	table_grow(m);
	bool ok = m->overflow_values && m->table;
	for (int id = 0; id < METRIC_COUNT; id++) {
		list_init(&m->idle[id]);
		CHECK(metric_families[id].labels_count <= ARRAY_SIZE(labels));
		if (!ok || metric_families[id].labels_count == 0)
			continue;
		m->overflow[id] = series_make(m, (enum metric)id, m->overflow_values);
		if (m->overflow[id])
			m->overflow[id]->overflow = true;
		ok = m->overflow[id] != NULL;
	}
	if (ok)
		return 0;
	series_fini(m);
	return ERR_NOMEM;
}

void series_fini(struct metrics_shard *m)
{
	for (int id = 0; id < METRIC_COUNT; id++) {
		struct series *next;
		for (struct series *s = m->series[id]; s; s = next) {
			next = s->next;
			free(s);
		}
	}
	for (uint32_t b = 0; b < m->table_size; b++) {
		struct label_values *next;
		for (struct label_values *v = m->table[b]; v; v = next) {
			next = v->next;
			free(v);
		}
	}
	/* A scrape that still needed these would have held the registry. */
	for (struct series_garbage *g = m->garbage; g; g = m->garbage) {
		m->garbage = g->next;
		free(g->series);
		free(g->values);
		free(g);
	}
	free(m->table);
	free(m->overflow_values);
}

/* ---- use ---- */

static struct series *find(const struct label_values *v, enum metric id)
{
	struct series *s = v->first;
	while (s && s->family != id)
		s = s->next_of_values;
	return s;
}

/* Room for one more series of the family, if need be at the price of the one that is idle longest. */
static bool make_room(struct metrics_shard *m, enum metric id)
{
	/* One of them is the overflow. */
	if (m->series_count[id] <= LIMIT_SERIES)
		return true;
	if (list_empty(&m->idle[id]))
		return false;
	return discard(m, list_first(&m->idle[id], struct series, idle));
}

static struct series *overflow(struct metrics_shard *m, enum metric id)
{
	metric_add(m, METRIC_SERIES_OVERFLOW, 1);
	m->overflow[id]->refs++;
	return m->overflow[id];
}

struct series *series_get(struct metrics_shard *m, enum metric id, const struct str *labels,
			  size_t n)
{
	CHECK(n > 0 && n == metric_families[id].labels_count);
	if (!m)
		return NULL;
	struct label_values *v = values_get(m, labels, n);
	if (!v)
		return overflow(m, id);
	struct series *s = find(v, id);
	if (!s) {
		/* Before the new one is made, and never taking the last series of these very values. */
		bool room = make_room(m, id);
		s = room ? series_make(m, id, v) : NULL;
		if (!s) {
			if (!v->first) {
				values_unlink(m, v);
				free(v); /* no series shows it, so no scrape does */
			}
			return overflow(m, id);
		}
		s->next_of_values = v->first;
		v->first = s;
	}
	list_del(&s->idle);
	s->refs++;
	return s;
}

void series_put(struct series *s)
{
	if (!s)
		return;
	CHECK(s->refs > 0);
	if (--s->refs > 0 || s->overflow)
		return;
	struct metrics_shard *m = s->shard;
	list_add_tail(&m->idle[s->family], &s->idle);
	/* A gauge that nobody holds and that shows nothing is no news. */
	if (metric_families[s->family].kind == METRIC_GAUGE && s->cell[0] == 0)
		(void)discard(m, s);
}

void series_add(struct series *s, int64_t n)
{
	if (s)
		cell_add(&s->cell[0], (uint64_t)n);
}

void series_set(struct series *s, int64_t value)
{
	if (s)
		__atomic_store_n(&s->cell[0], (uint64_t)value, __ATOMIC_RELAXED);
}

void series_observe_ns(struct series *s, uint64_t ns)
{
	if (s)
		cells_observe(&metric_families[s->family], s->cell, ns);
}

void metric_add_labels(struct metrics_shard *m, enum metric id, const struct str *labels, size_t n,
		       int64_t more)
{
	struct series *s = series_get(m, id, labels, n);
	series_add(s, more);
	series_put(s);
}
