/* SPDX-License-Identifier: Apache-2.0 */
/* The static file's format (contract section 3.8): workloads, services, policies -> a batch. Pure. */
#ifndef GAUZE_CONTROL_STATIC_DECODE_H
#define GAUZE_CONTROL_STATIC_DECODE_H

#include "shared/state/world.h"
#include "static_schema.h"

/*
 * Decodes YAML or JSON into the batch. `name` stands before the line in errors. 0; ERR_SYNTAX: the report says why (the
 * batch may hold a part, and is to be freed); ERR_NOMEM. The report is the caller's to fini, whatever happens.
 */
int must_check static_decode(struct str text, const char *name, struct batch *b,
			     struct static_report *report);

/* Adds one object to the batch; they say what is wrong with it through the schema. For static_decode.c. */
void static_read_workload(struct schema *s, const struct node *n, void *batch, const void *arg);
void static_read_service(struct schema *s, const struct node *n, void *batch, const void *arg);
void static_read_policy(struct schema *s, const struct node *n, void *batch, const void *arg);

/* Readers that workloads and services share. */
/* to: const struct gateway_spec *, allocated. */
void static_read_gateway(struct schema *s, const struct node *n, void *to, const void *arg);
void static_read_gateway_fields(struct schema *s, const struct node *n, struct gateway_spec *out);
/* to: struct static_ports. */
struct static_ports {
	const struct port_pair *v;
	size_t count;
};
void static_read_ports(struct schema *s, const struct node *n, void *to, const void *arg);
/* Tells an error of batch_*() for the object at the node. */
void static_tell(struct schema *s, const struct node *n, int err);

#define STATIC_FIELD(type, key, member, ...)                   \
	{                                                      \
		key, __VA_ARGS__, .at = offsetof(type, member) \
	}
#define STATIC_LIST(type, key, member, items, ...)                           \
	{                                                                    \
		key, .list = items, __VA_ARGS__.at = offsetof(type, member), \
		     .count_at = offsetof(type, member##_count),             \
		     .count_bytes = sizeof(((type *)0)->member##_count)      \
	}

#endif
