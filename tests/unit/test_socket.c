/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

#include <net/if.h>
#include <sched.h>
#include <sys/stat.h>

static struct netns pod; /* another namespace than the test's own */

static int get_int(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static ino_t own_ns(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/thread-self/ns/net", &st), 0);
	return st.st_ino;
}

/* Whether fd belongs to the pod's namespace: only there is port 7777 taken. */
static bool in_pod(int fd)
{
	struct addr at;

	assert_int_equal(addr_parse(STR("127.0.0.1:7777"), &at), 0);
	return socket_bind(fd, AF_INET, &at) == -EADDRINUSE;
}

static void opens_inside(void **state)
{
	ino_t before = own_ns();

	(void)state;
	int in = socket_open(&pod, AF_INET, SOCK_STREAM, 0x539);
	int out = socket_open(&(struct netns){-1}, AF_INET, SOCK_STREAM, 0);

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(own_ns(), before);
	assert_true(in_pod(in));
	assert_false(in_pod(out));
	assert_int_equal(get_int(in, SOL_SOCKET, SO_MARK), 0x539);
	assert_int_equal(get_int(out, SOL_SOCKET, SO_MARK), 0);
	assert_true(fcntl(in, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(in, F_GETFD) & FD_CLOEXEC);
	close(in);
	close(out);
}

static void open_fails(void **state)
{
	ino_t before = own_ns();

	(void)state;
	assert_int_equal(socket_open(&pod, 12345, SOCK_STREAM, 0), -EAFNOSUPPORT);
	assert_int_equal(own_ns(), before);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(socket_open(&(struct netns){null}, AF_INET, SOCK_STREAM, 0), -EINVAL);
	assert_int_equal(own_ns(), before);
	close(null);
}

static void listens(void **state)
{
	struct socket_listen_options o = {
		.family = AF_INET6,
		.bind.port = 15001,
		.mark = 7,
		.reuse_port = true,
		.want_transparent = true,
		.backlog = 128,
	};
	bool transparent = false;
	struct addr at;

	(void)state;
	int a = socket_listen(&pod, &o, &transparent);

	assert_true(a >= 0);
	assert_true(transparent);
	assert_int_equal(get_int(a, SOL_IP, IP_TRANSPARENT), 1);
	assert_int_equal(get_int(a, SOL_SOCKET, SO_REUSEPORT), 1);
	assert_int_equal(get_int(a, SOL_SOCKET, SO_MARK), 7);
	assert_int_equal(get_int(a, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(socket_local(a, &at), 0);
	assert_int_equal(at.port, 15001);
	assert_int_equal(at.ip.len, 16);
	/* A twin, then one that does not share. */
	o.want_transparent = false;
	int b = socket_listen(&pod, &o, &transparent);

	assert_true(b >= 0);
	assert_false(transparent);
	o.reuse_port = false;
	transparent = true;
	assert_int_equal(socket_listen(&pod, &o, &transparent), -EADDRINUSE);
	assert_true(transparent);
	/* An address that is not here. */
	assert_int_equal(addr_parse(STR("192.0.2.7:80"), &o.bind), 0);
	o.family = AF_INET;
	assert_int_equal(socket_listen(&pod, &o, &transparent), -EADDRNOTAVAIL);
	close(a);
	close(b);
}

static void binds_transparently(void **state)
{
	struct ip v4, v6;
	struct addr at;

	(void)state;
	assert_int_equal(ip_parse(STR("192.0.2.7"), &v4), 0);
	assert_int_equal(ip_parse(STR("2001:db8::7"), &v6), 0);
	int fd4 = socket_open(&pod, AF_INET, SOCK_STREAM, 0);
	int fd6 = socket_open(&pod, AF_INET6, SOCK_STREAM, 0);
	int mapped = socket_open(&pod, AF_INET6, SOCK_STREAM, 0);

	/* Addresses of nobody here. */
	assert_int_equal(socket_bind_transparent(fd4, AF_INET, &v4), 0);
	assert_int_equal(socket_local(fd4, &at), 0);
	assert_true(ip_eq(&at.ip, &v4) && at.port != 0);
	assert_int_equal(socket_bind_transparent(fd6, AF_INET6, &v6), 0);
	assert_int_equal(socket_local(fd6, &at), 0);
	assert_true(ip_eq(&at.ip, &v6));
	assert_int_equal(socket_bind_transparent(mapped, AF_INET6, &v4), 0);
	assert_int_equal(socket_local(mapped, &at), 0);
	assert_true(ip_eq(&at.ip, &v4));
	close(fd4);
	close(fd6);
	close(mapped);
}

static void options(void **state)
{
	struct socket_keepalive k = {true, 180, 75, 9, 0};

	(void)state;
	int fd = socket_open(NULL, AF_INET, SOCK_STREAM, 0);

	assert_int_equal(socket_nodelay(fd), 0);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(socket_set_keepalive(fd, &k), 0);
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), 180);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL), 75);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	k = (struct socket_keepalive){.user_timeout_ms = 1234};
	assert_int_equal(socket_set_keepalive(fd, &k), 0);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
	close(fd);
	assert_int_equal(socket_nodelay(-1), -EBADF);
}

