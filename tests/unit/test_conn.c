/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

#include "shared/io/conn_priv.h"

static void send_text(struct rig *r, struct user *u, const char *text)
{
	struct bufq q = {0};

	assert_int_equal(bufq_copy(&q, r->w->bufs, text, strlen(text)), 0);
	u->c->ep.ops->send(&u->c->ep, &q);
	assert_int_equal(q.bytes, 0);
}

static void assert_got(struct user *u, const char *text)
{
	char got[64] = {0};

	assert_int_equal(u->got.bytes, strlen(text));
	bufq_peek(&u->got, got, sizeof(got) - 1);
	assert_string_equal(got, text);
}

static void echo(void **state)
{
	struct rig r;
	char out[16];

	rig_start(&r, *state);
	r.echo = true;
	int fd = peer_connect(&r.at);

	assert_int_equal(send(fd, "hello", 5, 0), 5);
	assert_int_equal(peer_read(&r, fd, out, 5), 0);
	assert_memory_equal(out, "hello", 5);
	assert_int_equal(r.accepted, 1);
	struct conn *c = r.users[0].c;

	assert_true(c->ep.open);
	assert_int_equal(c->local.port, r.at.port);
	assert_true(c->peer.port != 0 && c->peer.ip.len == 4);
	assert_true(c->connected_ns >= c->opened_ns && c->opened_ns > 0);
	assert_int_equal(send(fd, "world!", 6, 0), 6);
	assert_int_equal(peer_read(&r, fd, out, 6), 0);
	assert_memory_equal(out, "world!", 6);
	close(fd);
	UNTIL(&r, c->ep.eof);
	assert_int_equal(c->ep.error, 0);
	rig_end(&r);
}

static void peer_half_closes(void **state)
{
	struct rig r;
	char out[16];
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	assert_int_equal(send(fd, "bye", 3, 0), 3);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	UNTIL(&r, u->c->ep.eof);
	assert_got(u, "bye");
	assert_int_equal(u->c->ep.error, 0);
	send_text(&r, u, "still here");
	assert_int_equal(peer_read(&r, fd, out, 10), 0);
	rig_idle(&r, 20);
	u->c->ep.ops->finish(&u->c->ep);
	u->c->ep.ops->finish(&u->c->ep);
	assert_int_equal(peer_end(&r, fd), 0);
	user_close(u, 0);
	UNTIL(&r, r.w->io->conns == 0);
	close(fd);
	rig_end(&r);
}

static void we_half_close(void **state)
{
	struct rig r;
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	send_text(&r, u, "x");
	u->c->ep.ops->finish(&u->c->ep);
	send_text(&r, u, "dropped");
	assert_int_equal(peer_end(&r, fd), 1);
	assert_int_equal(peer_end(&r, fd), 0);
	assert_int_equal(send(fd, "later", 5, 0), 5);
	UNTIL(&r, u->got.bytes == 5);
	assert_false(u->c->ep.eof);
	close(fd);
	UNTIL(&r, u->c->ep.eof);
	assert_int_equal(u->c->ep.error, 0);
	rig_end(&r);
}

static void reset_after_data(void **state)
{
	struct rig r;
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	assert_int_equal(send(fd, "last words", 10, 0), 10);
	UNTIL(&r, u->got.bytes == 10);
	peer_reset(fd);
	UNTIL(&r, u->c->ep.error != 0);
	assert_int_equal(u->c->ep.error, -ECONNRESET);
	assert_false(u->c->ep.eof);
	assert_got(u, "last words");
	/* Harmless now. */
	send_text(&r, u, "dropped");
	u->c->ep.ops->finish(&u->c->ep);
	rig_idle(&r, 10);
	rig_end(&r);
}

/*
 * A peer that answers, then closes without having read all that we sent: its kernel resets, our next send fails, and
 * still the answer must come out before the error.
 */
static void answer_before_reset(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct rig r;
		int fd;

		rig_start(&r, *state);
		struct user *u = connected(&r, &fd);

		send_text(&r, u, "request");
		rig_idle(&r, 5);
		assert_int_equal(send(fd, "answer", 6, 0), 6);
		close(fd);
		/* Both are in our kernel now; nothing was collected yet. */
		send_text(&r, u, "more");
		UNTIL(&r, u->c->ep.error != 0);
		assert_true(u->c->ep.error == -ECONNRESET || u->c->ep.error == -EPIPE);
		assert_got(u, "answer");
		assert_false(u->c->ep.eof);
		rig_end(&r);
	}
}

