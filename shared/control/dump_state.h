/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state as JSON, in the shape of config_dump (contract section 9): lists sorted by uid, hostname, key; keys of objects in
 * alphabetical order; optional fields left out when they have their default. Control thread.
 */
#ifndef GAUZE_CONTROL_DUMP_STATE_H
#define GAUZE_CONTROL_DUMP_STATE_H

#include <cjson/cJSON.h>

struct world;

/* Each returns a new value (cJSON_Delete() it), or NULL when out of memory. */
cJSON *dump_workloads(const struct world *w);
cJSON *dump_services(const struct world *w);
cJSON *dump_policies(const struct world *w);
/* An object: "namespace/hostname" -> workload uid -> endpoint. */
cJSON *dump_staged_services(const struct world *w);

#endif
