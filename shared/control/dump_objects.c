/* SPDX-License-Identifier: Apache-2.0 */
/* One object as JSON. The steps of each function stand in the alphabetical order of the keys. */
#include <stdlib.h>

#include "dump_private.h"

static const char *const status_names[] = {"Healthy", "Unhealthy"};
static const char *const protocol_names[] = {"TCP", "HBONE"};
static const char *const mode_names[] = {"Standard", "HostNetwork"};
static const char *const tunnel_names[] = {"NONE", "PROXY"};
static const char *const family_names[] = {"", "IPv4", "IPv6", "Dual"};
static const char *const visibility_names[] = {"Public", "Namespace"};
static const char *const balance_names[] = {"Standard", "Strict", "Failover", "Passthrough"};
static const char *const health_names[] = {"OnlyHealthy", "AllowAll"};
static const char *const scope_names[] = {"",	  "Region",  "Zone",   "Subzone",
					  "Node", "Cluster", "Network"};
static const char *const policy_scope_names[] = {"Global", "Namespace", "WorkloadSelector"};
static const char *const action_names[] = {"Allow", "Deny"};

static cJSON *whole(cJSON *value, bool ok)
{
	if (!ok)
		cJSON_Delete(value);
	return ok ? value : NULL;
}

static cJSON *texts(struct rstr *const *v, size_t count)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (size_t i = 0; i < count && ok; i++)
		ok = json_append(out, cJSON_CreateString(v[i]->text));
	return whole(out, ok);
}

/* ---- workloads ---- */

static cJSON *tunnel(const struct workload *w)
{
	cJSON *out = cJSON_CreateObject();
	bool ok = out && (w->app_tunnel_port ? json_number(out, "port", w->app_tunnel_port)
					     : cJSON_AddNullToObject(out, "port") != NULL);

	return whole(out, ok && json_enum(out, "protocol", tunnel_names, w->app_tunnel));
}

static bool add_locality(cJSON *out, const struct workload *w)
{
	if (w->region->len + w->zone->len + w->subzone->len == 0)
		return true;
	cJSON *l = cJSON_CreateObject();
	bool ok = l && json_text(l, "region", w->region) && json_text(l, "subzone", w->subzone) &&
		  json_text(l, "zone", w->zone);
	return json_add(out, "locality", whole(l, ok));
}

static bool add_services(cJSON *out, const struct workload *w)
{
	if (w->services_count == 0)
		return true;
	cJSON *l = cJSON_CreateArray();
	bool ok = l != NULL;
	for (size_t i = 0; i < w->services_count && ok; i++)
		ok = json_append(l, cJSON_CreateString(workload_services(w)[i].key->text));
	return json_add(out, "services", whole(l, ok));
}

static bool add_ips(cJSON *out, const struct workload *w)
{
	cJSON *l = cJSON_CreateArray();
	bool ok = l != NULL;

	for (size_t i = 0; i < w->ips_count && ok; i++) {
		char text[ADDR_TEXT_MAX];
		ok = json_append(l, cJSON_CreateString(ip_text(&workload_ips(w)[i], text)));
	}
	return json_add(out, "workloadIps", whole(l, ok));
}

cJSON *dump_workload(const struct workload *w)
{
	cJSON *out = cJSON_CreateObject();
	bool ok = out && (!w->has_app_tunnel || json_add(out, "applicationTunnel", tunnel(w))) &&
		  (w->policies_count == 0 ||
		   json_add(out, "authorizationPolicies",
			    texts(workload_policies(w), w->policies_count))) &&
		  json_text_if(out, "canonicalName", w->canonical_name) &&
		  json_text_if(out, "canonicalRevision", w->canonical_revision) &&
		  json_number(out, "capacity", w->capacity) &&
		  json_text(out, "clusterId", w->cluster_id) &&
		  json_text_if(out, "hostname", w->hostname) && add_locality(out, w) &&
		  json_text(out, "name", w->name) && json_text(out, "namespace", w->ns) &&
		  (!w->native_tunnel || cJSON_AddTrueToObject(out, "nativeTunnel")) &&
		  json_text_if(out, "network", w->network) &&
		  (!w->network_gateway ||
		   json_add(out, "networkGateway", dump_gateway(w->network_gateway))) &&
		  json_enum(out, "networkMode", mode_names, w->network_mode) &&
		  json_text_if(out, "node", w->node) &&
		  json_enum(out, "protocol", protocol_names, w->protocol) &&
		  json_text_if(out, "serviceAccount", w->service_account) && add_services(out, w) &&
		  json_enum(out, "status", status_names, w->status) &&
		  json_text_if(out, "trustDomain", w->trust_domain) &&
		  json_text_if(out, "uid", w->uid) &&
		  (!w->waypoint || json_add(out, "waypoint", dump_gateway(w->waypoint))) &&
		  add_ips(out, w) && json_text_if(out, "workloadName", w->workload_name) &&
		  cJSON_AddStringToObject(out, "workloadType", workload_type_text(w->type));

	return whole(out, ok);
}

