/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The epoll backend, for kernels or containers that refuse io_uring. Descriptors are registered once, edge-triggered;
 * what an edge said is kept in the connection (readable, writable, hangup) until the kernel says -EAGAIN.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/conn_priv.h"
#include "shared/io/kernel.h"
#include "shared/io/listen_priv.h"
#include "shared/obs/log.h"

LOG_SCOPE(scope, "gauze::io::epoll");

enum { EVENTS_PER_TURN = 128 };

struct epoll_io {
	struct io io;
	int fd, wake_fd;
	struct list pending; /* connections that are armed and readable */
	int count;	     /* of events */
	struct epoll_event events[EVENTS_PER_TURN];
};

static struct epoll_io *of(struct io *io)
{
	return container_of(io, struct epoll_io, io);
}

static int control(struct epoll_io *e, int op, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	return epoll_ctl(e->fd, op, fd, &ev) ? -errno : 0;
}

static int epoll_open(struct worker *w, struct io **out)
{
	static bool told;
	struct epoll_io *e = calloc(1, sizeof(*e));
	int err = ERR_NOMEM;

	if (!e)
		return err;
	io_init(&e->io, &epoll_backend, w);
	list_init(&e->pending);
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		err = -errno;
		goto no_epoll;
	}
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->wake_fd < 0) {
		err = -errno;
		goto no_wake;
	}
	/* Never read: each write is an edge of its own. */
	err = control(e, EPOLL_CTL_ADD, e->wake_fd, EPOLLIN | EPOLLET, (uint64_t)IO_WAKE << 60);
	if (err)
		goto no_add;
	if (!__atomic_exchange_n(&told, true, __ATOMIC_RELAXED))
		log_info(&scope, "epoll: edge-triggered");
	*out = &e->io;
	return 0;

no_add:
	close(e->wake_fd);
no_wake:
	close(e->fd);
no_epoll:
	free(e);
	return err;
}

static void epoll_close(struct io *io)
{
	struct epoll_io *e = of(io);

	close(e->wake_fd);
	close(e->fd);
	io_fini(io);
	free(e);
}

static void epoll_io_wait(struct io *io, uint64_t max_wait_ns)
{
	struct epoll_io *e = of(io);
	struct timespec ts = kernel_timespec(max_wait_ns);

	if (!list_empty(&e->pending))
		ts = (struct timespec){0};
	bool ever = max_wait_ns == UINT64_MAX && list_empty(&e->pending);
	int n = epoll_pwait2(e->fd, e->events, EVENTS_PER_TURN, ever ? NULL : &ts, NULL);

	/* Kernels before 5.11 have no nanoseconds. */
	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(e->fd, e->events, EVENTS_PER_TURN,
			       ever ? -1
				    : kernel_millis(list_empty(&e->pending) ? max_wait_ns : 0));
	CHECK(n >= 0 || errno == EINTR);
	e->count = MAX(n, 0);
}

static void epoll_wake(struct io *io)
{
	kernel_wake(of(io)->wake_fd);
}

static void epoll_trim(struct io *io)
{
	(void)io;
}

/* ---- receiving ---- */

/* One call; false when there is nothing more to be had now. */
static bool recv_into(struct conn *c, struct buf *buf, uint32_t len)
{
	ssize_t n = recv(c->fd, buf->data, len, MSG_DONTWAIT);
	int res = n < 0 ? -errno : (int)n;

	/*
	 * Less than asked for means drained, and the next byte is an edge; but an end that is already behind the bytes
	 * gives no further edge.
	 */
	if (res == -EAGAIN || (res > 0 && (uint32_t)res < len && !c->hangup))
		c->readable = false;
	bool more = c->readable && res > 0;

	if (!more)
		c->owed &= ~(IO_RECV | IO_MORE);
	if (res == -EAGAIN || res == -EINTR) {
		buf_put(buf);
		io_settled(c);
	} else {
		io_received(c, buf, res);
	}
	return more;
}

static void receive(struct epoll_io *e, struct conn *c)
{
	struct buf *slot = bufpool_slot(e->io.worker->bufs);

	if (!slot) {
		c->owed &= ~IO_RECV;
		io_starved(c);
		return;
	}
	if (!recv_into(c, slot, BUF_SLOT_BYTES))
		return;
	struct buf *slab = io_slab(&e->io);

	if (slab)
		(void)recv_into(c, slab, CONN_BULK_BYTES);
	c->owed &= ~(IO_RECV | IO_MORE);
}

static bool epoll_recv(struct io *io, struct conn *c)
{
	c->owed |= IO_RECV;
	if (c->readable)
		list_add_tail(&of(io)->pending, &c->ready);
	return true;
}

/* ---- sending ---- */

static void send_now(struct conn *c)
{
	struct iovec iov[IO_IOV_MAX];
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = io_iov(c, iov)};
	ssize_t n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	int res = n < 0 ? -errno : (int)n;

	if (res == -EAGAIN || (res > 0 && (uint32_t)res < c->sending))
		c->writable = false;
	c->owed &= ~IO_SEND;
	io_sent(c, res);
}

