/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchical timer wheel with a tick of one millisecond. No clock inside: `now_ns` is passed in. A timer that
 * is due fires by readying its task on the wheel's queue; it never calls anybody. One wheel belongs to one thread.
 */
#ifndef GAUZE_BASE_TIMER_H
#define GAUZE_BASE_TIMER_H

#include "task.h"

struct timer {
	struct list link;
	uint64_t due_ms; /* 0: not armed */
	struct task *task;
};

struct timer_wheel {
	struct list slot[6][64];
	uint64_t occupied[6]; /* bit per slot, may be set for an empty slot */
	uint64_t now_ms;      /* where the wheel stands */
	uint64_t clock_ms;    /* what time it is: not before now_ms */
	uint32_t armed;
	struct taskq *queue;
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns, struct taskq *queue);
void timer_init(struct timer *t, struct task *task);
/*
 * What time it is, for timers that are armed before the wheel is moved: a thread that slept long arms them first. Fires
 * nothing; a clock that went back changes nothing.
 */
void timer_wheel_tell(struct timer_wheel *w, uint64_t now_ns);
/* (Re)arms the timer to fire no earlier than delay_ms after the time last told. Durations beyond the wheel are clamped. */
void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t delay_ms);
void timer_disarm(struct timer_wheel *w, struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
	return t->due_ms != 0;
}
/* Moves the wheel to now_ns; a clock that went back changes nothing. Fires what is due. */
void timer_wheel_advance(struct timer_wheel *w, uint64_t now_ns);
/* Nanoseconds until the next timer might be due, counted from now_ns; UINT64_MAX when none is armed. May be early. */
uint64_t timer_wheel_next(const struct timer_wheel *w, uint64_t now_ns);

#endif
