/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decodes a tree by tables that name each key, its kind, and whether it must be there. Everything wrong is told as
 * "file:line: path: reason"; decoding goes on, so that one run shows all of it.
 */
#ifndef GAUZE_CONTROL_STATIC_SCHEMA_H
#define GAUZE_CONTROL_STATIC_SCHEMA_H

#include "shared/base/limits.h"
#include "static_tree.h"

struct static_report {
	uint32_t errors;		 /* found; the first ones are in line[] */
	char *line[LIMIT_STATIC_ERRORS]; /* "file:line: path: reason" */
};
void static_report_fini(struct static_report *r);
/* How many lines there are to show. */
static inline uint32_t static_report_lines(const struct static_report *r)
{
	return MIN(r->errors, (uint32_t)LIMIT_STATIC_ERRORS);
}

enum { SCHEMA_PATH_MAX = LIMIT_STATIC_DEPTH + 2 };

struct schema {
	const char *file;
	struct tree *tree; /* decoded arrays are allocated here */
	struct static_report *report;
	struct {
		struct str key; /* p NULL: an index */
		uint32_t index;
	} path[SCHEMA_PATH_MAX];
	uint32_t depth;
	bool no_memory;
};

/* Reads a value into `to`; on a wrong value says so (schema_error) and leaves `to` as it is. */
typedef void (*schema_read)(struct schema *s, const struct node *n, void *to, const void *arg);

/* How the items of a list are read. */
struct schema_list {
	schema_read read;
	const void *arg;
	size_t item_bytes;
};

struct schema_field {
	const char *key;
	schema_read read;
	const void *arg;
	const struct schema_list *list; /* instead of read */
	size_t at;			/* offset of the value, or of the pointer to the items */
	size_t count_at;		/* list: offset of the count */
	uint8_t count_bytes;		/* list: size of the count: 2, 4, 8 */
	bool required;
};

struct schema_table {
	const struct schema_field *fields;
	size_t count;
};

void schema_error(struct schema *s, const struct node *n, const char *fmt, ...) printf_like(3, 4);
void schema_enter_key(struct schema *s, struct str key);
void schema_enter_index(struct schema *s, uint32_t index);
void schema_leave(struct schema *s);
/* Memory that lives as long as the tree; NULL when out of memory, which is remembered. */
void *schema_alloc(struct schema *s, size_t size);

/* False, after an error, when the node is not of that kind. */
bool schema_is(struct schema *s, const struct node *n, enum node_kind kind);
/* A value that says "none": absent keys and these are the same for keys that are not required. */
bool schema_is_null(const struct node *n);
/* Decodes a map by the table into `object`. */
void schema_map(struct schema *s, const struct node *n, const struct schema_table *table,
		void *object);
/* Decodes a list; *items points to *count of them. */
void schema_items(struct schema *s, const struct node *n, const struct schema_list *list,
		  const void **items, size_t *count);
/* Tells every key that a map has twice. */
void schema_unique_keys(struct schema *s, const struct node *map);

/* Readers. */
void schema_str(struct schema *s, const struct node *n, void *str, const void *arg);
void schema_bool(struct schema *s, const struct node *n, void *boolean, const void *arg);
void schema_u16(struct schema *s, const struct node *n, void *u16, const void *arg);
void schema_u32(struct schema *s, const struct node *n, void *u32, const void *arg);
/* arg: const char *const names[], NULL-terminated; the value is the index, written as an int. */
void schema_enum(struct schema *s, const struct node *n, void *to, const void *arg);
void schema_ip(struct schema *s, const struct node *n, void *ip, const void *arg);
void schema_cidr(struct schema *s, const struct node *n, void *cidr, const void *arg);
/* A port as text or number. */
bool schema_port_of(struct schema *s, const struct node *n, uint16_t *out);

#endif