static void abort_is_reset(void **state)
{
	struct rig r;
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	send_text(&r, u, "never mind");
	user_close(u, ERR_POLICY_DENIED);
	assert_int_equal(peer_end(&r, fd), -ECONNRESET);
	UNTIL(&r, r.w->io->conns == 0);
	close(fd);
	rig_end(&r);
}

/* More than both kernels' buffers hold: what is queued goes out in the background, then FIN and no RST. */
static void close_sends_the_rest(void **state)
{
	enum { BYTES = 12 << 20 };
	struct rig r;
	int fd;
	uint8_t *out = malloc(BYTES);

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	send_pattern(&r, u, 0, BYTES);
	user_close(u, 0);
	rig_idle(&r, 50);
	assert_int_equal(r.w->io->conns, 1);
	assert_int_equal(peer_read(&r, fd, out, BYTES), 0);
	assert_pattern(out, 0, BYTES);
	assert_int_equal(peer_end(&r, fd), 0);
	close(fd);
	UNTIL(&r, r.w->io->conns == 0);
	assert_true(r.w->io->stats.sends_short > 0);
	free(out);
	rig_end(&r);
}

/* The peer never ends its side: it is given a while, and what it says is discarded. */
static void close_ends_in_time(void **state)
{
	struct rig r;
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	user_close(u, 0);
	assert_int_equal(peer_end(&r, fd), 0);
	for (uint64_t end = rig_ms() + 300; rig_ms() < end;) {
		assert_int_equal(send(fd, "blah", 4, MSG_NOSIGNAL), 4);
		worker_turn(r.w, NS_PER_MS);
	}
	assert_int_equal(r.w->io->conns, 1);
	UNTIL(&r, r.w->io->conns == 0);
	assert_int_equal(bufpool_bytes(r.w->bufs, BUF_SLAB), 0);
	close(fd);
	rig_end(&r);
}

/* A reset while receiving is paused: epoll tells at once, io_uring with the next receive or send. */
static void reset_while_paused(void **state)
{
	struct rig r;
	int fd;
	static char junk[256 * 1024];

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	for (int i = 0; i < 50; i++) {
		(void)!send(fd, junk, sizeof(junk), 0);
		worker_turn(r.w, 0);
	}
	peer_reset(fd);
	rig_idle(&r, 10);
	assert_false(u->c->ep.eof);
	if (!u->c->ep.error)
		u->credit = true, u->c->ep.ops->credit(&u->c->ep, u->c->uncredited);
	UNTIL(&r, u->c->ep.error != 0);
	assert_int_equal(u->c->ep.error, -ECONNRESET);
	rig_end(&r);
}

static void connects(void **state)
{
	struct rig r;
	struct user u = {0};

	rig_start(&r, *state);
	r.echo = true;
	int fd = socket_open(NULL, AF_INET, SOCK_STREAM, 0);
	struct conn *c = conn_connect(r.w, fd, &r.at, 1000);

	assert_non_null(c);
	user_attach(&r, &u, c);
	/* Queued before it is open. */
	send_text(&r, &u, "early");
	UNTIL(&r, u.got.bytes == 5);
	assert_true(c->ep.open);
	assert_true(addr_eq(&c->peer, &r.at));
	assert_true(c->local.port != 0);
	assert_true(c->connected_ns >= c->opened_ns);
	assert_int_equal(r.w->timers.armed, 0);
	user_close(&u, 0);
	bufq_fini(&u.got);
	rig_end(&r);
}

static void connects_over_v6(void **state)
{
	struct rig r;
	struct user u = {0};

	rig_start(&r, *state);
	r.echo = true;
	/* An IPv4 peer over a socket of the other family. */
	struct conn *c =
		conn_connect(r.w, socket_open(NULL, AF_INET6, SOCK_STREAM, 0), &r.at, 1000);

	user_attach(&r, &u, c);
	UNTIL(&r, c->ep.open);
	assert_int_equal(c->local.ip.len, 4);
	user_fini(&u);
	rig_end(&r);
}

static void connect_refused(void **state)
{
	struct rig r;
	struct user u = {0};
	struct addr nobody;

	rig_start(&r, *state);
	assert_int_equal(addr_parse(STR("127.0.0.1:1"), &nobody), 0);
	struct conn *c =
		conn_connect(r.w, socket_open(NULL, AF_INET, SOCK_STREAM, 0), &nobody, 1000);

	user_attach(&r, &u, c);
	send_text(&r, &u, "lost");
	UNTIL(&r, c->ep.error != 0);
	assert_int_equal(c->ep.error, -ECONNREFUSED);
	assert_false(c->ep.open);
	user_fini(&u);
	rig_end(&r);
}

