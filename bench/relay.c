/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain TCP relay through endpoints, over loopback: what io/ costs by itself. The relay's thread runs on one core, the
 * load on another; only the relay's CPU time is counted.
 *
 *	relay [uring|epoll] [bulk|round] [seconds] [connections]
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/backend.h"
#include "shared/io/conn.h"
#include "shared/io/listen.h"
#include "shared/io/socket.h"
#include "shared/io/worker.h"
#include "shared/obs/log.h"

enum { MESSAGE_BYTES = 1024, CHUNK_BYTES = 256 * 1024, CONNS_MAX = 256 };

static struct addr relay_at, sink_at;
static bool bulk;
static int conns;
static bool over;     /* atomic */
static uint64_t done; /* atomic: bytes or round trips */

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* The same for everybody, whatever the machine's default: bbr costs half as much again over loopback. */
static void cubic(int fd)
{
	must(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0, "cubic");
}

static int listen_at(struct addr *at)
{
	bool transparent;
	struct socket_listen_options o = {.family = AF_INET, .backlog = 512};

	must(addr_parse(STR("127.0.0.1:0"), &o.bind) == 0, "address");
	int fd = socket_listen(NULL, &o, &transparent);

	must(fd >= 0 && socket_local(fd, at) == 0, "listen");
	cubic(fd);
	return fd;
}

/* ---- the relay ---- */

struct pair {
	struct worker *w;
	struct task task;
	struct conn *side[2];
	uint32_t charged[2]; /* taken from side i and not yet credited to it */
};

static void pair_end(struct pair *p, int reason)
{
	task_cancel(&p->task);
	for (int i = 0; i < 2; i++)
		p->side[i]->ep.ops->close(&p->side[i]->ep, reason);
	free(p);
}

static void pump(struct pair *p, int from)
{
	struct endpoint *a = &p->side[from]->ep, *b = &p->side[!from]->ep;

	if (a->rx.bytes) {
		p->charged[from] += a->rx.bytes;
		b->ops->send(b, &a->rx);
	}
	if (p->charged[from] > b->tx_pending) {
		uint32_t n = p->charged[from] - b->tx_pending;

		p->charged[from] -= n;
		a->ops->credit(a, n);
	}
	if (a->eof)
		b->ops->finish(b);
}

static void pair_run(struct task *task)
{
	struct pair *p = container_of(task, struct pair, task);

	pump(p, 0);
	pump(p, 1);
	struct endpoint *a = &p->side[0]->ep, *b = &p->side[1]->ep;

	if (a->error || b->error)
		pair_end(p, a->error ? a->error : b->error);
	else if (a->eof && b->eof && !a->tx_pending && !b->tx_pending)
		pair_end(p, 0);
}

static void accepted(void *arg, int fd, const struct addr *peer)
{
	struct pair *p = calloc(1, sizeof(*p));

	must(p && socket_nodelay(fd) == 0, "accept");
	p->w = arg;
	task_init(&p->task, pair_run);
	p->side[0] = conn_accept(p->w, fd, peer, NULL);
	int out = socket_open(NULL, AF_INET, SOCK_STREAM, 0);

	must(out >= 0 && socket_nodelay(out) == 0, "socket");
	cubic(out);
	p->side[1] = conn_connect(p->w, out, &sink_at, 1000);
	must(p->side[0] && p->side[1], "conn");
	for (int i = 0; i < 2; i++)
		endpoint_attach(&p->side[i]->ep, &p->w->run, &p->task);
}

static void *relay_thread(void *arg)
{
	pin(0);
	worker_run(arg);
	return NULL;
}

/* ---- the load ---- */

static bool stopped(void)
{
	return __atomic_load_n(&over, __ATOMIC_RELAXED);
}

static void count(uint64_t n)
{
	__atomic_fetch_add(&done, n, __ATOMIC_RELAXED);
}

static int dial(void)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&relay_at, AF_INET, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cubic(fd);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0, "connect");
	must(socket_nodelay(fd) == 0, "nodelay");
	return fd;
}

static void send_chunks(const int *fds)
{
	static char chunk[CHUNK_BYTES];

	for (int i = 0; !stopped(); i = (i + 1) % conns)
		if (send(fds[i], chunk, sizeof(chunk), MSG_NOSIGNAL) < 0)
			return;
}

