/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `traceparent` header (W3C Trace Context, section 3.2). Here it only names a connection in the logs of both
 * sides (contract section 5.2).
 */
#ifndef GAUZE_WIRE_TRACEPARENT_H
#define GAUZE_WIRE_TRACEPARENT_H

#include "shared/base/base.h"

struct rng;

enum { TRACEPARENT_TEXT_LEN = 55, TRACEPARENT_ID_LEN = 32 };

struct traceparent {
	uint8_t version;
	uint8_t trace_id[16];
	uint8_t parent_id[8];
	uint8_t flags;
};

/* A new one: version and flags 0. */
struct traceparent traceparent_new(struct rng *rng);
/* 0, or ERR_SYNTAX unless it is exactly vv-<32 hex>-<16 hex>-ff. */
int must_check traceparent_parse(struct str text, struct traceparent *out);
/* The whole header value, terminated; returns out. */
const char *traceparent_text(const struct traceparent *t, char out[TRACEPARENT_TEXT_LEN + 1]);
/* The trace id alone, for logs. */
const char *traceparent_id(const struct traceparent *t, char out[TRACEPARENT_ID_LEN + 1]);

#endif
