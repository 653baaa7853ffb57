/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work to be done later in this turn of a worker. Readying a task never runs it: callers record, the worker
 * drives (style: no re-entrancy). One task stands on at most one queue; readying it twice is harmless.
 *
 * A queue belongs to one thread.
 */
#ifndef GAUZE_BASE_TASK_H
#define GAUZE_BASE_TASK_H

#include "list.h"

struct task {
	struct list link;
	void (*run)(struct task *task);
};

struct taskq {
	struct list tasks;
};

static inline void task_init(struct task *t, void (*run)(struct task *))
{
	list_init(&t->link);
	t->run = run;
}

static inline void taskq_init(struct taskq *q)
{
	list_init(&q->tasks);
}

static inline void task_ready(struct taskq *q, struct task *t)
{
	if (list_empty(&t->link))
		list_add_tail(&q->tasks, &t->link);
}

/* Takes the task off whatever queue it is on. Must precede freeing its owner. */
static inline void task_cancel(struct task *t)
{
	list_del(&t->link);
}

/*
 * Runs the tasks that are on the queue now, each once; tasks readied meanwhile wait for the next call. A task
 * may cancel or free any other, itself included. Returns whether tasks remain.
 */
bool taskq_run(struct taskq *q);

#endif
