/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/hash.h"
#include "shared/base/rng.h"

static void known_sequence(void **state)
{
	(void)state;
	/* From the authors' reference: state 1, 2, 3, 4. */
	struct rng r = {{1, 2, 3, 4}};
	assert_true(rng_next(&r) == 11520);
	assert_true(rng_next(&r) == 0);
	assert_true(rng_next(&r) == 1509978240);
	assert_true(rng_next(&r) == 1215971899390074240);
}

static void same_seed_same_numbers(void **state)
{
	(void)state;
	struct rng a, b, c;
	rng_init(&a, 42);
	rng_init(&b, 42);
	rng_init(&c, 43);
	bool differs = false;
	for (int i = 0; i < 100; i++) {
		uint64_t x = rng_next(&a);
		assert_true(x == rng_next(&b));
		differs |= x != rng_next(&c);
	}
	assert_true(differs);
}

static void bounds_hold_and_are_reached(void **state)
{
	(void)state;
	struct rng r;
	rng_init(&r, 1);
	uint32_t seen[7] = {0};
	for (int i = 0; i < 70000; i++) {
		uint64_t x = rng_below(&r, ARRAY_SIZE(seen));
		assert_true(x < ARRAY_SIZE(seen));
		seen[x]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		assert_in_range(seen[i], 9500, 10500);
	assert_true(rng_below(&r, 1) == 0);
	uint64_t low = UINT64_MAX, high = 0;
	for (int i = 0; i < 10000; i++) {
		uint64_t x = rng_jitter(&r, 1000, 20);
		low = MIN(low, x);
		high = MAX(high, x);
	}
	assert_true(low == 800 && high == 1200);
	assert_true(rng_jitter(&r, 0, 20) == 0);
	assert_true(rng_jitter(&r, 5, 0) == 5);
	assert_true(rng_jitter(&r, UINT64_MAX / 2, 100) <= UINT64_MAX);
}

static void the_kernel_gives_bytes(void **state)
{
	(void)state;
	uint8_t a[1000] = {0}, b[1000] = {0};
	rng_secure(a, sizeof(a));
	rng_secure(b, sizeof(b));
	assert_true(memcmp(a, b, sizeof(a)) != 0);
	struct rng r, s;
	rng_init_random(&r);
	rng_init_random(&s);
	assert_true(rng_next(&r) != rng_next(&s));
}

static void hash_depends_on_all_bytes(void **state)
{
	(void)state;
	assert_true(hash_str(STR("abc")) == hash_bytes("abc", 3));
	assert_true(hash_str(STR("abc")) != hash_str(STR("abd")));
	assert_true(hash_str(STR("abc")) != hash_str(STR("ab")));
	(void)hash_str((struct str){NULL, 0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sequence),
		cmocka_unit_test(same_seed_same_numbers),
		cmocka_unit_test(bounds_hold_and_are_reached),
		cmocka_unit_test(the_kernel_gives_bytes),
		cmocka_unit_test(hash_depends_on_all_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
