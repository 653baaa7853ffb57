/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, socket addresses, ranges and identities: what is accepted, written again, is accepted as the same. */
#include <stddef.h>

#include "shared/base/addr.h"
#include "shared/base/spiffe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_addr(struct str s)
{
	struct addr a, again;
	char text[ADDR_TEXT_MAX];
	struct sockaddr_storage sa;
	if (addr_parse(s, &a))
		return;
	CHECK(addr_parse(str_of(addr_text(&a, text)), &again) == 0 && addr_eq(&a, &again));
	CHECK(addr_to_sockaddr(&a, AF_INET6, &sa) > 0);
	CHECK(addr_from_sockaddr(&sa, &again) == 0 && addr_eq(&a, &again));
}

static void check_ip(struct str s)
{
	struct ip ip, again;
	struct cidr c;
	char text[ADDR_TEXT_MAX];
	if (ip_parse(s, &ip) == 0) {
		CHECK(ip_parse(str_of(ip_text(&ip, text)), &again) == 0 && ip_eq(&ip, &again));
		CHECK(cidr_parse(s, &c) == 0 && cidr_has(&c, &ip));
	} else if (cidr_parse(s, &c) == 0) {
		CHECK(c.prefix <= c.ip.len * 8 && cidr_has(&c, &c.ip));
	}
}

static void check_identity(struct str s)
{
	struct spiffe id;
	char text[SPIFFE_TEXT_MAX];
	if (spiffe_parse(s, &id) == 0 && spiffe_format(&id, text) == 0)
		CHECK(str_eq(str_of(text), s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str s = {(const char *)data, size};
	struct ip ip;
	check_addr(s);
	check_ip(s);
	check_identity(s);
	if (ip_from_bytes(data, size, &ip) == 0)
		CHECK(size == 4 || size == 16);
	return 0;
}
