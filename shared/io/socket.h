/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets before they are connections: creation inside a network namespace, options of contract section 1.2, original
 * destination. Plain system calls; none of them blocks.
 */
#ifndef GAUZE_IO_SOCKET_H
#define GAUZE_IO_SOCKET_H

#include "shared/base/addr.h"

/* A pod's network namespace, or the process's own (fd -1: no switch). */
struct netns {
	int fd; /* borrowed for each call */
};

struct socket_keepalive {
	bool enabled;
	uint32_t idle_s, interval_s, count;
	uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0 leaves it off */
};

/* Remembers the calling thread's namespace for returning to it; once per thread before any other call. */
int must_check socket_netns_init(void);
/*
 * socket(family, type|NONBLOCK|CLOEXEC) inside ns, then SO_MARK when mark != 0. Failing to return to the thread's own
 * namespace is a CHECK. Returns the descriptor or a negative code.
 */
int must_check socket_open(const struct netns *ns, int family, int type, uint32_t mark);
/* TCP listener options: see contract section 1.2; *transparent tells whether IP_TRANSPARENT took. */
struct socket_listen_options {
	struct addr bind; /* ip.len 0: wildcard of `family` */
	int family;
	uint32_t mark;
	bool reuse_port;
	bool want_transparent;
	int backlog;
};
int must_check socket_listen(const struct netns *ns, const struct socket_listen_options *o,
			     bool *transparent);
int must_check socket_bind(int fd, int family, const struct addr *local);
/* IP_TRANSPARENT + IP_FREEBIND (v4) or the IPv6 twins, then bind (ip, port 0). */
int must_check socket_bind_transparent(int fd, int family, const struct ip *source);
int must_check socket_nodelay(int fd);
int must_check socket_set_keepalive(int fd, const struct socket_keepalive *k);
/* SO_ORIGINAL_DST (v4, then v6), else the local address (*was_redirected false). */
int must_check socket_original_dst(int fd, struct addr *out, bool *was_redirected);
int must_check socket_local(int fd, struct addr *out);
/* Sets net.ipv4.tcp_migrate_req in ns so that a closing listener's queue moves to its SO_REUSEPORT twins. */
int must_check socket_enable_migrate(const struct netns *ns);
/*
 * Hand-over of a port to another process's sockets of the same SO_REUSEPORT group (contract sections 2, 14). The kernel
 * keeps a group in an array: a new socket goes to its end, and the last one takes the place of one that leaves.
 *
 * socket_steer() sends every new connection of the group to the socket at `index`; an index beyond the end means the
 * usual choice by hash. It holds for the whole group and outlives its sockets until socket_unsteer() (on any of them).
 */
int must_check socket_steer(int fd, uint32_t index);
void socket_unsteer(int fd);
/*
 * From now on the listening socket ignores SYNs, so that their senders try again later, perhaps with another socket of
 * the group; handshakes under way go on. What it accepts from now on ignores SYNs, too: it has no use for them.
 */
int must_check socket_deafen(int fd);
/* Inode and device that identify a namespace (contract 1.3). */
int must_check socket_netns_id(int netns_fd, uint64_t *ino, uint64_t *dev);

#endif
