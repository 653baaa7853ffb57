/* SPDX-License-Identifier: Apache-2.0 */
/* What metrics.c, series.c and metrics_render.c share. */
#ifndef GAUZE_OBS_METRICS_PRIVATE_H
#define GAUZE_OBS_METRICS_PRIVATE_H

#include "shared/base/limits.h"
#include "shared/base/list.h"
#include "shared/obs/metrics.h"

enum metric_kind { METRIC_COUNTER, METRIC_COUNTER_NS, METRIC_GAUGE, METRIC_HISTOGRAM };

/* Cells of a histogram: one per bucket, one beyond the last bound, the sum in ns. */
enum { METRIC_BUCKETS_MAX = 16, METRIC_CELLS_MAX = METRIC_BUCKETS_MAX + 2 };

struct family {
	const char *name, *unit, *help;
	const char *const *labels;
	const uint64_t *bounds_ns;
	enum metric_kind kind;
	uint8_t labels_count, bounds_count;
};

extern const struct family metric_families[METRIC_COUNT];

static inline uint32_t family_cells(const struct family *f)
{
	return f->kind == METRIC_HISTOGRAM ? f->bounds_count + 2U : 1;
}

/* Values of labels, shared by the series of all families that have the same. Immutable but for refs. */
struct label_values {
	struct label_values *next; /* in the shard's hash table; the owner's */
	struct series *first;	   /* the owner's */
	uint64_t hash;
	uint32_t len;
	uint16_t count;
	char packed[]; /* each: length in two bytes, text */
};

struct series {
	struct series *next;  /* atomic; of the family in this shard: the scrape walks it */
	struct series **link; /* what points to us; the owner's */
	struct series *next_of_values; /* the owner's */
	struct label_values *values;
	struct metrics_shard *shard;
	struct list idle; /* on the family's idle list while refs is 0 */
	uint32_t refs;
	uint16_t family;
	bool overflow;
	uint64_t cell[]; /* atomic, relaxed: written by the owner, read by the scrape */
};

/* A series that the scrape may be looking at, to be freed when it is not. */
struct series_garbage {
	struct series_garbage *next;
	struct series *series;
	struct label_values *values; /* NULL when others use them */
	uint64_t scrape;
};

struct metrics_shard {
	uint64_t plain[METRIC_COUNT]
		      [METRIC_CELLS_MAX];    /* atomic, as cell; of families without labels */
	struct series *series[METRIC_COUNT]; /* atomic heads */
	uint32_t series_count[METRIC_COUNT];
	struct list idle[METRIC_COUNT]; /* longest idle first */
	struct series *overflow[METRIC_COUNT];
	struct label_values *overflow_values;
	struct label_values **table; /* hash table of label values */
	uint32_t table_size, values_count;
	struct series_garbage *garbage;
};

/* Adds to a cell that only the caller writes: no locked instruction is needed. */
static inline void cell_add(uint64_t *cell, uint64_t n)
{
	/* Relaxed: figures order nothing. */
	__atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void cells_observe(const struct family *f, uint64_t *cells, uint64_t ns);

/* 0, or ERR_NOMEM. */
int must_check series_init(struct metrics_shard *m);
void series_fini(struct metrics_shard *m);
/* Around each scrape: what is unlinked after the begin is not freed before the end. One scrape at a time. */
void series_scrape_begin(void);
void series_scrape_end(void);

/* Shards in use, for the scrape; the caller holds metrics_lock(). */
struct metrics_shard *metrics_shard_at(size_t i);
void metrics_lock(void);
void metrics_unlock(void);

#endif
