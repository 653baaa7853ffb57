/* SPDX-License-Identifier: Apache-2.0 */
/* Authorization (contract section 3.7). The tables are the rbac rows of contract section 13, and those of state. */
#include "shared/state/authz.h"

#include <stdio.h>

#include "state_fixture.h"

/* The three connections of the match tables. */
static const struct {
	const char *src, *dst, *identity;
} conns[] = {
	{"127.0.0.1:1234", "127.0.0.2:8080", ""},
	{"127.0.0.1:1234", "127.0.0.2:8080", "spiffe://td/ns/namespace/sa/account"},
	{"127.0.0.3:1234", "127.0.0.4:9090", "spiffe://td-alt/ns/ns-alt/sa/sa=alt"},
};

static struct authz_facts facts_of(const char *src, const char *dst, const char *identity)
{
	return (struct authz_facts){fx_addr(src), fx_addr(dst), str_of(identity)};
}

/* A policy with these rules, by itself. */
static bool matches(const char *rules, const struct authz_facts *facts)
{
	struct fixture f;
	char text[1024];
	bool got = false;

	snprintf(
		text, sizeof(text),
		"- {name: p, namespace: ns, scope: Global, action: Allow, dryRun: false, rules: %s}\n",
		rules);
	fx_begin(&f, "", NULL);
	fx_load(&f, "- {uid: w, namespace: ns, workloadIps: [], services: {}}\n", NULL, text);
	struct authz_result r;
	got = authz_check(f.w, fx_workload(&f, "w"), facts, &r);
	fx_end(&f);
	return got;
}

