/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the CNI agent (contract section 2): seqpacket socket, hello, acks, reconnects. Control thread. */
#ifndef GAUZE_ZTUNNEL_ZDS_CLIENT_H
#define GAUZE_ZTUNNEL_ZDS_CLIENT_H

#include "ztunnel/app.h"
#include "ztunnel/zds_session.h"

struct zds_client;

/*
 * Connects, and keeps connecting, to config->inpod_uds; pods come and go in app->pods; the readiness task `workload proxy
 * manager` follows. A message that violates the protocol's order readies `fatal` after its answer was sent. NULL: out of
 * memory.
 */
struct zds_client *zds_client_new(struct app *app, struct task *fatal);
/* Closes the connection; no pod is touched. NULL is allowed. */
void zds_client_free(struct zds_client *c);
/* For metrics and config_dump: what could not be started yet. */
const struct zds_session *zds_client_session(const struct zds_client *c);

#endif
