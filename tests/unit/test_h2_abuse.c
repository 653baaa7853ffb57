/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that do what honest ones do not, and memory that is not there. */
#include "tests/unit/h2_rig.h"

static const struct header ok[] = {{{":status", 7}, {"200", 3}}};

static void server_end(struct h2_pair *p)
{
	side_end(&p->s, ERR_CLOSED);
	assert_int_equal(bufpool_bytes(p->pool, BUF_KINDS), 0);
	bufpool_free(p->pool);
}

static struct raw raw;

static void hello(struct h2_pair *p)
{
	server_start(p, &h2_rig_config);
	raw.n = 0;
	raw_hello(&raw);
	assert_int_equal(raw_feed(p, &p->s, &raw), 0);
	server_says(p);
}

/* Opened and reset before anybody takes the request: nothing may stay behind. */
static void test_reset_before_taken(void **state)
{
	struct h2_pair p;

	(void)state;
	hello(&p);
	for (uint32_t i = 0; i < 50; i++) {
		raw_connect(&raw, 1 + 2 * i, 0);
		raw_frame(&raw, F_DATA, 0, 1 + 2 * i, "hello", 5);
		raw_u32_frame(&raw, F_RST_STREAM, 1 + 2 * i, 8);
	}
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	assert_null(h2_next_request(p.s.h2));
	assert_int_equal(h2_streams(p.s.h2), 0);
	assert_int_equal(h2_buffered(p.s.h2), 0);
	server_says(&p);
	assert_int_equal(p.from_s.frames[F_GOAWAY], 0);
	server_end(&p);
}

static void test_rapid_reset(void **state)
{
	struct h2_pair p;
	int err = 0;

	(void)state;
	hello(&p);
	for (uint32_t i = 0; !err && i < 300; i++) {
		raw_connect(&raw, 1 + 2 * i, 0);
		raw_u32_frame(&raw, F_RST_STREAM, 1 + 2 * i, 8);
		err = raw_feed(&p, &p.s, &raw);
		p.now_ns += NS_PER_MS;
	}
	assert_int_equal(err, ERR_H2_FLOOD);
	server_says(&p);
	assert_int_equal(p.from_s.goaway_code, 0xb);
	assert_true(h2_finished(p.s.h2));
	server_end(&p);
	/* the same number at a pace that honest peers keep */
	hello(&p);
	for (uint32_t i = 0; i < 300; i++) {
		raw_connect(&raw, 1 + 2 * i, 0);
		raw_u32_frame(&raw, F_RST_STREAM, 1 + 2 * i, 8);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		p.now_ns += 20 * NS_PER_MS;
	}
	server_end(&p);
}

static void put_control(uint8_t type)
{
	switch (type) {
	case F_PING: raw_frame(&raw, F_PING, 0, 0, "12345678", 8); break;
	case F_SETTINGS: raw_frame(&raw, F_SETTINGS, 0, 0, NULL, 0); break;
	case F_PRIORITY: raw_frame(&raw, F_PRIORITY, 0, 1, "\0\0\0\0\1", 5); break;
	default: raw_frame(&raw, F_DATA, 0, 1, NULL, 0);
	}
}

static void test_floods(void **state)
{
	static const uint8_t types[] = {F_PING, F_SETTINGS, F_DATA};
	struct h2_stream *s;
	struct h2_pair p;

	(void)state;
	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		int err = 0;

		hello(&p);
		raw_connect(&raw, 1, 0);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		s = h2_next_request(p.s.h2);
		for (int i = 0; i < 90; i++)
			put_control(types[t]);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		for (int i = 0; !err && i < 100; i++) {
			put_control(types[t]);
			err = raw_feed(&p, &p.s, &raw);
		}
		assert_int_equal(err, ERR_H2_FLOOD);
		server_says(&p);
		assert_int_equal(p.from_s.goaway_code, 0xb);
		stream_close(s, ERR_CLOSED);
		server_end(&p);
	}
}

/* What is ignored is not answered and not kept. */
static void test_ignored_frames(void **state)
{
	struct h2_pair p;
	uint64_t before;
	uint32_t said;

	(void)state;
	hello(&p);
	server_says(&p);
	before = bufpool_bytes(p.pool, BUF_KINDS);
	said = p.from_s.frames[F_SETTINGS];
	for (int i = 0; i < 2000; i++) {
		put_control(F_PRIORITY);
		raw_frame(&raw, 0xfa, 0xff, 0, "whatever", 8);
	}
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	server_says(&p);
	assert_int_equal(p.from_s.frames[F_SETTINGS], said);
	assert_int_equal(p.from_s.frames[F_GOAWAY], 0);
	assert_int_equal(bufpool_bytes(p.pool, BUF_KINDS), before);
	server_end(&p);
}

