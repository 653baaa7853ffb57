/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published view of the mesh: every workload, service and policy, and the indexes to find them (contract 3.5).
 *
 * One writer, the control thread; any number of readers, who take no lock. A reader looks things up between two
 * epoch_quiescent() calls of its thread (one read section = one turn); what it keeps longer it counts with x_get().
 *
 * Changes come in batches: prepared aside, then applied by make-before-break (policies, services, workloads are added in
 * that order and removed in the opposite one), so that a reader never sees a workload whose policies are not there yet.
 * The cost of a batch is that of what differs.
 */
#ifndef GAUZE_STATE_WORLD_H
#define GAUZE_STATE_WORLD_H

#include "policy.h"
#include "service.h"
#include "workload.h"

struct batch;
struct epoch;
struct world;

struct world_config {
	struct str network;   /* NETWORK: our own */
	struct str node_name; /* NODE_NAME; empty: every workload is local */
};

/* Who published an object: a source replaces and removes only what it published itself. */
enum world_source { WORLD_STATIC, WORLD_XDS, WORLD_SOURCES };

/* NULL when out of memory. The epoch is shared with the workers; the world is freed when no reader is online. */
struct world *world_new(const struct world_config *config, struct epoch *epoch);
void world_free(struct world *w);

/* ---- readers, any thread inside its read section; results are borrowed until it ends ---- */

/* Our own network. */
struct str world_network(const struct world *w);
/* Rises with every batch that changed anything; any thread. A waiter for its workload looks again when it changed. */
uint64_t world_version(const struct world *w);
/* Rises with every batch that changed policies: live connections must be re-checked (contract 6.3). */
uint64_t world_policy_version(const struct world *w);

/* The workload that owns the address (the highest rank where several do); never one of WORKLOAD_HOST_NETWORK. */
struct workload *world_workload_by_ip(const struct world *w, struct str network,
				      const struct ip *ip);
/* The local-node workload with all three names equal (contract 3.5), or NULL. */
struct workload *world_local_workload(const struct world *w, struct str ns, struct str name,
				      struct str service_account);
/*
 * The service that a client of that namespace means by the address: exact VIP, else CIDR, among those visible to it, the
 * best (contract 3.5). NULL: none. client_ns.p NULL: no client is meant, so none is preferred and all are visible.
 */
struct service *world_service_by_ip(const struct world *w, struct str network, const struct ip *ip,
				    struct str client_ns);
/* Likewise by hostname. */
struct service *world_service_by_host(const struct world *w, struct str hostname,
				      struct str client_ns);
/* By "namespace/hostname", without visibility: what a gateway reference names. Then the workload of that name. */
struct service *world_service_by_key(const struct world *w, const struct rstr *key);
struct workload *world_workload_by_hostname(const struct world *w, const struct rstr *key);

/* ---- the control thread ---- */

/* NULL when out of memory. Any number of batches may be prepared; objects made for one belong to it until applied. */
struct batch *batch_new(struct world *w, enum world_source source);
/* Drops everything prepared. NULL is allowed. */
void batch_free(struct batch *b);
/*
 * Adds or replaces an object. For one name the last call of a batch wins. Errors of the x_new functions; the batch is
 * unchanged then and may go on.
 */
int must_check batch_workload(struct batch *b, const struct workload_spec *spec);
int must_check batch_service(struct batch *b, const struct service_spec *spec);
int must_check batch_policy(struct batch *b, const struct policy_spec *spec);
/* Removes by xDS name: a workload's uid, else "namespace/hostname" of a service; unknown names are ignored. */
int must_check batch_remove_address(struct batch *b, struct str name);
int must_check batch_remove_policy(struct batch *b, struct str key);
/* The batch is all that its source has: what that source published before and is not in it is removed. */
void batch_is_whole(struct batch *b);

struct batch_result {
	uint32_t added, changed, removed, unchanged; /* objects */
	bool policies_changed;
};
/*
 * Publishes and frees the batch. 0, or ERR_NOMEM: some of the changes were published, none was half published, and the
 * same batch may be sent again.
 */
int must_check batch_apply(struct batch *b, struct batch_result *result);

/* Frees what no reader can see any more; call now and then. Also sweeps interned strings. Returns objects freed. */
uint32_t world_reclaim(struct world *w);

/* Called by batch_apply as things become true; used to warm and to forget certificates (contract 3.5, 8). */
struct world_hooks {
	void *arg;
	/* A local-node workload was added or changed. */
	void (*local_workload)(void *arg, const struct workload *w);
	/* No local-node workload of that namespace and service account remains. */
	void (*identity_unused)(void *arg, const struct workload *last);
};
void world_set_hooks(struct world *w, const struct world_hooks *hooks);

struct world_stats {
	uint64_t workloads, services, policies, endpoints, staged_services;
	uint64_t unknown_policy_keys; /* references of workloads to policies that are not there now */
};
void world_stats(const struct world *w, struct world_stats *out);

/* Calls fn for every object, in no order, until it returns false. */
void world_each_workload(const struct world *w, bool (*fn)(void *arg, struct workload *),
			 void *arg);
void world_each_service(const struct world *w, bool (*fn)(void *arg, struct service *), void *arg);
void world_each_policy(const struct world *w, bool (*fn)(void *arg, struct policy *), void *arg);
/* Endpoints waiting for a service that is not known (contract 3.5). */
void world_each_staged(const struct world *w,
		       bool (*fn)(void *arg, struct rstr *service_key, const struct endpoint_set *),
		       void *arg);

#endif
