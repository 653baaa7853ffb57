/* SPDX-License-Identifier: Apache-2.0 */
/* Two endpoints joined: over endpoints that the test moves by hand, and over sockets of the kernel. */
#include "shared/link/relay.h"
#include "tests/unit/io_rig.h"

/* ---- endpoints by hand ---- */

struct fake {
	struct endpoint ep;
	struct bufpool *pool;
	struct bufq sent; /* accepted, and not yet taken by whoever is behind it */
	uint32_t sent_total, credited;
	int close_reason;
	uint32_t closes, finishes;
};

static struct fake *fake_of(struct endpoint *ep)
{
	return container_of(ep, struct fake, ep);
}

static void fake_send(struct endpoint *ep, struct bufq *q)
{
	struct fake *f = fake_of(ep);
	uint32_t n;

	assert_int_equal(f->closes, 0);
	assert_int_equal(f->finishes, 0);
	assert_int_equal(bufq_move(&f->sent, q, UINT32_MAX, &n), 0);
	f->sent_total += n;
	ep->tx_pending = f->sent.bytes;
}

static void fake_finish(struct endpoint *ep)
{
	fake_of(ep)->finishes++;
}

static void fake_credit(struct endpoint *ep, uint32_t n)
{
	assert_int_equal(fake_of(ep)->closes, 0);
	fake_of(ep)->credited += n;
}

static void fake_close(struct endpoint *ep, int reason)
{
	struct fake *f = fake_of(ep);

	f->closes++;
	f->close_reason = reason;
	ep->user = NULL;
	bufq_fini(&ep->rx);
}

static const struct endpoint_ops fake_ops = {fake_send, fake_finish, fake_credit, fake_close};

struct hand {
	struct bufpool *pool;
	struct taskq q;
	struct fake a, b;
	struct relay r;
	struct task done;
	uint32_t dones;
	uint64_t ab, ba;
	int64_t held, held_max;
};

static void hand_done(struct task *task)
{
	container_of(task, struct hand, done)->dones++;
}

static void hand_moved(struct relay *r, uint32_t ab, uint32_t ba, int64_t held)
{
	struct hand *h = container_of(r, struct hand, r);

	h->ab += ab;
	h->ba += ba;
	h->held += held;
	h->held_max = MAX(h->held_max, h->held);
	assert_true(h->held >= 0);
}

static void hand_run(struct hand *h)
{
	while (taskq_run(&h->q))
		;
}

static void hand_start(struct hand *h)
{
	struct bufpool_limits l = {.slots_max = 4, .bytes_max = 16 << 20};

	*h = (struct hand){.pool = bufpool_new(&l)};
	taskq_init(&h->q);
	task_init(&h->done, hand_done);
	h->a.ep.ops = h->b.ep.ops = &fake_ops;
	h->a.ep.open = h->b.ep.open = true;
	relay_start(&h->r, &h->q, &h->a.ep, &h->b.ep, &h->done, hand_moved);
	hand_run(h);
}

static void arrive(struct hand *h, struct fake *f, const char *text)
{
	assert_int_equal(bufq_copy(&f->ep.rx, h->pool, text, strlen(text)), 0);
	endpoint_notify(&f->ep);
	hand_run(h);
}

/* The far side takes n of the bytes that were sent to f. */
static void taken(struct hand *h, struct fake *f, uint32_t n)
{
	bufq_pop(&f->sent, n);
	f->ep.tx_pending = f->sent.bytes;
	endpoint_notify(&f->ep);
	hand_run(h);
}

static void eof(struct hand *h, struct fake *f)
{
	f->ep.eof = true;
	endpoint_notify(&f->ep);
	hand_run(h);
}

