/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The io_uring backend: ring set-up, submission once per turn, dispatch of completions. uring_ops.c starts the
 * operations. Needs Linux 5.19 (provided buffer rings, cancel by descriptor, poll-first); without deferred task work
 * (6.1) it falls back to cooperative, without multishot accept to poll and accept.
 */
#include "shared/io/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/conn_priv.h"
#include "shared/io/kernel.h"
#include "shared/io/listen_priv.h"
#include "shared/obs/log.h"

LOG_SCOPE(scope, "gauze::io::uring");

enum { SQ_ENTRIES = 64, CQ_ENTRIES = 512, MSGS_KEPT = 4 };

static struct uring *of(struct io *io)
{
	return container_of(io, struct uring, io);
}

/* ---- set-up ---- */

static const struct {
	uint32_t flags;
	const char *name;
} modes[] = {
	{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
	 "deferred task work"},
	{IORING_SETUP_COOP_TASKRUN | IORING_SETUP_R_DISABLED, "cooperative task work"},
};

static int ring_init(struct uring *u, const char **mode)
{
	int err = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(modes) && err == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = modes[i].flags | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
			.cq_entries = CQ_ENTRIES,
		};

		err = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
		*mode = modes[i].name;
	}
	if (err)
		return err;
	uint32_t need = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE;

	if ((u->ring.features & need) != need) {
		io_uring_queue_exit(&u->ring);
		return -ENOSYS;
	}
	return 0;
}

static int uring_open(struct worker *w, struct io **out)
{
	static bool told;
	struct uring *u = calloc(1, sizeof(*u));
	const char *mode;
	int err = ERR_NOMEM;

	if (!u)
		return err;
	io_init(&u->io, &uring_backend, w);
	list_init(&u->more);
	u->multishot_accept = true;
	err = ring_init(u, &mode);
	if (err)
		goto no_ring;
	err = bufring_init(&u->bufs, &u->ring, w->bufs);
	if (err)
		goto no_bufs;
	/* Never read: each write is an event of its own to the multishot poll. */
	u->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->wake_fd < 0) {
		err = -errno;
		goto no_wake;
	}
	if (!__atomic_exchange_n(&told, true, __ATOMIC_RELAXED))
		log_info(&scope, "io_uring: %s, provided buffers, multishot accept", mode);
	*out = &u->io;
	return 0;

no_wake:
	bufring_fini(&u->bufs, &u->ring);
no_bufs:
	io_uring_queue_exit(&u->ring);
no_ring:
	free(u);
	return err;
}

static void release_msgs(struct uring *u)
{
	while (u->msgs_used) {
		struct uring_msg *m = u->msgs_used;

		u->msgs_used = m->next;
		if (u->msgs_kept < MSGS_KEPT) {
			m->next = u->msgs_free;
			u->msgs_free = m;
			u->msgs_kept++;
		} else {
			free(m);
		}
	}
}

static void drop_msgs(struct uring *u)
{
	release_msgs(u);
	while (u->msgs_free) {
		struct uring_msg *m = u->msgs_free;

		u->msgs_free = m->next;
		free(m);
	}
	u->msgs_kept = 0;
}

static void uring_close(struct io *io)
{
	struct uring *u = of(io);

	bufring_fini(&u->bufs, &u->ring);
	io_uring_queue_exit(&u->ring);
	close(u->wake_fd);
	drop_msgs(u);
	io_fini(io);
	free(u);
}

/* ---- submission ---- */

/* The thread that comes here first is the ring's only submitter from then on. */
static void enable(struct uring *u)
{
	if (u->enabled)
		return;
	CHECK(io_uring_enable_rings(&u->ring) == 0);
	u->enabled = true;
}

static void submitted(struct uring *u, int res)
{
	/* -EBUSY, -EAGAIN, -ENOMEM: what was not taken stays in the queue until the next turn. */
	CHECK(res >= 0 || res == -ETIME || res == -EINTR || res == -EBUSY || res == -EAGAIN ||
	      res == -ENOMEM);
	if (io_uring_sq_ready(&u->ring) == 0)
		release_msgs(u);
}

struct io_uring_sqe *uring_sqe(struct uring *u, uint64_t tag)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		enable(u);
		submitted(u, io_uring_submit(&u->ring));
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return NULL;
	}
	/* The prep functions that follow leave user_data alone. */
	sqe->user_data = tag;
	return sqe;
}

static void arm_wake(struct uring *u)
{
	if (u->wake_armed)
		return;
	struct io_uring_sqe *sqe = uring_sqe(u, (uint64_t)URING_WAKE << 60);

	if (!sqe)
		return;
	io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
	u->wake_armed = true;
}

static void uring_io_wait(struct io *io, uint64_t max_wait_ns)
{
	struct uring *u = of(io);
	struct timespec ts = kernel_timespec(max_wait_ns);
	struct __kernel_timespec kts = {.tv_sec = ts.tv_sec, .tv_nsec = ts.tv_nsec};
	struct io_uring_cqe *cqe;

	enable(u);
	arm_wake(u);
	bufring_fill(&u->bufs);
	/* A bulk receive that found no room last turn is submitted now, and its bytes come with this collect. */
	uring_submit_more(u);
	if (max_wait_ns == 0)
		submitted(u, io_uring_submit_and_get_events(&u->ring));
	else
		submitted(u, io_uring_submit_and_wait_timeout(
				     &u->ring, &cqe, 1, max_wait_ns == UINT64_MAX ? NULL : &kts,
				     NULL));
}

