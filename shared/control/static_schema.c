/* SPDX-License-Identifier: Apache-2.0 */
#include "static_schema.h"

#include <stdarg.h>
#include <stdlib.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/base/sbuf.h"

enum { LINE_BYTES_MAX = 1024, SHOWN_BYTES_MAX = 80 };

void static_report_fini(struct static_report *r)
{
	for (uint32_t i = 0; i < static_report_lines(r); i++)
		free(r->line[i]);
	*r = (struct static_report){0};
}

static void put_path(struct sbuf *sb, const struct schema *s)
{
	for (uint32_t i = 0; i < s->depth; i++) {
		if (!s->path[i].key.p) {
			sbuf_printf(sb, "[%u]", s->path[i].index);
			continue;
		}
		if (i > 0)
			sbuf_putc(sb, '.');
		sbuf_put(sb, s->path[i].key);
	}
	if (s->depth > 0)
		sbuf_putz(sb, ": ");
}

void schema_error(struct schema *s, const struct node *n, const char *fmt, ...)
{
	char line[LINE_BYTES_MAX];
	struct sbuf sb;
	va_list args;

	if (s->report->errors++ >= LIMIT_STATIC_ERRORS)
		return;
	sbuf_init_fixed(&sb, line, sizeof(line));
	sbuf_putz(&sb, s->file);
	if (n)
		sbuf_printf(&sb, ":%u", n->line);
	sbuf_putz(&sb, ": ");
	put_path(&sb, s);
	va_start(args, fmt);
	sbuf_vprintf(&sb, fmt, args);
	va_end(args);
	/* A line that does not fit is told by its beginning. */
	char *copy = strdup(sb.n > 0 ? line : "error");
	if (!copy) {
		s->report->errors--;
		s->no_memory = true;
		return;
	}
	s->report->line[s->report->errors - 1] = copy;
}

static void enter(struct schema *s, struct str key, uint32_t index)
{
	/* The tree is no deeper than the path has room for. */
	CHECK(s->depth < SCHEMA_PATH_MAX);
	s->path[s->depth].key = key;
	s->path[s->depth].index = index;
	s->depth++;
}

void schema_enter_key(struct schema *s, struct str key)
{
	enter(s, (struct str){key.p ? key.p : "", key.n}, 0);
}

void schema_enter_index(struct schema *s, uint32_t index)
{
	enter(s, (struct str){NULL, 0}, index);
}

void schema_leave(struct schema *s)
{
	s->depth--;
}

void *schema_alloc(struct schema *s, size_t size)
{
	void *p = tree_alloc(s->tree, size);

	if (!p)
		s->no_memory = true;
	return p;
}

static const char *kind_text(const struct node *n)
{
	if (n->kind == NODE_LIST)
		return "a list";
	return n->kind == NODE_MAP ? "a map" : "a single value";
}

bool schema_is(struct schema *s, const struct node *n, enum node_kind kind)
{
	static const char *const want[] = {"a single value", "a list", "a map"};

	if (n->kind == kind)
		return true;
	schema_error(s, n, "must be %s, not %s", want[kind], kind_text(n));
	return false;
}

bool schema_is_null(const struct node *n)
{
	return n->kind == NODE_SCALAR && n->plain &&
	       (n->text.n == 0 || str_eq(n->text, STR("~")) || str_eq(n->text, STR("null")) ||
		str_eq(n->text, STR("Null")) || str_eq(n->text, STR("NULL")));
}

/* What a message shows of a value. */
static struct str shown(struct str s)
{
	return (struct str){s.p, MIN(s.n, (size_t)SHOWN_BYTES_MAX)};
}

static int key_order(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
	int order = memcmp(x->text.p, y->text.p, MIN(x->text.n, y->text.n));

	if (order == 0 && x->text.n != y->text.n)
		order = x->text.n < y->text.n ? -1 : 1;
	if (order == 0)
		order = x->line < y->line ? -1 : x->line > y->line;
	return order;
}

void schema_unique_keys(struct schema *s, const struct node *map)
{
	struct node **keys = schema_alloc(s, map->count * sizeof(*keys));
	size_t n = 0;

	if (!keys)
		return;
	for (uint32_t i = 0; i < map->count; i++)
		if (map->v[2 * i]->kind == NODE_SCALAR)
			keys[n++] = map->v[2 * i];
	qsort(keys, n, sizeof(*keys), key_order);
	for (size_t i = 1; i < n; i++)
		if (str_eq(keys[i]->text, keys[i - 1]->text))
			schema_error(s, keys[i], "the key \"" STR_FMT "\" is there twice",
				     STR_ARG(shown(keys[i]->text)));
}

static const struct schema_field *find_field(const struct schema_table *t, struct str key)
{
	for (size_t i = 0; i < t->count; i++)
		if (str_eq(str_of(t->fields[i].key), key))
			return &t->fields[i];
	return NULL;
}

void schema_items(struct schema *s, const struct node *n, const struct schema_list *list,
		  const void **items, size_t *count)
{
	if (!schema_is(s, n, NODE_LIST))
		return;
	char *to = schema_alloc(s, n->count * list->item_bytes);
	if (!to)
		return;
	for (uint32_t i = 0; i < n->count; i++) {
		schema_enter_index(s, i);
		list->read(s, n->v[i], to + i * list->item_bytes, list->arg);
		schema_leave(s);
	}
	*items = to;
	*count = n->count;
}

