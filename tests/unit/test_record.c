/* SPDX-License-Identifier: Apache-2.0 */
/* The record writer: what is laid down comes out, in as few records as may be, whatever buffers there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "shared/base/rng.h"
#include "shared/wire/record.h"
#include "tests/unit/testca.h"
#include "tests/unit/tls_pair.h"

struct rig {
	struct testca ca;
	struct tls_ctx *cc, *sc;
	struct pair pair;
};

static void rig_start(struct rig *r)
{
	struct str want = STR("spiffe://td/ns/b/sa/server");

	r->ca = testca_new("root", NULL, 0);
	r->cc = testca_simple_ctx(&r->ca, "spiffe://td/ns/a/sa/client");
	r->sc = testca_simple_ctx(&r->ca, "spiffe://td/ns/b/sa/server");
	pair_open(&r->pair, r->cc, r->sc, &want, 1);
	pair_shake(&r->pair);
	assert_true(tls_established(r->pair.c) && tls_established(r->pair.s));
}

static void rig_end(struct rig *r)
{
	pair_close(&r->pair);
	tls_ctx_put(r->cc);
	tls_ctx_put(r->sc);
	testca_free(&r->ca);
}

static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 13 + i / 251);
}

static void put_pattern(struct record_writer *w, uint32_t from, uint32_t n)
{
	uint8_t *bytes = malloc(n);

	for (uint32_t i = 0; i < n; i++)
		bytes[i] = byte_at(from + i);
	assert_int_equal(record_put(w, bytes, n), 0);
	free(bytes);
}

static void assert_is_pattern(struct bufq *q, uint32_t n)
{
	uint32_t at = 0;

	assert_int_equal(q->bytes, n);
	for (uint16_t i = 0; i < q->count; i++)
		for (uint32_t k = 0; k < bufq_at(q, i)->len; k++, at++)
			assert_int_equal(bufq_at(q, i)->buf->data[bufq_at(q, i)->off + k],
					 byte_at(at));
	bufq_fini(q);
}

/* Opens what was laid down into p->to_s and checks it; returns how many records it was. */
static uint32_t opened(struct pair *p, uint32_t n)
{
	struct bufq got = {0};
	bool more = true;
	uint32_t records = 0;

	assert_int_equal(tls_feed(p->s, &p->to_s), 0);
	while (more) {
		uint32_t before = got.bytes;

		assert_int_equal(tls_open(p->s, p->pool, &got, &more), 0);
		records += got.bytes > before;
	}
	assert_is_pattern(&got, n);
	return records;
}

static void test_sizes(void **state)
{
	static const uint32_t sizes[] = {1,	 2,	 511,	 512,	 513,	 16335, 16336,
					 16337,	 16383,	 16384,	 16385,	 32768,	 40000, 100000,
					 262143, 262144, 262145, 400000, 1000000};
	struct rig r;

	(void)state;
	rig_start(&r);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (int guess = 0; guess < 2; guess++) {
			struct record_writer w;
			uint32_t n = sizes[i], records;

			record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s, guess ? n : 1);
			put_pattern(&w, 0, n);
			assert_int_equal(w.total, n);
			assert_int_equal(record_full(&w), n >= RECORD_TURN_BYTES);
			assert_int_equal(record_end(&w), 0);
			records = opened(&r.pair, n);
			/* one more where the first buffer ends, and at the end of each further one */
			assert_true(records <= n / TLS_RECORD_MAX + 2 + n / BUF_SLAB_BYTES);
		}
	}
	rig_end(&r);
}

static void test_little_takes_a_slot(void **state)
{
	struct record_writer w;
	struct rig r;

	(void)state;
	rig_start(&r);
	record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s, 100);
	assert_int_equal(record_left(&w), TLS_RECORD_MAX);
	put_pattern(&w, 0, 100);
	assert_int_equal(bufpool_bytes(r.pair.pool, BUF_SLOT), BUF_SLOT_BYTES);
	assert_int_equal(bufpool_bytes(r.pair.pool, BUF_SLAB), 0);
	assert_int_equal(record_end(&w), 0);
	assert_int_equal(opened(&r.pair, 100), 1);
	/* nothing at all takes nothing */
	record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s, 100);
	assert_int_equal(record_end(&w), 0);
	assert_int_equal(r.pair.to_s.bytes, 0);
	assert_int_equal(bufpool_bytes(r.pair.pool, BUF_KINDS), 0);
	rig_end(&r);
}

