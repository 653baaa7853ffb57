/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker driven turn by turn over real loopback sockets, for the tests of io/. The far ends are plain sockets of the
 * test. Each test runs on both backends: BOTH(test) in the list of tests.
 */
#ifndef TESTS_UNIT_IO_RIG_H
#define TESTS_UNIT_IO_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/err.h"
#include "shared/io/backend.h"
#include "shared/io/conn.h"
#include "shared/io/listen.h"
#include "shared/io/socket.h"
#include "shared/io/watch.h"
#include "shared/io/worker.h"

#define BOTH(f)                                             \
	{#f " uring", f, NULL, NULL, (void *)"uring"},      \
	{                                                   \
#f " epoll", f, NULL, NULL, (void *)"epoll" \
	}

static const struct bufpool_limits rig_limits = {
	.slots_max = 256, .bytes_max = 64 << 20, .slabs_cached = 2};

/* One user of a connection: keeps what it gets. */
struct user {
	struct conn *c;
	struct task task;
	struct bufq got;
	bool echo, credit, closes; /* sends back; credits at once; closes when both ends are over */
	uint32_t runs, peak;	   /* peak of bytes held */
};

struct rig {
	struct worker *w;
	struct listener *l;
	struct addr at;
	struct user users[64]; /* of accepted connections, as they come */
	uint32_t accepted;
	bool echo, credit, closes;
	int fds_before;
};

static inline int rig_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline uint64_t rig_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void user_close(struct user *u, int reason)
{
	task_cancel(&u->task);
	u->c->ep.ops->close(&u->c->ep, reason);
	u->c = NULL;
}

static inline void user_run(struct task *task)
{
	struct user *u = container_of(task, struct user, task);
	struct endpoint *ep = &u->c->ep;
	struct bufq now = {0};
	uint32_t n = 0;

	u->runs++;
	u->peak = MAX(u->peak, ep->rx.bytes + u->got.bytes);
	assert_int_equal(bufq_move(u->echo ? &now : &u->got, &ep->rx, UINT32_MAX, &n), 0);
	if (u->echo && n)
		ep->ops->send(ep, &now);
	if (u->echo && u->c->uncredited > ep->tx_pending)
		ep->ops->credit(ep, u->c->uncredited - ep->tx_pending);
	else if (u->credit)
		ep->ops->credit(ep, n);
	if (u->closes && ep->error)
		user_close(u, ep->error);
	else if (u->closes && ep->eof && ep->tx_pending == 0)
		user_close(u, 0);
}

static inline void user_attach(struct rig *r, struct user *u, struct conn *c)
{
	u->c = c;
	task_init(&u->task, user_run);
	endpoint_attach(&c->ep, &r->w->run, &u->task);
}

static inline void user_fini(struct user *u)
{
	if (u->c)
		user_close(u, -ECONNABORTED);
	bufq_fini(&u->got);
}

static inline void rig_accepted(void *arg, int fd, const struct addr *peer)
{
	struct rig *r = arg;
	struct user *u = &r->users[r->accepted % ARRAY_SIZE(r->users)];
	struct conn *c = conn_accept(r->w, fd, peer, NULL);

	r->accepted++;
	if (!c)
		return;
	if (u->c)
		user_fini(u);
	u->echo = r->echo;
	u->credit = r->credit;
	u->closes = r->closes;
	u->runs = u->peak = 0;
	user_attach(r, u, c);
}

static inline int rig_listen_at(const struct addr *bind, int backlog)
{
	bool transparent;
	int fd = socket_listen(
		NULL,
		&(struct socket_listen_options){
			.bind = *bind, .family = AF_INET, .reuse_port = true, .backlog = backlog},
		&transparent);

	assert_true(fd >= 0);
	return fd;
}

static inline int rig_listen(struct rig *r)
{
	struct addr any;

	assert_int_equal(addr_parse(STR("127.0.0.1:0"), &any), 0);
	int fd = rig_listen_at(&any, 512);

	assert_int_equal(socket_local(fd, &r->at), 0);
	return fd;
}

static inline void rig_start_limits(struct rig *r, const char *backend,
				    const struct bufpool_limits *limits)
{
	struct worker_config config = {
		.name = "test", .io_backend = backend, .buf_limits = *limits};

	*r = (struct rig){.fds_before = rig_fds()};
	assert_int_equal(worker_new(&config, &r->w), 0);
	assert_string_equal(worker_io_name(r->w), backend);
	assert_int_equal(listener_start(r->w, rig_listen(r), rig_accepted, r, &r->l), 0);
	worker_turn(r->w, 0);
}

static inline void rig_start(struct rig *r, const char *backend)
{
	rig_start_limits(r, backend, &rig_limits);
}

/* Everything must be gone: connections, buffers (bufpool_free checks), descriptors. */
static inline void rig_end(struct rig *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->users); i++)
		user_fini(&r->users[i]);
	if (r->l)
		listener_stop(r->l, NULL);
	for (int i = 0; i < 300 && r->w->io->slot_used > 0; i++)
		worker_turn(r->w, 10 * NS_PER_MS);
	assert_int_equal(r->w->io->slot_used, 0);
	assert_int_equal(r->w->io->stats.stale, 0);
	worker_free(r->w);
	assert_int_equal(rig_fds(), r->fds_before);
}

