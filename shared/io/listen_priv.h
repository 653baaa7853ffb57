/* SPDX-License-Identifier: Apache-2.0 */
/* What backends see of listeners and watches. */
#ifndef GAUZE_IO_LISTEN_PRIV_H
#define GAUZE_IO_LISTEN_PRIV_H

#include "shared/io/backend.h"
#include "shared/io/listen.h"
#include "shared/io/watch.h"
#include "shared/io/worker.h"

/*
 * After listener_stop() only io/ holds it: io.wishes, the two tasks, the timer and the backend (`armed`). It ends when it
 * is not armed, nothing is pending and the kernel's queue is empty.
 */
struct listener {
	uint32_t magic;
	int fd;
	struct worker *worker;
	listener_accepted_fn fn;
	void *arg;
	struct task *done;
	struct io_wish wish;
	struct task task;   /* hands out what was accepted */
	struct task resume; /* after a pause */
	struct timer pause;
	struct reap reap;
	int *pending; /* accepted and not handed out yet, from `handed` on */
	uint32_t pending_cap, pending_count, handed;
	uint64_t turn;	 /* of the worker, for which ... */
	uint32_t budget; /* ... so many may still be handed out */
	uint32_t slot;
	bool armed;	 /* the backend accepts or waits for us */
	bool cancelling; /* it was told to stop */
	bool acceptable; /* accept() has not said -EAGAIN yet */
	bool paused, stopping;
	bool released; /* the socket outlives us */
};

/* After watch_free(): the same, without tasks. */
struct watch {
	uint32_t magic;
	int fd;
	struct worker *worker;
	struct task *task;
	struct io_wish wish;
	struct reap reap;
	uint32_t slot;
	bool wanted, armed, cancelling, freed;
};

#endif
