/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network in memory with seeded faults: the third backend of shared/io ("sim") and the functions of socket.h over it.
 * Everything above shared/io runs unchanged, on one thread and on one seed. Descriptors are numbers of this network's
 * own and mean nothing to the kernel.
 *
 * A worker is made with io_backend = "sim" and driven by worker_turn(). Time is the network's: it moves a little with
 * every turn, by the whole wait when nothing happens, and by jumps when they are asked for.
 */
#ifndef TESTS_SIM_FAKENET_H
#define TESTS_SIM_FAKENET_H

#include "shared/base/addr.h"

/* Chances are per mille of the occasions. */
struct fakenet_faults {
	unsigned split;	     /* a receive gives less than there is */
	unsigned short_send; /* a send takes less than there is room for */
	unsigned delay;	     /* a completion comes a turn later */
	unsigned starve;     /* a receive finds no slot */
	unsigned no_room;    /* the backend cannot start an operation now */
	unsigned reset;	     /* the network resets a connection as it sends */
	unsigned stall;	     /* nothing passes on a connection for up to a minute */
	unsigned refuse;     /* a connect is refused */
	unsigned blackhole;  /* a connect is never answered */
	unsigned jump;	     /* the clock jumps ahead by up to ten seconds */
	uint32_t pipe_bytes; /* what one direction holds between its ends; 0: 64 KiB */
};

/* Begins with nothing; the same seed and calls give the same run. */
void fakenet_start(uint64_t seed, const struct fakenet_faults *faults);
/* Faults from here on. */
void fakenet_faults(const struct fakenet_faults *faults);
/* All sockets must have been closed (CHECK). */
void fakenet_stop(void);
/* Sockets that are open. */
uint32_t fakenet_open(void);
uint64_t fakenet_now(void);
/*
 * Network namespaces are numbers too: sockets made with netns.fd == ns have their addresses from there, and what is sent
 * to one of these finds only listeners of that namespace. Without a call there is one namespace for all.
 */
void fakenet_host(int ns, const struct addr *at);
/* Whoever accepts the connection that `fd` is to make hears that it was meant for `to`. */
void fakenet_capture(int fd, const struct addr *to);
/* What SO_ORIGINAL_DST says of connections to `from`. */
void fakenet_redirect(const struct addr *from, const struct addr *to);

#endif
