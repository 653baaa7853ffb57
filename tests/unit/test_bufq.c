/* SPDX-License-Identifier: Apache-2.0 */
/* Queues of slices against a model that is a plain array of bytes. */
#include "unit.h"

#include "failalloc.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/rng.h"

enum { QUEUES = 3, MODEL_BYTES = 1 << 18 };

struct model {
	uint8_t *p;
	size_t n;
};

static struct bufpool *pool;

static int set_up(void **state)
{
	(void)state;
	struct bufpool_limits limits = {.slots_max = 64, .bytes_max = 64 << 20, .slabs_cached = 2};
	pool = bufpool_new(&limits);
	return pool == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	bufpool_free(pool); /* checks that nothing is left */
	return 0;
}

static void assert_same(const struct bufq *q, const uint8_t *bytes, size_t n)
{
	static uint8_t got[MODEL_BYTES];
	uint32_t sum = 0;
	assert_int_equal(q->bytes, n);
	assert_int_equal(bufq_peek(q, got, sizeof(got)), n);
	assert_memory_equal(got, n ? bytes : got, n);
	for (uint16_t i = 0; i < q->count; i++) {
		const struct bslice *s = bufq_at(q, i);
		assert_true(s->len > 0 && s->buf->refs > 0);
		assert_true(s->off + s->len <= s->buf->cap);
		sum += s->len;
	}
	assert_int_equal(sum, n);
	if (n == 0)
		assert_null(q->v);
}

static void neighbours_are_joined(void **state)
{
	(void)state;
	struct bufq q;
	bufq_init(&q);
	struct buf *b = bufpool_slot(pool);
	memcpy(b->data, "0123456789", 10);
	assert_int_equal(bufq_push(&q, b, 0, 3), 0);
	assert_int_equal(bufq_push(&q, b, 3, 3), 0);
	assert_int_equal(q.count, 1);
	assert_int_equal(b->refs, 2);
	assert_int_equal(bufq_push(&q, b, 8, 2), 0);
	assert_int_equal(bufq_push(&q, b, 9, 0), 0);
	assert_int_equal(q.count, 2);
	assert_same(&q, (const uint8_t *)"01234589", 8);
	buf_put(b);
	bufq_pop(&q, 7);
	assert_same(&q, (const uint8_t *)"9", 1);
	bufq_pop(&q, 1);
	assert_same(&q, NULL, 0);
	bufq_fini(&q);
}

static void copies_fill_the_last_block(void **state)
{
	(void)state;
	struct bufq q = {0};
	for (int i = 0; i < 100; i++)
		assert_int_equal(bufq_copy(&q, pool, "abc", 3), 0);
	assert_int_equal(q.count, 1);
	/* Not when somebody else sees that block, too. */
	struct buf *b = buf_get(bufq_at(&q, 0)->buf);
	assert_int_equal(bufq_copy(&q, pool, "d", 1), 0);
	assert_int_equal(q.count, 2);
	buf_put(b);
	bufq_fini(&q);
	assert_int_equal(bufq_copy(&q, pool, NULL, 0), 0);
	assert_same(&q, NULL, 0);
}

static void unpin_frees_slots_and_slabs(void **state)
{
	(void)state;
	struct bufq q = {0};
	for (int i = 0; i < 20; i++) {
		struct buf *b = bufpool_slot(pool);
		b->data[5] = (uint8_t)i;
		assert_int_equal(bufq_push(&q, b, 5, 1), 0);
		buf_put(b);
	}
	struct buf *slab = bufpool_slab(pool);
	memset(slab->data, 0x55, 100);
	assert_int_equal(bufq_push(&q, slab, 0, 100), 0);
	buf_put(slab);
	slab = bufpool_slab(pool);
	memset(slab->data, 0x66, slab->cap);
	assert_int_equal(bufq_push(&q, slab, 0, slab->cap / 2), 0);
	buf_put(slab);

	assert_int_equal(bufq_unpin(&q, pool, 2), 0);
	assert_int_equal(bufpool_bytes(pool, BUF_SLOT), 2 * BUF_SLOT_BYTES);
	assert_int_equal(bufpool_bytes(pool, BUF_SLAB), BUF_SLAB_BYTES);
	assert_int_equal(q.count, 4);
	uint8_t got[120];
	assert_int_equal(bufq_peek(&q, got, sizeof(got)), sizeof(got));
	for (int i = 0; i < 20; i++)
		assert_int_equal(got[i], i);
	assert_int_equal(got[119], 0x55);
	assert_int_equal(bufq_unpin(&q, pool, 100), 0);
	assert_int_equal(q.count, 4);
	bufq_fini(&q);
}

static void rings_have_an_end(void **state)
{
	(void)state;
	struct bufq q = {0};
	struct buf *b = bufpool_slab(pool);
	for (uint32_t i = 0; i < 32768; i++)
		assert_int_equal(bufq_push(&q, b, i * 2, 1), 0);
	assert_int_equal(bufq_push(&q, b, 0, 1), ERR_NOMEM);
	assert_int_equal(bufq_copy(&q, pool, "x", 1), ERR_NOMEM);
	assert_int_equal(q.bytes, 32768);
	buf_put(b);
	bufq_fini(&q);
}

