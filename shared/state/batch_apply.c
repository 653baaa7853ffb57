/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applies those operations of a batch that change something: policies, services and workloads are added in that order,
 * endpoints follow once per service, and what goes away goes in the opposite order.
 */
#include <stdlib.h>

#include "batch_private.h"
#include "shared/base/err.h"
#include "shared/base/rcumap.h"

/* Index tables grow only when the epoch moves on, so it is pushed along while much is put. */
enum { RECLAIM_EVERY = 32 };

/* ---- order ---- */

static int by_name(const void *a, const void *b)
{
	const struct op *x = a, *y = b;

	if (x->name != y->name)
		return (uintptr_t)x->name < (uintptr_t)y->name ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

/* Sorts by name and keeps the last word on each. */
static void ops_settle(struct ops *ops, void (*put)(void *))
{
	size_t kept = 0;

	if (ops->count > 0)
		qsort(ops->v, ops->count, sizeof(*ops->v), by_name);
	for (size_t i = 0; i < ops->count; i++) {
		if (i + 1 < ops->count && ops->v[i + 1].name == ops->v[i].name) {
			rstr_put(ops->v[i].name);
			if (ops->v[i].object)
				put(ops->v[i].object);
			continue;
		}
		ops->v[kept++] = ops->v[i];
	}
	ops->count = kept;
}

static bool ops_has(const struct ops *ops, size_t settled, const struct rstr *name)
{
	size_t low = 0, high = settled;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (ops->v[mid].name == name)
			return true;
		if ((uintptr_t)ops->v[mid].name < (uintptr_t)name)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* What the source of a whole batch published before and does not have any more. */
struct sweep {
	struct batch *b;
	struct ops *ops;
	size_t settled;
	int err;
};

static bool sweep_one(struct sweep *s, enum world_source source, struct rstr *name)
{
	if (source == s->b->source && !ops_has(s->ops, s->settled, name))
		s->err = batch_push(s->b, s->ops, name, NULL);
	return s->err == 0;
}

static bool sweep_workload(void *arg, struct workload *w)
{
	return sweep_one(arg, w->source, w->uid);
}

static bool sweep_service(void *arg, struct service *s)
{
	return sweep_one(arg, s->source, s->key);
}

static bool sweep_policy(void *arg, struct policy *p)
{
	return sweep_one(arg, p->source, p->key);
}

static int add_removals(struct batch *b)
{
	struct sweep s = {b, &b->workloads, b->workloads.count, 0};
	world_each_workload(b->w, sweep_workload, &s);
	if (s.err)
		return s.err;
	s = (struct sweep){b, &b->services, b->services.count, 0};
	world_each_service(b->w, sweep_service, &s);
	if (s.err)
		return s.err;
	s = (struct sweep){b, &b->policies, b->policies.count, 0};
	world_each_policy(b->w, sweep_policy, &s);
	return s.err;
}

/* ---- applying ---- */

/* Between any two objects. */
static void step(struct batch *b)
{
	if (++b->since_reclaim >= RECLAIM_EVERY) {
		b->since_reclaim = 0;
		epoch_reclaim(b->w->epoch);
	}
}

/* An object was published: the batch holds it no longer. */
static void done(struct batch *b, struct op *op, bool existed)
{
	op->object = NULL;
	op->seq = OP_DONE;
	if (existed)
		b->result.changed++;
	else
		b->result.added++;
	step(b);
}

static void unchanged(struct batch *b, struct op *op)
{
	op->seq = OP_DONE;
	b->result.unchanged++;
}

static bool is_removal(const struct op *op)
{
	return !op->object && op->seq != OP_DONE;
}

static int put_policies(struct batch *b)
{
	for (size_t i = 0; i < b->policies.count; i++) {
		struct op *op = &b->policies.v[i];
		struct policy *p = op->object;
		const struct rstr *key = op->name;
		if (!p)
			continue;
		struct policy *old = rcumap_get(b->w->policies, key_pointer(&key));
		if (old && policy_eq(old, p)) {
			old->source = p->source;
			unchanged(b, op);
			continue;
		}
		int err = world_put_policy(b->w, p);
		if (err)
			return err;
		b->result.policies_changed = true;
		done(b, op, old != NULL);
	}
	return 0;
}

static int put_services(struct batch *b)
{
	for (size_t i = 0; i < b->services.count; i++) {
		struct op *op = &b->services.v[i];
		struct service *s = op->object;
		const struct rstr *key = op->name;
		if (!s)
			continue;
		struct service *old = rcumap_get(b->w->services, key_pointer(&key));
		if (old && service_eq(old, s)) {
			old->source = s->source;
			unchanged(b, op);
			continue;
		}
		int err = world_put_service(b->w, s);
		if (err)
			return err;
		done(b, op, old != NULL);
	}
	return 0;
}

static struct workload *published(const struct batch *b, const struct op *op)
{
	struct workload_cell *cell = cell_find(b->w, op->name);

	return cell ? cell->now : NULL;
}

/* ---- what workloads mean for services ---- */

static bool change_room(struct batch *b, size_t more)
{
	while (b->changes_cap < b->changes_count + more)
		if (!batch_reserve((void **)&b->changes, &b->changes_cap, b->changes_cap,
				   sizeof(*b->changes)))
			return false;
	return true;
}

static void change_push(struct batch *b, const struct workload *w, const struct workload_service *s,
			bool removed)
{
	b->changes[b->changes_count++] = (struct endpoint_change){
		.service_key = rstr_get(s->key),
		.uid = rstr_get(w->uid),
		.ports = portmap_get(s->ports),
		.unhealthy = w->status == WORKLOAD_UNHEALTHY,
		.removed = removed,
	};
}

static const struct workload_service *service_of(const struct workload *w, const struct rstr *key)
{
	for (size_t i = 0; w && i < w->services_count; i++)
		if (workload_services(w)[i].key == key)
			return &workload_services(w)[i];
	return NULL;
}

/* The step from `old` to `now` (either may be NULL). Room was made before. */
static void note_endpoints(struct batch *b, const struct workload *old, const struct workload *now)
{
	for (size_t i = 0; old && i < old->services_count; i++) {
		const struct workload_service *was = &workload_services(old)[i];
		if (!service_of(now, was->key))
			change_push(b, old, was, true);
	}
	for (size_t i = 0; now && i < now->services_count; i++) {
		const struct workload_service *is = &workload_services(now)[i];
		const struct workload_service *was = service_of(old, is->key);
		if (!was || was->ports != is->ports || old->status != now->status)
			change_push(b, now, is, false);
	}
}

/* Remembers a local workload whose identity may lose its last user. Room was made before. */
static void note_gone(struct batch *b, struct workload *old, const struct workload *now)
{
	if (!world_is_local(b->w, old) || (now && world_is_local(b->w, now) && now->ns == old->ns &&
					   now->service_account == old->service_account))
		return;
	b->gone[b->gone_count++] = workload_get(old);
}

/* Looks at every workload of the batch before any is touched. */
static int note_workloads(struct batch *b)
{
	for (size_t i = 0; i < b->workloads.count; i++) {
		struct op *op = &b->workloads.v[i];
		struct workload *now = op->object, *old = published(b, op);
		if (!now && !old)
			continue;
		if (now && old && workload_eq(old, now)) {
			old->source = now->source;
			unchanged(b, op);
			continue;
		}
		size_t room = (now ? now->services_count : 0U) + (old ? old->services_count : 0U);
		if (!change_room(b, room) ||
		    !batch_reserve((void **)&b->gone, &b->gone_cap, b->gone_count,
				   sizeof(struct workload *)))
			return ERR_NOMEM;
		note_endpoints(b, old, now);
		if (old)
			note_gone(b, old, now);
	}
	return 0;
}

static int by_service(const void *a, const void *b)
{
	const struct endpoint_change *x = a, *y = b;

	if (x->service_key != y->service_key)
		return (uintptr_t)x->service_key < (uintptr_t)y->service_key ? -1 : 1;
	return (uintptr_t)x->uid < (uintptr_t)y->uid ? -1 : x->uid != y->uid;
}

/* One new set for each service that is concerned. A workload has one operation, so one change for each service. */
static int prepare_endpoints(struct batch *b)
{
	int err = 0;

	if (b->changes_count == 0)
		return 0;
	qsort(b->changes, b->changes_count, sizeof(*b->changes), by_service);
	b->plans = calloc(b->changes_count, sizeof(*b->plans));
	if (!b->plans)
		return ERR_NOMEM;
	for (size_t i = 0, end; i < b->changes_count && !err; i = end) {
		end = i + 1;
		while (end < b->changes_count &&
		       b->changes[end].service_key == b->changes[i].service_key)
			end++;
		err = endpoints_prepare(b->w, &b->changes[i], end - i, &b->plans[b->plans_count]);
		if (!err)
			b->plans_count++;
		step(b);
	}
	while (err && b->plans_count > 0)
		endpoints_cancel(b->w, &b->plans[--b->plans_count]);
	return err;
}

static void commit_endpoints(struct batch *b)
{
	for (size_t i = 0; i < b->plans_count; i++) {
		endpoints_commit(b->w, &b->plans[i]);
		step(b);
	}
}

/* ---- workloads, and what goes ---- */

static int put_workloads(struct batch *b)
{
	for (size_t i = 0; i < b->workloads.count; i++) {
		struct op *op = &b->workloads.v[i];
		struct workload *w = op->object;
		if (!w || op->seq == OP_DONE)
			continue;
		bool existed = published(b, op) != NULL;
		int err = world_put_workload(b->w, w);
		if (err)
			return err;
		done(b, op, existed);
		if (b->w->hooks.local_workload && world_is_local(b->w, w))
			b->w->hooks.local_workload(b->w->hooks.arg, w);
	}
	return 0;
}

static void remove_workloads(struct batch *b)
{
	for (size_t i = 0; i < b->workloads.count; i++) {
		struct op *op = &b->workloads.v[i];
		struct workload *w = is_removal(op) ? published(b, op) : NULL;
		if (!w)
			continue;
		world_del_workload(b->w, w);
		b->result.removed++;
		step(b);
	}
}

static int remove_services(struct batch *b)
{
	for (size_t i = 0; i < b->services.count; i++) {
		struct op *op = &b->services.v[i];
		const struct rstr *key = op->name;
		struct service *s = is_removal(op) ? rcumap_get(b->w->services, key_pointer(&key))
						   : NULL;
		if (!s)
			continue;
		int err = world_del_service(b->w, s);
		if (err)
			return err;
		b->result.removed++;
		step(b);
	}
	return 0;
}

static void remove_policies(struct batch *b)
{
	for (size_t i = 0; i < b->policies.count; i++) {
		struct op *op = &b->policies.v[i];
		const struct rstr *key = op->name;
		struct policy *p = is_removal(op) ? rcumap_get(b->w->policies, key_pointer(&key))
						  : NULL;
		if (!p)
			continue;
		world_del_policy(b->w, p);
		b->result.removed++;
		b->result.policies_changed = true;
		step(b);
	}
}

static void tell_unused(struct batch *b)
{
	for (size_t i = 0; i < b->gone_count; i++)
		if (b->w->hooks.identity_unused && !world_identity_used(b->w, b->gone[i]))
			b->w->hooks.identity_unused(b->w->hooks.arg, b->gone[i]);
}

/*
 * Stops at the first failure: what was published by then is complete in itself, and the same batch will find it unchanged
 * and go on from there. Endpoints are committed even if a workload failed: they are harmless without it.
 */
static int publish(struct batch *b)
{
	int err;

	if ((err = put_policies(b)) != 0 || (err = put_services(b)) != 0 ||
	    (err = note_workloads(b)) != 0 || (err = prepare_endpoints(b)) != 0)
		return err;
	err = put_workloads(b);
	commit_endpoints(b);
	if (err)
		return err;
	remove_workloads(b);
	err = remove_services(b);
	if (!err)
		remove_policies(b);
	tell_unused(b);
	return err;
}

int batch_apply(struct batch *b, struct batch_result *result)
{
	struct world *w = b->w;

	ops_settle(&b->policies, batch_put_policy);
	ops_settle(&b->services, batch_put_service);
	ops_settle(&b->workloads, batch_put_workload);
	int err = b->whole ? add_removals(b) : 0;
	if (!err)
		err = publish(b);
	if (b->result.policies_changed)
		__atomic_fetch_add(&w->policy_version, 1, __ATOMIC_RELEASE);
	if (b->result.added + b->result.changed + b->result.removed > 0)
		__atomic_fetch_add(&w->version, 1, __ATOMIC_RELEASE);
	if (result)
		*result = b->result;
	batch_free(b);
	return err;
}
