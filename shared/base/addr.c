/* SPDX-License-Identifier: Apache-2.0 */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "err.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const struct ip *ip)
{
	return ip->len == 16 && memcmp(ip->b, mapped, sizeof(mapped)) == 0;
}

static void canonicalise(struct ip *ip)
{
	if (!is_mapped(ip))
		return;
	memmove(ip->b, ip->b + sizeof(mapped), 4);
	memset(ip->b + 4, 0, sizeof(ip->b) - 4);
	ip->len = 4;
}

int ip_from_bytes(const void *bytes, size_t len, struct ip *out)
{
	if (len != 4 && len != 16)
		return ERR_SYNTAX;
	struct ip ip = {.len = (uint8_t)len};
	memcpy(ip.b, bytes, len);
	canonicalise(&ip);
	*out = ip;
	return 0;
}

/* As written: a mapped address stays one. */
static int parse_raw(struct str text, struct ip *out)
{
	char z[ADDR_TEXT_MAX];
	if (text.n == 0 || text.n >= sizeof(z) || memchr(text.p, '\0', text.n))
		return ERR_SYNTAX;
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	struct ip ip = {0};
	if (inet_pton(AF_INET, z, ip.b) == 1)
		ip.len = 4;
	else if (inet_pton(AF_INET6, z, ip.b) == 1)
		ip.len = 16;
	else
		return ERR_SYNTAX;
	*out = ip;
	return 0;
}

int ip_parse(struct str text, struct ip *out)
{
	int rc = parse_raw(text, out);
	if (rc == 0)
		canonicalise(out);
	return rc;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

bool ip_is_loopback(const struct ip *ip)
{
	static const uint8_t v6[16] = {[15] = 1};
	if (ip->len == 4)
		return ip->b[0] == 127;
	return ip->len == 16 && memcmp(ip->b, v6, sizeof(v6)) == 0;
}

const char *ip_text(const struct ip *ip, char out[ADDR_TEXT_MAX])
{
	int family = ip->len == 4 ? AF_INET : AF_INET6;
	if (ip->len == 0 || !inet_ntop(family, ip->b, out, ADDR_TEXT_MAX))
		memcpy(out, "-", 2);
	return out;
}

static int parse_port(struct str text, uint16_t *out)
{
	uint32_t port = 0;
	if (text.n == 0 || text.n > 5)
		return ERR_SYNTAX;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return ERR_SYNTAX;
		port = port * 10 + (uint32_t)(text.p[i] - '0');
	}
	if (port > UINT16_MAX)
		return ERR_SYNTAX;
	*out = (uint16_t)port;
	return 0;
}

int addr_parse(struct str text, struct addr *out)
{
	const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
	if (!colon)
		return ERR_SYNTAX;
	struct str host = {text.p, (size_t)(colon - text.p)};
	struct str port = {colon + 1, text.n - host.n - 1};
	bool bracketed = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
	if (bracketed)
		host = (struct str){host.p + 1, host.n - 2};
	/* IPv6 needs brackets, IPv4 must not have them. */
	if (bracketed != (host.n > 0 && memchr(host.p, ':', host.n) != NULL))
		return ERR_SYNTAX;

	struct addr a = {0};
	int rc = ip_parse(host, &a.ip);
	if (rc == 0)
		rc = parse_port(port, &a.port);
	if (rc == 0)
		*out = a;
	return rc;
}

const char *addr_text(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	ip_text(&a->ip, ip);
	/* An address has at most 45 characters; the bounds are for the compiler, which cannot know. */
	snprintf(out, ADDR_TEXT_MAX, a->ip.len == 16 ? "[%.46s]:%u" : "%.46s:%u", ip, a->port);
	return out;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

int addr_from_sockaddr(const struct sockaddr_storage *sa, struct addr *out)
{
	struct addr a = {0};
	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;
		a.ip.len = 4;
		memcpy(a.ip.b, &in->sin_addr, 4);
		a.port = ntohs(in->sin_port);
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;
		a.ip.len = 16;
		memcpy(a.ip.b, &in6->sin6_addr, 16);
		a.port = ntohs(in6->sin6_port);
		canonicalise(&a.ip);
	} else {
		return ERR_UNSUPPORTED;
	}
	*out = a;
	return 0;
}

socklen_t addr_to_sockaddr(const struct addr *a, int family, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (family == AF_INET && a->ip.len == 4) {
		struct sockaddr_in *in = (void *)out;
		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip.b, 4);
		return sizeof(*in);
	}
	if (family == AF_INET6 && a->ip.len != 0) {
		struct sockaddr_in6 *in6 = (void *)out;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		uint8_t *b = in6->sin6_addr.s6_addr;
		if (a->ip.len == 4)
			memcpy(b, mapped, sizeof(mapped));
		memcpy(b + (16 - a->ip.len), a->ip.b, a->ip.len);
		return sizeof(*in6);
	}
	return 0;
}

/* The length must be plain decimal without a leading zero. */
static int parse_prefix(struct str text, uint8_t max, uint8_t *out)
{
	uint32_t v = 0;
	if (text.n == 0 || text.n > 3 || (text.n > 1 && text.p[0] == '0'))
		return ERR_SYNTAX;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return ERR_SYNTAX;
		v = v * 10 + (uint32_t)(text.p[i] - '0');
	}
	if (v > max)
		return ERR_SYNTAX;
	*out = (uint8_t)v;
	return 0;
}

int cidr_parse(struct str text, struct cidr *out)
{
	const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
	struct str host = {text.p, slash ? (size_t)(slash - text.p) : text.n};
	struct cidr c = {0};
	int rc = parse_raw(host, &c.ip);
	if (rc)
		return rc;
	c.prefix = (uint8_t)(c.ip.len * 8);
	if (slash)
		rc = parse_prefix((struct str){slash + 1, text.n - host.n - 1}, c.prefix,
				  &c.prefix);
	if (rc)
		return rc;
	/* A range inside the mapped block is a range of IPv4; a wider one is not. */
	if (is_mapped(&c.ip) && c.prefix >= 96) {
		canonicalise(&c.ip);
		c.prefix -= 96;
	}
	*out = c;
	return 0;
}

bool cidr_has(const struct cidr *c, const struct ip *ip)
{
	if (ip->len == 0 || c->ip.len != ip->len)
		return false;
	size_t whole = c->prefix / 8, bits = c->prefix % 8;
	if (memcmp(c->ip.b, ip->b, whole) != 0)
		return false;
	uint8_t mask = (uint8_t)(0xff00 >> bits);
	return bits == 0 || ((c->ip.b[whole] ^ ip->b[whole]) & mask) == 0;
}
