/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/pod_metrics.h"

#include "shared/base/epoch.h"
#include "shared/obs/metrics.h"
#include "ztunnel/pods.h"
#include "ztunnel/zds_client.h"

struct each {
	struct metrics_emit *out;
	bool bytes;
};

static void active(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0, pods_counts(app->pods).active);
}

static void pending(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0,
		     app->zds ? zds_session_pending(zds_client_session(app->zds)) : 0);
}

static void started(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0, (int64_t)pods_counts(app->pods).started);
}

static void stopped(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0, (int64_t)pods_counts(app->pods).stopped);
}

static void emit_pod(void *arg, struct pod *pod)
{
	struct each *each = arg;
	struct str labels[] = {rstr_str(pod->ns), rstr_str(pod->name)};
	uint64_t connections, bytes;
	pod_sum(pod, &connections, &bytes);
	metrics_emit(each->out, labels, 2, (int64_t)(each->bytes ? bytes : connections));
}

static void pod_connections(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	pods_each(app->pods, emit_pod, &(struct each){out, false});
}

static void pod_bytes(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	pods_each(app->pods, emit_pod, &(struct each){out, true});
}

static void workers(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0, app->workers_count);
}

static void backend(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	struct str label =
		str_of(worker_io_name(app->workers_count ? app->workers[0].w : app->control));
	metrics_emit(out, &label, 1, 1);
}

static void buffers(void *arg, struct metrics_emit *out)
{
	static const struct {
		enum buf_kind kind;
		struct str name;
	} kinds[] = {{BUF_SLOT, {"slot", 4}}, {BUF_SLAB, {"slab", 4}}, {BUF_HEAP, {"heap", 4}}};
	struct app *app = arg;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		uint64_t sum = bufpool_bytes(app->control->bufs, kinds[k].kind);
		for (uint32_t i = 0; i < app->workers_count; i++)
			sum += bufpool_bytes(app->workers[i].w->bufs, kinds[k].kind);
		metrics_emit(out, &kinds[k].name, 1, (int64_t)sum);
	}
}

static void retired(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	metrics_emit(out, NULL, 0, (int64_t)epoch_retired(app->epoch));
}

void pod_metrics_register(struct app *app)
{
	metrics_collect(METRIC_PROXIES_ACTIVE, active, app);
	metrics_collect(METRIC_PROXIES_PENDING, pending, app);
	metrics_collect(METRIC_PROXIES_STARTED, started, app);
	metrics_collect(METRIC_PROXIES_STOPPED, stopped, app);
	metrics_collect(METRIC_POD_CONNECTIONS, pod_connections, app);
	metrics_collect(METRIC_POD_BUFFERED, pod_bytes, app);
	metrics_collect(METRIC_WORKERS, workers, app);
	metrics_collect(METRIC_IO_BACKEND, backend, app);
	metrics_collect(METRIC_BUFFER_BYTES, buffers, app);
	metrics_collect(METRIC_RETIRED, retired, app);
}
