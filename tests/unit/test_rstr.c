/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <pthread.h>

#include "failalloc.h"
#include "shared/base/rstr.h"

static void equal_strings_are_one(void **state)
{
	(void)state;
	char text[] = "hello";
	struct rstr *a = rstr_intern(str_of(text));
	text[0] = 'j';
	struct rstr *b = rstr_intern(STR("hello")), *c = rstr_intern(STR("help")),
		    *d = rstr_intern(STR(""));
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_string_equal(rstr_z(a), "hello");
	assert_str(rstr_str(c), "help");
	assert_int_equal(d->len, 0);
	assert_string_equal(rstr_z(NULL), "");
	assert_int_equal(rstr_str(NULL).n, 0);
	assert_int_equal(rstr_count(), 3);

	assert_int_equal(rstr_sweep(), 0);
	rstr_put(a);
	assert_int_equal(rstr_sweep(), 0);
	rstr_put(b);
	/* Nobody holds it, but it was not swept yet: it comes back as it is. */
	assert_ptr_equal(rstr_intern(STR("hello")), a);
	rstr_put(a);
	rstr_put(d);
	rstr_put(NULL);
	assert_int_equal(rstr_sweep(), 2);
	assert_int_equal(rstr_count(), 1);
	rstr_put(c);
	assert_int_equal(rstr_sweep(), 1);
	assert_int_equal(rstr_count(), 0);
}

static void many(void **state)
{
	(void)state;
	static struct rstr *all[5000];
	char text[32];
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < ARRAY_SIZE(all); i++) {
			snprintf(text, sizeof(text), "string %u", i);
			struct rstr *s = rstr_intern(str_of(text));
			assert_non_null(s);
			if (round == 1)
				assert_ptr_equal(s, all[i]);
			all[i] = s;
		}
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(all); i++) {
		rstr_put(all[i]);
		rstr_put(all[i]);
	}
	assert_int_equal(rstr_sweep(), ARRAY_SIZE(all));
}

static void failing_memory_gives_null(void **state)
{
	(void)state;
	for (uint32_t n = 0;; n++) {
		failalloc_begin(n);
		struct rstr *s = rstr_intern(STR("x"));
		bool failed = failalloc_end();
		assert_int_equal(s == NULL, failed);
		rstr_put(s);
		rstr_sweep();
		if (!failed)
			break;
	}
}

enum { THREADS = 3, ROUNDS = 20000 };

static struct rstr *strings[8];

static void *taker(void *arg)
{
	(void)arg;
	uint64_t sum = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct rstr *s = rstr_get(strings[i % 8]);
		sum += s->len + (uint64_t)s->text[0];
		rstr_put(s);
	}
	return (void *)(uintptr_t)sum;
}

static void *holder(void *arg)
{
	/* Drops the last reference while the control thread sweeps. */
	struct rstr **mine = arg;
	for (int i = 0; i < 100; i++) {
		CHECK(mine[i]->text[0] == 'h');
		rstr_put(mine[i]);
	}
	return NULL;
}

static void references_from_many_threads(void **state)
{
	(void)state;
	pthread_t thread[THREADS + 1];
	struct rstr *held[100];
	char text[32];
	for (uint32_t i = 0; i < ARRAY_SIZE(held); i++) {
		snprintf(text, sizeof(text), "held %u", i);
		held[i] = rstr_intern(str_of(text));
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(strings); i++) {
		snprintf(text, sizeof(text), "shared %u", i);
		strings[i] = rstr_intern(str_of(text));
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, taker, NULL), 0);
	assert_int_equal(pthread_create(&thread[THREADS], NULL, holder, held), 0);
	size_t swept = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "passing %d", i);
		rstr_put(rstr_intern(str_of(text)));
		swept += rstr_sweep();
	}
	for (int i = 0; i <= THREADS; i++)
		pthread_join(thread[i], NULL);
	for (uint32_t i = 0; i < ARRAY_SIZE(strings); i++) {
		assert_int_equal(strings[i]->refs, 1);
		rstr_put(strings[i]);
	}
	swept += rstr_sweep();
	assert_int_equal(swept, 1000 + ARRAY_SIZE(held) + ARRAY_SIZE(strings));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_strings_are_one),
		cmocka_unit_test(many),
		cmocka_unit_test(failing_memory_gives_null),
		cmocka_unit_test(references_from_many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
