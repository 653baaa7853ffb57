/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/io/bufring.h"

#include <liburing.h>
#include <sys/mman.h>

static bool lent(const struct bufring *b, uint16_t slot)
{
	return b->lent[slot / 64] >> (slot % 64) & 1;
}

int bufring_init(struct bufring *b, struct io_uring *ring, struct bufpool *pool)
{
	int err = 0;

	b->ring = io_uring_setup_buf_ring(ring, BUFRING_ENTRIES, BUFRING_GROUP, 0, &err);
	if (!b->ring)
		return err;
	b->pool = pool;
	b->target = BUFRING_FEWEST;
	return 0;
}

void bufring_fini(struct bufring *b, struct io_uring *ring)
{
	for (uint32_t i = 0; b->provided > 0; i++)
		if (lent(b, (uint16_t)i))
			buf_put(bufring_take(b, (uint16_t)i));
	(void)io_uring_free_buf_ring(ring, b->ring, BUFRING_ENTRIES, BUFRING_GROUP);
}

void bufring_fill(struct bufring *b)
{
	int n = 0;

	while (b->provided < b->target) {
		struct buf *slot = bufpool_slot(b->pool);

		if (!slot)
			break;
		io_uring_buf_ring_add(b->ring, slot->data, slot->cap, slot->slot,
				      io_uring_buf_ring_mask(BUFRING_ENTRIES), n++);
		b->lent[slot->slot / 64] |= 1ULL << (slot->slot % 64);
		b->provided++;
	}
	if (n > 0)
		io_uring_buf_ring_advance(b->ring, n);
}

struct buf *bufring_take(struct bufring *b, uint16_t slot)
{
	CHECK(lent(b, slot));
	b->lent[slot / 64] &= ~(1ULL << (slot % 64));
	b->provided--;
	return bufpool_slot_at(b->pool, slot);
}

void bufring_want_more(struct bufring *b)
{
	b->target = MIN(b->target + 1, (uint32_t)BUFRING_ENTRIES);
}

void bufring_trim(struct bufring *b)
{
	b->target = BUFRING_FEWEST;
	/* Nothing is in them, and the kernel finds them by address when it fills them. */
	for (uint32_t i = 0, left = b->provided; left > 0; i++) {
		if (!lent(b, (uint16_t)i))
			continue;
		struct buf *slot = bufpool_slot_at(b->pool, (uint16_t)i);

		(void)madvise(slot->data, slot->cap, MADV_DONTNEED);
		left--;
	}
}
