/* SPDX-License-Identifier: Apache-2.0 */
#include "task.h"

bool taskq_run(struct taskq *q)
{
	struct list now;
	list_take_all(&now, &q->tasks);
	/* Always the first: whoever runs may take any other off this list. */
	while (!list_empty(&now)) {
		struct task *t = list_first(&now, struct task, link);
		list_del(&t->link);
		t->run(t);
	}
	return !list_empty(&q->tasks);
}
