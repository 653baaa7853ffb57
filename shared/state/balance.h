/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing one endpoint of a service (contract section 3.6). */
#ifndef GAUZE_STATE_BALANCE_H
#define GAUZE_STATE_BALANCE_H

#include "service.h"
#include "shared/base/rng.h"
#include "workload.h"

/* BALANCE_FOR_WAYPOINT is lenient about ports, since a waypoint serves any of them behind its tunnel port. */
enum balance_purpose { BALANCE_FOR_TRAFFIC, BALANCE_FOR_WAYPOINT };

struct balance_query {
	const struct workload *client;
	uint16_t service_port;
	enum balance_purpose purpose;
	struct rng *rng;
};

struct balance_choice {
	struct workload *workload; /* borrowed until the read section ends */
	uint16_t target_port;	   /* never 0 */
};

/* False when no endpoint can take the connection; also for BALANCE_PASSTHROUGH, which chooses none. */
bool balance_choose(const struct service *s, const struct balance_query *q,
		    struct balance_choice *out);

/*
 * Which of the workload's addresses to dial: `original`, the address that the client dialled, if the workload owns that;
 * else the first that `families` allows and that is of the same family; else the first allowed. False: none (a hostname or
 * a network gateway may still lead there).
 */
bool balance_select_ip(const struct workload *w, const struct ip *original,
		       enum service_families families, struct ip *out);

#endif
