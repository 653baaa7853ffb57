/* SPDX-License-Identifier: Apache-2.0 */
/* Authorization policies of the static file. */
#include <stdio.h>

#include "shared/base/err.h"
#include "static_decode.h"

static const char *const scope_names[] = {"Global", "Namespace", "WorkloadSelector", NULL};
static const char *const action_names[] = {"Allow", "Deny", NULL};

static const struct {
	const char *key;
	enum string_match_kind kind;
} string_forms[] = {
	{"Exact", STRING_EXACT},
	{"Prefix", STRING_PREFIX},
	{"Suffix", STRING_SUFFIX},
	{"Presence", STRING_PRESENCE},
};

/* A map with one of Exact, Prefix, Suffix: text, or Presence: []. */
static void read_string_match(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct string_match *out = to;

	(void)arg;
	if (!schema_is(s, n, NODE_MAP))
		return;
	if (n->count != 1 || n->v[0]->kind != NODE_SCALAR) {
		schema_error(s, n, "must have exactly one of Exact, Prefix, Suffix, Presence");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(string_forms); i++) {
		if (!str_eq(str_of(string_forms[i].key), n->v[0]->text))
			continue;
		schema_enter_key(s, n->v[0]->text);
		out->kind = string_forms[i].kind;
		if (out->kind != STRING_PRESENCE && schema_is_null(n->v[1]))
			schema_error(s, n->v[1], "has no value");
		else if (out->kind != STRING_PRESENCE)
			schema_str(s, n->v[1], &out->text, NULL);
		else if (!schema_is_null(n->v[1]) && n->v[1]->count > 0)
			schema_error(s, n->v[1], "must be an empty list");
		schema_leave(s);
		return;
	}
	schema_error(s, n->v[0], "unknown form, known are: Exact, Prefix, Suffix, Presence");
}

static const struct schema_field account_fields[] = {
	STATIC_FIELD(struct service_account_match, "namespace", ns, schema_str, .required = true),
	STATIC_FIELD(struct service_account_match, "serviceAccount", service_account, schema_str,
		     .required = true),
};
static const struct schema_table account_table = {account_fields, ARRAY_SIZE(account_fields)};

static void read_account(struct schema *s, const struct node *n, void *to, const void *arg)
{
	(void)arg;
	schema_map(s, n, &account_table, to);
}

static const struct schema_list texts = {read_string_match, NULL, sizeof(struct string_match)};
static const struct schema_list cidrs = {schema_cidr, NULL, sizeof(struct cidr)};
static const struct schema_list ports = {schema_u16, NULL, sizeof(uint16_t)};
static const struct schema_list accounts = {read_account, NULL,
					    sizeof(struct service_account_match)};

#define PAIR(key, not_key, member, items)                                                 \
	{key, .list = items, .at = offsetof(struct policy_match, member[0]),              \
	 .count_at = offsetof(struct policy_match, member##_count[0]), .count_bytes = 2}, \
	{                                                                                 \
		not_key, .list = items, .at = offsetof(struct policy_match, member[1]),   \
			 .count_at = offsetof(struct policy_match, member##_count[1]),    \
			 .count_bytes = 2                                                 \
	}
static const struct schema_field match_fields[] = {
	PAIR("namespaces", "notNamespaces", namespaces, &texts),
	PAIR("principals", "notPrincipals", principals, &texts),
	PAIR("sourceIps", "notSourceIps", source_ips, &cidrs),
	PAIR("destinationIps", "notDestinationIps", destination_ips, &cidrs),
	PAIR("destinationPorts", "notDestinationPorts", destination_ports, &ports),
	PAIR("serviceAccounts", "notServiceAccounts", service_accounts, &accounts),
};
static const struct schema_table match_table = {match_fields, ARRAY_SIZE(match_fields)};

static void read_match(struct schema *s, const struct node *n, void *to, const void *arg)
{
	(void)arg;
	schema_map(s, n, &match_table, to);
}

static const struct schema_list matches = {read_match, NULL, sizeof(struct policy_match)};

static void read_clause(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct policy_clause *c = to;
	const void *v = NULL;
	size_t count = 0;

	(void)arg;
	schema_items(s, n, &matches, &v, &count);
	*c = (struct policy_clause){v, (uint32_t)count};
}

static const struct schema_list clauses = {read_clause, NULL, sizeof(struct policy_clause)};

static void read_rule(struct schema *s, const struct node *n, void *to, const void *arg)
{
	struct policy_rule *r = to;
	const void *v = NULL;
	size_t count = 0;

	(void)arg;
	schema_items(s, n, &clauses, &v, &count);
	*r = (struct policy_rule){v, (uint32_t)count};
}

static const struct schema_list rules = {read_rule, NULL, sizeof(struct policy_rule)};

struct file_policy {
	struct policy_spec p;
	int scope, action; /* as enums are read */
};

static const struct schema_field policy_fields[] = {
	STATIC_FIELD(struct policy_spec, "name", name, schema_str, .required = true),
	STATIC_FIELD(struct policy_spec, "namespace", ns, schema_str, .required = true),
	STATIC_FIELD(struct file_policy, "scope", scope, schema_enum, scope_names,
		     .required = true),
	STATIC_FIELD(struct file_policy, "action", action, schema_enum, action_names,
		     .required = true),
	STATIC_FIELD(struct policy_spec, "dryRun", dry_run, schema_bool, .required = true),
	{"rules", .list = &rules, .at = offsetof(struct policy_spec, rules),
	 .count_at = offsetof(struct policy_spec, rules_count), .count_bytes = 4, .required = true},
};
static const struct schema_table policy_table = {policy_fields, ARRAY_SIZE(policy_fields)};

void static_read_policy(struct schema *s, const struct node *n, void *batch, const void *arg)
{
	struct file_policy f = {0};
	uint32_t errors = s->report->errors;

	(void)arg;
	schema_map(s, n, &policy_table, &f);
	if (s->report->errors > errors || s->no_memory)
		return;
	size_t bytes = f.p.ns.n + f.p.name.n + 2;
	char *key = schema_alloc(s, bytes);
	if (!key)
		return;
	snprintf(key, bytes, STR_FMT "/" STR_FMT, STR_ARG(f.p.ns), STR_ARG(f.p.name));
	f.p.key = (struct str){key, bytes - 1};
	f.p.scope = f.scope;
	f.p.action = f.action;
	static_tell(s, n, batch_policy(batch, &f.p));
}
