/* SPDX-License-Identifier: Apache-2.0 */
/* How busy the data workers are, asked of the kernel at each scrape, so that the workers count nothing. */
#ifndef GAUZE_ZTUNNEL_WORKER_METRICS_H
#define GAUZE_ZTUNNEL_WORKER_METRICS_H

#include "ztunnel/app.h"

void worker_metrics_register(struct app *app);

#endif
