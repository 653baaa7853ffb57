/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing one object into every index, in an order that keeps readers safe: what may fail comes first and can be taken
 * back; then the object takes its predecessor's places; then the places that only the predecessor had are emptied.
 */
#include "shared/base/err.h"
#include "shared/base/rcumap.h"
#include "world_private.h"

static void free_workload(struct epoch_node *node)
{
	workload_put(container_of(node, struct workload, retire));
}

static void free_service(struct epoch_node *node)
{
	service_put(container_of(node, struct service, retire));
}

static void free_policy(struct epoch_node *node)
{
	policy_put(container_of(node, struct policy, retire));
}

bool world_is_local(const struct world *w, const struct workload *workload)
{
	return w->node_name->len == 0 || workload->node == w->node_name;
}

/* ---- workloads ---- */

static bool has_address(const struct workload *w, const struct rstr *network, const struct ip *ip)
{
	return w && w->network_mode == WORKLOAD_STANDARD && w->network == network &&
	       workload_has_ip(w, ip);
}

static bool same_local(const struct world *w, const struct workload *a, const struct workload *b)
{
	return a && world_is_local(w, a) && a->ns == b->ns && a->name == b->name &&
	       a->service_account == b->service_account;
}

static bool same_hostname(const struct workload *a, const struct workload *b)
{
	return a && a->hostname == b->hostname && a->ns == b->ns;
}

static void local_key(struct key *k, const struct workload *w)
{
	key_join(k, rstr_str(w->ns), rstr_str(w->name), rstr_str(w->service_account));
	CHECK(k->ok);
}

static void hostname_key(struct key *k, const struct workload *w)
{
	key_join(k, rstr_str(w->ns), rstr_str(w->hostname), (struct str){"", 0});
	CHECK(k->ok);
}

/* Takes the cell out of the places that `from` has and `except` has not. */
static void unindex_workload(struct world *w, struct workload_cell *cell,
			     const struct workload *from, const struct workload *except)
{
	struct key k;

	for (size_t i = 0; from->network_mode == WORKLOAD_STANDARD && i < from->ips_count; i++) {
		if (has_address(except, from->network, &workload_ips(from)[i]))
			continue;
		key_ip(&k, rstr_str(from->network), &workload_ips(from)[i]);
		multi_del(&w->by_ip, key_str(&k), cell);
	}
	if (world_is_local(w, from) && !same_local(w, except, from)) {
		local_key(&k, from);
		multi_del(&w->local, key_str(&k), cell);
	}
	if (from->hostname->len > 0 && !same_hostname(except, from)) {
		hostname_key(&k, from);
		multi_del(&w->by_hostname, key_str(&k), cell);
	}
}

static int index_workload(struct world *w, struct workload_cell *cell, const struct workload *to)
{
	struct key k;
	int err;

	for (size_t i = 0; to->network_mode == WORKLOAD_STANDARD && i < to->ips_count; i++) {
		key_ip(&k, rstr_str(to->network), &workload_ips(to)[i]);
		CHECK(k.ok);
		if ((err = multi_add(&w->by_ip, key_str(&k), cell)) != 0)
			return err;
	}
	if (world_is_local(w, to)) {
		local_key(&k, to);
		if ((err = multi_add(&w->local, key_str(&k), cell)) != 0)
			return err;
	}
	if (to->hostname->len > 0) {
		hostname_key(&k, to);
		if ((err = multi_add(&w->by_hostname, key_str(&k), cell)) != 0)
			return err;
	}
	return 0;
}

static void identity_key(struct key *k, const struct workload *w)
{
	key_join(k, rstr_str(w->ns), rstr_str(w->service_account), (struct str){"", 0});
	CHECK(k->ok);
}

/* How many local workloads speak for an identity; the count itself is the map's value. */
static int count_identity(struct world *w, const struct workload *workload, int by)
{
	struct key k;
	void *old;

	if (!workload || !world_is_local(w, workload))
		return 0;
	identity_key(&k, workload);
	uintptr_t n = (uintptr_t)rcumap_get(w->identities, key_str(&k)) + (uintptr_t)by;
	if (n == 0) {
		rcumap_del(w->identities, key_str(&k));
		return 0;
	}
	return rcumap_put(w->identities, key_str(&k), (void *)n, &old);
}

bool world_identity_used(const struct world *w, const struct workload *workload)
{
	struct key k;

	identity_key(&k, workload);
	return rcumap_get(w->identities, key_str(&k)) != NULL;
}

