/* SPDX-License-Identifier: Apache-2.0 */
#include "rng.h"

#include <errno.h>
#include <sys/random.h>

/* SplitMix64 spreads a small seed over the state, as the generator's authors advise. */
static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15ULL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

void rng_init(struct rng *r, uint64_t seed)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->s); i++)
		r->s[i] = splitmix(&seed);
}

void rng_init_random(struct rng *r)
{
	uint64_t seed;
	rng_secure(&seed, sizeof(seed));
	rng_init(r, seed);
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t out = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
	CHECK(bound > 0);
	/* The low part decides rejection: without it small values would be a little more likely. */
	uint64_t floor = -bound % bound;
	for (;;) {
		unsigned __int128 m = (unsigned __int128)rng_next(r) * bound;
		if ((uint64_t)m >= floor)
			return (uint64_t)(m >> 64);
	}
}

uint64_t rng_jitter(struct rng *r, uint64_t value, uint32_t percent)
{
	CHECK(percent <= 100);
	uint64_t span = value / 100 * percent + value % 100 * percent / 100;
	if (span == 0)
		return value;
	return value - span + rng_below(r, 2 * span + 1);
}

void rng_secure(void *out, size_t n)
{
	uint8_t *p = out;
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		CHECK(got > 0 || errno == EINTR);
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
}
