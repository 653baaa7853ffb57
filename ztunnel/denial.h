/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the policies about one inbound connection, and tells operators what they said (contract sections 3.7, 6.3, 10). */
#ifndef GAUZE_ZTUNNEL_DENIAL_H
#define GAUZE_ZTUNNEL_DENIAL_H

#include "shared/state/authz.h"
#include "ztunnel/pods.h"

/*
 * Whether the policies of now deny the connection to the pod's workload (`own`: what the flow began with, used when the
 * world no longer knows it). Counts denials by policy, logs dry runs and decisions. *text (may be NULL) receives a copy of
 * the reason that the caller frees, or NULL.
 */
bool denial_check(struct pod_worker *pw, struct workload *own, const struct authz_facts *facts,
		  char **text);

#endif
