/* SPDX-License-Identifier: Apache-2.0 */
/* Between uring.c (ring, completions) and uring_ops.c (starting operations). */
#ifndef GAUZE_IO_URING_H
#define GAUZE_IO_URING_H

#include <liburing.h>

#include "shared/io/backend.h"
#include "shared/io/bufring.h"

/* Tags of completions. Those up to CANCEL name a connection. */
enum uring_op {
	URING_RECV = 1,
	URING_MORE,
	URING_SEND,
	URING_CONNECT,
	URING_CANCEL,
	URING_ACCEPT,
	URING_ACCEPT_POLL,
	URING_WATCH,
	URING_WAKE,
	URING_IGNORED,
};

/* What an SQE points to; the kernel has read it when the submission returns (IORING_FEAT_SUBMIT_STABLE). */
struct uring_msg {
	struct uring_msg *next;
	struct msghdr hdr;
	union {
		struct iovec iov[IO_IOV_MAX];
		struct sockaddr_storage addr;
	};
};

struct uring {
	struct io io;
	struct io_uring ring;
	struct list more; /* connections whose slot was filled: the rest goes to a slab */
	struct uring_msg *msgs_free, *msgs_used;
	uint32_t msgs_kept;
	int wake_fd;
	bool enabled, wake_armed;
	bool multishot_accept,
		accept_works; /* the second: it did, so an error is not for want of it */
	struct bufring bufs;  /* last: it is large and mostly untouched */
};

/* An entry with its tag set, submitting what waits when the queue is full; NULL when the kernel takes nothing now. */
struct io_uring_sqe *uring_sqe(struct uring *u, uint64_t tag);
/* Starts the bulk receives. */
void uring_submit_more(struct uring *u);

int uring_attach(struct io *io, struct conn *c);
bool uring_connect(struct io *io, struct conn *c);
bool uring_recv(struct io *io, struct conn *c);
bool uring_send(struct io *io, struct conn *c, bool wait);
bool uring_cancel(struct io *io, struct conn *c);
bool uring_listen(struct io *io, struct listener *l);
bool uring_unlisten(struct io *io, struct listener *l);
int uring_accept(struct io *io, struct listener *l, struct addr *peer);
bool uring_watch(struct io *io, struct watch *w);
bool uring_unwatch(struct io *io, struct watch *w);

#endif
