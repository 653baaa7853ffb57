/* SPDX-License-Identifier: Apache-2.0 */
#include "multi.h"

#include <stdlib.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/base/rcumap.h"

enum { LIST_CAP_MIN = 4 };

/* Slots are filled in order and emptied in place (NULL), so that taking an object out needs no memory. */
struct multi_list {
	struct epoch_node retire;
	uint32_t cap;
	uint32_t used; /* atomic: slots that were ever filled */
	uint32_t live; /* writer's: slots that are not NULL */
	void *v[];     /* atomic */
};

static struct multi_list *as_list(void *value)
{
	uintptr_t bits = (uintptr_t)value;

	return bits & 1 ? (struct multi_list *)(bits - 1) : NULL;
}

static void *from_list(struct multi_list *l)
{
	return (char *)l + 1;
}

int multi_init(struct multi *m, struct epoch *epoch)
{
	m->epoch = epoch;
	m->map = rcumap_new(epoch);
	return m->map ? 0 : ERR_NOMEM;
}

static bool free_one(void *arg, struct str key, void *value)
{
	(void)arg, (void)key;
	free(as_list(value));
	return true;
}

void multi_fini(struct multi *m)
{
	if (m->map)
		rcumap_each(m->map, free_one, NULL);
	rcumap_free(m->map);
	m->map = NULL;
}

static void free_list(struct epoch_node *node)
{
	free(container_of(node, struct multi_list, retire));
}

static struct multi_list *list_new(uint32_t cap)
{
	struct multi_list *l = calloc(1, sizeof(*l) + cap * sizeof(l->v[0]));

	if (l)
		l->cap = cap;
	return l;
}

/* Release, here and below: the object comes before the way that leads to it. */
static void slot_set(struct multi_list *l, uint32_t i, void *object)
{
	__atomic_store_n(&l->v[i], object, __ATOMIC_RELEASE);
}

static uint32_t list_find(const struct multi_list *l, const void *object)
{
	uint32_t i = 0;

	while (i < l->used && l->v[i] != object)
		i++;
	return i;
}

/* A list with room behind what `from` holds, emptied slots left out, in place of it under the key. */
static int list_grow(struct multi *m, struct str key, struct multi_list *from,
		     struct multi_list **out)
{
	struct multi_list *l = list_new(MAX((uint32_t)LIST_CAP_MIN, from->live * 2));
	void *old;

	if (!l)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < from->used; i++)
		if (from->v[i])
			l->v[l->used++] = from->v[i];
	l->live = l->used;
	int err = rcumap_put(m->map, key, from_list(l), &old);
	if (err) {
		free(l);
		return err;
	}
	epoch_retire(m->epoch, &from->retire, free_list);
	*out = l;
	return 0;
}

static int add_to_list(struct multi *m, struct str key, struct multi_list *l, void *object)
{
	if (list_find(l, object) < l->used)
		return 0;
	if (l->used == l->cap) {
		int err = list_grow(m, key, l, &l);
		if (err)
			return err;
	}
	slot_set(l, l->used, object);
	__atomic_store_n(&l->used, l->used + 1, __ATOMIC_RELEASE);
	l->live++;
	return 0;
}

int multi_add(struct multi *m, struct str key, void *object)
{
	void *now = rcumap_get(m->map, key), *old;

	CHECK(object && !as_list(object));
	if (now == object)
		return 0;
	if (!now)
		return rcumap_put(m->map, key, object, &old);
	if (as_list(now))
		return add_to_list(m, key, as_list(now), object);
	struct multi_list *l = list_new(LIST_CAP_MIN);
	if (!l)
		return ERR_NOMEM;
	l->v[0] = now;
	l->v[1] = object;
	l->used = l->live = 2;
	int err = rcumap_put(m->map, key, from_list(l), &old);
	if (err)
		free(l);
	return err;
}

void multi_swap(struct multi *m, struct str key, void *old, void *object)
{
	void *now = rcumap_get(m->map, key);
	struct multi_list *l = as_list(now);

	CHECK(object && !as_list(object));
	if (l) {
		uint32_t i = list_find(l, old);
		CHECK(i < l->used);
		slot_set(l, i, object);
		return;
	}
	CHECK(now == old);
	/* The key is there, so the map exchanges the value and needs no memory. */
	int err = rcumap_put(m->map, key, object, &now);
	CHECK(err == 0);
}

void multi_del(struct multi *m, struct str key, const void *object)
{
	void *now = rcumap_get(m->map, key);
	struct multi_list *l = as_list(now);

	if (!now || (!l && now != object))
		return;
	if (!l) {
		rcumap_del(m->map, key);
		return;
	}
	uint32_t i = list_find(l, object);
	if (i == l->used)
		return;
	slot_set(l, i, NULL);
	if (--l->live > 0)
		return;
	rcumap_del(m->map, key);
	epoch_retire(m->epoch, &l->retire, free_list);
}

void multi_find(const struct multi *m, struct str key, struct multi_cursor *c)
{
	void *value = rcumap_get(m->map, key);

	c->at = 0;
	c->list = as_list(value);
	c->single = c->list ? NULL : value;
}

void *multi_next(struct multi_cursor *c)
{
	if (!c->list) {
		void *single = c->single;
		c->single = NULL;
		return single;
	}
	/* Acquire: pairs with slot_set() and with the release of `used`. */
	uint32_t used = __atomic_load_n(&c->list->used, __ATOMIC_ACQUIRE);
	while (c->at < used) {
		void *object = __atomic_load_n(&c->list->v[c->at++], __ATOMIC_ACQUIRE);
		if (object)
			return object;
	}
	return NULL;
}
