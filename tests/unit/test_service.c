/* SPDX-License-Identifier: Apache-2.0 */
/* Services by address and name (contract section 3.5). Names are those of contract section 13. */
#include "shared/state/service.h"

#include <stdio.h>

#include "shared/base/err.h"
#include "state_fixture.h"

/* A service of the given namespace; `rest` begins with a comma. */
#define SVC(name, ns, vips, rest)                                                       \
	"- {name: " name ", namespace: " ns ", hostname: " name "." ns ", vips: [" vips \
	"], ports: {80: 80}" rest "}\n"
#define CIDR(c) ", cidrVips: [{network: '', cidr: " c "}]"

static const struct str nobody = {NULL, 0};

static const char *at(struct fixture *f, const char *ip_text_, struct str client_ns)
{
	const struct ip ip = fx_ip(ip_text_);
	struct service *s = world_service_by_ip(f->w, STR(""), &ip, client_ns);

	return s ? s->key->text : "none";
}

static void begin(struct fixture *f, const char *services)
{
	fx_begin(f, "", NULL);
	fx_load(f, NULL, services, NULL);
}

static void shared_vip_different_namespaces(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, SVC("svc", "ns-a", "/10.0.0.1, /10.0.0.2", "")
			  SVC("svc", "ns-b", "/10.0.0.1, /10.0.0.3", ""));
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-a")), "ns-a/svc.ns-a");
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-b")), "ns-b/svc.ns-b");
	assert_string_equal(at(&f, "10.0.0.2", STR("ns-b")), "ns-a/svc.ns-a");
	assert_string_equal(at(&f, "10.0.0.3", STR("ns-a")), "ns-b/svc.ns-b");
	/* One goes, the other stays reachable at the shared address. */
	fx_load(&f, NULL, SVC("svc", "ns-b", "/10.0.0.1, /10.0.0.3", ""), NULL);
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-a")), "ns-b/svc.ns-b");
	assert_string_equal(at(&f, "10.0.0.2", STR("ns-a")), "none");
	fx_end(&f);
}

static void namespace_visibility_vip(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, SVC("hidden", "ns-a", "/10.0.0.1, /10.0.0.2", ", visibility: Namespace")
			  SVC("open", "ns-b", "/10.0.0.1", ""));
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-a")), "ns-a/hidden.ns-a");
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-c")), "ns-b/open.ns-b");
	assert_string_equal(at(&f, "10.0.0.2", STR("ns-c")), "none");
	/* Nobody asks: what it is, not who may. */
	assert_string_equal(at(&f, "10.0.0.2", nobody), "ns-a/hidden.ns-a");
	fx_end(&f);
}

static void namespace_visibility_host(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, NULL,
		"- {name: s, namespace: ns-a, hostname: h, vips: [], ports: {}, visibility: Namespace}\n"
		"- {name: s, namespace: ns-b, hostname: h, vips: [], ports: {}}\n"
		"- {name: s, namespace: ns-c, hostname: h, vips: [], ports: {}, canonical: true}\n"
		"- {name: s, namespace: ns-a, hostname: only, vips: [], ports: {},"
		" visibility: Namespace}\n",
		NULL);
	assert_string_equal(world_service_by_host(f.w, STR("h"), STR("ns-a"))->ns->text, "ns-a");
	assert_string_equal(world_service_by_host(f.w, STR("h"), STR("ns-b"))->ns->text, "ns-b");
	assert_string_equal(world_service_by_host(f.w, STR("h"), STR("ns-x"))->ns->text, "ns-c");
	assert_null(world_service_by_host(f.w, STR("only"), STR("ns-b")));
	assert_non_null(world_service_by_host(f.w, STR("only"), STR("ns-a")));
	assert_null(world_service_by_host(f.w, STR("absent"), STR("ns-a")));
	fx_end(&f);
}

static void visibility_filtered_exact_vip_falls_through_to_cidr(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, SVC("exact", "ns-a", "/10.0.0.1", ", visibility: Namespace")
			  SVC("wide", "ns-b", "", CIDR("10.0.0.0/8")));
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-a")), "ns-a/exact.ns-a");
	assert_string_equal(at(&f, "10.0.0.1", STR("ns-c")), "ns-b/wide.ns-b");
	fx_end(&f);
}

