/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads and services of the static file. */
#include "shared/base/err.h"
#include "static_decode.h"

/* ---- shared by both ---- */

static const struct schema_list strings = {schema_str, NULL, sizeof(struct str)};

static const char *const status_names[] = {"Healthy", "Unhealthy", NULL};

/* "network/ip" */
static void read_network_ip(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct network_ip *out = to;

	(void)arg;
	if (!schema_is(s, n, NODE_SCALAR))
		return;
	const char *slash = memchr(n->text.p, '/', n->text.n);
	struct str left = {n->text.p, slash ? (size_t)(slash - n->text.p) : 0};
	struct str right = {slash ? slash + 1 : "", slash ? n->text.n - left.n - 1 : 0};
	if (ip_parse(right, &out->ip) == 0)
		out->network = left;
	else
		schema_error(s, n, "must be network/ip, like \"/10.0.0.1\"");
}

/* ---- workloads ---- */

struct file_workload {
	struct workload_spec w;
	struct {
		int protocol;
		uint16_t port;
	} tunnel;
	int protocol, network_mode, type, status; /* as enums are read */
};

static const char *const protocol_names[] = {"TCP", "HBONE", NULL};
static const char *const mode_names[] = {"Standard", "HostNetwork", NULL};
static const char *const type_names[] = {"deployment", "cronjob", "pod", "job", NULL};
static const char *const tunnel_names[] = {"NONE", "PROXY", NULL};
static const struct schema_list ips = {schema_ip, NULL, sizeof(struct ip)};

static const struct schema_field locality_fields[] = {
	STATIC_FIELD(struct workload_spec, "region", region, schema_str),
	STATIC_FIELD(struct workload_spec, "zone", zone, schema_str),
	STATIC_FIELD(struct workload_spec, "subzone", subzone, schema_str),
};
static const struct schema_table locality_table = {locality_fields, ARRAY_SIZE(locality_fields)};

static void read_locality(struct schema *s, const struct node *n, void *workload, const void *arg)
{
	(void)arg;
	schema_map(s, n, &locality_table, workload);
}

static const struct schema_field tunnel_fields[] = {
	STATIC_FIELD(struct file_workload, "protocol", tunnel.protocol, schema_enum, tunnel_names,
		     .required = true),
	STATIC_FIELD(struct file_workload, "port", tunnel.port, schema_u16),
};
static const struct schema_table tunnel_table = {tunnel_fields, ARRAY_SIZE(tunnel_fields)};

static void read_tunnel(struct schema *s, const struct node *n, void *workload, const void *arg)
{
	struct file_workload *w = workload;

	(void)arg;
	schema_map(s, n, &tunnel_table, w);
	w->w.has_app_tunnel = true;
	w->w.app_tunnel = w->tunnel.protocol == 1 ? APP_TUNNEL_PROXY : APP_TUNNEL_NONE;
	w->w.app_tunnel_port = w->tunnel.port;
}

/* A map from "namespace/hostname" to ports. */
static void read_workload_services(struct schema *s, const struct node *n, void *workload,
				   const void *arg)
{
	struct workload_spec *w = workload;

	(void)arg;
	if (!schema_is(s, n, NODE_MAP))
		return;
	struct workload_service_spec *v = schema_alloc(s, n->count * sizeof(*v));
	if (!v)
		return;
	schema_unique_keys(s, n);
	for (uint32_t i = 0; i < n->count; i++) {
		const struct node *key = n->v[2 * i];
		struct static_ports ports = {0};
		if (!schema_is(s, key, NODE_SCALAR))
			continue;
		schema_enter_key(s, key->text);
		if (!memchr(key->text.p, '/', key->text.n))
			schema_error(s, key, "must be namespace/hostname");
		static_read_ports(s, n->v[2 * i + 1], &ports, NULL);
		schema_leave(s);
		v[i] = (struct workload_service_spec){key->text, ports.v, ports.count};
	}
	w->services = v;
	w->services_count = n->count;
}

