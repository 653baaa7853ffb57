/* SPDX-License-Identifier: Apache-2.0 */
/* The store of policies and their building (contract section 3.7). */
#include "shared/state/policy.h"

#include <stdio.h>

#include "shared/base/err.h"
#include "shared/state/authz.h"
#include "state_fixture.h"

static const struct authz_facts anybody = {.identity = {"", 0}};

static bool denied(struct fixture *f, const char *uid)
{
	struct authz_result r;

	return !authz_check(f->w, fx_workload(f, uid), &anybody, &r);
}

#define WORKLOADS                                                     \
	"- {uid: a, namespace: ns1, workloadIps: [], services: {}}\n" \
	"- {uid: b, namespace: ns2, workloadIps: [], services: {}}\n" \
	"- {uid: named, namespace: ns3, workloadIps: [], services: {}, authorizationPolicies: [ns1/p]}\n"
#define DENY(scope, ns)                                \
	"- {name: p, namespace: " ns ", scope: " scope \
	", action: Deny, dryRun: false, rules: [[]]}\n"

static void rbac_change_scope(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL, DENY("Namespace", "ns1"));
	assert_true(denied(&f, "a"));
	assert_false(denied(&f, "b"));
	assert_true(denied(&f, "named"));
	fx_load(&f, WORKLOADS, NULL, DENY("WorkloadSelector", "ns1"));
	assert_false(denied(&f, "a"));
	assert_true(denied(&f, "named"));
	fx_load(&f, WORKLOADS, NULL, DENY("Global", "ns1"));
	assert_true(denied(&f, "a"));
	assert_true(denied(&f, "b"));
	fx_load(&f, WORKLOADS, NULL, DENY("Namespace", "ns1"));
	assert_true(denied(&f, "a"));
	assert_false(denied(&f, "b"));
	fx_load(&f, WORKLOADS, NULL, NULL);
	assert_false(denied(&f, "a"));
	assert_false(denied(&f, "named"));
	fx_end(&f);
}

static void version_moves_with_policies_only(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, WORKLOADS, NULL, DENY("Global", "ns1"));
	uint64_t seen = world_policy_version(f.w);
	fx_load(&f, NULL, NULL, DENY("Global", "ns1"));
	assert_int_equal(world_policy_version(f.w), seen);
	assert_false(f.last.policies_changed);
	fx_load(&f, NULL, NULL, DENY("Namespace", "ns1"));
	assert_true(world_policy_version(f.w) > seen);
	seen = world_policy_version(f.w);
	fx_load(&f, NULL, NULL, NULL);
	assert_true(world_policy_version(f.w) > seen);
	fx_end(&f);
}

/* One rule, one clause, one match that is given. */
static struct policy *build(const struct policy_match *m)
{
	const struct policy_clause clause = {m, 1};
	const struct policy_rule rule = {&clause, 1};
	const struct policy_spec spec = {.key = STR("n/p"),
					 .name = STR("p"),
					 .ns = STR("n"),
					 .action = POLICY_DENY,
					 .rules = &rule,
					 .rules_count = 1};
	struct policy *p;

	assert_int_equal(policy_new(&spec, &p), 0);
	return p;
}

static void unusable_entries_are_dropped(void **state)
{
	const struct string_match strings[] = {{STRING_UNSET, STR("x")}, {STRING_EXACT, STR("a")}};
	const struct cidr cidrs[] = {
		{{.len = 4, .b = {10}}, 33}, {{.len = 4, .b = {10}}, 8}, {{.len = 0}, 0}};
	const struct policy_match m = {.namespaces = {strings},
				       .namespaces_count = {2},
				       .source_ips = {cidrs},
				       .source_ips_count = {3}};

	(void)state;
	struct policy *p = build(&m);
	const struct policy_match *got = &p->rules[0].clauses[0].matches[0];
	assert_int_equal(p->dropped, 3);
	assert_int_equal(got->namespaces_count[0], 1);
	assert_int_equal(got->source_ips_count[0], 1);
	assert_true(str_eq(got->namespaces[0][0].text, STR("a")));
	policy_put(p);
	/* Nothing usable left: an empty match, which matches nobody. */
	const struct policy_match only = {.namespaces = {strings}, .namespaces_count = {1}};
	p = build(&only);
	assert_false(policy_matches(p, &anybody));
	policy_put(p);
}

static void equality_sees_every_value(void **state)
{
	const struct string_match a[] = {{STRING_EXACT, STR("a")}},
				  b[] = {{STRING_PREFIX, STR("a")}};
	const uint16_t ports[] = {80, 81};
	const struct policy_match ma = {.namespaces = {a}, .namespaces_count = {1}};
	const struct policy_match variants[] = {
		{.namespaces = {b}, .namespaces_count = {1}},
		{.namespaces = {NULL, a}, .namespaces_count = {0, 1}},
		{.principals = {a}, .principals_count = {1}},
		{.namespaces = {a},
		 .namespaces_count = {1},
		 .destination_ports = {ports},
		 .destination_ports_count = {1}},
		{.namespaces = {a},
		 .namespaces_count = {1},
		 .destination_ports = {ports},
		 .destination_ports_count = {2}},
	};
	struct policy *p = build(&ma), *same = build(&ma);

	(void)state;
	assert_true(policy_eq(p, same));
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
		struct policy *v = build(&variants[i]);
		assert_false(policy_eq(p, v));
		policy_put(v);
	}
	policy_put(p);
	policy_put(same);
}

static void names_are_required(void **state)
{
	struct policy *p = NULL;

	(void)state;
	assert_int_equal(policy_new(&(struct policy_spec){.key = STR("k")}, &p), ERR_SYNTAX);
	assert_int_equal(policy_new(&(struct policy_spec){.name = STR("k")}, &p), ERR_SYNTAX);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rbac_change_scope),
		cmocka_unit_test(version_moves_with_policies_only),
		cmocka_unit_test(unusable_entries_are_dropped),
		cmocka_unit_test(equality_sees_every_value),
		cmocka_unit_test(names_are_required),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
