/* SPDX-License-Identifier: Apache-2.0 */
/* The data workers: threads `ztunnel-<n>`, from their start to their end. */
#ifndef GAUZE_ZTUNNEL_WORKERS_H
#define GAUZE_ZTUNNEL_WORKERS_H

#include "ztunnel/app.h"

/* Fills app->workers with config->workers running threads. On failure none runs, and the reason has been logged. */
int must_check workers_start(struct app *app);
/* Ends and joins them; every pod must be gone. */
void workers_stop(struct app *app);
/* Policies changed: each worker checks its live inbound flows again (contract section 6.3). Control thread. */
void workers_recheck(struct app *app);

#endif
