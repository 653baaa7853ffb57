/* SPDX-License-Identifier: Apache-2.0 */
/* Two sessions over memory: exchange, windows, ends in every order, limits that honest peers meet. */
#include "tests/unit/h2_rig.h"

static void test_exchange(void **state)
{
	struct h2_pair p;
	struct h2_stream *c, *s;
	uint32_t got = 0;

	(void)state;
	pair_start(&p);
	pair_stream(&p, &c, &s);
	assert_int_equal(h2_streams(p.c.h2), 1);
	stream_send(&p, c, 0, 100000);
	c->ep.ops->finish(&c->ep);
	c->ep.ops->finish(&c->ep);
	pair_run(&p);
	got = stream_take(s, 0);
	assert_int_equal(got, 100000);
	assert_true(s->ep.eof);
	assert_false(c->ep.eof);
	/* the other direction is still open */
	stream_send(&p, s, 0, 5000);
	pair_run(&p);
	assert_int_equal(stream_take(c, 0), 5000);
	s->ep.ops->finish(&s->ep);
	pair_run(&p);
	assert_true(c->ep.eof);
	assert_int_equal(c->ep.error + s->ep.error, 0);
	assert_false(c->ep.tx_broken || s->ep.tx_broken);
	assert_int_equal(h2_streams(p.c.h2) + h2_streams(p.s.h2), 0);
	stream_close(c, 0);
	stream_close(s, 0);
	assert_int_equal(h2_buffered(p.s.h2) + h2_unsent(p.s.h2), 0);
	pair_end(&p);
}

/* One window after the other, read at that pace. */
static void windows(struct h2_pair *p, struct h2_stream *c, struct h2_stream *s, int rounds,
		    uint64_t pace_ns)
{
	for (int i = 0; i < rounds; i++) {
		stream_send(p, c, 0, s->window);
		pair_run(p);
		p->now_ns += pace_ns;
		stream_take(s, 0);
		/* time reaches a session with the bytes it receives */
		pair_run(p);
	}
	bufq_fini(&s->ep.rx);
}

static void test_windows_grow_with_need(void **state)
{
	struct h2_pair p;
	struct h2_stream *c, *s;

	(void)state;
	pair_start(&p);
	pair_stream(&p, &c, &s);
	windows(&p, c, s, 8, 500 * NS_PER_MS);
	assert_int_equal(s->window, h2_rig_config.window_start);
	windows(&p, c, s, 3, NS_PER_MS);
	assert_true(s->window > h2_rig_config.window_start);
	windows(&p, c, s, 20, NS_PER_MS);
	assert_int_equal(s->window, h2_rig_config.window_max);
	/* what the sender may have outstanding is that, no more */
	stream_send(&p, c, 0, 12 * MIB);
	pair_run(&p);
	assert_true(s->ep.rx.bytes <= h2_rig_config.window_max);
	assert_true(s->ep.rx.bytes > h2_rig_config.window_max / 2);
	stream_close(c, ERR_CLOSED);
	stream_close(s, ERR_CLOSED);
	pair_end(&p);
}

/* Streams that nobody reads do not stop one that is read, until the session buffers what it may. */
static void test_connection_window(void **state)
{
	struct h2_config small = h2_rig_config;
	struct h2_stream *c[24], *s[24];
	struct h2_pair p;

	(void)state;
	small.buffered_max = 4 * MIB;
	small.conn_window_max = small.conn_window_start;
	pair_start_with(&p, &h2_rig_config, &small, 256 * MIB);
	for (int i = 0; i < 24; i++)
		pair_stream(&p, &c[i], &s[i]);
	for (int i = 0; i < 8; i++)
		stream_send(&p, c[i], 0, MIB);
	pair_run(&p);
	assert_int_equal(h2_buffered(p.s.h2), 8 * small.window_start);
	for (int i = 0; i < 30; i++) {
		stream_send(&p, c[23], 0, small.window_start);
		pair_run(&p);
		assert_int_equal(stream_take(s[23], 0), small.window_start);
		pair_run(&p);
	}
	for (int i = 8; i < 23; i++)
		stream_send(&p, c[i], 0, MIB);
	pair_run(&p);
	assert_true(h2_buffered(p.s.h2) >= small.buffered_max);
	assert_true(h2_buffered(p.s.h2) <= small.buffered_max + small.conn_window_start);
	/* and it goes on as soon as somebody reads */
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 23; i++)
			bufq_fini(&s[i]->ep.rx), s[i]->ep.ops->credit(&s[i]->ep, s[i]->uncredited);
		pair_run(&p);
	}
	assert_int_equal(h2_unsent(p.c.h2), 0);
	for (int i = 0; i < 24; i++) {
		stream_close(c[i], ERR_CLOSED);
		stream_close(s[i], ERR_CLOSED);
	}
	pair_end(&p);
}

