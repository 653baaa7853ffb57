/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "asan.h"

enum { POOL_MAGIC = 0x6275706f, SLOTS_LIMIT = 65536, NO_SLOT = UINT32_MAX };

struct slab {
	struct buf buf;
	struct slab *next_free;
};

struct bufpool {
	uint32_t magic;
	uint32_t slots_used;
	uint32_t slots_fresh; /* slots below were handed out at least once */
	uint32_t slot_free;   /* head of the free list, or NO_SLOT */
	bool slots_dirty;     /* free slots may hold pages */
	struct bufpool_limits limits;
	uint8_t *slot_mem;
	struct buf *slots;   /* one per slot; mapped, so that what was never used costs nothing */
	uint32_t *slot_next; /* free list, by index */
	struct slab *slab_free;
	uint32_t slabs_free;
	/* Atomic, relaxed: written by the owner, read by whoever wants figures; they order nothing. */
	uint64_t bytes[BUF_KINDS];
};

static void *map_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void unmap_pages(void *p, size_t bytes)
{
	if (!p)
		return;
	/* The address may be mapped anew by somebody who knows nothing of poison. */
	ASAN_UNPOISON_MEMORY_REGION(p, bytes);
	CHECK(munmap(p, bytes) == 0);
}

static size_t slot_mem_bytes(const struct bufpool *pool)
{
	return (size_t)pool->limits.slots_max * BUF_SLOT_BYTES;
}

static void bufpool_unmap(struct bufpool *pool)
{
	size_t n = pool->limits.slots_max;
	unmap_pages(pool->slot_mem, slot_mem_bytes(pool));
	unmap_pages(pool->slots, n * sizeof(struct buf));
	unmap_pages(pool->slot_next, n * sizeof(uint32_t));
}

struct bufpool *bufpool_new(const struct bufpool_limits *limits)
{
	CHECK(limits->slots_max <= SLOTS_LIMIT);
	struct bufpool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->magic = POOL_MAGIC;
	pool->limits = *limits;
	pool->slot_free = NO_SLOT;
	size_t n = limits->slots_max;
	if (n == 0)
		return pool;
	pool->slot_mem = map_pages(slot_mem_bytes(pool));
	pool->slots = map_pages(n * sizeof(struct buf));
	pool->slot_next = map_pages(n * sizeof(uint32_t));
	if (!pool->slot_mem || !pool->slots || !pool->slot_next) {
		bufpool_unmap(pool);
		free(pool);
		return NULL;
	}
	ASAN_POISON_MEMORY_REGION(pool->slot_mem, slot_mem_bytes(pool));
	return pool;
}

/* What a block takes from the budget: its bytes and, where it has one of its own, its header. */
static uint64_t cost(const struct buf *b)
{
	return b->kind == BUF_HEAP ? sizeof(struct buf) + b->cap : b->cap;
}

static void account(struct bufpool *pool, enum buf_kind kind, uint64_t now)
{
	__atomic_store_n(&pool->bytes[kind], now, __ATOMIC_RELAXED);
}

static bool fits(const struct bufpool *pool, uint64_t more)
{
	uint64_t used = pool->bytes[BUF_SLOT] + pool->bytes[BUF_SLAB] + pool->bytes[BUF_HEAP];
	return more <= pool->limits.bytes_max && used <= pool->limits.bytes_max - more;
}

static struct buf *born(struct buf *b)
{
	b->refs = 1;
	account(b->pool, b->kind, b->pool->bytes[b->kind] + cost(b));
	return b;
}

struct buf *bufpool_slot(struct bufpool *pool)
{
	MAGIC_CHECK(pool, POOL_MAGIC);
	if (!fits(pool, BUF_SLOT_BYTES))
		return NULL;
	uint32_t i = pool->slot_free;
	if (i != NO_SLOT) {
		pool->slot_free = pool->slot_next[i];
	} else if (pool->slots_fresh < pool->limits.slots_max) {
		i = pool->slots_fresh++;
		uint8_t *data = pool->slot_mem + (size_t)i * BUF_SLOT_BYTES;
		pool->slots[i] = (struct buf){
			.cap = BUF_SLOT_BYTES,
			.kind = BUF_SLOT,
			.slot = (uint16_t)i,
			.pool = pool,
			.data = data,
		};
	} else {
		return NULL;
	}
	pool->slots_used++;
	ASAN_UNPOISON_MEMORY_REGION(pool->slots[i].data, BUF_SLOT_BYTES);
	return born(&pool->slots[i]);
}

static struct slab *slab_map(struct bufpool *pool)
{
	struct slab *s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	uint8_t *data = map_pages(BUF_SLAB_BYTES);
	if (!data) {
		free(s);
		return NULL;
	}
	s->buf = (struct buf){.cap = BUF_SLAB_BYTES, .kind = BUF_SLAB, .pool = pool, .data = data};
	return s;
}

static void slab_unmap(struct slab *s)
{
	unmap_pages(s->buf.data, BUF_SLAB_BYTES);
	free(s);
}

