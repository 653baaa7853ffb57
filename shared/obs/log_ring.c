/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/obs/log_ring.h"

#include <stdlib.h>
#include <sys/mman.h>

struct log_ring *log_ring_new(void)
{
	struct log_ring *r = aligned_alloc(64, sizeof(*r));
	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	void *p = mmap(NULL, LOG_RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (p == MAP_FAILED) {
		free(r);
		return NULL;
	}
	r->bytes = p;
	return r;
}

void log_ring_free(struct log_ring *r)
{
	if (!r)
		return;
	munmap(r->bytes, LOG_RING_BYTES);
	free(r);
}

bool log_ring_put(struct log_ring *r, struct str s)
{
	/* Relaxed: our own. Acquire: the writer is done with the bytes that we are about to reuse. */
	uint64_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
	uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	if (s.n > LOG_RING_BYTES - (head - tail))
		return false;
	size_t at = head % LOG_RING_BYTES;
	size_t first = MIN(s.n, LOG_RING_BYTES - at);
	memcpy(r->bytes + at, s.p, first);
	memcpy(r->bytes, s.p + first, s.n - first);
	/* Release: the bytes come before the count that shows them. */
	__atomic_store_n(&r->head, head + s.n, __ATOMIC_RELEASE);
	return true;
}

int log_ring_peek(struct log_ring *r, struct iovec out[2])
{
	/* Mirror image of log_ring_put(). */
	uint64_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
	uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
	size_t n = head - tail, at = tail % LOG_RING_BYTES;
	size_t first = MIN(n, LOG_RING_BYTES - at);
	out[0] = (struct iovec){r->bytes + at, first};
	out[1] = (struct iovec){r->bytes, n - first};
	return n == 0 ? 0 : n == first ? 1 : 2;
}

void log_ring_take(struct log_ring *r, size_t n)
{
	uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
	/* Release: our reads come before the producer writes there again. */
	__atomic_store_n(&r->tail, tail + n, __ATOMIC_RELEASE);
}
