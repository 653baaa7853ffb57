/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The servers that loadgen talks to, in one thread: loadserve PORT
 *
 *	PORT      echo
 *	PORT + 1  sink: counts what comes, and says how much it was when the client is done (8 bytes, native order)
 *	PORT + 2  echoes one short message and closes
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SHORT_BYTES = 64, BUFFER_BYTES = 4 << 20, FDS_MAX = 65536, BACKLOG = 4096, EVENTS = 256 };

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "loadserve: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void epoll_add(int ep, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
}

enum service { ECHO, SINK, ONCE, SERVICES };

static struct served {
	enum service service;
	bool listening;
	uint64_t bytes;
} served[FDS_MAX];

static void accept_all(int ep, int fd)
{
	int one = 1, got;

	while ((got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		must(got < FDS_MAX, "descriptors");
		served[got] = (struct served){.service = served[fd].service};
		setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_add(ep, got);
	}
}

/* False when the connection is over. */
static bool serve_input(int fd)
{
	struct served *s = &served[fd];
	static char buf[BUFFER_BYTES];
	/* MSG_TRUNC: the kernel drops the bytes without copying them */
	ssize_t n = recv(fd, buf, sizeof(buf), s->service == SINK ? MSG_TRUNC : 0);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0) {
		if (s->service == SINK)
			(void)!send(fd, &s->bytes, sizeof(s->bytes), MSG_NOSIGNAL);
		return false;
	}
	s->bytes += (uint64_t)n;
	if (s->service == SINK)
		return true;
	if (send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
		return false;
	return s->service == ECHO || s->bytes < SHORT_BYTES;
}

static _Noreturn void serve(int port)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), one = 1;
	struct epoll_event evs[EVENTS];

	for (int i = 0; i < SERVICES; i++) {
		struct sockaddr_in at = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)(port + i))};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		must(fd >= 0, "socket");
		must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0, "reuse");
		must(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0, "bind");
		must(listen(fd, BACKLOG) == 0, "listen");
		served[fd] = (struct served){.service = (enum service)i, .listening = true};
		epoll_add(ep, fd);
	}
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, evs, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = evs[i].data.fd;

			if (served[fd].listening)
				accept_all(ep, fd);
			else if (!serve_input(fd))
				close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;

	if (argc != 2) {
		fprintf(stderr, "usage: loadserve PORT\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	serve(atoi(argv[1]));
}
