/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an io backend provides to conn.c, listen.c and worker.c: io_uring (uring.c), epoll (epoll.c), or the seeded
 * in-memory network of tests/sim. Each operation completes by one of the io_* callbacks below, which only file.
 *
 * The implementer of io/ owns this header.
 */
#ifndef GAUZE_IO_BACKEND_H
#define GAUZE_IO_BACKEND_H

#include "shared/base/base.h"

#endif