static void original_dst_is_local(void **state)
{
	struct addr at, dst;
	bool redirected = true;

	(void)state;
	assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), 0);
	int l = rig_listen_at(&at, 1);

	assert_int_equal(socket_local(l, &at), 0);
	int c = peer_connect(&at);
	int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);

	assert_int_equal(socket_original_dst(s, &dst, &redirected), 0);
	assert_true(addr_eq(&dst, &at));
	assert_false(redirected);
	redirected = true;
	assert_int_equal(socket_original_dst(-1, &dst, &redirected), -EBADF);
	assert_true(redirected);
	close(l);
	close(c);
	close(s);
}

static char migrate(void)
{
	int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_RDONLY | O_CLOEXEC);
	char c = 0;

	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
	return c;
}

static void enables_migration(void **state)
{
	ino_t before = own_ns();

	(void)state;
	assert_int_equal(migrate(), '0');
	assert_int_equal(socket_enable_migrate(&pod), 0);
	assert_int_equal(own_ns(), before);
	/* There, not here. */
	assert_int_equal(migrate(), '0');
	int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_int_equal(setns(pod.fd, CLONE_NEWNET), 0);
	assert_int_equal(migrate(), '1');
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	close(own);
}

/* Which of the listening sockets has it. */
static int accepted_by(const int *fds, int n)
{
	for (int i = 0; i < n; i++) {
		int s = accept4(fds[i], NULL, NULL, SOCK_CLOEXEC);

		if (s < 0)
			continue;
		close(s);
		return i;
	}
	return -1;
}

static void steers(void **state)
{
	struct addr at;
	int fds[3];

	(void)state;
	assert_int_equal(addr_parse(STR("127.0.0.1:15008"), &at), 0);
	for (int i = 0; i < 3; i++)
		fds[i] = rig_listen_at(&at, 8);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(socket_steer(fds[i % 2], (uint32_t)i / 10), 0);
		close(peer_connect(&at));
		assert_int_equal(accepted_by(fds, 3), i / 10);
	}
	/* The last takes the place of one that leaves. */
	assert_int_equal(socket_steer(fds[0], 0), 0);
	close(fds[0]);
	close(peer_connect(&at));
	assert_int_equal(accepted_by(fds + 1, 2), 1);
	/* Beyond the end: any. */
	assert_int_equal(socket_steer(fds[1], 2), 0);
	close(peer_connect(&at));
	assert_true(accepted_by(fds + 1, 2) >= 0);
	socket_unsteer(fds[2]);
	socket_unsteer(fds[2]);
	close(fds[1]);
	close(fds[2]);
	assert_int_equal(socket_steer(-1, 0), -EBADF);
	int alone = socket_open(NULL, AF_INET, SOCK_STREAM, 0);

	assert_int_equal(socket_steer(alone, 0), -EINVAL);
	close(alone);
}

static void deaf_to_syns(void **state)
{
	struct sockaddr_storage sa;
	struct addr at;

	(void)state;
	assert_int_equal(addr_parse(STR("127.0.0.1:15008"), &at), 0);
	int l = rig_listen_at(&at, 8);
	int before = peer_connect(&at);

	assert_int_equal(socket_deafen(l), 0);
	int after = socket_open(NULL, AF_INET, SOCK_STREAM, 0);
	struct pollfd p = {.fd = after, .events = POLLOUT};

	assert_int_equal(
		connect(after, (struct sockaddr *)&sa, addr_to_sockaddr(&at, AF_INET, &sa)), -1);
	assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(poll(&p, 1, 100), 0);
	/* What came before is there and works. */
	int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	char c;

	assert_true(s >= 0);
	assert_int_equal(send(before, "x", 1, 0), 1);
	assert_int_equal(recv(s, &c, 1, 0), 1);
	/* The one that was ignored asks again, and somebody else answers. */
	int next = rig_listen_at(&at, 8);

	close(l);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(accepted_by(&next, 1), 0);
	close(next);
	close(s);
	close(before);
	close(after);
	assert_int_equal(socket_deafen(-1), -EBADF);
}

static void netns_id(void **state)
{
	uint64_t ino = 0, dev = 0, ino2, dev2;

	(void)state;
	int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_int_equal(socket_netns_id(own, &ino, &dev), 0);
	assert_int_equal(ino, own_ns());
	assert_int_equal(socket_netns_id(pod.fd, &ino2, &dev2), 0);
	assert_true(ino != ino2 && dev == dev2);
	assert_int_equal(socket_netns_id(-1, &ino, &dev), -EBADF);
	close(own);
}

static void loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_inside),
		cmocka_unit_test(open_fails),
		cmocka_unit_test(listens),
		cmocka_unit_test(binds_transparently),
		cmocka_unit_test(options),
		cmocka_unit_test(original_dst_is_local),
		cmocka_unit_test(enables_migration),
		cmocka_unit_test(netns_id),
		cmocka_unit_test(steers),
		cmocka_unit_test(deaf_to_syns),
	};
	struct addr taken;

	/* Two namespaces: that of a pod, then one of our own so that nothing of the machine is seen or changed. */
	if (unshare(CLONE_NEWNET)) {
		perror("test_socket needs root for network namespaces");
		return 1;
	}
	pod.fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	loopback_up();
	if (addr_parse(STR("127.0.0.1:7777"), &taken) || rig_listen_at(&taken, 1) < 0)
		return 1;
	if (unshare(CLONE_NEWNET) || socket_netns_init() || socket_netns_init()) {
		perror("test_socket");
		return 1;
	}
	loopback_up();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
