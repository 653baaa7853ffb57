/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that the kernel's two backends share; errors are -errno. */
#ifndef GAUZE_IO_KERNEL_H
#define GAUZE_IO_KERNEL_H

#include <time.h>

#include "shared/base/addr.h"

struct bufpool;
struct io;

uint64_t kernel_now(struct io *io);
struct timespec kernel_timespec(uint64_t ns);
/* Rounded up, for calls that take milliseconds. */
int kernel_millis(uint64_t ns);
/* Any thread. */
void kernel_wake(int event_fd);
int kernel_nonblock(int fd);
/* Does not block: 0, -EINPROGRESS or another error. */
int kernel_connect(int fd, const struct addr *to);
/* SO_ERROR, which this clears. */
int kernel_socket_error(int fd);
int kernel_accept(int fd, struct addr *peer);
void kernel_shutdown(struct io *io, int fd);
void kernel_close(struct io *io, int fd, bool reset);
int kernel_local(struct io *io, int fd, struct addr *out);
int kernel_peer(struct io *io, int fd, struct addr *out);
/* Slots that can be had now, by trial: the budget may refuse although some are free. */
uint32_t kernel_slots(struct bufpool *pool);
/* AF_INET or AF_INET6, whichever the socket is of. */
int kernel_family(int fd);

#endif
