/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index: from a key to the objects that have it, nearly always one. One writer, lock-free readers (rcumap.h). The
 * objects are the caller's; they must outlive every reader that may find them, so retire them after taking them out.
 */
#ifndef GAUZE_STATE_MULTI_H
#define GAUZE_STATE_MULTI_H

#include "shared/base/base.h"

struct epoch;
struct multi_list;
struct rcumap;

struct multi {
	struct rcumap *map; /* a value is an object, or a multi_list with the lowest bit set */
	struct epoch *epoch;
};

/* 0 or ERR_NOMEM. */
int must_check multi_init(struct multi *m, struct epoch *epoch);
/* No reader may be inside; the objects are the caller's. A zeroed index is allowed. */
void multi_fini(struct multi *m);

/* Writer. Adds behind those that are there; an object that is there already is not added again. 0 or ERR_NOMEM. */
int must_check multi_add(struct multi *m, struct str key, void *object);
/* Writer. Puts `object` where `old`, which must be there, stands. */
void multi_swap(struct multi *m, struct str key, void *old, void *object);
/* Writer. Nothing happens when it is not there. */
void multi_del(struct multi *m, struct str key, const void *object);

struct multi_cursor {
	void *single;
	struct multi_list *list;
	uint32_t at;
};
/* Reader: walks the objects of a key in the order they came. */
void multi_find(const struct multi *m, struct str key, struct multi_cursor *c);
/* The next object, or NULL. */
void *multi_next(struct multi_cursor *c);

#endif
