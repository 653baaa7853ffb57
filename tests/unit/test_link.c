/* SPDX-License-Identifier: Apache-2.0 */
/* Links and their streams over real sockets, on both backends: bytes, ends, resets, back pressure, nesting. */
#include "tests/unit/link_rig.h"

static void test_echo(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s;
	struct talker tc = {.to_send = 3 << 20, .finish_at_end = true}, ts = {.echo = true};

	link_rig_start(&r, *state);
	assert_string_equal(link_peer(r.server)->identity, RIG_CLIENT);
	assert_string_equal(link_peer(r.client)->identity, RIG_SERVER);
	link_rig_stream(&r, &c, &s);
	talker_start(&ts, r.io.w, &s->ep);
	talker_start(&tc, r.io.w, &c->ep);
	UNTIL(&r.io, tc.eof_seen);
	assert_int_equal(tc.got, 3 << 20);
	assert_int_equal(tc.wrong + ts.wrong, 0);
	talker_close(&tc, 0);
	talker_close(&ts, 0);
	UNTIL(&r.io, link_streams(r.client) == 0 && link_streams(r.server) == 0);
	link_rig_end(&r);
}

static void test_half_close_both_ways(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s;
	struct talker tc = {0}, ts = {0};

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	talker_start(&ts, r.io.w, &s->ep);
	talker_start(&tc, r.io.w, &c->ep);
	s->ep.ops->finish(&s->ep);
	UNTIL(&r.io, tc.eof_seen);
	assert_false(ts.eof_seen);
	/* the other direction still carries bytes */
	tc.to_send = 100000;
	tc.finish_at_end = true;
	talker_send(&tc);
	UNTIL(&r.io, ts.eof_seen);
	assert_int_equal(ts.got, 100000);
	assert_int_equal(tc.error + ts.error, 0);
	talker_close(&tc, 0);
	talker_close(&ts, 0);
	link_rig_end(&r);
}

static void test_reset_is_not_an_end(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s;
	struct talker tc = {0}, ts = {0};

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	talker_start(&ts, r.io.w, &s->ep);
	talker_start(&tc, r.io.w, &c->ep);
	talker_close(&ts, -ECONNRESET);
	UNTIL(&r.io, tc.error);
	assert_int_equal(tc.error, -ECONNRESET);
	assert_false(tc.ep->eof);
	talker_close(&tc, tc.error);
	link_rig_end(&r);
}

static void test_cancel_reads_as_end(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s;
	struct talker tc = {0}, ts = {0};

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	talker_start(&ts, r.io.w, &s->ep);
	talker_start(&tc, r.io.w, &c->ep);
	talker_close(&ts, ERR_DRAINED); /* RST_STREAM CANCEL */
	UNTIL(&r.io, tc.eof_seen);
	assert_int_equal(tc.error, 0);
	assert_true(tc.ep->tx_broken);
	talker_close(&tc, 0);
	link_rig_end(&r);
}

/* A reader that does not read stops its sender within the window, and nobody else. */
static void test_back_pressure_is_per_stream(void **state)
{
	struct link_rig r;
	struct h2_stream *c[3], *s[3];
	struct talker tc[3] = {{.to_send = 32 << 20}, {.to_send = 32 << 20}, {.to_send = 1 << 20}};
	struct talker ts[3] = {{.hold = true}, {.hold = true}, {0}};

	link_rig_start(&r, *state);
	for (int i = 0; i < 3; i++)
		link_rig_stream(&r, &c[i], &s[i]);
	for (int i = 0; i < 3; i++) {
		talker_start(&ts[i], r.io.w, &s[i]->ep);
		talker_start(&tc[i], r.io.w, &c[i]->ep);
	}
	UNTIL(&r.io, ts[2].got == 1 << 20);
	rig_idle(&r.io, 50);
	assert_true(s[0]->ep.rx.bytes <= 256 * 1024);
	assert_true(s[0]->ep.rx.bytes > 128 * 1024);
	assert_true(h2_buffered(r.server->h2) <= 2 * 256 * 1024);
	assert_true(tc[0].sent <= 256 * 1024 + 256 * 1024 + 16384);
	ts[0].hold = false;
	task_ready(&r.io.w->run, &ts[0].task);
	UNTIL(&r.io, ts[0].got == 32 << 20);
	assert_int_equal(ts[0].wrong + ts[2].wrong, 0);
	for (int i = 0; i < 3; i++) {
		talker_close(&tc[i], ERR_CLOSED);
		talker_close(&ts[i], ERR_CLOSED);
	}
	link_rig_end(&r);
}

static void test_streams_outlive_the_link(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s;
	struct talker tc = {0}, ts = {.hold = true};

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	talker_start(&ts, r.io.w, &s->ep);
	tc.to_send = 50000;
	talker_start(&tc, r.io.w, &c->ep);
	UNTIL(&r.io, s->ep.rx.bytes == 50000);
	link_free(r.server);
	r.server = NULL;
	worker_turn(r.io.w, 0);
	assert_int_equal(ts.error, ERR_CLOSED);
	s->ep.ops->credit(&s->ep, 50000);
	talker_close(&ts, ts.error);
	UNTIL(&r.io, r.client->state == LINK_DEAD);
	UNTIL(&r.io, tc.error != 0);
	talker_close(&tc, tc.error);
	link_rig_end(&r);
}

