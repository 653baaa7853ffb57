/* SPDX-License-Identifier: Apache-2.0 */
/* Between fakenet.c (sockets and their faults), fakeio.c (the backend) and fakesocket.c (socket.h). */
#ifndef TESTS_SIM_FAKENET_PRIV_H
#define TESTS_SIM_FAKENET_PRIV_H

#include "fakenet.h"

enum { FAKE_FD_FIRST = 1000000, FAKE_QUEUE_MAX = 128, FAKE_SOCKETS_MAX = 4096 };

struct fake_socket {
	bool used, listening, connected;
	bool fin;	     /* the other end sends no more */
	bool reset;	     /* an error is pending for this end ... */
	bool error_read;     /* ... or was reported already */
	bool shut;	     /* this end sends no more */
	bool reset_on_close; /* SO_LINGER 0 */
	int family, ns;	     /* ns -1: the process's own */
	uint32_t mark;
	uint64_t stalled_until_ns;
	struct addr local, peer, original;
	struct addr capture; /* what the other end's `original` will be */
	int twin;	     /* the other end, or -1 when it is closed */
	uint8_t *inbox;
	size_t inbox_head, inbox_len, inbox_cap;
	int queue[FAKE_QUEUE_MAX]; /* of a listener */
	unsigned queued, backlog;
};

/* True with that chance. */
bool fake_chance(unsigned per_mille);
/* 0 .. n - 1. */
uint32_t fake_random(uint32_t n);
const struct fakenet_faults *fake_faults(void);
void fake_advance(uint64_t ns);

/* A descriptor, or -EMFILE. */
int fake_open(int ns, int family, uint32_t mark);
struct fake_socket *fake_get(int fd);
bool fake_is(int fd);
void fake_close(int fd, bool reset);
/* 0, or what connect() would end with; -EAGAIN: no answer. */
int fake_connect(int fd, const struct addr *to);
int fake_accept(int fd);
void fake_shutdown(int fd);
/* Bytes, 0 at the end, -EAGAIN, or an error. */
int fake_recv(int fd, void *out, uint32_t max);
bool fake_readable(int fd);
uint32_t fake_room(int fd);
/* Bytes taken, at least one, or an error; fake_room() says how many may be. */
int fake_send(int fd, const void *bytes, uint32_t n);

#endif
