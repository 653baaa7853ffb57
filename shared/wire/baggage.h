/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `baggage` header, in which the two sides of a tunnel describe their workloads (contract section 5.2). It is
 * a description and proves nothing: who the peer is comes from its certificate.
 */
#ifndef GAUZE_WIRE_BAGGAGE_H
#define GAUZE_WIRE_BAGGAGE_H

#include "shared/base/sbuf.h"
#include "shared/wire/header.h"

/* Borrowed views; an empty one is unknown. */
struct baggage {
	struct str cluster;   /* k8s.cluster.name */
	struct str namespace; /* k8s.namespace.name */
	struct str workload;  /* k8s.<type>.name */
	struct str service;   /* service.name: the canonical name */
	struct str revision;  /* service.version: the canonical revision */
	struct str region;    /* cloud.region */
	struct str zone;      /* cloud.availability_zone */
};

/*
 * Appends the pairs that are not empty, in the order above. workload_type is "deployment", "pod", ... A value
 * that could not be told from what surrounds it (comma, control or non-ASCII characters) is left out.
 */
void baggage_format(const struct baggage *b, struct str workload_type, struct sbuf *out);
/*
 * Reads one header value into *b, on top of what is there, so that several headers add up. Unknown keys are
 * skipped; of a key said twice the last one counts. The views borrow from `value`. 0, or ERR_SYNTAX for a value
 * with characters outside visible ASCII, or ERR_TOO_LARGE beyond LIMIT_BAGGAGE_BYTES; *b is then untouched.
 */
int must_check baggage_parse(struct str value, struct baggage *b);
/* All `baggage` headers of a head; empty when there is none or one is malformed. */
struct baggage baggage_from_headers(const struct header *v, size_t n);

#endif
