/* SPDX-License-Identifier: Apache-2.0 */
/* The state's part of config_dump (contract section 9). */
#include "shared/control/dump_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/control/static_file.h"
#include "state_fixture.h"

static void expect(cJSON *got, const char *want)
{
	assert_non_null(got);
	char *text = cJSON_PrintUnformatted(got);
	assert_string_equal(text, want);
	free(text);
	cJSON_Delete(got);
}

static void workloads_with_defaults_left_out(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: b, namespace: n, workloadIps: [], services: {}}\n"
		"- {uid: a, name: a, namespace: n, serviceAccount: s, trustDomain: td,"
		" workloadIps: [127.0.0.2, '::1'], hostname: h, protocol: HBONE, networkMode: HostNetwork,"
		" network: defaultnw, node: node, workloadName: wn, workloadType: job, canonicalName: cn,"
		" canonicalRevision: cr, clusterId: K, status: Unhealthy, capacity: 2, nativeTunnel: true,"
		" locality: {region: r, zone: z}, authorizationPolicies: [n/p],"
		" waypoint: {destination: defaultnw/127.0.0.10, hboneMtlsPort: 15008},"
		" networkGateway: {destination: ns/gw, hboneMtlsPort: 15009},"
		" applicationTunnel: {protocol: PROXY}, services: {n/z: {}, n/a: {80: 80}}}\n",
		NULL, NULL);
	expect(dump_workloads(f.w),
	       "[{\"applicationTunnel\":{\"port\":null,\"protocol\":\"PROXY\"},"
	       "\"authorizationPolicies\":[\"n/p\"],\"canonicalName\":\"cn\","
	       "\"canonicalRevision\":\"cr\",\"capacity\":2,\"clusterId\":\"K\",\"hostname\":\"h\","
	       "\"locality\":{\"region\":\"r\",\"subzone\":\"\",\"zone\":\"z\"},\"name\":\"a\","
	       "\"namespace\":\"n\",\"nativeTunnel\":true,\"network\":\"defaultnw\","
	       "\"networkGateway\":{\"destination\":\"ns/gw\",\"hboneMtlsPort\":15009},"
	       "\"networkMode\":\"HostNetwork\",\"node\":\"node\",\"protocol\":\"HBONE\","
	       "\"serviceAccount\":\"s\",\"services\":[\"n/a\",\"n/z\"],\"status\":\"Unhealthy\","
	       "\"trustDomain\":\"td\",\"uid\":\"a\","
	       "\"waypoint\":{\"destination\":\"defaultnw/127.0.0.10\",\"hboneMtlsPort\":15008},"
	       "\"workloadIps\":[\"127.0.0.2\",\"::1\"],\"workloadName\":\"wn\",\"workloadType\":\"job\"},"
	       "{\"capacity\":1,\"clusterId\":\"\",\"name\":\"\",\"namespace\":\"n\","
	       "\"networkMode\":\"Standard\",\"protocol\":\"TCP\",\"status\":\"Healthy\",\"uid\":\"b\","
	       "\"workloadIps\":[],\"workloadType\":\"deployment\"}]");
	fx_end(&f);
}

static void services_with_their_endpoints(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: w, namespace: n, workloadIps: [], services: {ns/svc1: {80: 8080}, ns/late: {1: 2}}}\n"
		"- {uid: sick, namespace: n, workloadIps: [], status: Unhealthy, services: {ns/svc1: {}}}\n",
		"- {name: svc1, namespace: ns, hostname: svc1, vips: [defaultnw/127.0.1.1],"
		" ports: {80: 80, 443: 443, 9: 9}, subjectAltNames: [SAN1], canonical: true,"
		" loadBalancer: {mode: Strict, routingPreferences: [Region, Zone]}, ipFamilies: Dual,"
		" cidrVips: [{network: n, cidr: 10.0.0.0/8}],"
		" weightedWaypoints: [{destination: {destination: /1.2.3.4, hboneMtlsPort: 1}, weight: 3}]}\n"
		"- {name: p, namespace: ns, hostname: plain, vips: [], ports: {}}\n",
		NULL);
	expect(dump_services(f.w),
	       "[{\"canonical\":false,\"endpoints\":{},\"hostname\":\"plain\",\"name\":\"p\","
	       "\"namespace\":\"ns\",\"ports\":{},\"subjectAltNames\":[],\"vips\":[],"
	       "\"visibility\":\"Public\"},"
	       "{\"canonical\":true,\"cidrVips\":[{\"cidr\":\"10.0.0.0/8\",\"network\":\"n\"}],"
	       "\"endpoints\":{\"w\":{\"port\":{\"80\":8080},\"status\":\"Healthy\",\"workloadUid\":\"w\"}},"
	       "\"hostname\":\"svc1\",\"ipFamilies\":\"Dual\","
	       "\"loadBalancer\":{\"healthPolicy\":\"OnlyHealthy\",\"mode\":\"Strict\","
	       "\"routingPreferences\":[\"Region\",\"Zone\"]},\"name\":\"svc1\",\"namespace\":\"ns\","
	       "\"ports\":{\"443\":443,\"80\":80,\"9\":9},\"subjectAltNames\":[\"SAN1\"],"
	       "\"vips\":[\"defaultnw/127.0.1.1\"],\"visibility\":\"Public\","
	       "\"weightedWaypoints\":[{\"destination\":{\"destination\":\"/1.2.3.4\",\"hboneMtlsPort\":1},"
	       "\"weight\":3}]}]");
	expect(dump_staged_services(f.w),
	       "{\"ns/late\":{\"w\":{\"port\":{\"1\":2},\"status\":\"Healthy\",\"workloadUid\":\"w\"}}}");
	fx_end(&f);
}

