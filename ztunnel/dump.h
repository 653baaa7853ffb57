/* SPDX-License-Identifier: Apache-2.0 */
/* /config_dump: everything we know and carry, in the original's JSON shape (contract section 9). */
#ifndef GAUZE_ZTUNNEL_DUMP_H
#define GAUZE_ZTUNNEL_DUMP_H

#include <cjson/cJSON.h>

#include "ztunnel/app.h"

struct http_exchange;

/* Asks every worker for its connections, then answers x. */
void dump_answer(struct app *app, struct http_exchange *x);

/* Parts that need no worker; NULL when out of memory. */
cJSON *dump_version(const struct app *app);
cJSON *dump_config(const struct config *c);
cJSON *dump_certificates(struct app *app);

#endif
