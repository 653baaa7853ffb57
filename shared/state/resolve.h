/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do with a connection that a pod opened: contract section 4, steps 1 to 9, as a pure function from the world
 * to a plan. Deciding sends nothing and waits for nothing.
 */
#ifndef GAUZE_STATE_RESOLVE_H
#define GAUZE_STATE_RESOLVE_H

#include "balance.h"
#include "world.h"

enum { AUTHORITY_MAX = 272, HBONE_PORT = 15008 };

struct outbound_query {
	struct workload *source;       /* the pod's own workload, never NULL */
	struct addr src, dst;	       /* peer and original destination of the accepted socket */
	const uint16_t *illegal_ports; /* our own ports (contract 1.1) */
	size_t illegal_ports_count;
	struct rng *rng;
};

enum outbound_kind {
	OUTBOUND_REFUSE,      /* plan.error says why; early deny */
	OUTBOUND_PASSTHROUGH, /* plain TCP to the original destination, no destination labels */
	OUTBOUND_TCP,	      /* plain TCP to plan.hop */
	OUTBOUND_HBONE, /* one tunnel: to the destination itself, or to a waypoint (plan.via_waypoint) */
	OUTBOUND_DOUBLE_HBONE /* outer tunnel to a network gateway at plan.hop, inner one through it */
};

/* Whose certificate a tunnel's far end must show: any of the service's SANs or the workload's identity. */
struct plan_peer {
	struct service *service;   /* counted, or NULL */
	struct workload *workload; /* counted, or NULL */
};
size_t plan_peer_count(const struct plan_peer *p);
/* The i-th accepted URI, i < plan_peer_count(). Interned: equal text is equal pointer. */
const struct rstr *plan_peer_san(const struct plan_peer *p, size_t i);

struct outbound_plan {
	enum outbound_kind kind;
	int error; /* OUTBOUND_REFUSE: ERR_SELF_CALL, _UNKNOWN_WAYPOINT, _NO_HEALTHY_UPSTREAM, _NO_SERVICE, ... */
	bool via_waypoint;
	struct addr hop; /* whom to connect to: dst.addr of the access log */
	/*
	 * Set when the hop has no address but a name: the program resolves it (plan.hop.ip is none until then) and calls
	 * outbound_plan_resolved(). Interned, borrowed from plan.destination.
	 */
	const struct rstr *hop_hostname;
	bool authority_is_hop; /* authority = "<hop ip>:<target port>", so it waits for the name as well */
	uint16_t target_port;
	/* HBONE kinds: `:authority` of CONNECT, the same for inner and outer; also dst.hbone_addr of the access log. */
	char authority[AUTHORITY_MAX];
	struct plan_peer peer; /* of the tunnel to plan.hop */
	struct plan_peer
		inner_peer; /* OUTBOUND_DOUBLE_HBONE: of the inner tunnel; never the workload's identity */
	/* For metrics, logs and headers; counted. NULL: none. */
	struct workload *destination; /* what plan.hop belongs to; destination labels (contract 9) */
	struct service *service;      /* the service that the client meant; `forwarded host=` */
	bool mtls;		      /* connection_security_policy */
};

/* Never fails: what cannot be done is OUTBOUND_REFUSE. The plan holds references; fini it. Inside the read section. */
void resolve_outbound(const struct world *w, const struct outbound_query *q,
		      struct outbound_plan *out);
/* Any thread. Drops the references. A zeroed plan is allowed. */
void outbound_plan_fini(struct outbound_plan *p);
/* Fills in the address that plan.hop_hostname resolved to. */
void outbound_plan_resolved(struct outbound_plan *p, const struct ip *ip);

#endif
