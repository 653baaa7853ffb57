/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of endpoints. A set is replaced as a whole; what it referred to is given up when it is retired, its memory when no
 * reader can see it any more.
 */
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/rcumap.h"
#include "world_private.h"

static struct endpoint_set *set_new(struct rstr *service_key, uint32_t cap)
{
	struct endpoint_set *set = calloc(1, sizeof(*set) + cap * sizeof(set->v[0]));

	if (set)
		set->service_key = rstr_get(service_key);
	return set;
}

static void free_set(struct epoch_node *node)
{
	struct endpoint_set *set = container_of(node, struct endpoint_set, retire);

	for (uint32_t i = 0; i < set->count; i++)
		portmap_put(set->v[i].ports);
	rstr_put(set->service_key);
	free(set);
}

void endpoints_retire(struct world *w, struct endpoint_set *set)
{
	if (!set)
		return;
	for (uint32_t i = 0; i < set->count; i++)
		cell_drop(w, set->v[i].cell);
	w->endpoints -= set->count;
	epoch_retire(w->epoch, &set->retire, free_set);
}

/* A set that was never published. */
static void discard(struct world *w, struct endpoint_set *set)
{
	for (uint32_t i = 0; i < set->count; i++)
		cell_drop(w, set->v[i].cell);
	w->endpoints -= set->count;
	free_set(&set->retire);
}

static void append_copy(struct world *w, struct endpoint_set *set, const struct endpoint_entry *e)
{
	e->cell->refs++;
	portmap_get(e->ports);
	set->v[set->count++] = *e;
	w->endpoints++;
}

static int append(struct world *w, struct endpoint_set *set, struct rstr *uid,
		  struct portmap *ports, bool unhealthy, bool own)
{
	struct workload_cell *cell = cell_take(w, uid);

	if (!cell)
		return ERR_NOMEM;
	set->v[set->count++] = (struct endpoint_entry){cell, portmap_get(ports),
						       .unhealthy = unhealthy, .own = own};
	w->endpoints++;
	return 0;
}

static const struct service_endpoint *own_of(const struct service *s, const struct rstr *uid)
{
	/* From the end: the later of two entries of one name counts. */
	for (size_t i = s ? s->own_count : 0; i > 0; i--)
		if (s->own[i - 1].uid == uid)
			return &s->own[i - 1];
	return NULL;
}

/* What becomes of one changed name: its new entry, or, when it is removed, what the service itself says of it. */
static int append_changed(struct world *w, struct endpoint_set *set, const struct service *s,
			  const struct endpoint_change *c)
{
	const struct service_endpoint *own;

	if (!c->removed)
		return append(w, set, c->uid, c->ports, c->unhealthy, false);
	own = own_of(s, c->uid);
	return own ? append(w, set, own->uid, own->ports, own->unhealthy, true) : 0;
}

/* `s` NULL: nobody has entries of his own. */
static int merge(struct world *w, struct rstr *service_key, const struct service *s,
		 const struct endpoint_set *old, const struct endpoint_change *changes,
		 size_t count, struct endpoint_set **out)
{
	uint32_t old_count = old ? old->count : 0, i = 0;
	struct endpoint_set *set = set_new(service_key, old_count + (uint32_t)count);
	int err = 0;

	if (!set)
		return ERR_NOMEM;
	for (size_t c = 0; c < count && !err; c++) {
		uintptr_t uid = (uintptr_t)changes[c].uid;
		while (i < old_count && (uintptr_t)old->v[i].cell->uid < uid)
			append_copy(w, set, &old->v[i++]);
		if (i < old_count && (uintptr_t)old->v[i].cell->uid == uid)
			i++;
		err = append_changed(w, set, s, &changes[c]);
	}
	while (i < old_count && !err)
		append_copy(w, set, &old->v[i++]);
	if (err || set->count == 0) {
		discard(w, set);
		set = NULL;
	}
	if (!err)
		*out = set;
	return err;
}

/* A place among the staged ones for a set that is to come, so that putting it there needs no memory. */
static int reserve_staged(struct world *w, struct endpoint_plan *p)
{
	const struct rstr *key = p->service_key;
	struct endpoint_set *empty = set_new(p->service_key, 0);
	void *replaced;

	if (!empty)
		return ERR_NOMEM;
	int err = rcumap_put(w->staged, key_pointer(&key), empty, &replaced);
	if (err)
		discard(w, empty);
	else
		p->old = empty;
	return err;
}

