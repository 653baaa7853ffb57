/* SPDX-License-Identifier: Apache-2.0 */
#include "workload.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/spiffe.h"

enum { WORKLOAD_MAGIC = 0x574c4f44 };

/* Where the strings of a workload come from and go to; identity is made from three of them. */
#define AT(field)                                                                       \
	{                                                                               \
		offsetof(struct workload_spec, field), offsetof(struct workload, field) \
	}
static const struct {
	uint16_t from, to;
} strings[] = {
	AT(uid),
	AT(name),
	AT(ns),
	AT(service_account),
	AT(trust_domain),
	AT(hostname),
	AT(network),
	AT(node),
	AT(workload_name),
	AT(canonical_name),
	AT(canonical_revision),
	AT(cluster_id),
	AT(region),
	AT(zone),
	AT(subzone),
};
#undef AT

static struct rstr **string_at(const struct workload *w, size_t i)
{
	return (struct rstr **)((uintptr_t)w + strings[i].to);
}

static int intern_identity(const struct workload_spec *spec, struct rstr **out)
{
	const struct spiffe id = {spec->trust_domain, spec->ns, spec->service_account};
	char text[SPIFFE_TEXT_MAX];

	int err = spiffe_format(&id, text);
	if (err)
		return err;
	*out = rstr_intern(str_of(text));
	return *out ? 0 : ERR_NOMEM;
}

static int fill_strings(struct workload *w, const struct workload_spec *spec)
{
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		const struct str *from =
			(const struct str *)(const void *)((const char *)spec + strings[i].from);
		struct rstr *s = rstr_intern(*from);
		if (!s)
			return ERR_NOMEM;
		*string_at(w, i) = s;
	}
	return intern_identity(spec, &w->identity);
}

/* Sorted by text, so that equal maps compare equal and dumps are in order. */
static int fill_services(struct workload *w, const struct workload_spec *spec)
{
	struct workload_service *to = workload_services(w);

	for (size_t i = 0; i < spec->services_count; i++) {
		const struct workload_service_spec *from = &spec->services[i];
		struct workload_service s;
		if (!memchr(from->key.p ? from->key.p : "", '/', from->key.n))
			return ERR_SYNTAX;
		s.key = rstr_intern(from->key);
		if (!s.key)
			return ERR_NOMEM;
		int err = portmap_new(from->ports, from->ports_count, &s.ports);
		if (err) {
			rstr_put(s.key);
			return err;
		}
		size_t at = i;
		while (at > 0 && strcmp(to[at - 1].key->text, s.key->text) > 0) {
			to[at] = to[at - 1];
			at--;
		}
		to[at] = s;
	}
	return 0;
}

static int fill(struct workload *w, const struct workload_spec *spec)
{
	int err = fill_strings(w, spec);
	if (err)
		return err;
	if (spec->waypoint && (err = gateway_new(spec->waypoint, &w->waypoint)) != 0)
		return err;
	if (spec->network_gateway &&
	    (err = gateway_new(spec->network_gateway, &w->network_gateway)) != 0)
		return err;
	for (size_t i = 0; i < spec->policies_count; i++) {
		workload_policies(w)[i] = rstr_intern(spec->policies[i]);
		if (!workload_policies(w)[i])
			return ERR_NOMEM;
	}
	return fill_services(w, spec);
}

