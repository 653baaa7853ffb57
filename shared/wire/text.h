/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers of header values share. */
#ifndef GAUZE_WIRE_TEXT_H
#define GAUZE_WIRE_TEXT_H

#include "shared/base/base.h"

/* Takes what is before the separator off the front of *rest, and the separator; all of it when there is none. */
static inline struct str text_split(struct str *rest, char separator)
{
	const char *at = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
	struct str head = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
	size_t gone = at ? head.n + 1 : head.n;
	rest->p = gone ? rest->p + gone : rest->p;
	rest->n -= gone;
	return head;
}

/* Without spaces and tabs at both ends. */
static inline struct str text_trim(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Only printable ASCII, space and tab. */
static inline bool text_is_visible(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((uint8_t)s.p[i] < 0x20 && s.p[i] != '\t') || (uint8_t)s.p[i] >= 0x7f)
			return false;
	return true;
}

#endif
