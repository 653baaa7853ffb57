/* SPDX-License-Identifier: Apache-2.0 */
/* The backend "sim": operations are kept as bits of conn.owed and completed, by chance, in collect. */
#include <errno.h>
#include <stdlib.h>

#include "fakenet_priv.h"
#include "shared/io/backend.h"
#include "shared/io/conn_priv.h"
#include "shared/io/listen_priv.h"

struct fake_io {
	struct io io;
	bool woken;
};

static const struct io_backend fake_backend;

static int fakeio_open(struct worker *w, struct io **out)
{
	struct fake_io *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	io_init(&f->io, &fake_backend, w);
	*out = &f->io;
	return 0;
}

static void fakeio_close(struct io *io)
{
	io_fini(io);
	free(container_of(io, struct fake_io, io));
}

static uint64_t fakeio_now(struct io *io)
{
	(void)io;
	return fakenet_now();
}

static void fakeio_wake(struct io *io)
{
	container_of(io, struct fake_io, io)->woken = true;
}

static void fakeio_trim(struct io *io)
{
	(void)io;
}

static uint32_t fakeio_slots(struct io *io)
{
	return bufpool_slots_left(io->worker->bufs);
}

/* ---- connections ---- */

static bool may_start(void)
{
	return !fake_chance(fake_faults()->no_room);
}

static int fakeio_attach(struct io *io, struct conn *c)
{
	(void)io;
	(void)fake_get(c->fd);
	return 0;
}

static bool start(struct conn *c, enum io_owed op)
{
	if (!may_start())
		return false;
	c->owed |= op;
	return true;
}

static bool fakeio_connect(struct io *io, struct conn *c)
{
	(void)io;
	return start(c, IO_CONNECT);
}

static bool fakeio_recv(struct io *io, struct conn *c)
{
	(void)io;
	return start(c, IO_RECV);
}

static void receive_more(struct conn *c)
{
	struct buf *slab = io_slab(c->worker->io);

	if (!slab)
		return;
	int res = fake_recv(c->fd, slab->data, 1 + fake_random(slab->cap));

	io_received(c, slab, res);
}

static void receive(struct conn *c)
{
	struct buf *slot = bufpool_slot(c->worker->bufs);
	bool split = fake_chance(fake_faults()->split);

	c->owed &= ~IO_RECV;
	if (!slot || fake_chance(fake_faults()->starve)) {
		if (slot)
			buf_put(slot);
		io_starved(c);
		return;
	}
	int res = fake_recv(c->fd, slot->data, split ? 1 + fake_random(200) : slot->cap);
	bool full = res == (int)slot->cap;

	io_received(c, slot, res);
	if (full && !c->ep.error && c->state == CONN_OPEN)
		receive_more(c);
}

static int send_now(struct conn *c)
{
	struct iovec iov[IO_IOV_MAX];
	uint32_t n = io_iov(c, iov), done = 0, room = fake_room(c->fd);

	if (room == 0)
		return -EAGAIN;
	if (fake_chance(fake_faults()->short_send))
		room = 1 + fake_random(MIN(room, c->sending));
	for (uint32_t i = 0; i < n && done < room; i++) {
		int res = fake_send(c->fd, iov[i].iov_base,
				    (uint32_t)MIN(iov[i].iov_len, (size_t)(room - done)));

		if (res < 0 && done > 0) {
			/* The error is for the next call. */
			fake_get(c->fd)->error_read = false;
			break;
		}
		if (res < 0)
			return res;
		done += (uint32_t)res;
		if (fake_get(c->fd)->reset)
			break;
	}
	return (int)done;
}

static bool fakeio_send(struct io *io, struct conn *c, bool wait)
{
	(void)io;
	if (!start(c, IO_SEND))
		return false;
	c->writable = wait; /* this one waits for room */
	/* Some complete inside the call, as the real ones may. */
	if (!wait && fake_chance(500)) {
		c->owed &= ~IO_SEND;
		io_sent(c, send_now(c));
	}
	return true;
}

static void fakeio_shutdown(struct io *io, int fd)
{
	(void)io;
	fake_shutdown(fd);
}

static bool fakeio_cancel(struct io *io, struct conn *c)
{
	(void)io;
	return start(c, IO_CANCEL);
}

static void fakeio_close_fd(struct io *io, int fd, bool reset)
{
	(void)io;
	fake_close(fd, reset);
}

static int fakeio_local(struct io *io, int fd, struct addr *out)
{
	(void)io;
	*out = fake_get(fd)->local;
	return 0;
}

static int fakeio_peer(struct io *io, int fd, struct addr *out)
{
	(void)io;
	if (fake_get(fd)->reset)
		return -ENOTCONN;
	*out = fake_get(fd)->peer;
	return 0;
}

/* ---- collect ---- */

static void finish_connect(struct conn *c)
{
	int res = fake_connect(c->fd, &c->peer);

	if (res == -EAGAIN)
		return;
	c->owed &= ~IO_CONNECT;
	io_connected(c, res);
}

