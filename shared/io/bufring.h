/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provided buffers of one ring: slots of the pool that the kernel may fill, so that a connection which waits for
 * bytes holds no buffer. Few are provided at a time, from the pool's most recently used ones, and more as load asks for
 * them, so that little memory is touched.
 */
#ifndef GAUZE_IO_BUFRING_H
#define GAUZE_IO_BUFRING_H

#include "shared/base/buf.h"

struct io_uring;
struct io_uring_buf_ring;

enum { BUFRING_ENTRIES = 256, BUFRING_FEWEST = 4, BUFRING_GROUP = 0 };

struct bufring {
	struct io_uring_buf_ring *ring;
	struct bufpool *pool;
	uint32_t provided, target;
	uint64_t lent[65536 / 64]; /* by slot; touched only where slots exist */
};

/* 0 or -errno. */
int must_check bufring_init(struct bufring *b, struct io_uring *ring, struct bufpool *pool);
/* Takes back what is provided. The kernel's ring is gone or about to go. */
void bufring_fini(struct bufring *b, struct io_uring *ring);
/* Provides slots up to the target, or as many as there are. */
void bufring_fill(struct bufring *b);
/* The kernel filled that one: the caller gets its reference. */
struct buf *bufring_take(struct bufring *b, uint16_t slot);
/* A receive found none. */
void bufring_want_more(struct bufring *b);
/* Idle: gives pages back and starts small again. */
void bufring_trim(struct bufring *b);

#endif