/* A stream that is closed unread gives its part of the connection window back. */
static void test_closed_unread(void **state)
{
	struct h2_stream *c, *s;
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	for (int i = 0; i < 40; i++) {
		pair_stream(&p, &c, &s);
		stream_send(&p, c, 0, 256 * KIB);
		pair_run(&p);
		assert_int_equal(s->ep.rx.bytes, 256 * KIB);
		stream_close(s, -ECONNRESET);
		pair_run(&p);
		assert_int_equal(c->ep.error, -ECONNRESET);
		stream_close(c, c->ep.error);
	}
	assert_int_equal(h2_buffered(p.s.h2), 0);
	assert_int_equal(h2_streams(p.s.h2), 0);
	pair_end(&p);
}

static void test_head_too_large(void **state)
{
	struct h2_config strict = h2_rig_config;
	struct header head[] = {{STR(":method"), STR("CONNECT")},
				{STR(":authority"), STR("10.0.0.1:80")},
				{STR("baggage"), {0}}};
	struct header no[] = {{STR(":status"), STR("431")}};
	static char value[40000];
	struct h2_stream *c, *s;
	struct h2_pair p;

	(void)state;
	memset(value, 'a', sizeof(value));
	strict.header_list_max = 4096;
	pair_start_with(&p, &h2_rig_config, &strict, 256 * MIB);
	head[2].value = (struct str){value, sizeof(value)};
	assert_int_equal(h2_open(p.c.h2, head, 3, &c), 0);
	pair_run(&p);
	s = h2_next_request(p.s.h2);
	assert_non_null(s);
	assert_true(s->head->too_large);
	assert_int_equal(s->head->count, 2);
	assert_int_equal(h2_respond(s, no, 1, true), 0);
	stream_close(s, 0);
	pair_run(&p);
	assert_int_equal(c->status, 431);
	assert_false(c->ep.open);
	stream_close(c, 0);
	pair_run(&p);
	/* others are served as before */
	pair_stream(&p, &c, &s);
	stream_close(c, 0);
	stream_close(s, 0);
	pair_run(&p);
	assert_int_equal(p.c.error + p.s.error, 0);
	pair_end(&p);
}

/* An answer with END_STREAM while the request body is open: the response arrives, then the body is refused. */
static void test_response_before_request_end(void **state)
{
	struct header no[] = {{STR(":status"), STR("503")}};
	struct h2_stream *c, *s;
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	assert_int_equal(open_stream(&p, &c), 0);
	stream_send(&p, c, 0, 10000);
	pair_run(&p);
	s = h2_next_request(p.s.h2);
	assert_int_equal(h2_respond(s, no, 1, true), 0);
	stream_close(s, 0);
	pair_run(&p);
	assert_int_equal(c->status, 503);
	assert_int_equal(c->ep.error, 0);
	assert_true(c->ep.eof);
	assert_true(c->ep.tx_broken);
	assert_int_equal(p.from_s.rst_code, 0);
	assert_int_equal(h2_streams(p.c.h2) + h2_streams(p.s.h2), 0);
	stream_close(c, 0);
	pair_end(&p);
}

/* Contract section 5.5: what the reader and the writer make of each code. */
static void test_reset_codes(void **state)
{
	static const struct {
		int reason;
		bool eof;
		int error;
	} cases[] = {
		{ERR_CLOSED, true, 0}, /* CANCEL */
		{ERR_DRAINED, true, 0},
		{-ECONNRESET, false, -ECONNRESET}, /* CONNECT_ERROR */
		{ERR_TIMEOUT, false, -ECONNRESET}, /* INTERNAL_ERROR */
		{ERR_NOMEM, false, ERR_H2_RESET},  /* ENHANCE_YOUR_CALM */
	};
	struct h2_stream *c, *s;
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pair_stream(&p, &c, &s);
		stream_send(&p, c, 0, 1000);
		stream_close(s, cases[i].reason);
		pair_run(&p);
		assert_int_equal(c->ep.eof, cases[i].eof);
		assert_int_equal(c->ep.tx_broken, cases[i].eof);
		assert_int_equal(c->ep.error, cases[i].error);
		assert_int_equal(c->ep.tx_pending, 0);
		/* what is said from now on goes nowhere, and costs nothing */
		stream_send(&p, c, 0, 5000);
		c->ep.ops->finish(&c->ep);
		assert_int_equal(h2_unsent(p.c.h2), 0);
		stream_close(c, c->ep.error);
	}
	pair_end(&p);
}

