/* SPDX-License-Identifier: Apache-2.0 */
/* The library's header comes first: it spells attributes that base.h gives short names to. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash.h"
#include "rng.h"

static uint64_t seed;

__attribute__((constructor)) static void draw_seed(void)
{
	rng_secure(&seed, sizeof(seed));
}

uint64_t hash_bytes(const void *bytes, size_t n)
{
	return XXH3_64bits_withSeed(bytes, n, seed);
}
