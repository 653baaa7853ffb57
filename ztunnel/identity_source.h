/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where this process gets its certificates from, and which identities it has them ready for (contract section 8). Control
 * thread.
 */
#ifndef GAUZE_ZTUNNEL_IDENTITY_SOURCE_H
#define GAUZE_ZTUNNEL_IDENTITY_SOURCE_H

#include "ztunnel/app.h"

struct identity_source;

/* Sets app->certs, after app->crl, and follows app->world. The reason for a failure has been logged. */
int must_check identity_source_start(struct app *app, struct identity_source **out);
/* After the data workers. NULL is allowed. */
void identity_source_stop(struct identity_source *s);

#endif
