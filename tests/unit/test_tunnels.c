/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of client links: contract section 5.4 and the pool rows of section 13, over real sockets, on both backends. */
#include "tests/unit/tunnels_rig.h"

static void test_connections_reused(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[3] = {0};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	for (int i = 0; i < 3; i++) {
		ask_for(&r, &a[i], &k);
		UNTIL(&r.io, all_open(&a[i], 1));
		leave(&a[i], 0);
	}
	assert_int_equal(r.server_count, 1);
	assert_int_equal(r.sockets, 1);
	assert_int_equal(r.reports, 1);
	assert_int_equal(tunnels_count(r.pool), 1);
	pool_end(&r);
}

/* Many who ask at the same time share one attempt. */
static void test_single_pool(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[20] = {0};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	for (int i = 0; i < 20; i++)
		ask_for(&r, &a[i], &k);
	UNTIL(&r.io, all_open(a, 20));
	assert_int_equal(r.server_count, 1);
	assert_int_equal(link_streams(r.servers[0].l), 20);
	for (int i = 0; i < 20; i++)
		leave(&a[i], 0);
	pool_end(&r);
}

static void test_unique_keys_have_unique_connections(void **state)
{
	struct pool_rig r;
	struct scope scope, other;
	struct asker a[6] = {0};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k[6];
	for (int i = 0; i < 6; i++)
		k[i] = target(&r, &scope);
	k[1].src_ip.b[3] = 2;
	k[2].ctx = r.cctx2;
	k[3].sans[1] = r.other_san;
	k[3].sans_count = 2;
	k[4].sans[0] = r.other_san;
	k[4].sans[1] = r.san;
	k[4].sans_count = 2;
	k[5] = target(&r, &other);
	for (int i = 0; i < 6; i++)
		ask_for(&r, &a[i], &k[i]);
	UNTIL(&r.io, all_open(a, 6));
	assert_int_equal(r.server_count, 6);
	for (int i = 0; i < 6; i++)
		leave(&a[i], 0);
	pool_end(&r);
}

/* Waiters beyond the limit open connections of their own, no more than are needed. */
static void test_connection_limits(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[5] = {0};

	pool_start(&r, *state, 2, 60000);
	struct tunnel_target k = target(&r, &scope);
	for (int i = 0; i < 5; i++)
		ask_for(&r, &a[i], &k);
	UNTIL(&r.io, all_open(a, 5));
	assert_int_equal(r.server_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(link_streams(r.servers[i].l) <= 2);
	for (int i = 0; i < 5; i++)
		leave(&a[i], 0);
	pool_end(&r);
}

static void test_server_goaway(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[2] = {0};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, all_open(a, 1));
	link_drain(r.servers[0].l);
	UNTIL(&r.io, r.servers[0].l->goaway_sent);
	ask_for(&r, &a[1], &k);
	UNTIL(&r.io, all_open(&a[1], 1));
	assert_int_equal(r.server_count, 2);
	/* what was open goes on to its own end */
	a[0].to_send = 100000;
	task_ready(&r.io.w->run, &a[0].moved);
	UNTIL(&r.io, a[0].eof);
	assert_int_equal(a[0].got, 100000);
	leave(&a[0], 0);
	UNTIL(&r.io, r.servers[0].l->state == LINK_DEAD);
	UNTIL(&r.io, tunnels_count(r.pool) == 1);
	leave(&a[1], 0);
	pool_end(&r);
}

/* A server that opens and goes away at once is not tried for ever. */
static void test_goaway_at_once(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a = {0};
	uint32_t drained = 0;

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a, &k);
	for (uint64_t end = rig_ms() + 5000; !a.answers && rig_ms() < end;) {
		worker_turn(r.io.w, NS_PER_MS);
		for (; drained < r.server_count && r.servers[drained].l->h2; drained++)
			assert_int_equal(h2_goaway(r.servers[drained].l->h2, 0), 0);
	}
	assert_int_equal(a.answers, 1);
	assert_true(r.server_count <= 5);
	tunnel_cancel(&a.req);
	leave(&a, 0);
	pool_end(&r);
}

/* More than a window arrives while nobody reads; nothing is lost and others are not held up. */
static void test_read_buffering(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[2] = {{.to_send = 1 << 20}, {.to_send = 1 << 20}};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a[0], &k);
	ask_for(&r, &a[1], &k);
	UNTIL(&r.io, all_open(a, 2));
	/* the first stops reading */
	a[0].s->ep.user = NULL;
	task_cancel(&a[0].moved);
	UNTIL(&r.io, a[1].eof);
	assert_int_equal(a[1].got, 1 << 20);
	assert_true(a[0].s->ep.rx.bytes <= 256 * 1024);
	endpoint_attach(&a[0].s->ep, &r.io.w->run, &a[0].moved);
	UNTIL(&r.io, a[0].eof);
	assert_int_equal(a[0].got, 1 << 20);
	assert_int_equal(a[0].wrong + a[1].wrong, 0);
	leave(&a[0], 0);
	leave(&a[1], 0);
	pool_end(&r);
}