enum { USER_CLIENT, USER_SERVER, SESSION_CLIENT, SESSION_SERVER, EVENTS };

static void end_one(struct h2_pair *p, struct h2_stream **c, struct h2_stream **s, int event,
		    int reason)
{
	switch (event) {
	case USER_CLIENT:
		stream_close(*c, reason);
		*c = NULL;
		break;
	case USER_SERVER:
		stream_close(*s, reason);
		*s = NULL;
		break;
	case SESSION_CLIENT: side_end(&p->c, ERR_CLOSED); break;
	default: side_end(&p->s, ERR_CLOSED);
	}
}

/* The users and the sessions end in every order, gracefully or not, with and without the other side hearing of it. */
static void test_ends_in_every_order(void **state)
{
	static const int reasons[] = {0, ERR_CLOSED, -ECONNRESET};
	struct h2_pair p;

	(void)state;
	for (int order = 0; order < EVENTS * EVENTS * EVENTS * EVENTS; order++) {
		int ev[4] = {order % 4, order / 4 % 4, order / 16 % 4, order / 64};
		unsigned seen = 1U << ev[0] | 1U << ev[1] | 1U << ev[2] | 1U << ev[3];

		for (unsigned variant = 0; seen == 15 && variant < 12; variant++) {
			struct h2_stream *c, *s;

			pair_start(&p);
			pair_stream(&p, &c, &s);
			stream_send(&p, c, 0, 300000);
			stream_send(&p, s, 0, 300000);
			if (variant & 1)
				pair_run(&p);
			for (int i = 0; i < 4; i++) {
				end_one(&p, &c, &s, ev[i], reasons[variant / 4]);
				if (variant & 2)
					pair_run(&p);
			}
			pair_end(&p);
		}
	}
}

static void test_goaway(void **state)
{
	struct h2_stream *c[2], *s[1], *none;
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	pair_stream(&p, &c[0], &s[0]);
	assert_int_equal(open_stream(&p, &c[1]), 0);
	/* the server has not seen the second stream when it says which was the last */
	carry(&p, &p.c, &p.from_c, NULL);
	assert_int_equal(h2_goaway(p.s.h2, 0), 0);
	assert_true(h2_going_away(p.s.h2));
	carry(&p, &p.s, &p.from_s, &p.c);
	assert_true(h2_going_away(p.c.h2));
	assert_int_equal(c[1]->ep.error, ERR_H2_RESET);
	assert_int_equal(open_stream(&p, &none), ERR_H2_GOAWAY);
	stream_send(&p, c[0], 0, 1000);
	pair_run(&p);
	assert_int_equal(stream_take(s[0], 0), 1000);
	assert_false(h2_finished(p.c.h2));
	stream_close(c[1], c[1]->ep.error);
	stream_close(c[0], 0);
	stream_close(s[0], 0);
	pair_run(&p);
	assert_true(h2_finished(p.c.h2));
	assert_true(h2_finished(p.s.h2));
	assert_null(h2_next_request(p.s.h2));
	pair_end(&p);
}

static void test_graceful_shutdown(void **state)
{
	struct h2_stream *c, *s;
	struct h2_pair p;
	uint32_t pongs;

	(void)state;
	pair_start(&p);
	pair_stream(&p, &c, &s);
	pongs = h2_pongs(p.s.h2);
	assert_int_equal(h2_shutdown_notice(p.s.h2), 0);
	pair_run(&p);
	assert_int_equal(p.from_s.goaway_last, INT32_MAX);
	assert_int_equal(h2_pongs(p.s.h2), pongs + 1);
	assert_int_equal(h2_goaway(p.s.h2, 0), 0);
	pair_run(&p);
	assert_int_equal(p.from_s.goaway_last, 1);
	assert_int_equal(c->ep.error, 0);
	stream_close(c, 0);
	stream_close(s, 0);
	pair_run(&p);
	assert_true(h2_finished(p.s.h2));
	pair_end(&p);
}

