/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service and its endpoints (contract sections 3.4, 3.5). The definition is immutable and counted. The set of
 * endpoints hangs on the service and is replaced as a whole by the control thread, once per batch: it may be followed
 * only inside the read section in which the service was looked up, never through a reference that outlived it.
 */
#ifndef GAUZE_STATE_SERVICE_H
#define GAUZE_STATE_SERVICE_H

#include "gateway.h"
#include "shared/base/epoch.h"

struct workload;

enum service_families { FAMILIES_AUTOMATIC, FAMILIES_IPV4, FAMILIES_IPV6, FAMILIES_DUAL };
enum service_visibility { VISIBILITY_PUBLIC, VISIBILITY_NAMESPACE };
enum balance_mode { BALANCE_STANDARD, BALANCE_STRICT, BALANCE_FAILOVER, BALANCE_PASSTHROUGH };
enum balance_scope {
	SCOPE_NONE,
	SCOPE_REGION,
	SCOPE_ZONE,
	SCOPE_SUBZONE,
	SCOPE_NODE,
	SCOPE_CLUSTER,
	SCOPE_NETWORK
};
enum health_policy { HEALTH_ONLY_HEALTHY, HEALTH_ALLOW_ALL };

enum { BALANCE_SCOPES_MAX = 8 };

struct network_ip {
	struct str network;
	struct ip ip;
};

struct network_cidr {
	struct str network;
	struct cidr cidr;
};

struct weighted_waypoint_spec {
	struct gateway_spec gateway;
	uint32_t weight;
};

struct endpoint_spec {
	struct str workload_uid;
	const struct port_pair *ports;
	size_t ports_count;
	bool unhealthy;
};

/* What a decoder knows about a service; every view is borrowed for the call. */
struct service_spec {
	struct str name, ns, hostname;
	const struct network_ip *vips;
	size_t vips_count;
	const struct network_cidr *cidr_vips;
	size_t cidr_vips_count;
	const struct port_pair *ports;
	size_t ports_count;
	const struct str *sans;
	size_t sans_count;
	const struct gateway_spec *waypoint; /* NULL: none */
	const struct weighted_waypoint_spec *weighted_waypoints;
	size_t weighted_waypoints_count;
	bool has_load_balancer;
	enum balance_mode mode;
	enum health_policy health_policy;
	enum balance_scope scopes[BALANCE_SCOPES_MAX];
	size_t scopes_count;
	enum service_families families;
	enum service_visibility visibility;
	bool canonical;
	const struct endpoint_spec *endpoints; /* only the static file has them here */
	size_t endpoints_count;
};

struct service_vip {
	struct rstr *network;
	struct ip ip;
};

struct service_cidr {
	struct rstr *network;
	struct cidr cidr;
};

struct weighted_waypoint {
	struct gateway *gateway;
	uint32_t weight;
};

/*
 * The name of a workload, and whichever workload carries it now (NULL: none). Indexes and endpoints refer to workloads
 * through it, so replacing a workload touches neither. Owned by the world; readers use cell_workload() only.
 */
struct workload_cell {
	struct epoch_node retire;
	struct rstr *uid;
	struct workload *now;	    /* atomic */
	struct workload_cell *next; /* the control thread's, as is refs */
	uint32_t refs;
};

/*
 * Unhealthy endpoints stay in the set and are passed over by those who choose, so that a change of the service's health
 * policy counts at once.
 */
struct endpoint_entry {
	struct workload_cell *cell;
	struct portmap *ports;
	bool unhealthy;
	bool own; /* named by the service itself, not by the workload */
};

/* Immutable; sorted by the address of the uid. */
struct endpoint_set {
	struct epoch_node retire;
	struct rstr *service_key; /* counted: "namespace/hostname" */
	uint32_t count;
	struct endpoint_entry v[];
};

/* An endpoint that the service names itself (static file only). */
struct service_endpoint {
	struct rstr *uid;
	struct portmap *ports;
	bool unhealthy;
};

struct service {
	struct epoch_node retire; /* world's */
	uint32_t magic;
	uint32_t refs; /* atomic */
	struct rstr *name, *ns, *hostname;
	struct rstr *key; /* "namespace/hostname" */
	struct portmap *ports;
	struct gateway *waypoint;
	uint16_t vips_count, cidr_vips_count, sans_count, weighted_waypoints_count, own_count;
	uint16_t sans_valid; /* of sans, the first so many are identities; others can match nobody */
	uint8_t source;	     /* world's */
	uint8_t mode, health_policy, families, visibility, scopes_count;
	uint8_t scopes[BALANCE_SCOPES_MAX];
	bool has_load_balancer, canonical;
	/* Arrays stand behind the struct in the same block. */
	struct service_vip *vips;
	struct service_cidr *cidr_vips;
	struct rstr **sans; /* accepted identities besides the workload's own */
	struct weighted_waypoint *weighted_waypoints;
	struct service_endpoint *own;
	struct endpoint_set *endpoints; /* atomic; NULL is empty */
};

/*
 * Control thread. 0, ERR_NOMEM, ERR_SYNTAX (no hostname, a bad prefix length), ERR_TOO_LARGE (names), ERR_LIMIT (more than
 * 65,535 of a kind). The set of endpoints is left to the world.
 */
int must_check service_new(const struct service_spec *spec, struct service **out);
/* Any thread; NULL is allowed. */
struct service *service_get(struct service *s);
void service_put(struct service *s);
/* Same definition; endpoints are not compared. */
bool service_eq(const struct service *a, const struct service *b);

/* Readers, inside the read section. The set may be NULL (no endpoints). */
const struct endpoint_set *service_endpoints(const struct service *s);
struct workload *cell_workload(const struct workload_cell *cell);
/* Whether the service's health policy lets traffic go to the endpoint (contract 3.5). */
bool service_takes(const struct service *s, const struct endpoint_entry *e);
/* The endpoint of that workload, or NULL when it has none or does not take traffic. */
const struct endpoint_entry *service_endpoint_of(const struct service *s, const struct rstr *uid);

#endif
