/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload: one pod, VM or remote peer of the mesh (contract section 3.4). Immutable once made, counted; made by
 * the control thread, read by any. Strings are interned: equal text is one object.
 */
#ifndef GAUZE_STATE_WORKLOAD_H
#define GAUZE_STATE_WORKLOAD_H

#include "gateway.h"
#include "shared/base/epoch.h"

enum workload_protocol { WORKLOAD_TCP, WORKLOAD_HBONE };
enum workload_network_mode { WORKLOAD_STANDARD, WORKLOAD_HOST_NETWORK };
enum workload_type { WORKLOAD_DEPLOYMENT, WORKLOAD_CRONJOB, WORKLOAD_POD, WORKLOAD_JOB };
enum workload_status { WORKLOAD_HEALTHY, WORKLOAD_UNHEALTHY };
enum app_tunnel { APP_TUNNEL_NONE, APP_TUNNEL_PROXY };

/* What a decoder knows about a workload; every view is borrowed for the call. Zero is a valid "absent". */
struct workload_service_spec {
	struct str key; /* "namespace/hostname" */
	const struct port_pair *ports;
	size_t ports_count;
};

struct workload_spec {
	struct str uid, name, ns, service_account, trust_domain, hostname, network, node;
	struct str workload_name, canonical_name, canonical_revision, cluster_id;
	struct str region, zone, subzone;
	enum workload_protocol protocol;
	enum workload_network_mode network_mode;
	enum workload_type type;
	enum workload_status status;
	enum app_tunnel app_tunnel;
	bool has_app_tunnel;
	uint16_t app_tunnel_port; /* 0: unset */
	bool native_tunnel;
	uint32_t capacity;
	const struct gateway_spec *waypoint, *network_gateway; /* NULL: none */
	const struct ip *ips;
	size_t ips_count;
	const struct str *policies; /* keys of selector policies */
	size_t policies_count;
	const struct workload_service_spec *services;
	size_t services_count;
};

struct workload_service {
	struct rstr *key; /* "namespace/hostname" */
	struct portmap *ports;
};

struct workload {
	struct epoch_node retire; /* world's */
	uint32_t magic;
	uint32_t refs; /* atomic */
	/* What every choice among endpoints looks at stands together. */
	uint32_t capacity; /* load-balancing weight */
	uint16_t app_tunnel_port;
	uint16_t ips_count, policies_count, services_count;
	uint8_t protocol, network_mode, type, status, app_tunnel;
	uint8_t source; /* world's */
	bool has_app_tunnel, native_tunnel;
	struct rstr *hostname, *network, *node, *region, *zone, *subzone, *cluster_id;
	struct gateway *network_gateway, *waypoint;
	struct rstr *uid, *name, *ns, *service_account, *trust_domain;
	struct rstr *workload_name, *canonical_name, *canonical_revision;
	struct rstr *identity; /* "spiffe://<trust domain>/ns/<ns>/sa/<service account>" */
	/* Behind it in the same block: services, policies, addresses, as many as their counts say. */
};

static inline struct workload_service *workload_services(const struct workload *w)
{
	return (struct workload_service *)(w + 1);
}

/* Keys of selector policies. */
static inline struct rstr **workload_policies(const struct workload *w)
{
	return (struct rstr **)(workload_services(w) + w->services_count);
}

static inline struct ip *workload_ips(const struct workload *w)
{
	return (struct ip *)(workload_policies(w) + w->policies_count);
}

/*
 * Control thread. Empty strings stay empty: defaults are the source's business (contract 3.4, 3.8). 0, ERR_NOMEM,
 * ERR_SYNTAX (a service key without '/'), ERR_TOO_LARGE (names), ERR_LIMIT (more than 65,535 of a
 * kind).
 */
int must_check workload_new(const struct workload_spec *spec, struct workload **out);
/* Any thread; NULL is allowed. */
struct workload *workload_get(struct workload *w);
void workload_put(struct workload *w);
/* Same content in every field. */
bool workload_eq(const struct workload *a, const struct workload *b);
bool workload_has_ip(const struct workload *w, const struct ip *ip);
/* How strongly it claims an address that several share (contract 3.5); higher wins. */
int workload_rank(const struct workload *w);
/* "deployment", "cronjob", "pod", "job". */
const char *workload_type_text(enum workload_type type);

#endif
