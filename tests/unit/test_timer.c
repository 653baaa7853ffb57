/* SPDX-License-Identifier: Apache-2.0 */
/* The wheel against a model that looks at every timer each time. */
#include "unit.h"

#include "shared/base/rng.h"
#include "shared/base/timer.h"

enum { TIMERS = 200 };

struct item {
	struct timer timer;
	struct task task;
	uint64_t due_ms; /* the model: 0 when not armed */
	uint32_t fired, expected;
};

static struct item items[TIMERS];
static struct taskq queue;
static struct timer_wheel wheel;

static void fired(struct task *t)
{
	container_of(t, struct item, task)->fired++;
}

static void set_up(uint64_t now_ns)
{
	taskq_init(&queue);
	timer_wheel_init(&wheel, now_ns, &queue);
	memset(items, 0, sizeof(items));
	for (int i = 0; i < TIMERS; i++) {
		task_init(&items[i].task, fired);
		timer_init(&items[i].timer, &items[i].task);
	}
}

static void advance_ms(uint64_t ms)
{
	timer_wheel_advance(&wheel, ms * NS_PER_MS + 999);
	taskq_run(&queue);
}

static void fires_when_due_and_not_before(void **state)
{
	(void)state;
	static const uint64_t delays[] = {1,	  2,	    63,	      64,	  65,
					  4095,	  4096,	    4097,     262143,	  262144,
					  300000, 16777216, 16777217, 1073741824, 5000000000};
	static const uint64_t starts[] = {
		0, 1, 62, 63, 64, 4095, 123456789, (1ULL << 36) - 2, (1ULL << 36) + 5};
	for (size_t s = 0; s < ARRAY_SIZE(starts); s++) {
		for (size_t d = 0; d < ARRAY_SIZE(delays); d++) {
			set_up(starts[s] * NS_PER_MS);
			timer_arm(&wheel, &items[0].timer, delays[d]);
			assert_true(timer_armed(&items[0].timer));
			advance_ms(starts[s] + delays[d] - 1);
			assert_int_equal(items[0].fired, 0);
			advance_ms(starts[s] + delays[d]);
			assert_int_equal(items[0].fired, 1);
			assert_false(timer_armed(&items[0].timer));
			assert_true(timer_wheel_next(&wheel, 0) == UINT64_MAX);
		}
	}
}

static void odd_calls(void **state)
{
	(void)state;
	set_up(5 * NS_PER_MS);
	/* 0 is as soon as the clock moves. */
	timer_arm(&wheel, &items[0].timer, 0);
	advance_ms(5);
	assert_int_equal(items[0].fired, 0);
	advance_ms(6);
	assert_int_equal(items[0].fired, 1);
	/* Back in time: nothing. */
	timer_arm(&wheel, &items[0].timer, 10);
	advance_ms(1);
	assert_true(wheel.now_ms == 6);
	/* Re-arming moves it. */
	timer_arm(&wheel, &items[0].timer, 100);
	advance_ms(50);
	assert_int_equal(items[0].fired, 1);
	timer_disarm(&wheel, &items[0].timer);
	timer_disarm(&wheel, &items[0].timer);
	advance_ms(1000);
	assert_int_equal(items[0].fired, 1);
	assert_int_equal(wheel.armed, 0);
	/* Beyond the wheel is clamped, and neither lost nor early by much. */
	timer_arm(&wheel, &items[0].timer, UINT64_MAX);
	advance_ms(1000 + 700ULL * 24 * 3600 * 1000);
	assert_int_equal(items[0].fired, 1);
	advance_ms(1000 + 800ULL * 24 * 3600 * 1000);
	assert_int_equal(items[0].fired, 2);
}

