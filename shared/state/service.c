/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/spiffe.h"

enum { SERVICE_MAGIC = 0x53455256 };

static int fill_names(struct service *s, const struct service_spec *spec)
{
	s->name = rstr_intern(spec->name);
	s->ns = rstr_intern(spec->ns);
	s->hostname = rstr_intern(spec->hostname);
	if (!s->name || !s->ns || !s->hostname)
		return ERR_NOMEM;
	int err = key_intern(spec->ns, spec->hostname, &s->key);
	if (err)
		return err;
	return portmap_new(spec->ports, spec->ports_count, &s->ports);
}

static int fill_addresses(struct service *s, const struct service_spec *spec)
{
	for (size_t i = 0; i < spec->vips_count; i++) {
		struct rstr *network = rstr_intern(spec->vips[i].network);
		if (!network)
			return ERR_NOMEM;
		s->vips[s->vips_count++] = (struct service_vip){network, spec->vips[i].ip};
	}
	for (size_t i = 0; i < spec->cidr_vips_count; i++) {
		const struct cidr *c = &spec->cidr_vips[i].cidr;
		if (c->ip.len == 0 || c->prefix > c->ip.len * 8)
			return ERR_SYNTAX;
		struct rstr *network = rstr_intern(spec->cidr_vips[i].network);
		if (!network)
			return ERR_NOMEM;
		s->cidr_vips[s->cidr_vips_count++] = (struct service_cidr){network, *c};
	}
	return 0;
}

/* Identities first, in their order; what parses as none goes behind: it is kept only to be shown. */
static int fill_sans(struct service *s, const struct service_spec *spec)
{
	for (int valid = 1; valid >= 0; valid--) {
		for (size_t i = 0; i < spec->sans_count; i++) {
			struct spiffe id;
			if ((spiffe_parse(spec->sans[i], &id) == 0) != (valid == 1))
				continue;
			struct rstr *san = rstr_intern(spec->sans[i]);
			if (!san)
				return ERR_NOMEM;
			s->sans[s->sans_count++] = san;
		}
		if (valid)
			s->sans_valid = s->sans_count;
	}
	return 0;
}

static int fill_waypoints(struct service *s, const struct service_spec *spec)
{
	int err;

	if (spec->waypoint && (err = gateway_new(spec->waypoint, &s->waypoint)) != 0)
		return err;
	for (size_t i = 0; i < spec->weighted_waypoints_count; i++) {
		struct weighted_waypoint *to = &s->weighted_waypoints[i];
		err = gateway_new(&spec->weighted_waypoints[i].gateway, &to->gateway);
		if (err)
			return err;
		to->weight = spec->weighted_waypoints[i].weight;
		s->weighted_waypoints_count++;
	}
	return 0;
}

static int fill_own_endpoints(struct service *s, const struct service_spec *spec)
{
	for (size_t i = 0; i < spec->endpoints_count; i++) {
		const struct endpoint_spec *from = &spec->endpoints[i];
		struct service_endpoint *to = &s->own[i];
		int err = portmap_new(from->ports, from->ports_count, &to->ports);
		if (err)
			return err;
		s->own_count++;
		to->unhealthy = from->unhealthy;
		to->uid = rstr_intern(from->workload_uid);
		if (!to->uid)
			return ERR_NOMEM;
	}
	return 0;
}

static int fill(struct service *s, const struct service_spec *spec)
{
	int err;

	if ((err = fill_names(s, spec)) != 0 || (err = fill_addresses(s, spec)) != 0 ||
	    (err = fill_sans(s, spec)) != 0 || (err = fill_waypoints(s, spec)) != 0)
		return err;
	return fill_own_endpoints(s, spec);
}

/* Lays the arrays out behind the struct, those with the strictest alignment first. */
static struct service *block_new(const struct service_spec *spec)
{
	size_t waypoints = spec->weighted_waypoints_count * sizeof(struct weighted_waypoint);
	size_t own = spec->endpoints_count * sizeof(struct service_endpoint);
	size_t vips = spec->vips_count * sizeof(struct service_vip);
	size_t cidrs = spec->cidr_vips_count * sizeof(struct service_cidr);
	size_t sans = spec->sans_count * sizeof(struct rstr *);
	struct service *s = calloc(1, sizeof(*s) + waypoints + own + vips + cidrs + sans);
	if (!s)
		return NULL;
	char *at = (char *)(s + 1);
	s->weighted_waypoints = (struct weighted_waypoint *)at;
	s->own = (struct service_endpoint *)(at += waypoints);
	s->vips = (struct service_vip *)(at += own);
	s->cidr_vips = (struct service_cidr *)(at += vips);
	s->sans = (struct rstr **)(at + cidrs);
	return s;
}

