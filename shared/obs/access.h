/* SPDX-License-Identifier: Apache-2.0 */
/* The access log: one line per connection that ended (contract section 10). */
#ifndef GAUZE_OBS_ACCESS_H
#define GAUZE_OBS_ACCESS_H

#include "shared/base/addr.h"

enum access_direction { ACCESS_INBOUND, ACCESS_OUTBOUND };

/* What is known of one side. Borrowed; what is empty is not written. */
struct access_peer {
	struct addr addr;
	struct str workload; /* the pod's name, else the canonical service */
	struct str ns;
	struct str identity; /* written for mutual TLS only */
	struct str cluster;
};

struct access_facts {
	enum access_direction direction;
	bool mutual_tls;
	struct access_peer src,
		dst;	       /* dst.addr: outbound the next hop, inbound HBONE <pod ip>:15008 */
	struct str hbone_addr; /* the authority inside the tunnel */
	struct str service;    /* hostname of the destination service */
	/* As in the metrics: received is client to server, sent is server to client, in both directions. */
	uint64_t received_bytes, sent_bytes;
	uint64_t duration_ms;
	int error;	       /* 0, or why it failed */
	struct str error_text; /* said instead of err_text(error) unless empty */
};

/* "connection opened", level debug. */
void access_opened(const struct access_facts *f);
/* "connection complete", level info, or error when it failed. */
void access_complete(const struct access_facts *f);
/* "connection failed", level warn: refused before enough was known for the lines above. */
void access_failed(enum access_direction direction, const struct addr *src, const struct addr *dst,
		   struct str error_text);

#endif
