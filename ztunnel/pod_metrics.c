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
	metrics_collect(METRIC_RETIRED, retired, app);
}
