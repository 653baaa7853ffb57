/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting: the backend accepts for us or says when to; descriptors are handed out in the run stage. */
#include "shared/io/listen.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/listen_priv.h"
#include "shared/obs/metrics.h"

enum {
	LISTENER_MAGIC = 0x6c73746e,
	PAUSE_MS = 100,
	/* The backend stops accepting while so many wait to be handed out: the rest is better off in the kernel. */
	PENDING_MAX = 4 * LISTEN_ACCEPTS_PER_TURN,
};

static struct io *io_of(const struct listener *l)
{
	return l->worker->io;
}

static uint32_t pending(const struct listener *l)
{
	return l->pending_count - l->handed;
}

static void flush(struct io_wish *wish)
{
	struct listener *l = container_of(wish, struct listener, wish);
	struct io *io = io_of(l);
	bool wanted = !l->stopping && !l->paused && pending(l) < PENDING_MAX;

	MAGIC_CHECK(l, LISTENER_MAGIC);
	if (pending(l) > 0 || (l->acceptable && !l->paused))
		task_ready(&l->worker->run, &l->task);
	if (wanted && !l->armed) {
		l->armed = io->backend->listen(io, l);
		if (!l->armed)
			io_wish(io, &l->wish);
	} else if (!wanted && l->armed && !l->cancelling) {
		l->cancelling = true;
		if (!io->backend->unlisten(io, l)) {
			l->cancelling = false;
			io_wish(io, &l->wish);
		}
	}
}

static void failed(struct listener *l, int err)
{
	struct str reason = str_of(err_name(err));

	IO_COUNT(io_of(l), accept_errors, 1);
	metric_add_labels(l->worker->metrics, METRIC_IO_ACCEPT_FAILURES, &reason, 1, 1);
}

static void pause_begin(struct listener *l, int err)
{
	failed(l, err);
	l->paused = true;
	timer_arm(&l->worker->timers, &l->pause, PAUSE_MS);
}

static void pause_over(struct task *task)
{
	struct listener *l = container_of(task, struct listener, resume);

	MAGIC_CHECK(l, LISTENER_MAGIC);
	l->paused = false;
	task_ready(&l->worker->run, &l->task);
	io_wish(io_of(l), &l->wish);
}

/* Errors of one connection that was gone before it was accepted (accept(2) lists them). */
static bool passing(int err)
{
	return err == -ECONNABORTED || err == -EINTR || err == -EPROTO || err == -ECANCELED ||
	       err == -ENETDOWN || err == -ENETUNREACH || err == -EHOSTUNREACH ||
	       err == -ENOPROTOOPT || err == -EHOSTDOWN || err == -ENONET;
}

static void hand_out(struct listener *l, int fd, const struct addr *peer)
{
	IO_COUNT(io_of(l), accepted, 1);
	l->fn(l->arg, fd, peer);
}

/* What the backend accepted. */
static void hand_pending(struct listener *l)
{
	struct io *io = io_of(l);

	for (; l->budget > 0 && pending(l) > 0; l->budget--) {
		int fd = l->pending[l->handed++];
		struct addr peer;

		if (io->backend->peer(io, fd, &peer)) {
			/* Reset already. */
			io->backend->close_fd(io, fd, true);
			continue;
		}
		hand_out(l, fd, &peer);
	}
	if (pending(l) == 0)
		l->pending_count = l->handed = 0;
}

static void accept_some(struct listener *l)
{
	struct io *io = io_of(l);

	for (; l->budget > 0 && !l->paused; l->budget--) {
		struct addr peer;
		int fd = io->backend->accept(io, l, &peer);

		if (fd == -EAGAIN) {
			l->acceptable = false;
			return;
		}
		if (fd >= 0)
			hand_out(l, fd, &peer);
		else if (!passing(fd))
			pause_begin(l, fd);
	}
}

