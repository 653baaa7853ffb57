/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quiescent-state reclamation: what a writer unlinks is freed only when no reader can still see it.
 *
 * Readers are threads with a slot each. Between two calls of epoch_quiescent() a reader may follow published
 * pointers; across one it may keep only what it copied or counted. A reader that goes to sleep in the kernel
 * calls epoch_offline() first and epoch_online() after, and costs the writer nothing meanwhile.
 *
 * The single writer retires objects and calls epoch_reclaim() now and then. It never waits for a reader: one
 * that is stuck shows as a growing epoch_retired().
 */
#ifndef GAUZE_BASE_EPOCH_H
#define GAUZE_BASE_EPOCH_H

#include "base.h"

struct epoch;

/* What is embedded in an object that will be retired. */
struct epoch_node {
	struct epoch_node *next;
	uint64_t since;
	void (*free_fn)(struct epoch_node *node);
};

struct epoch *epoch_new(uint32_t readers_max);
/* Frees everything retired; no reader may be online. */
void epoch_free(struct epoch *e);
/* Claims a reader slot, initially offline; negative when none is left. Any thread. */
int must_check epoch_register(struct epoch *e);
void epoch_unregister(struct epoch *e, int reader);
void epoch_online(struct epoch *e, int reader);
void epoch_offline(struct epoch *e, int reader);
void epoch_quiescent(struct epoch *e, int reader);

/* Writer only. free_fn runs in a later epoch_reclaim() on the writer's thread. */
void epoch_retire(struct epoch *e, struct epoch_node *node, void (*free_fn)(struct epoch_node *));
/* Frees what no reader can see any more; returns how many. */
uint32_t epoch_reclaim(struct epoch *e);
/* Objects retired and not yet freed. Any thread. */
uint64_t epoch_retired(const struct epoch *e);

#endif
