/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between those who move bytes and those who decide: one side of a byte stream, be it a TCP socket
 * (io/conn), a stream of an HTTP/2 tunnel (link/h2 stream) or anything else that carries bytes both ways.
 *
 * The provider files what happened into the fields below and readies `user`; it never calls the user. The user
 * looks at the fields when it runs, moves bytes out of rx, and calls the operations; an operation never runs
 * the user either.
 *
 * Back pressure: bytes that the user took out of rx stay charged to the provider until the user says
 * credit(n), which it does when the far side has taken them. The provider receives no more than its window of
 * uncredited bytes.
 */
#ifndef GAUZE_BASE_ENDPOINT_H
#define GAUZE_BASE_ENDPOINT_H

#include "buf.h"
#include "task.h"

struct endpoint;

struct endpoint_ops {
	/*
	 * Takes all bytes of q (which is empty afterwards) for sending, in order. May be called before open.
	 * After finish() or a failure the bytes are dropped silently (error tells).
	 */
	void (*send)(struct endpoint *ep, struct bufq *q);
	/* No more will be sent: half close once everything before it went out. Idempotent. */
	void (*finish)(struct endpoint *ep);
	/* n bytes that came out of rx were taken by the far side. */
	void (*credit)(struct endpoint *ep, uint32_t n);
	/*
	 * Ends the endpoint and gives it back: the user holds it no longer. reason 0: everything was said
	 * (graceful after what is queued went out); otherwise abortive: TCP sends RST, HTTP/2 resets the stream
	 * with err_h2(reason).
	 */
	void (*close)(struct endpoint *ep, int reason);
};

struct endpoint {
	const struct endpoint_ops *ops;
	struct taskq *user_queue; /* where `user` is readied */
	struct task *user;	  /* NULL: nobody listens yet; the provider keeps filing */
	struct bufq rx;		  /* received and not yet taken by the user */
	uint32_t tx_pending; /* accepted by send() and not yet taken by the kernel or the tunnel */
	int error;	/* 0, or why the endpoint broke (both directions); -ECONNRESET when reset */
	bool open;	/* established: connect or handshake done */
	bool eof;	/* the peer finished sending; bytes may still be in rx */
	bool tx_broken; /* the peer takes no more bytes, without an error; what is sent is dropped */
	bool urgent; /* set by the user: others wait for what comes here, so receive although memory is low */
};

static inline void endpoint_notify(struct endpoint *ep)
{
	if (ep->user)
		task_ready(ep->user_queue, ep->user);
}

/* Attaches the user and readies it once, since something may have been filed already. */
static inline void endpoint_attach(struct endpoint *ep, struct taskq *queue, struct task *user)
{
	ep->user_queue = queue;
	ep->user = user;
	endpoint_notify(ep);
}

#endif