/* The specs stand first in what is read into, so that their offsets are its own. */
#define W(key, member, ...) STATIC_FIELD(struct workload_spec, key, member, __VA_ARGS__)
#define WF(key, member, ...) STATIC_FIELD(struct file_workload, key, member, __VA_ARGS__)
static const struct schema_field workload_fields[] = {
	W("uid", uid, schema_str),
	W("name", name, schema_str),
	W("namespace", ns, schema_str, .required = true),
	W("serviceAccount", service_account, schema_str),
	W("trustDomain", trust_domain, schema_str),
	STATIC_LIST(struct workload_spec, "workloadIps", ips, &ips, .required = true, ),
	W("hostname", hostname, schema_str),
	WF("protocol", protocol, schema_enum, protocol_names),
	WF("networkMode", network_mode, schema_enum, mode_names),
	W("network", network, schema_str),
	W("node", node, schema_str),
	W("workloadName", workload_name, schema_str),
	WF("workloadType", type, schema_enum, type_names),
	W("canonicalName", canonical_name, schema_str),
	W("canonicalRevision", canonical_revision, schema_str),
	W("clusterId", cluster_id, schema_str),
	WF("status", status, schema_enum, status_names),
	W("capacity", capacity, schema_u32),
	W("nativeTunnel", native_tunnel, schema_bool),
	{"locality", .read = read_locality},
	STATIC_LIST(struct workload_spec, "authorizationPolicies", policies, &strings),
	W("waypoint", waypoint, static_read_gateway),
	W("networkGateway", network_gateway, static_read_gateway),
	{"applicationTunnel", .read = read_tunnel},
	{"services", .read = read_workload_services, .required = true},
};
static const struct schema_table workload_table = {workload_fields, ARRAY_SIZE(workload_fields)};

void static_read_workload(struct schema *s, const struct node *n, void *batch, const void *arg)
{
	struct file_workload f = {.w = {.capacity = 1}};
	uint32_t errors = s->report->errors;

	(void)arg;
	schema_map(s, n, &workload_table, &f);
	if (s->report->errors > errors || s->no_memory)
		return;
	f.w.protocol = f.protocol;
	f.w.network_mode = f.network_mode;
	f.w.type = f.type;
	f.w.status = f.status;
	static_tell(s, n, batch_workload(batch, &f.w));
}

/* ---- services ---- */

struct file_service {
	struct service_spec s;
	struct static_ports ports;
	int families, visibility, mode, health; /* as enums are read */
	const int *scopes;
	size_t scopes_count;
};

/* In the order of the enums; "" has no name in the file. */
static const char *const family_names[] = {"", "IPv4", "IPv6", "Dual", NULL};
static const char *const visibility_names[] = {"Public", "Namespace", NULL};
static const char *const balance_names[] = {"Standard", "Strict", "Failover", "Passthrough", NULL};
static const char *const health_names[] = {"OnlyHealthy", "AllowAll", NULL};
static const char *const scope_names[] = {"",	  "Region",  "Zone",	"Subzone",
					  "Node", "Cluster", "Network", NULL};
static const struct schema_list scopes = {schema_enum, scope_names, sizeof(int)};
static const struct schema_list vips = {read_network_ip, NULL, sizeof(struct network_ip)};

static const struct schema_field cidr_fields[] = {
	STATIC_FIELD(struct network_cidr, "network", network, schema_str),
	STATIC_FIELD(struct network_cidr, "cidr", cidr, schema_cidr, .required = true),
};
static const struct schema_table cidr_table = {cidr_fields, ARRAY_SIZE(cidr_fields)};

static void read_cidr_vip(struct schema *s, const struct node *n, void *to, const void *arg)
{
	(void)arg;
	schema_map(s, n, &cidr_table, to);
}

static const struct schema_list cidr_vips = {read_cidr_vip, NULL, sizeof(struct network_cidr)};

static void read_weighted_gateway(struct schema *s, const struct node *n, void *to, const void *arg)
{
	(void)arg;
	static_read_gateway_fields(s, n, to);
}

static const struct schema_field weighted_fields[] = {
	STATIC_FIELD(struct weighted_waypoint_spec, "destination", gateway, read_weighted_gateway,
		     .required = true),
	STATIC_FIELD(struct weighted_waypoint_spec, "weight", weight, schema_u32, .required = true),
};
static const struct schema_table weighted_table = {weighted_fields, ARRAY_SIZE(weighted_fields)};

static void read_weighted(struct schema *s, const struct node *n, void *to, const void *arg)
{
	(void)arg;
	schema_map(s, n, &weighted_table, to);
}

static const struct schema_list weighted = {read_weighted, NULL,
					    sizeof(struct weighted_waypoint_spec)};

