/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_private.h"

#include <stdlib.h>

#include "shared/base/err.h"

/* Longest name that is part of a key: several of them fit into one. */
enum { NAME_BYTES_MAX = 256 };

struct batch *batch_new(struct world *w, enum world_source source)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (b) {
		b->w = w;
		b->source = source;
	}
	return b;
}

static void ops_fini(struct ops *ops, void (*put)(void *))
{
	for (size_t i = 0; i < ops->count; i++) {
		rstr_put(ops->v[i].name);
		if (ops->v[i].object)
			put(ops->v[i].object);
	}
	free(ops->v);
}

void batch_put_workload(void *object)
{
	workload_put(object);
}

void batch_put_service(void *object)
{
	service_put(object);
}

void batch_put_policy(void *object)
{
	policy_put(object);
}

static void change_fini(struct endpoint_change *c)
{
	rstr_put(c->service_key);
	rstr_put(c->uid);
	portmap_put(c->ports);
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	ops_fini(&b->policies, batch_put_policy);
	ops_fini(&b->services, batch_put_service);
	ops_fini(&b->workloads, batch_put_workload);
	for (size_t i = 0; i < b->changes_count; i++)
		change_fini(&b->changes[i]);
	free(b->changes);
	free(b->plans);
	for (size_t i = 0; i < b->gone_count; i++)
		workload_put(b->gone[i]);
	free(b->gone);
	free(b);
}

bool batch_reserve(void **v, size_t *cap, size_t count, size_t size)
{
	if (count < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : 16;
	void *bigger = realloc(*v, more * size);
	if (!bigger)
		return false;
	*v = bigger;
	*cap = more;
	return true;
}

int batch_push(struct batch *b, struct ops *ops, struct rstr *name, void *object)
{
	if (!batch_reserve((void **)&ops->v, &ops->cap, ops->count, sizeof(*ops->v)))
		return ERR_NOMEM;
	ops->v[ops->count++] = (struct op){rstr_get(name), object, b->seq++};
	return 0;
}

static bool too_long(struct str s)
{
	return s.n > NAME_BYTES_MAX;
}

int batch_workload(struct batch *b, const struct workload_spec *spec)
{
	struct workload *w;

	if (too_long(spec->network) || too_long(spec->ns) || too_long(spec->name) ||
	    too_long(spec->service_account) || too_long(spec->hostname))
		return ERR_TOO_LARGE;
	int err = workload_new(spec, &w);
	if (err)
		return err;
	w->source = b->source;
	err = batch_push(b, &b->workloads, w->uid, w);
	if (err)
		workload_put(w);
	return err;
}

int batch_service(struct batch *b, const struct service_spec *spec)
{
	struct service *s;

	if (too_long(spec->ns) || too_long(spec->hostname))
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < spec->vips_count; i++)
		if (too_long(spec->vips[i].network))
			return ERR_TOO_LARGE;
	for (size_t i = 0; i < spec->cidr_vips_count; i++)
		if (too_long(spec->cidr_vips[i].network))
			return ERR_TOO_LARGE;
	int err = service_new(spec, &s);
	if (err)
		return err;
	s->source = b->source;
	err = batch_push(b, &b->services, s->key, s);
	if (err)
		service_put(s);
	return err;
}

int batch_policy(struct batch *b, const struct policy_spec *spec)
{
	struct policy *p;

	int err = policy_new(spec, &p);
	if (err)
		return err;
	p->source = b->source;
	err = batch_push(b, &b->policies, p->key, p);
	if (err)
		policy_put(p);
	return err;
}

static int push_removal(struct batch *b, struct ops *ops, struct str name)
{
	struct rstr *s = rstr_intern(name);

	if (!s)
		return ERR_NOMEM;
	int err = batch_push(b, ops, s, NULL);
	rstr_put(s);
	return err;
}

int batch_remove_address(struct batch *b, struct str name)
{
	int err = push_removal(b, &b->workloads, name);
	if (err)
		return err;
	/* Names with more than one slash are never services. */
	const char *slash = name.n ? memchr(name.p, '/', name.n) : NULL;
	if (!slash || memchr(slash + 1, '/', name.n - (size_t)(slash + 1 - name.p)))
		return 0;
	return push_removal(b, &b->services, name);
}

int batch_remove_policy(struct batch *b, struct str key)
{
	return push_removal(b, &b->policies, key);
}

void batch_is_whole(struct batch *b)
{
	b->whole = true;
}
