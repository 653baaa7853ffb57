/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do with a connection that arrives for a pod: contract sections 6.1 (steps 3 to 6, 9) and 6.2, as pure functions
 * from the world to a plan. Authorization (step 7) is the caller's next call, authz_check(world, local, &plan.facts):
 * a flow is registered for re-checks before it is first checked (contract 6.3).
 */
#ifndef GAUZE_STATE_RESOLVE_INBOUND_H
#define GAUZE_STATE_RESOLVE_INBOUND_H

#include "authz.h"
#include "world.h"

struct inbound_query {
	struct workload *local; /* the pod's own workload, never NULL */
	struct addr src;	/* TCP peer */
	struct addr
		dst; /* HBONE: local address of the TCP connection; plaintext: original destination */
	struct str identity; /* peer's verified identity; empty on plaintext */
	struct str
		authority_host; /* HBONE: the host of `:authority` when it is no IP literal, else empty */
	struct addr
		authority; /* HBONE: its address and port; with a hostname only the port is used */
	struct str forwarded_host;     /* HBONE: `forwarded` host=, or empty */
	const uint16_t *illegal_ports; /* our own ports (contract 1.1) */
	size_t illegal_ports_count;
	bool localhost_app_tunnel; /* LOCALHOST_APP_TUNNEL */
};

struct inbound_plan {
	int error; /* 0, or ERR_DESTINATION_MISMATCH, ERR_NOT_FOUND, ERR_ILLEGAL_PORT, ERR_NO_DESTINATION */
	uint16_t status;    /* HBONE: 0, or the status to answer: 400, 503 */
	struct addr target; /* whom to connect to */
	bool loopback; /* bind the loopback of that family as source instead of the client's address */
	bool proxy_header;	  /* the first bytes to the application are a PROXY v2 header ... */
	struct addr proxy_dst;	  /* ... with this destination; source is the peer */
	struct authz_facts facts; /* for authz_check; identity is the query's view */
	struct service *service; /* counted, or NULL: what the client meant, for metrics and logs */
};

/* HBONE on 15008. The plan holds references: fini it. Inside the read section. */
void resolve_inbound(const struct world *w, const struct inbound_query *q,
		     struct inbound_plan *out);
/* Plaintext on 15006: the original destination as it is; only error, target, facts and service are used. */
void resolve_inbound_plain(const struct world *w, const struct inbound_query *q,
			   struct inbound_plan *out);
/* Any thread. */
void inbound_plan_fini(struct inbound_plan *p);

#endif
