/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances that take a pod over from each other, with real workers and sockets, while clients connect without a pause:
 * not one connection may be lost (contract sections 2, 12, 14).
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/base/rng.h"
#include "shared/io/socket.h"
#include "ztunnel/pods.h"
#include "ztunnel/workers.h"

enum { CALLERS = 3, INSTANCES = 4, WORKERS_MAX = 3, SLOW_MS = 900 };

static const int workers_of[INSTANCES] = {2, 3, 1, 3};

static int pod_netns;

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- a data path that answers with one byte ---- */

static void answer(struct pod_listener *pl, int fd, const struct addr *peer)
{
	(void)peer;
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	close(fd);
	__atomic_add_fetch((uint32_t *)pl->pw->proxy, 1, __ATOMIC_RELAXED);
	pod_release(pl->pw);
}

static int worker_begin(struct app_worker *aw)
{
	(void)aw;
	return 0;
}

static void worker_end(struct app_worker *aw)
{
	(void)aw;
}

/* How many each worker of an instance has answered. */
static uint32_t answered[INSTANCES][WORKERS_MAX];
static struct app apps[INSTANCES];

static int pod_begin(struct pod_worker *pw)
{
	pw->proxy = &answered[pw->aw->app - apps][pw->aw->w->index];
	return 0;
}

static void pod_over(struct pod_worker *pw)
{
	(void)pw;
}

static void pod_killed(struct pod_worker *pw, int reason)
{
	(void)pw;
	(void)reason;
}

static const struct proxy_ops ops = {
	.worker_start = worker_begin,
	.worker_stop = worker_end,
	.pod_start = pod_begin,
	.pod_stop = pod_over,
	.outbound = answer,
	.inbound_plaintext = answer,
	.inbound_hbone = answer,
	.socks5 = answer,
	.pod_drain = pod_over,
	.pod_kill = pod_killed,
};

/* ---- instances ---- */

static void start(struct app *app, int workers, const char *io)
{
	struct worker_config wc = {.name = "control",
				   .buf_limits = {.slots_max = 8, .bytes_max = 1 << 20}};
	char threads[40], backend[20], why[CONFIG_ERROR_MAX];
	char *const env[] = {threads, backend, NULL};
	struct config_source source = {.environ = env, .mesh_path = "/nonexistent"};

	snprintf(threads, sizeof(threads), "ZTUNNEL_WORKER_THREADS=%d", workers);
	snprintf(backend, sizeof(backend), "GAUZE_IO=%s", io);
	*app = (struct app){.proxy = &ops};
	assert_int_equal(config_load(&source, &app->config, why), 0);
	app->epoch = epoch_new(app->config->workers + 1);
	assert_int_equal(worker_new(&wc, &app->control), 0);
	assert_int_equal(workers_start(app), 0);
	app->pods = pods_new(app);
	assert_non_null(app->pods);
}

static void end(struct app *app)
{
	workers_stop(app);
	pods_free(app->pods);
	worker_free(app->control);
	epoch_free(app->epoch);
	config_free(app->config);
}

/* The control workers are turned by the test. */
static void turn(uint64_t for_ms)
{
	uint64_t until_ms = now_ms() + for_ms;
	do
		for (int i = 0; i < INSTANCES; i++)
			worker_turn(apps[i].control, NS_PER_MS / 4);
	while (now_ms() < until_ms);
}

static void join(int which)
{
	char error[POD_ERROR_MAX];
	struct pod_spec spec = {.kind = POD_ANNOUNCED,
				.uid = STR("u"),
				.name = STR("name"),
				.ns = STR("ns"),
				.sa = STR("sa"),
				.netns_fd = fcntl(pod_netns, F_DUPFD_CLOEXEC, 3)};
	assert_int_equal(pods_add(apps[which].pods, &spec, error), 0);
}

/* Waits until nothing is left; then it may join again. */
static void finish(int which)
{
	struct app *app = &apps[which];
	for (uint64_t end_ms = now_ms() + 5000; pods_live(app->pods) && now_ms() < end_ms;)
		turn(1);
	assert_int_equal(pods_live(app->pods), 0);
	/* pods_drain() is for good, so the next time takes a new table. */
	pods_free(app->pods);
	app->pods = pods_new(app);
	assert_non_null(app->pods);
}

static void leave(int which)
{
	pods_drain(apps[which].pods);
	finish(which);
}

static uint32_t served(int which)
{
	uint32_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(answered[which]); i++)
		n += __atomic_load_n(&answered[which][i], __ATOMIC_RELAXED);
	return n;
}

static void until_served(int which, uint32_t more)
{
	uint32_t want = served(which) + more;
	for (uint64_t end = now_ms() + 5000; served(which) < want && now_ms() < end;)
		turn(1);
	assert_true(served(which) >= want);
}

/* Whether the group of sockets that this instance is in has a program to choose one; there is none afterwards. */
static bool steered(int which)
{
	struct pod *pod = pods_find(apps[which].pods, STR("u"));
	int any = 0;
	for (int i = 0; i < POD_SOCKS5; i++) {
		int fd = pod->workers[0].listeners[i].fd;
		if (setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &any, sizeof(any)) == 0)
			return true;
		assert_int_equal(errno, ENOENT);
	}
	return false;
}

/* ---- clients ---- */

static struct caller {
	pthread_t thread;
	uint32_t connects, lost, slow;
} callers[CALLERS];
static bool calling, enough; /* the latter atomic */