static void test_continuation_flood(void **state)
{
	uint8_t block[64];
	size_t n = raw_connect_block(block);
	struct h2_pair p;
	int err = 0;

	(void)state;
	hello(&p);
	raw_frame(&raw, F_HEADERS, 0, 1, block, n);
	for (int i = 0; i < 1000; i++)
		raw_frame(&raw, F_CONTINUATION, 0, 1, NULL, 0);
	err = raw_feed(&p, &p.s, &raw);
	assert_true(err == ERR_H2_FLOOD || err == ERR_H2_PROTOCOL);
	server_says(&p);
	assert_true(p.from_s.frames[F_GOAWAY] >= 1);
	assert_null(h2_next_request(p.s.h2));
	server_end(&p);
}

/* A head that grows without end is not kept. */
static void test_endless_head(void **state)
{
	static uint8_t block[16000];
	struct h2_stream *s;
	struct h2_pair p;
	size_t n;

	(void)state;
	hello(&p);
	n = raw_connect_block(block);
	while (n + 110 < sizeof(block))
		n += raw_field(block + n, "x-some-header-name-of-some-length", "0123456789012345");
	raw_frame(&raw, F_HEADERS, 0, 1, block, n);
	for (int i = 0; i < 5; i++) {
		for (n = 0; n + 110 < sizeof(block);)
			n += raw_field(block + n, "x-some-header-name-of-some-length",
				       "0123456789012345");
		raw_frame(&raw, F_CONTINUATION, i == 4 ? END_HEADERS : 0, 1, block, n);
	}
	/* whether it is answered with 431 or refused by the session is the same to us */
	ignore_result(raw_feed(&p, &p.s, &raw));
	s = h2_next_request(p.s.h2);
	if (s) {
		assert_true(s->head->too_large);
		assert_true(s->head->bytes <= h2_rig_config.header_list_max);
		stream_close(s, ERR_TOO_LARGE);
	}
	server_end(&p);
}

static void test_malformed_requests(void **state)
{
	static const char *const extra[][2] = {
		{":path", "/"},	    {":scheme", "https"}, {"Upper", "case"},
		{":status", "200"}, {"connection", "x"},  {"te", "gzip"},
	};
	struct h2_pair p;

	(void)state;
	hello(&p);
	for (uint32_t i = 0; i < ARRAY_SIZE(extra); i++) {
		uint8_t block[128];
		size_t n = raw_connect_block(block);

		n += raw_field(block + n, extra[i][0], extra[i][1]);
		raw_frame(&raw, F_HEADERS, END_HEADERS, 1 + 2 * i, block, n);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	}
	assert_null(h2_next_request(p.s.h2));
	server_says(&p);
	assert_int_equal(p.from_s.frames[F_RST_STREAM], ARRAY_SIZE(extra));
	assert_int_equal(h2_streams(p.s.h2), 0);
	/* the session itself is fine */
	raw_connect(&raw, 101, 0);
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	stream_close(h2_next_request(p.s.h2), ERR_CLOSED);
	server_end(&p);
}

