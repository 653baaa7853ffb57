/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/worker_metrics.h"

#include <stdio.h>
#include <time.h>

#include "shared/io/stats.h"
#include "shared/obs/metrics.h"

static void emit(struct metrics_emit *out, uint32_t index, uint64_t value)
{
	char text[16];
	struct str label;
	snprintf(text, sizeof(text), "%u", index);
	label = str_of(text);
	metrics_emit(out, &label, 1, (int64_t)value);
}

static void busy(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	for (uint32_t i = 0; i < app->workers_count; i++) {
		struct timespec ts;
		clockid_t clock;
		if (pthread_getcpuclockid(app->workers[i].thread, &clock) == 0 &&
		    clock_gettime(clock, &ts) == 0)
			emit(out, i, (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec);
	}
}

static uint64_t waits_of(const struct app_worker *aw)
{
	return __atomic_load_n(&worker_stats(aw->w)->parks, __ATOMIC_RELAXED);
}

static void parks(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	for (uint32_t i = 0; i < app->workers_count; i++)
		emit(out, i, waits_of(&app->workers[i]));
}

/* Who parks is unparked again: the original counts both. */
static void parks_unparks(void *arg, struct metrics_emit *out)
{
	struct app *app = arg;
	for (uint32_t i = 0; i < app->workers_count; i++)
		emit(out, i, 2 * waits_of(&app->workers[i]));
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

void worker_metrics_register(struct app *app)
{
	metrics_collect(METRIC_WORKERS, workers, app);
	metrics_collect(METRIC_WORKER_BUSY, busy, app);
	metrics_collect(METRIC_WORKER_PARKS, parks, app);
	metrics_collect(METRIC_WORKER_PARKS_UNPARKS, parks_unparks, app);
	metrics_collect(METRIC_IO_BACKEND, backend, app);
	metrics_collect(METRIC_BUFFER_BYTES, buffers, app);
}
