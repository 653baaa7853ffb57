/* SPDX-License-Identifier: Apache-2.0 */
/* Keyed hash for tables in memory: the seed is drawn at start, so that a peer cannot choose keys that collide. */
#ifndef GAUZE_BASE_HASH_H
#define GAUZE_BASE_HASH_H

#include "base.h"

uint64_t hash_bytes(const void *bytes, size_t n);

static inline uint64_t hash_str(struct str s)
{
	return hash_bytes(s.p, s.n);
}

#endif
