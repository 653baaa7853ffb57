/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness of a descriptor that is no TCP connection (signalfd, inotify, a unix socket) on a worker. One shot: when the
 * descriptor is readable (or hung up) the task is readied on the worker's run queue, and the watch sleeps until it is
 * armed again. The descriptor stays the caller's.
 */
#ifndef GAUZE_IO_WATCH_H
#define GAUZE_IO_WATCH_H

#include "shared/base/task.h"

struct watch;
struct worker;

/* Armed from the start. fd must be nonblocking. 0 or a negative code. */
int must_check watch_new(struct worker *w, int fd, struct task *task, struct watch **out);
/* Waits for readiness again; harmless when armed already. */
void watch_arm(struct watch *watch);
/* Ends the watch; the task is not readied by it any more. Call before closing fd. NULL is allowed. */
void watch_free(struct watch *watch);

#endif