/* ---- services ---- */

static cJSON *dump_endpoint(const struct endpoint_entry *e)
{
	cJSON *out = cJSON_CreateObject();

	return whole(out, out && json_add(out, "port", dump_ports(e->ports)) &&
				  json_enum(out, "status", status_names, e->unhealthy) &&
				  json_text(out, "workloadUid", e->cell->uid));
}

static int by_uid(const void *a, const void *b)
{
	const struct endpoint_entry *x = *(const struct endpoint_entry *const *)a;
	const struct endpoint_entry *y = *(const struct endpoint_entry *const *)b;

	return strcmp(x->cell->uid->text, y->cell->uid->text);
}

cJSON *dump_endpoints(const struct service *s, const struct endpoint_set *set)
{
	uint32_t count = set ? set->count : 0, n = 0;
	const struct endpoint_entry **v = calloc(count + 1, sizeof(void *));
	cJSON *out = v ? cJSON_CreateObject() : NULL;
	bool ok = out != NULL;

	for (uint32_t i = 0; i < count && ok; i++)
		if (!s || service_takes(s, &set->v[i]))
			v[n++] = &set->v[i];
	if (n > 0)
		qsort(v, n, sizeof(*v), by_uid);
	for (uint32_t i = 0; i < n && ok; i++)
		ok = json_add(out, v[i]->cell->uid->text, dump_endpoint(v[i]));
	free(v);
	return whole(out, ok);
}

static cJSON *balancer(const struct service *s)
{
	cJSON *out = cJSON_CreateObject(), *scopes = cJSON_CreateArray();
	bool ok = out && scopes && json_enum(out, "healthPolicy", health_names, s->health_policy) &&
		  json_enum(out, "mode", balance_names, s->mode);

	for (uint8_t i = 0; i < s->scopes_count && ok; i++)
		ok = json_append(scopes, cJSON_CreateString(scope_names[s->scopes[i]]));
	if (ok)
		ok = json_add(out, "routingPreferences", scopes);
	else
		cJSON_Delete(scopes);
	return whole(out, ok);
}

static cJSON *cidrs(const struct service *s)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (size_t i = 0; i < s->cidr_vips_count && ok; i++) {
		cJSON *one = cJSON_CreateObject();
		bool filled = one && json_add(one, "cidr", dump_cidr(&s->cidr_vips[i].cidr)) &&
			      json_text(one, "network", s->cidr_vips[i].network);
		ok = json_append(out, whole(one, filled));
	}
	return whole(out, ok);
}

static cJSON *vips(const struct service *s)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (size_t i = 0; i < s->vips_count && ok; i++)
		ok = json_append(out, dump_network_ip(s->vips[i].network, &s->vips[i].ip));
	return whole(out, ok);
}

static cJSON *weighted(const struct service *s)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (size_t i = 0; i < s->weighted_waypoints_count && ok; i++) {
		const struct weighted_waypoint *from = &s->weighted_waypoints[i];
		cJSON *one = cJSON_CreateObject();
		bool filled = one && json_add(one, "destination", dump_gateway(from->gateway)) &&
			      json_number(one, "weight", from->weight);
		ok = json_append(out, whole(one, filled));
	}
	return whole(out, ok);
}

cJSON *dump_service(const struct service *s)
{
	cJSON *out = cJSON_CreateObject();
	bool ok = out && cJSON_AddBoolToObject(out, "canonical", s->canonical) &&
		  (s->cidr_vips_count == 0 || json_add(out, "cidrVips", cidrs(s))) &&
		  json_add(out, "endpoints", dump_endpoints(s, service_endpoints(s))) &&
		  json_text(out, "hostname", s->hostname) &&
		  (s->families == FAMILIES_AUTOMATIC ||
		   json_enum(out, "ipFamilies", family_names, s->families)) &&
		  (!s->has_load_balancer || json_add(out, "loadBalancer", balancer(s))) &&
		  json_text(out, "name", s->name) && json_text(out, "namespace", s->ns) &&
		  json_add(out, "ports", dump_ports(s->ports)) &&
		  json_add(out, "subjectAltNames", texts(s->sans, s->sans_count)) &&
		  json_add(out, "vips", vips(s)) &&
		  json_enum(out, "visibility", visibility_names, s->visibility) &&
		  (!s->waypoint || json_add(out, "waypoint", dump_gateway(s->waypoint))) &&
		  (s->weighted_waypoints_count == 0 ||
		   json_add(out, "weightedWaypoints", weighted(s)));

	return whole(out, ok);
}

