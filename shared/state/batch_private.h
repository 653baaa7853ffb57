/* SPDX-License-Identifier: Apache-2.0 */
/* A batch, for batch.c (collecting) and batch_apply.c (publishing). */
#ifndef GAUZE_STATE_BATCH_PRIVATE_H
#define GAUZE_STATE_BATCH_PRIVATE_H

#include "world_private.h"

struct op {
	struct rstr *name; /* counted; what the object is stored under */
	void *object;	   /* NULL: remove */
	uint64_t seq;	   /* OP_DONE: nothing is left to do */
};

#define OP_DONE UINT64_MAX

struct ops {
	struct op *v;
	size_t count, cap;
};

struct batch {
	struct world *w;
	enum world_source source;
	bool whole;
	uint64_t seq;
	struct ops policies, services, workloads;

	/* While it is applied. */
	struct endpoint_change *changes;
	size_t changes_count, changes_cap;
	struct endpoint_plan *plans;
	size_t plans_count;
	struct workload **gone; /* counted: local workloads that left or changed their identity */
	size_t gone_count, gone_cap;
	uint32_t since_reclaim;
	struct batch_result result;
};

/* Room for one more element of an array that doubles. */
bool batch_reserve(void **v, size_t *cap, size_t count, size_t size);
/* Takes one reference of name; the object passes only on success. 0 or ERR_NOMEM. */
int must_check batch_push(struct batch *b, struct ops *ops, struct rstr *name, void *object);
/* Gives up an object of either kind. */
void batch_put_workload(void *object);
void batch_put_service(void *object);
void batch_put_policy(void *object);

#endif
