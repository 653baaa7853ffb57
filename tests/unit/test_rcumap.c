/* SPDX-License-Identifier: Apache-2.0 */
/* The map against an array as its model, with allocations that fail, and with readers on other threads. */
#include "unit.h"

#include <pthread.h>

#include "failalloc.h"
#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/base/rcumap.h"
#include "shared/base/rng.h"

enum { KEYS = 3000 };

static struct str key_of(uint32_t i, char out[32])
{
	int n = snprintf(out, 32, "key-%u", i);
	return (struct str){out, (size_t)n};
}

static void *value_of(uint64_t v)
{
	return (void *)(uintptr_t)v;
}

static void basics(void **state)
{
	(void)state;
	struct epoch *e = epoch_new(1);
	struct rcumap *m = rcumap_new(e);
	void *old = value_of(99);
	assert_null(rcumap_get(m, STR("a")));
	assert_int_equal(rcumap_put(m, STR("a"), value_of(1), &old), 0);
	assert_null(old);
	assert_int_equal(rcumap_put(m, STR("a"), value_of(2), &old), 0);
	assert_ptr_equal(old, value_of(1));
	/* Keys are bytes: empty and zero are keys, too. */
	assert_int_equal(rcumap_put(m, (struct str){NULL, 0}, value_of(3), &old), 0);
	assert_int_equal(rcumap_put(m, (struct str){"a\0", 2}, value_of(4), &old), 0);
	assert_ptr_equal(rcumap_get(m, STR("a")), value_of(2));
	assert_ptr_equal(rcumap_get(m, STR("")), value_of(3));
	assert_ptr_equal(rcumap_get(m, (struct str){"a\0", 2}), value_of(4));
	assert_int_equal(rcumap_count(m), 3);
	assert_ptr_equal(rcumap_del(m, STR("a")), value_of(2));
	assert_null(rcumap_del(m, STR("a")));
	assert_int_equal(rcumap_count(m), 2);
	rcumap_free(m);
	epoch_free(e);
	rcumap_free(NULL);
}

struct visit {
	uint64_t *model;
	uint32_t seen, stop_at;
	struct rcumap *del_from;
};

static bool visit(void *arg, struct str key, void *value)
{
	struct visit *v = arg;
	char z[32] = {0};
	uint32_t i;
	memcpy(z, key.p, MIN(key.n, sizeof(z) - 1));
	assert_int_equal(sscanf(z, "key-%u", &i), 1);
	assert_ptr_equal(value, value_of(v->model[i]));
	if (v->del_from)
		assert_ptr_equal(rcumap_del(v->del_from, key), value);
	return ++v->seen != v->stop_at;
}

static void agrees_with_model(void **state)
{
	(void)state;
	static uint64_t model[KEYS];
	struct rng r;
	rng_init(&r, 3);
	struct epoch *e = epoch_new(1);
	struct rcumap *m = rcumap_new(e);
	uint32_t count = 0;
	memset(model, 0, sizeof(model));
	for (int step = 0; step < 200000; step++) {
		/* The map grows and shrinks in waves, so that it is resized both ways. */
		bool growing = step / 20000 % 2 == 0;
		uint32_t i = (uint32_t)rng_below(&r, KEYS);
		char text[32];
		struct str key = key_of(i, text);
		void *old;
		if (rng_below(&r, 10) < (growing ? 8 : 1)) {
			uint64_t v = rng_next(&r) | 1;
			assert_int_equal(rcumap_put(m, key, value_of(v), &old), 0);
			assert_ptr_equal(old, value_of(model[i]));
			count += model[i] == 0;
			model[i] = v;
		} else {
			assert_ptr_equal(rcumap_del(m, key), value_of(model[i]));
			count -= model[i] != 0;
			model[i] = 0;
		}
		i = (uint32_t)rng_below(&r, KEYS);
		assert_ptr_equal(rcumap_get(m, key_of(i, text)), value_of(model[i]));
		assert_int_equal(rcumap_count(m), count);
		if (step % 37 == 0)
			epoch_reclaim(e);
	}
	struct visit v = {.model = model};
	rcumap_each(m, visit, &v);
	assert_int_equal(v.seen, count);
	v = (struct visit){.model = model, .stop_at = 2};
	rcumap_each(m, visit, &v);
	assert_int_equal(v.seen, 2);
	v = (struct visit){.model = model, .del_from = m};
	rcumap_each(m, visit, &v);
	assert_int_equal(rcumap_count(m), 0);
	rcumap_free(m); /* with a table that may still wait in the epoch */
	epoch_free(e);
}