/* ---- policies ---- */

static cJSON *text_of(struct str s)
{
	char *z = strndup(s.p ? s.p : "", s.n);
	cJSON *out = z ? cJSON_CreateString(z) : NULL;

	free(z);
	return out;
}

static cJSON *string_match(const struct string_match *m)
{
	static const char *const form[] = {
		[STRING_UNSET] = "",
		[STRING_EXACT] = "Exact",
		[STRING_PREFIX] = "Prefix",
		[STRING_SUFFIX] = "Suffix",
		[STRING_PRESENCE] = "Presence",
	};
	cJSON *out = cJSON_CreateObject();
	cJSON *value = m->kind == STRING_PRESENCE ? cJSON_CreateArray() : text_of(m->text);

	return whole(out, json_add(out, form[m->kind], value));
}

static cJSON *account_match(const struct service_account_match *m)
{
	cJSON *out = cJSON_CreateObject();

	return whole(out, out && json_add(out, "namespace", text_of(m->ns)) &&
				  json_add(out, "serviceAccount", text_of(m->service_account)));
}

/* One list of a match, left out when empty. */
#define ADD_LIST(out, key, v, n, make)                             \
	({                                                         \
		cJSON *list_ = (n) ? cJSON_CreateArray() : NULL;   \
		bool ok_ = list_ != NULL;                          \
		for (uint16_t i_ = 0; i_ < (n) && ok_; i_++)       \
			ok_ = json_append(list_, make(&(v)[i_]));  \
		(n) == 0 || json_add(out, key, whole(list_, ok_)); \
	})

static cJSON *port_number(const uint16_t *port)
{
	return cJSON_CreateNumber(*port);
}

#define ADD_KIND(out, key, member, n, make) \
	ADD_LIST(out, key, m->member[n], m->member##_count[n], make)

static cJSON *match(const struct policy_match *m)
{
	cJSON *out = cJSON_CreateObject();
	bool ok = out && ADD_KIND(out, "destinationIps", destination_ips, 0, dump_cidr) &&
		  ADD_KIND(out, "destinationPorts", destination_ports, 0, port_number) &&
		  ADD_KIND(out, "namespaces", namespaces, 0, string_match) &&
		  ADD_KIND(out, "notDestinationIps", destination_ips, 1, dump_cidr) &&
		  ADD_KIND(out, "notDestinationPorts", destination_ports, 1, port_number) &&
		  ADD_KIND(out, "notNamespaces", namespaces, 1, string_match) &&
		  ADD_KIND(out, "notPrincipals", principals, 1, string_match) &&
		  ADD_KIND(out, "notServiceAccounts", service_accounts, 1, account_match) &&
		  ADD_KIND(out, "notSourceIps", source_ips, 1, dump_cidr) &&
		  ADD_KIND(out, "principals", principals, 0, string_match) &&
		  ADD_KIND(out, "serviceAccounts", service_accounts, 0, account_match) &&
		  ADD_KIND(out, "sourceIps", source_ips, 0, dump_cidr);

	return whole(out, ok);
}

static cJSON *clause(const struct policy_clause *c)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (uint32_t i = 0; i < c->matches_count && ok; i++)
		ok = json_append(out, match(&c->matches[i]));
	return whole(out, ok);
}

static cJSON *rule(const struct policy_rule *r)
{
	cJSON *out = cJSON_CreateArray();
	bool ok = out != NULL;

	for (uint32_t i = 0; i < r->clauses_count && ok; i++)
		ok = json_append(out, clause(&r->clauses[i]));
	return whole(out, ok);
}

cJSON *dump_policy(const struct policy *p)
{
	cJSON *out = cJSON_CreateObject(), *rules = cJSON_CreateArray();
	bool ok = out && rules && json_enum(out, "action", action_names, p->action) &&
		  cJSON_AddBoolToObject(out, "dryRun", p->dry_run) &&
		  json_text(out, "name", p->name) && json_text(out, "namespace", p->ns);

	for (uint32_t i = 0; i < p->rules_count && ok; i++)
		ok = json_append(rules, rule(&p->rules[i]));
	if (ok)
		ok = json_add(out, "rules", rules);
	else
		cJSON_Delete(rules);
	return whole(out, ok && json_enum(out, "scope", policy_scope_names, p->scope));
}
