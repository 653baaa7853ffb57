/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>

#include "shared/base/epoch.h"

static uint32_t freed;

struct object {
	struct epoch_node node;
	struct epoch *chain; /* retires another one when freed */
};

static void free_object(struct epoch_node *node)
{
	struct object *o = container_of(node, struct object, node);
	freed++;
	if (o->chain)
		epoch_retire(o->chain, &((struct object *)calloc(1, sizeof(*o)))->node,
			     free_object);
	free(o);
}

static void retire_one(struct epoch *e)
{
	struct object *o = calloc(1, sizeof(*o));
	assert_non_null(o);
	epoch_retire(e, &o->node, free_object);
}

static void waits_for_every_reader(void **state)
{
	(void)state;
	struct epoch *e = epoch_new(2);
	int a = epoch_register(e), b = epoch_register(e);
	assert_true(a >= 0 && b >= 0 && a != b);
	assert_int_equal(epoch_register(e), -ENOSPC);
	freed = 0;

	/* Nobody reads: at once. */
	retire_one(e);
	assert_int_equal(epoch_retired(e), 1);
	assert_int_equal(epoch_reclaim(e), 1);
	assert_int_equal(epoch_reclaim(e), 0);

	epoch_online(e, a);
	epoch_online(e, b);
	retire_one(e);
	retire_one(e);
	assert_int_equal(epoch_reclaim(e), 0);
	epoch_quiescent(e, a);
	assert_int_equal(epoch_reclaim(e), 0);
	epoch_quiescent(e, b);
	assert_int_equal(epoch_reclaim(e), 2);

	/* Asleep readers cost nothing; saying quiescent while asleep wakes nobody. */
	retire_one(e);
	assert_int_equal(epoch_reclaim(e), 0);
	epoch_offline(e, a);
	epoch_quiescent(e, a);
	assert_int_equal(epoch_reclaim(e), 0);
	epoch_offline(e, b);
	assert_int_equal(epoch_reclaim(e), 1);

	/* Coming back after the retirement does not hold it. */
	retire_one(e);
	assert_int_equal(epoch_retired(e), 1);
	epoch_online(e, a);
	assert_int_equal(epoch_reclaim(e), 0); /* same clock: it may have seen it */
	epoch_quiescent(e, a);
	assert_int_equal(epoch_reclaim(e), 1);
	epoch_unregister(e, a);
	assert_int_equal(epoch_register(e), a);
	epoch_unregister(e, a);
	epoch_unregister(e, b);
	epoch_free(e);
	assert_int_equal(freed, 5);
}

static void in_order_of_retirement(void **state)
{
	(void)state;
	struct epoch *e = epoch_new(1);
	int r = epoch_register(e);
	freed = 0;
	epoch_online(e, r);
	retire_one(e);
	assert_int_equal(epoch_reclaim(e), 0);
	epoch_quiescent(e, r);
	retire_one(e); /* after the reader looked again */
	assert_int_equal(epoch_reclaim(e), 1);
	epoch_quiescent(e, r);
	assert_int_equal(epoch_reclaim(e), 1);
	epoch_offline(e, r);
	retire_one(e);
	epoch_free(e); /* frees the rest */
	assert_int_equal(freed, 3);
	epoch_free(NULL);
}

static void freeing_may_retire(void **state)
{
	(void)state;
	struct epoch *e = epoch_new(1);
	struct object *o = calloc(1, sizeof(*o));
	freed = 0;
	o->chain = e;
	epoch_retire(e, &o->node, free_object);
	assert_int_equal(epoch_reclaim(e), 1);
	assert_int_equal(epoch_retired(e), 1);
	assert_int_equal(epoch_reclaim(e), 1);
	epoch_free(e);
	assert_int_equal(freed, 2);
}

/* ---- threads ---- */

enum { READERS = 3, ROUNDS = 20000 };

struct shared {
	struct epoch *e;
	struct cell *current; /* atomic */
	bool stop;	      /* atomic */
};

struct cell {
	struct epoch_node node;
	uint64_t a, b; /* a == ~b while alive */
};

static void free_cell(struct epoch_node *node)
{
	struct cell *c = container_of(node, struct cell, node);
	c->a = c->b = 0;
	free(c);
}

static struct cell *new_cell(uint64_t a)
{
	struct cell *c = calloc(1, sizeof(*c));
	c->a = a;
	c->b = ~a;
	return c;
}

static void *reader(void *arg)
{
	struct shared *s = arg;
	int r = epoch_register(s->e);
	uint64_t turns = 0;
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		epoch_online(s->e, r);
		for (int i = 0; i < 8; i++) {
			struct cell *c = __atomic_load_n(&s->current, __ATOMIC_ACQUIRE);
			CHECK(c->a == ~c->b);
			if (i % 3 == 2)
				epoch_quiescent(s->e, r);
		}
		epoch_offline(s->e, r);
		turns++;
	}
	epoch_unregister(s->e, r);
	return (void *)(uintptr_t)turns;
}

static void readers_never_see_freed(void **state)
{
	(void)state;
	struct shared s = {.e = epoch_new(READERS), .current = new_cell(1)};
	pthread_t thread[READERS];
	uint64_t freed_cells = 0;
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reader, &s), 0);
	for (uint64_t i = 2; i < ROUNDS; i++) {
		struct cell *old = s.current;
		__atomic_store_n(&s.current, new_cell(i), __ATOMIC_RELEASE);
		epoch_retire(s.e, &old->node, free_cell);
		if (i % 4 == 0)
			freed_cells += epoch_reclaim(s.e);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	freed_cells += epoch_reclaim(s.e);
	assert_int_equal(freed_cells, ROUNDS - 2);
	free(s.current);
	epoch_free(s.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_every_reader),
		cmocka_unit_test(in_order_of_retirement),
		cmocka_unit_test(freeing_may_retire),
		cmocka_unit_test(readers_never_see_freed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