struct buf *bufpool_slab(struct bufpool *pool)
{
	MAGIC_CHECK(pool, POOL_MAGIC);
	if (!fits(pool, BUF_SLAB_BYTES))
		return NULL;
	struct slab *s = pool->slab_free;
	if (s) {
		pool->slab_free = s->next_free;
		pool->slabs_free--;
		ASAN_UNPOISON_MEMORY_REGION(s->buf.data, BUF_SLAB_BYTES);
	} else {
		s = slab_map(pool);
		if (!s)
			return NULL;
	}
	return born(&s->buf);
}

struct buf *bufpool_heap(struct bufpool *pool, uint32_t bytes)
{
	MAGIC_CHECK(pool, POOL_MAGIC);
	if (!fits(pool, sizeof(struct buf) + (uint64_t)bytes))
		return NULL;
	struct buf *b = malloc(sizeof(*b) + bytes);
	if (!b)
		return NULL;
	*b = (struct buf){.cap = bytes, .kind = BUF_HEAP, .pool = pool, .data = (uint8_t *)(b + 1)};
	return born(b);
}

struct buf *bufpool_slot_at(struct bufpool *pool, uint16_t slot)
{
	MAGIC_CHECK(pool, POOL_MAGIC);
	CHECK(slot < pool->slots_fresh && pool->slots[slot].refs > 0);
	return &pool->slots[slot];
}

static void slot_return(struct bufpool *pool, struct buf *b)
{
	ASAN_POISON_MEMORY_REGION(b->data, BUF_SLOT_BYTES);
	pool->slot_next[b->slot] = pool->slot_free;
	pool->slot_free = b->slot;
	pool->slots_used--;
	pool->slots_dirty = true;
}

static void slab_return(struct bufpool *pool, struct buf *b)
{
	struct slab *s = container_of(b, struct slab, buf);
	if (pool->slabs_free >= pool->limits.slabs_cached) {
		slab_unmap(s);
		return;
	}
	ASAN_POISON_MEMORY_REGION(b->data, BUF_SLAB_BYTES);
	s->next_free = pool->slab_free;
	pool->slab_free = s;
	pool->slabs_free++;
}

void buf_put(struct buf *b)
{
	CHECK(b->refs > 0);
	if (--b->refs > 0)
		return;
	struct bufpool *pool = b->pool;
	MAGIC_CHECK(pool, POOL_MAGIC);
	account(pool, b->kind, pool->bytes[b->kind] - cost(b));
	switch ((enum buf_kind)b->kind) {
	case BUF_SLOT: slot_return(pool, b); return;
	case BUF_SLAB: slab_return(pool, b); return;
	case BUF_HEAP: free(b); return;
	case BUF_KINDS: break;
	}
	CHECK(!"a kind of buffer");
}

static void slots_trim(struct bufpool *pool)
{
	if (!pool->slots_dirty)
		return;
	uint32_t i = 0;
	while (i < pool->slots_fresh) {
		uint32_t start = i;
		while (i < pool->slots_fresh && pool->slots[i].refs == 0)
			i++;
		if (i > start)
			(void)madvise(pool->slot_mem + (size_t)start * BUF_SLOT_BYTES,
				      (size_t)(i - start) * BUF_SLOT_BYTES, MADV_DONTNEED);
		else
			i++;
	}
	pool->slots_dirty = false;
}

static void slabs_trim(struct bufpool *pool)
{
	while (pool->slab_free) {
		struct slab *s = pool->slab_free;
		pool->slab_free = s->next_free;
		slab_unmap(s);
	}
	pool->slabs_free = 0;
}

void bufpool_trim(struct bufpool *pool)
{
	MAGIC_CHECK(pool, POOL_MAGIC);
	slots_trim(pool);
	slabs_trim(pool);
	malloc_trim(0);
}

void bufpool_free(struct bufpool *pool)
{
	if (!pool)
		return;
	MAGIC_CHECK(pool, POOL_MAGIC);
	CHECK(bufpool_bytes(pool, BUF_KINDS) == 0);
	slabs_trim(pool);
	bufpool_unmap(pool);
	pool->magic = 0;
	free(pool);
}

uint64_t bufpool_bytes(const struct bufpool *pool, enum buf_kind kind)
{
	if (kind < BUF_KINDS)
		return __atomic_load_n(&pool->bytes[kind], __ATOMIC_RELAXED);
	uint64_t sum = 0;
	for (int k = 0; k < BUF_KINDS; k++)
		sum += __atomic_load_n(&pool->bytes[k], __ATOMIC_RELAXED);
	return sum;
}

bool bufpool_low(const struct bufpool *pool)
{
	return bufpool_bytes(pool, BUF_KINDS) > pool->limits.bytes_max / 8 * 6;
}

bool bufpool_scarce(const struct bufpool *pool)
{
	return bufpool_bytes(pool, BUF_KINDS) > pool->limits.bytes_max / 8 * 7;
}

uint32_t bufpool_slots_left(const struct bufpool *pool)
{
	return pool->limits.slots_max - pool->slots_used;
}
