/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

#include <net/if.h>
#include <pthread.h>
#include <sched.h>

#include "shared/io/listen_priv.h"

/* Counts and closes. */
struct counter {
	struct rig *r;
	struct task done;
	uint32_t accepted, in_turn, in_turn_max;
	uint64_t turn;
	bool ended, keep;
	int fds[512];
};

static void count_one(void *arg, int fd, const struct addr *peer)
{
	struct counter *c = arg;

	assert_int_equal(peer->ip.len, 4);
	assert_true(peer->port != 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	c->in_turn = c->turn == c->r->w->turn ? c->in_turn + 1 : 1;
	c->turn = c->r->w->turn;
	c->in_turn_max = MAX(c->in_turn_max, c->in_turn);
	if (c->keep)
		c->fds[c->accepted] = fd;
	else
		close(fd);
	c->accepted++;
}

static void ended(struct task *task)
{
	container_of(task, struct counter, done)->ended = true;
}

/* Instead of the rig's own listener. */
static void listen_count(struct rig *r, struct counter *c, const char *backend)
{
	rig_start(r, backend);
	listener_stop(r->l, NULL);
	UNTIL(r, r->w->io->listeners == 0);
	*c = (struct counter){.r = r};
	task_init(&c->done, ended);
	assert_int_equal(listener_start(r->w, rig_listen(r), count_one, c, &r->l), 0);
	worker_turn(r->w, 0);
}

static void budget_per_turn(void **state)
{
	enum { CONNS = 300 };
	struct rig r;
	struct counter c;
	int fds[CONNS];

	listen_count(&r, &c, *state);
	for (int i = 0; i < CONNS; i++)
		fds[i] = peer_connect(&r.at);
	UNTIL(&r, c.accepted == CONNS);
	assert_int_equal(c.in_turn_max, LISTEN_ACCEPTS_PER_TURN);
	assert_int_equal(r.w->io->stats.accepted, CONNS);
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	rig_end(&r);
}

/* All that wait in the kernel's queue come out before the end. */
static void stop_drains(void **state)
{
	enum { CONNS = 200 };

	for (int turns = 0; turns < 3; turns++) {
		struct rig r;
		struct counter c;
		int fds[CONNS];

		listen_count(&r, &c, *state);
		for (int i = 0; i < CONNS; i++)
			fds[i] = peer_connect(&r.at);
		for (int i = 0; i < turns; i++)
			worker_turn(r.w, 0);
		listener_stop(r.l, &c.done);
		r.l = NULL;
		UNTIL(&r, c.ended);
		assert_int_equal(c.accepted, CONNS);
		for (int i = 0; i < CONNS; i++)
			close(fds[i]);
		rig_end(&r);
	}
}

static void stop_at_once(void **state)
{
	struct rig r;
	struct counter c;

	listen_count(&r, &c, *state);
	listener_stop(r.l, NULL);
	/* Never armed. */
	assert_int_equal(listener_start(r.w, rig_listen(&r), count_one, &c, &r.l), 0);
	listener_stop(r.l, &c.done);
	r.l = NULL;
	UNTIL(&r, c.ended);
	rig_end(&r);
}

/* Without descriptors the listener pauses, counts, and goes on when there are some. */
static void out_of_descriptors(void **state)
{
	struct rig r;
	struct counter c;
	struct rlimit before, tight;
	int fds[8];

	listen_count(&r, &c, *state);
	listener_stop(r.l, NULL);
	UNTIL(&r, r.w->io->listeners == 0);
	c.keep = true;
	/* Connected first, listened to when the limit stands: io_uring reads it when accepting begins. */
	int listening = rig_listen(&r);

	for (int i = 0; i < 8; i++)
		fds[i] = peer_connect(&r.at);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	/* Room for three. */
	int probe = dup(0);

	close(probe);
	tight.rlim_cur = (rlim_t)probe + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(listener_start(r.w, listening, count_one, &c, &r.l), 0);
	rig_idle(&r, 250);
	uint32_t got = c.accepted;
	uint64_t errors = r.w->io->stats.accept_errors, turns = r.w->io->stats.turns;

	rig_idle(&r, 50);
	turns = r.w->io->stats.turns - turns;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(got, 3);
	/* Once per 100 ms, not in a loop. */
	assert_true(errors >= 1 && errors <= 4);
	UNTIL(&r, c.accepted == 8);
	for (int i = 0; i < 8; i++) {
		close(c.fds[i]);
		close(fds[i]);
	}
	rig_end(&r);
}

/* Clients that are gone before they are accepted. */
static void gone_before_accept(void **state)
{
	struct rig r;
	struct counter c;

	listen_count(&r, &c, *state);
	for (int i = 0; i < 100; i++) {
		int fd = peer_connect(&r.at);

		if (i % 2)
			peer_reset(fd);
		else
			close(fd);
	}
	UNTIL(&r, c.accepted >= 50);
	rig_idle(&r, 50);
	assert_int_equal(r.w->io->stats.accept_errors, 0);
	int fd = peer_connect(&r.at);
	uint32_t before = c.accepted;

	UNTIL(&r, c.accepted > before);
	close(fd);
	rig_end(&r);
}

/* ---- one instance takes over from another ---- */

struct caller {
	struct addr to;
	uint32_t connects, failures; /* the second by refusal or reset */
	bool stop;		     /* atomic */
};

/* Each connection must be answered with one byte. */
static void *call(void *arg)
{
	struct caller *c = arg;
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&c->to, AF_INET, &sa);

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char byte;

		if (connect(fd, (struct sockaddr *)&sa, len) || recv(fd, &byte, 1, 0) != 1)
			c->failures++;
		c->connects++;
		close(fd);
	}
	return NULL;
}

