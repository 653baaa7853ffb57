/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from byte strings to pointers with one writer and any number of lock-free readers (epoch.h).
 * Keys are copied. Values are the caller's: put and del return the value that was replaced, so that the caller
 * retires it. Readers see either the old or the new value of a key, never neither while it is replaced.
 */
#ifndef GAUZE_BASE_RCUMAP_H
#define GAUZE_BASE_RCUMAP_H

#include "base.h"

struct epoch;
struct rcumap;

struct rcumap *rcumap_new(struct epoch *epoch);
/* Frees the map at once: no reader may be inside. Values are the caller's. */
void rcumap_free(struct rcumap *m);
/* Reader or writer: NULL when absent. */
void *rcumap_get(const struct rcumap *m, struct str key);
/* Writer. *old receives the replaced value or NULL. 0 or ERR_NOMEM (map unchanged). */
int must_check rcumap_put(struct rcumap *m, struct str key, void *value, void **old);
/* Writer. Returns the removed value or NULL. */
void *rcumap_del(struct rcumap *m, struct str key);
size_t rcumap_count(const struct rcumap *m);
/* Writer, or any thread while nobody writes: calls fn for each entry until it returns false. */
void rcumap_each(const struct rcumap *m, bool (*fn)(void *arg, struct str key, void *value),
		 void *arg);

#endif
