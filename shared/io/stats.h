/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker counts about its io; see also the gauze_io_* families of metrics.def. */
#ifndef GAUZE_IO_STATS_H
#define GAUZE_IO_STATS_H

#include "shared/base/base.h"

/* Counted by the owner; any thread may read (relaxed). */
struct io_stats {
	uint64_t turns;
	uint64_t busy_ns; /* time spent outside of waiting */
	uint64_t parks;	  /* waits in the kernel that were allowed to last */
	uint64_t recvs, recv_bytes;
	uint64_t sends, send_bytes;
	uint64_t sends_short;	/* the peer's window or our send buffer was full */
	uint64_t starved;	/* receives that found no slot */
	uint64_t slabs_refused; /* bulk receives that found no slab */
	uint64_t stale;		/* completions whose object was gone */
	uint64_t accepted;
	uint64_t accept_errors; /* EMFILE and its like */
	uint64_t conns_refused; /* for want of memory or past LIMIT_WORKER_CONNS */
};

#endif
