/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/control/readiness.h"

void readiness_init(struct readiness *r)
{
	*r = (struct readiness){0};
}

void readiness_set(struct readiness *r, const char *name, bool done)
{
	size_t at = 0;
	while (at < r->count && strcmp(r->tasks[at].name, name) < 0)
		at++;
	if (at == r->count || strcmp(r->tasks[at].name, name) != 0) {
		CHECK(r->count < READINESS_TASKS_MAX);
		memmove(&r->tasks[at + 1], &r->tasks[at], (r->count - at) * sizeof(r->tasks[0]));
		r->count++;
		r->tasks[at].name = name;
	}
	r->tasks[at].done = done;
}

bool readiness_done(const struct readiness *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!r->tasks[i].done)
			return false;
	return true;
}

void readiness_pending(const struct readiness *r, struct sbuf *out)
{
	bool first = true;
	for (size_t i = 0; i < r->count; i++) {
		if (r->tasks[i].done)
			continue;
		sbuf_putz(out, first ? "" : ", ");
		sbuf_putz(out, r->tasks[i].name);
		first = false;
	}
}
