/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "failalloc.h"
#include "shared/base/buf.h"

static struct bufpool *pool_of(uint32_t slots, uint64_t bytes, uint32_t cached)
{
	struct bufpool_limits limits = {
		.slots_max = slots, .bytes_max = bytes, .slabs_cached = cached};
	struct bufpool *pool = bufpool_new(&limits);
	assert_non_null(pool);
	return pool;
}

static void slots_are_bounded_and_reused(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(3, 1 << 20, 1);
	struct buf *b[3];
	for (int i = 0; i < 3; i++) {
		b[i] = bufpool_slot(pool);
		assert_non_null(b[i]);
		assert_int_equal(b[i]->cap, BUF_SLOT_BYTES);
		assert_int_equal(b[i]->refs, 1);
		assert_int_equal((uintptr_t)b[i]->data % 4096, 0);
		memset(b[i]->data, i, b[i]->cap);
		assert_ptr_equal(bufpool_slot_at(pool, b[i]->slot), b[i]);
	}
	assert_null(bufpool_slot(pool));
	assert_int_equal(bufpool_slots_left(pool), 0);
	assert_int_equal(bufpool_bytes(pool, BUF_SLOT), 3 * BUF_SLOT_BYTES);
	/* The last one returned is the first one given: it is warm. */
	uint16_t slot = b[1]->slot;
	buf_put(b[0]);
	buf_put(b[1]);
	b[1] = bufpool_slot(pool);
	assert_int_equal(b[1]->slot, slot);
	buf_put(b[1]);
	buf_put(b[2]);
	assert_int_equal(bufpool_bytes(pool, BUF_KINDS), 0);
	assert_int_equal(bufpool_slots_left(pool), 3);
	bufpool_free(pool);
}

static void references_count(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(1, 1 << 20, 0);
	struct buf *b = bufpool_slot(pool);
	buf_get(b);
	buf_put(b);
	assert_null(bufpool_slot(pool));
	buf_put(b);
	b = bufpool_slot(pool);
	assert_non_null(b);
	buf_put(b);
	bufpool_free(pool);
}

static void budget_is_kept(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(4, BUF_SLAB_BYTES + BUF_SLOT_BYTES, 0);
	struct buf *slab = bufpool_slab(pool), *slot = bufpool_slot(pool);
	assert_non_null(slab);
	assert_non_null(slot);
	assert_null(bufpool_slot(pool));
	assert_null(bufpool_slab(pool));
	assert_null(bufpool_heap(pool, 1));
	assert_null(bufpool_heap(pool, UINT32_MAX));
	buf_put(slot);
	struct buf *heap = bufpool_heap(pool, 1000);
	assert_non_null(heap);
	assert_int_equal(heap->cap, 1000);
	assert_true(bufpool_bytes(pool, BUF_HEAP) >= 1000);
	assert_null(bufpool_slot(pool));
	buf_put(heap);
	buf_put(slab);
	assert_int_equal(bufpool_bytes(pool, BUF_KINDS), 0);
	bufpool_free(pool);
	pool = pool_of(0, 1 << 20, 0);
	assert_null(bufpool_slot(pool));
	bufpool_free(pool);
}

static size_t resident_pages(void *p, size_t bytes)
{
	unsigned char in_core[4096];
	size_t pages = bytes / (size_t)sysconf(_SC_PAGESIZE), n = 0;
	assert_true(pages <= sizeof(in_core));
	assert_int_equal(mincore(p, bytes, in_core), 0);
	for (size_t i = 0; i < pages; i++)
		n += in_core[i] & 1;
	return n;
}

/* The marks at which receiving waits, and then everything but sending. */
static void marks_of_the_budget(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(8, 8 * BUF_SLOT_BYTES, 0);
	struct buf *b[8];
	for (int i = 0; i < 8; i++) {
		assert_int_equal(bufpool_low(pool), i > 6);
		assert_false(bufpool_scarce(pool));
		b[i] = bufpool_slot(pool);
	}
	assert_true(bufpool_low(pool));
	assert_true(bufpool_scarce(pool));
	buf_put(b[7]);
	assert_false(bufpool_scarce(pool));
	buf_put(b[6]);
	assert_false(bufpool_low(pool));
	for (int i = 0; i < 6; i++)
		buf_put(b[i]);
	bufpool_free(pool);
}

static void trim_gives_memory_back(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(8, 8 << 20, 2);
	struct buf *b[8], *slab = bufpool_slab(pool);
	for (int i = 0; i < 8; i++) {
		b[i] = bufpool_slot(pool);
		memset(b[i]->data, 0xee, b[i]->cap);
	}
	uint8_t *start = b[0]->data, *kept = b[4]->data;
	memset(slab->data, 1, slab->cap);
	buf_put(slab);
	for (int i = 0; i < 8; i++)
		if (i != 4)
			buf_put(b[i]);
	assert_int_equal(resident_pages(start, 8 * BUF_SLOT_BYTES), 8 * BUF_SLOT_BYTES / 4096);
	bufpool_trim(pool);
	assert_int_equal(resident_pages(start, 8 * BUF_SLOT_BYTES), BUF_SLOT_BYTES / 4096);
	assert_int_equal(kept[100], 0xee);
	/* What was trimmed is as good as new. */
	b[0] = bufpool_slot(pool);
	memset(b[0]->data, 1, b[0]->cap);
	slab = bufpool_slab(pool);
	memset(slab->data, 1, slab->cap);
	buf_put(b[0]);
	buf_put(b[4]);
	buf_put(slab);
	bufpool_trim(pool);
	bufpool_trim(pool);
	bufpool_free(pool);
}

static void slabs_are_cached(void **state)
{
	(void)state;
	struct bufpool *pool = pool_of(0, 8 << 20, 1);
	struct buf *a = bufpool_slab(pool), *b = bufpool_slab(pool);
	assert_int_equal(a->cap, BUF_SLAB_BYTES);
	buf_put(a);
	buf_put(b);
	assert_ptr_equal(bufpool_slab(pool), a);
	assert_int_equal(bufpool_bytes(pool, BUF_SLAB), BUF_SLAB_BYTES);
	buf_put(a);
	bufpool_free(pool);
}

static bool use_all_kinds(void)
{
	struct bufpool_limits limits = {.slots_max = 2, .bytes_max = 1 << 20};
	struct bufpool *pool = bufpool_new(&limits);
	if (!pool)
		return false;
	struct buf *slab = bufpool_slab(pool), *heap = bufpool_heap(pool, 10);
	bool ok = slab && heap;
	if (slab)
		buf_put(slab);
	if (heap)
		buf_put(heap);
	assert_int_equal(bufpool_bytes(pool, BUF_KINDS), 0);
	bufpool_free(pool);
	return ok;
}

static void failing_memory_refuses(void **state)
{
	(void)state;
	for (uint32_t n = 0;; n++) {
		failalloc_begin(n);
		bool ok = use_all_kinds();
		bool failed = failalloc_end();
		assert_int_equal(ok, !failed);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_bounded_and_reused),
		cmocka_unit_test(references_count),
		cmocka_unit_test(budget_is_kept),
		cmocka_unit_test(marks_of_the_budget),
		cmocka_unit_test(trim_gives_memory_back),
		cmocka_unit_test(slabs_are_cached),
		cmocka_unit_test(failing_memory_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