int workload_new(const struct workload_spec *spec, struct workload **out)
{
	if (spec->ips_count > UINT16_MAX || spec->policies_count > UINT16_MAX ||
	    spec->services_count > UINT16_MAX)
		return ERR_LIMIT;
	struct workload *w =
		calloc(1, sizeof(*w) + spec->services_count * sizeof(struct workload_service) +
				  spec->policies_count * sizeof(struct rstr *) +
				  spec->ips_count * sizeof(struct ip));
	if (!w)
		return ERR_NOMEM;
	w->magic = WORKLOAD_MAGIC;
	w->refs = 1;
	w->ips_count = (uint16_t)spec->ips_count;
	w->policies_count = (uint16_t)spec->policies_count;
	w->services_count = (uint16_t)spec->services_count;
	if (spec->ips_count)
		memcpy(workload_ips(w), spec->ips, spec->ips_count * sizeof(struct ip));
	w->protocol = spec->protocol;
	w->network_mode = spec->network_mode;
	w->type = spec->type;
	w->status = spec->status;
	w->app_tunnel = spec->app_tunnel;
	w->has_app_tunnel = spec->has_app_tunnel;
	w->app_tunnel_port = spec->app_tunnel_port;
	w->native_tunnel = spec->native_tunnel;
	w->capacity = spec->capacity;
	int err = fill(w, spec);
	if (err) {
		workload_put(w);
		return err;
	}
	*out = w;
	return 0;
}

struct workload *workload_get(struct workload *w)
{
	if (w) {
		MAGIC_CHECK(w, WORKLOAD_MAGIC);
		__atomic_fetch_add(&w->refs, 1, __ATOMIC_RELAXED);
	}
	return w;
}

void workload_put(struct workload *w)
{
	if (!w)
		return;
	MAGIC_CHECK(w, WORKLOAD_MAGIC);
	if (__atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		rstr_put(*string_at(w, i));
	rstr_put(w->identity);
	gateway_put(w->waypoint);
	gateway_put(w->network_gateway);
	for (size_t i = 0; i < w->policies_count; i++)
		rstr_put(workload_policies(w)[i]);
	for (size_t i = 0; i < w->services_count; i++) {
		rstr_put(workload_services(w)[i].key);
		portmap_put(workload_services(w)[i].ports);
	}
	w->magic = 0;
	free(w);
}

static bool lists_eq(const struct workload *a, const struct workload *b)
{
	if (a->ips_count != b->ips_count || a->policies_count != b->policies_count ||
	    a->services_count != b->services_count)
		return false;
	for (size_t i = 0; i < a->ips_count; i++)
		if (!ip_eq(&workload_ips(a)[i], &workload_ips(b)[i]))
			return false;
	for (size_t i = 0; i < a->policies_count; i++)
		if (workload_policies(a)[i] != workload_policies(b)[i])
			return false;
	for (size_t i = 0; i < a->services_count; i++) {
		const struct workload_service *x = &workload_services(a)[i];
		const struct workload_service *y = &workload_services(b)[i];
		if (x->key != y->key || x->ports != y->ports)
			return false;
	}
	return true;
}

bool workload_eq(const struct workload *a, const struct workload *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		if (*string_at(a, i) != *string_at(b, i))
			return false;
	return a->capacity == b->capacity && a->app_tunnel_port == b->app_tunnel_port &&
	       a->protocol == b->protocol && a->network_mode == b->network_mode &&
	       a->type == b->type && a->status == b->status && a->app_tunnel == b->app_tunnel &&
	       a->has_app_tunnel == b->has_app_tunnel && a->native_tunnel == b->native_tunnel &&
	       gateway_eq(a->waypoint, b->waypoint) &&
	       gateway_eq(a->network_gateway, b->network_gateway) && lists_eq(a, b);
}

bool workload_has_ip(const struct workload *w, const struct ip *ip)
{
	for (size_t i = 0; i < w->ips_count; i++)
		if (ip_eq(&workload_ips(w)[i], ip))
			return true;
	return false;
}

int workload_rank(const struct workload *w)
{
	/* A pod's address is not spoofed by who writes service entries; next, who is in the mesh says more. */
	int pod = strstr(w->uid->text, "//Pod/") ? 2 : 0;

	return pod + (w->protocol == WORKLOAD_HBONE ? 1 : 0);
}

const char *workload_type_text(enum workload_type type)
{
	static const char *const text[] = {
		[WORKLOAD_DEPLOYMENT] = "deployment",
		[WORKLOAD_CRONJOB] = "cronjob",
		[WORKLOAD_POD] = "pod",
		[WORKLOAD_JOB] = "job",
	};

	return (size_t)type < ARRAY_SIZE(text) ? text[type] : "deployment";
}
