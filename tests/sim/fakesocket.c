/* SPDX-License-Identifier: Apache-2.0 */
/* socket.h over the network in memory; takes the place of shared/io/socket.c at link time. */
#include <errno.h>
#include <sys/socket.h>

#include "fakenet_priv.h"
#include "shared/base/err.h"
#include "shared/io/socket.h"

/* The linker leads close() and setsockopt() here: the data path uses them on sockets that it refuses. */
int __real_close(int fd);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_close(int fd);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

int __wrap_close(int fd)
{
	if (!fake_is(fd))
		return __real_close(fd);
	fake_close(fd, fake_get(fd)->reset_on_close);
	return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (!fake_is(fd))
		return __real_setsockopt(fd, level, name, value, len);
	CHECK(level == SOL_SOCKET && name == SO_LINGER && len == sizeof(struct linger));
	fake_get(fd)->reset_on_close = true;
	return 0;
}

int socket_netns_init(void)
{
	return 0;
}

int socket_open(const struct netns *ns, int family, int type, uint32_t mark)
{
	if (type != SOCK_STREAM)
		return -ESOCKTNOSUPPORT;
	return fake_open(ns ? ns->fd : -1, family, mark);
}

int socket_bind(int fd, int family, const struct addr *local)
{
	(void)family;
	fake_get(fd)->local = *local;
	return 0;
}

int socket_listen(const struct netns *ns, const struct socket_listen_options *o, bool *transparent)
{
	int fd = socket_open(ns, o->family, SOCK_STREAM, o->mark);

	if (fd < 0)
		return fd;
	struct fake_socket *s = fake_get(fd);

	s->local = o->bind;
	if (s->local.ip.len == 0)
		s->local.ip.len = o->family == AF_INET6 ? 16 : 4;
	s->listening = true;
	s->backlog = (unsigned)o->backlog;
	*transparent = o->want_transparent;
	return fd;
}

int socket_bind_transparent(int fd, int family, const struct ip *source)
{
	return socket_bind(fd, family, &(struct addr){.ip = *source});
}

int socket_nodelay(int fd)
{
	(void)fake_get(fd);
	return 0;
}

int socket_set_keepalive(int fd, const struct socket_keepalive *k)
{
	(void)fake_get(fd);
	(void)k;
	return 0;
}

int socket_original_dst(int fd, struct addr *out, bool *was_redirected)
{
	const struct fake_socket *s = fake_get(fd);

	*was_redirected = s->original.ip.len > 0;
	*out = *was_redirected ? s->original : s->local;
	return 0;
}

int socket_local(int fd, struct addr *out)
{
	*out = fake_get(fd)->local;
	return 0;
}

int socket_enable_migrate(const struct netns *ns)
{
	(void)ns;
	return 0;
}

int socket_netns_id(int netns_fd, uint64_t *ino, uint64_t *dev)
{
	*ino = (uint64_t)netns_fd;
	*dev = 1;
	return 0;
}

/* One program owns the network: nothing is handed over. */
int socket_steer(int fd, uint32_t index)
{
	(void)fake_get(fd);
	(void)index;
	return 0;
}

void socket_unsteer(int fd)
{
	(void)fake_get(fd);
}

int socket_deafen(int fd)
{
	(void)fake_get(fd);
	return 0;
}
