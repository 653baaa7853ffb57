/* SPDX-License-Identifier: Apache-2.0 */
/* What conn.c offers to the rest of io/. */
#ifndef GAUZE_IO_CONN_PRIV_H
#define GAUZE_IO_CONN_PRIV_H

#include "shared/io/backend.h"
#include "shared/io/conn.h"

enum { CONN_MAGIC = 0x636f6e6e };

/*
 * CONNECTING and OPEN: the user holds the connection. LINGER and CLOSING: nobody does but io/, namely
 *   - io.dirty and the backend's lists: left in conn_teardown();
 *   - the kernel, by operations in flight (`owed`): teardown cancels them and waits for each;
 *   - the timer in `wait`: freed in teardown;
 *   - late events: they name slot and generation, which teardown retires;
 *   - tasks of this turn that still hold the pointer: the memory lives until the reap stage.
 */
enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_LINGER, CONN_CLOSING };

/* Starts whatever the connection wants: one send, one receive, the half close, the end. */
void conn_flush(struct conn *c);
/* The worker ends: what lingers is reset. False when a user still holds it. */
bool conn_abandon(struct conn *c);
/* To be looked at in the next flush stage. */
void conn_mark(struct conn *c);

#endif
