/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepts connections on a listening socket for one worker (multishot accept, or accept4 in a loop).
 */
#ifndef GAUZE_IO_LISTEN_H
#define GAUZE_IO_LISTEN_H

#include "shared/base/addr.h"

struct worker;
struct task;
struct listener;

enum { LISTEN_ACCEPTS_PER_TURN = 64 };

/*
 * Called in the run stage, on the worker, once per accepted socket: it owns fd (nonblocking, close-on-exec). peer is
 * canonical. At most LISTEN_ACCEPTS_PER_TURN calls per turn.
 */
typedef void (*listener_accepted_fn)(void *arg, int fd, const struct addr *peer);

/*
 * Takes fd, which listens already (consumed, also on failure). 0 or a negative code. EMFILE/ENFILE/ENOMEM at accept
 * pause the listener for 100 ms, and are counted; the listener never dies of them.
 */
int must_check listener_start(struct worker *w, int fd, listener_accepted_fn fn, void *arg,
			      struct listener **out);
/*
 * Accepts all that wait in the queue, calls fn for them, then closes the socket. When `done` is not NULL it is readied
 * after the last call of fn; the listener frees itself.
 */
void listener_stop(struct listener *l, struct task *done);
/* The same, but leaves the socket open: it is the caller's once `done` is readied. */
void listener_release(struct listener *l, struct task *done);

#endif
