/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP connection as an endpoint: see conn.h for the contract, conn_priv.h for its life. */
#include "shared/io/conn.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/conn_priv.h"
#include "shared/obs/metrics.h"

/* What only a connection needs that connects or lingers. */
struct conn_wait {
	struct timer timer;
	struct task task;
	struct conn *conn;
};

/* After our FIN the peer has this long to send its own; what it still says is discarded. */
enum { CONN_FIN_WAIT_MS = 2000 };

static const struct endpoint_ops conn_ops;

static struct io *io_of(const struct conn *c)
{
	return c->worker->io;
}

void conn_mark(struct conn *c)
{
	if (list_empty(&c->dirty))
		list_add_tail(&io_of(c)->dirty, &c->dirty);
}

/* ---- time ---- */

static void wait_end(struct conn *c)
{
	if (!c->wait)
		return;
	timer_disarm(&c->worker->timers, &c->wait->timer);
	task_cancel(&c->wait->task);
	free(c->wait);
	c->wait = NULL;
}

static void fail(struct conn *c, int error);

static void wait_over(struct task *task)
{
	struct conn *c = container_of(task, struct conn_wait, task)->conn;

	MAGIC_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_CONNECTING) {
		fail(c, ERR_CONNECT_TIMEOUT);
	} else if (c->state == CONN_LINGER) {
		c->state = CONN_CLOSING;
		c->reset = c->tx.bytes > 0;
		conn_mark(c);
	}
}

static int wait_begin(struct conn *c, uint32_t ms)
{
	if (!c->wait) {
		c->wait = malloc(sizeof(*c->wait));
		if (!c->wait)
			return ERR_NOMEM;
		c->wait->conn = c;
		task_init(&c->wait->task, wait_over);
		timer_init(&c->wait->timer, &c->wait->task);
	}
	timer_arm(&c->worker->timers, &c->wait->timer, ms);
	return 0;
}

/* ---- birth ---- */

static struct conn *born(struct worker *w, int fd, enum conn_state state, const struct addr *peer)
{
	struct io *io = w->io;
	struct conn *c = calloc(1, sizeof(*c));
	int err = c ? io_slot_add(io, c, IO_CONN, &c->slot) : ERR_NOMEM;

	if (err) {
		free(c);
		IO_COUNT(io, conns_refused, 1);
		if (err == ERR_LIMIT)
			io_limit_hit(io, "limit_worker_conns");
		io->backend->close_fd(io, fd, true);
		return NULL;
	}
	c->ep.ops = &conn_ops;
	c->magic = CONN_MAGIC;
	c->fd = fd;
	c->worker = w;
	c->state = state;
	c->peer = *peer;
	c->opened_ns = w->now_ns;
	list_init(&c->dirty);
	list_init(&c->ready);
	io->conns++;
	return c;
}

/* Undoes born() for a connection that nobody has seen. */
static void unborn(struct conn *c)
{
	struct io *io = io_of(c);

	wait_end(c);
	list_del(&c->dirty);
	io_slot_del(io, c->slot);
	io->conns--;
	IO_COUNT(io, conns_refused, 1);
	io->backend->close_fd(io, c->fd, true);
	free(c);
}

struct conn *conn_accept(struct worker *w, int fd, const struct addr *peer,
			 const struct addr *local)
{
	struct conn *c = born(w, fd, CONN_OPEN, peer);

	if (!c)
		return NULL;
	if (local)
		c->local = *local;
	else if (w->io->backend->local(w->io, fd, &c->local))
		c->local = (struct addr){0};
	if (w->io->backend->attach(w->io, c)) {
		unborn(c);
		return NULL;
	}
	c->ep.open = true;
	c->connected_ns = c->opened_ns;
	conn_mark(c);
	return c;
}

struct conn *conn_connect(struct worker *w, int fd, const struct addr *dst, uint32_t timeout_ms)
{
	struct conn *c = born(w, fd, CONN_CONNECTING, dst);

	if (!c)
		return NULL;
	if (wait_begin(c, timeout_ms)) {
		unborn(c);
		return NULL;
	}
	conn_mark(c);
	return c;
}

/* ---- the user's operations ---- */

static struct conn *user_conn(struct endpoint *ep)
{
	struct conn *c = conn_of(ep);

	MAGIC_CHECK(c, CONN_MAGIC);
	CHECK(c->state == CONN_CONNECTING || c->state == CONN_OPEN);
	return c;
}

/* Both directions are over; the user is told once. */
static void fail(struct conn *c, int error)
{
	if (c->ep.error)
		return;
	c->ep.error = error;
	if (!(c->owed & IO_SEND))
		bufq_fini(&c->tx);
	conn_mark(c);
	endpoint_notify(&c->ep);
}

static void conn_send(struct endpoint *ep, struct bufq *q)
{
	struct conn *c = user_conn(ep);
	uint32_t moved = 0;

	if (c->finishing || ep->error || c->tx_error) {
		bufq_fini(q);
		return;
	}
	int err = bufq_move(&c->tx, q, q->bytes, &moved);

	ep->tx_pending += moved;
	if (err) {
		bufq_fini(q);
		fail(c, err);
		return;
	}
	conn_mark(c);
}

