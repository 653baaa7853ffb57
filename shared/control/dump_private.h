/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the state's dump share. Values are new; NULL and false mean out of memory. */
#ifndef GAUZE_CONTROL_DUMP_PRIVATE_H
#define GAUZE_CONTROL_DUMP_PRIVATE_H

#include <cjson/cJSON.h>

#include "shared/state/world.h"

cJSON *dump_workload(const struct workload *w);
cJSON *dump_service(const struct service *s);
cJSON *dump_policy(const struct policy *p);
/* `s` NULL: of no service yet, all of them; else those that take traffic. */
cJSON *dump_endpoints(const struct service *s, const struct endpoint_set *set);

cJSON *dump_ports(const struct portmap *m);
cJSON *dump_gateway(const struct gateway *g);
cJSON *dump_network_ip(const struct rstr *network, const struct ip *ip);
cJSON *dump_cidr(const struct cidr *c);

/* Take the item, also when they fail. */
bool json_append(cJSON *array, cJSON *item);
bool json_add(cJSON *object, const char *key, cJSON *item);
bool json_text(cJSON *object, const char *key, const struct rstr *s);
/* Nothing when the text is empty. */
bool json_text_if(cJSON *object, const char *key, const struct rstr *s);
bool json_enum(cJSON *object, const char *key, const char *const names[], int value);
bool json_number(cJSON *object, const char *key, uint32_t value);

#endif