static void answer(void *arg, int fd, const struct addr *peer)
{
	uint32_t *n = arg;

	(void)peer;
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	close(fd);
	(*n)++;
}

static void loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &lo), 0);
	lo.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
}

/* The way of pod_worker.c, with one socket on each side. */
static void hand_over(struct rig *r, struct listener *l, int fd)
{
	struct counter c = {0};

	task_init(&c.done, ended);
	assert_int_equal(socket_steer(fd, 1), 0);
	assert_int_equal(socket_deafen(fd), 0);
	rig_idle(r, 10);
	listener_release(l, &c.done);
	UNTIL(r, c.ended);
	socket_unsteer(fd);
	close(fd);
}

static void takeover(void **state)
{
	struct rig r;
	struct caller caller = {0};
	struct listener *l;
	uint32_t n[2] = {0};
	pthread_t thread;

	rig_start(&r, *state);
	assert_int_equal(addr_parse(STR("127.0.0.1:15008"), &caller.to), 0);
	int fd = rig_listen_at(&caller.to, 128);

	assert_int_equal(listener_start(r.w, fd, answer, &n[0], &l), 0);
	worker_turn(r.w, 0);
	assert_int_equal(pthread_create(&thread, NULL, call, &caller), 0);
	for (int i = 1; i <= 100; i++) {
		struct listener *next;
		int next_fd = rig_listen_at(&caller.to, 128);
		uint32_t before = n[i % 2];

		assert_int_equal(listener_start(r.w, next_fd, answer, &n[i % 2], &next), 0);
		worker_turn(r.w, 0);
		hand_over(&r, l, fd);
		UNTIL(&r, n[i % 2] > before + 5);
		l = next;
		fd = next_fd;
	}
	__atomic_store_n(&caller.stop, true, __ATOMIC_RELAXED);
	rig_idle(&r, 20);
	pthread_join(thread, NULL);
	assert_true(caller.connects > 500);
	assert_int_equal(caller.failures, 0);
	listener_stop(l, NULL);
	rig_end(&r);
}

/* The socket of a listener that was released is its user's: open, and it accepts again. */
static void release_keeps_the_socket(void **state)
{
	struct rig r;
	struct counter c;
	int conns[2];

	rig_start(&r, *state);
	listener_stop(r.l, NULL);
	c = (struct counter){.r = &r};
	task_init(&c.done, ended);
	int fd = rig_listen(&r);

	assert_int_equal(listener_start(r.w, fd, count_one, &c, &r.l), 0);
	conns[0] = peer_connect(&r.at);
	listener_release(r.l, &c.done);
	UNTIL(&r, c.ended);
	assert_int_equal(c.accepted, 1);
	conns[1] = peer_connect(&r.at);
	rig_idle(&r, 10);
	assert_int_equal(c.accepted, 1);
	assert_int_equal(listener_start(r.w, fd, count_one, &c, &r.l), 0);
	UNTIL(&r, c.accepted == 2);
	close(conns[0]);
	close(conns[1]);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(budget_per_turn),		BOTH(stop_drains),	  BOTH(stop_at_once),
		BOTH(out_of_descriptors),	BOTH(gone_before_accept), BOTH(takeover),
		BOTH(release_keeps_the_socket),
	};

	/* A network of our own: tcp_migrate_req is set in it, and fixed ports are free. */
	if (unshare(CLONE_NEWNET)) {
		perror("test_listen needs root for a network namespace of its own");
		return 1;
	}
	loopback_up();
	if (socket_enable_migrate(NULL)) {
		fprintf(stderr, "test_listen: net.ipv4.tcp_migrate_req cannot be set\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
