/* SPDX-License-Identifier: Apache-2.0 */
#include "spiffe.h"

#include "err.h"

#define SCHEME "spiffe://"

enum { PARTS = 5 };

/* Whatever could split or hide a log line, or end a C string, is in no honest name. */
static bool part_ok(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= 0x20 || c >= 0x7f)
			return false;
	}
	return s.n > 0;
}

int spiffe_parse(struct str uri, struct spiffe *out)
{
	struct str part[PARTS];
	size_t parts = 0;

	if (!str_starts(uri, STR(SCHEME)) || uri.n >= SPIFFE_TEXT_MAX)
		return ERR_SYNTAX;
	const char *p = uri.p + sizeof(SCHEME) - 1, *end = uri.p + uri.n;
	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		const char *stop = slash ? slash : end;
		if (parts == PARTS)
			return ERR_SYNTAX;
		part[parts++] = (struct str){p, (size_t)(stop - p)};
		if (!slash)
			break;
		p = slash + 1;
	}
	if (parts != PARTS || !str_eq(part[1], STR("ns")) || !str_eq(part[3], STR("sa")))
		return ERR_SYNTAX;
	if (!part_ok(part[0]) || !part_ok(part[2]) || !part_ok(part[4]))
		return ERR_SYNTAX;
	*out = (struct spiffe){.trust_domain = part[0], .ns = part[2], .sa = part[4]};
	return 0;
}

static char *append(char *to, struct str s)
{
	if (s.n > 0)
		memcpy(to, s.p, s.n);
	return to + s.n;
}

int spiffe_format(const struct spiffe *id, char out[SPIFFE_TEXT_MAX])
{
	const size_t fixed = sizeof(SCHEME "/ns//sa/"); /* with the terminator */
	const size_t room = SPIFFE_TEXT_MAX - fixed;
	char *p = out;

	if (id->trust_domain.n > room || id->ns.n > room || id->sa.n > room ||
	    id->trust_domain.n + id->ns.n + id->sa.n > room)
		return ERR_TOO_LARGE;
	p = append(p, STR(SCHEME));
	p = append(p, id->trust_domain);
	p = append(p, STR("/ns/"));
	p = append(p, id->ns);
	p = append(p, STR("/sa/"));
	p = append(p, id->sa);
	*p = '\0';
	return 0;
}
