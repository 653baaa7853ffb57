/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/config_file.h"

#include <stdlib.h>
#include <yaml.h>

#include "shared/base/err.h"

static const char meta_prefix[] = "ISTIO_META_";

const char *config_map_get(const struct config_map *m, const char *name)
{
	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->v[i].name, name) == 0)
			return m->v[i].value;
	return NULL;
}

int config_map_put(struct config_map *m, struct str name, struct str value)
{
	char *n = strndup(name.p, name.n), *v = strndup(value.p, value.n);
	size_t at = 0;
	if (!n || !v)
		goto nomem;
	while (at < m->count && strcmp(m->v[at].name, n) < 0)
		at++;
	if (at < m->count && strcmp(m->v[at].name, n) == 0) {
		free(n);
		free(m->v[at].value);
		m->v[at].value = v;
		return 0;
	}
	struct config_pair *grown = realloc(m->v, (m->count + 1) * sizeof(*grown));
	if (!grown)
		goto nomem;
	m->v = grown;
	memmove(&m->v[at + 1], &m->v[at], (m->count - at) * sizeof(*grown));
	m->v[at] = (struct config_pair){n, v};
	m->count++;
	return 0;
nomem:
	free(n);
	free(v);
	return ERR_NOMEM;
}

void config_map_fini(struct config_map *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->v[i].name);
		free(m->v[i].value);
	}
	free(m->v);
	*m = (struct config_map){0};
}

static struct str scalar_of(const yaml_node_t *n)
{
	return (struct str){(const char *)n->data.scalar.value, n->data.scalar.length};
}

static int fail(char why[CONFIG_ERROR_MAX], const yaml_node_t *at, const char *text)
{
	snprintf(why, CONFIG_ERROR_MAX, "line %zu: %s", at->start_mark.line + 1, text);
	return ERR_SYNTAX;
}

static int take_scalar(char **slot, const yaml_node_t *n, char why[CONFIG_ERROR_MAX])
{
	if (n->type != YAML_SCALAR_NODE)
		return fail(why, n, "a single value is expected");
	struct str s = scalar_of(n);
	char *copy = strndup(s.p, s.n);
	if (!copy)
		return ERR_NOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static int take_metadata(struct config_map *m, yaml_document_t *doc, const yaml_node_t *n,
			 char why[CONFIG_ERROR_MAX])
{
	if (n->type != YAML_MAPPING_NODE)
		return fail(why, n, "proxyMetadata is a map of strings");
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);
		yaml_node_t *v = yaml_document_get_node(doc, p->value);
		if (k->type != YAML_SCALAR_NODE || v->type != YAML_SCALAR_NODE)
			return fail(why, k, "proxyMetadata is a map of strings");
		struct str name = scalar_of(k);
		if (str_starts(name, STR(meta_prefix))) {
			name.p += sizeof(meta_prefix) - 1;
			name.n -= sizeof(meta_prefix) - 1;
		}
		int rc = config_map_put(m, name, scalar_of(v));
		if (rc)
			return rc;
	}
	return 0;
}

static int take_config(struct config_file *f, yaml_document_t *doc, const yaml_node_t *n,
		       char why[CONFIG_ERROR_MAX])
{
	bool metadata = false;
	if (n->type != YAML_MAPPING_NODE)
		return fail(why, n, "the proxy config is a map");
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);
		yaml_node_t *v = yaml_document_get_node(doc, p->value);
		int rc = 0;
		if (k->type != YAML_SCALAR_NODE)
			return fail(why, k, "a key is a string");
		struct str key = scalar_of(k);
		if (str_eq(key, STR("discoveryAddress")))
			rc = take_scalar(&f->discovery_address, v, why);
		else if (str_eq(key, STR("proxyAdminPort")))
			rc = take_scalar(&f->admin_port, v, why);
		else if (str_eq(key, STR("statsPort")))
			rc = take_scalar(&f->stats_port, v, why);
		else if (str_eq(key, STR("concurrency")))
			rc = take_scalar(&f->concurrency, v, why);
		else if (str_eq(key, STR("proxyMetadata"))) {
			metadata = true;
			rc = take_metadata(&f->metadata, doc, v, why);
		}
		if (rc)
			return rc;
	}
	return metadata ? 0 : fail(why, n, "proxyMetadata is missing");
}

/* The node below that key of the root mapping, or NULL. */
static const yaml_node_t *below(yaml_document_t *doc, const yaml_node_t *root, const char *key)
{
	if (root->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);
		if (k->type == YAML_SCALAR_NODE && str_eq(scalar_of(k), str_of(key)))
			return yaml_document_get_node(doc, p->value);
	}
	return NULL;
}

int config_file_parse(struct config_file *f, struct str text, const char *top,
		      char why[CONFIG_ERROR_MAX])
{
	yaml_parser_t parser;
	yaml_document_t doc;
	int rc = 0;
	if (text.n > CONFIG_FILE_BYTES_MAX) {
		snprintf(why, CONFIG_ERROR_MAX, "more than %d bytes", CONFIG_FILE_BYTES_MAX);
		return ERR_SYNTAX;
	}
	if (!yaml_parser_initialize(&parser))
		return ERR_NOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	if (!yaml_parser_load(&parser, &doc)) {
		snprintf(why, CONFIG_ERROR_MAX, "line %zu: %s", parser.problem_mark.line + 1,
			 parser.problem ? parser.problem : "not YAML");
		yaml_parser_delete(&parser);
		return ERR_SYNTAX;
	}
	const yaml_node_t *node = yaml_document_get_root_node(&doc);
	if (node && top)
		node = below(&doc, node, top);
	if (node)
		rc = take_config(f, &doc, node, why);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return rc;
}

void config_file_fini(struct config_file *f)
{
	free(f->discovery_address);
	free(f->admin_port);
	free(f->stats_port);
	free(f->concurrency);
	config_map_fini(&f->metadata);
	*f = (struct config_file){0};
}