static void one_per_match_kind(void **state)
{
	static const struct {
		const char *match;
		bool want[3];
	} cases[] = {
		{"namespaces: [{Exact: namespace}]", {false, true, false}},
		{"notNamespaces: [{Exact: namespace}]", {true, false, true}},
		{"serviceAccounts: [{namespace: namespace, serviceAccount: account}]",
		 {false, true, false}},
		{"notServiceAccounts: [{namespace: namespace, serviceAccount: account}]",
		 {true, false, true}},
		{"principals: [{Exact: td/ns/namespace/sa/account}]", {false, true, false}},
		{"notPrincipals: [{Exact: td/ns/namespace/sa/account}]", {true, false, true}},
		{"sourceIps: [127.0.0.1/32]", {true, true, false}},
		{"notSourceIps: [127.0.0.1/32]", {false, false, true}},
		{"destinationIps: [127.0.0.2/32]", {true, true, false}},
		{"notDestinationIps: [127.0.0.2/32]", {false, false, true}},
		/* cidr_range: host bits may be set */
		{"destinationIps: [127.0.0.1/24]", {true, true, true}},
		{"destinationPorts: [8080]", {true, true, false}},
		{"notDestinationPorts: [8080]", {false, false, true}},
		/* Without an identity no form of principal matches, and every negated one holds. */
		{"principals: [{Presence: []}]", {false, true, true}},
		{"notPrincipals: [{Presence: []}]", {true, false, false}},
		{"principals: [{Prefix: ''}]", {false, true, true}},
		{"principals: [{Prefix: td-alt/}]", {false, false, true}},
		{"principals: [{Suffix: /account}]", {false, true, false}},
		/* The scheme is no part of what principals are compared with. */
		{"principals: [{Exact: 'spiffe://td/ns/namespace/sa/account'}]",
		 {false, false, false}},
		{"namespaces: [{Presence: []}]", {false, true, true}},
		{"notNamespaces: [{Presence: []}]", {true, false, false}},
		/* Kinds are joined by and, entries of one kind by or. */
		{"destinationPorts: [80, 8080], namespaces: [{Exact: x}, {Exact: namespace}]",
		 {false, true, false}},
		{"destinationPorts: [8080], notNamespaces: [{Exact: namespace}]",
		 {true, false, false}},
		{"destinationPorts: [8080, 9090], notDestinationPorts: [9090]",
		 {true, true, false}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char rules[512];
		snprintf(rules, sizeof(rules), "[[[{%s}]]]", cases[i].match);
		for (size_t c = 0; c < ARRAY_SIZE(conns); c++) {
			struct authz_facts facts =
				facts_of(conns[c].src, conns[c].dst, conns[c].identity);
			bool got = matches(rules, &facts);
			if (got != cases[i].want[c])
				print_error("%s, connection %zu\n", cases[i].match, c);
			assert_int_equal(got, cases[i].want[c]);
		}
	}
}

static void rbac_empty_policy(void **state)
{
	struct authz_facts facts = facts_of("127.0.0.1:1234", "127.0.0.2:8080", "");

	(void)state;
	assert_false(matches("[[[{}]]]", &facts)); /* an empty match never matches */
	assert_true(matches("[[[]]]", &facts));	   /* an empty clause does */
	assert_true(matches("[[]]", &facts));	   /* as does an empty rule */
	assert_false(matches("[]", &facts));	   /* no rules: never */
}

static void rbac_nesting(void **state)
{
	static const char rules[] = "[[[{namespaces: [{Exact: a}]}, {namespaces: [{Exact: b}]}],"
				    " [{destinationPorts: [80]}]]]";
	struct authz_facts a =
		facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/a/sa/account");
	struct authz_facts b =
		facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/b/sa/account");
	struct authz_facts bad = facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/bad/sa/x");
	struct authz_facts port =
		facts_of("127.0.0.1:1", "127.0.0.2:12345", "spiffe://td/ns/b/sa/x");

	(void)state;
	assert_true(matches(rules, &a));
	assert_true(matches(rules, &b));
	assert_false(matches(rules, &bad));
	assert_false(matches(rules, &port));
}

static void rbac_multi_rule(void **state)
{
	static const char rules[] =
		"[[[{namespaces: [{Exact: a}]}]], [[{namespaces: [{Exact: b}]}]]]";
	struct authz_facts a =
		facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/a/sa/account");
	struct authz_facts b =
		facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/b/sa/account");
	struct authz_facts bad = facts_of("127.0.0.1:1", "127.0.0.2:80", "spiffe://td/ns/bad/sa/x");

	(void)state;
	assert_true(matches(rules, &a));
	assert_true(matches(rules, &b));
	assert_false(matches(rules, &bad));
}

static void string_match(void **state)
{
	static const struct {
		const char *form, *ns;
		bool want;
	} cases[] = {
		{"{Exact: foo}", "foo", true},	    {"{Exact: foo}", "not", false},
		{"{Exact: foo}", "", false},	    {"{Prefix: foo}", "foobar", true},
		{"{Prefix: foo}", "notfoo", false}, {"{Prefix: foo}", "", false},
		{"{Suffix: foo}", "barfoo", true},  {"{Suffix: foo}", "foonot", false},
		{"{Suffix: foo}", "", false},	    {"{Presence: []}", "foo", true},
		{"{Presence: []}", "", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char rules[128], identity[128] = "";
		snprintf(rules, sizeof(rules), "[[[{namespaces: [%s]}]]]", cases[i].form);
		if (cases[i].ns[0])
			snprintf(identity, sizeof(identity), "spiffe://td/ns/%s/sa/s", cases[i].ns);
		struct authz_facts facts = facts_of("127.0.0.1:1", "127.0.0.2:80", identity);
		assert_int_equal(matches(rules, &facts), cases[i].want);
	}
}

/* ---- policies of a workload together ---- */

#define WORKLOADS                                                                              \
	"- {uid: '1', name: test, namespace: ns1, workloadIps: [192.168.0.1], services: {}}\n" \
	"- {uid: '2', name: test, namespace: ns2, workloadIps: [192.168.0.2], services: {}}\n"
#define ACCOUNT(a) "[[[{principals: [{Exact: cluster.local/ns/default/sa/" a "}]}]]]"

static void expect(struct fixture *f, const char *uid, const char *account, bool allowed,
		   const char *want)
{
	char identity[128], text[AUTHZ_TEXT_MAX];
	struct authz_result r;

	snprintf(identity, sizeof(identity), "spiffe://cluster.local/ns/default/sa/%s", account);
	struct authz_facts facts = facts_of("192.168.1.1:1234", "192.168.0.1:8080", identity);
	assert_int_equal(authz_check(f->w, fx_workload(f, uid), &facts, &r), allowed);
	assert_int_equal(r.allowed, allowed);
	assert_string_equal(authz_text(&r, text), want);
}

static void assert_rbac_logic_deny_allow(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL,
		"- {name: w-allow, namespace: ns1, scope: Namespace, action: Allow, dryRun: true, rules: [[]]}\n"
		"- {name: w-deny, namespace: ns1, scope: Namespace, action: Deny, dryRun: true, rules: [[]]}\n"
		"- {name: foo, namespace: ns1, scope: Namespace, action: Allow, dryRun: false, rules: " ACCOUNT(
			"defaultacct") "}\n"
				       "- {name: deny, namespace: ns1, scope: Namespace, action: Deny, dryRun: false, rules: " ACCOUNT(
					       "denyacct") "}\n");
	/* Another namespace: none of them applies. */
	expect(&f, "2", "not-defaultacct", true, "no allow policies, allow");
	expect(&f, "1", "defaultacct", true, "allowed by: ns1/foo");
	expect(&f, "1", "not-defaultacct", false, "allow policies exist, but none allowed");
	expect(&f, "1", "denyacct", false, "explicitly denied by: ns1/deny");
	fx_end(&f);
}

static void assert_rbac_with_dest_workload_info(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL, NULL);
	expect(&f, "1", "defaultacct", true, "no allow policies, allow");
	fx_end(&f);
}

static bool reported(const struct authz_result *r, const char *name)
{
	for (uint32_t i = 0; i < r->dry_run_count; i++)
		if (strcmp(r->dry_run[i]->name->text, name) == 0)
			return true;
	return false;
}

