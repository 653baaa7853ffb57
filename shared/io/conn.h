/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connected (or connecting) TCP stream socket of one worker, seen as an endpoint (base/endpoint.h).
 *
 * Receiving: armed while uncredited bytes are below the window. An idle connection waits without a buffer: bytes
 * arrive in a slot; when a slot is filled and more is waiting, the rest follows into a slab in the same turn.
 * Sending: everything queued by the end of a turn goes out in one vectored send (up to CONN_SEND_BYTES); one send
 * is in flight at a time. tx_pending falls when the kernel has taken the bytes.
 *
 * End of file sets eof; a reset or any other error sets error. When sending fails, what the peer said before is still
 * received first; until the error is told tx_broken is set and what is sent is dropped. A reset that comes while
 * receiving is paused (window used up) or after eof is noticed at once with epoll; with io_uring by the next send or
 * receive, at the latest when TCP_USER_TIMEOUT ends the far side that holds the credit back.
 * finish() is shutdown(SHUT_WR) after the last byte.
 * close(ep, 0) sends what is queued, then closes (lingering in the background at most CONN_CLOSE_LINGER_MS);
 * close(ep, reason) discards it and resets the connection (SO_LINGER 0). After close the conn is the io layer's:
 * it waits until the kernel owes nothing, then frees itself.
 */
#ifndef GAUZE_IO_CONN_H
#define GAUZE_IO_CONN_H

#include "shared/base/addr.h"
#include "shared/base/endpoint.h"
#include "shared/io/worker.h"

struct conn_wait;

enum {
	CONN_WINDOW_BYTES =
		192 * 1024, /* receive is armed while fewer bytes than this are uncredited */
	/*
	 * What a bulk receive asks for: with the slot before it, the payload of sixteen full TLS records (wire/h2.c lays
	 * one DATA frame of 16,375 bytes into each), so that what came in one turn leaves in one send, without a rest.
	 */
	CONN_BULK_BYTES = 16 * 16375 - BUF_SLOT_BYTES,
	CONN_SEND_BYTES = 1024 * 1024,
	CONN_CLOSE_LINGER_MS = 30 * 1000,
};
_Static_assert((int)CONN_BULK_BYTES <= (int)BUF_SLAB_BYTES, "a bulk receive fits a slab");

struct conn {
	struct endpoint ep;
	uint32_t magic;
	int fd;
	struct worker *worker;
	struct addr peer, local; /* as accepted or connected; local is set once open */
	uint64_t opened_ns;	 /* when it was accepted or the connect began */
	uint64_t connected_ns;	 /* when it was established */
	/* private to io/ from here on; an idle connection takes this struct and no other memory */
	struct bufq tx;	   /* what the kernel has not taken; its front may be in flight */
	struct list dirty; /* on io.dirty: something to do in the flush stage */
	union {
		struct list ready; /* on a list of the backend, or on io.starved */
		struct reap reap;  /* once it is dead */
	};
	struct conn_wait *wait;	 /* while connecting or lingering */
	struct buf *more;	 /* slab of the bulk receive in flight */
	uint32_t slot;		 /* in the io's table */
	uint32_t uncredited;	 /* received bytes that the far side has not taken */
	uint32_t sending;	 /* bytes of tx in flight ... */
	uint16_t sending_slices; /* ... and the slices that hold them */
	uint8_t state;		 /* enum conn_state */
	uint8_t owed;		 /* what the kernel owes us: IO_RECV ... */
	int tx_error; /* why sending failed; told once what was received before is read */
	bool finishing : 1, shut : 1;	 /* finish() was called; FIN is sent */
	bool send_wait : 1;		 /* the socket is full: the next send waits for room */
	bool reset : 1, cancelled : 1;	 /* how to close; whether operations were cancelled */
	bool readable : 1, writable : 1; /* for the backend: bytes wait; room may be had */
	bool hangup : 1;    /* for the backend: an end is to be read behind the bytes */
	bool held_back : 1; /* not receiving, since memory is low */
};

/*
 * Takes an established socket (fd is consumed, also on failure; it becomes nonblocking). The endpoint is open.
 * NULL: out of memory or at the worker's limit of connections; the socket was reset.
 */
struct conn *conn_accept(struct worker *w, int fd, const struct addr *peer,
			 const struct addr *local);
/*
 * Starts to connect an unconnected socket (consumed as above) to dst. open, or error (ERR_CONNECT_TIMEOUT after
 * timeout_ms, -ECONNREFUSED ...), is filed later. NULL as above.
 */
struct conn *conn_connect(struct worker *w, int fd, const struct addr *dst, uint32_t timeout_ms);
static inline struct conn *conn_of(struct endpoint *ep)
{
	return container_of(ep, struct conn, ep);
}

#endif
