/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/io/kernel.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/buf.h"

uint64_t kernel_now(struct io *io)
{
	struct timespec ts;

	(void)io;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct timespec kernel_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S),
				 .tv_nsec = (long)(ns % NS_PER_S)};
}

int kernel_millis(uint64_t ns)
{
	uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);

	return (int)MIN(ms, (uint64_t)INT32_MAX);
}

void kernel_wake(int event_fd)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the worker has a wake coming. */
	ssize_t n = write(event_fd, &one, sizeof(one));
	(void)n;
}

int kernel_family(int fd)
{
	int family = AF_INET;
	socklen_t len = sizeof(family);

	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	return family;
}

int kernel_nonblock(int fd)
{
	int on = 1;

	return ioctl(fd, FIONBIO, &on) ? -errno : 0;
}

int kernel_connect(int fd, const struct addr *to)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(to, kernel_family(fd), &sa);
	int err = kernel_nonblock(fd);

	if (err)
		return err;
	return connect(fd, (struct sockaddr *)&sa, len) ? -errno : 0;
}

int kernel_socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

int kernel_accept(int fd, struct addr *peer)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int got = accept4(fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (got < 0)
		return -errno;
	int err = addr_from_sockaddr(&sa, peer);

	if (err) {
		close(got);
		return -ECONNABORTED;
	}
	return got;
}

void kernel_shutdown(struct io *io, int fd)
{
	(void)io;
	/* Fails when the connection is gone, which the next receive tells. */
	(void)shutdown(fd, SHUT_WR);
}

void kernel_close(struct io *io, int fd, bool reset)
{
	struct linger off = {.l_onoff = 1, .l_linger = 0};

	(void)io;
	if (reset)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(fd);
}

int kernel_local(struct io *io, int fd, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	(void)io;
	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	return addr_from_sockaddr(&sa, out);
}

int kernel_peer(struct io *io, int fd, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	(void)io;
	if (getpeername(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	return addr_from_sockaddr(&sa, out);
}

uint32_t kernel_slots(struct bufpool *pool)
{
	struct buf *b = bufpool_slot(pool);

	if (!b)
		return 0;
	buf_put(b);
	return bufpool_slots_left(pool);
}
