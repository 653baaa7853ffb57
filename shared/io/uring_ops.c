/* SPDX-License-Identifier: Apache-2.0 */
/* Starting operations on the ring. Nothing is submitted here: that happens once per turn, in uring.c. */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "shared/io/conn_priv.h"
#include "shared/io/kernel.h"
#include "shared/io/listen_priv.h"
#include "shared/io/uring.h"

static struct uring *of(struct io *io)
{
	return container_of(io, struct uring, io);
}

/* Valid until the next submission. */
static struct uring_msg *take_msg(struct uring *u)
{
	struct uring_msg *m = u->msgs_free;

	if (m) {
		u->msgs_free = m->next;
		u->msgs_kept--;
	} else {
		m = malloc(sizeof(*m));
		if (!m)
			return NULL;
	}
	m->next = u->msgs_used;
	u->msgs_used = m;
	return m;
}

static struct io_uring_sqe *conn_sqe(struct io *io, const struct conn *c, enum uring_op op)
{
	return uring_sqe(of(io), io_tag(io, c->slot, op));
}

/* An entry that was taken cannot be returned: it is made to do nothing. */
static void give_back(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
	sqe->user_data = (uint64_t)URING_IGNORED << 60;
}

int uring_attach(struct io *io, struct conn *c)
{
	(void)io;
	(void)c;
	return 0;
}

bool uring_connect(struct io *io, struct conn *c)
{
	/* The entry first: having it may submit, and that would take the message away. */
	struct io_uring_sqe *sqe = conn_sqe(io, c, URING_CONNECT);
	struct uring_msg *m = sqe ? take_msg(of(io)) : NULL;

	if (!m) {
		if (sqe)
			give_back(sqe);
		return false;
	}
	socklen_t len = addr_to_sockaddr(&c->peer, kernel_family(c->fd), &m->addr);

	io_uring_prep_connect(sqe, c->fd, (struct sockaddr *)&m->addr, len);
	c->owed |= IO_CONNECT;
	return true;
}

bool uring_recv(struct io *io, struct conn *c)
{
	struct io_uring_sqe *sqe = conn_sqe(io, c, URING_RECV);

	if (!sqe)
		return false;
	io_uring_prep_recv(sqe, c->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFRING_GROUP;
	/* When the socket was seen empty, trying first would be in vain. */
	if (!c->readable)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	c->owed |= IO_RECV;
	return true;
}

void uring_submit_more(struct uring *u)
{
	while (!list_empty(&u->more)) {
		struct conn *c = list_first(&u->more, struct conn, ready);
		struct buf *slab = io_slab(&u->io);

		if (!slab) {
			list_del(&c->ready);
			c->owed &= ~IO_MORE;
			io_settled(c);
			continue;
		}
		struct io_uring_sqe *sqe = conn_sqe(&u->io, c, URING_MORE);

		if (!sqe) {
			buf_put(slab);
			return;
		}
		list_del(&c->ready);
		c->more = slab;
		io_uring_prep_recv(sqe, c->fd, slab->data, CONN_BULK_BYTES, MSG_DONTWAIT);
	}
}

bool uring_send(struct io *io, struct conn *c, bool wait)
{
	int flags = MSG_NOSIGNAL | (wait ? MSG_WAITALL : MSG_DONTWAIT);
	struct io_uring_sqe *sqe = conn_sqe(io, c, URING_SEND);

	if (!sqe)
		return false;
	if (c->sending_slices == 1) {
		const struct bslice *s = bufq_at(&c->tx, 0);

		io_uring_prep_send(sqe, c->fd, s->buf->data + s->off, c->sending, flags);
	} else {
		struct uring_msg *m = take_msg(of(io));

		if (!m) {
			give_back(sqe);
			return false;
		}
		m->hdr = (struct msghdr){.msg_iov = m->iov, .msg_iovlen = io_iov(c, m->iov)};
		io_uring_prep_sendmsg(sqe, c->fd, &m->hdr, (unsigned)flags);
	}
	if (wait)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	c->owed |= IO_SEND;
	return true;
}

bool uring_cancel(struct io *io, struct conn *c)
{
	/* A bulk receive that is not submitted yet needs no cancel; its place on the list is left already. */
	if ((c->owed & IO_MORE) && !c->more)
		c->owed &= ~IO_MORE;
	if (!c->owed)
		return true;
	struct io_uring_sqe *sqe = conn_sqe(io, c, URING_CANCEL);

	if (!sqe)
		return false;
	io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
	c->owed |= IO_CANCEL;
	return true;
}

bool uring_listen(struct io *io, struct listener *l)
{
	struct uring *u = of(io);
	enum uring_op op = u->multishot_accept ? URING_ACCEPT : URING_ACCEPT_POLL;
	struct io_uring_sqe *sqe = kernel_nonblock(l->fd) ? NULL
							  : uring_sqe(u, io_tag(io, l->slot, op));

	if (!sqe)
		return false;
	if (u->multishot_accept)
		io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL,
					       SOCK_NONBLOCK | SOCK_CLOEXEC);
	else
		io_uring_prep_poll_add(sqe, l->fd, POLLIN);
	return true;
}

/* The object ends with the completion of what is cancelled; that of the cancel itself says nothing. */
static bool cancel(struct uring *u, uint64_t tag)
{
	struct io_uring_sqe *sqe = uring_sqe(u, (uint64_t)URING_IGNORED << 60);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, tag, 0);
	return true;
}

bool uring_unlisten(struct io *io, struct listener *l)
{
	struct uring *u = of(io);
	enum uring_op op = u->multishot_accept ? URING_ACCEPT : URING_ACCEPT_POLL;

	return cancel(u, io_tag(io, l->slot, op));
}

int uring_accept(struct io *io, struct listener *l, struct addr *peer)
{
	(void)io;
	return kernel_accept(l->fd, peer);
}

bool uring_watch(struct io *io, struct watch *w)
{
	struct io_uring_sqe *sqe = uring_sqe(of(io), io_tag(io, w->slot, URING_WATCH));

	if (!sqe)
		return false;
	io_uring_prep_poll_add(sqe, w->fd, POLLIN | POLLRDHUP);
	return true;
}

bool uring_unwatch(struct io *io, struct watch *w)
{
	return cancel(of(io), io_tag(io, w->slot, URING_WATCH));
}