/* Answers, or only swallows; one message is read whole by a single call nearly always. */
static void serve(int ep, bool answer, bool counts)
{
	static char bufs[2][CHUNK_BYTES];
	char *buf = bufs[counts];
	struct epoll_event evs[CONNS_MAX];

	while (!stopped()) {
		int n = epoll_wait(ep, evs, CONNS_MAX, 100);

		for (int i = 0; i < n; i++) {
			ssize_t got = recv(evs[i].data.fd, buf, CHUNK_BYTES, MSG_DONTWAIT);

			if (got <= 0)
				continue;
			if (counts)
				count(bulk ? (uint64_t)got : 1);
			if (answer)
				must(send(evs[i].data.fd, buf, (size_t)got, MSG_NOSIGNAL) == got,
				     "answer");
		}
	}
}

static void watch_fd(int ep, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll");
}

static void *sink_thread(void *arg)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);

	pin(1);
	must(fcntl(*(int *)arg, F_SETFL, 0) == 0, "blocking");
	for (int i = 0; i < conns; i++) {
		int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);

		must(fd >= 0 && socket_nodelay(fd) == 0, "sink");
		watch_fd(ep, fd);
	}
	serve(ep, !bulk, bulk);
	return NULL;
}

static void *client_thread(void *arg)
{
	int fds[CONNS_MAX], ep = epoll_create1(EPOLL_CLOEXEC);
	static const char message[MESSAGE_BYTES];

	(void)arg;
	pin(1);
	for (int i = 0; i < conns; i++)
		watch_fd(ep, fds[i] = dial());
	if (bulk) {
		send_chunks(fds);
	} else {
		for (int i = 0; i < conns; i++)
			must(send(fds[i], message, sizeof(message), 0) == MESSAGE_BYTES, "send");
		serve(ep, true, true);
	}
	for (int i = 0; i < conns; i++)
		close(fds[i]);
	return NULL;
}

static void report(const struct worker *w, uint64_t n, uint64_t cpu_ns, double seconds)
{
	const struct io_stats *s = &w->io->stats;
	double recvs = (double)s->recvs, sends = (double)s->sends;

	if (bulk)
		printf("%-5s bulk  %6.3f s/GB  %6.2f Gbit/s  recv %.0f KB send %.0f KB each\n",
		       worker_io_name(w), (double)cpu_ns / (double)n, (double)n * 8e-9 / seconds,
		       (double)s->recv_bytes / recvs / 1024, (double)s->send_bytes / sends / 1024);
	else
		printf("%-5s round %6.2f us  %8.0f /s  turns %.2f per round trip\n",
		       worker_io_name(w), (double)cpu_ns / 1e3 / (double)n, (double)n / seconds,
		       (double)s->turns / (double)n);
	printf("      short %lu starved %lu slabs refused %lu\n", s->sends_short, s->starved,
	       s->slabs_refused);
}

int main(int argc, char **argv)
{
	const char *backend = argc > 1 ? argv[1] : "uring";
	double seconds = argc > 3 ? atof(argv[3]) : 2;
	pthread_t relay, sink, client;
	clockid_t clock;
	struct worker *w;
	struct listener *l;

	bulk = argc <= 2 || strcmp(argv[2], "bulk") == 0;
	conns = argc > 4 ? atoi(argv[4]) : bulk ? 1 : 16;
	must(conns > 0 && conns <= CONNS_MAX, "connections");
	must(log_init("off", false, 2) == 0, "log");
	struct worker_config config = {
		.name = "relay",
		.io_backend = backend,
		.buf_limits = {.slots_max = 1024, .bytes_max = 1 << 29, .slabs_cached = 4},
	};
	int sink_fd = listen_at(&sink_at), relay_fd = listen_at(&relay_at);

	must(worker_new(&config, &w) == 0, "worker");
	must(listener_start(w, relay_fd, accepted, w, &l) == 0, "listener");
	must(pthread_create(&relay, NULL, relay_thread, w) == 0, "thread");
	must(pthread_create(&sink, NULL, sink_thread, &sink_fd) == 0, "thread");
	must(pthread_create(&client, NULL, client_thread, NULL) == 0, "thread");
	pthread_getcpuclockid(relay, &clock);
	usleep(300 * 1000);
	uint64_t n0 = __atomic_load_n(&done, __ATOMIC_RELAXED), cpu0 = clock_ns(clock);
	uint64_t t0 = clock_ns(CLOCK_MONOTONIC);

	usleep((useconds_t)(seconds * 1e6));
	uint64_t n = __atomic_load_n(&done, __ATOMIC_RELAXED) - n0, cpu = clock_ns(clock) - cpu0;

	report(w, n, cpu, (double)(clock_ns(CLOCK_MONOTONIC) - t0) / 1e9);
	fflush(stdout);
	/* The load's threads may stand in a blocking call: the process ends as it is. */
	_exit(0);
}