static void test_idle_eviction(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a = {0};

	pool_start(&r, *state, 100, 50);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a, &k);
	UNTIL(&r.io, all_open(&a, 1));
	leave(&a, 0);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	UNTIL(&r.io, live_servers(&r) == 0);
	ask_for(&r, &a, &k);
	UNTIL(&r.io, all_open(&a, 1));
	assert_int_equal(r.server_count, 2);
	leave(&a, 0);
	pool_end(&r);
}

/* A stream that stays keeps its connection, but new ones do not find it any more. */
static void test_idle_eviction_with_persistent(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[2] = {0};

	pool_start(&r, *state, 100, 50);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, all_open(a, 1));
	rig_idle(&r.io, 120);
	assert_int_equal(tunnels_count(r.pool), 1);
	assert_int_equal(live_servers(&r), 1);
	ask_for(&r, &a[1], &k);
	UNTIL(&r.io, all_open(&a[1], 1));
	assert_int_equal(r.server_count, 2);
	a[0].to_send = 1000;
	task_ready(&r.io.w->run, &a[0].moved);
	UNTIL(&r.io, a[0].eof);
	assert_int_equal(a[0].got, 1000);
	leave(&a[0], 0);
	leave(&a[1], 0);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	pool_end(&r);
}

static void test_failure_answers_all(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[3] = {0};
	struct addr nowhere;

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	/* wrong peer */
	k.sans[0] = r.other_san;
	for (int i = 0; i < 3; i++)
		ask_for(&r, &a[i], &k);
	UNTIL(&r.io, a[0].answers && a[1].answers && a[2].answers);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(a[i].req.error, ERR_PEER_IDENTITY);
		assert_non_null(strstr(a[i].req.error_text, RIG_SERVER));
		tunnel_cancel(&a[i].req);
	}
	assert_int_equal(r.failures, 1);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	/* nobody listens */
	k = target(&r, &scope);
	assert_int_equal(addr_parse(STR("127.0.0.1:1"), &nowhere), 0);
	k.dst = nowhere;
	ask_for(&r, &a[0], &k);
	ask_for(&r, &a[1], &k);
	UNTIL(&r.io, a[0].answers && a[1].answers);
	assert_int_equal(a[0].req.error, -ECONNREFUSED);
	assert_int_equal(a[1].req.error, -ECONNREFUSED);
	/* no socket: answered too, and not within the call */
	r.socket_error = -EMFILE;
	ask_for(&r, &a[2], &k);
	UNTIL(&r.io, a[2].answers);
	assert_int_equal(a[2].req.error, -EMFILE);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	pool_end(&r);
}

static void test_cancel(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[3] = {{.hold = true}, {.hold = true}};

	pool_start(&r, *state, 100, 50);
	struct tunnel_target k = target(&r, &scope);
	/* before there is a connection: the attempt goes on, and is evicted when nobody wants it */
	ask_for(&r, &a[0], &k);
	tunnel_cancel(&a[0].req);
	tunnel_cancel(&a[0].req);
	UNTIL(&r.io, r.server_count == 1);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	assert_int_equal(a[0].answers, 0);
	/* when answered: the room comes back */
	ask_for(&r, &a[0], &k);
	ask_for(&r, &a[1], &k);
	UNTIL(&r.io, a[0].answers && a[1].answers);
	tunnel_cancel(&a[0].req);
	/* the tunnel dies between answer and use */
	tunnels_kill(r.pool, &scope, ERR_CLOSED);
	worker_turn(r.io.w, 0);
	answered(&a[1].task);
	a[1].hold = false;
	answered(&a[1].task);
	assert_int_equal(a[1].open_error, ERR_CLOSED);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	/* answered and cancelled on a tunnel that is out of the pool: it ends */
	a[0].hold = true;
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, a[0].answers);
	tunnels_drain(r.pool, &scope);
	rig_idle(&r.io, 20);
	assert_int_equal(tunnels_count(r.pool), 1);
	tunnel_cancel(&a[0].req);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	pool_end(&r);
}

static void test_scope_drain(void **state)
{
	struct pool_rig r;
	struct scope scope, other;
	struct asker a[4] = {{.to_send = 50000}};

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope), k2 = target(&r, &other);
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, all_open(a, 1));
	ask_for(&r, &a[1], &k2);
	UNTIL(&r.io, all_open(&a[1], 1));
	tunnels_drain(r.pool, &scope);
	UNTIL(&r.io, a[0].eof);
	assert_int_equal(a[0].got, 50000);
	leave(&a[0], 0);
	UNTIL(&r.io, tunnels_count(r.pool) == 1);
	assert_int_equal(a[1].s->ep.error, 0);
	/* who waits for an attempt of the scope is served; who left before does not keep it */
	k.src_ip.b[3] = 7;
	ask_for(&r, &a[2], &k);
	k.src_ip.b[3] = 8;
	ask_for(&r, &a[3], &k);
	tunnels_drain(r.pool, &scope);
	tunnel_cancel(&a[3].req);
	UNTIL(&r.io, all_open(&a[2], 1));
	UNTIL(&r.io, tunnels_count(r.pool) == 2);
	leave(&a[2], 0);
	UNTIL(&r.io, tunnels_count(r.pool) == 1);
	leave(&a[1], 0);
	pool_end(&r);
}

