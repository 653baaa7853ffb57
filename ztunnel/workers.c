/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/socket.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"

LOG_SCOPE(scope, "ztunnel::app");

struct birth {
	struct app_worker *aw;
	uint32_t index;
	int error;
	sem_t done;
};

static int prepare(struct app_worker *aw, uint32_t index)
{
	struct worker_config config = {
		.name = aw->name,
		.io_backend = aw->app->config->io_backend,
		.buf_limits = {.slots_max = LIMIT_WORKER_SLOTS,
			       .bytes_max = LIMIT_WORKER_BUFFERED,
			       .slabs_cached = LIMIT_SLABS_CACHED},
		.epoch = aw->app->epoch,
		.index = index,
	};
	int rc = socket_netns_init();
	if (rc && aw->app->config->mode == CONFIG_SHARED)
		return rc;
	rc = worker_new(&config, &aw->w);
	if (rc)
		return rc;
	aw->w->user = aw;
	aw->w->metrics = metrics_shard_new();
	rc = aw->w->metrics ? aw->app->proxy->worker_start(aw) : ERR_NOMEM;
	if (rc)
		worker_free(aw->w);
	return rc;
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

static void *thread_main(void *arg)
{
	struct birth *birth = arg;
	struct app_worker *aw = birth->aw;
	int rc = prepare(aw, birth->index);
	birth->error = rc;
	sem_post(&birth->done);
	if (rc)
		return NULL;
	worker_run(aw->w);
	/* Who told us to stop may still be about to wake us. */
	wait_for(&aw->stopped);
	aw->app->proxy->worker_stop(aw);
	worker_free(aw->w);
	return NULL;
}

static void deliver_recheck(struct mail *mail, struct worker *at)
{
	struct app_worker *aw = container_of(mail, struct app_worker, mail_recheck);
	CHECK(at == aw->w);
	/* Before the check, so that a change which comes meanwhile is announced anew. */
	__atomic_store_n(&aw->recheck_posted, false, __ATOMIC_RELEASE);
	aw->app->proxy->recheck(aw);
}

static int start_one(struct app *app, uint32_t index)
{
	struct app_worker *aw = &app->workers[index];
	struct birth birth = {.aw = aw, .index = index};
	aw->app = app;
	list_init(&aw->pods);
	aw->mail_recheck.deliver = deliver_recheck;
	snprintf(aw->name, sizeof(aw->name), "ztunnel-%u", index);
	sem_init(&birth.done, 0, 0);
	sem_init(&aw->stopped, 0, 0);
	int rc = -pthread_create(&aw->thread, NULL, thread_main, &birth);
	if (!rc) {
		wait_for(&birth.done);
		rc = birth.error;
		if (rc)
			pthread_join(aw->thread, NULL);
	}
	sem_destroy(&birth.done);
	aw->started = rc == 0;
	return rc;
}

int workers_start(struct app *app)
{
	app->workers = calloc(app->config->workers, sizeof(*app->workers));
	if (!app->workers)
		return ERR_NOMEM;
	app->workers_count = app->config->workers;
	for (uint32_t i = 0; i < app->workers_count; i++) {
		int rc = start_one(app, i);
		if (rc) {
			log_error(&scope, "worker %u cannot start: %s", i, err_text(rc));
			workers_stop(app);
			return rc;
		}
	}
	log_info(&scope, "%u workers on %s", app->workers_count, worker_io_name(app->workers[0].w));
	return 0;
}

void workers_stop(struct app *app)
{
	for (uint32_t i = 0; i < app->workers_count; i++) {
		if (app->workers[i].started) {
			worker_stop(app->workers[i].w);
			sem_post(&app->workers[i].stopped);
		}
	}
	for (uint32_t i = 0; i < app->workers_count; i++)
		if (app->workers[i].started)
			pthread_join(app->workers[i].thread, NULL);
	free(app->workers);
	app->workers = NULL;
	app->workers_count = 0;
}

void workers_recheck(struct app *app)
{
	for (uint32_t i = 0; i < app->workers_count; i++) {
		struct app_worker *aw = &app->workers[i];
		if (!__atomic_exchange_n(&aw->recheck_posted, true, __ATOMIC_ACQ_REL))
			worker_post(aw->w, &aw->mail_recheck);
	}
}
