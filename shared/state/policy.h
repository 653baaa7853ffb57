/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An authorization policy (contract section 3.7): immutable, counted, one block of memory.
 */
#ifndef GAUZE_STATE_POLICY_H
#define GAUZE_STATE_POLICY_H

#include "shared/base/addr.h"
#include "shared/base/epoch.h"
#include "shared/base/rstr.h"

enum policy_scope { POLICY_GLOBAL, POLICY_NAMESPACE, POLICY_WORKLOAD_SELECTOR };
enum policy_action { POLICY_ALLOW, POLICY_DENY };

/* STRING_UNSET is what a source that can say nothing says; such an entry is dropped. */
enum string_match_kind {
	STRING_UNSET,
	STRING_EXACT,
	STRING_PREFIX,
	STRING_SUFFIX,
	STRING_PRESENCE
};

struct string_match {
	enum string_match_kind kind;
	struct str text; /* empty for STRING_PRESENCE */
};

struct service_account_match {
	struct str ns, service_account;
};

/* One match: lists in pairs, [0] positive and [1] negated. */
struct policy_match {
	const struct string_match *namespaces[2], *principals[2];
	const struct cidr *source_ips[2], *destination_ips[2];
	const uint16_t *destination_ports[2];
	const struct service_account_match *service_accounts[2];
	uint16_t namespaces_count[2], principals_count[2];
	uint16_t source_ips_count[2], destination_ips_count[2];
	uint16_t destination_ports_count[2], service_accounts_count[2];
};

struct policy_clause {
	const struct policy_match *matches;
	uint32_t matches_count;
};

struct policy_rule {
	const struct policy_clause *clauses;
	uint32_t clauses_count;
};

/*
 * What a decoder knows about a policy: the same tree, whose arrays and views are borrowed for the call. `key` is the
 * name it is stored under (the xDS resource name; "namespace/name" from a file). An invalid CIDR (prefix longer than
 * its address, or no address) and STRING_UNSET entries are dropped, as contract 3.7 says.
 */
struct policy_spec {
	struct str key, name, ns;
	enum policy_scope scope;
	enum policy_action action;
	bool dry_run;
	const struct policy_rule *rules;
	uint32_t rules_count;
};

struct policy {
	struct epoch_node retire; /* world's */
	uint32_t magic;
	uint32_t refs; /* atomic */
	struct rstr *key, *name, *ns;
	uint64_t hash; /* of the whole content */
	uint8_t scope, action;
	uint8_t source; /* world's */
	bool dry_run;
	uint32_t rules_count;
	uint32_t dropped; /* entries of the source that could not be used */
	const struct policy_rule *rules;
};

/* Control thread. 0, ERR_NOMEM, ERR_SYNTAX (no name), ERR_LIMIT. */
int must_check policy_new(const struct policy_spec *spec, struct policy **out);
/* Any thread; NULL is allowed. */
void policy_put(struct policy *p);
bool policy_eq(const struct policy *a, const struct policy *b);

#endif