static void conn_finish(struct endpoint *ep)
{
	struct conn *c = user_conn(ep);

	c->finishing = true;
	conn_mark(c);
}

static void conn_credit(struct endpoint *ep, uint32_t n)
{
	struct conn *c = user_conn(ep);

	CHECK(n <= c->uncredited);
	c->uncredited -= n;
	if (!(c->owed & (IO_RECV | IO_MORE)))
		conn_mark(c);
}

static void conn_close(struct endpoint *ep, int reason)
{
	struct conn *c = user_conn(ep);
	bool graceful = reason == 0 && c->state == CONN_OPEN && !ep->error && !c->tx_error;

	ep->user = NULL;
	bufq_fini(&ep->rx);
	c->uncredited = 0;
	if (graceful && wait_begin(c, c->shut ? CONN_FIN_WAIT_MS : CONN_CLOSE_LINGER_MS) == 0) {
		c->state = CONN_LINGER;
		c->finishing = true;
	} else {
		c->state = CONN_CLOSING;
		c->reset = reason != 0;
	}
	conn_mark(c);
}

static const struct endpoint_ops conn_ops = {
	.send = conn_send,
	.finish = conn_finish,
	.credit = conn_credit,
	.close = conn_close,
};

/* ---- the flush stage ---- */

static void send_some(struct conn *c)
{
	struct io *io = io_of(c);
	uint16_t n = 0;
	uint32_t bytes = 0;

	/* What did not go at once may stay long: let go of the blocks that it only sits in. */
	if (c->send_wait)
		(void)bufq_unpin(&c->tx, c->worker->bufs, 0);
	for (; n < c->tx.count && n < IO_IOV_MAX && bytes < CONN_SEND_BYTES; n++)
		bytes += bufq_at(&c->tx, n)->len;
	c->sending = MIN(bytes, (uint32_t)CONN_SEND_BYTES);
	c->sending_slices = n;
	if (!io->backend->send(io, c, c->send_wait))
		conn_mark(c);
}

static void flush_tx(struct conn *c)
{
	struct io *io = io_of(c);

	if (c->owed & IO_SEND) {
		if (c->tx.count > c->sending_slices)
			(void)bufq_unpin(&c->tx, c->worker->bufs, c->sending_slices);
	} else if (c->tx.bytes) {
		send_some(c);
	} else if (c->finishing && !c->shut && !(c->state == CONN_LINGER && c->ep.eof)) {
		c->shut = true;
		io->backend->shutdown(io, c->fd);
		if (c->state == CONN_LINGER)
			timer_arm(&c->worker->timers, &c->wait->timer, CONN_FIN_WAIT_MS);
	}
}

static void flush_rx(struct conn *c)
{
	struct io *io = io_of(c);

	/* The user had its turn: what it left may stay long. */
	if (c->ep.rx.bytes)
		(void)bufq_unpin(&c->ep.rx, c->worker->bufs, 0);
	if ((c->owed & (IO_RECV | IO_MORE)) || c->ep.eof || c->uncredited >= CONN_WINDOW_BYTES ||
	    !list_empty(&c->ready))
		return;
	/*
	 * What is left of the memory goes to those who can free some: a tunnel, whose peer opens windows; to those who hold
	 * nothing, or a few whose far side takes nothing would stop all; and the very last to sending.
	 */
	if (c->state == CONN_OPEN && bufpool_low(c->worker->bufs) &&
	    ((!c->ep.urgent && c->uncredited) || bufpool_scarce(c->worker->bufs))) {
		if (!c->held_back)
			io_limit_hit(io, "limit_worker_buffered");
		c->held_back = true;
		list_add_tail(&io->starved, &c->ready);
		return;
	}
	c->held_back = false;
	if (!io->backend->recv(io, c))
		conn_mark(c);
}

static void free_conn(struct reap *reap)
{
	free(container_of(reap, struct conn, reap));
}

/* CLOSING: cancels, waits until nothing is owed, closes, frees. Called again by each completion. */
static void conn_teardown(struct conn *c)
{
	struct io *io = io_of(c);

	wait_end(c);
	list_del(&c->ready);
	if (c->owed && !c->cancelled) {
		if (!io->backend->cancel(io, c)) {
			conn_mark(c);
			return;
		}
		c->cancelled = true;
	}
	if (c->owed)
		return;
	CHECK(!c->more);
	io->backend->close_fd(io, c->fd, c->reset);
	c->fd = -1;
	bufq_fini(&c->tx);
	bufq_fini(&c->ep.rx);
	list_del(&c->dirty);
	io_slot_del(io, c->slot);
	io->conns--;
	c->magic = 0;
	worker_reap(c->worker, &c->reap, free_conn);
}

static bool linger_over(const struct conn *c)
{
	if (c->ep.error || c->tx_error)
		return true;
	return c->ep.eof && !c->tx.bytes && !(c->owed & IO_SEND);
}

