/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers: a seeded generator for jitter and balancing (not for secrets), and the kernel's for the rest. */
#ifndef GAUZE_BASE_RNG_H
#define GAUZE_BASE_RNG_H

#include "base.h"

/* xoshiro256**; one per thread. */
struct rng {
	uint64_t s[4];
};

/* The same seed gives the same numbers, on every machine. */
void rng_init(struct rng *r, uint64_t seed);
/* Seeds from the kernel. */
void rng_init_random(struct rng *r);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, bound); bound > 0. */
uint64_t rng_below(struct rng *r, uint64_t bound);
/* Uniform in [value - value * percent / 100, value + value * percent / 100]; percent <= 100. */
uint64_t rng_jitter(struct rng *r, uint64_t value, uint32_t percent);

/* Bytes fit for keys, from the kernel. Never fails: without randomness there is no point in going on. */
void rng_secure(void *out, size_t n);

#endif
