/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in motion. A `buf` is a counted block of contiguous memory; a slice is a piece of one; a `bufq` is an
 * ordered queue of slices. All of them belong to one worker (counts are not atomic).
 *
 * Three kinds of blocks:
 *   slot  BUF_SLOT_BYTES, from the pool's slots; what an idle connection receives into. Few exist, so a slot
 *         must not be held for long: see bufq_unpin().
 *   slab  BUF_SLAB_BYTES, for bulk receive and for sealed output. Cached a little, then given back to the system.
 *   heap  any size; copies of what had to wait.
 * The pool counts bytes in use by kind, and refuses (NULL) past its budget.
 */
#ifndef GAUZE_BASE_BUF_H
#define GAUZE_BASE_BUF_H

#include "base.h"

enum { BUF_SLOT_BYTES = 16 * 1024, BUF_SLAB_BYTES = 272 * 1024 };

enum buf_kind { BUF_SLOT, BUF_SLAB, BUF_HEAP, BUF_KINDS };

struct bufpool;

struct buf {
	uint32_t refs;
	uint32_t cap; /* bytes at data */
	uint16_t kind;
	uint16_t slot; /* index among the pool's slots; BUF_SLOT only */
	struct bufpool *pool;
	uint8_t *data;
};

struct bufpool_limits {
	uint32_t slots_max;    /* slots that may exist */
	uint64_t bytes_max;    /* budget over all kinds */
	uint32_t slabs_cached; /* free slabs that are kept for reuse */
};

/* One pool per worker; NULL when out of memory. */
struct bufpool *bufpool_new(const struct bufpool_limits *limits);
/* All buffers must have been returned (CHECK). */
void bufpool_free(struct bufpool *pool);
/* A buffer with one reference; NULL past the budget or out of memory. Never blocks. */
struct buf *bufpool_slot(struct bufpool *pool);
struct buf *bufpool_slab(struct bufpool *pool);
struct buf *bufpool_heap(struct bufpool *pool, uint32_t bytes);
/* The slot with that index, which must be in use: its count is not changed. */
struct buf *bufpool_slot_at(struct bufpool *pool, uint16_t slot);
/* Gives free memory back to the system; call when idle. */
void bufpool_trim(struct bufpool *pool);
/* Bytes in use now (blocks handed out), by kind or over all (BUF_KINDS). Any thread may ask. */
uint64_t bufpool_bytes(const struct bufpool *pool, enum buf_kind kind);
/*
 * Whether so much of the budget is used that the rest should go to what frees some: bytes that can wait where they are
 * are not received now, and no new work is begun.
 */
bool bufpool_low(const struct bufpool *pool);
/* Whether what is left is just enough for sending what is here. */
bool bufpool_scarce(const struct bufpool *pool);
/* Slots that could still be handed out. */
uint32_t bufpool_slots_left(const struct bufpool *pool);

static inline struct buf *buf_get(struct buf *b)
{
	b->refs++;
	return b;
}
void buf_put(struct buf *b);

struct bslice {
	struct buf *buf;
	uint32_t off, len;
};

/* A queue of slices. Zero-initialised is empty; holds no memory of its own when empty for long. */
struct bufq {
	struct bslice *v; /* ring of cap entries */
	uint16_t head, count, cap;
	uint32_t bytes; /* sum of lengths */
};

void bufq_init(struct bufq *q);
/* Drops every slice and the ring itself. */
void bufq_fini(struct bufq *q);
/* Appends a slice; takes one new reference. Adjacent slices of one buffer are joined. 0 or ERR_NOMEM. */
int must_check bufq_push(struct bufq *q, struct buf *b, uint32_t off, uint32_t len);
/* Appends a copy of bytes into heap buffers, filling the last exclusively owned one first. 0 or ERR_NOMEM. */
int must_check bufq_copy(struct bufq *q, struct bufpool *pool, const void *bytes, size_t len);
/* Moves up to max bytes from the front of `from` to the end of `to`; *moved is what went. 0 or ERR_NOMEM. */
int must_check bufq_move(struct bufq *to, struct bufq *from, uint32_t max, uint32_t *moved);
/* Drops n bytes from the front; n <= q->bytes. */
void bufq_pop(struct bufq *q, uint32_t n);
/* The i-th slice; i < q->count. */
static inline struct bslice *bufq_at(const struct bufq *q, uint16_t i)
{
	return &q->v[(uint16_t)(q->head + i) & (q->cap - 1)];
}
/* Copies up to n bytes from the front into dst without taking them; returns how many. */
uint32_t bufq_peek(const struct bufq *q, void *dst, uint32_t n);
/*
 * Replaces slices that pin much more memory than they carry (any slot, and blocks less than a quarter used when a
 * kilobyte or more is won) by heap copies, so that what waits long holds only what it carries. Skips the first
 * `skip` slices (in flight).
 * On ERR_NOMEM the queue is unchanged from that slice on, and valid.
 */
int bufq_unpin(struct bufq *q, struct bufpool *pool, uint16_t skip);

#endif