static void test_scope_kill(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[3] = {0};

	pool_start(&r, *state, 1, 60000);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, all_open(a, 1));
	ask_for(&r, &a[1], &k); /* waits for a second connection */
	tunnels_kill(r.pool, &scope, ERR_DRAINED);
	UNTIL(&r.io, a[1].answers);
	assert_int_equal(a[1].req.error, ERR_DRAINED);
	assert_int_equal(a[0].s->ep.error, ERR_DRAINED);
	UNTIL(&r.io, tunnels_count(r.pool) == 0);
	leave(&a[0], ERR_DRAINED);
	UNTIL(&r.io, live_servers(&r) == 0);
	pool_end(&r);
}

static bool is_server(void *arg, const struct tls_peer *peer)
{
	++*(uint32_t *)arg;
	return strcmp(peer->identity, RIG_SERVER) == 0;
}

static bool is_nobody(void *arg, const struct tls_peer *peer)
{
	(void)arg;
	return peer == NULL;
}

static void test_judge(void **state)
{
	struct pool_rig r;
	struct scope scope;
	struct asker a[2] = {0};
	uint32_t asked = 0;

	pool_start(&r, *state, 100, 60000);
	struct tunnel_target k = target(&r, &scope);
	ask_for(&r, &a[0], &k);
	UNTIL(&r.io, all_open(a, 1));
	k.src_ip.b[3] = 9;
	ask_for(&r, &a[1], &k); /* in its handshake: nobody to be judged yet */
	assert_int_equal(tunnels_judge(r.pool, is_nobody, NULL, ERR_REVOKED), 0);
	assert_int_equal(tunnels_judge(r.pool, is_server, &asked, ERR_REVOKED), 1);
	assert_int_equal(asked, 1);
	assert_int_equal(a[0].s->ep.error, ERR_REVOKED);
	leave(&a[0], ERR_REVOKED);
	UNTIL(&r.io, all_open(&a[1], 1));
	leave(&a[1], 0);
	pool_end(&r);
}

/* n askers over `sources` keys, all at once, each with an echo of its own; limit `streams`. */
static void stress(const char *backend, uint32_t n, uint32_t sources, uint32_t streams)
{
	static struct asker a[ASKERS];
	struct pool_rig r;
	struct scope scope;
	uint32_t done = 0;

	memset(a, 0, sizeof(a));
	pool_start(&r, backend, streams, 60000);
	for (uint32_t i = 0; i < n; i++) {
		struct tunnel_target k = target(&r, &scope);

		k.src_ip.b[3] = (uint8_t)(i % sources);
		a[i].to_send = 1 + i * 97 % 20000;
		ask_for(&r, &a[i], &k);
		if (i % 7 == 0)
			worker_turn(r.io.w, 0);
	}
	for (uint64_t end = rig_ms() + 30000; done < n && rig_ms() < end;) {
		worker_turn(r.io.w, NS_PER_MS);
		for (uint32_t i = done = 0; i < n; i++) {
			done += a[i].eof;
			if (a[i].eof)
				leave(&a[i], 0);
		}
	}
	assert_int_equal(done, n);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(a[i].got, a[i].to_send);
		assert_int_equal(a[i].wrong, 0);
	}
	assert_true(r.server_count <= sources * ((n / sources + streams - 1) / streams + 1));
	pool_end(&r);
}

static void test_stress_single_source(void **state)
{
	stress(*state, 400, 1, 100);
}

static void test_stress_multiple_source(void **state)
{
	stress(*state, 200, 10, 100);
}

static void test_stress_many_clients_many_sources(void **state)
{
	stress(*state, 600, 6, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_connections_reused),
		BOTH(test_single_pool),
		BOTH(test_unique_keys_have_unique_connections),
		BOTH(test_connection_limits),
		BOTH(test_server_goaway),
		BOTH(test_goaway_at_once),
		BOTH(test_read_buffering),
		BOTH(test_idle_eviction),
		BOTH(test_idle_eviction_with_persistent),
		BOTH(test_failure_answers_all),
		BOTH(test_cancel),
		BOTH(test_scope_drain),
		BOTH(test_scope_kill),
		BOTH(test_judge),
		BOTH(test_stress_single_source),
		BOTH(test_stress_multiple_source),
		BOTH(test_stress_many_clients_many_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
