/* SPDX-License-Identifier: Apache-2.0 */
#include "spiffe.h"

#include <stdio.h>

#include "err.h"

int spiffe_parse(struct str uri, struct spiffe *out)
{
	static const struct str scheme = {"spiffe://", 9};
	enum { PARTS = 5 };
	if (!str_starts(uri, scheme))
		return ERR_SYNTAX;
	struct str rest = {uri.p + scheme.n, uri.n - scheme.n};
	struct str part[PARTS];
	for (int i = 0; i < PARTS; i++) {
		const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
		/* Every part but the last ends in a slash, and the last one does not. */
		if ((slash != NULL) != (i < PARTS - 1))
			return ERR_SYNTAX;
		size_t n = slash ? (size_t)(slash - rest.p) : rest.n;
		part[i] = (struct str){rest.p, n};
		if (slash)
			rest = (struct str){slash + 1, rest.n - n - 1};
	}
	if (!str_eq(part[1], STR("ns")) || !str_eq(part[3], STR("sa")))
		return ERR_SYNTAX;
	*out = (struct spiffe){part[0], part[2], part[4]};
	return 0;
}

int spiffe_format(const struct spiffe *id, char out[SPIFFE_TEXT_MAX])
{
	/* Measured before it is written: a failure leaves `out` alone. */
	size_t n = sizeof("spiffe:///ns//sa/") + id->trust_domain.n + id->ns.n + id->sa.n;
	if (n > SPIFFE_TEXT_MAX)
		return ERR_TOO_LARGE;
	snprintf(out, SPIFFE_TEXT_MAX, "spiffe://" STR_FMT "/ns/" STR_FMT "/sa/" STR_FMT,
		 STR_ARG(id->trust_domain), STR_ARG(id->ns), STR_ARG(id->sa));
	return 0;
}
