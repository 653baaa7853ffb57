/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "world_private.h"

enum { BUCKETS_MIN = 64 };

/* Interned strings are their addresses: mix those, their low bits say little. */
static size_t bucket_of(const struct cells *c, const struct rstr *uid)
{
	return (size_t)(((uintptr_t)uid >> 4) * 0x9e3779b97f4a7c15ULL >> 20) & (c->buckets - 1);
}

static bool grow(struct cells *c)
{
	struct cells bigger = {.buckets = c->buckets ? c->buckets * 2 : BUCKETS_MIN};

	bigger.bucket = calloc(bigger.buckets, sizeof(*bigger.bucket));
	if (!bigger.bucket)
		return c->buckets > 0; /* longer chains will do */
	for (size_t b = 0; b < c->buckets; b++) {
		struct workload_cell *next;
		for (struct workload_cell *cell = c->bucket[b]; cell; cell = next) {
			next = cell->next;
			struct workload_cell **head = &bigger.bucket[bucket_of(&bigger, cell->uid)];
			cell->next = *head;
			*head = cell;
		}
	}
	bigger.count = c->count;
	free(c->bucket);
	*c = bigger;
	return true;
}

struct workload_cell *cell_find(const struct world *w, const struct rstr *uid)
{
	if (w->cells.buckets == 0)
		return NULL;
	struct workload_cell *cell = w->cells.bucket[bucket_of(&w->cells, uid)];
	while (cell && cell->uid != uid)
		cell = cell->next;
	return cell;
}

struct workload_cell *cell_take(struct world *w, struct rstr *uid)
{
	struct cells *c = &w->cells;
	struct workload_cell *cell = cell_find(w, uid);

	if (cell) {
		cell->refs++;
		return cell;
	}
	if (c->count >= c->buckets && !grow(c))
		return NULL;
	cell = calloc(1, sizeof(*cell));
	if (!cell)
		return NULL;
	cell->uid = rstr_get(uid);
	cell->refs = 1;
	struct workload_cell **head = &c->bucket[bucket_of(c, uid)];
	cell->next = *head;
	*head = cell;
	c->count++;
	return cell;
}

static void free_cell(struct epoch_node *node)
{
	struct workload_cell *cell = container_of(node, struct workload_cell, retire);

	rstr_put(cell->uid);
	free(cell);
}

void cell_drop(struct world *w, struct workload_cell *cell)
{
	CHECK(cell->refs > 0);
	if (--cell->refs > 0)
		return;
	struct workload_cell **link = &w->cells.bucket[bucket_of(&w->cells, cell->uid)];
	while (*link != cell)
		link = &(*link)->next;
	*link = cell->next;
	w->cells.count--;
	epoch_retire(w->epoch, &cell->retire, free_cell);
}