static void assert_rbac_dry_run_with_real_policies(void **state)
{
	struct authz_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL,
		"- {name: real-deny, namespace: ns1, scope: Namespace, action: Deny, dryRun: false, rules: " ACCOUNT(
			"denyacct") "}\n"
				    "- {name: dry-deny, namespace: ns1, scope: Namespace, action: Deny, dryRun: true, rules: " ACCOUNT(
					    "defaultacct") "}\n"
							   "- {name: real-allow, namespace: ns1, scope: Namespace, action: Allow, dryRun: false, rules: " ACCOUNT(
								   "defaultacct") "}\n"
										  "- {name: dry-allow, namespace: ns1, scope: Namespace, action: Allow, dryRun: true, rules: " ACCOUNT(
											  "defaultacct") "}\n");
	struct authz_facts facts = facts_of("192.168.1.1:1", "192.168.0.1:8080",
					    "spiffe://cluster.local/ns/default/sa/defaultacct");
	assert_true(authz_check(f.w, fx_workload(&f, "1"), &facts, &r));
	assert_int_equal(r.dry_run_count, 2);
	assert_true(reported(&r, "dry-deny"));
	assert_true(reported(&r, "dry-allow"));
	/* Only dry-run ALLOW policies, and none of them matches: allowed, and said so. */
	fx_load(&f, WORKLOADS, NULL,
		"- {name: dry, namespace: ns1, scope: Namespace, action: Allow, dryRun: true, rules: " ACCOUNT(
			"other") "}\n");
	assert_true(authz_check(f.w, fx_workload(&f, "1"), &facts, &r));
	assert_true(r.dry_run_none_allowed);
	fx_end(&f);
}

static void which_policies_apply(void **state)
{
	static const char workloads[] =
		"- {uid: '1', namespace: ns1, workloadIps: [], services: {},"
		" authorizationPolicies: [ns9/selector, ns1/absent]}\n"
		"- {uid: '2', namespace: ns2, workloadIps: [], services: {}}\n";
	struct authz_facts facts = facts_of("1.1.1.1:1", "2.2.2.2:80", "");
	struct world_stats stats;
	struct authz_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	/* A selector policy counts only for those who name it, whatever its namespace. */
	fx_load(&f, workloads, NULL,
		"- {name: selector, namespace: ns9, scope: WorkloadSelector, action: Deny, dryRun: false,"
		" rules: [[]]}\n");
	assert_false(authz_check(f.w, fx_workload(&f, "1"), &facts, &r));
	assert_int_equal(r.unknown_policies, 1);
	assert_true(authz_check(f.w, fx_workload(&f, "2"), &facts, &r));
	world_stats(f.w, &stats);
	assert_int_equal(stats.unknown_policy_keys, 1);
	/* A global one for all. */
	fx_load(&f, workloads, NULL,
		"- {name: g, namespace: root, scope: Global, action: Deny, dryRun: false, rules: [[]]}\n");
	assert_false(authz_check(f.w, fx_workload(&f, "1"), &facts, &r));
	assert_false(authz_check(f.w, fx_workload(&f, "2"), &facts, &r));
	/* Global DENY beats a namespace's ALLOW. */
	fx_load(&f, workloads, NULL,
		"- {name: g, namespace: root, scope: Global, action: Deny, dryRun: false, rules: [[]]}\n"
		"- {name: a, namespace: ns1, scope: Namespace, action: Allow, dryRun: false, rules: [[]]}\n");
	assert_false(authz_check(f.w, fx_workload(&f, "1"), &facts, &r));
	fx_end(&f);
}

static void converted_peer_authentication(void **state)
{
	struct fixture f;
	struct authz_result r;
	struct authz_facts plain = facts_of("1.1.1.1:1", "2.2.2.2:80", "");
	struct authz_facts open_port = facts_of("1.1.1.1:1", "2.2.2.2:9090", "");
	struct authz_facts mtls = facts_of("1.1.1.1:1", "2.2.2.2:80", "spiffe://td/ns/n/sa/s");

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL,
		"- {name: strict, namespace: istio-system, scope: Global, action: Deny, dryRun: false,"
		" rules: [[[{notPrincipals: [{Presence: []}]}], [{notDestinationPorts: [9090]}]]]}\n");
	assert_false(authz_check(f.w, fx_workload(&f, "1"), &plain, &r));
	assert_true(authz_check(f.w, fx_workload(&f, "1"), &mtls, &r));
	assert_true(authz_check(f.w, fx_workload(&f, "1"), &open_port, &r));
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_per_match_kind),
		cmocka_unit_test(rbac_empty_policy),
		cmocka_unit_test(rbac_nesting),
		cmocka_unit_test(rbac_multi_rule),
		cmocka_unit_test(string_match),
		cmocka_unit_test(assert_rbac_logic_deny_allow),
		cmocka_unit_test(assert_rbac_with_dest_workload_info),
		cmocka_unit_test(assert_rbac_dry_run_with_real_policies),
		cmocka_unit_test(which_policies_apply),
		cmocka_unit_test(converted_peer_authentication),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
