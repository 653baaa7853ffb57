/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of workloads that the mesh knows by host name only: resolved on demand by the system's resolver, in the
 * process's own namespace (contract section 3.6, last paragraph). One thread asks, since the resolver blocks; answers are
 * remembered for a while.
 */
#ifndef GAUZE_ZTUNNEL_NAMES_H
#define GAUZE_ZTUNNEL_NAMES_H

#include "shared/base/addr.h"
#include "shared/base/task.h"

struct name_query;
struct names;
struct worker;

/* Embedded in who waits; zeroed is idle. */
struct name_wait {
	bool answered;
	int error; /* ERR_NOT_FOUND, ERR_LIMIT (too many wait), ERR_NOMEM */
	struct ip ip;
	struct task *done;
	struct name_query *query; /* private; NULL when nothing is pending */
};

/* Starts the thread. NULL: out of memory or threads. ipv6 false: only A records are asked for (IPV6_ENABLED). */
struct names *names_start(bool ipv6);
/* Before the workers are freed, when nobody asks any more; waits for a question that is being asked. NULL is allowed. */
void names_stop(struct names *n);

/* Readies done on that worker's run queue when there is an answer. prefer_len: 4 or 16, the client's family. */
void name_wait(struct names *n, struct worker *w, struct str host, uint8_t prefer_len,
	       struct name_wait *wait, struct task *done);
/* Withdraws; harmless when idle or answered. */
void name_wait_cancel(struct name_wait *wait);

#endif
