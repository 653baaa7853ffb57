/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link: HTTP/2 in mutual TLS over an endpoint (a socket, or a stream of another link). It pumps bytes up and down once
 * per turn, keeps the peer alive with PINGs (contract section 5.3), and gives out streams, which are endpoints themselves.
 *
 * Like an endpoint, a link readies its user's task when something changed: established, a request arrived, dead. It never
 * calls the user. A dead link stays until its user gives it back; its streams outlive it.
 */
#ifndef GAUZE_LINK_LINK_H
#define GAUZE_LINK_LINK_H

#include "shared/base/endpoint.h"
#include "shared/base/timer.h"
#include "shared/wire/h2.h"

struct tls_ctx;
struct tls_peer;
struct worker;

enum link_state {
	LINK_CONNECTING, /* the transport is not open yet */
	LINK_HANDSHAKE,	 /* TLS */
	LINK_OPEN,	 /* streams may be opened, requests may arrive */
	LINK_DRAINING,	 /* no new streams; dies with the last one */
	LINK_DEAD,
};

struct link_config {
	struct h2_config h2;
	uint32_t handshake_ms; /* from the transport's opening to the end of the TLS handshake */
	uint32_t ping_every_ms, ping_timeout_ms;
};

struct link {
	uint32_t magic;
	enum link_state state;
	struct worker *w;
	struct endpoint *net; /* NULL when dead */
	struct tls *tls;
	struct h2 *h2; /* NULL before the handshake is done and after death */
	struct task run, flush, tick;
	struct timer timer, retry;
	struct taskq *user_queue;
	struct task *user;
	struct link_config config;
	uint64_t began_ns, opened_ns,
		established_ns; /* created, transport open, handshake done; 0: not yet */
	uint32_t pongs_seen;
	bool ping_out, notice_sent, goaway_sent;
	bool starved;	  /* received records wait for a buffer */
	bool drain_asked; /* before the handshake was done */
	int error;	  /* why it died; 0: gracefully */
	char error_text[192];
};

/*
 * Over net (given; NULL makes them fail with NULL too), with that context (a reference is taken). want_sans as in tls.h.
 * NULL: out of memory; net was closed.
 */
struct link *link_client(struct worker *w, struct endpoint *net, struct tls_ctx *ctx,
			 const struct str *want_sans, size_t want_count,
			 const struct link_config *config);
struct link *link_server(struct worker *w, struct endpoint *net, struct tls_ctx *ctx,
			 const struct link_config *config);
/* From now on that task is readied on changes; once at once. */
void link_attach(struct link *l, struct taskq *queue, struct task *user);
/* The peer's verified facts; NULL before LINK_OPEN and once dead. Borrowed for the turn. */
const struct tls_peer *link_peer(const struct link *l);
/* Client: opens a stream; errors of h2_open, ERR_CLOSED when the link is not open. */
int must_check link_open(struct link *l, const struct header *head, size_t n,
			 struct h2_stream **out);
/* Server: the next complete request, or NULL. */
struct h2_stream *link_next_request(struct link *l);
/* Streams that are open. */
uint32_t link_streams(const struct link *l);
/* Graceful (contract 5.6): GOAWAY, live streams go on, dies with the last. A server first ends its handshake. */
void link_drain(struct link *l);
/* At once: streams fail with reason; the peer gets a GOAWAY when the reason is ours to tell, else a reset. */
void link_kill(struct link *l, int reason);
/* Gives a link back, killing it if it lives. */
void link_free(struct link *l);

#endif