int service_new(const struct service_spec *spec, struct service **out)
{
	if (spec->hostname.n == 0)
		return ERR_SYNTAX;
	if (spec->vips_count > UINT16_MAX || spec->cidr_vips_count > UINT16_MAX ||
	    spec->sans_count > UINT16_MAX || spec->weighted_waypoints_count > UINT16_MAX ||
	    spec->endpoints_count > UINT16_MAX || spec->scopes_count > BALANCE_SCOPES_MAX)
		return ERR_LIMIT;
	struct service *s = block_new(spec);
	if (!s)
		return ERR_NOMEM;
	s->magic = SERVICE_MAGIC;
	s->refs = 1;
	s->has_load_balancer = spec->has_load_balancer;
	s->mode = spec->mode;
	s->health_policy = spec->health_policy;
	s->families = spec->families;
	s->visibility = spec->visibility;
	s->canonical = spec->canonical;
	s->scopes_count = spec->scopes_count;
	for (size_t i = 0; i < spec->scopes_count; i++)
		s->scopes[i] = spec->scopes[i];
	int err = fill(s, spec);
	if (err) {
		service_put(s);
		return err;
	}
	*out = s;
	return 0;
}

struct service *service_get(struct service *s)
{
	if (s) {
		MAGIC_CHECK(s, SERVICE_MAGIC);
		__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	}
	return s;
}

void service_put(struct service *s)
{
	if (!s)
		return;
	MAGIC_CHECK(s, SERVICE_MAGIC);
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	rstr_put(s->name);
	rstr_put(s->ns);
	rstr_put(s->hostname);
	rstr_put(s->key);
	portmap_put(s->ports);
	gateway_put(s->waypoint);
	for (size_t i = 0; i < s->vips_count; i++)
		rstr_put(s->vips[i].network);
	for (size_t i = 0; i < s->cidr_vips_count; i++)
		rstr_put(s->cidr_vips[i].network);
	for (size_t i = 0; i < s->sans_count; i++)
		rstr_put(s->sans[i]);
	for (size_t i = 0; i < s->weighted_waypoints_count; i++)
		gateway_put(s->weighted_waypoints[i].gateway);
	for (size_t i = 0; i < s->own_count; i++) {
		rstr_put(s->own[i].uid);
		portmap_put(s->own[i].ports);
	}
	s->magic = 0;
	free(s);
}

static bool addresses_eq(const struct service *a, const struct service *b)
{
	if (a->vips_count != b->vips_count || a->cidr_vips_count != b->cidr_vips_count)
		return false;
	for (size_t i = 0; i < a->vips_count; i++)
		if (a->vips[i].network != b->vips[i].network ||
		    !ip_eq(&a->vips[i].ip, &b->vips[i].ip))
			return false;
	for (size_t i = 0; i < a->cidr_vips_count; i++)
		if (a->cidr_vips[i].network != b->cidr_vips[i].network ||
		    a->cidr_vips[i].cidr.prefix != b->cidr_vips[i].cidr.prefix ||
		    !ip_eq(&a->cidr_vips[i].cidr.ip, &b->cidr_vips[i].cidr.ip))
			return false;
	return true;
}

static bool lists_eq(const struct service *a, const struct service *b)
{
	if (a->sans_count != b->sans_count || a->own_count != b->own_count ||
	    a->weighted_waypoints_count != b->weighted_waypoints_count)
		return false;
	for (size_t i = 0; i < a->sans_count; i++)
		if (a->sans[i] != b->sans[i])
			return false;
	for (size_t i = 0; i < a->weighted_waypoints_count; i++)
		if (a->weighted_waypoints[i].weight != b->weighted_waypoints[i].weight ||
		    !gateway_eq(a->weighted_waypoints[i].gateway, b->weighted_waypoints[i].gateway))
			return false;
	for (size_t i = 0; i < a->own_count; i++)
		if (a->own[i].uid != b->own[i].uid || a->own[i].ports != b->own[i].ports ||
		    a->own[i].unhealthy != b->own[i].unhealthy)
			return false;
	return true;
}

bool service_eq(const struct service *a, const struct service *b)
{
	return a->key == b->key && a->name == b->name && a->ports == b->ports &&
	       a->has_load_balancer == b->has_load_balancer && a->mode == b->mode &&
	       a->health_policy == b->health_policy && a->families == b->families &&
	       a->visibility == b->visibility && a->canonical == b->canonical &&
	       a->scopes_count == b->scopes_count &&
	       memcmp(a->scopes, b->scopes, a->scopes_count) == 0 &&
	       gateway_eq(a->waypoint, b->waypoint) && addresses_eq(a, b) && lists_eq(a, b);
}

const struct endpoint_set *service_endpoints(const struct service *s)
{
	/* Acquire: pairs with the world's release of a complete set. */
	return __atomic_load_n(&s->endpoints, __ATOMIC_ACQUIRE);
}

struct workload *cell_workload(const struct workload_cell *cell)
{
	/* Acquire: pairs with the world's release of a complete workload. */
	return __atomic_load_n(&cell->now, __ATOMIC_ACQUIRE);
}

bool service_takes(const struct service *s, const struct endpoint_entry *e)
{
	return !e->unhealthy || (s->has_load_balancer && s->health_policy == HEALTH_ALLOW_ALL);
}

const struct endpoint_entry *service_endpoint_of(const struct service *s, const struct rstr *uid)
{
	const struct endpoint_set *set = service_endpoints(s);
	uint32_t low = 0, high = set ? set->count : 0;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct rstr *at = set->v[mid].cell->uid;
		if (at == uid)
			return service_takes(s, &set->v[mid]) ? &set->v[mid] : NULL;
		if ((uintptr_t)at < (uintptr_t)uid)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}