static bool epoll_send(struct io *io, struct conn *c, bool wait)
{
	(void)io;
	c->owed |= IO_SEND;
	if (!wait || c->writable)
		send_now(c);
	return true;
}

/* ---- connections ---- */

static int epoll_attach(struct io *io, struct conn *c)
{
	return control(of(io), EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		       io_tag(io, c->slot, IO_CONN));
}

static bool epoll_connect(struct io *io, struct conn *c)
{
	int err = kernel_connect(c->fd, &c->peer);

	/* Not before connect(): an unconnected socket would report a hang-up. */
	if (err == 0 || err == -EINPROGRESS)
		err = epoll_attach(io, c);
	if (err)
		io_connected(c, err);
	else
		c->owed |= IO_CONNECT;
	return true;
}

static void connect_ended(struct conn *c)
{
	c->owed &= ~IO_CONNECT;
	io_connected(c, kernel_socket_error(c->fd));
}

static bool epoll_cancel(struct io *io, struct conn *c)
{
	(void)io;
	list_del(&c->ready);
	c->owed = 0;
	return true;
}

static void conn_event(struct epoll_io *e, struct conn *c, uint32_t events)
{
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->hangup = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		c->writable = true;
	if (c->owed & IO_CONNECT) {
		if (c->writable)
			connect_ended(c);
		return;
	}
	if ((c->owed & IO_SEND) && c->writable)
		send_now(c);
	if (c->readable && (c->owed & IO_RECV)) {
		if (list_empty(&c->ready))
			list_add_tail(&e->pending, &c->ready);
	} else if ((events & EPOLLERR) && !(c->owed & IO_RECV)) {
		int err = kernel_socket_error(c->fd);

		if (err)
			io_broke(c, err);
	}
}

/* ---- listeners and watches ---- */

static bool epoll_listen(struct io *io, struct listener *l)
{
	int err = kernel_nonblock(l->fd);

	if (!err)
		err = control(of(io), EPOLL_CTL_ADD, l->fd, EPOLLIN | EPOLLET,
			      io_tag(io, l->slot, IO_LISTENER));

	/* It stays registered while paused; what came meanwhile is asked for. */
	if (err && err != -EEXIST)
		return false;
	return true;
}

static bool epoll_unlisten(struct io *io, struct listener *l)
{
	(void)control(of(io), EPOLL_CTL_DEL, l->fd, 0, 0);
	io_listen_ended(l);
	return true;
}

static int epoll_accept(struct io *io, struct listener *l, struct addr *peer)
{
	(void)io;
	return kernel_accept(l->fd, peer);
}

static bool epoll_watch(struct io *io, struct watch *w)
{
	uint64_t tag = io_tag(io, w->slot, IO_WATCH);
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;
	int err = control(of(io), EPOLL_CTL_MOD, w->fd, events, tag);

	if (err == -ENOENT)
		err = control(of(io), EPOLL_CTL_ADD, w->fd, events, tag);
	return err == 0;
}

static bool epoll_unwatch(struct io *io, struct watch *w)
{
	(void)control(of(io), EPOLL_CTL_DEL, w->fd, 0, 0);
	io_unwatched(w);
	return true;
}

/* ---- collect ---- */

static void dispatch(struct epoll_io *e, const struct epoll_event *ev)
{
	uint64_t tag = ev->data.u64;

	if (io_tag_kind(tag) == IO_WAKE)
		return;
	void *obj = io_tag_find(&e->io, tag);

	if (!obj)
		return;
	e->io.events++;
	if (io_tag_kind(tag) == IO_CONN)
		conn_event(e, obj, ev->events);
	else if (io_tag_kind(tag) == IO_LISTENER)
		io_acceptable(obj);
	else
		io_watched(obj);
}

static void epoll_collect(struct io *io)
{
	struct epoll_io *e = of(io);
	struct list now;

	for (int i = 0; i < e->count; i++)
		dispatch(e, &e->events[i]);
	e->count = 0;
	list_take_all(&now, &e->pending);
	while (!list_empty(&now)) {
		struct conn *c = list_first(&now, struct conn, ready);

		list_del(&c->ready);
		receive(e, c);
	}
}

static uint32_t epoll_slots(struct io *io)
{
	return kernel_slots(io->worker->bufs);
}

const struct io_backend epoll_backend = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.now = kernel_now,
	.wait = epoll_io_wait,
	.collect = epoll_collect,
	.wake = epoll_wake,
	.trim = epoll_trim,
	.slots = epoll_slots,
	.attach = epoll_attach,
	.connect = epoll_connect,
	.recv = epoll_recv,
	.send = epoll_send,
	.shutdown = kernel_shutdown,
	.cancel = epoll_cancel,
	.close_fd = kernel_close,
	.local = kernel_local,
	.listen = epoll_listen,
	.unlisten = epoll_unlisten,
	.accept = epoll_accept,
	.peer = kernel_peer,
	.watch = epoll_watch,
	.unwatch = epoll_unwatch,
};
