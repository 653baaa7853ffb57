/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, gauges and histograms (families: metrics.def). Each thread writes to its own shard without locks or
 * locked instructions; a scrape adds the shards up.
 *
 *	metric_add(shard, METRIC_IO_STARVED, 1);
 *
 *	struct str labels[] = {STR("source")};
 *	struct series *open = series_get(shard, METRIC_TCP_SOCKETS, labels, 1);
 *	series_add(open, 1);  ...  series_add(open, -1);
 *	series_put(open);
 *
 * A NULL shard, and the NULL series it gives, count nothing: parts of the program run without one in tests.
 */
#ifndef GAUZE_OBS_METRICS_H
#define GAUZE_OBS_METRICS_H

#include "shared/base/sbuf.h"

enum metric {
#define LABELS(...)
#define BUCKETS(...)
#define FAMILY(id, ...) METRIC_##id,
#define HISTOGRAM(id, ...) METRIC_##id,
#include "shared/obs/metrics.def"
#undef LABELS
#undef BUCKETS
#undef FAMILY
#undef HISTOGRAM
	METRIC_COUNT
};

/* Indexes into the labels of the TRAFFIC set. */
enum {
	TRAFFIC_REPORTER,
	TRAFFIC_SOURCE_WORKLOAD,
	TRAFFIC_SOURCE_CANONICAL_SERVICE,
	TRAFFIC_SOURCE_CANONICAL_REVISION,
	TRAFFIC_SOURCE_WORKLOAD_NAMESPACE,
	TRAFFIC_SOURCE_PRINCIPAL,
	TRAFFIC_SOURCE_APP,
	TRAFFIC_SOURCE_VERSION,
	TRAFFIC_SOURCE_CLUSTER,
	TRAFFIC_DESTINATION_SERVICE,
	TRAFFIC_DESTINATION_SERVICE_NAMESPACE,
	TRAFFIC_DESTINATION_SERVICE_NAME,
	TRAFFIC_DESTINATION_WORKLOAD,
	TRAFFIC_DESTINATION_CANONICAL_SERVICE,
	TRAFFIC_DESTINATION_CANONICAL_REVISION,
	TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE,
	TRAFFIC_DESTINATION_PRINCIPAL,
	TRAFFIC_DESTINATION_APP,
	TRAFFIC_DESTINATION_VERSION,
	TRAFFIC_DESTINATION_CLUSTER,
	TRAFFIC_REQUEST_PROTOCOL,
	TRAFFIC_RESPONSE_FLAGS,
	TRAFFIC_CONNECTION_SECURITY_POLICY,
	TRAFFIC_SOURCE_REGION,
	TRAFFIC_SOURCE_ZONE,
	TRAFFIC_DESTINATION_REGION,
	TRAFFIC_DESTINATION_ZONE,
	TRAFFIC_LABELS
};

struct metrics_shard;
struct series;

/*
 * A shard for the calling thread's use; NULL when out of memory or beyond LIMIT_THREADS. Its figures are part of
 * every scrape until metrics_shard_free(), which takes them away: free shards only at the end.
 */
struct metrics_shard *metrics_shard_new(void);
void metrics_shard_free(struct metrics_shard *m);

/* ---- families without labels: owner of the shard ---- */
void metric_add(struct metrics_shard *m, enum metric id, uint64_t n);
void metric_gauge_add(struct metrics_shard *m, enum metric id, int64_t n);

/* ---- labelled families: owner of the shard ---- */

/*
 * The series of those label values, in the order of the family's label set; an empty value is shown as "unknown".
 * The caller holds a reference until series_put(). Idle series stay and keep counting; beyond LIMIT_SERIES of a
 * family the one that is idle longest goes, and when none is idle a series with all values "overflow" is given.
 * Without memory it is that series, too; NULL only for a NULL shard.
 */
struct series *series_get(struct metrics_shard *m, enum metric id, const struct str *labels,
			  size_t n);
void series_put(struct series *s);
/* Counters and gauges; negative only for gauges. */
void series_add(struct series *s, int64_t n);
void series_set(struct series *s, int64_t value); /* gauges */
void series_observe_ns(struct series *s, uint64_t ns);
/* get, add, put in one. */
void metric_add_labels(struct metrics_shard *m, enum metric id, const struct str *labels, size_t n,
		       int64_t more);

/* ---- asked at scrape ---- */

struct metrics_emit; /* where a collector puts its samples */
typedef void metrics_collect_fn(void *arg, struct metrics_emit *out);
/* fn is called in each scrape, on the scraping thread, and emits what the family shows besides the shards. */
void metrics_collect(enum metric id, metrics_collect_fn *fn, void *arg);
void metrics_emit(struct metrics_emit *out, const struct str *labels, size_t n, int64_t value);
/* Registers what obs itself knows: descriptors, log counters, and the build with those labels (borrowed for ever). */
void metrics_process_init(struct str component, struct str tag);

/* ---- scrape: any thread ---- */

/* Appends the whole text (OpenMetrics; also what text/plain gets). 0, ERR_NOMEM or ERR_TOO_LARGE. */
int must_check metrics_render(struct sbuf *out);
/* The content type for that Accept header (empty: none was sent). */
const char *metrics_content_type(struct str accept);

#endif
