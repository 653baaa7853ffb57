/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing endpoints (contract section 3.6): test_load_balance and find_upstream_port_mappings of contract section 13. */
#include "shared/state/balance.h"

#include <stdio.h>

#include "state_fixture.h"

#define PLACE(region, zone) "locality: {region: " region ", zone: " zone ", subzone: ''}"
#define SERVED ", services: {default/defaulthost: {80: 80}}}\n"
static const char endpoints[] =
	"- {uid: wl_no_locality, namespace: d, workloadIps: [192.168.0.1], network: network" SERVED
	"- {uid: wl_match, namespace: d, workloadIps: [192.168.0.2], network: network, " PLACE(
		"reg", "zone") SERVED
	"- {uid: wl_almost, namespace: d, workloadIps: [192.168.0.3], network: network, " PLACE(
		"reg", "not-zone") SERVED
	"- {uid: wl_other, namespace: d, workloadIps: [192.168.0.5], network: other, " PLACE(
		"reg", "zone") SERVED
	"- {uid: wl_empty_ip, namespace: d, workloadIps: [], network: network, " PLACE(
		"reg", "zone") SERVED;

#define SERVICE(mode, scopes)                                                               \
	"- {name: s, namespace: default, hostname: defaulthost, vips: [], ports: {80: 80}," \
	" loadBalancer: {mode: " mode ", routingPreferences: [" scopes "]}}\n"

/* Draws many times and compares the set of those drawn with the names in `want`, split by spaces. */
static void expect(const char *service, const char *client, const char *want)
{
	char workloads[4096], seen[512] = "";
	struct balance_choice choice;
	struct fixture f;

	snprintf(workloads, sizeof(workloads),
		 "%s- {uid: client, namespace: d, workloadIps: [], %s services: {}}\n", endpoints,
		 client);
	fx_begin(&f, "", NULL);
	fx_load(&f, workloads, service, NULL);
	const struct balance_query q = {.client = fx_workload(&f, "client"),
					.service_port = 80,
					.purpose = BALANCE_FOR_TRAFFIC,
					.rng = &f.rng};
	size_t found = 0, wanted = 0;
	for (int i = 0; i < 200; i++) {
		if (!balance_choose(fx_service(&f, "default", "defaulthost"), &q, &choice))
			continue;
		assert_int_equal(choice.target_port, 80);
		assert_non_null(strstr(want, choice.workload->uid->text));
		if (strstr(seen, choice.workload->uid->text))
			continue;
		strcat(strcat(seen, choice.workload->uid->text), " ");
		found++;
	}
	for (const char *p = want; *p; p = strchr(p, ' ') ? strchr(p, ' ') + 1 : p + strlen(p))
		wanted++;
	assert_int_equal(found, wanted);
	fx_end(&f);
}

#define NETWORK_FIRST "Network, Region, Zone"

static void test_load_balance(void **state)
{
	static const char strict[] = SERVICE("Strict", NETWORK_FIRST);
	static const char failover[] = SERVICE("Failover", NETWORK_FIRST);

	(void)state;
	expect(strict, "network: '',", "");
	expect(strict, "network: network, " PLACE("reg", "zone") ",", "wl_match");
	expect(failover, "network: no-match, " PLACE("no-match", "no-match") ",",
	       "wl_match wl_almost wl_no_locality wl_other");
	expect(failover, "network: network, " PLACE("reg", "zone") ",", "wl_match");
	expect(failover, "network: network, " PLACE("reg", "''") ",", "wl_match wl_almost");
	expect(failover, "network: network, " PLACE("no-match", "no-match") ",",
	       "wl_match wl_almost wl_no_locality");
	/* Another network does not end the count when the network comes first. */
	expect(failover, "network: no-match, " PLACE("reg", "zone") ",", "wl_match wl_other");
	/* It does when it comes later. */
	expect(SERVICE("Failover", "Region, Network, Zone"),
	       "network: no-match, " PLACE("reg", "zone") ",", "wl_match wl_almost wl_other");
	/* Without scopes everything matches everything. */
	expect(SERVICE("Strict", ""), "network: x,", "wl_match wl_almost wl_no_locality wl_other");
	expect(SERVICE("Standard", NETWORK_FIRST), "network: network, " PLACE("reg", "zone") ",",
	       "wl_match wl_almost wl_no_locality wl_other");
	expect(SERVICE("Passthrough", ""), "network: network,", "");
}

