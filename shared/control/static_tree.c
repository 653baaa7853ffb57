/* SPDX-License-Identifier: Apache-2.0 */
#include "static_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"

enum { CHUNK_BYTES = 256 * 1024, ALIGN = 16 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, cap;
	_Alignas(ALIGN) char bytes[];
};

void *tree_alloc(struct tree *t, size_t size)
{
	size_t need = (size + ALIGN - 1) / ALIGN * ALIGN;
	struct arena_chunk *c = t->memory;

	if (!c || c->cap - c->used < need) {
		size_t cap = MAX(need, (size_t)CHUNK_BYTES);
		c = calloc(1, sizeof(*c) + cap);
		if (!c)
			return NULL;
		c->cap = cap;
		c->next = t->memory;
		t->memory = c;
	}
	void *p = c->bytes + c->used;
	c->used += need;
	return p;
}

void tree_free(struct tree *t)
{
	struct arena_chunk *next;

	for (struct arena_chunk *c = t->memory; c; c = next) {
		next = c->next;
		free(c);
	}
	*t = (struct tree){0};
}

struct anchor {
	const char *name; /* in the arena */
	struct node *node;
};

/* A list or map that has begun and not ended; its parts wait in `parts` from `first` on. */
struct open {
	struct node *node, *map; /* map: of its tag, or NULL */
	size_t first;
};

struct loader {
	yaml_parser_t parser;
	struct tree *tree;
	struct tree_error *why;
	struct open open[LIMIT_STATIC_DEPTH];
	size_t depth;
	struct node **parts;
	size_t parts_count, parts_cap;
	struct anchor anchors[LIMIT_STATIC_ANCHORS];
	size_t anchors_count;
	uint64_t nodes; /* so far, aliases expanded */
	bool done;
};

static int fail(struct loader *l, int err, const yaml_mark_t *at, const char *text)
{
	l->why->line = at ? (uint32_t)at->line + 1 : 0;
	snprintf(l->why->text, sizeof(l->why->text), "%s", text);
	return err;
}

static int no_memory(struct loader *l)
{
	return fail(l, ERR_NOMEM, NULL, "out of memory");
}

/* Files a complete value where it belongs. */
static int place(struct loader *l, struct node *n, const yaml_mark_t *at)
{
	l->nodes += n->kind == NODE_SCALAR ? 1 : 0;
	if (l->nodes > LIMIT_STATIC_NODES)
		return fail(l, ERR_TOO_LARGE, at, "too many values");
	if (l->depth == 0) {
		if (l->tree->root)
			return fail(l, ERR_SYNTAX, at, "a second document");
		l->tree->root = n;
		return 0;
	}
	if (l->parts_count == l->parts_cap) {
		size_t cap = l->parts_cap ? l->parts_cap * 2 : 256;
		struct node **bigger = reallocarray(l->parts, cap, sizeof(*bigger));
		if (!bigger)
			return no_memory(l);
		l->parts = bigger;
		l->parts_cap = cap;
	}
	l->parts[l->parts_count++] = n;
	return 0;
}

static struct node *node_new(struct loader *l, enum node_kind kind, const yaml_mark_t *at)
{
	struct node *n = tree_alloc(l->tree, sizeof(*n));

	if (n) {
		n->kind = kind;
		n->line = (uint32_t)at->line + 1;
	}
	return n;
}

static char *copy(struct loader *l, const void *bytes, size_t n)
{
	char *p = tree_alloc(l->tree, n + 1);

	if (p && n)
		memcpy(p, bytes, n);
	return p;
}

static int remember(struct loader *l, const yaml_char_t *name, struct node *n,
		    const yaml_mark_t *at)
{
	if (!name)
		return 0;
	if (l->anchors_count == LIMIT_STATIC_ANCHORS)
		return fail(l, ERR_TOO_LARGE, at, "too many anchors");
	char *own = copy(l, name, strlen((const char *)name));
	if (!own)
		return no_memory(l);
	l->anchors[l->anchors_count++] = (struct anchor){own, n};
	return 0;
}

/*
 * `!Name value` is the other way to write `Name: value` as a value of its own (contract section 3.8 shows the latter, files
 * of the original may hold the former). *out: the map that stands for it, still without its value; NULL without such a tag.
 */
static int wrap_new(struct loader *l, const yaml_char_t *tag, const yaml_mark_t *at,
		    struct node **out)
{
	const char *name = (const char *)tag;

	*out = NULL;
	if (!name || name[0] != '!' || !name[1] || strchr(name + 1, '!'))
		return 0;
	struct node *map = node_new(l, NODE_MAP, at), *key = node_new(l, NODE_SCALAR, at);
	char *text = copy(l, name + 1, strlen(name + 1));
	if (!map || !key || !text)
		return no_memory(l);
	map->v = tree_alloc(l->tree, 2 * sizeof(struct node *));
	if (!map->v)
		return no_memory(l);
	key->text = (struct str){text, strlen(text)};
	key->plain = true;
	key->weight = 1;
	map->count = 1;
	map->v[0] = key;
	l->nodes += 2;
	*out = map;
	return 0;
}

