/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods from their start to their end, with real workers, sockets and namespaces and a data path that only holds what it
 * is given. Everything happens in network namespaces that the test made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/io/socket.h"
#include "shared/obs/metrics.h"
#include "ztunnel/pods.h"
#include "ztunnel/workers.h"

/* ---- a data path that holds connections until it is told to let go ---- */

enum { HELD_MAX = 64 };
static struct held {
	struct pod_worker *pw;
	int fd;
	enum pod_port port;
} held[HELD_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int starts, stops, drains, kills, kill_reason;

static void hold(struct pod_listener *pl, int fd, const struct addr *peer)
{
	assert_int_equal(peer->ip.len, 4);
	pthread_mutex_lock(&lock);
	for (int i = 0; i < HELD_MAX; i++) {
		if (held[i].pw)
			continue;
		held[i] = (struct held){pod_worker_get(pl->pw), fd, pl->port};
		break;
	}
	pthread_mutex_unlock(&lock);
}

static void let_go(struct pod_worker *pw)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < HELD_MAX; i++) {
		if (held[i].pw != pw)
			continue;
		close(held[i].fd);
		pod_release(pw);
		pod_worker_put(pw);
		held[i].pw = NULL;
	}
	pthread_mutex_unlock(&lock);
}

static int held_count(void)
{
	int n = 0;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < HELD_MAX; i++)
		n += held[i].pw != NULL;
	pthread_mutex_unlock(&lock);
	return n;
}

static void count(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static int counted(int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
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

static int pod_begin(struct pod_worker *pw)
{
	(void)pw;
	count(&starts);
	return 0;
}

static void pod_end(struct pod_worker *pw)
{
	(void)pw;
	count(&stops);
}

static void pod_drains(struct pod_worker *pw)
{
	/* Nothing listens any more when the drain begins in earnest. */
	for (int i = 0; i < POD_PORTS; i++)
		assert_null(pw->listeners[i].listener);
	count(&drains);
}

static void pod_killed(struct pod_worker *pw, int reason)
{
	__atomic_store_n(&kill_reason, reason, __ATOMIC_RELAXED);
	count(&kills);
	let_go(pw);
}

static const struct proxy_ops ops = {
	.worker_start = worker_begin,
	.worker_stop = worker_end,
	.pod_start = pod_begin,
	.pod_stop = pod_end,
	.outbound = hold,
	.inbound_plaintext = hold,
	.inbound_hbone = hold,
	.socks5 = hold,
	.pod_drain = pod_drains,
	.pod_kill = pod_killed,
};

/* ---- rig ---- */

static struct app app;
static struct config *config;
static int netns[2];
static int own;
static char error[POD_ERROR_MAX];

static int make_netns(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && s >= 0);
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &lo), 0);
	close(s);
	return fd;
}

static int group_setup(void **state)
{
	(void)state;
	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 2; i++)
		netns[i] = make_netns();
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	return socket_netns_init();
}

static int setup_with(char *const *env)
{
	struct config_source source = {.environ = env, .mesh_path = "/nonexistent"};
	struct worker_config wc = {.name = "control",
				   .buf_limits = {.slots_max = 8, .bytes_max = 1 << 20}};
	char why[CONFIG_ERROR_MAX];
	assert_int_equal(config_load(&source, &config, why), 0);
	app = (struct app){.config = config, .proxy = &ops};
	app.epoch = epoch_new(config->workers + 1);
	assert_int_equal(worker_new(&wc, &app.control), 0);
	assert_int_equal(workers_start(&app), 0);
	app.pods = pods_new(&app);
	starts = stops = drains = kills = kill_reason = 0;
	return app.pods ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	return setup_with((char *const[]){"ZTUNNEL_WORKER_THREADS=3", "GAUZE_POD_CONNECTIONS=4",
					  "GAUZE_CONNECTIONS=6", NULL});
}

static int setup_no_reuse(void **state)
{
	(void)state;
	return setup_with((char *const[]){"ZTUNNEL_WORKER_THREADS=3", "INPOD_PORT_REUSE=false",
					  "UNSTABLE_ENABLE_SOCKS5=true", NULL});
}

static bool eventually(bool (*is)(void))
{
	for (int i = 0; i < 400; i++) {
		if (is())
			return true;
		worker_turn(app.control, 5 * NS_PER_MS);
	}
	return false;
}

static bool all_gone(void)
{
	return pods_live(app.pods) == 0;
}

static int teardown(void **state)
{
	(void)state;
	pods_kill(app.pods, ERR_DRAINED);
	assert_true(eventually(all_gone));
	assert_int_equal(held_count(), 0);
	workers_stop(&app);
	pods_free(app.pods);
	worker_free(app.control);
	epoch_free(app.epoch);
	config_free(config);
	return 0;
}

