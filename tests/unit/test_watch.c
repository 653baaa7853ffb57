/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

struct seen {
	struct task task;
	int runs;
};

static void run(struct task *task)
{
	container_of(task, struct seen, task)->runs++;
}

static void one_shot(void **state)
{
	struct rig r;
	struct watch *w;
	struct seen s = {0};
	int fds[2];
	char c;

	rig_start(&r, *state);
	task_init(&s.task, run);
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(watch_new(r.w, fds[0], &s.task, &w), 0);
	rig_idle(&r, 10);
	assert_int_equal(s.runs, 0);
	assert_int_equal(write(fds[1], "a", 1), 1);
	UNTIL(&r, s.runs == 1);
	/* Sleeps until it is armed, although there is something to read. */
	assert_int_equal(write(fds[1], "b", 1), 1);
	rig_idle(&r, 10);
	assert_int_equal(s.runs, 1);
	watch_arm(w);
	watch_arm(w);
	UNTIL(&r, s.runs == 2);
	assert_int_equal(read(fds[0], &c, 1), 1);
	assert_int_equal(read(fds[0], &c, 1), 1);
	watch_arm(w);
	rig_idle(&r, 10);
	assert_int_equal(s.runs, 2);
	/* A hang-up counts. */
	close(fds[1]);
	UNTIL(&r, s.runs == 3);
	watch_free(w);
	close(fds[0]);
	rig_end(&r);
}

/* Freed while armed; the number of the descriptor is used anew at once. */
static void freed_while_armed(void **state)
{
	struct rig r;

	rig_start(&r, *state);
	for (int i = 0; i < 100; i++) {
		struct watch *w;
		struct seen s = {0};
		int fds[2];

		task_init(&s.task, run);
		assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(watch_new(r.w, fds[0], &s.task, &w), 0);
		if (i % 2)
			worker_turn(r.w, 0);
		if (i % 3 == 0)
			assert_int_equal(write(fds[1], "x", 1), 1);
		watch_free(w);
		close(fds[0]);
		close(fds[1]);
		if (i % 5 == 0)
			worker_turn(r.w, 0);
		assert_int_equal(s.runs, 0);
	}
	UNTIL(&r, r.w->io->watches == 0);
	watch_free(NULL);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(one_shot),
		BOTH(freed_while_armed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