static void next_is_never_late(void **state)
{
	(void)state;
	set_up(1000 * NS_PER_MS);
	timer_arm(&wheel, &items[0].timer, 20);
	assert_true(timer_wheel_next(&wheel, 1000 * NS_PER_MS) <= 20 * NS_PER_MS);
	assert_true(timer_wheel_next(&wheel, 1005 * NS_PER_MS) <= 15 * NS_PER_MS);
	assert_true(timer_wheel_next(&wheel, 2000 * NS_PER_MS) == 0);
	timer_disarm(&wheel, &items[0].timer);
	assert_true(timer_wheel_next(&wheel, 1000 * NS_PER_MS) == UINT64_MAX);
	/* Sleeping as told gets there in few steps, and to the tick. */
	timer_arm(&wheel, &items[0].timer, 123456);
	uint64_t now = 1000 * NS_PER_MS;
	int steps = 0;
	while (items[0].fired == 0) {
		now += timer_wheel_next(&wheel, now);
		timer_wheel_advance(&wheel, now);
		taskq_run(&queue);
		assert_true(++steps < 8);
	}
	assert_true(now == (1000 + 123456) * NS_PER_MS);
}

static uint64_t some_delay(struct rng *r)
{
	return rng_below(r, 1ULL << rng_below(r, 34)) + 1;
}

static uint64_t model_next(void)
{
	uint64_t min = UINT64_MAX;
	for (int i = 0; i < TIMERS; i++)
		if (items[i].due_ms)
			min = MIN(min, items[i].due_ms);
	return min;
}

static void model_advance(uint64_t now_ms)
{
	for (int i = 0; i < TIMERS; i++) {
		if (items[i].due_ms && items[i].due_ms <= now_ms) {
			items[i].due_ms = 0;
			items[i].expected++;
		}
	}
}

static void agrees_with_model(void **state)
{
	(void)state;
	struct rng r;
	rng_init(&r, 7);
	set_up(0);
	uint64_t now_ms = 0;
	for (int step = 0; step < 100000; step++) {
		struct item *it = &items[rng_below(&r, TIMERS)];
		switch (rng_below(&r, 4)) {
		case 0:
		case 1:
			it->due_ms = some_delay(&r);
			timer_arm(&wheel, &it->timer, it->due_ms);
			it->due_ms += now_ms;
			break;
		case 2:
			timer_disarm(&wheel, &it->timer);
			it->due_ms = 0;
			break;
		default:
			now_ms += some_delay(&r) >> rng_below(&r, 20);
			advance_ms(now_ms);
			model_advance(now_ms);
			break;
		}
		uint64_t due = model_next(), in = timer_wheel_next(&wheel, now_ms * NS_PER_MS);
		assert_int_equal(due == UINT64_MAX, in == UINT64_MAX);
		if (due != UINT64_MAX)
			assert_true(in <= (due - now_ms) * NS_PER_MS);
		for (int i = 0; i < TIMERS; i++) {
			assert_int_equal(items[i].fired, items[i].expected);
			assert_int_equal(timer_armed(&items[i].timer), items[i].due_ms != 0);
		}
	}
}

/* A thread that slept until somebody called arms the caller's deadline before it moves the wheel. */
static void counts_from_the_time_told(void **state)
{
	(void)state;
	static const uint64_t slept[] = {0, 1, 63, 4096, 3600000, 1ULL << 36};
	for (size_t i = 0; i < ARRAY_SIZE(slept); i++) {
		set_up(1000 * NS_PER_MS);
		timer_wheel_tell(&wheel, (1000 + slept[i]) * NS_PER_MS);
		timer_wheel_tell(&wheel, 1); /* a clock that went back */
		timer_arm(&wheel, &items[0].timer, 2000);
		advance_ms(1000 + slept[i]);
		advance_ms(1000 + slept[i] + 1999);
		/* Beyond what the wheel can hold it may be early, never late. */
		assert_int_equal(items[0].fired, slept[i] == 1ULL << 36);
		advance_ms(1000 + slept[i] + 2000);
		assert_int_equal(items[0].fired, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_when_due_and_not_before),
		cmocka_unit_test(odd_calls),
		cmocka_unit_test(next_is_never_late),
		cmocka_unit_test(counts_from_the_time_told),
		cmocka_unit_test(agrees_with_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