static void cidr_matches(void **state)
{
	/* Rows of contract section 13: cidr_match, longest_prefix_match, dual_stack_cidr, cidr_family_mismatch, ... */
	static const char services[] = SVC("v4wide", "a", "", CIDR("10.0.0.0/8"))
		SVC("v4long", "a", "", CIDR("10.1.2.3/16")) /* host bits do not count */
		SVC("v6wide", "a", "", CIDR("'2001:db8::/32'")) SVC("v6long", "a", "",
								    CIDR("'2001:db8:1::/48'"))
			SVC("exact4", "a", "/10.1.9.9",
			    "") SVC("exact6", "a", "'/2001:db8:1::9'",
				    "") SVC("dual", "a", "",
					    ", cidrVips: [{network: '', cidr: 172.16.0.0/12},"
					    " {network: '', cidr: 'fd00::/8'}]")
				SVC("mixed", "a", "/192.168.7.7", CIDR("'fe80::/10'"))
					SVC("elsewhere", "a", "",
					    ", cidrVips: [{network: other, cidr: 11.0.0.0/8}]");
	static const struct {
		const char *ip, *want;
	} cases[] = {
		{"10.9.9.9", "a/v4wide.a"},	 {"10.1.1.1", "a/v4long.a"},
		{"9.255.255.255", "none"},	 {"11.0.0.0", "none"},
		{"2001:db8:2::1", "a/v6wide.a"}, {"2001:db8:1::1", "a/v6long.a"},
		{"2001:db9::1", "none"},	 {"10.1.9.9", "a/exact4.a"},
		{"2001:db8:1::9", "a/exact6.a"}, {"172.20.1.1", "a/dual.a"},
		{"fd12::1", "a/dual.a"},	 {"192.168.7.7", "a/mixed.a"},
		{"192.168.7.8", "none"},	 {"fe80::1", "a/mixed.a"},
	};
	struct fixture f;

	(void)state;
	begin(&f, services);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(at(&f, cases[i].ip, STR("a")), cases[i].want);
	/* cidr_network_scoping */
	const struct ip ip = fx_ip("11.2.3.4");
	assert_non_null(world_service_by_ip(f.w, STR("other"), &ip, STR("a")));
	fx_end(&f);
}

static void cidr_remove_cleanup(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, SVC("one", "a", "", CIDR("10.0.0.0/8")) SVC("two", "b", "", CIDR("10.0.0.0/8")));
	fx_load(&f, NULL, SVC("two", "b", "", CIDR("10.0.0.0/8")), NULL);
	assert_string_equal(at(&f, "10.1.1.1", STR("a")), "b/two.b");
	fx_load(&f, NULL, NULL, NULL);
	assert_string_equal(at(&f, "10.1.1.1", STR("a")), "none");
	/* The range moves with an update. */
	fx_load(&f, NULL, SVC("one", "a", "", CIDR("10.0.0.0/8")), NULL);
	fx_load(&f, NULL, SVC("one", "a", "", CIDR("11.0.0.0/9")), NULL);
	assert_string_equal(at(&f, "10.1.1.1", STR("a")), "none");
	assert_string_equal(at(&f, "11.1.1.1", STR("a")), "a/one.a");
	fx_end(&f);
}

static void overlapping_cidr_different_namespaces(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, SVC("one", "a", "", CIDR("10.0.0.0/8")) SVC("two", "b", "", CIDR("10.0.0.0/8"))
			  SVC("three", "c", "", CIDR("10.0.0.0/8") ", canonical: true"));
	assert_string_equal(at(&f, "10.1.1.1", STR("a")), "a/one.a");
	assert_string_equal(at(&f, "10.1.1.1", STR("b")), "b/two.b");
	assert_string_equal(at(&f, "10.1.1.1", STR("x")), "c/three.c");
	fx_end(&f);
}

static void cidr_namespace_preferred_over_cidr_specificity(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f,
	      SVC("wide", "a", "", CIDR("10.0.0.0/8")) SVC("long", "b", "", CIDR("10.1.0.0/16")));
	assert_string_equal(at(&f, "10.1.1.1", STR("a")), "a/wide.a");
	assert_string_equal(at(&f, "10.1.1.1", STR("c")), "b/long.b");
	fx_end(&f);
}

/* ---- endpoints ---- */

#define POD(uid, status, services)                                                                 \
	"- {uid: " uid ", namespace: d, workloadIps: [], status: " status ", services: {" services \
	"}}\n"
#define PLAIN SVC("s", "ns", "", "")

static uint64_t staged(struct fixture *f)
{
	struct world_stats stats;

	world_stats(f->w, &stats);
	return stats.staged_services;
}

static void apply_endpoints_stages_and_filters_on_flush(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}") POD("b", "Unhealthy", "ns/s.ns: {}"), NULL,
		NULL);
	assert_int_equal(staged(&f), 1);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}") POD("b", "Unhealthy", "ns/s.ns: {}"), PLAIN,
		NULL);
	assert_int_equal(staged(&f), 0);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 1);
	fx_end(&f);
}

static void apply_endpoints_staged_removals(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}") POD("b", "Healthy", "ns/s.ns: {}"), NULL,
		NULL);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}"), NULL, NULL);
	assert_int_equal(staged(&f), 1);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}"), PLAIN, NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 1);
	/* staged_services_cleanup: the last one takes the staging with it. */
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}"), NULL, NULL);
	assert_int_equal(staged(&f), 1);
	fx_load(&f, NULL, NULL, NULL);
	assert_int_equal(staged(&f), 0);
	fx_end(&f);
}

