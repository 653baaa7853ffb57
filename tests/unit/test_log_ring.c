/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <pthread.h>

#include "shared/base/rng.h"
#include "shared/obs/log_ring.h"

static void wraps_around(void **state)
{
	(void)state;
	struct log_ring *r = log_ring_new();
	struct iovec v[2];
	static char block[LOG_RING_BYTES];
	assert_int_equal(log_ring_peek(r, v), 0);
	memset(block, 'a', sizeof(block));
	assert_true(log_ring_put(r, (struct str){block, LOG_RING_BYTES - 2}));
	assert_false(log_ring_put(r, STR("xyz")));
	assert_true(log_ring_put(r, STR("xy")));
	assert_int_equal(log_ring_peek(r, v), 1);
	assert_int_equal(v[0].iov_len, LOG_RING_BYTES);
	log_ring_take(r, LOG_RING_BYTES - 1);
	assert_true(log_ring_put(r, STR("12345")));
	assert_int_equal(log_ring_peek(r, v), 2);
	assert_int_equal(v[0].iov_len, 1);
	assert_memory_equal(v[0].iov_base, "y", 1);
	assert_int_equal(v[1].iov_len, 5);
	assert_memory_equal(v[1].iov_base, "12345", 5);
	log_ring_take(r, 6);
	assert_int_equal(log_ring_peek(r, v), 0);
	log_ring_free(r);
	log_ring_free(NULL);
}

enum { BYTES = 8 << 20 };

static void *producer(void *arg)
{
	struct rng r;
	char piece[300];
	uint8_t next = 0;
	rng_init(&r, 1);
	for (size_t done = 0; done < BYTES;) {
		size_t n = MIN((size_t)rng_below(&r, sizeof(piece)) + 1, BYTES - done);
		for (size_t i = 0; i < n; i++)
			piece[i] = (char)next++;
		while (!log_ring_put(arg, (struct str){piece, n}))
			sched_yield();
		done += n;
	}
	return NULL;
}

static void bytes_cross_threads_in_order(void **state)
{
	(void)state;
	struct log_ring *r = log_ring_new();
	pthread_t thread;
	uint8_t next = 0;
	assert_int_equal(pthread_create(&thread, NULL, producer, r), 0);
	for (size_t done = 0; done < BYTES;) {
		struct iovec v[2];
		int pieces = log_ring_peek(r, v);
		size_t n = 0;
		for (int k = 0; k < pieces; k++)
			for (size_t i = 0; i < v[k].iov_len; i++, n++)
				CHECK(((uint8_t *)v[k].iov_base)[i] == next++);
		log_ring_take(r, n);
		done += n;
		if (n == 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	log_ring_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wraps_around),
		cmocka_unit_test(bytes_cross_threads_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
