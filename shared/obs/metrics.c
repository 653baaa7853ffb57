/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "shared/obs/metrics_private.h"

/* The first element is there because an array must not be empty. */
#define LABELS(set, ...) static const char *const labels_##set[] = {NULL, ##__VA_ARGS__};
#define BUCKETS(set, ...)                                      \
	static const uint64_t buckets_##set[] = {__VA_ARGS__}; \
	_Static_assert(ARRAY_SIZE(buckets_##set) <= METRIC_BUCKETS_MAX, "too many buckets");
#define FAMILY(...)
#define HISTOGRAM(...)
#include "shared/obs/metrics.def"
#undef LABELS
#undef BUCKETS
#undef FAMILY
#undef HISTOGRAM

_Static_assert(ARRAY_SIZE(labels_TRAFFIC) == TRAFFIC_LABELS + 1,
	       "the enum names each label of the set");

#define LABELS(...)
#define BUCKETS(...)
#define FAMILY(id, kind_, name_, unit_, help_, set)           \
	[METRIC_##id] = {                                     \
		.name = name_,                                \
		.unit = unit_,                                \
		.help = help_,                                \
		.kind = METRIC_##kind_,                       \
		.labels = labels_##set + 1,                   \
		.labels_count = ARRAY_SIZE(labels_##set) - 1, \
	},
#define HISTOGRAM(id, name_, unit_, help_, set, buckets)       \
	[METRIC_##id] = {                                      \
		.name = name_,                                 \
		.unit = unit_,                                 \
		.help = help_,                                 \
		.kind = METRIC_HISTOGRAM,                      \
		.labels = labels_##set + 1,                    \
		.labels_count = ARRAY_SIZE(labels_##set) - 1,  \
		.bounds_ns = buckets_##buckets,                \
		.bounds_count = ARRAY_SIZE(buckets_##buckets), \
	},
const struct family metric_families[METRIC_COUNT] = {
#include "shared/obs/metrics.def"
};
#undef LABELS
#undef BUCKETS
#undef FAMILY
#undef HISTOGRAM

static struct {
	pthread_mutex_t lock; /* held through a scrape */
	struct metrics_shard *shard[LIMIT_THREADS];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

void metrics_lock(void)
{
	pthread_mutex_lock(&registry.lock);
}

void metrics_unlock(void)
{
	pthread_mutex_unlock(&registry.lock);
}

struct metrics_shard *metrics_shard_at(size_t i)
{
	return i < LIMIT_THREADS ? registry.shard[i] : NULL;
}

struct metrics_shard *metrics_shard_new(void)
{
	struct metrics_shard *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	if (series_init(m)) {
		free(m);
		return NULL;
	}
	bool placed = false;
	metrics_lock();
	for (size_t i = 0; i < LIMIT_THREADS && !placed; i++) {
		placed = registry.shard[i] == NULL;
		if (placed)
			registry.shard[i] = m;
	}
	metrics_unlock();
	if (!placed) {
		series_fini(m);
		free(m);
		return NULL;
	}
	return m;
}

void metrics_shard_free(struct metrics_shard *m)
{
	if (!m)
		return;
	metrics_lock();
	for (size_t i = 0; i < LIMIT_THREADS; i++)
		if (registry.shard[i] == m)
			registry.shard[i] = NULL;
	metrics_unlock();
	series_fini(m);
	free(m);
}

static uint64_t *plain_cells(struct metrics_shard *m, enum metric id)
{
	CHECK(metric_families[id].labels_count == 0);
	return m->plain[id];
}

void metric_add(struct metrics_shard *m, enum metric id, uint64_t n)
{
	if (m)
		cell_add(plain_cells(m, id), n);
}

void metric_gauge_add(struct metrics_shard *m, enum metric id, int64_t n)
{
	if (m)
		cell_add(plain_cells(m, id), (uint64_t)n);
}

void cells_observe(const struct family *f, uint64_t *cells, uint64_t ns)
{
	CHECK(f->kind == METRIC_HISTOGRAM);
	uint8_t i = 0;
	while (i < f->bounds_count && ns > f->bounds_ns[i])
		i++;
	cell_add(&cells[i], 1);
	cell_add(&cells[f->bounds_count + 1], ns);
}