void conn_flush(struct conn *c)
{
	MAGIC_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_CLOSING) {
		conn_teardown(c);
		return;
	}
	if (c->ep.error && c->state != CONN_LINGER)
		return;
	if (c->state == CONN_CONNECTING) {
		if (!(c->owed & IO_CONNECT) && !io_of(c)->backend->connect(io_of(c), c))
			conn_mark(c);
		return;
	}
	if (!c->tx_error)
		flush_tx(c);
	if (c->state == CONN_LINGER && linger_over(c)) {
		c->state = CONN_CLOSING;
		conn_teardown(c);
		return;
	}
	flush_rx(c);
}

bool conn_abandon(struct conn *c)
{
	if (c->state == CONN_LINGER) {
		c->state = CONN_CLOSING;
		c->reset = true;
		conn_mark(c);
	}
	return c->state == CONN_CLOSING;
}

/* ---- completions: these file, and mark what is to be done next ---- */

/* The bytes are not wanted any more: their end is, so that the socket can be closed in peace. */
static void discard(struct conn *c, int res)
{
	if (res == 0)
		c->ep.eof = true;
	else if (res < 0 && res != -EAGAIN && res != -EINTR)
		c->ep.error = res;
}

static void file_rx(struct conn *c, struct buf *buf, int res)
{
	struct io *io = io_of(c);

	if (res > 0) {
		IO_COUNT(io, recvs, 1);
		IO_COUNT(io, recv_bytes, (uint32_t)res);
		int err = bufq_push(&c->ep.rx, buf, 0, (uint32_t)res);

		if (err) {
			fail(c, err);
			return;
		}
		c->uncredited += (uint32_t)res;
	} else if (res == 0 && !c->tx_error) {
		c->ep.eof = true;
	} else if (res == 0) {
		fail(c, c->tx_error);
	} else if (res == -EAGAIN || res == -EINTR) {
		return;
	} else {
		fail(c, res);
	}
	endpoint_notify(&c->ep);
}

void io_received(struct conn *c, struct buf *buf, int res)
{
	MAGIC_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_OPEN && !c->ep.error)
		file_rx(c, buf, res);
	else
		discard(c, res);
	if (buf)
		buf_put(buf);
	conn_mark(c);
}

void io_starved(struct conn *c)
{
	struct io *io = io_of(c);

	IO_COUNT(io, starved, 1);
	metric_add(c->worker->metrics, METRIC_IO_STARVED, 1);
	if (c->state == CONN_CLOSING)
		conn_mark(c);
	else
		list_add_tail(&io->starved, &c->ready);
}

/*
 * The error is told only after what was received before it is read: the kernel keeps that for us. Until then the
 * endpoint swallows what it is given, so that a user whose reading waits for its sending does not stand still.
 */
static void send_failed(struct conn *c, int error)
{
	c->tx_error = error;
	bufq_fini(&c->tx);
	c->ep.tx_pending = 0;
	c->ep.tx_broken = true;
	if (c->ep.eof)
		fail(c, error);
	endpoint_notify(&c->ep);
}

void io_sent(struct conn *c, int res)
{
	struct io *io = io_of(c);
	uint32_t asked = c->sending;

	MAGIC_CHECK(c, CONN_MAGIC);
	c->sending = 0;
	c->sending_slices = 0;
	conn_mark(c);
	if (c->state == CONN_CLOSING)
		return;
	if (res > 0) {
		IO_COUNT(io, sends, 1);
		IO_COUNT(io, send_bytes, (uint32_t)res);
		bufq_pop(&c->tx, (uint32_t)res);
		c->ep.tx_pending -= (uint32_t)res;
		endpoint_notify(&c->ep);
	}
	c->send_wait = res == -EAGAIN || (res > 0 && (uint32_t)res < asked);
	if (c->send_wait)
		IO_COUNT(io, sends_short, 1);
	if (c->ep.error)
		bufq_fini(&c->tx);
	else if (res < 0 && res != -EAGAIN && res != -EINTR)
		send_failed(c, res);
}

void io_connected(struct conn *c, int res)
{
	struct io *io = io_of(c);

	MAGIC_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_CLOSING) {
		conn_mark(c);
		return;
	}
	if (c->ep.error)
		return;
	wait_end(c);
	if (res < 0) {
		fail(c, res);
		return;
	}
	c->state = CONN_OPEN;
	c->ep.open = true;
	c->connected_ns = c->worker->now_ns;
	if (io->backend->local(io, c->fd, &c->local))
		c->local = (struct addr){0};
	conn_mark(c);
	endpoint_notify(&c->ep);
}

void io_broke(struct conn *c, int error)
{
	MAGIC_CHECK(c, CONN_MAGIC);
	if (c->state == CONN_OPEN)
		fail(c, error);
	else if (c->state == CONN_LINGER)
		discard(c, error);
	conn_mark(c);
}

void io_settled(struct conn *c)
{
	MAGIC_CHECK(c, CONN_MAGIC);
	conn_mark(c);
}