static void test_wrong_identity(void **state)
{
	struct link_rig r;

	link_rig_start_wanting(&r, *state, "spiffe://td/ns/b/sa/other");
	UNTIL(&r.io, r.client->state == LINK_DEAD);
	assert_int_equal(r.client->error, ERR_PEER_IDENTITY);
	assert_non_null(strstr(r.client->error_text, "spiffe://td/ns/b/sa/other"));
	assert_non_null(strstr(r.client->error_text, RIG_SERVER));
	UNTIL(&r.io, r.server && r.server->state == LINK_DEAD);
	link_rig_end(&r);
}

static void test_stalled_handshake_ends(void **state)
{
	struct link_rig r;
	int fd;

	link_rig_start(&r, *state);
	fd = peer_connect(&r.io.at);
	UNTIL(&r.io, r.server->state == LINK_HANDSHAKE);
	UNTIL(&r.io, r.server->state == LINK_DEAD);
	assert_int_equal(r.server->error, ERR_TIMEOUT);
	close(fd);
	link_rig_end(&r);
}

static void test_garbage_instead_of_tls(void **state)
{
	struct link_rig r;
	int fd;

	link_rig_start(&r, *state);
	fd = peer_connect(&r.io.at);
	assert_int_equal(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
	UNTIL(&r.io, r.server->state == LINK_HANDSHAKE || r.server->state == LINK_DEAD);
	UNTIL(&r.io, r.server->state == LINK_DEAD);
	assert_int_equal(r.server->error, ERR_TLS_HANDSHAKE);
	close(fd);
	link_rig_end(&r);
}

static void test_drain_lets_streams_finish(void **state)
{
	struct link_rig r;
	struct h2_stream *c, *s, *none;
	struct talker tc = {.to_send = 1 << 20, .finish_at_end = true}, ts = {.echo = true};
	struct header head[] = {{STR(":method"), STR("CONNECT")},
				{STR(":authority"), STR("10.0.0.1:80")}};

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	link_drain(r.server);
	UNTIL(&r.io, r.client->state == LINK_DRAINING);
	assert_true(link_open(r.client, head, 2, &none) < 0);
	talker_start(&ts, r.io.w, &s->ep);
	talker_start(&tc, r.io.w, &c->ep);
	UNTIL(&r.io, tc.eof_seen);
	assert_int_equal(tc.got, 1 << 20);
	talker_close(&tc, 0);
	talker_close(&ts, 0);
	UNTIL(&r.io, r.server->state == LINK_DEAD && r.client->state == LINK_DEAD);
	assert_int_equal(r.server->error, 0);
	link_rig_end(&r);
}

/* Hand-over: a client in the middle of its handshake is not lost, it learns that it should go elsewhere next. */
static void test_drain_ends_the_handshake_first(void **state)
{
	struct link_rig r;

	link_rig_start_wanting(&r, *state, RIG_SERVER);
	UNTIL(&r.io, r.server != NULL);
	assert_int_equal(r.server->state, LINK_HANDSHAKE);
	link_drain(r.server);
	assert_int_equal(r.server->state, LINK_HANDSHAKE);
	UNTIL(&r.io, r.client->established_ns != 0);
	UNTIL(&r.io, r.server->state == LINK_DEAD && r.client->state == LINK_DEAD);
	assert_int_equal(r.server->error, 0);
	assert_int_equal(r.client->error, 0);
	link_rig_end(&r);
}

/* A tunnel in a tunnel: the inner link's transport is a stream of the outer one. */
static void test_nested(void **state)
{
	struct link_rig r, inner = {0};
	struct h2_stream *c, *s, *ic, *is;
	struct talker tc = {.to_send = 2 << 20, .finish_at_end = true}, ts = {.echo = true};
	struct link_config server = rig_link_config;
	struct str want = str_of(RIG_SERVER);

	link_rig_start(&r, *state);
	link_rig_stream(&r, &c, &s);
	inner.io.w = r.io.w;
	task_init(&inner.client_task, rig_client_changed);
	task_init(&inner.server_task, rig_server_changed);
	server.h2.server = true;
	inner.server = link_server(r.io.w, &s->ep, r.sctx, &server);
	inner.client = link_client(r.io.w, &c->ep, r.cctx, &want, 1, &rig_link_config);
	link_attach(inner.server, &r.io.w->run, &inner.server_task);
	link_attach(inner.client, &r.io.w->run, &inner.client_task);
	UNTIL(&r.io, inner.client->state == LINK_OPEN && inner.server->state == LINK_OPEN);
	link_rig_stream(&inner, &ic, &is);
	talker_start(&ts, r.io.w, &is->ep);
	talker_start(&tc, r.io.w, &ic->ep);
	UNTIL(&r.io, tc.eof_seen);
	assert_int_equal(tc.got, 2 << 20);
	assert_int_equal(tc.wrong, 0);
	talker_close(&tc, 0);
	talker_close(&ts, 0);
	link_free(inner.client);
	UNTIL(&r.io, inner.server->state == LINK_DEAD);
	link_free(inner.server);
	UNTIL(&r.io, link_streams(r.client) == 0);
	link_rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_echo),
		BOTH(test_half_close_both_ways),
		BOTH(test_reset_is_not_an_end),
		BOTH(test_cancel_reads_as_end),
		BOTH(test_back_pressure_is_per_stream),
		BOTH(test_streams_outlive_the_link),
		BOTH(test_wrong_identity),
		BOTH(test_stalled_handshake_ends),
		BOTH(test_garbage_instead_of_tls),
		BOTH(test_drain_lets_streams_finish),
		BOTH(test_drain_ends_the_handshake_first),
		BOTH(test_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
