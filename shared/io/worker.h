/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread with its io backend, timers, buffers and task queues. A turn is
 *
 *   wait -> collect (completions file bytes and ready tasks) -> run (each ready task once)
 *        -> flush tasks (links seal what they have to say) -> flush io (one send per connection with output)
 *        -> timers -> mailbox -> reap (objects that died this turn) -> quiesce -> wait
 *
 * run and flush are repeated a few times within a turn while there is more to run. Each turn receives at most a slot and
 * a slab per connection, and accepts at most LISTEN_ACCEPTS_PER_TURN per listener, so that none starves the others.
 *
 * Everything on a worker is owned by its thread (the one that runs its first turn); only worker_post() and worker_stop()
 * may be called from others.
 * The control thread is a worker too (admin server, ZDS, certificates).
 */
#ifndef GAUZE_IO_WORKER_H
#define GAUZE_IO_WORKER_H

#include "shared/base/buf.h"
#include "shared/base/task.h"
#include "shared/base/timer.h"

struct epoch;
struct io;
struct io_stats;
struct mailbox;
struct metrics_shard;
struct worker;

/* A message between threads: embedded in what it carries; ownership passes with it. */
struct mail {
	struct mail *next;
	void (*deliver)(struct mail *mail, struct worker *at);
};

/* An object that ends this turn; freed after the last task that might still name it ran. */
struct reap {
	struct reap *next;
	void (*free_fn)(struct reap *reap);
};

struct worker_config {
	const char *name; /* thread name, "ztunnel-0" */
	const char *
		io_backend; /* "uring", "epoll", or NULL: choose (uring, else epoll with one warning) */
	struct bufpool_limits buf_limits;
	struct epoch *epoch; /* may be NULL */
	uint32_t index;	     /* 0.. among its kind */
};

struct worker {
	uint32_t index;
	const char *name;
	uint64_t turn;	 /* how many turns began */
	uint64_t now_ns; /* CLOCK_MONOTONIC at the start of the turn */
	struct io *io;
	struct bufpool *bufs;
	struct timer_wheel timers;
	struct taskq run;   /* what became ready; drained each turn */
	struct taskq flush; /* runs after `run` is drained or its budget is used; links seal here */
	struct reap *reaped;
	struct epoch *epoch;
	int epoch_reader;
	void *user;		       /* the program's per-worker state */
	struct metrics_shard *metrics; /* of this thread; the program sets it before the loop runs */
	struct mailbox *mailbox;
	bool stopping;
};

/* Sets up everything but the thread. 0 or a negative code; the reason has been logged. */
int must_check worker_new(const struct worker_config *config, struct worker **out);
/* Runs turns on the calling thread until worker_stop(). */
void worker_run(struct worker *w);
/* One turn that waits at most max_wait_ns (0: poll). For tests and the simulation. */
void worker_turn(struct worker *w, uint64_t max_wait_ns);
/* Any thread: makes worker_run() return after its turn. */
void worker_stop(struct worker *w);
/* All connections and listeners must have ended; frees the rest. */
void worker_free(struct worker *w);
/* Any thread, also the worker itself: delivers in a later turn, in order of posting per sender. Never fails. */
void worker_post(struct worker *w, struct mail *mail);
/* Frees `reap` at the end of this turn. */
void worker_reap(struct worker *w, struct reap *reap, void (*free_fn)(struct reap *));
/* Any thread: live figures, to be read one by one with relaxed atomics. */
const struct io_stats *worker_stats(const struct worker *w);
/* "uring" or "epoll". */
const char *worker_io_name(const struct worker *w);

#endif
