/* SPDX-License-Identifier: Apache-2.0 */
/* The turn of a worker: see worker.h. */
#include "shared/io/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/io/backend.h"
#include "shared/io/mailbox.h"
#include "shared/obs/log.h"

LOG_SCOPE(scope, "gauze::io::worker");

enum {
	RUN_PASSES =
		4, /* rounds of `run` before the flush, so that a chain of tasks ends in one turn */
	FLUSH_PASSES = 2, /* a send that completes at once lets its user go on in the same turn */
	END_TURNS = 200,  /* for what lingers when the worker ends */
};

#define IDLE_NS NS_PER_S     /* how often trim() looks */
enum { QUIET_EVENTS = 100 }; /* in that time, at most */

struct worker_priv {
	struct worker w;
	struct mailbox box;
	uint64_t looked_ns;   /* when trim() last looked */
	uint64_t events_seen; /* io.events then */
	bool trimmed;
};

static struct worker_priv *priv_of(struct worker *w)
{
	return container_of(w, struct worker_priv, w);
}

int worker_new(const struct worker_config *config, struct worker **out)
{
	struct worker_priv *p = calloc(1, sizeof(*p));
	struct worker *w;
	int err = ERR_NOMEM;

	if (!p)
		return ERR_NOMEM;
	w = &p->w;
	w->index = config->index;
	w->name = config->name;
	w->epoch = config->epoch;
	w->epoch_reader = -1;
	w->mailbox = &p->box;
	taskq_init(&w->run);
	taskq_init(&w->flush);
	w->bufs = bufpool_new(&config->buf_limits);
	if (!w->bufs)
		goto no_bufs;
	err = io_open(w, config->io_backend, &w->io);
	if (err)
		goto no_io;
	if (w->epoch) {
		err = epoch_register(w->epoch);
		if (err < 0)
			goto no_epoch;
		w->epoch_reader = err;
	}
	w->now_ns = w->io->backend->now(w->io);
	timer_wheel_init(&w->timers, w->now_ns, &w->run);
	*out = w;
	return 0;

no_epoch:
	w->io->backend->close(w->io);
no_io:
	bufpool_free(w->bufs);
no_bufs:
	log_error(&scope, "worker %s cannot start: %s", config->name, err_text(err));
	free(p);
	return err;
}

/* How long the kernel may keep us: not at all while there is something to do. */
static uint64_t may_wait(struct worker *w, uint64_t max_ns, uint64_t now_ns)
{
	if (max_ns == 0 || !list_empty(&w->run.tasks) || !list_empty(&w->flush.tasks) ||
	    io_pending(w->io) || !mailbox_empty(w->mailbox))
		return 0;
	return MIN(max_ns, timer_wheel_next(&w->timers, now_ns));
}

static void wait_collect(struct worker *w, uint64_t max_ns)
{
	struct io *io = w->io;
	uint64_t now_ns = io->backend->now(io);
	uint64_t wait_ns = may_wait(w, max_ns, now_ns);

	if (w->turn > 1)
		IO_COUNT(io, busy_ns, now_ns - MIN(w->now_ns, now_ns));
	IO_COUNT(io, parks, wait_ns > 0);
	if (w->epoch && wait_ns)
		epoch_offline(w->epoch, w->epoch_reader);
	io->backend->wait(io, wait_ns);
	if (w->epoch)
		epoch_online(w->epoch, w->epoch_reader);
	w->now_ns = io->backend->now(io);
	timer_wheel_tell(&w->timers, w->now_ns);
	io->backend->collect(io);
}

static void run_flush(struct worker *w)
{
	for (int flush = 0; flush < FLUSH_PASSES; flush++) {
		for (int pass = 0; pass < RUN_PASSES; pass++)
			if (!taskq_run(&w->run))
				break;
		(void)taskq_run(&w->flush);
		io_flush(w->io);
		if (list_empty(&w->run.tasks) && list_empty(&w->flush.tasks))
			break;
	}
}

static void reap(struct worker *w)
{
	while (w->reaped) {
		struct reap *r = w->reaped;

		w->reaped = r->next;
		r->free_fn(r);
	}
}

void worker_turn(struct worker *w, uint64_t max_wait_ns)
{
	w->turn++;
	io_flush(w->io);
	wait_collect(w, max_wait_ns);
	run_flush(w);
	timer_wheel_advance(&w->timers, w->now_ns);
	mailbox_deliver(w->mailbox, w);
	reap(w);
	if (w->epoch)
		epoch_quiescent(w->epoch, w->epoch_reader);
	IO_COUNT(w->io, turns, 1);
}

static bool stopping(const struct worker *w)
{
	return __atomic_load_n(&w->stopping, __ATOMIC_ACQUIRE);
}

/* Memory that only load needs goes back after a second with next to no traffic; PINGs of idle tunnels are none. */
static void trim(struct worker_priv *p)
{
	struct worker *w = &p->w;
	uint64_t events = w->io->events - p->events_seen;

	if (w->now_ns - p->looked_ns < IDLE_NS)
		return;
	p->looked_ns = w->now_ns;
	p->events_seen = w->io->events;
	if (events > QUIET_EVENTS) {
		p->trimmed = false;
	} else if (!p->trimmed) {
		bufpool_trim(w->bufs);
		w->io->backend->trim(w->io);
		p->trimmed = true;
	}
}

/* Until the next look, unless there is nothing to look at. */
static uint64_t longest_wait(const struct worker_priv *p)
{
	return p->trimmed && p->w.io->events == p->events_seen ? UINT64_MAX : IDLE_NS;
}

/* Nobody holds these any more: what lingers is reset, what the kernel owes is awaited. */
static void end(struct worker *w)
{
	for (int i = 0; i < END_TURNS && io_abandon(w->io) > 0; i++)
		worker_turn(w, 10 * NS_PER_MS);
}

void worker_run(struct worker *w)
{
	struct worker_priv *p = priv_of(w);
	char name[16] = {0};

	strncpy(name, w->name, sizeof(name) - 1);
	(void)pthread_setname_np(pthread_self(), name);
	while (!stopping(w)) {
		worker_turn(w, longest_wait(p));
		trim(p);
	}
	end(w);
	if (w->epoch)
		epoch_offline(w->epoch, w->epoch_reader);
}

void worker_stop(struct worker *w)
{
	__atomic_store_n(&w->stopping, true, __ATOMIC_RELEASE);
	w->io->backend->wake(w->io);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	end(w);
	mailbox_deliver(w->mailbox, w);
	reap(w);
	if (w->epoch)
		epoch_unregister(w->epoch, w->epoch_reader);
	w->io->backend->close(w->io);
	bufpool_free(w->bufs);
	free(priv_of(w));
}

void worker_post(struct worker *w, struct mail *mail)
{
	if (mailbox_put(w->mailbox, mail))
		w->io->backend->wake(w->io);
}

void worker_reap(struct worker *w, struct reap *r, void (*free_fn)(struct reap *))
{
	r->free_fn = free_fn;
	r->next = w->reaped;
	w->reaped = r;
}

const struct io_stats *worker_stats(const struct worker *w)
{
	return &w->io->stats;
}

const char *worker_io_name(const struct worker *w)
{
	return w->io->backend->name;
}
