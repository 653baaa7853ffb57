/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer stands on the level of the highest six-bit digit in which its due time differs from now, in the slot
 * of its own digit there. When the wheel's digit of a level moves, the slots it passed are emptied: what is due
 * fires, the rest moves to a lower level. The top level wraps around, so it is read in circular order.
 */
#include "timer.h"

enum { LEVELS = 6, DIGIT_BITS = 6, SLOTS = 64, TOP_SHIFT = (LEVELS - 1) * DIGIT_BITS };

/* One top slot less than the whole circle: a timer never shares the digit that now has. */
#define DELAY_MS_MAX ((1ULL << (LEVELS * DIGIT_BITS)) - (1ULL << TOP_SHIFT) - 1)

static unsigned int level_of(uint64_t now_ms, uint64_t due_ms)
{
	uint64_t diff = now_ms ^ due_ms;
	unsigned int level = diff ? (63U - (unsigned int)__builtin_clzll(diff)) / DIGIT_BITS : 0;
	return MIN(level, LEVELS - 1U);
}

static unsigned int digit(uint64_t ms, unsigned int level)
{
	return (ms >> (level * DIGIT_BITS)) & (SLOTS - 1);
}

static uint64_t rotr(uint64_t x, unsigned int k)
{
	return k ? x >> k | x << (64 - k) : x;
}

static uint64_t rotl(uint64_t x, unsigned int k)
{
	return k ? x << k | x >> (64 - k) : x;
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns, struct taskq *queue)
{
	for (int l = 0; l < LEVELS; l++) {
		for (int s = 0; s < SLOTS; s++)
			list_init(&w->slot[l][s]);
		w->occupied[l] = 0;
	}
	w->now_ms = w->clock_ms = now_ns / NS_PER_MS;
	w->armed = 0;
	w->queue = queue;
}

void timer_init(struct timer *t, struct task *task)
{
	list_init(&t->link);
	t->due_ms = 0;
	t->task = task;
}

static void place(struct timer_wheel *w, struct timer *t)
{
	unsigned int level = level_of(w->now_ms, t->due_ms);
	unsigned int slot = digit(t->due_ms, level);
	list_add_tail(&w->slot[level][slot], &t->link);
	w->occupied[level] |= 1ULL << slot;
}

void timer_wheel_tell(struct timer_wheel *w, uint64_t now_ns)
{
	w->clock_ms = MAX(w->clock_ms, now_ns / NS_PER_MS);
}

void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t delay_ms)
{
	timer_disarm(w, t);
	delay_ms = MIN(MAX(delay_ms, 1ULL), DELAY_MS_MAX) + (w->clock_ms - w->now_ms);
	t->due_ms = w->now_ms + MIN(delay_ms, DELAY_MS_MAX);
	w->armed++;
	place(w, t);
}

void timer_disarm(struct timer_wheel *w, struct timer *t)
{
	if (!timer_armed(t))
		return;
	unsigned int level = level_of(w->now_ms, t->due_ms);
	unsigned int slot = digit(t->due_ms, level);
	list_del(&t->link);
	if (list_empty(&w->slot[level][slot]))
		w->occupied[level] &= ~(1ULL << slot);
	t->due_ms = 0;
	w->armed--;
}

static void take_slot(struct timer_wheel *w, unsigned int level, unsigned int slot,
		      struct list *out)
{
	struct list *head = &w->slot[level][slot];
	while (!list_empty(head)) {
		struct list *node = head->next;
		list_del(node);
		list_add_tail(out, node);
	}
	w->occupied[level] &= ~(1ULL << slot);
}

/* Empties the slots that a level's digit passes between now and then, the last included. */
static void take_passed(struct timer_wheel *w, unsigned int level, uint64_t then_ms,
			struct list *out)
{
	unsigned int shift = level * DIGIT_BITS;
	uint64_t steps = (then_ms >> shift) - (w->now_ms >> shift);
	uint64_t mask = steps >= SLOTS ? ~0ULL : (1ULL << steps) - 1;
	unsigned int first = (digit(w->now_ms, level) + 1) & (SLOTS - 1);
	uint64_t passed = w->occupied[level] & rotl(mask, first);

	while (passed) {
		unsigned int slot = (first + (unsigned int)__builtin_ctzll(rotr(passed, first))) &
				    (SLOTS - 1);
		passed &= ~(1ULL << slot);
		take_slot(w, level, slot, out);
	}
}

void timer_wheel_advance(struct timer_wheel *w, uint64_t now_ns)
{
	uint64_t then_ms = now_ns / NS_PER_MS;
	timer_wheel_tell(w, now_ns);
	if (then_ms <= w->now_ms)
		return;

	struct list todo;
	list_init(&todo);
	for (unsigned int level = 0; level < LEVELS; level++) {
		if (w->now_ms >> (level * DIGIT_BITS) == then_ms >> (level * DIGIT_BITS))
			break;
		take_passed(w, level, then_ms, &todo);
	}
	w->now_ms = then_ms;
	while (!list_empty(&todo)) {
		struct timer *t = list_first(&todo, struct timer, link);
		list_del(&t->link);
		if (t->due_ms > then_ms) {
			place(w, t);
			continue;
		}
		t->due_ms = 0;
		w->armed--;
		task_ready(w->queue, t->task);
	}
}

uint64_t timer_wheel_next(const struct timer_wheel *w, uint64_t now_ns)
{
	for (unsigned int level = 0; level < LEVELS && w->armed > 0; level++) {
		if (!w->occupied[level])
			continue;
		/* What stands on a lower level is due before anything above it. */
		uint64_t ahead = rotr(w->occupied[level], digit(w->now_ms, level));
		uint64_t steps = (uint64_t)__builtin_ctzll(ahead);
		unsigned int shift = level * DIGIT_BITS;
		uint64_t due_ns = (((w->now_ms >> shift) + steps) << shift) * NS_PER_MS;
		return due_ns > now_ns ? due_ns - now_ns : 0;
	}
	return UINT64_MAX;
}
