/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the first signal to the last pod (contract section 12): stop accepting, let connections end, force what is left at
 * the deadline, then stop the control worker. Control thread.
 */
#ifndef GAUZE_ZTUNNEL_DRAIN_H
#define GAUZE_ZTUNNEL_DRAIN_H

#include "ztunnel/app.h"

struct drain;

/* Before any thread starts: blocks SIGTERM and SIGINT for all of them. */
void drain_block_signals(void);
/* Listens to the signals. 0 or a negative code. */
int must_check drain_new(struct app *app, struct drain **out);
/* Begins the drain; later calls do nothing. */
void drain_begin(struct drain *d, const char *why);
/* NULL is allowed. */
void drain_free(struct drain *d);

#endif