static const struct schema_field balancer_fields[] = {
	STATIC_FIELD(struct file_service, "mode", mode, schema_enum, balance_names,
		     .required = true),
	STATIC_LIST(struct file_service, "routingPreferences", scopes, &scopes),
	STATIC_FIELD(struct file_service, "healthPolicy", health, schema_enum, health_names),
};
static const struct schema_table balancer_table = {balancer_fields, ARRAY_SIZE(balancer_fields)};

static void read_balancer(struct schema *s, const struct node *n, void *service, const void *arg)
{
	struct file_service *f = service;

	(void)arg;
	schema_map(s, n, &balancer_table, f);
	if (f->scopes_count > BALANCE_SCOPES_MAX) {
		schema_error(s, n, "has more than %d routingPreferences", BALANCE_SCOPES_MAX);
		return;
	}
	f->s.has_load_balancer = true;
	f->s.mode = f->mode;
	f->s.health_policy = f->health;
	f->s.scopes_count = f->scopes_count;
	for (size_t i = 0; i < f->scopes_count; i++)
		f->s.scopes[i] = f->scopes[i];
}

struct file_endpoint {
	struct str uid;
	struct static_ports ports;
	int status;
};

static const struct schema_field endpoint_fields[] = {
	STATIC_FIELD(struct file_endpoint, "workloadUid", uid, schema_str, .required = true),
	STATIC_FIELD(struct file_endpoint, "port", ports, static_read_ports, .required = true),
	STATIC_FIELD(struct file_endpoint, "status", status, schema_enum, status_names),
};
static const struct schema_table endpoint_table = {endpoint_fields, ARRAY_SIZE(endpoint_fields)};

/* A map from workload uid to endpoint; the uid stands in both. */
static void read_endpoints(struct schema *s, const struct node *n, void *service, const void *arg)
{
	struct service_spec *spec = service;

	(void)arg;
	if (!schema_is(s, n, NODE_MAP))
		return;
	struct endpoint_spec *v = schema_alloc(s, n->count * sizeof(*v));
	if (!v)
		return;
	schema_unique_keys(s, n);
	for (uint32_t i = 0; i < n->count; i++) {
		const struct node *key = n->v[2 * i];
		struct file_endpoint e = {0};
		if (!schema_is(s, key, NODE_SCALAR))
			continue;
		schema_enter_key(s, key->text);
		schema_map(s, n->v[2 * i + 1], &endpoint_table, &e);
		schema_leave(s);
		v[i] = (struct endpoint_spec){e.uid, e.ports.v, e.ports.count,
					      e.status == WORKLOAD_UNHEALTHY};
	}
	spec->endpoints = v;
	spec->endpoints_count = n->count;
}

#define S(key, member, ...) STATIC_FIELD(struct service_spec, key, member, __VA_ARGS__)
#define SF(key, member, ...) STATIC_FIELD(struct file_service, key, member, __VA_ARGS__)
static const struct schema_field service_fields[] = {
	S("name", name, schema_str, .required = true),
	S("namespace", ns, schema_str, .required = true),
	S("hostname", hostname, schema_str, .required = true),
	STATIC_LIST(struct service_spec, "vips", vips, &vips, .required = true, ),
	STATIC_LIST(struct service_spec, "cidrVips", cidr_vips, &cidr_vips),
	SF("ports", ports, static_read_ports, .required = true),
	{"endpoints", .read = read_endpoints},
	STATIC_LIST(struct service_spec, "subjectAltNames", sans, &strings),
	S("waypoint", waypoint, static_read_gateway),
	STATIC_LIST(struct service_spec, "weightedWaypoints", weighted_waypoints, &weighted),
	{"loadBalancer", .read = read_balancer},
	SF("ipFamilies", families, schema_enum, family_names),
	S("canonical", canonical, schema_bool),
	SF("visibility", visibility, schema_enum, visibility_names),
};
static const struct schema_table service_table = {service_fields, ARRAY_SIZE(service_fields)};

void static_read_service(struct schema *s, const struct node *n, void *batch, const void *arg)
{
	struct file_service f = {0};
	uint32_t errors = s->report->errors;

	(void)arg;
	schema_map(s, n, &service_table, &f);
	if (s->report->errors > errors || s->no_memory)
		return;
	f.s.ports = f.ports.v;
	f.s.ports_count = f.ports.count;
	f.s.families = f.families;
	f.s.visibility = f.visibility;
	static_tell(s, n, batch_service(batch, &f.s));
}
