/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the world share: world.c (lookups), world_index.c (publishing), endpoints.c, batch.c. */
#ifndef GAUZE_STATE_WORLD_PRIVATE_H
#define GAUZE_STATE_WORLD_PRIVATE_H

#include "multi.h"
#include "world.h"

enum {
	KEY_BYTES_MAX = 1024,
	PREFIX_WORDS = 3, /* 129 prefix lengths, one bit each */
};

/* The control thread's table of workload names, chained through the cells. */
struct cells {
	struct workload_cell **bucket;
	size_t buckets, count;
};

struct world {
	struct epoch *epoch;
	struct rstr *network, *node_name;
	uint64_t version, policy_version; /* atomic */

	/* Read by all. A key that is "address of" an interned string is the eight bytes of the pointer. */
	struct multi by_ip;	  /* network, address -> workload_cell */
	struct multi local;	  /* namespace, name, service account -> workload_cell */
	struct multi by_hostname; /* namespace, hostname -> workload_cell */
	struct multi by_vip;	  /* network, address -> service */
	struct multi by_cidr;	  /* network, prefix -> service */
	struct multi by_host;	  /* hostname -> service */
	struct multi policies_of; /* address of namespace, or "" for the global ones -> policy */
	struct rcumap *services;  /* address of "namespace/hostname" -> service */
	struct rcumap *policies;  /* address of key -> policy */
	uint64_t prefixes[2][PREFIX_WORDS]; /* atomic: lengths that by_cidr has, v4 and v6 */

	/* The control thread's. */
	uint32_t prefix_uses[2][129];
	struct cells cells;
	struct rcumap *staged;	   /* address of "namespace/hostname" -> endpoint_set */
	struct rcumap *identities; /* namespace, service account -> number of local workloads */
	struct world_hooks hooks;
	uint64_t workloads, endpoints;
	uint64_t freed_since_sweep;
};

/* Bytes of a key, built in place; ok stays false when they do not fit. */
struct key {
	size_t n;
	bool ok;
	char b[KEY_BYTES_MAX];
};
struct str key_str(const struct key *k);
void key_ip(struct key *k, struct str network, const struct ip *ip);
void key_cidr(struct key *k, struct str network, const struct ip *ip, uint8_t prefix);
/* Parts with '/' between. */
void key_join(struct key *k, struct str a, struct str b, struct str c);
struct str key_pointer(const struct rstr *const *s);

bool world_is_local(const struct world *w, const struct workload *workload);
/* Whether a local workload speaks for the namespace and service account of that one. */
bool world_identity_used(const struct world *w, const struct workload *workload);

/* ---- cells ---- */
struct workload_cell *cell_find(const struct world *w, const struct rstr *uid);
/* The cell of that name, made when there is none, with one more reference; NULL when out of memory. */
struct workload_cell *cell_take(struct world *w, struct rstr *uid);
void cell_drop(struct world *w, struct workload_cell *cell);

/* ---- publishing one object: all or, on ERR_NOMEM, nothing of it ---- */
/* Takes the reference of `workload` on success. */
int must_check world_put_workload(struct world *w, struct workload *workload);
void world_del_workload(struct world *w, struct workload *workload);
int must_check world_put_service(struct world *w, struct service *s);
int must_check world_del_service(struct world *w, struct service *s);
int must_check world_put_policy(struct world *w, struct policy *p);
void world_del_policy(struct world *w, struct policy *p);

/* ---- endpoints ---- */
struct endpoint_change {
	struct rstr *service_key; /* counted */
	struct rstr *uid;	  /* counted */
	struct portmap *ports;	  /* counted */
	bool unhealthy;
	bool removed;
};
/*
 * What is to become of one service's endpoints. Prepared aside, so that committing it cannot fail; in between nothing else
 * may touch that service's set.
 */
struct endpoint_plan {
	struct rstr *service_key;  /* borrowed from the changes */
	struct endpoint_set *old;  /* what is there now, or NULL */
	struct endpoint_set *next; /* NULL: none is left */
	bool staged;		   /* the service is not known */
};
/* changes: of one service, sorted by the address of the uid, one per uid. 0 or ERR_NOMEM. */
int must_check endpoints_prepare(struct world *w, const struct endpoint_change *changes,
				 size_t count, struct endpoint_plan *out);
void endpoints_commit(struct world *w, const struct endpoint_plan *p);
void endpoints_cancel(struct world *w, const struct endpoint_plan *p);
/*
 * The set that a service begins with: what its predecessor `old` had, or what was staged for it, and its own. *set is NULL
 * when empty; *reused: it is the predecessor's or the staged one itself. 0 or ERR_NOMEM.
 */
int must_check endpoints_begin(struct world *w, const struct service *s, const struct service *old,
			       struct endpoint_set **set, bool *reused);
/* The same set without the service's own entries, for staging when the service goes. */
int must_check endpoints_without_own(struct world *w, const struct service *s,
				     struct endpoint_set **set, bool *reused);
/* Gives a set up: its references now, its memory when no reader can see it. NULL is allowed. */
void endpoints_retire(struct world *w, struct endpoint_set *set);

#endif
