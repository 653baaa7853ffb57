/* SPDX-License-Identifier: Apache-2.0 */
#include "static_decode.h"

#include <stdlib.h>

#include "shared/base/err.h"

static void read_destination(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct gateway_spec *g = to;

	(void)arg;
	if (!schema_is(s, n, NODE_SCALAR))
		return;
	const char *slash = memchr(n->text.p, '/', n->text.n);
	if (!slash) {
		schema_error(s, n, "must be network/ip or namespace/hostname");
		return;
	}
	struct str left = {n->text.p, (size_t)(slash - n->text.p)};
	struct str right = {slash + 1, n->text.n - left.n - 1};
	if (ip_parse(right, &g->ip) == 0) {
		g->kind = GATEWAY_ADDRESS;
		g->network = left;
		return;
	}
	if (right.n == 0) {
		schema_error(s, n, "must be network/ip or namespace/hostname");
		return;
	}
	g->kind = GATEWAY_HOSTNAME;
	g->ns = left;
	g->hostname = right;
}

static const struct schema_field gateway_fields[] = {
	{"destination", .read = read_destination, .required = true},
	STATIC_FIELD(struct gateway_spec, "hboneMtlsPort", hbone_port, schema_u16,
		     .required = true),
};
static const struct schema_table gateway_table = {gateway_fields, ARRAY_SIZE(gateway_fields)};

void static_read_gateway_fields(struct schema *s, const struct node *n, struct gateway_spec *out)
{
	schema_map(s, n, &gateway_table, out);
}

void static_read_gateway(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct gateway_spec *g = schema_alloc(s, sizeof(*g));

	(void)arg;
	if (!g)
		return;
	static_read_gateway_fields(s, n, g);
	*(const struct gateway_spec **)to = g;
}

void static_read_ports(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct static_ports *out = to;

	(void)arg;
	if (!schema_is(s, n, NODE_MAP))
		return;
	struct port_pair *v = schema_alloc(s, n->count * sizeof(*v));
	if (!v)
		return;
	schema_unique_keys(s, n);
	for (uint32_t i = 0; i < n->count; i++) {
		const struct node *key = n->v[2 * i];
		if (!schema_port_of(s, key, &v[i].service))
			continue;
		schema_enter_key(s, key->text);
		schema_u16(s, n->v[2 * i + 1], &v[i].target, NULL);
		schema_leave(s);
	}
	*out = (struct static_ports){v, n->count};
}

void static_tell(struct schema *s, const struct node *n, int err)
{
	if (err == ERR_NOMEM)
		s->no_memory = true;
	else if (err)
		schema_error(s, n, "%s", err_text(err));
}

/* ---- the file ---- */

/* A section: how its items are read, and which keys of an item name it. */
struct section {
	schema_read read;
	const char *name_keys[2]; /* joined with '/'; the second may be NULL */
	const char *what;
};

static const struct section workloads = {static_read_workload, {"uid", NULL}, "workload"};
static const struct section services = {static_read_service, {"namespace", "hostname"}, "service"};
static const struct section policies = {static_read_policy, {"namespace", "name"}, "policy"};

static struct str text_of(const struct node *map, const char *key)
{
	for (uint32_t i = 0; key && map->kind == NODE_MAP && i < map->count; i++)
		if (map->v[2 * i]->kind == NODE_SCALAR && map->v[2 * i + 1]->kind == NODE_SCALAR &&
		    str_eq(map->v[2 * i]->text, str_of(key)))
			return map->v[2 * i + 1]->text;
	return (struct str){"", 0};
}

struct named {
	struct str part[2];
	const struct node *n;
	uint32_t index;
};

static int order_of(struct str a, struct str b)
{
	int order = memcmp(a.p, b.p, MIN(a.n, b.n));

	return order || a.n == b.n ? order : a.n < b.n ? -1 : 1;
}

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = order_of(x->part[0], y->part[0]);

	if (order == 0)
		order = order_of(x->part[1], y->part[1]);
	return order ? order : x->index < y->index ? -1 : 1;
}

/* Two objects of one name: the later would silently take the place of the earlier. */
static void check_names(struct schema *s, const struct node *n, const struct section *section)
{
	struct named *v = schema_alloc(s, n->count * sizeof(*v));
	uint32_t count = 0;

	for (uint32_t i = 0; v && i < n->count; i++) {
		if (n->v[i]->kind != NODE_MAP)
			continue;
		v[count++] = (struct named){{text_of(n->v[i], section->name_keys[0]),
					     text_of(n->v[i], section->name_keys[1])},
					    n->v[i],
					    i};
	}
	if (count > 0)
		qsort(v, count, sizeof(*v), by_name);
	for (uint32_t i = 1; i < count; i++) {
		if (order_of(v[i].part[0], v[i - 1].part[0]) != 0 ||
		    order_of(v[i].part[1], v[i - 1].part[1]) != 0)
			continue;
		schema_enter_index(s, v[i].index);
		schema_error(s, v[i].n, "the %s \"" STR_FMT "%s" STR_FMT "\" is in line %u already",
			     section->what, STR_ARG(v[i].part[0]), section->name_keys[1] ? "/" : "",
			     STR_ARG(v[i].part[1]), v[i - 1].n->line);
		schema_leave(s);
	}
}

/* The items of a section go one by one into the batch, which `to` points to. */
static void read_section(struct schema *s, const struct node *n, void *to, const void *arg)
{
	const struct section *section = arg;

	if (!schema_is(s, n, NODE_LIST))
		return;
	for (uint32_t i = 0; i < n->count; i++) {
		schema_enter_index(s, i);
		section->read(s, n->v[i], *(struct batch **)to, NULL);
		schema_leave(s);
	}
	check_names(s, n, section);
}

static const struct schema_field file_fields[] = {
	{"workloads", .read = read_section, .arg = &workloads},
	{"services", .read = read_section, .arg = &services},
	{"policies", .read = read_section, .arg = &policies},
};
static const struct schema_table file_table = {file_fields, ARRAY_SIZE(file_fields)};

int static_decode(struct str text, const char *name, struct batch *b, struct static_report *report)
{
	struct tree tree = {0};
	struct tree_error why;
	struct schema s = {.file = name, .tree = &tree, .report = report};

	*report = (struct static_report){0};
	int err = tree_parse(text, &tree, &why);
	if (err == ERR_NOMEM)
		return err;
	if (err) {
		const struct node at = {.line = why.line};
		schema_error(&s, why.line ? &at : NULL, "%s", why.text);
		return s.no_memory ? ERR_NOMEM : ERR_SYNTAX;
	}
	/* A file that was cut would else silently take the whole mesh away; who means that writes {}. */
	if (!tree.root || schema_is_null(tree.root))
		schema_error(&s, NULL, "is empty: write {} for a mesh with nothing in it");
	else
		schema_map(&s, tree.root, &file_table, &b);
	tree_free(&tree);
	if (s.no_memory)
		return ERR_NOMEM;
	return report->errors > 0 ? ERR_SYNTAX : 0;
}
