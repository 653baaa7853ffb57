/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "service_pick.h"
#include "shared/base/err.h"
#include "shared/base/rcumap.h"
#include "world_private.h"

struct world *world_new(const struct world_config *config, struct epoch *epoch)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->epoch = epoch;
	w->network = rstr_intern(config->network);
	w->node_name = rstr_intern(config->node_name);
	w->services = rcumap_new(epoch);
	w->policies = rcumap_new(epoch);
	w->staged = rcumap_new(epoch);
	w->identities = rcumap_new(epoch);
	struct multi *const indexes[] = {&w->by_ip,   &w->local,   &w->by_hostname, &w->by_vip,
					 &w->by_cidr, &w->by_host, &w->policies_of};
	bool ok = w->network && w->node_name && w->services && w->policies && w->staged &&
		  w->identities;
	for (size_t i = 0; i < ARRAY_SIZE(indexes) && ok; i++)
		ok = multi_init(indexes[i], epoch) == 0;
	if (!ok) {
		world_free(w);
		return NULL;
	}
	return w;
}

static bool drop_service(void *arg, struct service *s)
{
	endpoints_retire(arg, s->endpoints);
	service_put(s);
	return true;
}

static bool drop_staged(void *arg, struct str key, void *value)
{
	(void)key;
	endpoints_retire(arg, value);
	return true;
}

static bool drop_policy(void *arg, struct policy *p)
{
	(void)arg;
	policy_put(p);
	return true;
}

static void drop_workloads(struct world *w)
{
	for (size_t b = 0; b < w->cells.buckets; b++) {
		struct workload_cell *next;
		for (struct workload_cell *cell = w->cells.bucket[b]; cell; cell = next) {
			next = cell->next;
			if (cell->now) {
				workload_put(cell->now);
				cell_drop(w, cell);
			}
		}
	}
	free(w->cells.bucket);
}

void world_free(struct world *w)
{
	if (!w)
		return;
	if (w->services)
		world_each_service(w, drop_service, w);
	if (w->staged)
		rcumap_each(w->staged, drop_staged, w);
	if (w->policies)
		world_each_policy(w, drop_policy, NULL);
	drop_workloads(w);
	struct multi *const indexes[] = {&w->by_ip,   &w->local,   &w->by_hostname, &w->by_vip,
					 &w->by_cidr, &w->by_host, &w->policies_of};
	for (size_t i = 0; i < ARRAY_SIZE(indexes); i++)
		multi_fini(indexes[i]);
	rcumap_free(w->services);
	rcumap_free(w->policies);
	rcumap_free(w->staged);
	rcumap_free(w->identities);
	rstr_put(w->network);
	rstr_put(w->node_name);
	epoch_reclaim(w->epoch);
	free(w);
	rstr_sweep();
}

struct str world_network(const struct world *w)
{
	return rstr_str(w->network);
}

uint64_t world_version(const struct world *w)
{
	return __atomic_load_n(&w->version, __ATOMIC_ACQUIRE);
}

uint64_t world_policy_version(const struct world *w)
{
	return __atomic_load_n(&w->policy_version, __ATOMIC_ACQUIRE);
}

/* ---- readers ---- */

struct workload *world_workload_by_ip(const struct world *w, struct str network,
				      const struct ip *ip)
{
	struct workload *best = NULL;
	struct multi_cursor c;
	struct key k;
	void *cell;

	key_ip(&k, network, ip);
	multi_find(&w->by_ip, key_str(&k), &c);
	while ((cell = multi_next(&c)) != NULL) {
		/* The cell's workload may have moved on since the index led here: look whether it still has the address. */
		struct workload *one = cell_workload(cell);
		if (!one || one->network_mode != WORKLOAD_STANDARD || !workload_has_ip(one, ip) ||
		    !str_eq(rstr_str(one->network), network))
			continue;
		if (!best || workload_rank(one) >= workload_rank(best))
			best = one;
	}
	return best;
}

struct workload *world_local_workload(const struct world *w, struct str ns, struct str name,
				      struct str service_account)
{
	struct multi_cursor c;
	struct key k;
	void *cell;

	key_join(&k, ns, name, service_account);
	multi_find(&w->local, key_str(&k), &c);
	while ((cell = multi_next(&c)) != NULL) {
		struct workload *one = cell_workload(cell);
		if (one && str_eq(rstr_str(one->ns), ns) && str_eq(rstr_str(one->name), name) &&
		    str_eq(rstr_str(one->service_account), service_account))
			return one;
	}
	return NULL;
}

struct workload *world_workload_by_hostname(const struct world *w, const struct rstr *key)
{
	struct multi_cursor c;
	struct key k;
	void *cell;

	key_join(&k, rstr_str(key), (struct str){"", 0}, (struct str){"", 0});
	/* "ns/hostname" and the slash behind it: as hostname_key() writes it. */
	multi_find(&w->by_hostname, (struct str){k.b, k.ok ? k.n - 1 : 0}, &c);
	while ((cell = multi_next(&c)) != NULL) {
		struct workload *one = cell_workload(cell);
		if (one && one->hostname->len > 0)
			return one;
	}
	return NULL;
}