static struct node *wrap(struct node *map, struct node *value)
{
	if (!map)
		return value;
	map->v[1] = value;
	map->weight = 2 + value->weight;
	return map;
}

static int on_scalar(struct loader *l, const yaml_event_t *e)
{
	struct node *map;
	int err = wrap_new(l, e->data.scalar.tag, &e->start_mark, &map);
	if (err)
		return err;
	struct node *n = node_new(l, NODE_SCALAR, &e->start_mark);
	char *text = n ? copy(l, e->data.scalar.value, e->data.scalar.length) : NULL;

	if (!text)
		return no_memory(l);
	n->text = (struct str){text, e->data.scalar.length};
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->weight = 1;
	n = wrap(map, n);
	err = remember(l, e->data.scalar.anchor, n, &e->start_mark);
	return err ? err : place(l, n, &e->start_mark);
}

static int on_begin(struct loader *l, const yaml_event_t *e, enum node_kind kind,
		    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct node *map;
	if (l->depth == LIMIT_STATIC_DEPTH)
		return fail(l, ERR_TOO_LARGE, &e->start_mark, "nested too deeply");
	struct node *n = node_new(l, kind, &e->start_mark);
	if (!n)
		return no_memory(l);
	int err = wrap_new(l, tag, &e->start_mark, &map);
	if (!err)
		err = remember(l, anchor, map ? map : n, &e->start_mark);
	if (err)
		return err;
	l->nodes++;
	l->open[l->depth++] = (struct open){n, map, l->parts_count};
	return 0;
}

static int on_end(struct loader *l, const yaml_event_t *e)
{
	struct open o = l->open[--l->depth];
	size_t parts = l->parts_count - o.first;
	uint64_t weight = 1;

	o.node->v = tree_alloc(l->tree, parts * sizeof(*o.node->v));
	if (!o.node->v)
		return no_memory(l);
	for (size_t i = 0; i < parts; i++) {
		o.node->v[i] = l->parts[o.first + i];
		weight += o.node->v[i]->weight;
	}
	o.node->count = (uint32_t)(o.node->kind == NODE_MAP ? parts / 2 : parts);
	/* Bounded by l->nodes, which counts aliases as what they stand for. */
	o.node->weight = (uint32_t)weight;
	l->parts_count = o.first;
	return place(l, wrap(o.map, o.node), &e->start_mark);
}

static int on_alias(struct loader *l, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	struct node *n = NULL;

	for (size_t i = l->anchors_count; i > 0 && !n; i--)
		if (strcmp(l->anchors[i - 1].name, name) == 0)
			n = l->anchors[i - 1].node;
	if (!n)
		return fail(l, ERR_SYNTAX, &e->start_mark, "an alias to nothing");
	if (n->weight == 0)
		return fail(l, ERR_SYNTAX, &e->start_mark, "an alias inside of what it stands for");
	l->nodes += n->kind == NODE_SCALAR ? 0 : n->weight;
	return place(l, n, &e->start_mark);
}

static int on_event(struct loader *l, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT: return on_scalar(l, e);
	case YAML_SEQUENCE_START_EVENT:
		return on_begin(l, e, NODE_LIST, e->data.sequence_start.anchor,
				e->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return on_begin(l, e, NODE_MAP, e->data.mapping_start.anchor,
				e->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return on_end(l, e);
	case YAML_ALIAS_EVENT: return on_alias(l, e);
	case YAML_STREAM_END_EVENT: l->done = true; return 0;
	default: return 0;
	}
}

static int load(struct loader *l)
{
	int err = 0;

	while (!l->done && !err) {
		yaml_event_t e;
		if (!yaml_parser_parse(&l->parser, &e)) {
			bool memory = l->parser.error == YAML_MEMORY_ERROR;
			const char *text = l->parser.problem ? l->parser.problem : "malformed";
			return memory ? no_memory(l)
				      : fail(l, ERR_SYNTAX, &l->parser.problem_mark, text);
		}
		err = on_event(l, &e);
		yaml_event_delete(&e);
	}
	return err;
}

int tree_parse(struct str text, struct tree *out, struct tree_error *why)
{
	struct tree tree = {0};

	*why = (struct tree_error){0};
	struct loader *l = calloc(1, sizeof(*l));
	if (!l || !yaml_parser_initialize(&l->parser)) {
		free(l);
		snprintf(why->text, sizeof(why->text), "out of memory");
		return ERR_NOMEM;
	}
	l->tree = &tree;
	l->why = why;
	int err;
	if (text.n > LIMIT_STATIC_BYTES) {
		err = fail(l, ERR_TOO_LARGE, NULL, "the text is too large");
	} else {
		yaml_parser_set_input_string(&l->parser, (const unsigned char *)text.p, text.n);
		err = load(l);
	}
	yaml_parser_delete(&l->parser);
	free(l->parts);
	free(l);
	if (err) {
		tree_free(&tree);
		return err;
	}
	*out = tree;
	return 0;
}
