/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP header field, borrowed: names are lower case, as HTTP/2 wants them (RFC 9113 section 8.2). */
#ifndef GAUZE_WIRE_HEADER_H
#define GAUZE_WIRE_HEADER_H

#include "shared/base/base.h"

struct header {
	struct str name, value;
};

/* The first field of that name, or NULL. */
static inline const struct header *header_find(const struct header *v, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].name, name))
			return &v[i];
	return NULL;
}

#endif