/* A cancel may come too late for some of what it was to cancel. */
static void finish_cancelled(struct conn *c)
{
	bool lost = fake_chance(300);

	if (c->owed & IO_CONNECT) {
		c->owed &= ~IO_CONNECT;
		io_connected(c, lost ? fake_connect(c->fd, &c->peer) : -ECANCELED);
	} else if (c->owed & IO_SEND) {
		c->owed &= ~IO_SEND;
		io_sent(c, lost ? send_now(c) : -ECANCELED);
	} else if (c->owed & IO_RECV) {
		c->owed &= ~IO_RECV;
		io_received(c, NULL, -ECANCELED);
	} else {
		c->owed &= ~IO_CANCEL;
		io_settled(c);
	}
}

static bool conn_collect(struct conn *c)
{
	if (!c->owed || fake_chance(fake_faults()->delay))
		return false;
	if (c->owed & IO_CANCEL) {
		finish_cancelled(c);
		return true;
	}
	if (c->owed & IO_CONNECT) {
		finish_connect(c);
		return !(c->owed & IO_CONNECT);
	}
	bool did = false;

	if ((c->owed & IO_SEND) && (!c->writable || fake_room(c->fd) > 0)) {
		c->owed &= ~IO_SEND;
		io_sent(c, send_now(c));
		did = true;
	}
	if ((c->owed & IO_RECV) && fake_readable(c->fd)) {
		receive(c);
		did = true;
	}
	return did;
}

static bool fakeio_listen(struct io *io, struct listener *l)
{
	(void)io;
	(void)l;
	return may_start();
}

static bool fakeio_unlisten(struct io *io, struct listener *l)
{
	(void)io;
	if (!may_start())
		return false;
	io_listen_ended(l);
	return true;
}

static int fakeio_accept(struct io *io, struct listener *l, struct addr *peer)
{
	(void)io;
	int fd = fake_accept(l->fd);

	if (fd >= 0)
		*peer = fake_get(fd)->peer;
	return fd;
}

static bool listener_collect(struct listener *l)
{
	if (!l->armed || fake_get(l->fd)->queued == 0 || fake_chance(fake_faults()->delay))
		return false;
	if (fake_chance(500))
		io_accepted(l, fake_accept(l->fd));
	else
		io_acceptable(l);
	return true;
}

static bool fakeio_watch(struct io *io, struct watch *w)
{
	/* Descriptors that are no sockets of this network never become ready. */
	(void)io;
	(void)w;
	return true;
}

static bool fakeio_unwatch(struct io *io, struct watch *w)
{
	(void)io;
	io_unwatched(w);
	return true;
}

/* Whether anything completed. */
static bool collect_all(struct io *io)
{
	bool did = false;
	uint32_t n = io->slot_cap, first = n ? fake_random(n) : 0;

	/* From anywhere, so that the order of completions is no promise. */
	for (uint32_t i = 0; i < n; i++) {
		const struct io_slot *s = &io->slots[(first + i) % n];

		if (s->obj && s->next == IO_CONN)
			did |= conn_collect(s->obj);
		else if (s->obj && s->next == IO_LISTENER)
			did |= listener_collect(s->obj);
	}
	io->events += did;
	return did;
}

static void fakeio_wait(struct io *io, uint64_t max_wait_ns)
{
	struct fake_io *f = container_of(io, struct fake_io, io);

	fake_advance(1000 + fake_random(20000));
	if (fake_chance(fake_faults()->jump))
		fake_advance(fake_random(10000) * NS_PER_MS);
	/* What completes is filed here, before the clock is read: as if it had happened during the wait. */
	if (!collect_all(io) && !f->woken)
		fake_advance(MIN(max_wait_ns, 10 * NS_PER_MS));
	f->woken = false;
}

static void fakeio_collect(struct io *io)
{
	(void)io;
}

static const struct io_backend fake_backend = {
	.name = "sim",
	.open = fakeio_open,
	.close = fakeio_close,
	.now = fakeio_now,
	.wait = fakeio_wait,
	.collect = fakeio_collect,
	.wake = fakeio_wake,
	.trim = fakeio_trim,
	.slots = fakeio_slots,
	.attach = fakeio_attach,
	.connect = fakeio_connect,
	.recv = fakeio_recv,
	.send = fakeio_send,
	.shutdown = fakeio_shutdown,
	.cancel = fakeio_cancel,
	.close_fd = fakeio_close_fd,
	.local = fakeio_local,
	.listen = fakeio_listen,
	.unlisten = fakeio_unlisten,
	.accept = fakeio_accept,
	.peer = fakeio_peer,
	.watch = fakeio_watch,
	.unwatch = fakeio_unwatch,
};

__attribute__((constructor)) static void fakeio_register(void)
{
	io_register(&fake_backend);
}
