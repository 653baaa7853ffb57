/* SPDX-License-Identifier: Apache-2.0 */
#include "resolve.h"

#include <stdio.h>

#include "shared/base/err.h"

/* One question on its way to a plan. */
struct ask {
	const struct world *w;
	const struct outbound_query *q;
	struct outbound_plan *plan;
};

/*
 * Whom a name or address leads to. NULL workload: nobody. An address may be missing: then the workload has a hostname, or
 * is reached through its network gateway.
 */
struct upstream {
	struct workload *workload; /* borrowed */
	struct service *service;   /* borrowed, or NULL: addressed directly */
	struct ip ip;
	bool has_ip;
	uint16_t port;
};

size_t plan_peer_count(const struct plan_peer *p)
{
	return (p->service ? p->service->sans_valid : 0U) + (p->workload ? 1U : 0U);
}

const struct rstr *plan_peer_san(const struct plan_peer *p, size_t i)
{
	size_t sans = p->service ? p->service->sans_valid : 0;

	return i < sans ? p->service->sans[i] : p->workload->identity;
}

static void refuse(struct ask *a, int error)
{
	a->plan->kind = OUTBOUND_REFUSE;
	a->plan->error = error;
}

static bool is_own_port(const struct outbound_query *q)
{
	for (size_t i = 0; i < q->illegal_ports_count; i++)
		if (q->illegal_ports[i] == q->dst.port)
			return true;
	return false;
}

/* ---- who is there ---- */

/*
 * The address to dial, chosen for one who dialled `original`. False: no address, no name and no gateway, so nothing leads
 * there.
 */
static bool complete(struct upstream *u, const struct ip *original)
{
	enum service_families families = u->service ? u->service->families : FAMILIES_AUTOMATIC;

	u->has_ip = balance_select_ip(u->workload, original, families, &u->ip);
	return u->has_ip || u->workload->hostname->len > 0 || u->workload->network_gateway;
}

/* One endpoint of the service. ERR_NOT_FOUND: none can be chosen; ERR_NO_DESTINATION: the chosen one has no address. */
static int from_service(struct ask *a, struct service *s, uint16_t port,
			enum balance_purpose purpose, const struct ip *original,
			struct upstream *out)
{
	const struct balance_query q = {
		.client = a->q->source, .service_port = port, .purpose = purpose, .rng = a->q->rng};
	struct balance_choice choice;

	if (!balance_choose(s, &q, &choice))
		return ERR_NOT_FOUND;
	*out = (struct upstream){
		.workload = choice.workload, .service = s, .port = choice.target_port};
	return complete(out, original) ? 0 : ERR_NO_DESTINATION;
}

static int from_workload(struct workload *w, uint16_t port, const struct ip *original,
			 struct upstream *out)
{
	*out = (struct upstream){.workload = w, .port = port};
	return complete(out, original) ? 0 : ERR_NO_DESTINATION;
}

/* By address: service first, then workload. */
static int from_address(struct ask *a, struct str network, const struct addr *to,
			enum balance_purpose purpose, struct upstream *out)
{
	struct service *s = world_service_by_ip(a->w, network, &to->ip, rstr_str(a->q->source->ns));
	if (s)
		return from_service(a, s, to->port, purpose, &to->ip, out);
	struct workload *w = world_workload_by_ip(a->w, network, &to->ip);
	return w ? from_workload(w, to->port, &to->ip, out) : ERR_NOT_FOUND;
}

/* Where a waypoint or gateway reference leads. By hostname it adapts to the family that the client dialled. */
static int from_gateway(struct ask *a, const struct gateway *g, enum balance_purpose purpose,
			struct upstream *out)
{
	if (g->kind == GATEWAY_ADDRESS) {
		const struct addr to = {g->ip, g->hbone_port};
		return from_address(a, rstr_str(g->name), &to, purpose, out);
	}
	struct service *s = world_service_by_key(a->w, g->name);
	if (s)
		return from_service(a, s, g->hbone_port, purpose, &a->q->dst.ip, out);
	struct workload *w = world_workload_by_hostname(a->w, g->name);
	return w ? from_workload(w, g->hbone_port, &a->q->dst.ip, out) : ERR_NOT_FOUND;
}

/* ---- what to do ---- */

static void set_peer(struct plan_peer *p, struct service *s, struct workload *w)
{
	p->service = service_get(s);
	p->workload = workload_get(w);
}