static void hand_end(struct hand *h, int reason, uint32_t dones)
{
	assert_false(h->r.running);
	assert_int_equal(h->r.reason, reason);
	assert_int_equal(h->dones, dones);
	assert_int_equal(h->a.closes, 1);
	assert_int_equal(h->b.closes, 1);
	assert_int_equal(h->a.close_reason, reason);
	assert_int_equal(h->b.close_reason, reason);
	assert_int_equal(h->held, 0);
	bufq_fini(&h->a.sent);
	bufq_fini(&h->b.sent);
	bufpool_free(h->pool);
}

static void test_credit_follows_the_far_side(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	arrive(&h, &h.a, "0123456789");
	assert_int_equal(h.b.sent_total, 10);
	assert_int_equal(h.a.credited, 0);
	taken(&h, &h.b, 4);
	assert_int_equal(h.a.credited, 4);
	assert_int_equal(h.held, 6);
	arrive(&h, &h.a, "abc");
	taken(&h, &h.b, 9);
	assert_int_equal(h.a.credited, 13);
	assert_int_equal(h.ab, 13);
	assert_int_equal(h.ba, 0);
	arrive(&h, &h.b, "xy");
	taken(&h, &h.a, 2);
	assert_int_equal(h.b.credited, 2);
	assert_int_equal(h.r.a_to_b, 13);
	assert_int_equal(h.r.b_to_a, 2);
	eof(&h, &h.a);
	eof(&h, &h.b);
	hand_end(&h, 0, 1);
}

/* One direction ends and the other goes on; the end comes when both are over and everything was taken. */
static void test_half_close(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	arrive(&h, &h.a, "request");
	eof(&h, &h.a);
	assert_int_equal(h.b.finishes, 1);
	assert_int_equal(h.a.finishes, 0);
	taken(&h, &h.b, 7);
	arrive(&h, &h.b, "response");
	eof(&h, &h.b);
	assert_int_equal(h.a.finishes, 1);
	assert_int_equal(h.dones, 0);
	taken(&h, &h.a, 3);
	assert_int_equal(h.dones, 0);
	taken(&h, &h.a, 5);
	hand_end(&h, 0, 1);
}

/* Bytes that came with the end are not lost. */
static void test_bytes_before_eof(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	assert_int_equal(bufq_copy(&h.a.ep.rx, h.pool, "last", 4), 0);
	h.a.ep.eof = true;
	endpoint_notify(&h.a.ep);
	hand_run(&h);
	assert_int_equal(h.b.sent_total, 4);
	assert_int_equal(h.b.finishes, 1);
	taken(&h, &h.b, 4);
	eof(&h, &h.b);
	hand_end(&h, 0, 1);
}

static void test_error_crosses(void **state)
{
	struct hand h;

	(void)state;
	for (int side = 0; side < 2; side++) {
		hand_start(&h);
		arrive(&h, &h.a, "half");
		(side ? &h.a : &h.b)->ep.error = -ECONNRESET;
		endpoint_notify(side ? &h.a.ep : &h.b.ep);
		hand_run(&h);
		hand_end(&h, -ECONNRESET, 1);
	}
}

/* Both sides have ended in order, then the transport breaks before the last bytes were taken: that is no good end. */
static void test_error_after_both_eofs(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	arrive(&h, &h.a, "bytes");
	eof(&h, &h.a);
	eof(&h, &h.b);
	assert_int_equal(h.dones, 0);
	h.b.ep.error = -EPIPE;
	endpoint_notify(&h.b.ep);
	hand_run(&h);
	hand_end(&h, -EPIPE, 1);
}

/* Who takes no more is not sent more, and the sender may still come to its end. */
static void test_tx_broken(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	arrive(&h, &h.a, "before");
	h.b.ep.tx_broken = true;
	bufq_fini(&h.b.sent);
	h.b.ep.tx_pending = 0;
	endpoint_notify(&h.b.ep);
	hand_run(&h);
	assert_int_equal(h.a.credited, 6);
	arrive(&h, &h.a, "after");
	assert_int_equal(h.b.sent_total, 6);
	assert_int_equal(h.a.credited, 11);
	/* the other direction is as it was */
	arrive(&h, &h.b, "still here");
	assert_int_equal(h.a.sent_total, 10);
	taken(&h, &h.a, 10);
	eof(&h, &h.b);
	hand_end(&h, 0, 1);
	assert_int_equal(h.b.finishes, 0);
}