/* A listener whose queue is full drops the SYN. */
static void connect_times_out(void **state)
{
	struct rig r;
	struct user u[8] = {0};
	struct addr full;
	int late = 0;

	rig_start(&r, *state);
	assert_int_equal(addr_parse(STR("127.0.0.1:0"), &full), 0);
	int deaf = rig_listen_at(&full, 0);

	assert_int_equal(socket_local(deaf, &full), 0);
	uint64_t t0 = rig_ms();

	for (size_t i = 0; i < ARRAY_SIZE(u); i++)
		user_attach(
			&r, &u[i],
			conn_connect(r.w, socket_open(NULL, AF_INET, SOCK_STREAM, 0), &full, 150));
	for (size_t i = 0; i < ARRAY_SIZE(u); i++) {
		UNTIL(&r, u[i].c->ep.error || u[i].c->ep.open);
		late += u[i].c->ep.error == ERR_CONNECT_TIMEOUT;
	}
	assert_true(late >= 4);
	assert_true(rig_ms() - t0 >= 150 && rig_ms() - t0 < 1500);
	for (size_t i = 0; i < ARRAY_SIZE(u); i++)
		user_fini(&u[i]);
	UNTIL(&r, r.w->io->conns == 0);
	close(deaf);
	rig_end(&r);
}

/* Closed at every possible moment of its life. */
static void close_races(void **state)
{
	struct rig r;
	static char junk[200 * 1000];

	rig_start(&r, *state);
	r.echo = r.closes = true;
	for (unsigned i = 0; i < 400; i++) {
		struct user u = {.credit = true};
		struct conn *c =
			conn_connect(r.w, socket_open(NULL, AF_INET, SOCK_STREAM, 0), &r.at, 1000);

		user_attach(&r, &u, c);
		for (unsigned k = 0; k < i % 5; k++)
			worker_turn(r.w, 0);
		if (i % 3) {
			struct bufq q = {0};

			assert_int_equal(bufq_copy(&q, r.w->bufs, junk, 1 + i * 499), 0);
			c->ep.ops->send(&c->ep, &q);
		}
		for (unsigned k = 0; k < i % 7; k++)
			worker_turn(r.w, 0);
		if (i % 2)
			c->ep.ops->finish(&c->ep);
		for (unsigned k = 0; k < i % 4; k++)
			worker_turn(r.w, 0);
		user_close(&u, i % 11 < 5 ? 0 : -ECONNABORTED);
		bufq_fini(&u.got);
	}
	UNTIL(&r, r.w->io->conns <= ARRAY_SIZE(r.users));
	rig_end(&r);
}

static void short_connections(void **state)
{
	enum { TOTAL = 3000, AT_ONCE = 20 };
	struct rig r;
	char msg[64] = {7}, out[64];

	rig_start(&r, *state);
	r.echo = r.closes = true;
	for (int n = 0; n < TOTAL; n += AT_ONCE) {
		int fds[AT_ONCE];

		for (int i = 0; i < AT_ONCE; i++) {
			fds[i] = peer_connect(&r.at);
			assert_int_equal(send(fds[i], msg, sizeof(msg), 0), sizeof(msg));
		}
		for (int i = 0; i < AT_ONCE; i++) {
			if (i % 3)
				assert_int_equal(peer_read(&r, fds[i], out, sizeof(out)), 0);
			if (i % 2)
				peer_reset(fds[i]);
			else
				close(fds[i]);
		}
	}
	UNTIL(&r, r.w->io->conns == 0);
	assert_true(r.accepted > TOTAL / 2);
	/* The table did not grow with the number of connections, only with those alive. */
	assert_true(r.w->io->slot_cap <= 256);
	rig_end(&r);
}

static void idle_is_small(void **state)
{
	(void)state;
	/* With malloc's header and its place in the table; see conn.h. */
	assert_true(sizeof(struct conn) + 16 + sizeof(struct io_slot) <= 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(echo),
		BOTH(peer_half_closes),
		BOTH(we_half_close),
		BOTH(reset_after_data),
		BOTH(answer_before_reset),
		BOTH(abort_is_reset),
		BOTH(close_sends_the_rest),
		BOTH(close_ends_in_time),
		BOTH(reset_while_paused),
		BOTH(connects),
		BOTH(connects_over_v6),
		BOTH(connect_refused),
		BOTH(connect_times_out),
		BOTH(close_races),
		BOTH(short_connections),
		cmocka_unit_test(idle_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