/* Turns until the condition holds, two seconds at most. */
#define UNTIL(r, cond)                                      \
	do {                                                \
		uint64_t end_ms_ = rig_ms() + 5000;         \
		while (!(cond) && rig_ms() < end_ms_)       \
			worker_turn((r)->w, 5 * NS_PER_MS); \
		assert_true(cond);                          \
	} while (0)

/* A few turns in which nothing is expected. */
static inline void rig_idle(struct rig *r, uint64_t ms)
{
	for (uint64_t end = rig_ms() + ms; rig_ms() < end;)
		worker_turn(r->w, NS_PER_MS);
}

/* The test's own sockets: nonblocking, connected to the rig. */
static inline int peer_connect(const struct addr *to)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(to, AF_INET, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline void peer_reset(int fd)
{
	struct linger off = {1, 0};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off)), 0);
	close(fd);
}

/* Receives exactly n bytes while the worker turns; -1 at an early end. */
static inline int peer_read(struct rig *r, int fd, void *out, size_t n)
{
	uint64_t end = rig_ms() + 5000;
	size_t got = 0;

	while (got < n && rig_ms() < end) {
		ssize_t k = recv(fd, (char *)out + got, n - got, 0);

		if (k == 0 || (k < 0 && errno != EAGAIN))
			return -1;
		got += k > 0 ? (size_t)k : 0;
		worker_turn(r->w, k > 0 ? 0 : NS_PER_MS);
	}
	return got == n ? 0 : -1;
}

/* What the far end sees next: 1 a byte, 0 FIN, or -errno. */
static inline int peer_end(struct rig *r, int fd)
{
	uint64_t end = rig_ms() + 5000;

	while (rig_ms() < end) {
		char c;
		ssize_t k = recv(fd, &c, 1, 0);

		if (k >= 0 || errno != EAGAIN)
			return k >= 0 ? (int)k : -errno;
		worker_turn(r->w, NS_PER_MS);
	}
	return -ETIMEDOUT;
}

/* Deterministic bytes: position p of stream s. */
static inline uint8_t pattern(uint64_t p, unsigned s)
{
	return (uint8_t)(p * 131 + (p >> 8) * 7 + (p >> 16) * 13 + s);
}

static inline struct user *connected(struct rig *r, int *fd)
{
	uint32_t before = r->accepted;

	*fd = peer_connect(&r->at);
	UNTIL(r, r->accepted == before + 1);
	return &r->users[before % ARRAY_SIZE(r->users)];
}

static inline void send_pattern(struct rig *r, struct user *u, uint64_t from, uint32_t n)
{
	struct bufq q = {0};
	uint8_t *mem = malloc(n);

	for (uint32_t i = 0; i < n; i++)
		mem[i] = pattern(from + i, 1);
	assert_int_equal(bufq_copy(&q, r->w->bufs, mem, n), 0);
	free(mem);
	u->c->ep.ops->send(&u->c->ep, &q);
}

static inline void assert_pattern(const uint8_t *p, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], pattern(from + i, 1));
}

#endif