static void free_listener(struct reap *reap)
{
	struct listener *l = container_of(reap, struct listener, reap);

	free(l->pending);
	free(l);
}

static void end(struct listener *l)
{
	struct io *io = io_of(l);

	if (!l->released)
		io->backend->close_fd(io, l->fd, false);
	timer_disarm(&l->worker->timers, &l->pause);
	task_cancel(&l->resume);
	task_cancel(&l->task);
	list_del(&l->wish.link);
	io_slot_del(io, l->slot);
	io->listeners--;
	l->magic = 0;
	if (l->done)
		task_ready(&l->worker->run, l->done);
	worker_reap(l->worker, &l->reap, free_listener);
}

static void run(struct task *task)
{
	struct listener *l = container_of(task, struct listener, task);

	MAGIC_CHECK(l, LISTENER_MAGIC);
	if (l->turn != l->worker->turn) {
		l->turn = l->worker->turn;
		l->budget = LISTEN_ACCEPTS_PER_TURN;
	}
	hand_pending(l);
	if (pending(l) == 0 && l->acceptable)
		accept_some(l);
	if (l->stopping && !l->armed && !l->acceptable && pending(l) == 0)
		end(l);
	else
		io_wish(io_of(l), &l->wish);
}

int listener_start(struct worker *w, int fd, listener_accepted_fn fn, void *arg,
		   struct listener **out)
{
	struct io *io = w->io;
	struct listener *l = calloc(1, sizeof(*l));
	int err = l ? io_slot_add(io, l, IO_LISTENER, &l->slot) : ERR_NOMEM;

	if (err) {
		free(l);
		io->backend->close_fd(io, fd, false);
		return err;
	}
	l->magic = LISTENER_MAGIC;
	l->fd = fd;
	l->worker = w;
	l->fn = fn;
	l->arg = arg;
	task_init(&l->task, run);
	task_init(&l->resume, pause_over);
	timer_init(&l->pause, &l->resume);
	list_init(&l->wish.link);
	l->wish.flush = flush;
	io->listeners++;
	io_wish(io, &l->wish);
	*out = l;
	return 0;
}

void listener_stop(struct listener *l, struct task *done)
{
	MAGIC_CHECK(l, LISTENER_MAGIC);
	CHECK(!l->stopping);
	l->stopping = true;
	l->acceptable = true;
	l->done = done;
	io_wish(io_of(l), &l->wish);
}

void listener_release(struct listener *l, struct task *done)
{
	listener_stop(l, done);
	l->released = true;
}

void io_accepted(struct listener *l, int fd_or_error)
{
	struct io *io = io_of(l);

	MAGIC_CHECK(l, LISTENER_MAGIC);
	if (fd_or_error < 0) {
		if (!passing(fd_or_error) && !l->paused)
			pause_begin(l, fd_or_error);
		return;
	}
	if (l->pending_count == l->pending_cap) {
		uint32_t cap = l->pending_cap ? l->pending_cap * 2 : 16;
		int *fds = realloc(l->pending, cap * sizeof(*fds));

		if (!fds) {
			failed(l, ERR_NOMEM);
			io->backend->close_fd(io, fd_or_error, true);
			return;
		}
		l->pending = fds;
		l->pending_cap = cap;
	}
	l->pending[l->pending_count++] = fd_or_error;
	task_ready(&l->worker->run, &l->task);
	if (pending(l) >= PENDING_MAX)
		io_wish(io, &l->wish);
}

void io_acceptable(struct listener *l)
{
	MAGIC_CHECK(l, LISTENER_MAGIC);
	l->acceptable = true;
	task_ready(&l->worker->run, &l->task);
}

void io_listen_ended(struct listener *l)
{
	MAGIC_CHECK(l, LISTENER_MAGIC);
	l->armed = false;
	l->cancelling = false;
	/* Connections may have come since accept() was last asked. */
	l->acceptable |= l->stopping;
	io_wish(io_of(l), &l->wish);
}
