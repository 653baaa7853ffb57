/* SPDX-License-Identifier: Apache-2.0 */
/* The traffic labels of contract section 9 for one flow, as views. */
#ifndef GAUZE_ZTUNNEL_FLOW_LABELS_H
#define GAUZE_ZTUNNEL_FLOW_LABELS_H

#include "shared/base/err.h"
#include "shared/obs/metrics.h"
#include "shared/wire/baggage.h"

struct service;
struct workload;

struct flow_parties {
	bool inbound, mtls;
	struct str peer_identity;      /* inbound: verified identity of the client; empty: none */
	const struct workload *source; /* or NULL: then its baggage */
	const struct workload *destination;			    /* or NULL */
	const struct baggage *source_baggage, *destination_baggage; /* or NULL */
	const struct service *service;				    /* or NULL */
};

void flow_labels(const struct flow_parties *p, enum err_flag flag, struct str out[TRAFFIC_LABELS]);

#endif
