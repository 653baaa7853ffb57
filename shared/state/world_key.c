/* SPDX-License-Identifier: Apache-2.0 */
#include "world_private.h"

static void begin(struct key *k)
{
	k->n = 0;
	k->ok = true;
}

static void put(struct key *k, const void *bytes, size_t n)
{
	if (!k->ok || n > sizeof(k->b) - k->n) {
		k->ok = false;
		return;
	}
	if (n)
		memcpy(k->b + k->n, bytes, n);
	k->n += n;
}

struct str key_str(const struct key *k)
{
	/* A name too long to be a key is nobody's name: the empty key is never put. */
	return k->ok ? (struct str){k->b, k->n} : (struct str){"", 0};
}

void key_ip(struct key *k, struct str network, const struct ip *ip)
{
	begin(k);
	put(k, &ip->len, 1);
	put(k, ip->b, ip->len);
	put(k, network.p, network.n);
	if (ip->len == 0)
		k->ok = false;
}

void key_cidr(struct key *k, struct str network, const struct ip *ip, uint8_t prefix)
{
	struct ip masked = *ip;

	for (uint8_t i = 0; i < masked.len; i++) {
		int bits = (int)prefix - i * 8;
		if (bits < 8)
			masked.b[i] &= bits <= 0 ? 0 : (uint8_t)(0xff << (8 - bits));
	}
	begin(k);
	put(k, &prefix, 1);
	put(k, &masked.len, 1);
	put(k, masked.b, masked.len);
	put(k, network.p, network.n);
	if (ip->len == 0)
		k->ok = false;
}

void key_join(struct key *k, struct str a, struct str b, struct str c)
{
	begin(k);
	put(k, a.p, a.n);
	put(k, "/", 1);
	put(k, b.p, b.n);
	put(k, "/", 1);
	put(k, c.p, c.n);
}

struct str key_pointer(const struct rstr *const *s)
{
	return (struct str){(const char *)s, sizeof(*s)};
}