static int add(const char *uid, int which)
{
	struct pod_spec spec = {.kind = POD_ANNOUNCED,
				.uid = str_of(uid),
				.name = STR("name"),
				.ns = STR("ns"),
				.sa = STR("sa"),
				.netns_fd = fcntl(netns[which], F_DUPFD_CLOEXEC, 3)};
	int rc = pods_add(app.pods, &spec, error);
	if (rc)
		close(spec.netns_fd);
	return rc;
}

/* A connection from inside the pod; -1 when it is refused or reset. */
static int dial(int which, uint16_t port)
{
	struct netns ns = {netns[which]};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket_open(&ns, AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* "held", "reset" or "closed" within a second. */
static const char *fate(int fd)
{
	struct timeval second = {.tv_usec = 300000};
	char c;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	ssize_t n;
	/* Messages to the control worker's ring interrupt what this thread waits for. */
	do
		n = recv(fd, &c, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 0 ? "closed" : errno == EAGAIN ? "held" : "reset";
}

static bool two_held(void)
{
	return held_count() == 2;
}

static bool none_held(void)
{
	return held_count() == 0;
}

/* ---- cases ---- */

static void listens_in_the_pod_only(void **state)
{
	(void)state;
	int a, b, value;
	socklen_t len = sizeof(value);
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(pods_counts(app.pods).active, 1);
	a = dial(0, 15001);
	b = dial(0, 15008);
	assert_true(a >= 0 && b >= 0);
	assert_true(eventually(two_held));
	/* test_inpod_config_port_reuse: what is accepted has these from its listener. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(getsockopt(held[i].fd, SOL_SOCKET, SO_MARK, &value, &len), 0);
		assert_int_equal(value, 1337);
		assert_int_equal(getsockopt(held[i].fd, SOL_SOCKET, SO_REUSEPORT, &value, &len), 0);
		assert_int_equal(value, 1);
		assert_int_equal(getsockopt(held[i].fd, SOL_IP, IP_TRANSPARENT, &value, &len), 0);
		assert_int_equal(value, 1);
	}
	assert_int_equal(dial(0, 15080), -1);
	assert_int_equal(dial(1, 15001), -1);
	assert_int_equal(app_connections(&app), 2);
	close(a);
	close(b);
}

static void no_port_reuse_means_one_worker(void **state)
{
	(void)state;
	int fd, value;
	socklen_t len = sizeof(value);
	/* A second socket for the port would fail, be it another worker's or another pod's. */
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(add("v", 0), -EADDRINUSE);
	assert_non_null(strstr(error, "15001"));
	fd = dial(0, 15080);
	assert_true(fd >= 0);
	assert_string_equal(fate(fd), "held");
	assert_int_equal(held_count(), 1);
	assert_int_equal(getsockopt(held[0].fd, SOL_SOCKET, SO_REUSEPORT, &value, &len), 0);
	assert_int_equal(value, 0);
	close(fd);
}

static void known_uid(void **state)
{
	(void)state;
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(pods_counts(app.pods).started, 1);
	int fd = dial(0, 15006);
	assert_true(fd >= 0);
	/* Another namespace: what was there ends at once. */
	assert_int_equal(add("u", 1), 0);
	assert_int_equal(pods_counts(app.pods).started, 2);
	assert_int_equal(pods_counts(app.pods).active, 1);
	assert_true(eventually(none_held));
	assert_string_not_equal(fate(fd), "held");
	close(fd);
	fd = dial(1, 15006);
	assert_true(fd >= 0);
	assert_string_equal(fate(fd), "held");
	close(fd);
}

static void busy_port_is_named(void **state)
{
	(void)state;
	struct netns ns = {netns[0]};
	struct socket_listen_options o = {.family = AF_INET6, .bind.port = 15008, .backlog = 1};
	bool transparent;
	int fd = socket_listen(&ns, &o, &transparent);
	assert_true(fd >= 0);
	assert_int_equal(add("u", 0), -EADDRINUSE);
	assert_non_null(strstr(error, "15008"));
	assert_int_equal(pods_live(app.pods), 0);
	/* Nothing of the failed attempt is left. */
	assert_int_equal(dial(0, 15001), -1);
	close(fd);
	assert_int_equal(add("u", 0), 0);
}

static void deletion_ends_connections_at_once(void **state)
{
	(void)state;
	assert_int_equal(add("u", 0), 0);
	int fd = dial(0, 15001);
	assert_string_equal(fate(fd), "held");
	pods_del(app.pods, STR("unknown"));
	pods_del(app.pods, STR("u"));
	assert_int_equal(pods_counts(app.pods).active, 0);
	assert_true(eventually(all_gone));
	assert_int_equal(counted(&kills), 3);
	assert_int_equal(counted(&stops), 3);
	assert_int_equal(kill_reason, ERR_CLOSED);
	assert_string_not_equal(fate(fd), "held");
	assert_int_equal(dial(0, 15001), -1);
	close(fd);
}

static void pod_limit_refuses_the_new(void **state)
{
	(void)state;
	int fd[6], in = 0, out = 0;
	assert_int_equal(add("u", 0), 0);
	for (int i = 0; i < 6; i++) {
		fd[i] = dial(0, 15001);
		if (fd[i] >= 0 && strcmp(fate(fd[i]), "held") == 0)
			in++;
		else
			out++;
	}
	assert_int_equal(in, 4);
	assert_int_equal(out, 2);
	/* What was let in goes on. */
	assert_string_equal(fate(fd[0]), "held");
	uint64_t connections, bytes;
	pod_sum(pods_find(app.pods, STR("u")), &connections, &bytes);
	assert_int_equal(connections, 4);
	struct sbuf sb;
	sbuf_init(&sb, 1 << 20);
	assert_int_equal(metrics_render(&sb), 0);
	assert_non_null(strstr(sb.p, "gauze_limit_hits_total{limit=\"limit_pod_flows\"}"));
	sbuf_fini(&sb);
	for (int i = 0; i < 6; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static void process_limit_counts_all_pods(void **state)
{
	(void)state;
	int fd[8], in = 0;
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(add("v", 1), 0);
	for (int i = 0; i < 8; i++) {
		fd[i] = dial(i & 1, 15001);
		in += fd[i] >= 0 && strcmp(fate(fd[i]), "held") == 0;
	}
	assert_int_equal(in, 6);
	assert_int_equal(app_connections(&app), 6);
	for (int i = 0; i < 8; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static bool empty_seen;
static void on_empty(struct task *task)
{
	(void)task;
	empty_seen = true;
}

static bool is_empty_seen(void)
{
	return empty_seen;
}

static bool drained_three(void)
{
	return counted(&drains) == 3;
}

static void drain_closes_listeners_and_keeps_connections(void **state)
{
	static struct task task;
	(void)state;
	task_init(&task, on_empty);
	empty_seen = false;
	assert_int_equal(add("u", 0), 0);
	int fd = dial(0, 15001);
	assert_string_equal(fate(fd), "held");
	pods_on_empty(app.pods, &task);
	pods_drain(app.pods);
	assert_true(eventually(drained_three));
	assert_int_equal(dial(0, 15001), -1);
	assert_string_equal(fate(fd), "held");
	assert_int_equal(pods_live(app.pods), 1);
	assert_int_equal(add("v", 1), ERR_DRAINED);
	/* The deadline. */
	pods_kill(app.pods, ERR_DRAINED);
	pods_kill(app.pods, ERR_DRAINED);
	assert_true(eventually(is_empty_seen));
	assert_int_equal(kill_reason, ERR_DRAINED);
	assert_string_not_equal(fate(fd), "held");
	close(fd);
}

static void idle_pod_drains_by_itself(void **state)
{
	(void)state;
	assert_int_equal(add("u", 0), 0);
	assert_int_equal(add("v", 1), 0);
	pods_drain(app.pods);
	assert_true(eventually(all_gone));
	assert_int_equal(counted(&kills), 0);
	assert_int_equal(counted(&stops), 6);
}

/* A kill that crosses the end of a drain on some workers finds nothing there, and nothing is freed under it. */
static void kill_crosses_the_end_of_a_drain(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(add("u", 0), 0);
		pods_drain(app.pods);
		if (i % 3 == 0)
			worker_turn(app.control, 0);
		usleep((useconds_t)(i * 10));
		pods_kill(app.pods, ERR_DRAINED);
		assert_true(eventually(all_gone));
		/* pods_drain() is for good, so the next round takes a new table. */
		pods_free(app.pods);
		app.pods = pods_new(&app);
		assert_non_null(app.pods);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(listens_in_the_pod_only),
		cmocka_unit_test_setup_teardown(no_port_reuse_means_one_worker, setup_no_reuse,
						teardown),
		CASE(known_uid),
		CASE(busy_port_is_named),
		CASE(deletion_ends_connections_at_once),
		CASE(pod_limit_refuses_the_new),
		CASE(process_limit_counts_all_pods),
		CASE(drain_closes_listeners_and_keeps_connections),
		CASE(idle_pod_drains_by_itself),
		CASE(kill_crosses_the_end_of_a_drain),
	};
	if (geteuid() != 0) {
		fprintf(stderr, "this test makes network namespaces: run it as root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