static void policies_with_all_matches(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, NULL, NULL,
		"- {name: p, namespace: ns, scope: Global, action: Deny, dryRun: true, rules: [[[{"
		"destinationPorts: [80], notDestinationPorts: [8080], sourceIps: [127.0.0.2/32],"
		" notSourceIps: [127.0.0.1/32], destinationIps: [127.0.0.3/32],"
		" notDestinationIps: ['fd00::/8'], namespaces: [{Exact: ns}], notNamespaces: [{Prefix: x}],"
		" serviceAccounts: [{namespace: ns, serviceAccount: sa}],"
		" notServiceAccounts: [{namespace: n2, serviceAccount: s2}],"
		" principals: [{Suffix: s}], notPrincipals: [{Presence: []}]}]], []]}\n"
		"- {name: a, namespace: ns, scope: WorkloadSelector, action: Allow, dryRun: false, rules: []}\n");
	expect(dump_policies(f.w),
	       "[{\"action\":\"Allow\",\"dryRun\":false,\"name\":\"a\",\"namespace\":\"ns\",\"rules\":[],"
	       "\"scope\":\"WorkloadSelector\"},"
	       "{\"action\":\"Deny\",\"dryRun\":true,\"name\":\"p\",\"namespace\":\"ns\",\"rules\":[[[{"
	       "\"destinationIps\":[\"127.0.0.3/32\"],\"destinationPorts\":[80],"
	       "\"namespaces\":[{\"Exact\":\"ns\"}],\"notDestinationIps\":[\"fd00::/8\"],"
	       "\"notDestinationPorts\":[8080],\"notNamespaces\":[{\"Prefix\":\"x\"}],"
	       "\"notPrincipals\":[{\"Presence\":[]}],"
	       "\"notServiceAccounts\":[{\"namespace\":\"n2\",\"serviceAccount\":\"s2\"}],"
	       "\"notSourceIps\":[\"127.0.0.1/32\"],\"principals\":[{\"Suffix\":\"s\"}],"
	       "\"serviceAccounts\":[{\"namespace\":\"ns\",\"serviceAccount\":\"sa\"}],"
	       "\"sourceIps\":[\"127.0.0.2/32\"]}]],[]],\"scope\":\"Global\"}]");
	fx_end(&f);
}

static void what_is_dumped_loads_again(void **state)
{
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, NULL,
		"- {name: s, namespace: n, hostname: s, vips: [/10.0.0.1], ports: {80: 8080, 81: 0},"
		" loadBalancer: {mode: Failover, routingPreferences: [Network]}}\n",
		"- {name: p, namespace: n, scope: Namespace, action: Allow, dryRun: false,"
		" rules: [[[{namespaces: [{Exact: x}]}]]]}\n");
	cJSON *all = cJSON_CreateObject();
	cJSON_AddItemToObject(all, "services", dump_services(f.w));
	cJSON_AddItemToObject(all, "policies", dump_policies(f.w));
	char *text = cJSON_Print(all);
	assert_int_equal(static_load_text(f.w, str_of(text), "dump", &r, &report), 0);
	assert_int_equal(r.unchanged, 2);
	assert_int_equal(r.changed + r.added + r.removed, 0);
	free(text);
	cJSON_Delete(all);
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workloads_with_defaults_left_out),
		cmocka_unit_test(services_with_their_endpoints),
		cmocka_unit_test(policies_with_all_matches),
		cmocka_unit_test(what_is_dumped_loads_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
