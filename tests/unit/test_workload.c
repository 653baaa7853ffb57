/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads and how they are found (contract sections 3.4, 3.5). Names are those of contract section 13. */
#include "shared/state/workload.h"

#include <stdio.h>

#include "shared/base/err.h"
#include "state_fixture.h"

static void byte_to_ipaddr(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *want; /* NULL: refused */
	} cases[] = {
		{"not_an_ip", 9, NULL},
		{"", 0, NULL},
		{"\0\0\0\0", 4, "0.0.0.0"},
		{"\x7f\0\0\1", 4, "127.0.0.1"},
		{"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, "fe80::1"},
		{"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, "::1"},
		{"\xc0\xa8\1\2", 4, "192.168.1.2"},
		{"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1", 16, "10.0.0.1"},
		{"\1\2\3", 3, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[ADDR_TEXT_MAX];
		struct ip ip;
		int err = ip_from_bytes(cases[i].bytes, cases[i].n, &ip);
		assert_int_equal(err, cases[i].want ? 0 : ERR_SYNTAX);
		if (!err)
			assert_string_equal(ip_text(&ip, text), cases[i].want);
	}
}

static struct workload *by_ip(struct fixture *f, const char *text)
{
	const struct ip ip = fx_ip(text);

	return world_workload_by_ip(f->w, STR(""), &ip);
}

static void workload_information(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "node1");
	fx_load(&f,
		"- {uid: here, name: n, namespace: ns, serviceAccount: sa, node: node1, workloadIps: [],"
		" services: {}}\n"
		"- {uid: there, name: m, namespace: ns, serviceAccount: sa, node: node2, workloadIps: [],"
		" services: {}}\n",
		NULL, NULL);
	assert_ptr_equal(world_local_workload(f.w, STR("ns"), STR("n"), STR("sa")),
			 fx_workload(&f, "here"));
	/* All three names count, and the node. */
	assert_null(world_local_workload(f.w, STR("ns"), STR("m"), STR("sa")));
	assert_null(world_local_workload(f.w, STR("ns"), STR("n"), STR("other")));
	assert_null(world_local_workload(f.w, STR("other"), STR("n"), STR("sa")));
	assert_null(world_local_workload(f.w, STR("ns"), STR("other"), STR("sa")));
	fx_end(&f);
}

static void test_wait_for_workload(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	/* A waiter looks, remembers the version, and looks again when it moved. */
	uint64_t seen = world_version(f.w);
	assert_null(world_local_workload(f.w, STR("ns"), STR("n"), STR("sa")));
	fx_load(&f, "- {uid: x, name: x, namespace: ns, workloadIps: [], services: {}}\n", NULL,
		NULL);
	assert_true(world_version(f.w) > seen);
	assert_null(world_local_workload(f.w, STR("ns"), STR("n"), STR("sa")));
	seen = world_version(f.w);
	fx_load(&f,
		"- {uid: x, name: n, namespace: ns, serviceAccount: sa, workloadIps: [], services: {}}\n",
		NULL, NULL);
	assert_true(world_version(f.w) > seen);
	assert_non_null(world_local_workload(f.w, STR("ns"), STR("n"), STR("sa")));
	/* The old name is gone. */
	assert_null(world_local_workload(f.w, STR("ns"), STR("x"), STR("")));
	seen = world_version(f.w);
	fx_load(&f,
		"- {uid: x, name: n, namespace: ns, serviceAccount: sa, workloadIps: [], services: {}}\n",
		NULL, NULL);
	assert_int_equal(world_version(f.w), seen);
	fx_end(&f);
}

static void lookup_address(void **state)
{
	struct rstr *key;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: w, namespace: ns, workloadIps: [127.0.0.1], hostname: vm.example, services: {}}\n",
		"- {name: s, namespace: default, hostname: defaulthost, vips: [/127.0.0.3], ports: {}}\n",
		NULL);
	assert_non_null(by_ip(&f, "127.0.0.1"));
	assert_null(by_ip(&f, "127.0.0.2"));
	assert_non_null(fx_service(&f, "default", "defaulthost"));
	assert_null(fx_service(&f, "default", "nothost"));
	/* Names of workloads, too, in their own namespace. */
	assert_int_equal(key_intern(STR("ns"), STR("vm.example"), &key), 0);
	assert_ptr_equal(world_workload_by_hostname(f.w, key), fx_workload(&f, "w"));
	rstr_put(key);
	assert_int_equal(key_intern(STR("default"), STR("vm.example"), &key), 0);
	assert_null(world_workload_by_hostname(f.w, key));
	rstr_put(key);
	const struct ip ip = fx_ip("127.0.0.1");
	assert_null(world_workload_by_ip(f.w, STR("other-network"), &ip));
	fx_end(&f);
}

