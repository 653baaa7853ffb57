/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path of one worker: what pods.c drives through `struct proxy_ops`. Reading order of a connection:
 *
 *   outbound.c       15001: a pod opens a connection; plan -> plain TCP, a tunnel, or two
 *   inbound.c        15008: HBONE of other nodes' proxies; one flow per stream (inbound_stream.c)
 *   inbound_plain.c  15006: plaintext that was sent to a pod
 *   socks.c          15080: SOCKS5, then as outbound
 */
#ifndef GAUZE_ZTUNNEL_PROXY_H
#define GAUZE_ZTUNNEL_PROXY_H

#include "shared/base/rng.h"
#include "shared/link/tunnels.h"
#include "ztunnel/pods.h"

struct conn;
struct series;
struct tls_ctx;
struct workload;

/* Series that every connection touches, looked up once. */
struct proxy_meters {
	struct series *connect[2], *handshake[2], *tunnels[2],
		*sockets[2];	   /* reporter: source, destination */
	struct series *handshakes; /* in flight, destination */
};

struct proxy_worker {
	struct app_worker *aw;
	struct tunnels *tunnels;
	struct list
		flows; /* struct flow.link: all of this worker, those whose route is not known yet included */
	struct list socks; /* struct socks.link: negotiations under way */
	struct list
		hbone; /* struct hbone_server.link: live inbound links and those in their handshake */
	uint32_t handshakes; /* inbound, in flight */
	struct proxy_meters meters;
	struct rng rng;
	struct link_config client_config, server_config;
	uint16_t illegal_ports[4];
	size_t illegal_ports_count;
};

extern const struct proxy_ops proxy_ops;

static inline struct proxy_worker *proxy_of(const struct pod_worker *pw)
{
	return pw->aw->proxy;
}

/* ---- the paths (accept functions of proxy_ops) ---- */
void outbound_accepted(struct pod_listener *pl, int fd, const struct addr *peer);
/* Goes on where the SOCKS5 negotiation ended: the client wants dst; bytes it sent already are in client's rx. */
void outbound_start(struct pod_worker *pw, struct conn *client, const struct addr *dst);
void inbound_hbone_accepted(struct pod_listener *pl, int fd, const struct addr *peer);
void inbound_plain_accepted(struct pod_listener *pl, int fd, const struct addr *peer);
void socks_accepted(struct pod_listener *pl, int fd, const struct addr *peer);
/* Ends the negotiations of that pod that are under way. */
void socks_kill(struct pod_worker *pw, int reason);

/* ---- what the paths share (proxy.c) ---- */

/* The pod's own workload now, borrowed for the turn; NULL while the world does not know it. */
struct workload *proxy_own_workload(struct pod_worker *pw);
/*
 * Connects to an application (or anywhere) from the pod's namespace, in LIMIT_CONNECT_MS. source: the address to show
 * (contract section 1.4), or NULL. A negative code when there is no socket.
 */
int must_check proxy_connect(struct pod_worker *pw, const struct addr *dst, const struct ip *source,
			     bool transparent, struct conn **out);
/* Sets up an accepted socket: options of contract section 1.2. NULL: refused, and closed. */
struct conn *proxy_accept(struct pod_worker *pw, int fd, const struct addr *peer,
			  const struct addr *local, bool keepalive);

/* A handshake ended since the peer's certificate is revoked. */
void proxy_count_revoked(struct pod_worker *pw, bool inbound);
/* The HTTP/2 and TLS settings of this process's links, as client and as server (contract section 5.3). */
const struct link_config *proxy_link_config(const struct pod_worker *pw);
const struct link_config *proxy_server_config(const struct pod_worker *pw);

enum {

	PROXY_WORKLOAD_WAIT_MS = 5 * 1000,
	PROXY_WORKLOAD_LOOK_MS = 20
};

#endif