/* ---- model ---- */

static uint8_t next_byte;

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = next_byte = (uint8_t)(next_byte * 5 + 1);
}

static void step(struct rng *r, struct bufq *q, struct model *m, struct bufq *to, struct model *mto)
{
	static uint8_t bytes[100000];
	size_t room = MODEL_BYTES - m->n;
	size_t n = MIN(rng_below(r, 1ULL << (1 + rng_below(r, 17))), room);
	uint32_t moved;
	switch (rng_below(r, 6)) {
	case 0: /* part of a fresh block */
	case 1: {
		struct buf *b = rng_below(r, 2) ? bufpool_slot(pool) : bufpool_slab(pool);
		if (!b)
			return;
		n = MIN(n, (size_t)b->cap / 2);
		fill(b->data + n, n);
		assert_int_equal(bufq_push(q, b, (uint32_t)n, (uint32_t)n), 0);
		memcpy(m->p + m->n, b->data + n, n);
		m->n += n;
		buf_put(b);
		return;
	}
	case 2:
		n = MIN(n, sizeof(bytes));
		fill(bytes, n);
		assert_int_equal(bufq_copy(q, pool, bytes, n), 0);
		memcpy(m->p + m->n, bytes, n);
		m->n += n;
		return;
	case 3:
		n = MIN(n, m->n);
		bufq_pop(q, (uint32_t)n);
		memmove(m->p, m->p + n, m->n - n);
		m->n -= n;
		return;
	case 4:
		if (q == to)
			return;
		n = MIN(n * 2, MODEL_BYTES - mto->n);
		assert_int_equal(bufq_move(to, q, (uint32_t)n, &moved), 0);
		n = MIN(n, m->n);
		assert_int_equal(moved, n);
		memcpy(mto->p + mto->n, m->p, n);
		mto->n += n;
		memmove(m->p, m->p + n, m->n - n);
		m->n -= n;
		return;
	default: assert_int_equal(bufq_unpin(q, pool, (uint16_t)rng_below(r, 4)), 0);
	}
}

static void agrees_with_model(void **state)
{
	(void)state;
	struct rng r;
	rng_init(&r, 11);
	struct bufq q[QUEUES] = {0};
	struct model m[QUEUES];
	for (int i = 0; i < QUEUES; i++)
		m[i] = (struct model){malloc(MODEL_BYTES), 0};
	for (int i = 0; i < 4000; i++) {
		uint64_t a = rng_below(&r, QUEUES), b = rng_below(&r, QUEUES);
		step(&r, &q[a], &m[a], &q[b], &m[b]);
		assert_same(&q[a], m[a].p, m[a].n);
		assert_same(&q[b], m[b].p, m[b].n);
	}
	for (int i = 0; i < QUEUES; i++) {
		bufq_fini(&q[i]);
		free(m[i].p);
	}
}

/* ---- memory that fails ---- */

/* Builds and shuffles; each step either works or leaves its queue as it was. */
static bool shuffle(struct bufq *a, struct bufq *b, struct buf *block)
{
	static const char text[3000] = {1};
	bool ok = true;
	uint32_t moved = 0, before;
	for (uint32_t i = 0; i < 6; i++) {
		before = a->bytes;
		int rc = bufq_push(a, block, i * 100, 50);
		assert_int_equal(a->bytes, before + (rc ? 0 : 50));
		ok &= rc == 0;
	}
	before = a->bytes;
	int rc = bufq_copy(a, pool, text, sizeof(text));
	assert_int_equal(a->bytes, before + (rc ? 0 : sizeof(text)));
	ok &= rc == 0;
	uint32_t sum = a->bytes;
	rc = bufq_move(b, a, sum / 2 + 1, &moved);
	assert_int_equal(moved, rc ? 0 : sum / 2 + 1);
	ok &= rc == 0;
	rc = bufq_unpin(b, pool, 0);
	ok &= rc == 0;
	assert_int_equal(a->bytes + b->bytes, sum);
	return ok;
}

static void failing_memory_leaves_queues_valid(void **state)
{
	(void)state;
	for (uint32_t n = 0;; n++) {
		struct bufq a = {0}, b = {0};
		struct buf *block = bufpool_slot(pool);
		memset(block->data, 7, block->cap);
		failalloc_begin(n);
		bool ok = shuffle(&a, &b, block);
		bool failed = failalloc_end();
		assert_int_equal(ok, !failed);
		static uint8_t got[8192];
		assert_int_equal(bufq_peek(&a, got, sizeof(got)), a.bytes);
		assert_int_equal(bufq_peek(&b, got, sizeof(got)), b.bytes);
		bufq_fini(&a);
		bufq_fini(&b);
		buf_put(block);
		assert_int_equal(bufpool_bytes(pool, BUF_KINDS), 0);
		if (!failed)
			break;
		assert_true(n < 50);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_are_joined),
		cmocka_unit_test(copies_fill_the_last_block),
		cmocka_unit_test(unpin_frees_slots_and_slabs),
		cmocka_unit_test(rings_have_an_end),
		cmocka_unit_test(agrees_with_model),
		cmocka_unit_test(failing_memory_leaves_queues_valid),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