static void test_seal_begins_a_record(void **state)
{
	struct record_writer w;
	struct rig r;

	(void)state;
	rig_start(&r);
	record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s, 3000);
	for (uint32_t i = 0; i < 10; i++) {
		put_pattern(&w, i * 300, 300);
		assert_int_equal(record_seal(&w), 0);
		assert_int_equal(record_seal(&w), 0);
	}
	assert_int_equal(record_end(&w), 0);
	/* one contiguous send */
	assert_int_equal(r.pair.to_s.count, 1);
	assert_int_equal(opened(&r.pair, 3000), 10);
	rig_end(&r);
}

static void test_from_a_queue(void **state)
{
	struct record_writer w;
	struct bufq q = {0};
	uint8_t bytes[50000];
	struct rig r;

	(void)state;
	rig_start(&r);
	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(i);
	for (uint32_t at = 0; at < sizeof(bytes); at += 1000)
		assert_int_equal(bufq_copy(&q, r.pair.pool, bytes + at, 1000), 0);
	record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s, 1);
	for (uint32_t done = 0; done < sizeof(bytes); done += 12500) {
		assert_int_equal(record_put_q(&w, &q, 12500), 0);
		assert_int_equal(q.bytes, sizeof(bytes) - done - 12500);
	}
	assert_int_equal(record_put_q(&w, &q, 0), 0);
	assert_int_equal(record_end(&w), 0);
	opened(&r.pair, sizeof(bytes));
	rig_end(&r);
}

static void test_plain(void **state)
{
	struct bufpool *pool = pair_pool();
	struct record_writer w;
	struct bufq out = {0};

	(void)state;
	record_begin(&w, NULL, pool, &out, 1);
	put_pattern(&w, 0, 300000);
	assert_int_equal(record_end(&w), 0);
	assert_is_pattern(&out, 300000);
	bufpool_free(pool);
}

/* What was made room for never fails for want of memory, at every fill of a buffer. */
static void test_room(void **state)
{
	struct rng rng;
	struct rig r;

	(void)state;
	rng_init(&rng, 7);
	rig_start(&r);
	for (int round = 0; round < 300; round++) {
		uint32_t first = 1 + (uint32_t)rng_below(&rng, 300000), at = first;
		struct record_writer w;
		struct buf *hog[64];
		uint32_t hogs = 0;

		record_begin(&w, r.pair.c, r.pair.pool, &r.pair.to_s,
			     (uint32_t)rng_below(&rng, 2) * first);
		put_pattern(&w, 0, first);
		while (hogs < 64 && (hog[hogs] = bufpool_slot(r.pair.pool)))
			hogs++;
		for (int i = 0; i < 40; i++) {
			uint32_t n = 1 + (uint32_t)rng_below(&rng, TLS_RECORD_MAX);
			struct bufpool *pool = w.pool;
			static struct bufpool_limits none;

			if (record_room(&w, n))
				break;
			/* from here on there is no memory at all */
			w.pool = bufpool_new(&none);
			if (rng_below(&rng, 3) == 0 && w.buf && n <= record_left(&w))
				assert_int_equal(record_seal(&w), 0);
			put_pattern(&w, at, n);
			bufpool_free(w.pool);
			w.pool = pool;
			at += n;
		}
		assert_int_equal(record_end(&w), 0);
		while (hogs > 0)
			buf_put(hog[--hogs]);
		opened(&r.pair, at);
	}
	rig_end(&r);
}

/* Without a slab the writer goes on in slots; without anything it says so and keeps what it has. */
static void test_without_memory(void **state)
{
	struct bufpool_limits tight = {.slots_max = 4, .bytes_max = 4 * BUF_SLOT_BYTES};
	struct bufpool *pool = bufpool_new(&tight);
	struct record_writer w;
	struct bufq out = {0};
	uint8_t more[64] = {0};

	(void)state;
	record_begin(&w, NULL, pool, &out, 100000);
	put_pattern(&w, 0, 60000);
	assert_int_equal(record_room(&w, 10000), ERR_NOMEM);
	assert_int_equal(record_room(&w, TLS_RECORD_MAX), ERR_NOMEM);
	while (record_room(&w, sizeof(more)) == 0)
		assert_int_equal(record_put(&w, more, sizeof(more)), 0);
	assert_int_equal(record_end(&w), 0);
	assert_true(out.bytes > 60000);
	bufq_fini(&out);
	/* nothing was had from the start */
	struct buf *hog[4];
	for (int i = 0; i < 4; i++)
		hog[i] = bufpool_slot(pool);
	record_begin(&w, NULL, pool, &out, 10);
	assert_int_equal(record_put(&w, more, 1), ERR_NOMEM);
	assert_int_equal(record_end(&w), 0);
	assert_int_equal(out.bytes, 0);
	for (int i = 0; i < 4; i++)
		buf_put(hog[i]);
	bufpool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_little_takes_a_slot),
		cmocka_unit_test(test_seal_begins_a_record),
		cmocka_unit_test(test_from_a_queue),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
