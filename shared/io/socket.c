/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/obs/log.h"

LOG_SCOPE(scope, "gauze::io::socket");

/* SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST: the kernel's headers for them do not go together with the C library's. */
enum { ORIGINAL_DST = 80 };

/* The namespace that this thread came with; -1 before socket_netns_init(). */
static __thread int own_netns = -1;

int socket_netns_init(void)
{
	if (own_netns >= 0)
		return 0;
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* Proves that we may switch at all. */
	if (setns(fd, CLONE_NEWNET)) {
		int err = -errno;

		close(fd);
		return err;
	}
	own_netns = fd;
	return 0;
}

static int enter(const struct netns *ns)
{
	if (!ns || ns->fd < 0)
		return 0;
	CHECK(own_netns >= 0);
	return setns(ns->fd, CLONE_NEWNET) ? -errno : 0;
}

/* A thread that stayed would give one pod's sockets to another. */
static void leave(const struct netns *ns)
{
	if (ns && ns->fd >= 0)
		CHECK(setns(own_netns, CLONE_NEWNET) == 0);
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

int socket_open(const struct netns *ns, int family, int type, uint32_t mark)
{
	int err = enter(ns);

	if (err)
		return err;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	err = fd < 0 ? -errno : 0;
	leave(ns);
	if (err)
		return err;
	if (mark)
		err = set_int(fd, SOL_SOCKET, SO_MARK, (int)mark);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int socket_bind(int fd, int family, const struct addr *local)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(local, family, &sa);

	return bind(fd, (struct sockaddr *)&sa, len) ? -errno : 0;
}

static struct addr wildcard(int family, uint16_t port)
{
	return (struct addr){.ip.len = family == AF_INET6 ? 16 : 4, .port = port};
}

int socket_listen(const struct netns *ns, const struct socket_listen_options *o, bool *transparent)
{
	struct addr bind_to = o->bind.ip.len ? o->bind : wildcard(o->family, o->bind.port);
	bool took = false;
	int fd = socket_open(ns, o->family, SOCK_STREAM, o->mark);

	if (fd < 0)
		return fd;
	int err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	if (err)
		goto fail;
	if (o->reuse_port) {
		err = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		if (err)
			log_warn(&scope, "a listener goes without SO_REUSEPORT: %s", err_text(err));
	}
	/* At the IPv4 level, whatever the family (contract section 1.2). */
	if (o->want_transparent)
		took = set_int(fd, SOL_IP, IP_TRANSPARENT, 1) == 0;
	err = socket_bind(fd, o->family, &bind_to);
	if (err)
		goto fail;
	if (listen(fd, o->backlog)) {
		err = -errno;
		goto fail;
	}
	*transparent = took;
	return fd;

fail:
	close(fd);
	return err;
}

int socket_bind_transparent(int fd, int family, const struct ip *source)
{
	bool v6 = family == AF_INET6;
	int err = set_int(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1);

	if (!err)
		err = set_int(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
	if (err)
		return err;
	return socket_bind(fd, family, &(struct addr){.ip = *source});
}

int socket_nodelay(int fd)
{
	return set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int socket_set_keepalive(int fd, const struct socket_keepalive *k)
{
	int err = 0;

	if (k->enabled) {
		err = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		if (!err)
			err = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)k->idle_s);
		if (!err)
			err = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)k->interval_s);
		if (!err)
			err = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)k->count);
	}
	if (!err && k->user_timeout_ms)
		err = set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)k->user_timeout_ms);
	return err;
}

int socket_local(int fd, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	return addr_from_sockaddr(&sa, out);
}

int socket_original_dst(int fd, struct addr *out, bool *was_redirected)
{
	static const int levels[] = {SOL_IP, SOL_IPV6};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);

		if (getsockopt(fd, levels[i], ORIGINAL_DST, &sa, &len))
			continue;
		int err = addr_from_sockaddr(&sa, out);

		if (!err)
			*was_redirected = true;
		return err;
	}
	int err = socket_local(fd, out);

	if (!err)
		*was_redirected = false;
	return err;
}

int socket_enable_migrate(const struct netns *ns)
{
	int err = enter(ns);

	if (err)
		return err;
	/* The file shows the namespace of the thread that opens it. */
	int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);

	err = fd < 0 ? -errno : 0;
	leave(ns);
	if (err)
		return err;
	if (write(fd, "1\n", 2) != 2)
		err = -errno;
	close(fd);
	return err;
}

int socket_steer(int fd, uint32_t index)
{
	struct sock_filter constant = BPF_STMT(BPF_RET | BPF_K, index);
	struct sock_fprog program = {.len = 1, .filter = &constant};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program))
		       ? -errno
		       : 0;
}

void socket_unsteer(int fd)
{
	/* Fails when there is nothing to detach. */
	(void)set_int(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0);
}

int socket_deafen(int fd)
{
	enum { FLAGS_AT = 13, SYN = 0x02, ACK = 0x10, DROP = 0 };
	/* The filter sees the packet from its TCP header on. */
	struct sock_filter no_syn[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, DROP),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(no_syn), .filter = no_syn};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ? -errno : 0;
}

int socket_netns_id(int netns_fd, uint64_t *ino, uint64_t *dev)
{
	struct stat st;

	if (fstat(netns_fd, &st))
		return -errno;
	*ino = st.st_ino;
	*dev = st.st_dev;
	return 0;
}
