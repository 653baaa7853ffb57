/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c under load: back pressure, bounds, scarce buffers. */
#include "io_rig.h"

static void large_echo(void **state)
{
	enum { BYTES = 24 << 20, STEP = 300 * 1000 };
	struct rig r;
	int fd;
	uint64_t sent = 0, got = 0, end = rig_ms() + 20000;
	uint8_t *out = malloc(STEP), *in = malloc(STEP);
	uint32_t held = 0;

	rig_start(&r, *state);
	r.echo = true;
	struct user *u = connected(&r, &fd);

	while (got < BYTES && rig_ms() < end) {
		size_t n = MIN((uint64_t)STEP, BYTES - sent);

		for (size_t i = 0; i < n; i++)
			out[i] = pattern(sent + i, 1);
		ssize_t k = n ? send(fd, out, n, 0) : 0;

		sent += k > 0 ? (uint64_t)k : 0;
		worker_turn(r.w, 0);
		held = MAX(held, u->c->uncredited);
		/* A reader slower than the writer, so that both directions fill. */
		k = recv(fd, in, (sent * 7) % STEP, 0);
		if (k > 0)
			assert_pattern(in, got, (size_t)k);
		got += k > 0 ? (uint64_t)k : 0;
	}
	assert_int_equal(got, BYTES);
	assert_true(held <= CONN_WINDOW_BYTES + BUF_SLOT_BYTES + BUF_SLAB_BYTES);
	free(out);
	free(in);
	close(fd);
	rig_end(&r);
}

static void back_pressure(void **state)
{
	struct rig r;
	int fd;
	static char junk[256 * 1024];
	uint64_t sent = 0;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);

	for (int i = 0; i < 200; i++) {
		ssize_t k = send(fd, junk, sizeof(junk), 0);

		sent += k > 0 ? (uint64_t)k : 0;
		worker_turn(r.w, NS_PER_MS);
	}
	uint32_t held = u->got.bytes;

	assert_true(held >= CONN_WINDOW_BYTES);
	assert_true(held <= CONN_WINDOW_BYTES + BUF_SLOT_BYTES + BUF_SLAB_BYTES);
	assert_int_equal(u->c->uncredited, held);
	rig_idle(&r, 20);
	assert_int_equal(u->got.bytes, held);
	/* Each credit lets in as much again, until all is there. */
	for (uint64_t total = held; total < sent;) {
		bufq_fini(&u->got);
		u->c->ep.ops->credit(&u->c->ep, u->c->uncredited);
		UNTIL(&r, u->got.bytes > 0);
		rig_idle(&r, 2);
		total += u->got.bytes;
		assert_true(u->got.bytes <= CONN_WINDOW_BYTES + BUF_SLOT_BYTES + BUF_SLAB_BYTES);
		if (total >= sent)
			assert_int_equal(total, sent);
	}
	close(fd);
	rig_end(&r);
}

/* Fewer slots than connections: all get their turn. */
static void starved_of_slots(void **state)
{
	enum { CONNS = 48, ROUNDS = 20 };
	struct bufpool_limits few = {.slots_max = 3, .bytes_max = 64 << 20, .slabs_cached = 2};
	struct rig r;
	int fds[CONNS];
	char msg[1000] = {1}, out[1000];

	rig_start_limits(&r, *state, &few);
	r.echo = true;
	for (int i = 0; i < CONNS; i++)
		fds[i] = peer_connect(&r.at);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CONNS; i++)
			assert_int_equal(send(fds[i], msg, sizeof(msg), 0), sizeof(msg));
		for (int i = 0; i < CONNS; i++)
			assert_int_equal(peer_read(&r, fds[i], out, sizeof(out)), 0);
	}
	if (strcmp(*state, "uring") == 0)
		assert_true(r.w->io->stats.starved > 0);
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	rig_end(&r);
}

/* Users that keep what they got in rx must not keep the slots. */
static void slots_are_not_held(void **state)
{
	enum { CONNS = 32 };
	struct bufpool_limits few = {.slots_max = 4, .bytes_max = 64 << 20, .slabs_cached = 2};
	struct rig r;
	int fds[CONNS];

	rig_start_limits(&r, *state, &few);
	for (int i = 0; i < CONNS; i++)
		fds[i] = peer_connect(&r.at);
	UNTIL(&r, r.accepted == CONNS);
	for (int i = 0; i < CONNS; i++)
		r.users[i].c->ep.user = NULL;
	for (int i = 0; i < CONNS; i++)
		assert_int_equal(send(fds[i], "kept", 4, 0), 4);
	for (int i = 0; i < CONNS; i++)
		UNTIL(&r, r.users[i].c->ep.rx.bytes == 4);
	/* Those in the kernel's hands at most. */
	worker_turn(r.w, 0);
	assert_true(bufpool_bytes(r.w->bufs, BUF_HEAP) >= CONNS * 4);
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	rig_end(&r);
}

