/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML or JSON text (JSON is YAML) as a tree that knows the line of every value. Bounded in bytes, values, depth and
 * what aliases expand to (limits.h). Pure.
 */
#ifndef GAUZE_CONTROL_STATIC_TREE_H
#define GAUZE_CONTROL_STATIC_TREE_H

#include "shared/base/base.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	uint8_t kind;
	bool plain;	 /* NODE_SCALAR: not quoted */
	uint32_t line;	 /* from 1 */
	uint32_t weight; /* values in it, itself included, aliases expanded */
	uint32_t count;	 /* NODE_LIST: items; NODE_MAP: pairs */
	union {
		struct str text;
		struct node **v; /* items; key, value, key, value, ... */
	};
};

struct tree {
	struct node *root; /* NULL: the text holds nothing */
	struct arena_chunk *memory;
};

struct tree_error {
	uint32_t line; /* 0: of the text as a whole */
	char text[160];
};

/* 0, or ERR_SYNTAX, ERR_TOO_LARGE (a limit), ERR_NOMEM; *why says what and where. Keys are not checked for duplicates. */
int must_check tree_parse(struct str text, struct tree *out, struct tree_error *why);
void tree_free(struct tree *t);
/* Memory that lives as long as the tree, zeroed; NULL when out of memory. */
void *tree_alloc(struct tree *t, size_t size);

#endif
