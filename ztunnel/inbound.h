/* SPDX-License-Identifier: Apache-2.0 */
/* What inbound.c (the link) and inbound_stream.c (its streams) share. */
#ifndef GAUZE_ZTUNNEL_INBOUND_H
#define GAUZE_ZTUNNEL_INBOUND_H

#include "shared/control/certs.h"
#include "ztunnel/proxy.h"

/* One accepted connection on 15008. Counted: its flows outlive the link by a moment. */
struct hbone_server {
	struct list link; /* proxy_worker.hbone */
	uint32_t refs;
	struct pod_worker *pw;
	struct conn *conn;     /* until the link takes it */
	struct link *tls_link; /* NULL before there is a certificate, and once it is over */
	struct task task;
	struct timer look;
	uint64_t give_up_ns;
	struct certs_wait cert;
	bool cert_asked, transparent, in_handshake;
	struct addr peer, local;
	char *identity; /* of the peer; NULL before the handshake is done */
};

static inline struct hbone_server *hbone_server_get(struct hbone_server *s)
{
	s->refs++;
	return s;
}
void hbone_server_put(struct hbone_server *s);
/* Ends the link and, through it, all its streams. */
void hbone_server_kill(struct hbone_server *s, int reason);

/* A complete request head arrived on stream: validate, authorize, connect, answer, relay. Owns the stream. */
void inbound_stream_start(struct hbone_server *server, struct h2_stream *stream);

#endif
