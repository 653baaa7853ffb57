/* SPDX-License-Identifier: Apache-2.0 */
/* One running ztunnel: built in order, run on the calling thread, unwound in reverse. */
#ifndef GAUZE_ZTUNNEL_RUN_H
#define GAUZE_ZTUNNEL_RUN_H

#include "ztunnel/config.h"

/* The process's exit status: 0 after a drain, 1 when it could not start (the reason has been logged). */
int run_proxy(struct config *config);

#endif