static void test_abort(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	arrive(&h, &h.a, "to be dropped");
	relay_abort(&h.r, ERR_POLICY_CHANGED);
	hand_run(&h);
	hand_end(&h, ERR_POLICY_CHANGED, 0);
	/* harmless when it has ended, however often */
	relay_abort(&h.r, ERR_DRAINED);
	assert_int_equal(h.r.reason, ERR_POLICY_CHANGED);
	assert_int_equal(h.a.closes, 1);
}

/* A side that was not there yet when the relay began. */
static void test_not_open_yet(void **state)
{
	struct hand h;

	(void)state;
	hand_start(&h);
	h.b.ep.open = false;
	arrive(&h, &h.a, "early");
	assert_int_equal(h.b.sent_total, 5);
	assert_int_equal(h.a.credited, 0);
	h.b.ep.error = ERR_CONNECT_TIMEOUT;
	endpoint_notify(&h.b.ep);
	hand_run(&h);
	hand_end(&h, ERR_CONNECT_TIMEOUT, 1);
}

/* ---- sockets: client <-> relay <-> server, both far ends are the test's ---- */

struct wires {
	struct rig rig;
	struct relay r;
	struct task done;
	struct conn *a, *b;
	int client, server, listener;
	uint32_t dones;
	int64_t held, held_max;
};

static void wires_done(struct task *task)
{
	container_of(task, struct wires, done)->dones++;
}

static void wires_moved(struct relay *r, uint32_t ab, uint32_t ba, int64_t held)
{
	struct wires *w = container_of(r, struct wires, r);

	(void)ab;
	(void)ba;
	w->held += held;
	w->held_max = MAX(w->held_max, w->held);
}

static void wires_start(struct wires *w, const char *backend)
{
	struct addr to;
	struct user *u;

	memset(w, 0, sizeof(*w));
	rig_start(&w->rig, backend);
	task_init(&w->done, wires_done);
	/* the server's socket is the test's: a listener that the worker does not know */
	assert_int_equal(addr_parse(STR("127.0.0.1:0"), &to), 0);
	w->listener = rig_listen_at(&to, 4);
	assert_int_equal(socket_local(w->listener, &to), 0);
	u = connected(&w->rig, &w->client);
	w->a = u->c;
	u->c = NULL;
	task_cancel(&u->task);
	w->b = conn_connect(w->rig.w, socket_open(NULL, AF_INET, SOCK_STREAM, 0), &to, 1000);
	assert_non_null(w->b);
	relay_start(&w->r, &w->rig.w->run, &w->a->ep, &w->b->ep, &w->done, wires_moved);
	UNTIL(&w->rig, w->b->ep.open);
	w->server = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(w->server >= 0);
}

static void wires_end(struct wires *w)
{
	relay_abort(&w->r, ERR_CLOSED);
	task_cancel(&w->done);
	assert_int_equal(w->held, 0);
	close(w->client);
	close(w->server);
	close(w->listener);
	rig_end(&w->rig);
}

static void pass(struct wires *w, int from, int to, const char *text)
{
	char got[64];

	assert_int_equal(send(from, text, strlen(text), 0), (ssize_t)strlen(text));
	assert_int_equal(peer_read(&w->rig, to, got, strlen(text)), 0);
	assert_memory_equal(got, text, strlen(text));
}

static void test_fin_stays_fin(void **state)
{
	struct wires w;

	wires_start(&w, *state);
	pass(&w, w.client, w.server, "ping");
	shutdown(w.client, SHUT_WR);
	assert_int_equal(peer_end(&w.rig, w.server), 0);
	pass(&w, w.server, w.client, "pong");
	shutdown(w.server, SHUT_WR);
	assert_int_equal(peer_end(&w.rig, w.client), 0);
	UNTIL(&w.rig, w.dones == 1);
	assert_int_equal(w.r.reason, 0);
	wires_end(&w);
}