static bool one_call(int family, uint16_t port)
{
	struct addr to = {.ip.len = family == AF_INET ? 4 : 16, .port = port};
	struct sockaddr_storage sa;
	char byte;
	if (family == AF_INET)
		to.ip.b[0] = 127;
	to.ip.b[to.ip.len - 1] = 1;
	socklen_t len = addr_to_sockaddr(&to, family, &sa);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = connect(fd, (struct sockaddr *)&sa, len) == 0 && recv(fd, &byte, 1, 0) == 1;
	close(fd);
	return ok;
}

static void *call(void *arg)
{
	static const uint16_t ports[] = {15001, 15006, 15008};
	struct caller *c = arg;
	CHECK(setns(pod_netns, CLONE_NEWNET) == 0);
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		uint64_t begin = now_ms();
		c->lost += !one_call(c->connects % 4 ? AF_INET : AF_INET6,
				     ports[c->connects % ARRAY_SIZE(ports)]);
		c->slow += now_ms() - begin > SLOW_MS;
		c->connects++;
	}
	return NULL;
}

static void callers_start(void)
{
	calling = true;
	__atomic_store_n(&enough, false, __ATOMIC_RELAXED);
	for (int i = 0; i < CALLERS; i++) {
		callers[i] = (struct caller){0};
		assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
	}
}

/* The sums of all. */
static struct caller callers_stop(const char *what)
{
	struct caller sum = {0};
	calling = false;
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(callers[i].thread, NULL);
		sum.connects += callers[i].connects;
		sum.lost += callers[i].lost;
		sum.slow += callers[i].slow;
	}
	print_message("%s: %u connections, %u lost, %u slow\n", what, sum.connects, sum.lost,
		      sum.slow);
	return sum;
}

/* ---- cases ---- */

/* To one with more, as many and fewer sockets, in ever changing order. */
static void one_after_the_other(void **state)
{
	(void)state;
	struct rng rng;
	int now = 0, hand_overs = 0;
	rng_init(&rng, 1);
	join(now);
	callers_start();
	for (uint64_t end_ms = now_ms() + 3500; now_ms() < end_ms; hand_overs++) {
		int next = (now + 1 + (int)rng_below(&rng, INSTANCES - 1)) % INSTANCES;
		until_served(now, 20);
		join(next);
		leave(now);
		assert_false(steered(next));
		now = next;
	}
	until_served(now, 20);
	struct caller sum = callers_stop("one after the other");
	print_message("%d hand-overs\n", hand_overs);
	leave(now);
	assert_int_equal(sum.lost, 0);
	assert_true(hand_overs > 5 && sum.connects > 200);
	/* At most those that met a deaf socket while the sockets of one port were closed. */
	assert_true(sum.slow <= (uint32_t)hand_overs / 2);
}

/* One socket of the next instance takes all that is new meanwhile; afterwards each takes its part. */
static void all_workers_serve_afterwards(void **state)
{
	(void)state;
	uint32_t before[WORKERS_MAX];
	join(2);
	join(3);
	callers_start();
	leave(2);
	for (int i = 0; i < WORKERS_MAX; i++)
		before[i] = __atomic_load_n(&answered[3][i], __ATOMIC_RELAXED);
	until_served(3, 200);
	for (int i = 0; i < WORKERS_MAX; i++)
		assert_true(__atomic_load_n(&answered[3][i], __ATOMIC_RELAXED) > before[i]);
	assert_int_equal(callers_stop("afterwards").lost, 0);
	leave(3);
}

/* The middle one of three has sockets of an older one before its own: it steers amiss, and still loses nobody. */
static void out_of_turn(void **state)
{
	(void)state;
	join(0);
	join(1);
	join(2);
	callers_start();
	until_served(0, 20);
	leave(1);
	until_served(2, 20);
	leave(0);
	assert_false(steered(2));
	until_served(2, 20);
	assert_int_equal(callers_stop("out of turn").lost, 0);
	leave(2);
}

/* A kill at any moment of the hand-over leaves nothing behind with the next instance. */
static void killed_meanwhile(void **state)
{
	static const useconds_t after_us[] = {0, 200, 1000, 10000, 49000, 50000, 51000, 52000};
	(void)state;
	join(0);
	for (size_t i = 0; i < ARRAY_SIZE(after_us); i++) {
		join(1);
		pods_drain(apps[1].pods);
		usleep(after_us[i]);
		if (i % 2)
			turn(0);
		pods_kill(apps[1].pods, ERR_DRAINED);
		finish(1);
		assert_false(steered(0));
	}
	leave(0);
}

static int setup(void **state)
{
	memset(answered, 0, sizeof(answered));
	for (int i = 0; i < INSTANCES; i++)
		start(&apps[i], workers_of[i], *state);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	/* Only after a failure is there anything left. */
	if (calling)
		(void)callers_stop("failed");
	for (int i = 0; i < INSTANCES; i++) {
		pods_kill(apps[i].pods, ERR_DRAINED);
		finish(i);
	}
	for (int i = 0; i < INSTANCES; i++)
		end(&apps[i]);
	return 0;
}

static int group_setup(void **state)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	pod_netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(own >= 0 && pod_netns >= 0 && s >= 0);
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &lo), 0);
	close(s);
	/* Else the ports of our clients might be those that pods listen on. */
	int range = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(range, "20000 65000", 11), 11);
	close(range);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	close(own);
	return socket_netns_init();
}

int main(void)
{
#define ON(f, io)                                         \
	{                                                 \
#f " " io, f, setup, teardown, (void *)io \
	}
#define BOTH(f) ON(f, "uring"), ON(f, "epoll")
	const struct CMUnitTest tests[] = {
		BOTH(one_after_the_other),
		BOTH(all_workers_serve_afterwards),
		BOTH(out_of_turn),
		BOTH(killed_meanwhile),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "this test makes network namespaces: run it as root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
