/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/hbone.h"

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/wire/forwarded.h"

/* RFC 3986 section 3.2.2, less what only a bracketed address or user information may hold. */
static bool host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=%", c));
}

static int parse_host(struct str authority, struct hbone_target *out)
{
	const char *colon = memrchr(authority.p, ':', authority.n);
	if (!colon || colon == authority.p)
		return ERR_SYNTAX;
	struct str host = {authority.p, (size_t)(colon - authority.p)};
	struct str port = {colon + 1, authority.n - host.n - 1};
	for (size_t i = 0; i < host.n; i++)
		if (!host_char(host.p[i]))
			return ERR_SYNTAX;
	if (port.n == 0 || port.n > 5)
		return ERR_SYNTAX;
	uint32_t number = 0;
	for (size_t i = 0; i < port.n; i++) {
		if (port.p[i] < '0' || port.p[i] > '9')
			return ERR_SYNTAX;
		number = number * 10 + (uint32_t)(port.p[i] - '0');
	}
	if (number > UINT16_MAX)
		return ERR_SYNTAX;
	*out = (struct hbone_target){.addr.port = (uint16_t)number, .host = host};
	return 0;
}

int hbone_target_parse(struct str authority, struct hbone_target *out)
{
	struct hbone_target t = {.host = STR("")};
	if (authority.n == 0 || authority.n > LIMIT_AUTHORITY_BYTES)
		return ERR_SYNTAX;
	if (addr_parse(authority, &t.addr) != 0)
		return parse_host(authority, out);
	*out = t;
	return 0;
}

void hbone_target_format(const struct hbone_target *t, struct sbuf *out)
{
	char text[ADDR_TEXT_MAX];
	if (hbone_target_is_host(t))
		sbuf_printf(out, STR_FMT ":%u", STR_ARG(t->host), t->addr.port);
	else
		sbuf_putz(out, addr_text(&t->addr, text));
}

size_t hbone_connect_head(const struct hbone_connect *c, struct header out[HBONE_HEADERS_MAX])
{
	const struct header all[HBONE_HEADERS_MAX] = {
		{STR(":method"), STR("CONNECT")},
		{STR(":authority"), c->authority},
		{STR("baggage"), c->baggage},
		{STR("forwarded"), c->forwarded},
		{STR("traceparent"), c->traceparent},
		{STR("x-forwarded-network"), c->forwarded_network},
	};
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].value.n > 0)
			out[n++] = all[i];
	/* the default network's name is empty, and still said */
	if (c->forwarded_network.p && !c->forwarded_network.n)
		out[n++] = all[ARRAY_SIZE(all) - 1];
	return n;
}

static struct str status_text(int status)
{
	switch (status) {
	case 200: return STR("200");
	case 400: return STR("400");
	case 401: return STR("401");
	case 431: return STR("431");
	case 503: return STR("503");
	default: CHECK(!"a status that tunnels use"); return STR("");
	}
}

size_t hbone_response_head(int status, struct str baggage,
			   struct header out[HBONE_RESPONSE_HEADERS_MAX])
{
	out[0] = (struct header){STR(":status"), status_text(status)};
	if (status != 200 || baggage.n == 0)
		return 1;
	out[1] = (struct header){STR("baggage"), baggage};
	return 2;
}

/* At most one of a pseudo header; *value is empty when there is none. */
static int pseudo(const struct header *v, size_t n, struct str name, struct str *value)
{
	bool seen = false;
	*value = STR("");
	for (size_t i = 0; i < n; i++) {
		if (!str_eq(v[i].name, name))
			continue;
		if (seen)
			return ERR_H2_PROTOCOL;
		seen = true;
		*value = v[i].value;
	}
	return 0;
}

static struct str first_value(const struct header *v, size_t n, struct str name)
{
	const struct header *h = header_find(v, n, name);
	return h ? h->value : STR("");
}

int hbone_request_parse(const struct header *v, size_t n, struct hbone_request *out)
{
	struct str method, authority;
	if (pseudo(v, n, STR(":method"), &method) || pseudo(v, n, STR(":authority"), &authority) ||
	    method.n == 0)
		return ERR_H2_PROTOCOL;
	if (!str_eq(method, STR("CONNECT")))
		return ERR_UNSUPPORTED;
	/* RFC 9113 section 8.5 */
	if (header_find(v, n, STR(":scheme")) || header_find(v, n, STR(":path")))
		return ERR_H2_PROTOCOL;

	struct hbone_request r = {.authority = authority};
	int rc = hbone_target_parse(authority, &r.target);
	if (rc)
		return rc;
	r.baggage = baggage_from_headers(v, n);
	r.forwarded_host = forwarded_host(first_value(v, n, STR("forwarded")));
	r.forwarded_network = first_value(v, n, STR("x-forwarded-network"));
	r.has_trace = traceparent_parse(first_value(v, n, STR("traceparent")), &r.trace) == 0;
	*out = r;
	return 0;
}
