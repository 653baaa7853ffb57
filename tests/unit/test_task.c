/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/task.h"

struct job {
	struct task task;
	struct taskq *q;
	struct job *other;
	int ran;
};

static char order[16];

static void note(struct job *j, char c)
{
	j->ran++;
	size_t n = strlen(order);
	order[n] = c;
	order[n + 1] = '\0';
}

static void run_a(struct task *t)
{
	note(container_of(t, struct job, task), 'a');
}

static void run_b(struct task *t)
{
	note(container_of(t, struct job, task), 'b');
}

static void run_again(struct task *t)
{
	struct job *j = container_of(t, struct job, task);
	note(j, 'r');
	task_ready(j->q, &j->task);
}

static void run_killer(struct task *t)
{
	struct job *j = container_of(t, struct job, task);
	note(j, 'k');
	task_cancel(&j->other->task);
	free(j->other);
	free(j);
}

static struct job *job(struct taskq *q, void (*run)(struct task *))
{
	struct job *j = calloc(1, sizeof(*j));
	assert_non_null(j);
	task_init(&j->task, run);
	j->q = q;
	return j;
}

static void runs_in_order_and_once(void **state)
{
	(void)state;
	struct taskq q;
	taskq_init(&q);
	struct job *a = job(&q, run_a), *b = job(&q, run_b);
	order[0] = '\0';
	assert_false(taskq_run(&q));
	task_ready(&q, &b->task);
	task_ready(&q, &a->task);
	task_ready(&q, &b->task);
	assert_false(taskq_run(&q));
	assert_string_equal(order, "ba");
	task_ready(&q, &a->task);
	task_cancel(&a->task);
	task_cancel(&a->task);
	assert_false(taskq_run(&q));
	assert_string_equal(order, "ba");
	free(a);
	free(b);
}

static void readied_meanwhile_waits(void **state)
{
	(void)state;
	struct taskq q;
	taskq_init(&q);
	struct job *r = job(&q, run_again);
	task_ready(&q, &r->task);
	assert_true(taskq_run(&q));
	assert_int_equal(r->ran, 1);
	assert_true(taskq_run(&q));
	assert_int_equal(r->ran, 2);
	free(r);
}

static void may_free_itself_and_others(void **state)
{
	(void)state;
	struct taskq q;
	taskq_init(&q);
	struct job *k = job(&q, run_killer), *a = job(&q, run_a), *b = job(&q, run_b);
	k->other = a;
	order[0] = '\0';
	task_ready(&q, &k->task);
	task_ready(&q, &a->task);
	task_ready(&q, &b->task);
	assert_false(taskq_run(&q));
	assert_string_equal(order, "kb");
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_in_order_and_once),
		cmocka_unit_test(readied_meanwhile_waits),
		cmocka_unit_test(may_free_itself_and_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
