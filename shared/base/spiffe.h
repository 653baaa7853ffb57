/* SPDX-License-Identifier: Apache-2.0 */
/* Identities: spiffe://<trust-domain>/ns/<namespace>/sa/<service-account> (contract section 0). */
#ifndef GAUZE_BASE_SPIFFE_H
#define GAUZE_BASE_SPIFFE_H

#include "base.h"

struct spiffe {
	struct str trust_domain, ns, sa; /* views into what was parsed */
};

enum { SPIFFE_TEXT_MAX = 512 };

/* 0, or ERR_SYNTAX: not exactly the five parts. */
int must_check spiffe_parse(struct str uri, struct spiffe *out);
/* Writes the URI, terminated. ERR_TOO_LARGE beyond SPIFFE_TEXT_MAX. */
int must_check spiffe_format(const struct spiffe *id, char out[SPIFFE_TEXT_MAX]);

#endif