int world_put_workload(struct world *w, struct workload *workload)
{
	struct workload_cell *cell = cell_take(w, workload->uid);
	if (!cell)
		return ERR_NOMEM;
	struct workload *old = cell->now;
	int err = count_identity(w, workload, 1);
	if (err) {
		cell_drop(w, cell);
		return err;
	}
	err = index_workload(w, cell, workload);
	if (err) {
		unindex_workload(w, cell, workload, old);
		err = count_identity(w, workload, -1);
		CHECK(err == 0);
		cell_drop(w, cell);
		return ERR_NOMEM;
	}
	/* Release: the workload is complete. */
	__atomic_store_n(&cell->now, workload, __ATOMIC_RELEASE);
	if (!old) {
		w->workloads++;
		return 0;
	}
	unindex_workload(w, cell, old, workload);
	err = count_identity(w, old, -1);
	CHECK(err == 0);
	cell_drop(w, cell);
	epoch_retire(w->epoch, &old->retire, free_workload);
	return 0;
}

void world_del_workload(struct world *w, struct workload *workload)
{
	struct workload_cell *cell = cell_find(w, workload->uid);

	CHECK(cell && cell->now == workload);
	unindex_workload(w, cell, workload, NULL);
	__atomic_store_n(&cell->now, NULL, __ATOMIC_RELEASE);
	int err = count_identity(w, workload, -1);
	CHECK(err == 0);
	w->workloads--;
	cell_drop(w, cell);
	epoch_retire(w->epoch, &workload->retire, free_workload);
}

/* ---- services ---- */

static bool has_vip(const struct service *s, const struct service_vip *v)
{
	for (size_t i = 0; s && i < s->vips_count; i++)
		if (s->vips[i].network == v->network && ip_eq(&s->vips[i].ip, &v->ip))
			return true;
	return false;
}

static bool has_cidr(const struct service *s, const struct service_cidr *v)
{
	for (size_t i = 0; s && i < s->cidr_vips_count; i++) {
		const struct service_cidr *own = &s->cidr_vips[i];
		/* As places in the index go: host bits do not count. */
		if (own->network == v->network && own->cidr.prefix == v->cidr.prefix &&
		    own->cidr.ip.len == v->cidr.ip.len && cidr_has(&own->cidr, &v->cidr.ip))
			return true;
	}
	return false;
}

static void cidr_key(struct key *k, const struct service_cidr *v)
{
	key_cidr(k, rstr_str(v->network), &v->cidr.ip, v->cidr.prefix);
	CHECK(k->ok);
}

static void vip_key(struct key *k, const struct service_vip *v)
{
	key_ip(k, rstr_str(v->network), &v->ip);
	CHECK(k->ok);
}

/* Readers try only the prefix lengths that some service has. */
static void count_prefixes(struct world *w, const struct service *s, int by)
{
	for (size_t i = 0; s && i < s->cidr_vips_count; i++) {
		const struct cidr *c = &s->cidr_vips[i].cidr;
		int family = c->ip.len == 16;
		uint64_t bit = 1ULL << (c->prefix % 64);
		uint64_t *word = &w->prefixes[family][c->prefix / 64];
		uint32_t *uses = &w->prefix_uses[family][c->prefix];
		*uses += (uint32_t)by;
		__atomic_store_n(word, *uses ? *word | bit : *word & ~bit, __ATOMIC_RELEASE);
	}
}

/* Adds, where `old` is not, what of `s` is to be found. */
static int index_service(struct world *w, struct service *s, const struct service *old)
{
	struct key k;
	int err;

	for (size_t i = 0; i < s->vips_count; i++) {
		vip_key(&k, &s->vips[i]);
		if (!has_vip(old, &s->vips[i]) &&
		    (err = multi_add(&w->by_vip, key_str(&k), s)) != 0)
			return err;
	}
	for (size_t i = 0; i < s->cidr_vips_count; i++) {
		cidr_key(&k, &s->cidr_vips[i]);
		if (!has_cidr(old, &s->cidr_vips[i]) &&
		    (err = multi_add(&w->by_cidr, key_str(&k), s)) != 0)
			return err;
	}
	return old ? 0 : multi_add(&w->by_host, rstr_str(s->hostname), s);
}

/* Takes `s` out of the places that `except` does not have. */
static void unindex_service(struct world *w, const struct service *s, const struct service *except)
{
	struct key k;

	for (size_t i = 0; i < s->vips_count; i++) {
		vip_key(&k, &s->vips[i]);
		if (!has_vip(except, &s->vips[i]))
			multi_del(&w->by_vip, key_str(&k), s);
	}
	for (size_t i = 0; i < s->cidr_vips_count; i++) {
		cidr_key(&k, &s->cidr_vips[i]);
		if (!has_cidr(except, &s->cidr_vips[i]))
			multi_del(&w->by_cidr, key_str(&k), s);
	}
	if (!except)
		multi_del(&w->by_host, rstr_str(s->hostname), s);
}