static void read_list_field(struct schema *s, const struct node *n, const struct schema_field *f,
			    char *object)
{
	const void *items = NULL;
	size_t count = 0;

	schema_items(s, n, f->list, &items, &count);
	if (f->count_bytes == 2 && count > UINT16_MAX) {
		schema_error(s, n, "has more than %u items", UINT16_MAX);
		return;
	}
	memcpy(object + f->at, &items, sizeof(items));
	if (f->count_bytes == 2)
		*(uint16_t *)(void *)(object + f->count_at) = (uint16_t)count;
	else if (f->count_bytes == 4)
		*(uint32_t *)(void *)(object + f->count_at) = (uint32_t)count;
	else
		*(size_t *)(void *)(object + f->count_at) = count;
}

static void read_field(struct schema *s, const struct node *n, const struct schema_field *f,
		       void *object)
{
	if (schema_is_null(n)) {
		if (f->required)
			schema_error(s, n, "is required, and has no value");
		return;
	}
	if (f->list)
		read_list_field(s, n, f, object);
	else
		f->read(s, n, (char *)object + f->at, f->arg);
}

void schema_map(struct schema *s, const struct node *n, const struct schema_table *table,
		void *object)
{
	uint64_t seen = 0;

	CHECK(table->count <= 64);
	if (!schema_is(s, n, NODE_MAP))
		return;
	for (uint32_t i = 0; i < n->count; i++) {
		const struct node *key = n->v[2 * i];
		if (!schema_is(s, key, NODE_SCALAR))
			continue;
		const struct schema_field *f = find_field(table, key->text);
		schema_enter_key(s, shown(key->text));
		if (!f) {
			schema_error(s, key, "unknown key");
		} else if (seen & 1ULL << (f - table->fields)) {
			schema_error(s, key, "is there twice");
		} else {
			seen |= 1ULL << (f - table->fields);
			read_field(s, n->v[2 * i + 1], f, object);
		}
		schema_leave(s);
	}
	for (size_t i = 0; i < table->count; i++)
		if (table->fields[i].required && !(seen & 1ULL << i))
			schema_error(s, n, "the key \"%s\" is missing", table->fields[i].key);
}

/* ---- readers ---- */

void schema_str(struct schema *s, const struct node *n, void *str, const void *arg)
{
	(void)arg;
	if (!schema_is(s, n, NODE_SCALAR))
		return;
	if (memchr(n->text.p, 0, n->text.n)) {
		schema_error(s, n, "holds a zero byte");
		return;
	}
	*(struct str *)str = n->text;
}

void schema_bool(struct schema *s, const struct node *n, void *boolean, const void *arg)
{
	(void)arg;
	if (!schema_is(s, n, NODE_SCALAR))
		return;
	bool yes = str_eq(n->text, STR("true")) || str_eq(n->text, STR("True"));
	bool no = str_eq(n->text, STR("false")) || str_eq(n->text, STR("False"));
	if (!n->plain || !(yes || no))
		schema_error(s, n, "must be true or false, not \"" STR_FMT "\"",
			     STR_ARG(shown(n->text)));
	else
		*(bool *)boolean = yes;
}

static bool number(struct str text, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (text.n == 0 || text.n > 10)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
	}
	if (v > max)
		return false;
	*out = v;
	return true;
}

static bool read_number(struct schema *s, const struct node *n, bool plain, uint64_t max,
			uint64_t *out)
{
	if (!schema_is(s, n, NODE_SCALAR))
		return false;
	if ((!n->plain && plain) || !number(n->text, max, out)) {
		schema_error(s, n, "must be a number from 0 to %llu, not \"" STR_FMT "\"",
			     (unsigned long long)max, STR_ARG(shown(n->text)));
		return false;
	}
	return true;
}

void schema_u16(struct schema *s, const struct node *n, void *u16, const void *arg)
{
	uint64_t v;

	(void)arg;
	if (read_number(s, n, true, UINT16_MAX, &v))
		*(uint16_t *)u16 = (uint16_t)v;
}

void schema_u32(struct schema *s, const struct node *n, void *u32, const void *arg)
{
	uint64_t v;

	(void)arg;
	if (read_number(s, n, true, UINT32_MAX, &v))
		*(uint32_t *)u32 = (uint32_t)v;
}

bool schema_port_of(struct schema *s, const struct node *n, uint16_t *out)
{
	uint64_t v;

	/* Keys of a JSON object are always quoted. */
	if (!read_number(s, n, false, UINT16_MAX, &v))
		return false;
	*out = (uint16_t)v;
	return true;
}

void schema_enum(struct schema *s, const struct node *n, void *to, const void *arg)
{
	const char *const *names = arg;
	char allowed[160];
	struct sbuf sb;

	if (!schema_is(s, n, NODE_SCALAR))
		return;
	for (int i = 0; names[i]; i++) {
		if (names[i][0] && str_eq(str_of(names[i]), n->text)) {
			*(int *)to = i;
			return;
		}
	}
	sbuf_init_fixed(&sb, allowed, sizeof(allowed));
	for (int i = 0; names[i]; i++)
		if (names[i][0])
			sbuf_printf(&sb, "%s%s", sb.n > 0 ? ", " : "", names[i]);
	schema_error(s, n, "unknown value \"" STR_FMT "\", known are: %s", STR_ARG(shown(n->text)),
		     sb.n > 0 ? allowed : "none");
}

void schema_ip(struct schema *s, const struct node *n, void *ip, const void *arg)
{
	(void)arg;
	if (schema_is(s, n, NODE_SCALAR) && ip_parse(n->text, ip) != 0)
		schema_error(s, n, "\"" STR_FMT "\" is not an IP address", STR_ARG(shown(n->text)));
}

void schema_cidr(struct schema *s, const struct node *n, void *cidr, const void *arg)
{
	(void)arg;
	if (schema_is(s, n, NODE_SCALAR) && cidr_parse(n->text, cidr) != 0)
		schema_error(s, n, "\"" STR_FMT "\" is not a CIDR", STR_ARG(shown(n->text)));
}