/* Requests beyond the peer's limit wait; one that is given up meanwhile was never said. */
static void test_streams_wait_for_the_peer(void **state)
{
	struct header ok[] = {{STR(":status"), STR("200")}};
	struct h2_config few = h2_rig_config;
	struct h2_stream *c[4], *s[4];
	struct h2_pair p;

	(void)state;
	few.streams_max = 2;
	pair_start_with(&p, &h2_rig_config, &few, 256 * MIB);
	pair_run(&p);
	assert_int_equal(h2_peer_streams_max(p.c.h2), 2);
	for (int i = 0; i < 4; i++)
		assert_int_equal(open_stream(&p, &c[i]), 0);
	assert_int_equal(h2_streams(p.c.h2), 4);
	pair_run(&p);
	for (int i = 0; i < 2; i++) {
		s[i] = h2_next_request(p.s.h2);
		assert_non_null(s[i]);
		assert_int_equal(h2_respond(s[i], ok, 1, false), 0);
	}
	assert_null(h2_next_request(p.s.h2));
	stream_close(c[2], ERR_CLOSED);
	stream_close(c[0], 0);
	stream_close(s[0], 0);
	pair_run(&p);
	s[3] = h2_next_request(p.s.h2);
	assert_non_null(s[3]);
	assert_null(h2_next_request(p.s.h2));
	stream_close(c[1], 0);
	stream_close(s[1], 0);
	stream_close(c[3], ERR_CLOSED);
	stream_close(s[3], ERR_CLOSED);
	pair_run(&p);
	assert_int_equal(h2_streams(p.c.h2) + h2_streams(p.s.h2), 0);
	pair_end(&p);
}

/* Bytes that come before somebody takes them must not keep a receive slot each. */
static void test_data_before_attach(void **state)
{
	struct h2_stream *c, *s;
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	assert_int_equal(open_stream(&p, &c), 0);
	for (int i = 0; i < 10; i++) {
		stream_send(&p, c, (uint32_t)i * 100, 100);
		pair_run(&p);
	}
	s = h2_next_request(p.s.h2);
	assert_int_equal(s->ep.rx.bytes, 1000);
	assert_int_equal(bufpool_bytes(p.pool, BUF_SLOT), 0);
	assert_int_equal(bufpool_bytes(p.pool, BUF_SLAB), 0);
	assert_int_equal(stream_take(s, 0), 1000);
	stream_close(c, ERR_CLOSED);
	stream_close(s, ERR_CLOSED);
	pair_end(&p);
}

/* A pull ends after a turn's bytes, and each stream that waits gets its share of it. */
static void test_pull_is_bounded_and_fair(void **state)
{
	struct h2_stream *c[12], *s[12];
	struct h2_pair p;

	(void)state;
	pair_start(&p);
	for (int i = 0; i < 12; i++)
		pair_stream(&p, &c[i], &s[i]);
	for (int i = 0; i < 12; i++)
		stream_send(&p, c[i], 0, 256 * KIB);
	for (int pull = 1; pull <= 9; pull++) {
		p.pulled_max = 0;
		carry(&p, &p.c, &p.from_c, &p.s);
		assert_in_range(p.pulled_max, RECORD_TURN_BYTES,
				RECORD_TURN_BYTES + 2 * TLS_RECORD_MAX);
		carry(&p, &p.s, &p.from_s, &p.c); /* the connection's window */
		if (pull % 3)
			continue;
		for (int i = 0; i < 12; i++)
			assert_in_range(s[i]->ep.rx.bytes, (pull / 3) * 48 * KIB,
					(pull / 3 + 1) * 68 * KIB);
	}
	assert_true(h2_wants_pull(p.c.h2));
	pair_run(&p);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(stream_take(s[i], 0), 256 * KIB);
		stream_close(c[i], 0);
		stream_close(s[i], 0);
	}
	pair_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_windows_grow_with_need),
		cmocka_unit_test(test_connection_window),
		cmocka_unit_test(test_closed_unread),
		cmocka_unit_test(test_head_too_large),
		cmocka_unit_test(test_response_before_request_end),
		cmocka_unit_test(test_reset_codes),
		cmocka_unit_test(test_ends_in_every_order),
		cmocka_unit_test(test_goaway),
		cmocka_unit_test(test_graceful_shutdown),
		cmocka_unit_test(test_streams_wait_for_the_peer),
		cmocka_unit_test(test_data_before_attach),
		cmocka_unit_test(test_pull_is_bounded_and_fair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