/* A place is swapped once, though an object may list it twice. */
static void swap_at(struct multi *m, struct str key, struct service *old, struct service *s)
{
	struct multi_cursor c;
	void *at;

	multi_find(m, key, &c);
	while ((at = multi_next(&c)) != NULL && at != old)
		;
	if (at)
		multi_swap(m, key, old, s);
}

static void swap_service(struct world *w, struct service *old, struct service *s)
{
	struct key k;

	for (size_t i = 0; i < s->vips_count; i++) {
		vip_key(&k, &s->vips[i]);
		swap_at(&w->by_vip, key_str(&k), old, s);
	}
	for (size_t i = 0; i < s->cidr_vips_count; i++) {
		cidr_key(&k, &s->cidr_vips[i]);
		swap_at(&w->by_cidr, key_str(&k), old, s);
	}
	swap_at(&w->by_host, rstr_str(s->hostname), old, s);
}

int world_put_service(struct world *w, struct service *s)
{
	const struct rstr *key = s->key;
	struct service *old = rcumap_get(w->services, key_pointer(&key));
	struct endpoint_set *base = old ? old->endpoints : rcumap_get(w->staged, key_pointer(&key));
	struct endpoint_set *set = NULL;
	bool reused;
	void *replaced;

	int err = endpoints_begin(w, s, old, &set, &reused);
	if (err)
		return err;
	__atomic_store_n(&s->endpoints, set, __ATOMIC_RELEASE);
	count_prefixes(w, s, 1);
	err = index_service(w, s, old);
	if (!err)
		err = rcumap_put(w->services, key_pointer(&key), s, &replaced);
	if (err) {
		unindex_service(w, s, old);
		count_prefixes(w, s, -1);
		if (!reused)
			endpoints_retire(w, set);
		return err;
	}
	if (old) {
		swap_service(w, old, s);
		unindex_service(w, old, s);
		count_prefixes(w, old, -1);
		epoch_retire(w->epoch, &old->retire, free_service);
	} else {
		rcumap_del(w->staged, key_pointer(&key));
	}
	if (!reused)
		endpoints_retire(w, base);
	return 0;
}

int world_del_service(struct world *w, struct service *s)
{
	const struct rstr *key = s->key;
	struct endpoint_set *own = s->endpoints, *set = NULL;
	bool reused;
	void *replaced;

	/* Endpoints that came from workloads wait for the service to come back. */
	int err = endpoints_without_own(w, s, &set, &reused);
	if (!err && set)
		err = rcumap_put(w->staged, key_pointer(&key), set, &replaced);
	if (err) {
		if (!reused)
			endpoints_retire(w, set);
		return err;
	}
	unindex_service(w, s, NULL);
	count_prefixes(w, s, -1);
	rcumap_del(w->services, key_pointer(&key));
	if (!reused)
		endpoints_retire(w, own);
	epoch_retire(w->epoch, &s->retire, free_service);
	return 0;
}

/* ---- policies ---- */

/* Where a policy is looked for besides its key; false for selector policies, which workloads name. */
static bool policy_place(const struct policy *p, const struct rstr *const *ns, struct str *key)
{
	if (p->scope == POLICY_GLOBAL)
		*key = (struct str){"", 0};
	else if (p->scope == POLICY_NAMESPACE)
		*key = key_pointer(ns);
	else
		return false;
	return true;
}

int world_put_policy(struct world *w, struct policy *p)
{
	const struct rstr *key = p->key, *ns = p->ns;
	struct policy *old = rcumap_get(w->policies, key_pointer(&key));
	const struct rstr *old_ns = old ? old->ns : NULL;
	struct str place = {"", 0}, old_place = {"", 0};
	bool placed = policy_place(p, &ns, &place);
	bool old_placed = old && policy_place(old, &old_ns, &old_place);
	bool same = placed && old_placed && str_eq(place, old_place);
	void *replaced;
	int err;

	if (placed && !same && (err = multi_add(&w->policies_of, place, p)) != 0)
		return err;
	err = rcumap_put(w->policies, key_pointer(&key), p, &replaced);
	if (err) {
		if (placed && !same)
			multi_del(&w->policies_of, place, p);
		return err;
	}
	if (same)
		multi_swap(&w->policies_of, place, old, p);
	else if (old_placed)
		multi_del(&w->policies_of, old_place, old);
	if (old)
		epoch_retire(w->epoch, &old->retire, free_policy);
	return 0;
}

void world_del_policy(struct world *w, struct policy *p)
{
	const struct rstr *key = p->key, *ns = p->ns;
	struct str place;

	if (policy_place(p, &ns, &place))
		multi_del(&w->policies_of, place, p);
	rcumap_del(w->policies, key_pointer(&key));
	epoch_retire(w->epoch, &p->retire, free_policy);
}
