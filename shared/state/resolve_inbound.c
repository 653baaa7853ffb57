/* SPDX-License-Identifier: Apache-2.0 */
#include "resolve_inbound.h"

#include "shared/base/err.h"

enum { STATUS_BAD_REQUEST = 400, STATUS_UNAVAILABLE = 503 };

static void refuse(struct inbound_plan *p, int error, uint16_t status)
{
	p->error = error;
	p->status = status;
}

static bool is_own_port(const struct inbound_query *q, uint16_t port)
{
	for (size_t i = 0; i < q->illegal_ports_count; i++)
		if (q->illegal_ports[i] == port)
			return true;
	return false;
}

/* Whether a reference to a waypoint leads to the workload that the connection arrived at. */
static bool waypoint_is_here(const struct world *w, const struct gateway *g,
			     const struct inbound_query *q)
{
	const struct str nobody = {NULL, 0};
	struct workload *at = NULL;
	struct service *s = NULL;

	if (!g)
		return false;
	if (g->kind == GATEWAY_HOSTNAME) {
		s = world_service_by_key(w, g->name);
		at = s ? NULL : world_workload_by_hostname(w, g->name);
	} else {
		at = world_workload_by_ip(w, rstr_str(g->name), &g->ip);
		s = at ? NULL : world_service_by_ip(w, rstr_str(g->name), &g->ip, nobody);
	}
	if (s)
		return service_endpoint_of(s, q->local->uid) != NULL;
	return at && workload_has_ip(at, &q->dst.ip);
}

/* Step 3: what the client asks for must be this workload, or something that this workload is the waypoint of. */
static bool destination_is_ours(const struct world *w, const struct inbound_query *q)
{
	const struct str nobody = {NULL, 0};

	if (q->authority_host.n > 0 || ip_eq(&q->authority.ip, &q->dst.ip) ||
	    q->local->has_app_tunnel)
		return true;
	struct workload *target = world_workload_by_ip(w, world_network(w), &q->authority.ip);
	if (target)
		return waypoint_is_here(w, target->waypoint, q);
	struct service *s = world_service_by_ip(w, world_network(w), &q->authority.ip, nobody);
	return s && waypoint_is_here(w, s->waypoint, q);
}

/* Step 4 for a hostname: the port that this workload serves it on; 0: none. */
static uint16_t port_of_service(const struct service *s, const struct inbound_query *q)
{
	const struct endpoint_entry *e = service_endpoint_of(s, q->local->uid);
	const struct port_pair *pair = e ? portmap_find(e->ports, q->authority.port) : NULL;

	if (!pair)
		pair = portmap_find(s->ports, q->authority.port);
	return pair ? pair->target : 0;
}

/* Step 9 for a hostname: PROXY cannot carry names, so one of the service's addresses stands for it. */
static bool vip_for_proxy(const struct world *w, const struct service *s, struct ip *out)
{
	int best = -1;

	for (size_t i = 0; i < s->vips_count; i++) {
		int rank = 0;
		if (str_eq(rstr_str(s->vips[i].network), world_network(w)))
			rank = s->vips[i].ip.len == 4 ? 2 : 1;
		if (rank >= best) {
			best = rank;
			*out = s->vips[i].ip;
		}
	}
	return best >= 0;
}

/* Whether clients reach that port of the workload by way of that service. */
static bool serves_port(const struct service *s, const struct workload *local, uint16_t port)
{
	const struct endpoint_entry *e = service_endpoint_of(s, local->uid);

	for (size_t i = 0; i < portmap_count(s->ports); i++) {
		const struct port_pair *pair = portmap_at(s->ports, i);
		if (pair->target == port)
			return true;
		const struct port_pair *own = e ? portmap_find(e->ports, pair->service) : NULL;
		if (own && own->target == port)
			return true;
	}
	return false;
}

/*
 * Which service to account the connection to: the one that the client named, if it is one of the candidates, else the first
 * that leads to the port. The candidates are bounded, so a client cannot make names up.
 */
static struct service *attribute(const struct world *w, const struct inbound_query *q,
				 struct service *only, uint16_t port)
{
	struct service *by_port = NULL;
	size_t count = only ? 1 : q->local->services_count;

	for (size_t i = 0; i < count; i++) {
		struct service *s =
			only ? only : world_service_by_key(w, workload_services(q->local)[i].key);
		if (!s)
			continue;
		if (q->forwarded_host.n > 0 && str_eq(rstr_str(s->hostname), q->forwarded_host))
			return s;
		if (!by_port && serves_port(s, q->local, port))
			by_port = s;
	}
	return by_port;
}

static void set_facts(const struct inbound_query *q, struct inbound_plan *p)
{
	p->facts = (struct authz_facts){.src = q->src, .dst = p->target, .identity = q->identity};
}

/* Step 6, and what of step 9 is decided now. */
static void apply_tunnel(const struct world *w, const struct inbound_query *q,
			 const struct service *s, struct inbound_plan *p)
{
	const struct workload *local = q->local;

	if (!local->has_app_tunnel)
		return;
	p->proxy_dst = q->authority;
	if (s && !vip_for_proxy(w, s, &p->proxy_dst.ip)) {
		refuse(p, ERR_NO_DESTINATION, STATUS_UNAVAILABLE);
		return;
	}
	if (local->app_tunnel_port != 0)
		p->target.port = local->app_tunnel_port;
	p->proxy_header = local->app_tunnel == APP_TUNNEL_PROXY;
	p->loopback = p->proxy_header && q->localhost_app_tunnel;
}

static struct ip loopback_of(const struct ip *ip)
{
	struct ip out = {.len = ip->len};

	if (ip->len == 4)
		out.b[0] = 127;
	out.b[ip->len - 1] = 1;
	return out;
}

void resolve_inbound(const struct world *w, const struct inbound_query *q, struct inbound_plan *out)
{
	struct service *s = NULL;

	*out = (struct inbound_plan){0};
	if (!destination_is_ours(w, q)) {
		refuse(out, ERR_DESTINATION_MISMATCH, STATUS_BAD_REQUEST);
		return;
	}
	out->target = (struct addr){q->dst.ip, q->authority.port};
	if (q->authority_host.n > 0) {
		s = world_service_by_host(w, q->authority_host, rstr_str(q->local->ns));
		out->target.port = s ? port_of_service(s, q) : 0;
		if (out->target.port == 0) {
			refuse(out, ERR_NOT_FOUND, STATUS_UNAVAILABLE);
			return;
		}
	}
	if (is_own_port(q, out->target.port)) {
		refuse(out, ERR_ILLEGAL_PORT, STATUS_UNAVAILABLE);
		return;
	}
	apply_tunnel(w, q, s, out);
	if (out->error)
		return;
	out->service = service_get(attribute(w, q, s, out->target.port));
	/* Policies see the pod's own address, also where the application is dialled on loopback. */
	set_facts(q, out);
	if (out->loopback)
		out->target.ip = loopback_of(&out->target.ip);
}

void resolve_inbound_plain(const struct world *w, const struct inbound_query *q,
			   struct inbound_plan *out)
{
	*out = (struct inbound_plan){.target = q->dst};
	if (is_own_port(q, q->dst.port)) {
		refuse(out, ERR_ILLEGAL_PORT, 0);
		return;
	}
	set_facts(q, out);
	out->service = service_get(attribute(w, q, NULL, q->dst.port));
}

void inbound_plan_fini(struct inbound_plan *p)
{
	service_put(p->service);
	*p = (struct inbound_plan){0};
}
