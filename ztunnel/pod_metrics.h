/* SPDX-License-Identifier: Apache-2.0 */
/* What a scrape asks of pods; registered once by the control thread, which is also who scrapes. */
#ifndef GAUZE_ZTUNNEL_POD_METRICS_H
#define GAUZE_ZTUNNEL_POD_METRICS_H

#include "ztunnel/app.h"

void pod_metrics_register(struct app *app);

#endif