static void find_upstream_port_mappings(void **state)
{
	static const struct {
		const char *service_ports, *endpoint_ports, *tunnel;
		enum balance_purpose purpose;
		uint16_t want;
	} cases[] = {
		{"80: 0", "80: 9090", "", BALANCE_FOR_TRAFFIC, 9090},
		{"80: 8080", "", "", BALANCE_FOR_TRAFFIC, 8080},
		{"80: 0", "", "applicationTunnel: {protocol: PROXY, port: 15088},",
		 BALANCE_FOR_WAYPOINT, 80},
		{"80: 8080", "80: 9090", "", BALANCE_FOR_TRAFFIC, 9090},
		{"", "80: 9090", "", BALANCE_FOR_TRAFFIC, 0},
		{"80: 0", "", "", BALANCE_FOR_TRAFFIC, 0},
		{"80: 0", "", "", BALANCE_FOR_WAYPOINT, 0},
		{"", "", "applicationTunnel: {protocol: PROXY},", BALANCE_FOR_WAYPOINT, 0},
		{"", "80: 7", "applicationTunnel: {protocol: NONE},", BALANCE_FOR_WAYPOINT, 7},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char workloads[512], services[512];
		struct balance_choice choice;
		struct fixture f;
		snprintf(workloads, sizeof(workloads),
			 "- {uid: w, namespace: d, workloadIps: [192.168.0.1], %s"
			 " services: {d/example.com: {%s}}}\n",
			 cases[i].tunnel, cases[i].endpoint_ports);
		snprintf(
			services, sizeof(services),
			"- {name: t, namespace: d, hostname: example.com, vips: [], ports: {%s}}\n",
			cases[i].service_ports);
		fx_begin(&f, "", NULL);
		fx_load(&f, workloads, services, NULL);
		const struct balance_query q = {.client = fx_workload(&f, "w"),
						.service_port = 80,
						.purpose = cases[i].purpose,
						.rng = &f.rng};
		bool got = balance_choose(fx_service(&f, "d", "example.com"), &q, &choice);
		assert_int_equal(got, cases[i].want != 0);
		if (got)
			assert_int_equal(choice.target_port, cases[i].want);
		fx_end(&f);
	}
}

static void weight_is_capacity(void **state)
{
	struct balance_choice choice;
	struct fixture f;
	int heavy = 0, rounds = 4000;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: a, namespace: d, workloadIps: [10.0.0.1], capacity: 1, services: {d/s: {}}}\n"
		"- {uid: b, namespace: d, workloadIps: [10.0.0.2], capacity: 3, services: {d/s: {}}}\n"
		"- {uid: c, namespace: d, workloadIps: [10.0.0.3], capacity: 0, services: {d/s: {}}}\n",
		"- {name: s, namespace: d, hostname: s, vips: [], ports: {80: 80}}\n", NULL);
	const struct balance_query q = {
		.client = fx_workload(&f, "a"), .service_port = 80, .rng = &f.rng};
	for (int i = 0; i < rounds; i++) {
		assert_true(balance_choose(fx_service(&f, "d", "s"), &q, &choice));
		assert_string_not_equal(choice.workload->uid->text, "c");
		heavy += strcmp(choice.workload->uid->text, "b") == 0;
	}
	assert_in_range(heavy, rounds * 70 / 100, rounds * 80 / 100);
	fx_end(&f);
}

static void only_a_gateway_leads_to_no_address(void **state)
{
	struct balance_choice choice;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: far, namespace: d, workloadIps: [], network: far, services: {d/s: {}},"
		" networkGateway: {destination: far/10.0.0.9, hboneMtlsPort: 15008}}\n"
		"- {uid: near, namespace: d, workloadIps: [], network: '', services: {}}\n",
		"- {name: s, namespace: d, hostname: s, vips: [], ports: {80: 80}}\n", NULL);
	struct balance_query q = {
		.client = fx_workload(&f, "near"), .service_port = 80, .rng = &f.rng};
	assert_true(balance_choose(fx_service(&f, "d", "s"), &q, &choice));
	/* Within its own network the gateway is no way. */
	q.client = fx_workload(&f, "far");
	assert_false(balance_choose(fx_service(&f, "d", "s"), &q, &choice));
	fx_end(&f);
}

static void health_policy_counts_at_once(void **state)
{
	static const char sick[] =
		"- {uid: a, namespace: d, workloadIps: [10.0.0.1], status: Unhealthy,"
		" services: {d/s: {}}}\n";
	struct balance_choice choice;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, sick, "- {name: s, namespace: d, hostname: s, vips: [], ports: {80: 80}}\n",
		NULL);
	struct balance_query q = {
		.client = fx_workload(&f, "a"), .service_port = 80, .rng = &f.rng};
	assert_false(balance_choose(fx_service(&f, "d", "s"), &q, &choice));
	fx_load(&f, sick,
		"- {name: s, namespace: d, hostname: s, vips: [], ports: {80: 80},"
		" loadBalancer: {mode: Standard, healthPolicy: AllowAll}}\n",
		NULL);
	assert_true(balance_choose(fx_service(&f, "d", "s"), &q, &choice));
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_balance),
		cmocka_unit_test(find_upstream_port_mappings),
		cmocka_unit_test(weight_is_capacity),
		cmocka_unit_test(only_a_gateway_leads_to_no_address),
		cmocka_unit_test(health_policy_counts_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
