/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of bytes between the one thread that logs into it and the one that writes it out. Lock-free. */
#ifndef GAUZE_OBS_LOG_RING_H
#define GAUZE_OBS_LOG_RING_H

#include <sys/uio.h>

#include "shared/base/base.h"

enum { LOG_RING_BYTES = 256 * 1024 };

struct log_ring {
	uint64_t head; /* atomic; bytes ever put, by the producer */
	bool owned;    /* atomic; a living thread has it */
	char *bytes;
	uint64_t tail __attribute__((aligned(64))); /* atomic; bytes ever taken, by the writer */
};

/* Reserves address space; pages come with use. NULL when out of memory. */
struct log_ring *log_ring_new(void);
void log_ring_free(struct log_ring *r);
/* Producer: all of it or nothing. False when there is no room now. */
bool log_ring_put(struct log_ring *r, struct str bytes);
/* Writer: what waits, in one or two pieces; returns how many pieces. */
int log_ring_peek(struct log_ring *r, struct iovec out[2]);
/* Writer: n bytes of that are done. */
void log_ring_take(struct log_ring *r, size_t n);

#endif
