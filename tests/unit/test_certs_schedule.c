/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/control/certs_schedule.h"

static void renews_at_half_life(void **state)
{
	(void)state;
	assert_int_equal(certs_renew_at(1000, 2000, 1000000), 1500000);
	/* Backdated by two minutes, lifetime 100 s: half is past, so half of what is left. */
	assert_int_equal(certs_renew_at(880, 1100, 1000000), 1050000);
	assert_int_equal(certs_renew_at(0, 1001, 1000000), 1001000);
	assert_int_equal(certs_renew_at(0, 1, 1000000), 1001000);
}

static void backs_off(void **state)
{
	struct rng rng;
	uint64_t step = 0;
	static const uint64_t want[] = {1000,  2000,  4000,   8000,   16000,
					32000, 64000, 128000, 150000, 150000};
	(void)state;
	rng_init(&rng, 1);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		step = certs_backoff_next(step);
		assert_int_equal(step, want[i]);
		for (int k = 0; k < 50; k++) {
			int64_t at = certs_retry_at(step, 1000000, 0, &rng) - 1000000;
			assert_in_range(at, step * 8 / 10, MIN(step * 12 / 10, (uint64_t)150000));
		}
	}
	/* No later than the old one lasts; one that is gone does not matter. */
	assert_int_equal(certs_retry_at(100000, 1000000, 1002000, &rng), 1002000);
	assert_true(certs_retry_at(100000, 1000000, 999000, &rng) >= 1080000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renews_at_half_life),
		cmocka_unit_test(backs_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
