/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's pool of client links (contract section 5.4). A tunnel is found by its key: scope (the pod), source identity
 * and certificate generation (the TLS context), accepted SANs in order, destination address, and the source IP of the
 * application. Per key one connection attempt is under way at a time; who waits for it uses its result while it has room.
 */
#ifndef GAUZE_LINK_TUNNELS_H
#define GAUZE_LINK_TUNNELS_H

#include "link.h"
#include "shared/base/addr.h"

struct rstr;
struct series;
struct tunnel;
struct tunnels;

enum { TUNNEL_SANS_MAX = TLS_EXPECTED_SANS_MAX };

struct tunnels_config {
	struct link_config link;
	uint32_t streams_max; /* per tunnel: POOL_MAX_STREAMS_PER_CONNECTION */
	uint64_t unused_ms;   /* POOL_UNUSED_RELEASE_TIMEOUT */
	uint32_t connect_ms;
	struct series *up; /* gauge of established tunnels; may be NULL */
	/*
	 * An unconnected socket for dst in the scope's namespace with its options set: a descriptor or a negative code.
	 */
	int (*open_socket)(void *scope, const struct addr *dst);
	/* A handshake was done or failed (duration 0 then); for metrics. May be NULL. */
	void (*connected)(void *scope, uint64_t connect_ns, uint64_t handshake_ns, int error);
};

/* Whom to reach; borrowed for the call of tunnels_ask(). */
struct tunnel_target {
	void *scope;
	struct addr dst;
	struct ip src_ip;
	struct tls_ctx *ctx;
	const struct rstr *sans[TUNNEL_SANS_MAX];
	uint32_t sans_count;
};

/* A place in the queue for a tunnel; embedded in who waits. */
struct tunnel_request {
	struct list link;
	struct task *done;
	struct tunnel *tunnel;
	int error; /* 0: tunnel_open() may be called */
	char error_text[192];
	bool answered;
	uint8_t moves; /* tunnels that opened and took nobody */
};

/* NULL: out of memory. */
struct tunnels *tunnels_new(struct worker *w, const struct tunnels_config *config);
/* Kills what is left. */
void tunnels_free(struct tunnels *t);
/* Readies request->done when there is a tunnel with room or an error. Never in this call. */
void tunnels_ask(struct tunnels *t, const struct tunnel_target *target,
		 struct tunnel_request *request, struct task *done);
/* Withdraws; harmless when answered. Gives reserved room back. */
void tunnel_cancel(struct tunnel_request *request);
/*
 * After a good answer, once: opens a stream with that head. Errors of link_open(): the tunnel went away meanwhile, and
 * asking again is right.
 */
int must_check tunnel_open(struct tunnel_request *request, const struct header *head, size_t n,
			   struct h2_stream **out);
/* The scope goes away: its tunnels take no new streams and end when idle (drain), or end now with reason. */
void tunnels_drain(struct tunnels *t, void *scope);
void tunnels_kill(struct tunnels *t, void *scope, int reason);
/* Ends the tunnels for whose peer `judge` returns true with that reason (CRL). Returns how many. */
uint32_t tunnels_judge(struct tunnels *t, bool (*judge)(void *arg, const struct tls_peer *peer),
		       void *arg, int reason);
uint32_t tunnels_count(const struct tunnels *t);

#endif