static void overlapping_workload_ip(void **state)
{
#define AT_ONE(uid, protocol)                                                          \
	"- {uid: " uid ", namespace: ns, workloadIps: [10.0.0.1], protocol: " protocol \
	", services: {}}\n"
	static const char *const entry = AT_ONE("c/Entry/a", "TCP");
	static const char *const entry_mesh = AT_ONE("c/Entry/b", "HBONE");
	static const char *const pod = AT_ONE("c//Pod/a", "TCP");
	static const char *const pod_mesh = AT_ONE("c//Pod/b", "HBONE");
	char text[1024];
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, entry, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c/Entry/a");
	snprintf(text, sizeof(text), "%s%s", entry_mesh, entry);
	fx_load(&f, text, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c/Entry/b");
	snprintf(text, sizeof(text), "%s%s%s", entry_mesh, entry, pod);
	fx_load(&f, text, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c//Pod/a");
	snprintf(text, sizeof(text), "%s%s%s%s", pod_mesh, entry_mesh, entry, pod);
	fx_load(&f, text, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c//Pod/b");
	/* They leave one by one, best first. */
	snprintf(text, sizeof(text), "%s%s%s", entry_mesh, entry, pod);
	fx_load(&f, text, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c//Pod/a");
	fx_load(&f, entry, NULL, NULL);
	assert_string_equal(by_ip(&f, "10.0.0.1")->uid->text, "c/Entry/a");
	fx_load(&f, NULL, NULL, NULL);
	assert_null(by_ip(&f, "10.0.0.1"));
	fx_end(&f);
}

static void host_network_has_no_address(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: a, namespace: n, workloadIps: [10.0.0.1], networkMode: HostNetwork,"
		" services: {}}\n",
		NULL, NULL);
	assert_null(by_ip(&f, "10.0.0.1"));
	fx_load(&f, "- {uid: a, namespace: n, workloadIps: [10.0.0.1], services: {}}\n", NULL,
		NULL);
	assert_non_null(by_ip(&f, "10.0.0.1"));
	fx_load(&f,
		"- {uid: a, namespace: n, workloadIps: [10.0.0.1], networkMode: HostNetwork,"
		" services: {}}\n",
		NULL, NULL);
	assert_null(by_ip(&f, "10.0.0.1"));
	fx_end(&f);
}

static void addresses_move(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f,
		"- {uid: a, namespace: n, workloadIps: [10.0.0.1, 10.0.0.2, 10.0.0.2],"
		" services: {}}\n",
		NULL, NULL);
	fx_load(&f, "- {uid: a, namespace: n, workloadIps: [10.0.0.2, 10.0.0.3], services: {}}\n",
		NULL, NULL);
	assert_null(by_ip(&f, "10.0.0.1"));
	assert_non_null(by_ip(&f, "10.0.0.2"));
	assert_non_null(by_ip(&f, "10.0.0.3"));
	/* To another network. */
	fx_load(&f, "- {uid: a, namespace: n, network: x, workloadIps: [10.0.0.2], services: {}}\n",
		NULL, NULL);
	assert_null(by_ip(&f, "10.0.0.2"));
	fx_end(&f);
}

static void unhealthy_workloads(void **state)
{
#define SICK(status)                                                        \
	"- {uid: a, namespace: n, workloadIps: [10.0.0.1], status: " status \
	", services: {ns/svc1: {80: 8080}}}\n"
#define SVC(rest) \
	"- {name: s, namespace: ns, hostname: svc1, vips: [/127.0.1.1], ports: {80: 80}" rest "}\n"
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, SICK("Healthy"), SVC(""), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "svc1")), 1);
	fx_load(&f, SICK("Unhealthy"), SVC(""), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "svc1")), 0);
	/* Unhealthy or not, the workload itself is there. */
	assert_non_null(by_ip(&f, "10.0.0.1"));
	fx_load(&f, SICK("Unhealthy"),
		SVC(", loadBalancer: {mode: Standard, healthPolicy: AllowAll}"), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "svc1")), 1);
	/* unhealthy_workloads_staged */
	fx_load(&f, NULL, NULL, NULL);
	fx_load(&f, SICK("Unhealthy"), NULL, NULL);
	fx_load(&f, SICK("Unhealthy"), SVC(""), NULL);
	assert_int_equal(fx_endpoints(fx_service(&f, "ns", "svc1")), 0);
	fx_end(&f);
}

