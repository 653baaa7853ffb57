/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several services a client means (contract section 3.5): candidates are offered, the best stays. */
#ifndef GAUZE_STATE_SERVICE_PICK_H
#define GAUZE_STATE_SERVICE_PICK_H

#include "service.h"

struct service_pick {
	struct str client_ns;	 /* p NULL: no client is meant, all services are visible */
	struct str preferred_ns; /* p NULL: none; only DNS has one (contract 7) */
	struct service *best;	 /* NULL: none so far */
	uint32_t rank;
};

/*
 * A candidate that was found by an exact address or a hostname (prefix 0), or by a CIDR of that length. The client's own
 * namespace wins, then the longer prefix, then `canonical`, then the preferred namespace, then the first.
 */
void service_pick_offer(struct service_pick *p, struct service *s, uint8_t prefix);

#endif
