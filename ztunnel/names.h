/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of workloads that the mesh knows by host name only: resolved on demand by the system's resolver, in the
 * process's own namespace (contract section 3.6, last paragraph).
 */
#ifndef GAUZE_ZTUNNEL_NAMES_H
#define GAUZE_ZTUNNEL_NAMES_H

#include "shared/base/addr.h"
#include "shared/base/task.h"
#include "ztunnel/app.h"

struct name_query;

/* Embedded in who waits; zeroed is idle. */
struct name_wait {
	bool answered;
	int error; /* ERR_NOT_FOUND, ERR_TIMEOUT, ERR_LIMIT */
	struct ip ip;
	struct name_query *query; /* private; NULL when nothing is pending */
};

/*
 * Readies done on the worker's run queue when there is an answer, within NAMES_WAIT_MS. prefer_len: 4 or 16, the client's
 * family. Counts istio_on_demand_dns.
 */
void name_wait(struct app_worker *aw, struct str host, uint8_t prefer_len, struct name_wait *wait,
	       struct task *done);
/* Withdraws; harmless when idle or answered. */
void name_wait_cancel(struct name_wait *wait);

#endif
