/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two endpoints until both directions are done (contract section 5.5): bytes and half closes cross in order, a reset
 * crosses as a reset, and each side receives only what the other has taken.
 *
 * The relay owns both endpoints from the start and closes them when it ends; then it readies `done` once.
 */
#ifndef GAUZE_LINK_RELAY_H
#define GAUZE_LINK_RELAY_H

#include "shared/base/endpoint.h"

struct relay;

/* Bytes crossed, and the change of bytes that are held between the two sides. Called while the relay runs; it may only count. */
typedef void (*relay_moved_fn)(struct relay *r, uint32_t a_to_b, uint32_t b_to_a, int64_t held);

struct relay_side {
	struct endpoint *ep;
	uint32_t in_flight; /* taken from the other side, not yet taken by this one */
	bool finished;	    /* nothing more goes to this side */
};

struct relay {
	struct relay_side a, b;
	struct task task;
	struct taskq *done_queue;
	struct task *done;
	relay_moved_fn moved;
	uint64_t a_to_b, b_to_a; /* bytes */
	int reason;		 /* 0: both sides finished; else why it ended */
	bool running;
};

/* Starts; the first bytes may cross in this turn. moved may be NULL. */
void relay_start(struct relay *r, struct taskq *queue, struct endpoint *a, struct endpoint *b,
		 struct task *done, relay_moved_fn moved);
/* Ends both sides now with that reason (not 0). `done` is not readied. Harmless when it has ended. */
void relay_abort(struct relay *r, int reason);

#endif
