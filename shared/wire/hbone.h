/* SPDX-License-Identifier: Apache-2.0 */
/* The CONNECT head of a tunnel: what we send, and what we make of one that came (contract section 5.2). */
#ifndef GAUZE_WIRE_HBONE_H
#define GAUZE_WIRE_HBONE_H

#include "shared/base/addr.h"
#include "shared/wire/baggage.h"
#include "shared/wire/header.h"
#include "shared/wire/traceparent.h"

/* Where a tunnel leads: a literal socket address, or a name with a port. */
struct hbone_target {
	struct addr addr; /* addr.ip.len is 0 when it is a name; the port is set in both cases */
	struct str host;  /* borrowed; empty when it is an address */
};

static inline bool hbone_target_is_host(const struct hbone_target *t)
{
	return t->addr.ip.len == 0;
}

/* "10.0.0.1:80", "[fd00::1]:80" or "name:80". 0, or ERR_SYNTAX (also beyond LIMIT_AUTHORITY_BYTES). */
int must_check hbone_target_parse(struct str authority, struct hbone_target *out);
void hbone_target_format(const struct hbone_target *t, struct sbuf *out);

/* ---- what we send ---- */

/* All borrowed; an empty one is not sent. */
struct hbone_connect {
	struct str authority;
	struct str baggage;
	struct str forwarded;
	struct str traceparent;
	struct str forwarded_network; /* inner request of double HBONE only: sent unless p is NULL */
};

enum { HBONE_HEADERS_MAX = 6, HBONE_RESPONSE_HEADERS_MAX = 2 };

/* Fills `out` with views, in the order of the contract; returns how many. */
size_t hbone_connect_head(const struct hbone_connect *c, struct header out[HBONE_HEADERS_MAX]);
/* `baggage` goes with 200 only. `status` is one of 200, 400, 401, 431, 503. */
size_t hbone_response_head(int status, struct str baggage,
			   struct header out[HBONE_RESPONSE_HEADERS_MAX]);

/* ---- what we receive ---- */

/* Views into the headers. */
struct hbone_request {
	struct str authority;
	struct hbone_target target;
	struct baggage baggage;
	struct str forwarded_host;    /* empty: none */
	struct str forwarded_network; /* p is NULL: none; the default network's name is empty */
	struct traceparent trace;
	bool has_trace; /* else the caller makes a new one */
};

/*
 * Validates a request. 0; ERR_H2_PROTOCOL: malformed, reset it; ERR_UNSUPPORTED: not CONNECT; ERR_SYNTAX: no usable
 * authority. The latter two are answered with 400.
 */
int must_check hbone_request_parse(const struct header *v, size_t n, struct hbone_request *out);

#endif