/* The hop is that upstream; `port` is what is dialled there. False: the plan became a refusal. */
static bool set_hop(struct ask *a, const struct upstream *u, uint16_t port)
{
	struct outbound_plan *p = a->plan;

	if (!u->has_ip && u->workload->hostname->len == 0) {
		refuse(a, ERR_NO_DESTINATION);
		return false;
	}
	p->hop.port = port;
	if (u->has_ip)
		p->hop.ip = u->ip;
	else
		p->hop_hostname = u->workload->hostname;
	p->destination = workload_get(u->workload);
	return true;
}

/* One tunnel to the waypoint, which learns from the authority whom the client meant. */
static void to_waypoint(struct ask *a, const struct upstream *waypoint, struct service *meant)
{
	struct outbound_plan *p = a->plan;

	if (!set_hop(a, waypoint, waypoint->port))
		return;
	p->kind = OUTBOUND_HBONE;
	p->via_waypoint = true;
	p->mtls = true;
	p->target_port = a->q->dst.port;
	addr_text(&a->q->dst, p->authority);
	set_peer(&p->peer, waypoint->service, waypoint->workload);
	p->service = service_get(meant);
}

/* Two tunnels: one to the gateway of the network where `final_hop` is, one through it to whoever stands there. */
static void through_gateway(struct ask *a, const struct upstream *final_hop, struct service *meant)
{
	struct outbound_plan *p = a->plan;
	struct upstream gateway;

	if (!final_hop->workload->network_gateway) {
		refuse(a, ERR_NO_DESTINATION);
		return;
	}
	int err = from_gateway(a, final_hop->workload->network_gateway, BALANCE_FOR_TRAFFIC,
			       &gateway);
	if (err) {
		refuse(a, err == ERR_NOT_FOUND ? ERR_UNKNOWN_GATEWAY : err);
		return;
	}
	int n = snprintf(p->authority, sizeof(p->authority), "%s:%u", meant->hostname->text,
			 a->q->dst.port);
	if (n < 0 || (size_t)n >= sizeof(p->authority)) {
		refuse(a, ERR_TOO_LARGE);
		return;
	}
	if (!set_hop(a, &gateway, gateway.port))
		return;
	p->kind = OUTBOUND_DOUBLE_HBONE;
	p->mtls = true;
	p->target_port = a->q->dst.port;
	set_peer(&p->peer, gateway.service, gateway.workload);
	set_peer(&p->inner_peer, final_hop->service, NULL);
	p->service = service_get(meant);
}

static void to_upstream(struct ask *a, const struct upstream *u)
{
	struct outbound_plan *p = a->plan;
	bool hbone = u->workload->protocol == WORKLOAD_HBONE;

	if (!set_hop(a, u, hbone ? HBONE_PORT : u->port))
		return;
	p->kind = hbone ? OUTBOUND_HBONE : OUTBOUND_TCP;
	p->mtls = hbone;
	p->target_port = u->port;
	p->service = service_get(u->service);
	if (!hbone)
		return;
	set_peer(&p->peer, u->service, u->workload);
	p->authority_is_hop = true;
	if (u->has_ip)
		outbound_plan_resolved(p, &u->ip);
}

/* ---- waypoints ---- */

/* By weight; NULL when there is no set, or none of it has weight. */
static const struct gateway *weighted_waypoint(const struct service *s, struct rng *rng)
{
	uint64_t total = 0;

	for (size_t i = 0; i < s->weighted_waypoints_count; i++)
		total += s->weighted_waypoints[i].weight;
	if (total == 0)
		return NULL;
	uint64_t at = rng_below(rng, total);
	size_t i = 0;
	while (at >= s->weighted_waypoints[i].weight)
		at -= s->weighted_waypoints[i++].weight;
	return s->weighted_waypoints[i].gateway;
}

static bool is_source(const struct outbound_query *q, const struct workload *w)
{
	return w->identity == q->source->identity && workload_has_ip(w, &q->src.ip);
}

/* Whether the connection comes from the waypoint of that workload: it is not to go there again. */
static bool from_own_waypoint(struct ask *a, const struct workload *upstream)
{
	const struct gateway *g = upstream->waypoint;
	struct service *s = NULL;
	struct workload *w = NULL;

	if (!g)
		return false;
	if (g->kind == GATEWAY_HOSTNAME) {
		s = world_service_by_key(a->w, g->name);
		w = s ? NULL : world_workload_by_hostname(a->w, g->name);
	} else {
		w = world_workload_by_ip(a->w, rstr_str(g->name), &g->ip);
		s = w ? NULL
		      : world_service_by_ip(a->w, rstr_str(g->name), &g->ip, (struct str){NULL, 0});
	}
	if (w)
		return is_source(a->q, w);
	const struct endpoint_set *set = s ? service_endpoints(s) : NULL;
	for (uint32_t i = 0; set && i < set->count; i++) {
		const struct workload *one = cell_workload(set->v[i].cell);
		if (one && service_takes(s, &set->v[i]) && is_source(a->q, one))
			return true;
	}
	return false;
}