static void test_rst_stays_rst(void **state)
{
	struct wires w;

	for (int side = 0; side < 2; side++) {
		wires_start(&w, *state);
		pass(&w, w.client, w.server, "ping");
		pass(&w, w.server, w.client, "pong");
		peer_reset(side ? w.client : w.server);
		assert_int_equal(peer_end(&w.rig, side ? w.server : w.client), -ECONNRESET);
		UNTIL(&w.rig, w.dones == 1);
		assert_int_equal(w.r.reason, -ECONNRESET);
		*(side ? &w.client : &w.server) = dup(w.listener);
		wires_end(&w);
	}
}

/* A reset behind a half close is still a reset. */
static void test_rst_after_fin(void **state)
{
	struct wires w;

	wires_start(&w, *state);
	pass(&w, w.client, w.server, "ping");
	shutdown(w.client, SHUT_WR);
	assert_int_equal(peer_end(&w.rig, w.server), 0);
	peer_reset(w.server);
	assert_int_equal(peer_end(&w.rig, w.client), -ECONNRESET);
	UNTIL(&w.rig, w.dones == 1);
	w.server = dup(w.listener);
	wires_end(&w);
}

/* A server that does not read holds the client back: what waits in this process is a window and no more. */
static void test_back_pressure(void **state)
{
	static uint8_t bytes[65536];
	struct wires w;
	uint64_t written = 0, before, read_back = 0;

	wires_start(&w, *state);
	for (uint64_t end = rig_ms() + 300; rig_ms() < end;) {
		for (uint32_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = pattern(written + i, 1);
		ssize_t n = send(w.client, bytes, sizeof(bytes), MSG_NOSIGNAL);

		written += n > 0 ? (uint64_t)n : 0;
		worker_turn(w.rig.w, NS_PER_MS);
		assert_true(bufpool_bytes(w.rig.w->bufs, BUF_KINDS) <=
			    CONN_WINDOW_BYTES + 2 * BUF_SLAB_BYTES + 20 * BUF_SLOT_BYTES);
	}
	before = written;
	assert_true(w.held_max > 0);
	assert_true(w.held_max <= CONN_WINDOW_BYTES + BUF_SLAB_BYTES + BUF_SLOT_BYTES);
	/* it is all there */
	shutdown(w.client, SHUT_WR);
	for (uint64_t end = rig_ms() + 10000; read_back < before && rig_ms() < end;) {
		ssize_t n = recv(w.server, bytes, sizeof(bytes), 0);

		if (n > 0)
			assert_pattern(bytes, read_back, (size_t)n);
		read_back += n > 0 ? (uint64_t)n : 0;
		worker_turn(w.rig.w, n > 0 ? 0 : NS_PER_MS);
	}
	assert_int_equal(read_back, before);
	assert_int_equal(peer_end(&w.rig, w.server), 0);
	assert_int_equal(w.r.a_to_b, before);
	wires_end(&w);
}

static void test_abort_resets_both(void **state)
{
	struct wires w;

	wires_start(&w, *state);
	pass(&w, w.client, w.server, "ping");
	relay_abort(&w.r, ERR_POLICY_CHANGED);
	assert_int_equal(peer_end(&w.rig, w.client), -ECONNRESET);
	assert_int_equal(peer_end(&w.rig, w.server), -ECONNRESET);
	assert_int_equal(w.dones, 0);
	wires_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_credit_follows_the_far_side),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_bytes_before_eof),
		cmocka_unit_test(test_error_crosses),
		cmocka_unit_test(test_error_after_both_eofs),
		cmocka_unit_test(test_tx_broken),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_not_open_yet),
		BOTH(test_fin_stays_fin),
		BOTH(test_rst_stays_rst),
		BOTH(test_rst_after_fin),
		BOTH(test_back_pressure),
		BOTH(test_abort_resets_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