/* What a slow peer does not take is copied out of the slots it was received in. */
static void slow_peer_pins_nothing(void **state)
{
	struct rig r;
	int fd;

	rig_start(&r, *state);
	struct user *u = connected(&r, &fd);
	uint64_t sent = 0;

	/* More than both kernels hold. */
	for (int i = 0; i < 1000; i++) {
		struct buf *b = bufpool_slot(r.w->bufs);
		struct bufq q = {0};

		assert_non_null(b);
		memset(b->data, i, b->cap);
		assert_int_equal(bufq_push(&q, b, 0, b->cap), 0);
		buf_put(b);
		u->c->ep.ops->send(&u->c->ep, &q);
		worker_turn(r.w, 0);
		sent += BUF_SLOT_BYTES;
	}
	rig_idle(&r, 20);
	assert_true(u->c->ep.tx_pending > 0);
	assert_true(bufpool_bytes(r.w->bufs, BUF_SLOT) <= 5 * BUF_SLOT_BYTES);
	char *out = malloc(sent);

	assert_int_equal(peer_read(&r, fd, out, sent), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(out[(size_t)i * BUF_SLOT_BYTES + 77], (char)i);
	UNTIL(&r, u->c->ep.tx_pending == 0);
	free(out);
	close(fd);
	rig_end(&r);
}

/* A budget that leaves no room for slabs: slower, and nothing is lost. */
static void no_room_for_slabs(void **state)
{
	enum { BYTES = 2 << 20 };
	struct bufpool_limits tight = {.slots_max = 16, .bytes_max = 200 * 1000, .slabs_cached = 1};
	struct rig r;
	int fd;
	uint64_t sent = 0, got = 0, end = rig_ms() + 10000;
	static uint8_t out[50 * 1000], in[50 * 1000];

	rig_start_limits(&r, *state, &tight);
	r.echo = true;
	struct user *u = connected(&r, &fd);

	while (got < BYTES && rig_ms() < end) {
		for (size_t i = 0; i < sizeof(out); i++)
			out[i] = pattern(sent + i, 1);
		ssize_t k = send(fd, out, MIN((uint64_t)sizeof(out), BYTES - sent), 0);

		sent += k > 0 ? (uint64_t)k : 0;
		worker_turn(r.w, 0);
		k = recv(fd, in, sizeof(in), 0);
		if (k > 0)
			assert_pattern(in, got, (size_t)k);
		got += k > 0 ? (uint64_t)k : 0;
	}
	assert_int_equal(got, BYTES);
	assert_true(r.w->io->stats.slabs_refused > 0);
	assert_int_equal(u->c->ep.error, 0);
	close(fd);
	rig_end(&r);
}

/* ---- a crowd that speaks at once: more completions than the ring holds ---- */

enum { CROWD = 1500 };

struct crowd {
	struct rig *r;
	struct user users[CROWD];
	uint32_t count;
};

static void crowd_accepted(void *arg, int fd, const struct addr *peer)
{
	struct crowd *crowd = arg;
	struct user *u = &crowd->users[crowd->count++];
	struct conn *c = conn_accept(crowd->r->w, fd, peer, NULL);

	assert_non_null(c);
	u->echo = u->closes = true;
	user_attach(crowd->r, u, c);
}

static void crowd(void **state)
{
	static struct crowd c;
	static int fds[CROWD];
	struct rig r;
	struct listener *l;
	struct rlimit files;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	memset(&c, 0, sizeof(c));
	rig_start(&r, *state);
	c.r = &r;
	assert_int_equal(listener_start(r.w, rig_listen(&r), crowd_accepted, &c, &l), 0);
	for (uint32_t i = 0; i < CROWD; i++) {
		fds[i] = peer_connect(&r.at);
		if (i % 100 == 99)
			UNTIL(&r, c.count == i + 1);
	}
	rig_idle(&r, 5);
	for (int round = 0; round < 3; round++) {
		char out[32];

		for (int i = 0; i < CROWD; i++)
			assert_int_equal(send(fds[i], "all together", 12, 0), 12);
		for (int i = 0; i < CROWD; i++) {
			assert_int_equal(peer_read(&r, fds[i], out, 12), 0);
			assert_memory_equal(out, "all together", 12);
		}
	}
	for (int i = 0; i < CROWD; i++)
		close(fds[i]);
	UNTIL(&r, r.w->io->conns == 0);
	listener_stop(l, NULL);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(large_echo),
		BOTH(back_pressure),
		BOTH(starved_of_slots),
		BOTH(slots_are_not_held),
		BOTH(slow_peer_pins_nothing),
		BOTH(no_room_for_slabs),
		BOTH(crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