static void equal_content_is_equal(void **state)
{
	const struct ip ips[] = {fx_ip("10.0.0.1"), fx_ip("::1")};
	const struct str policies[] = {STR("a/b")};
	const struct port_pair ports[] = {{80, 8080}, {81, 0}, {80, 8081}};
	const struct workload_service_spec services[] = {{STR("n/s"), ports, 3},
							 {STR("n/a"), NULL, 0}};
	const struct gateway_spec gateway = {.kind = GATEWAY_HOSTNAME,
					     .ns = STR("n"),
					     .hostname = STR("wp"),
					     .hbone_port = 15008};
	struct workload_spec spec = {.uid = STR("u"),
				     .ns = STR("n"),
				     .service_account = STR("s"),
				     .trust_domain = STR("td"),
				     .ips = ips,
				     .ips_count = 2,
				     .policies = policies,
				     .policies_count = 1,
				     .services = services,
				     .services_count = 2,
				     .waypoint = &gateway};
	struct workload *a, *b;

	(void)state;
	assert_int_equal(workload_new(&spec, &a), 0);
	assert_int_equal(workload_new(&spec, &b), 0);
	assert_true(workload_eq(a, b));
	assert_string_equal(a->identity->text, "spiffe://td/ns/n/sa/s");
	/* Sorted; the last word on a port counts. */
	assert_string_equal(workload_services(a)[0].key->text, "n/a");
	assert_int_equal(portmap_find(workload_services(a)[1].ports, 80)->target, 8081);
	assert_int_equal(portmap_count(workload_services(a)[1].ports), 2);
	workload_put(b);
	spec.capacity = 7;
	assert_int_equal(workload_new(&spec, &b), 0);
	assert_false(workload_eq(a, b));
	workload_put(b);
	spec.capacity = 0;
	spec.waypoint = NULL;
	assert_int_equal(workload_new(&spec, &b), 0);
	assert_false(workload_eq(a, b));
	workload_put(b);
	workload_put(a);
	rstr_sweep();
	assert_int_equal(rstr_count(), 0);
}

static void bad_specs(void **state)
{
	const struct workload_service_spec service = {STR("no-slash"), NULL, 0};
	const struct gateway_spec nowhere = {.kind = GATEWAY_HOSTNAME};
	char text[2000];
	struct workload *w = NULL;

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(
		workload_new(&(struct workload_spec){.services = &service, .services_count = 1},
			     &w),
		ERR_SYNTAX);
	assert_int_equal(workload_new(&(struct workload_spec){.waypoint = &nowhere}, &w),
			 ERR_SYNTAX);
	assert_int_equal(workload_new(&(struct workload_spec){.ns = {text, sizeof(text)}}, &w),
			 ERR_TOO_LARGE);
	assert_int_equal(workload_new(&(struct workload_spec){.ips_count = 70000}, &w), ERR_LIMIT);
	assert_null(w);
	rstr_sweep();
	assert_int_equal(rstr_count(), 0);
}

struct hook_log {
	char text[256];
};

static void on_local(void *arg, const struct workload *w)
{
	strcat(strcat(((struct hook_log *)arg)->text, " +"), w->uid->text);
}

static void on_unused(void *arg, const struct workload *last)
{
	strcat(strcat(((struct hook_log *)arg)->text, " -"), last->identity->text);
}

static void identities_come_and_go(void **state)
{
#define ON(uid, sa, node)                                                                     \
	"- {uid: " uid ", namespace: n, trustDomain: td, serviceAccount: " sa ", node: " node \
	", workloadIps: [], services: {}}\n"
	struct hook_log log = {""};
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "here");
	world_set_hooks(f.w, &(struct world_hooks){&log, on_local, on_unused});
	fx_load(&f, ON("a", "s", "here") ON("c", "s", "there"), NULL, NULL);
	assert_string_equal(log.text, " +a");
	/* Another of the same identity replaces it in one batch: it was never unused. */
	log.text[0] = '\0';
	fx_load(&f, ON("b", "s", "here") ON("c", "s", "there"), NULL, NULL);
	assert_string_equal(log.text, " +b");
	log.text[0] = '\0';
	fx_load(&f, ON("b", "other", "here"), NULL, NULL);
	assert_string_equal(log.text, " +b -spiffe://td/ns/n/sa/s");
	log.text[0] = '\0';
	fx_load(&f, NULL, NULL, NULL);
	assert_string_equal(log.text, " -spiffe://td/ns/n/sa/other");
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_to_ipaddr),
		cmocka_unit_test(workload_information),
		cmocka_unit_test(test_wait_for_workload),
		cmocka_unit_test(lookup_address),
		cmocka_unit_test(overlapping_workload_ip),
		cmocka_unit_test(host_network_has_no_address),
		cmocka_unit_test(addresses_move),
		cmocka_unit_test(unhealthy_workloads),
		cmocka_unit_test(equal_content_is_equal),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(identities_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