static void offer_cidrs(const struct world *w, struct str network, const struct ip *ip,
			struct service_pick *pick)
{
	int family = ip->len == 16;
	struct multi_cursor c;
	struct service *s;
	struct key k;

	for (int word = 0; word < PREFIX_WORDS; word++) {
		uint64_t bits = __atomic_load_n(&w->prefixes[family][word], __ATOMIC_ACQUIRE);
		for (; bits; bits &= bits - 1) {
			uint8_t prefix = (uint8_t)(word * 64 + __builtin_ctzll(bits));
			key_cidr(&k, network, ip, prefix);
			multi_find(&w->by_cidr, key_str(&k), &c);
			while ((s = multi_next(&c)) != NULL)
				service_pick_offer(pick, s, prefix);
		}
	}
}

struct service *world_service_by_ip(const struct world *w, struct str network, const struct ip *ip,
				    struct str client_ns)
{
	struct service_pick pick = {.client_ns = client_ns};
	struct multi_cursor c;
	struct service *s;
	struct key k;

	key_ip(&k, network, ip);
	multi_find(&w->by_vip, key_str(&k), &c);
	while ((s = multi_next(&c)) != NULL)
		service_pick_offer(&pick, s, 0);
	if (!pick.best)
		offer_cidrs(w, network, ip, &pick);
	return pick.best;
}

struct service *world_service_by_host(const struct world *w, struct str hostname,
				      struct str client_ns)
{
	struct service_pick pick = {.client_ns = client_ns};
	struct multi_cursor c;
	struct service *s;

	multi_find(&w->by_host, hostname, &c);
	while ((s = multi_next(&c)) != NULL)
		service_pick_offer(&pick, s, 0);
	return pick.best;
}

struct service *world_service_by_key(const struct world *w, const struct rstr *key)
{
	return rcumap_get(w->services, key_pointer(&key));
}

/* ---- the control thread ---- */

uint32_t world_reclaim(struct world *w)
{
	uint32_t freed = epoch_reclaim(w->epoch);

	/* Strings are swept when enough objects went for it to pay: a sweep looks at all of them. */
	w->freed_since_sweep += freed;
	if (w->freed_since_sweep > 64 + rstr_count() / 8) {
		w->freed_since_sweep = 0;
		rstr_sweep();
	}
	return freed;
}

void world_set_hooks(struct world *w, const struct world_hooks *hooks)
{
	w->hooks = *hooks;
}

static bool count_unknown(void *arg, struct workload *workload)
{
	struct {
		const struct world *w;
		uint64_t unknown;
	} *count = arg;

	for (size_t i = 0; i < workload->policies_count; i++) {
		const struct rstr *key = workload_policies(workload)[i];
		if (!rcumap_get(count->w->policies, key_pointer(&key)))
			count->unknown++;
	}
	return true;
}

void world_stats(const struct world *w, struct world_stats *out)
{
	struct {
		const struct world *w;
		uint64_t unknown;
	} count = {w, 0};

	world_each_workload(w, count_unknown, &count);
	*out = (struct world_stats){
		.workloads = w->workloads,
		.services = rcumap_count(w->services),
		.policies = rcumap_count(w->policies),
		.endpoints = w->endpoints,
		.staged_services = rcumap_count(w->staged),
		.unknown_policy_keys = count.unknown,
	};
}

void world_each_workload(const struct world *w, bool (*fn)(void *arg, struct workload *), void *arg)
{
	for (size_t b = 0; b < w->cells.buckets; b++)
		for (struct workload_cell *cell = w->cells.bucket[b]; cell; cell = cell->next)
			if (cell->now && !fn(arg, cell->now))
				return;
}

/* The maps' entries know their objects as void: one small step between. */
struct each {
	bool (*service)(void *arg, struct service *);
	bool (*policy)(void *arg, struct policy *);
	bool (*staged)(void *arg, struct rstr *, const struct endpoint_set *);
	void *arg;
};

static bool each_service(void *arg, struct str key, void *value)
{
	const struct each *e = arg;

	(void)key;
	return e->service(e->arg, value);
}

static bool each_policy(void *arg, struct str key, void *value)
{
	const struct each *e = arg;

	(void)key;
	return e->policy(e->arg, value);
}

static bool each_staged(void *arg, struct str key, void *value)
{
	const struct each *e = arg;
	struct rstr *service_key;

	memcpy(&service_key, key.p, sizeof(service_key));
	return e->staged(e->arg, service_key, value);
}

void world_each_service(const struct world *w, bool (*fn)(void *arg, struct service *), void *arg)
{
	struct each e = {.service = fn, .arg = arg};

	rcumap_each(w->services, each_service, &e);
}

void world_each_policy(const struct world *w, bool (*fn)(void *arg, struct policy *), void *arg)
{
	struct each e = {.policy = fn, .arg = arg};

	rcumap_each(w->policies, each_policy, &e);
}

void world_each_staged(const struct world *w,
		       bool (*fn)(void *arg, struct rstr *service_key, const struct endpoint_set *),
		       void *arg)
{
	struct each e = {.staged = fn, .arg = arg};

	rcumap_each(w->staged, each_staged, &e);
}