static void uring_wake(struct io *io)
{
	kernel_wake(of(io)->wake_fd);
}

static void uring_trim(struct io *io)
{
	struct uring *u = of(io);

	bufring_trim(&u->bufs);
	drop_msgs(u);
}

/* ---- completions ---- */

static void recv_done(struct uring *u, struct conn *c, const struct io_uring_cqe *cqe)
{
	struct buf *buf = NULL;

	c->owed &= ~IO_RECV;
	if (cqe->flags & IORING_CQE_F_BUFFER)
		buf = bufring_take(&u->bufs, (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT));
	c->readable = cqe->flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (cqe->res == -ENOBUFS) {
		bufring_want_more(&u->bufs);
		io_starved(c);
		return;
	}
	bool bulk = cqe->res == BUF_SLOT_BYTES && c->readable && c->state == CONN_OPEN;

	if (bulk) {
		c->owed |= IO_MORE;
		list_add_tail(&u->more, &c->ready);
	}
	io_received(c, buf, cqe->res);
}

static void more_done(struct conn *c, const struct io_uring_cqe *cqe)
{
	struct buf *buf = c->more;

	c->more = NULL;
	c->owed &= ~IO_MORE;
	c->readable = cqe->flags & IORING_CQE_F_SOCK_NONEMPTY;
	io_received(c, buf, cqe->res);
}

static void conn_done(struct uring *u, struct conn *c, const struct io_uring_cqe *cqe, unsigned op)
{
	switch ((enum uring_op)op) {
	case URING_RECV: recv_done(u, c, cqe); return;
	case URING_MORE: more_done(c, cqe); return;
	case URING_SEND:
		c->owed &= ~IO_SEND;
		io_sent(c, cqe->res);
		return;
	case URING_CONNECT:
		c->owed &= ~IO_CONNECT;
		io_connected(c, cqe->res);
		return;
	default: c->owed &= ~IO_CANCEL; io_settled(c);
	}
}

static void accept_done(struct uring *u, struct listener *l, const struct io_uring_cqe *cqe)
{
	bool ended = !(cqe->flags & IORING_CQE_F_MORE);

	u->accept_works |= cqe->res >= 0;
	if (cqe->res == -EINVAL && u->multishot_accept && !u->accept_works) {
		log_info(&scope, "io_uring: no multishot accept, using poll and accept");
		u->multishot_accept = false;
	} else if (cqe->res != -ECANCELED) {
		io_accepted(l, cqe->res);
	}
	if (ended)
		io_listen_ended(l);
}

static void listener_done(struct uring *u, struct listener *l, const struct io_uring_cqe *cqe,
			  unsigned op)
{
	if (op == URING_ACCEPT) {
		accept_done(u, l, cqe);
		return;
	}
	if (cqe->res >= 0)
		io_acceptable(l);
	io_listen_ended(l);
}

/* A descriptor that came for a listener which is gone cannot be: it waits for its last completion. */
static void dispatch(struct uring *u, const struct io_uring_cqe *cqe)
{
	uint64_t tag = cqe->user_data;
	unsigned op = io_tag_kind(tag);

	if (op == URING_WAKE) {
		u->wake_armed &= (cqe->flags & IORING_CQE_F_MORE) != 0;
		return;
	}
	if (op == URING_IGNORED)
		return;
	void *obj = io_tag_find(&u->io, tag);

	if (!obj)
		return;
	u->io.events++;
	if (op <= URING_CANCEL)
		conn_done(u, obj, cqe, op);
	else if (op != URING_WATCH)
		listener_done(u, obj, cqe, op);
	else if (cqe->res == -ECANCELED)
		io_unwatched(obj);
	else
		io_watched(obj);
}

static void drain(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		dispatch(u, cqe);
		n++;
	}
	io_uring_cq_advance(&u->ring, n);
}

static void uring_collect(struct io *io)
{
	struct uring *u = of(io);

	drain(u);
	if (list_empty(&u->more))
		return;
	/* One more round: these receives complete as they are submitted. */
	uring_submit_more(u);
	submitted(u, io_uring_submit(&u->ring));
	drain(u);
}

static uint32_t uring_slots(struct io *io)
{
	struct uring *u = of(io);

	bufring_fill(&u->bufs);
	return u->bufs.provided;
}

const struct io_backend uring_backend = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.now = kernel_now,
	.wait = uring_io_wait,
	.collect = uring_collect,
	.wake = uring_wake,
	.trim = uring_trim,
	.slots = uring_slots,
	.attach = uring_attach,
	.connect = uring_connect,
	.recv = uring_recv,
	.send = uring_send,
	.shutdown = kernel_shutdown,
	.cancel = uring_cancel,
	.close_fd = kernel_close,
	.local = kernel_local,
	.listen = uring_listen,
	.unlisten = uring_unlisten,
	.accept = uring_accept,
	.peer = kernel_peer,
	.watch = uring_watch,
	.unwatch = uring_unwatch,
};
