/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One proxied thing (a captured connection, an HBONE stream) from the moment its route is decided: who, whom, how much,
 * how it ended. It is counted, listed, re-checked and logged here, whatever carries its bytes.
 *
 * A flow belongs to its worker and is embedded in the path's own struct (outbound.c, inbound.c, inbound_plain.c).
 */
#ifndef GAUZE_ZTUNNEL_FLOW_H
#define GAUZE_ZTUNNEL_FLOW_H

#include "shared/base/err.h"
#include "shared/link/relay.h"
#include "shared/wire/baggage.h"
#include "ztunnel/pods.h"

struct flow;
struct service;
struct workload;

/* Facts about the two sides; references are taken, strings copied by flow_open(). */
struct flow_facts {
	bool inbound;
	enum pod_flow_protocol protocol;
	bool mtls;
	struct addr src;		      /* the client */
	struct addr dst;		      /* log: dst.addr */
	struct addr listed_dst;		      /* config_dump: actualDst */
	struct addr original_dst;	      /* config_dump: originalDst; ip.len 0: null */
	struct str hbone_authority;	      /* log: dst.hbone_addr; empty: none */
	struct str peer_identity;	      /* verified identity of the other side; empty: none */
	struct workload *source;	      /* or NULL: then source_baggage */
	struct workload *destination;	      /* or NULL */
	const struct baggage *source_baggage; /* or NULL */
	struct service *service;	      /* or NULL */
};

struct flow {
	struct list link; /* proxy_worker.flows */
	struct pod_worker *pw;
	struct pod_flow listed;
	struct relay relay;
	struct task done; /* the relay ended */
	/* Ends the flow at once from outside: policy, drain, CRL, pod gone. Frees what embeds it. */
	void (*abort)(struct flow *f, int reason);
	/* Inbound: whether the policies of now deny it; reason in text. NULL: never re-checked. */
	bool (*denied)(struct flow *f);
	struct workload *source, *destination; /* counted */
	struct service *service;	       /* counted */
	struct flow_meters *meters;	       /* series of this flow */
	char *authority, *identity;	       /* owned copies, or NULL */
	uint64_t began_ns;
	struct addr dst; /* log: dst.addr */
	bool mtls, opened, counted, relayed;
};

/* Before the route is known: takes a reference to the pod; `abort` may be called from now on. */
void flow_init(struct flow *f, struct pod_worker *pw, void (*abort)(struct flow *, int));
/* The route is decided: listed, and counted as opened unless it is double HBONE. 0, or ERR_NOMEM. */
int must_check flow_open(struct flow *f, const struct flow_facts *facts);
/*
 * Double HBONE is counted as opened when both tunnels are up, with what the inner response said of the destination
 * (contract section 9), or by flow_end(). 0, or ERR_NOMEM.
 */
int must_check flow_count(struct flow *f, const struct baggage *destination);
/* Joins the two sides; `finished` runs when the relay has ended. */
void flow_relay(struct flow *f, struct endpoint *a, struct endpoint *b,
		void (*finished)(struct task *));
/*
 * It is over. After flow_open() it is counted as closed (failed when reason says so) and logged with text (NULL: the
 * reason's own). Drops all references; the struct is the caller's to free.
 */
void flow_end(struct flow *f, int reason, const char *text);
/* One warning line for a connection that was refused before its route was decided. */
void flow_early_deny(struct pod_worker *pw, const struct addr *src, const struct addr *dst,
		     bool inbound, int reason, const char *text);

#endif
