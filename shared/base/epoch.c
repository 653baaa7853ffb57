/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader slot holds 0 (offline) or the value of the epoch's clock that the reader saw when it last was
 * quiescent. An object retired at clock value v was unlinked before the clock became v + 1, so a reader whose
 * slot shows more than v looked after the unlinking and cannot find it.
 */
#include "epoch.h"

#include <errno.h>
#include <stdlib.h>

enum { CACHE_LINE = 64 };

struct reader {
	uint64_t seen; /* atomic */
	bool taken;    /* atomic */
} __attribute__((aligned(CACHE_LINE)));

struct epoch {
	uint64_t clock; /* atomic; written by the writer alone */
	uint64_t count; /* atomic; retired and not yet freed */
	struct epoch_node *first, **last;
	uint64_t newest; /* `since` of the last retired object */
	uint32_t readers_max;
	struct reader *readers;
};

/*
 * Orders an own store before later loads of what others store: the one order that acquire and release do not
 * give. The old builtin rather than atomic_thread_fence(), which compilers refuse under ThreadSanitizer; it is a
 * full barrier on every machine.
 */
static void full_barrier(void)
{
	__sync_synchronize();
}

struct epoch *epoch_new(uint32_t readers_max)
{
	struct epoch *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->readers =
		aligned_alloc(CACHE_LINE, (size_t)MAX(readers_max, 1U) * sizeof(struct reader));
	if (!e->readers) {
		free(e);
		return NULL;
	}
	memset(e->readers, 0, readers_max * sizeof(struct reader));
	e->readers_max = readers_max;
	e->clock = 1;
	e->last = &e->first;
	return e;
}

static uint32_t free_before(struct epoch *e, uint64_t limit)
{
	uint32_t freed = 0;
	while (e->first && e->first->since < limit) {
		struct epoch_node *node = e->first;
		e->first = node->next;
		if (!e->first)
			e->last = &e->first;
		/* Before free_fn, which may retire more. */
		__atomic_fetch_sub(&e->count, 1, __ATOMIC_RELAXED);
		node->free_fn(node);
		freed++;
	}
	return freed;
}

void epoch_free(struct epoch *e)
{
	if (!e)
		return;
	for (uint32_t i = 0; i < e->readers_max; i++)
		CHECK(__atomic_load_n(&e->readers[i].seen, __ATOMIC_ACQUIRE) == 0);
	free_before(e, UINT64_MAX);
	free(e->readers);
	free(e);
}

int epoch_register(struct epoch *e)
{
	for (uint32_t i = 0; i < e->readers_max; i++) {
		bool expected = false;
		/* Acquire: whoever had the slot before is done with it. */
		if (__atomic_compare_exchange_n(&e->readers[i].taken, &expected, true, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return (int)i;
	}
	return -ENOSPC;
}

static struct reader *reader_at(struct epoch *e, int reader)
{
	CHECK(reader >= 0 && (uint32_t)reader < e->readers_max);
	return &e->readers[reader];
}

void epoch_unregister(struct epoch *e, int reader)
{
	struct reader *r = reader_at(e, reader);
	epoch_offline(e, reader);
	__atomic_store_n(&r->taken, false, __ATOMIC_RELEASE);
}

void epoch_online(struct epoch *e, int reader)
{
	struct reader *r = reader_at(e, reader);
	/* Acquire: pointers read from now on are at least as new as this clock. */
	uint64_t now = __atomic_load_n(&e->clock, __ATOMIC_ACQUIRE);
	__atomic_store_n(&r->seen, now, __ATOMIC_RELAXED);
	/*
	 * Pairs with the barrier in epoch_reclaim(): either the writer sees us online, or we see what it
	 * unlinked as gone.
	 */
	full_barrier();
}

void epoch_offline(struct epoch *e, int reader)
{
	/* Release: our reads are over before the writer may see us gone. */
	__atomic_store_n(&reader_at(e, reader)->seen, 0, __ATOMIC_RELEASE);
}

void epoch_quiescent(struct epoch *e, int reader)
{
	struct reader *r = reader_at(e, reader);
	/* Relaxed: only this thread writes it. An offline reader has nothing to say. */
	uint64_t seen = __atomic_load_n(&r->seen, __ATOMIC_RELAXED);
	if (seen == 0)
		return;
	/* Acquire: as in epoch_online(). No barrier: the slot was never 0, so the writer counted us all along. */
	uint64_t now = __atomic_load_n(&e->clock, __ATOMIC_ACQUIRE);
	if (now != seen)
		/* Release: reads made under the old value are over. */
		__atomic_store_n(&r->seen, now, __ATOMIC_RELEASE);
}

void epoch_retire(struct epoch *e, struct epoch_node *node, void (*free_fn)(struct epoch_node *))
{
	node->next = NULL;
	node->free_fn = free_fn;
	/* Relaxed: only the writer moves the clock. */
	node->since = e->newest = __atomic_load_n(&e->clock, __ATOMIC_RELAXED);
	*e->last = node;
	e->last = &node->next;
	__atomic_fetch_add(&e->count, 1, __ATOMIC_RELAXED);
}

uint32_t epoch_reclaim(struct epoch *e)
{
	if (!e->first)
		return 0;
	uint64_t now = __atomic_load_n(&e->clock, __ATOMIC_RELAXED);
	if (e->newest == now)
		/* Release: who sees the new clock sees everything retired so far as unlinked. */
		__atomic_store_n(&e->clock, ++now, __ATOMIC_RELEASE);
	full_barrier();

	uint64_t oldest = now;
	for (uint32_t i = 0; i < e->readers_max; i++) {
		/* Acquire: pairs with the reader's release, so that freeing comes after its reads. */
		uint64_t seen = __atomic_load_n(&e->readers[i].seen, __ATOMIC_ACQUIRE);
		if (seen != 0 && seen < oldest)
			oldest = seen;
	}
	return free_before(e, oldest);
}

uint64_t epoch_retired(const struct epoch *e)
{
	return __atomic_load_n(&e->count, __ATOMIC_RELAXED);
}