int endpoints_prepare(struct world *w, const struct endpoint_change *changes, size_t count,
		      struct endpoint_plan *out)
{
	struct endpoint_plan p = {.service_key = changes[0].service_key};
	const struct rstr *key = p.service_key;
	struct service *s = rcumap_get(w->services, key_pointer(&key));

	p.staged = !s;
	p.old = s ? s->endpoints : rcumap_get(w->staged, key_pointer(&key));
	int err = merge(w, p.service_key, s, p.old, changes, count, &p.next);
	if (!err && p.staged && p.next && !p.old) {
		err = reserve_staged(w, &p);
		if (err)
			discard(w, p.next);
	}
	if (!err)
		*out = p;
	return err;
}

void endpoints_commit(struct world *w, const struct endpoint_plan *p)
{
	const struct rstr *key = p->service_key;
	struct service *s = rcumap_get(w->services, key_pointer(&key));
	void *replaced;

	if (!p->staged) {
		/* Release: the set is complete. */
		__atomic_store_n(&s->endpoints, p->next, __ATOMIC_RELEASE);
	} else if (p->next) {
		int err = rcumap_put(w->staged, key_pointer(&key), p->next, &replaced);
		CHECK(err == 0 && replaced == p->old);
	} else {
		rcumap_del(w->staged, key_pointer(&key));
	}
	endpoints_retire(w, p->old);
}

void endpoints_cancel(struct world *w, const struct endpoint_plan *p)
{
	const struct rstr *key = p->service_key;

	if (p->next)
		discard(w, p->next);
	if (!p->staged || !p->old || p->old->count > 0)
		return;
	rcumap_del(w->staged, key_pointer(&key));
	discard(w, p->old);
}

static int by_uid(const void *a, const void *b)
{
	const struct rstr *x = ((const struct endpoint_change *)a)->uid;
	const struct rstr *y = ((const struct endpoint_change *)b)->uid;

	return (uintptr_t)x < (uintptr_t)y ? -1 : x != y;
}

static bool from_workload(const struct endpoint_set *set, const struct rstr *uid)
{
	for (uint32_t i = 0; set && i < set->count; i++)
		if (set->v[i].cell->uid == uid)
			return !set->v[i].own;
	return false;
}

static bool has_own(const struct endpoint_set *set)
{
	for (uint32_t i = 0; set && i < set->count; i++)
		if (set->v[i].own)
			return true;
	return false;
}

/*
 * `base` with the own entries of `s` in place of those that are there; entries that came from workloads win. Written as a
 * merge: every own name of either is a "removal", which brings back what `s` says of it.
 */
static int exchange_own(struct world *w, struct rstr *service_key, const struct service *s,
			const struct endpoint_set *base, struct endpoint_set **out)
{
	size_t own_count = s ? s->own_count : 0, n = 0;
	struct endpoint_change *changes =
		calloc(own_count + (base ? base->count : 0) + 1, sizeof(*changes));

	if (!changes)
		return ERR_NOMEM;
	for (uint32_t i = 0; base && i < base->count; i++)
		if (base->v[i].own)
			changes[n++] = (struct endpoint_change){.uid = base->v[i].cell->uid,
								.removed = true};
	for (size_t i = 0; i < own_count; i++)
		if (!from_workload(base, s->own[i].uid))
			changes[n++] =
				(struct endpoint_change){.uid = s->own[i].uid, .removed = true};
	qsort(changes, n, sizeof(*changes), by_uid);
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || changes[kept - 1].uid != changes[i].uid)
			changes[kept++] = changes[i];
	int err = merge(w, service_key, s, base, changes, kept, out);
	free(changes);
	return err;
}

int endpoints_begin(struct world *w, const struct service *s, const struct service *old,
		    struct endpoint_set **set, bool *reused)
{
	const struct rstr *service_key = s->key;
	struct endpoint_set *base = old ? old->endpoints
					: rcumap_get(w->staged, key_pointer(&service_key));

	*reused = s->own_count == 0 && !has_own(base);
	if (*reused) {
		*set = base;
		return 0;
	}
	return exchange_own(w, s->key, s, base, set);
}

int endpoints_without_own(struct world *w, const struct service *s, struct endpoint_set **set,
			  bool *reused)
{
	*reused = !has_own(s->endpoints);
	if (*reused) {
		*set = s->endpoints;
		return 0;
	}
	return exchange_own(w, s->key, NULL, s->endpoints, set);
}
