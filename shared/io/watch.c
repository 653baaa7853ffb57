/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/io/watch.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/listen_priv.h"

enum { WATCH_MAGIC = 0x77617463 };

static void free_watch(struct reap *reap)
{
	free(container_of(reap, struct watch, reap));
}

static void end(struct watch *w)
{
	struct io *io = w->worker->io;

	list_del(&w->wish.link);
	io_slot_del(io, w->slot);
	io->watches--;
	w->magic = 0;
	worker_reap(w->worker, &w->reap, free_watch);
}

static void flush(struct io_wish *wish)
{
	struct watch *w = container_of(wish, struct watch, wish);
	struct io *io = w->worker->io;

	MAGIC_CHECK(w, WATCH_MAGIC);
	if (w->freed && !w->armed) {
		end(w);
	} else if (w->freed && !w->cancelling) {
		w->cancelling = true;
		if (!io->backend->unwatch(io, w)) {
			w->cancelling = false;
			io_wish(io, wish);
		}
	} else if (!w->freed && w->wanted && !w->armed) {
		w->armed = io->backend->watch(io, w);
		if (!w->armed)
			io_wish(io, wish);
	}
}

int watch_new(struct worker *w, int fd, struct task *task, struct watch **out)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return ERR_NOMEM;
	int err = io_slot_add(w->io, watch, IO_WATCH, &watch->slot);

	if (err) {
		free(watch);
		return err;
	}
	watch->magic = WATCH_MAGIC;
	watch->fd = fd;
	watch->worker = w;
	watch->task = task;
	list_init(&watch->wish.link);
	watch->wish.flush = flush;
	w->io->watches++;
	watch_arm(watch);
	*out = watch;
	return 0;
}

void watch_arm(struct watch *w)
{
	MAGIC_CHECK(w, WATCH_MAGIC);
	w->wanted = true;
	io_wish(w->worker->io, &w->wish);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	MAGIC_CHECK(w, WATCH_MAGIC);
	w->freed = true;
	/* At once, since the caller closes the descriptor next and its number may come back. */
	flush(&w->wish);
}

void io_watched(struct watch *w)
{
	MAGIC_CHECK(w, WATCH_MAGIC);
	w->armed = false;
	w->wanted = false;
	if (w->freed)
		io_wish(w->worker->io, &w->wish);
	else
		task_ready(&w->worker->run, w->task);
}

void io_unwatched(struct watch *w)
{
	MAGIC_CHECK(w, WATCH_MAGIC);
	w->armed = false;
	io_wish(w->worker->io, &w->wish);
}