static bool fill_map(struct epoch *e, bool sweep_each)
{
	struct rcumap *m = rcumap_new(e);
	if (!m)
		return false;
	bool ok = true;
	uint32_t count = 0;
	char text[32];
	void *old = value_of(7);
	for (uint32_t i = 0; i < 100; i++) {
		int rc = rcumap_put(m, key_of(i, text), value_of(i + 1), &old);
		if (rc) {
			assert_int_equal(rc, ERR_NOMEM);
			assert_null(rcumap_get(m, key_of(i, text)));
			ok = false;
		} else {
			count++;
			assert_null(old);
		}
		assert_int_equal(rcumap_count(m), count);
		if (sweep_each)
			epoch_reclaim(e);
	}
	uint32_t found = 0;
	for (uint32_t i = 0; i < 100; i++)
		found += rcumap_get(m, key_of(i, text)) == value_of(i + 1);
	assert_int_equal(found, count);
	rcumap_free(m);
	return ok;
}

static void failing_memory_leaves_the_map_valid(void **state)
{
	(void)state;
	uint32_t failures = 0;
	for (uint32_t n = 0;; n++) {
		struct epoch *e = epoch_new(1);
		failalloc_begin(n);
		bool ok = fill_map(e, n % 2);
		bool failed = failalloc_end();
		epoch_free(e);
		failures += !ok;
		if (!failed)
			break;
		/* Only a bigger table may be lacking unnoticed. */
		assert_true(n < 300);
	}
	assert_true(failures >= 100);
}

/* ---- threads ---- */

enum { READERS = 3, SHARED_KEYS = 200, ROUNDS = 60000 };

struct shared {
	struct epoch *e;
	struct rcumap *m;
	bool stop;
};

/* A value that says which key it belongs to; poisoned when freed. */
struct value {
	struct epoch_node node;
	uint32_t key, alive;
};

static void free_value(struct epoch_node *node)
{
	struct value *v = container_of(node, struct value, node);
	v->alive = 0;
	free(v);
}

static struct value *new_value(uint32_t key)
{
	struct value *v = calloc(1, sizeof(*v));
	v->key = key;
	v->alive = 1;
	return v;
}

static void *reader(void *arg)
{
	struct shared *s = arg;
	int me = epoch_register(s->e);
	struct rng r;
	uint64_t found = 0;
	char text[32];
	rng_init(&r, (uint64_t)me + 1);
	epoch_online(s->e, me);
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		uint32_t i = (uint32_t)rng_below(&r, SHARED_KEYS);
		struct value *v = rcumap_get(s->m, key_of(i, text));
		/* Keys below 10 are only ever replaced: they are always there. */
		CHECK(i >= 10 || v);
		if (v) {
			CHECK(v->alive == 1 && v->key == i);
			found++;
		}
		epoch_quiescent(s->e, me);
	}
	epoch_offline(s->e, me);
	epoch_unregister(s->e, me);
	return (void *)(uintptr_t)found;
}

static void write_one(struct shared *s, struct rng *r)
{
	uint32_t i = (uint32_t)rng_below(r, SHARED_KEYS);
	char text[32];
	void *old;
	if (i < 10 || rng_below(r, 2)) {
		assert_int_equal(rcumap_put(s->m, key_of(i, text), new_value(i), &old), 0);
	} else {
		old = rcumap_del(s->m, key_of(i, text));
	}
	if (old)
		epoch_retire(s->e, &((struct value *)old)->node, free_value);
}

static bool drop(void *arg, struct str key, void *value)
{
	(void)arg;
	(void)key;
	free(value);
	return true;
}

static void readers_see_old_or_new(void **state)
{
	(void)state;
	struct shared s = {.e = epoch_new(READERS)};
	s.m = rcumap_new(s.e);
	struct rng r;
	rng_init(&r, 5);
	char text[32];
	void *old;
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(rcumap_put(s.m, key_of(i, text), new_value(i), &old), 0);
	pthread_t thread[READERS];
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reader, &s), 0);
	for (int i = 0; i < ROUNDS; i++) {
		write_one(&s, &r);
		/* Now and then everything goes, so that the table shrinks and grows again under the readers. */
		for (uint32_t k = 10; i % 5000 == 4999 && k < SHARED_KEYS; k++) {
			struct value *v = rcumap_del(s.m, key_of(k, text));
			if (v)
				epoch_retire(s.e, &v->node, free_value);
		}
		if (i % 16 == 0)
			epoch_reclaim(s.e);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	rcumap_each(s.m, drop, NULL);
	rcumap_free(s.m);
	epoch_free(s.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(basics),
		cmocka_unit_test(agrees_with_model),
		cmocka_unit_test(failing_memory_leaves_the_map_valid),
		cmocka_unit_test(readers_see_old_or_new),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
