/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies between conn.c, listen.c, worker.c and the kernel: a table of operations with three implementations,
 * io_uring (uring.c), epoll (epoll.c) and the seeded in-memory network of tests/sim. Only backends (and socket.c, which
 * a simulation replaces at link time) make system calls; the clock is the backend's too.
 *
 * An operation is started by the core and completes by one of the io_* callbacks at the bottom, which only file what
 * happened. It may complete inside the call that starts it. At most one operation of each kind (enum io_owed) is in
 * flight per connection; the backend sets the bit in conn.owed when it starts one and clears it before the callback of
 * its last completion, so `owed` is what the kernel owes the connection.
 */
#ifndef GAUZE_IO_BACKEND_H
#define GAUZE_IO_BACKEND_H

#include <sys/uio.h>

#include "shared/base/addr.h"
#include "shared/base/buf.h"
#include "shared/base/list.h"
#include "shared/io/stats.h"

struct conn;
struct io;
struct listener;
struct watch;
struct worker;

enum io_owed {
	IO_RECV = 1, /* waiting for bytes, into a slot */
	IO_MORE = 2, /* collecting the rest of a bulk receive, into conn.more */
	IO_SEND = 4,
	IO_CONNECT = 8,
	IO_CANCEL = 16,
};

/* What an object of io/ is registered as; also the tag of events in backends that need one. */
enum io_kind { IO_FREE, IO_CONN, IO_LISTENER, IO_WATCH, IO_WAKE };

enum { IO_IOV_MAX = 64 };

struct io_backend {
	const char *name;
	/* 0 or a negative code (-ENOSYS, -EPERM ... when the kernel refuses). *out embeds a struct io. */
	int (*open)(struct worker *w, struct io **out);
	/* No connection or listener is left. Returns provided buffers to the pool. */
	void (*close)(struct io *io);
	/* Nanoseconds of a clock that never goes back, except where a simulation wants it to. */
	uint64_t (*now)(struct io *io);
	/* Submits what was started and waits for a completion or a wake, at most that long (0: polls, UINT64_MAX: ever). */
	void (*wait)(struct io *io, uint64_t max_wait_ns);
	/* Dispatches all completions. */
	void (*collect)(struct io *io);
	/* Any thread: ends the current or the next wait. */
	void (*wake)(struct io *io);
	/* Gives back memory that only load needs. */
	void (*trim)(struct io *io);
	/* How many receives could find a slot now. */
	uint32_t (*slots)(struct io *io);

	/*
	 * Connections. The bool ones return false when there is no room to start the operation now: the core tries again
	 * in its next flush stage.
	 */
	/* An established socket joins; 0 or a negative code. */
	int (*attach)(struct io *io, struct conn *c);
	/* To c->peer over a socket of that address's family (or mapped); ends in io_connected. */
	bool (*connect)(struct io *io, struct conn *c);
	/* One slot's worth, then up to one slab's when the slot was filled; ends in io_received (once or twice). */
	bool (*recv)(struct io *io, struct conn *c);
	/*
	 * The first c->sending bytes of c->tx (c->sending_slices slices, at most IO_IOV_MAX); ends in io_sent. Without
	 * `wait` it completes at once, if need be with part of it or -EAGAIN; with it, when at least a part was taken.
	 */
	bool (*send)(struct io *io, struct conn *c, bool wait);
	void (*shutdown)(struct io *io, int fd);
	/* Everything in flight is to complete soon, however it ends. */
	bool (*cancel)(struct io *io, struct conn *c);
	/* Nothing is owed. Closes a socket, by RST when `reset`. */
	void (*close_fd)(struct io *io, int fd, bool reset);
	int (*local)(struct io *io, int fd, struct addr *out);

	/* Listeners. */
	/* Asks for io_accepted (any number) or io_acceptable (then accept() is called until it says -EAGAIN). */
	bool (*listen)(struct io *io, struct listener *l);
	/* Takes back listen(): ends in io_listen_ended, perhaps at once. */
	bool (*unlisten)(struct io *io, struct listener *l);
	/* A connection that waits, without blocking: a descriptor or a negative code. */
	int (*accept)(struct io *io, struct listener *l, struct addr *peer);
	int (*peer)(struct io *io, int fd, struct addr *out);

