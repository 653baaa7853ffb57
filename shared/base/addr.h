/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses, always canonical: an IPv4-mapped IPv6 address is plain IPv4 (contract section 0).
 */
#ifndef GAUZE_BASE_ADDR_H
#define GAUZE_BASE_ADDR_H

#include <sys/socket.h>

#include "base.h"

struct ip {
	uint8_t len; /* 4, 16; 0 = none */
	uint8_t b[16];
};

struct addr {
	struct ip ip;
	uint16_t port; /* host order */
};

struct cidr {
	struct ip ip; /* host bits may be set; matching ignores them */
	uint8_t prefix;
};

enum { ADDR_TEXT_MAX = 56 }; /* "[v6]:port" and its terminator */

/* Canonicalises; bytes of other lengths give ERR_SYNTAX. */
int must_check ip_from_bytes(const void *bytes, size_t len, struct ip *out);
int must_check ip_parse(struct str text, struct ip *out);
bool ip_eq(const struct ip *a, const struct ip *b);
bool ip_is_loopback(const struct ip *ip);
/* "10.0.0.1", "fd00::1", "-" for none; returns out. */
const char *ip_text(const struct ip *ip, char out[ADDR_TEXT_MAX]);

/* "10.0.0.1:80" or "[fd00::1]:80". */
int must_check addr_parse(struct str text, struct addr *out);
const char *addr_text(const struct addr *a, char out[ADDR_TEXT_MAX]);
bool addr_eq(const struct addr *a, const struct addr *b);
/* From a socket address of AF_INET or AF_INET6 (canonicalised); others give ERR_UNSUPPORTED. */
int must_check addr_from_sockaddr(const struct sockaddr_storage *sa, struct addr *out);
/*
 * For a socket of `family` (AF_INET or AF_INET6; v4 is mapped for the latter). Returns the length; 0 when that
 * family cannot reach the address.
 */
socklen_t addr_to_sockaddr(const struct addr *a, int family, struct sockaddr_storage *out);

/* "10.0.0.0/8"; a bare address is a full-length prefix. */
int must_check cidr_parse(struct str text, struct cidr *out);
bool cidr_has(const struct cidr *c, const struct ip *ip);

#endif