/* Step 4. True when the plan is made: the service has a waypoint. */
static bool by_service_waypoint(struct ask *a, struct service *s)
{
	const struct gateway *g = weighted_waypoint(s, a->q->rng);
	struct upstream waypoint;

	if (!g)
		g = s->waypoint;
	if (!g)
		return false;
	int err = from_gateway(a, g, BALANCE_FOR_WAYPOINT, &waypoint);
	if (err)
		refuse(a, err == ERR_NOT_FOUND ? ERR_UNKNOWN_WAYPOINT : err);
	else if (waypoint.workload->network != a->q->source->network)
		through_gateway(a, &waypoint, s);
	else
		to_waypoint(a, &waypoint, s);
	return true;
}

/* Step 7. True when the plan is made. */
static bool by_workload_waypoint(struct ask *a, const struct upstream *u)
{
	struct upstream waypoint;

	if (!u->workload->waypoint || from_own_waypoint(a, u->workload))
		return false;
	int err = from_gateway(a, u->workload->waypoint, BALANCE_FOR_WAYPOINT, &waypoint);
	if (err)
		refuse(a, err == ERR_NOT_FOUND ? ERR_UNKNOWN_WAYPOINT : err);
	else
		to_waypoint(a, &waypoint, u->service);
	return true;
}

static void passthrough(struct ask *a)
{
	a->plan->kind = OUTBOUND_PASSTHROUGH;
	a->plan->hop = a->q->dst;
	a->plan->target_port = a->q->dst.port;
}

static bool is_passthrough(const struct service *s)
{
	return s->has_load_balancer && s->mode == BALANCE_PASSTHROUGH;
}

/* Steps 5 to 9. `s`: the service that the client addressed, or NULL. */
static void by_upstream(struct ask *a, struct service *s)
{
	struct upstream u;

	int err = from_address(a, rstr_str(a->q->source->network), &a->q->dst, BALANCE_FOR_TRAFFIC,
			       &u);
	if (err == ERR_NOT_FOUND && s && !is_passthrough(s)) {
		refuse(a, ERR_NO_HEALTHY_UPSTREAM);
	} else if (err == ERR_NOT_FOUND) {
		passthrough(a);
	} else if (err) {
		refuse(a, err);
	} else if (u.workload->network != a->q->source->network) {
		if (s)
			through_gateway(a, &u, s);
		else
			refuse(a, ERR_NO_SERVICE);
	} else if (s || !by_workload_waypoint(a, &u)) {
		to_upstream(a, &u);
	}
}

void resolve_outbound(const struct world *w, const struct outbound_query *q,
		      struct outbound_plan *out)
{
	struct ask a = {w, q, out};
	struct str network = world_network(w);
	struct service *s = NULL;

	*out = (struct outbound_plan){.kind = OUTBOUND_REFUSE};
	if (ip_is_loopback(&q->dst.ip) && is_own_port(q)) {
		refuse(&a, ERR_SELF_CALL);
		return;
	}
	/* An address that is both means the workload: its service is not what was dialled. */
	if (!world_workload_by_ip(w, network, &q->dst.ip))
		s = world_service_by_ip(w, network, &q->dst.ip, rstr_str(q->source->ns));
	if (s && by_service_waypoint(&a, s))
		return;
	by_upstream(&a, s);
}

void outbound_plan_resolved(struct outbound_plan *p, const struct ip *ip)
{
	p->hop.ip = *ip;
	p->hop_hostname = NULL;
	if (p->authority_is_hop)
		addr_text(&(struct addr){*ip, p->target_port}, p->authority);
}

void outbound_plan_fini(struct outbound_plan *p)
{
	service_put(p->peer.service);
	workload_put(p->peer.workload);
	service_put(p->inner_peer.service);
	workload_put(p->inner_peer.workload);
	workload_put(p->destination);
	service_put(p->service);
	*p = (struct outbound_plan){.kind = OUTBOUND_REFUSE};
}
