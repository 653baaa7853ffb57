/* SPDX-License-Identifier: Apache-2.0 */
/* What start waits for, by name (contract section 9). Control thread only. */
#ifndef GAUZE_CONTROL_READINESS_H
#define GAUZE_CONTROL_READINESS_H

#include "shared/base/sbuf.h"

enum { READINESS_TASKS_MAX = 16 };

struct readiness {
	struct {
		const char *name;
		bool done;
	} tasks[READINESS_TASKS_MAX];
	size_t count;
};

void readiness_init(struct readiness *r);
/* Registers a task that is not done, or changes it; `name` is borrowed for good. A done task may be undone again. */
void readiness_set(struct readiness *r, const char *name, bool done);
bool readiness_done(const struct readiness *r);
/* "a, b": the names of what is not done, sorted. */
void readiness_pending(const struct readiness *r, struct sbuf *out);

#endif
