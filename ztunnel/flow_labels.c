/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/flow_labels.h"

#include "shared/base/rstr.h"
#include "shared/state/service.h"
#include "shared/state/workload.h"

static void source_labels(const struct flow_parties *p, struct str v[TRAFFIC_LABELS])
{
	const struct workload *w = p->source;
	const struct baggage *b = p->source_baggage;

	if (w) {
		v[TRAFFIC_SOURCE_WORKLOAD] = rstr_str(w->workload_name);
		v[TRAFFIC_SOURCE_CANONICAL_SERVICE] = v[TRAFFIC_SOURCE_APP] =
			rstr_str(w->canonical_name);
		v[TRAFFIC_SOURCE_CANONICAL_REVISION] = v[TRAFFIC_SOURCE_VERSION] =
			rstr_str(w->canonical_revision);
		v[TRAFFIC_SOURCE_WORKLOAD_NAMESPACE] = rstr_str(w->ns);
		v[TRAFFIC_SOURCE_CLUSTER] = rstr_str(w->cluster_id);
		v[TRAFFIC_SOURCE_REGION] = rstr_str(w->region);
		v[TRAFFIC_SOURCE_ZONE] = rstr_str(w->zone);
	} else if (b) {
		v[TRAFFIC_SOURCE_WORKLOAD] = v[TRAFFIC_SOURCE_APP] = b->workload;
		v[TRAFFIC_SOURCE_CANONICAL_SERVICE] = b->service;
		v[TRAFFIC_SOURCE_CANONICAL_REVISION] = v[TRAFFIC_SOURCE_VERSION] = b->revision;
		v[TRAFFIC_SOURCE_WORKLOAD_NAMESPACE] = b->namespace;
		v[TRAFFIC_SOURCE_CLUSTER] = b->cluster;
		v[TRAFFIC_SOURCE_REGION] = b->region;
		v[TRAFFIC_SOURCE_ZONE] = b->zone;
	}
	if (p->mtls)
		v[TRAFFIC_SOURCE_PRINCIPAL] = p->inbound ? p->peer_identity
					      : w	 ? rstr_str(w->identity)
							 : STR("");
}

static void destination_labels(const struct flow_parties *p, struct str v[TRAFFIC_LABELS])
{
	const struct workload *w = p->destination;
	const struct baggage *b = p->destination_baggage;

	if (w) {
		v[TRAFFIC_DESTINATION_WORKLOAD] = rstr_str(w->workload_name);
		v[TRAFFIC_DESTINATION_CANONICAL_SERVICE] = v[TRAFFIC_DESTINATION_APP] =
			rstr_str(w->canonical_name);
		v[TRAFFIC_DESTINATION_CANONICAL_REVISION] = v[TRAFFIC_DESTINATION_VERSION] =
			rstr_str(w->canonical_revision);
		v[TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE] = rstr_str(w->ns);
		v[TRAFFIC_DESTINATION_PRINCIPAL] = rstr_str(w->identity);
		v[TRAFFIC_DESTINATION_CLUSTER] = rstr_str(w->cluster_id);
		v[TRAFFIC_DESTINATION_REGION] = rstr_str(w->region);
		v[TRAFFIC_DESTINATION_ZONE] = rstr_str(w->zone);
	} else if (b) {
		v[TRAFFIC_DESTINATION_WORKLOAD] = v[TRAFFIC_DESTINATION_APP] = b->workload;
		v[TRAFFIC_DESTINATION_CANONICAL_SERVICE] = b->service;
		v[TRAFFIC_DESTINATION_CANONICAL_REVISION] = v[TRAFFIC_DESTINATION_VERSION] =
			b->revision;
		v[TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE] = b->namespace;
		v[TRAFFIC_DESTINATION_CLUSTER] = b->cluster;
		v[TRAFFIC_DESTINATION_REGION] = b->region;
		v[TRAFFIC_DESTINATION_ZONE] = b->zone;
	}
	if (p->service) {
		v[TRAFFIC_DESTINATION_SERVICE] = rstr_str(p->service->hostname);
		v[TRAFFIC_DESTINATION_SERVICE_NAMESPACE] = rstr_str(p->service->ns);
		v[TRAFFIC_DESTINATION_SERVICE_NAME] = rstr_str(p->service->name);
	}
}

void flow_labels(const struct flow_parties *p, enum err_flag flag, struct str v[TRAFFIC_LABELS])
{
	for (size_t i = 0; i < TRAFFIC_LABELS; i++)
		v[i] = STR("");
	v[TRAFFIC_REPORTER] = p->inbound ? STR("destination") : STR("source");
	v[TRAFFIC_REQUEST_PROTOCOL] = STR("tcp");
	v[TRAFFIC_RESPONSE_FLAGS] = str_of(err_flag_text(flag));
	/* contract 6.2: nothing is known about how plaintext that arrived was secured */
	v[TRAFFIC_CONNECTION_SECURITY_POLICY] = p->mtls ? STR("mutual_tls") : STR("unknown");
	source_labels(p, v);
	destination_labels(p, v);
}