	/* Watches: one-shot readiness; ends in io_watched unless unwatched. */
	bool (*watch)(struct io *io, struct watch *w);
	/* Ends in io_unwatched, perhaps at once. */
	bool (*unwatch)(struct io *io, struct watch *w);
};

extern const struct io_backend uring_backend, epoll_backend;

/* Objects that events name: by slot and generation, so that a late event finds nothing. */
struct io_slot {
	void *obj;
	uint32_t generation;
	uint32_t next; /* of the free list; the kind while in use */
};

/* What a listener or watch wants done in the flush stage, where the backend has room. */
struct io_wish {
	struct list link; /* on io.wishes */
	void (*flush)(struct io_wish *wish);
};

struct io {
	const struct io_backend *backend;
	struct worker *worker;
	struct io_slot *slots;
	uint32_t slot_cap, slot_free, slot_used;
	uint32_t conns, listeners, watches;
	struct list dirty; /* connections with something to do in the flush stage */
	struct list wishes;
	struct list starved; /* connections whose receive found no slot */
	uint64_t events;     /* completions so far, wakes apart */
	struct io_stats stats;
};

#define IO_COUNT(io, field, n) \
	__atomic_store_n(&(io)->stats.field, (io)->stats.field + (n), __ATOMIC_RELAXED)

/* For backends. */
void io_init(struct io *io, const struct io_backend *backend, struct worker *w);
void io_fini(struct io *io);
/* A third backend, chosen by its name in worker_config.io_backend. Before any worker exists. */
void io_register(const struct io_backend *backend);

/* Event tag: 4 bits of tag, 28 of generation, 32 of slot. */
static inline uint64_t io_tag(const struct io *io, uint32_t slot, unsigned tag)
{
	return (uint64_t)tag << 60 | (uint64_t)(io->slots[slot].generation & 0xfffffff) << 32 |
	       slot;
}
static inline unsigned io_tag_kind(uint64_t tag)
{
	return (unsigned)(tag >> 60);
}
/* The object, or NULL when it is gone (counted). */
void *io_tag_find(struct io *io, uint64_t tag);

/* Fills iov from the front of c->tx with what c->sending and c->sending_slices say; returns how many. */
uint32_t io_iov(const struct conn *c, struct iovec iov[IO_IOV_MAX]);

/* A slab for a bulk receive; NULL (counted, also when memory is low): the connection goes on slot by slot. */
struct buf *io_slab(struct io *io);

/* Completions. `buf` is consumed; res > 0 bytes stand at its start, 0 is end of file, negative an error. */
void io_received(struct conn *c, struct buf *buf, int res);
/* No slot was to be had: received again when slots return. */
void io_starved(struct conn *c);
void io_sent(struct conn *c, int res);
void io_connected(struct conn *c, int res);
/* Noticed outside of any operation (a reset while receiving was paused). */
void io_broke(struct conn *c, int error);
/* Something that was owed ended and needs no filing. */
void io_settled(struct conn *c);
/* fd is given; or a negative error, after which the backend listens no longer. */
void io_accepted(struct listener *l, int fd_or_error);
void io_acceptable(struct listener *l);
void io_listen_ended(struct listener *l);
void io_watched(struct watch *w);
void io_unwatched(struct watch *w);

/* For the core. */
int must_check io_open(struct worker *w, const char *name, struct io **out);
int must_check io_slot_add(struct io *io, void *obj, enum io_kind kind, uint32_t *slot);
void io_slot_del(struct io *io, uint32_t slot);
/* One more of gauze_limit_hits. */
void io_limit_hit(struct io *io, const char *name);
/* The flush stage: starts what connections want. */
void io_flush(struct io *io);
void io_wish(struct io *io, struct io_wish *wish);
/* Whether a flush would find something. */
static inline bool io_pending(const struct io *io)
{
	return !list_empty(&io->dirty) || !list_empty(&io->wishes);
}
/* For the worker's end: resets connections that linger; returns how many objects without a user have not ended yet. */
uint32_t io_abandon(struct io *io);

#endif