static void apply_endpoints_present_unhealthy_reinsert_evicts(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {}"), PLAIN, NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 1);
	fx_load(&f, POD("a", "Unhealthy", "ns/s.ns: {}"), PLAIN, NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 0);
	fx_end(&f);
}

static void apply_endpoints_present_removal_applied_before_upsert(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {80: 1}"), PLAIN, NULL);
	/* The same workload with another map: one endpoint, the new one. */
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {80: 2}"), PLAIN, NULL);
	struct service *s = fx_service(&f, "ns", "s.ns");
	assert_int_equal(fx_endpoints(s), 1);
	const struct endpoint_entry *e = service_endpoint_of(s, fx_workload(&f, "a")->uid);
	assert_int_equal(portmap_find(e->ports, 80)->target, 2);
	fx_end(&f);
}

static void own_endpoints_of_a_service(void **state)
{
#define OWN(status) \
	SVC("s", "ns", "", ", endpoints: {a: {workloadUid: a, port: {80: 7}, status: " status "}}")
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, POD("a", "Healthy", ""), OWN("Healthy"), NULL);
	struct service *s = fx_service(&f, "ns", "s.ns");
	assert_int_equal(fx_endpoints(s), 1);
	/* What the workload says of itself wins; when it says nothing any more, the service's word is back. */
	fx_load(&f, POD("a", "Healthy", "ns/s.ns: {80: 8}"), OWN("Healthy"), NULL);
	const struct rstr *uid = fx_workload(&f, "a")->uid;
	assert_int_equal(portmap_find(service_endpoint_of(s, uid)->ports, 80)->target, 8);
	fx_load(&f, POD("a", "Healthy", ""), OWN("Healthy"), NULL);
	assert_int_equal(portmap_find(service_endpoint_of(s, uid)->ports, 80)->target, 7);
	/* The service's word changes, then it goes. */
	fx_load(&f, POD("a", "Healthy", ""), OWN("Unhealthy"), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 0);
	fx_load(&f, POD("a", "Healthy", ""), PLAIN, NULL);
	assert_null(service_endpoints(fx_service(&f, "ns", "s.ns")));
	fx_load(&f, NULL, OWN("Healthy"), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 0); /* no such workload */
	fx_end(&f);
}

static void update_keeps_endpoints(void **state)
{
	static const char pods[] = POD("a", "Healthy", "ns/s.ns: {}")
		POD("b", "Healthy", "ns/s.ns: {}");
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, pods, PLAIN, NULL);
	fx_load(&f, pods, SVC("s", "ns", "/10.0.0.9", ""), NULL);
	assert_int_equal(f.last.changed, 1);
	assert_int_equal(f.last.unchanged, 2);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 2);
	/* Removed and back again: the workloads did not change, and are still its endpoints. */
	fx_load(&f, pods, NULL, NULL);
	fx_load(&f, pods, PLAIN, NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "s.ns")), 2);
	fx_end(&f);
}

static void bad_specs(void **state)
{
	const struct network_cidr bad = {STR(""), {{.len = 4}, 33}};
	struct service *s = NULL;
	char longname[2000];

	(void)state;
	memset(longname, 'x', sizeof(longname));
	assert_int_equal(service_new(&(struct service_spec){.name = STR("n")}, &s), ERR_SYNTAX);
	assert_int_equal(service_new(&(struct service_spec){.hostname = STR("h"),
							    .cidr_vips = &bad,
							    .cidr_vips_count = 1},
				     &s),
			 ERR_SYNTAX);
	assert_int_equal(
		service_new(&(struct service_spec){.hostname = {longname, sizeof(longname)}}, &s),
		ERR_TOO_LARGE);
	assert_null(s);
	rstr_sweep();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_vip_different_namespaces),
		cmocka_unit_test(namespace_visibility_vip),
		cmocka_unit_test(namespace_visibility_host),
		cmocka_unit_test(visibility_filtered_exact_vip_falls_through_to_cidr),
		cmocka_unit_test(cidr_matches),
		cmocka_unit_test(cidr_remove_cleanup),
		cmocka_unit_test(overlapping_cidr_different_namespaces),
		cmocka_unit_test(cidr_namespace_preferred_over_cidr_specificity),
		cmocka_unit_test(apply_endpoints_stages_and_filters_on_flush),
		cmocka_unit_test(apply_endpoints_staged_removals),
		cmocka_unit_test(apply_endpoints_present_unhealthy_reinsert_evicts),
		cmocka_unit_test(apply_endpoints_present_removal_applied_before_upsert),
		cmocka_unit_test(own_endpoints_of_a_service),
		cmocka_unit_test(update_keeps_endpoints),
		cmocka_unit_test(bad_specs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