static void test_garbage(void **state)
{
	struct h2_pair p;

	(void)state;
	server_start(&p, &h2_rig_config);
	raw.n = 0;
	raw_put(&raw, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	assert_int_equal(raw_feed(&p, &p.s, &raw), ERR_H2_PROTOCOL);
	server_says(&p);
	server_end(&p);
	/* a frame that its stream's state forbids */
	hello(&p);
	raw_frame(&raw, F_DATA, 0, 5, "x", 1);
	ignore_result(raw_feed(&p, &p.s, &raw));
	server_says(&p);
	assert_int_equal(p.from_s.frames[F_GOAWAY], 1);
	assert_int_equal(p.from_s.goaway_code, 1);
	assert_true(h2_finished(p.s.h2));
	assert_int_equal(h2_error(p.s.h2), ERR_H2_PROTOCOL);
	server_end(&p);
}

/* More streams than we said. */
static void test_too_many_streams(void **state)
{
	struct h2_config few = h2_rig_config;
	struct h2_stream *s;
	struct h2_pair p;
	uint32_t taken = 0;

	(void)state;
	few.streams_max = 10;
	server_start(&p, &few);
	raw.n = 0;
	raw_hello(&raw);
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	server_says(&p);
	raw_frame(&raw, F_SETTINGS, ACK, 0, NULL, 0);
	for (uint32_t i = 0; i < 50; i++)
		raw_connect(&raw, 1 + 2 * i, 0);
	ignore_result(raw_feed(&p, &p.s, &raw));
	while ((s = h2_next_request(p.s.h2))) {
		taken++;
		stream_close(s, ERR_CLOSED);
	}
	assert_true(taken <= 10);
	server_says(&p);
	assert_true(h2_finished(p.s.h2) || h2_streams(p.s.h2) == 0);
	server_end(&p);
}

/* A window that never opens costs what was sent into it, until whoever sent it gives up. */
static void test_zero_window_for_ever(void **state)
{
	uint8_t no_window[6] = {0, 4, 0, 0, 0, 0};
	struct h2_stream *s;
	struct h2_pair p;
	uint64_t before;

	(void)state;
	server_start(&p, &h2_rig_config);
	raw.n = 0;
	raw_put(&raw, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	raw_frame(&raw, F_SETTINGS, 0, 0, no_window, 6);
	raw_connect(&raw, 1, 0);
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	s = h2_next_request(p.s.h2);
	assert_int_equal(h2_respond(s, ok, 1, false), 0);
	before = bufpool_bytes(p.pool, BUF_KINDS);
	stream_send(&p, s, 0, 256 * KIB);
	for (int i = 0; i < 50; i++) {
		raw_frame(&raw, F_PING, 0, 0, "12345678", 8);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		server_says(&p);
	}
	assert_int_equal(p.from_s.frames[F_DATA], 0);
	assert_int_equal(s->ep.tx_pending, 256 * KIB);
	assert_true(bufpool_bytes(p.pool, BUF_KINDS) - before <= 300 * KIB);
	stream_close(s, ERR_TIMEOUT);
	server_says(&p);
	assert_int_equal(bufpool_bytes(p.pool, BUF_KINDS), 0);
	assert_int_equal(p.from_s.rst_code, 2);
	server_end(&p);
}

/* A peer that ignores our window is told so. */
static void test_window_overrun(void **state)
{
	static uint8_t zeros[16384];
	struct h2_stream *s;
	struct h2_pair p;

	(void)state;
	hello(&p);
	raw_connect(&raw, 1, 0);
	assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
	s = h2_next_request(p.s.h2);
	for (int i = 0; i < 40 && !h2_finished(p.s.h2); i++) {
		raw_frame(&raw, F_DATA, 0, 1, zeros, sizeof(zeros));
		ignore_result(raw_feed(&p, &p.s, &raw));
		server_says(&p);
	}
	assert_true(s->ep.rx.bytes <= h2_rig_config.window_start);
	assert_true(p.from_s.frames[F_GOAWAY] + p.from_s.frames[F_RST_STREAM] > 0);
	stream_close(s, ERR_CLOSED);
	server_end(&p);
}

/* Data on streams that were closed or refused keeps the connection window whole. */
static void test_data_after_close(void **state)
{
	static uint8_t zeros[16384];
	struct h2_stream *s;
	struct h2_pair p;

	(void)state;
	hello(&p);
	for (uint32_t i = 0; i < 90; i++) {
		raw_connect(&raw, 1 + 2 * i, 0);
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		s = h2_next_request(p.s.h2);
		stream_close(s, ERR_CLOSED);
		for (int k = 0; k < 4; k++)
			raw_frame(&raw, F_DATA, 0, 1 + 2 * i, zeros, sizeof(zeros));
		assert_int_equal(raw_feed(&p, &p.s, &raw), 0);
		server_says(&p);
	}
	/* 90 * 64 KiB went through a window of 1 MiB */
	assert_int_equal(p.from_s.frames[F_GOAWAY], 0);
	assert_true(p.from_s.frames[F_WINDOW_UPDATE] >= 5);
	server_end(&p);
}

/* Without buffers the output waits; with them it goes on and nothing is missing. */
static void test_starved_output(void **state)
{
	struct h2_stream *c, *s;
	struct buf *hog[64];
	struct h2_pair p;
	uint32_t n = 0;

	(void)state;
	pair_start_with(&p, &h2_rig_config, &h2_rig_config, 2 * MIB);
	pair_stream(&p, &c, &s);
	stream_send(&p, c, 0, 200000);
	while (n < 64 && (hog[n] = bufpool_slab(p.pool)))
		n++;
	while (n < 64 && (hog[n] = bufpool_slot(p.pool)))
		n++;
	assert_true(n < 64);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(carry(&p, &p.c, &p.from_c, &p.s), 0);
		assert_true(h2_starved(p.c.h2));
		assert_true(h2_wants_pull(p.c.h2));
	}
	/* a slot is enough for small frames, not for full ones */
	buf_put(hog[--n]);
	assert_int_equal(h2_ping(p.c.h2), 0);
	carry(&p, &p.c, &p.from_c, &p.s);
	while (n > 0)
		buf_put(hog[--n]);
	pair_run(&p);
	assert_false(h2_starved(p.c.h2));
	assert_int_equal(h2_pongs(p.c.h2), 1);
	assert_int_equal(stream_take(s, 0), 200000);
	assert_int_equal(p.c.error + p.s.error, 0);
	stream_close(c, 0);
	stream_close(s, 0);
	pair_end(&p);
}

/* The stream whose frame waits for a buffer is given up meanwhile. */
static void test_starved_and_closed(void **state)
{
	struct h2_stream *c[2], *s[2];
	struct buf *hog[64];
	struct h2_pair p;
	uint32_t n = 0;

	(void)state;
	pair_start_with(&p, &h2_rig_config, &h2_rig_config, 2 * MIB);
	pair_stream(&p, &c[0], &s[0]);
	pair_stream(&p, &c[1], &s[1]);
	stream_send(&p, c[0], 0, 60000);
	stream_send(&p, c[1], 0, 60000);
	while (n < 64 && (hog[n] = bufpool_slab(p.pool)))
		n++;
	while (n < 64 && (hog[n] = bufpool_slot(p.pool)))
		n++;
	carry(&p, &p.c, &p.from_c, &p.s);
	assert_true(h2_starved(p.c.h2));
	stream_close(c[0], -ECONNRESET);
	while (n > 0)
		buf_put(hog[--n]);
	pair_run(&p);
	assert_int_equal(p.c.error + p.s.error, 0);
	assert_int_equal(s[0]->ep.error, -ECONNRESET);
	assert_int_equal(stream_take(s[1], 0), 60000);
	stream_close(s[0], s[0]->ep.error);
	stream_close(c[1], 0);
	stream_close(s[1], 0);
	pair_end(&p);
}

/* Bytes that cannot be kept end their stream and no other. */
static void test_no_memory_for_bytes(void **state)
{
	struct h2_stream *c[2], *s[2];
	struct h2_pair p;
	struct bufpool *plenty;
	struct buf *hog[64];
	uint32_t n = 0;

	(void)state;
	pair_start_with(&p, &h2_rig_config, &h2_rig_config, 2 * MIB);
	/* the wire has memory of its own */
	plenty = h2_rig_pool(64 * MIB);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_stream(&p, &c[i]), 0);
		pair_run(&p);
		s[i] = h2_next_request(p.s.h2);
	}
	while (n < 64 && (hog[n] = bufpool_slab(p.pool)))
		n++;
	while (n < 64 && (hog[n] = bufpool_slot(p.pool)))
		n++;
	while (n < 64 && (hog[n] = bufpool_heap(p.pool, 600)))
		n++;
	struct bufpool *tight = p.pool;
	p.pool = plenty;
	stream_send(&p, c[0], 0, 1000);
	carry(&p, &p.c, &p.from_c, &p.s);
	pair_run(&p);
	p.pool = tight;
	while (n > 0)
		buf_put(hog[--n]);
	assert_int_equal(s[0]->ep.error, ERR_NOMEM);
	assert_int_equal(c[0]->ep.error, ERR_H2_RESET);
	assert_int_equal(p.c.error + p.s.error, 0);
	assert_int_equal(h2_respond(s[1], ok, 1, false), 0);
	stream_send(&p, c[1], 0, 1000);
	pair_run(&p);
	assert_int_equal(stream_take(s[1], 0), 1000);
	for (int i = 0; i < 2; i++) {
		stream_close(c[i], c[i]->ep.error);
		stream_close(s[i], s[i]->ep.error);
	}
	pair_run(&p);
	pair_end(&p);
	bufpool_free(plenty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_before_taken),
		cmocka_unit_test(test_rapid_reset),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_ignored_frames),
		cmocka_unit_test(test_continuation_flood),
		cmocka_unit_test(test_endless_head),
		cmocka_unit_test(test_malformed_requests),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_too_many_streams),
		cmocka_unit_test(test_zero_window_for_ever),
		cmocka_unit_test(test_window_overrun),
		cmocka_unit_test(test_data_after_close),
		cmocka_unit_test(test_starved_output),
		cmocka_unit_test(test_starved_and_closed),
		cmocka_unit_test(test_no_memory_for_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
