/* SPDX-License-Identifier: Apache-2.0 */
/* The static file (contract section 3.8): the format, its errors, its limits, and reloading. */
#include "shared/control/static_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "state_fixture.h"

static const char whole_workload[] =
	"workloads:\n"
	"- uid: cluster1//Pod/default/a\n"
	"  name: a\n"
	"  namespace: default\n"
	"  serviceAccount: sa\n"
	"  trustDomain: td\n"
	"  workloadIps: [10.0.0.2, 'fd00::2']\n"
	"  hostname: a.example\n"
	"  protocol: HBONE\n"
	"  networkMode: Standard\n"
	"  network: net\n"
	"  node: node1\n"
	"  workloadName: wn\n"
	"  workloadType: cronjob\n"
	"  canonicalName: cn\n"
	"  canonicalRevision: v1\n"
	"  clusterId: K\n"
	"  status: Unhealthy\n"
	"  capacity: 7\n"
	"  nativeTunnel: true\n"
	"  locality: {region: r, zone: z, subzone: s}\n"
	"  authorizationPolicies: [default/p1, root/p2]\n"
	"  waypoint: {destination: net/10.0.0.9, hboneMtlsPort: 15008}\n"
	"  networkGateway: {destination: istio-system/eastwest.example, hboneMtlsPort: 15009}\n"
	"  applicationTunnel: {protocol: PROXY, port: 15088}\n"
	"  services:\n"
	"    default/a.svc: {80: 8080, 443: 8443}\n";

static void every_workload_field(void **state)
{
	struct static_report report;
	struct fixture f;

	(void)state;
	fx_begin(&f, "net", NULL);
	assert_int_equal(static_load_text(f.w, str_of(whole_workload), "t", NULL, &report), 0);
	const struct workload *w = fx_workload(&f, "cluster1//Pod/default/a");
	assert_non_null(w);
	assert_string_equal(w->name->text, "a");
	assert_string_equal(w->ns->text, "default");
	assert_string_equal(w->identity->text, "spiffe://td/ns/default/sa/sa");
	assert_int_equal(w->ips_count, 2);
	assert_string_equal(w->hostname->text, "a.example");
	assert_int_equal(w->protocol, WORKLOAD_HBONE);
	assert_string_equal(w->network->text, "net");
	assert_string_equal(w->node->text, "node1");
	assert_string_equal(w->workload_name->text, "wn");
	assert_int_equal(w->type, WORKLOAD_CRONJOB);
	assert_string_equal(w->canonical_name->text, "cn");
	assert_string_equal(w->canonical_revision->text, "v1");
	assert_string_equal(w->cluster_id->text, "K");
	assert_int_equal(w->status, WORKLOAD_UNHEALTHY);
	assert_int_equal(w->capacity, 7);
	assert_true(w->native_tunnel);
	assert_string_equal(w->region->text, "r");
	assert_string_equal(w->zone->text, "z");
	assert_string_equal(w->subzone->text, "s");
	assert_int_equal(w->policies_count, 2);
	assert_string_equal(workload_policies(w)[1]->text, "root/p2");
	assert_int_equal(w->waypoint->kind, GATEWAY_ADDRESS);
	assert_string_equal(w->waypoint->name->text, "net");
	assert_int_equal(w->network_gateway->kind, GATEWAY_HOSTNAME);
	assert_string_equal(w->network_gateway->name->text, "istio-system/eastwest.example");
	assert_int_equal(w->network_gateway->hbone_port, 15009);
	assert_true(w->has_app_tunnel);
	assert_int_equal(w->app_tunnel, APP_TUNNEL_PROXY);
	assert_int_equal(w->app_tunnel_port, 15088);
	assert_int_equal(portmap_find(workload_services(w)[0].ports, 443)->target, 8443);
	static_report_fini(&report);
	fx_end(&f);
}

static void every_service_field(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	fx_load(&f, NULL,
		"- name: a\n"
		"  namespace: default\n"
		"  hostname: a.svc\n"
		"  vips: [/10.96.0.5, 'net/fd00::5']\n"
		"  cidrVips: [{network: n, cidr: 10.96.8.0/24}]\n"
		"  ports: {80: 8080}\n"
		"  endpoints: {u: {workloadUid: u, port: {80: 81}, status: Unhealthy}}\n"
		"  subjectAltNames: ['spiffe://td/ns/n/sa/s', nonsense]\n"
		"  waypoint: {destination: /10.0.0.9, hboneMtlsPort: 15008}\n"
		"  weightedWaypoints:\n"
		"  - {destination: {destination: /10.0.0.8, hboneMtlsPort: 15008}, weight: 90}\n"
		"  loadBalancer: {mode: Failover, routingPreferences: [Network, Subzone], healthPolicy: AllowAll}\n"
		"  ipFamilies: IPv6\n"
		"  canonical: true\n"
		"  visibility: Namespace\n",
		NULL);
	const struct service *s = fx_service(&f, "default", "a.svc");
	assert_non_null(s);
	assert_int_equal(s->vips_count, 2);
	assert_string_equal(s->vips[1].network->text, "net");
	assert_int_equal(s->cidr_vips[0].cidr.prefix, 24);
	assert_int_equal(portmap_find(s->ports, 80)->target, 8080);
	assert_int_equal(s->own_count, 1);
	assert_true(s->own[0].unhealthy);
	assert_int_equal(s->sans_count, 2);
	assert_int_equal(s->sans_valid, 1);
	assert_int_equal(s->weighted_waypoints[0].weight, 90);
	assert_int_equal(s->mode, BALANCE_FAILOVER);
	assert_int_equal(s->scopes_count, 2);
	assert_int_equal(s->scopes[0], SCOPE_NETWORK);
	assert_int_equal(s->scopes[1], SCOPE_SUBZONE);
	assert_int_equal(s->health_policy, HEALTH_ALLOW_ALL);
	assert_int_equal(s->families, FAMILIES_IPV6);
	assert_true(s->canonical);
	assert_int_equal(s->visibility, VISIBILITY_NAMESPACE);
	fx_end(&f);
}

/* Loads a text that must be wrong; `want` are its error lines, each ended by a newline. */
static void expect_errors(const char *text, const char *want)
{
	struct static_report report;
	struct fixture f;
	char got[8192] = "";

	fx_begin(&f, "", NULL);
	assert_int_not_equal(static_load_text(f.w, str_of(text), "f", NULL, &report), 0);
	for (uint32_t i = 0; i < static_report_lines(&report); i++)
		strcat(strcat(got, report.line[i]), "\n");
	assert_string_equal(got, want);
	assert_int_equal(world_version(f.w), 0);
	static_report_fini(&report);
	fx_end(&f);
}

static void errors_name_line_and_key(void **state)
{
	(void)state;
	expect_errors(
		"workloads:\n"
		"- uid: x\n"
		"  nam: a\n"
		"  namespace: n\n"
		"  workloadIps: [10.0.0.300]\n"
		"  protocol: HBON\n"
		"  capacity: -1\n"
		"  nativeTunnel: 'true'\n"
		"  services: {foo: {80: 99999}}\n"
		"  waypoint: {destination: noslash}\n",
		"f:3: workloads[0].nam: unknown key\n"
		"f:5: workloads[0].workloadIps[0]: \"10.0.0.300\" is not an IP address\n"
		"f:6: workloads[0].protocol: unknown value \"HBON\", known are: TCP, HBONE\n"
		"f:7: workloads[0].capacity: must be a number from 0 to 4294967295, not \"-1\"\n"
		"f:8: workloads[0].nativeTunnel: must be true or false, not \"true\"\n"
		"f:9: workloads[0].services.foo: must be namespace/hostname\n"
		"f:9: workloads[0].services.foo.80: must be a number from 0 to 65535, not \"99999\"\n"
		"f:10: workloads[0].waypoint.destination: must be network/ip or namespace/hostname\n"
		"f:10: workloads[0].waypoint: the key \"hboneMtlsPort\" is missing\n");
	expect_errors(
		"services:\n- {name: s, hostname: h, vips: [10.0.0.1], ports: [80],\n"
		"   cidrVips: [{cidr: 10.0.0.0/33}], loadBalancer: {mode: Random}}\n",
		"f:2: services[0].vips[0]: must be network/ip, like \"/10.0.0.1\"\n"
		"f:2: services[0].ports: must be a map, not a list\n"
		"f:3: services[0].cidrVips[0].cidr: \"10.0.0.0/33\" is not a CIDR\n"
		"f:3: services[0].loadBalancer.mode: unknown value \"Random\", known are: Standard,"
		" Strict, Failover, Passthrough\n"
		"f:2: services[0]: the key \"namespace\" is missing\n");
	expect_errors(
		"policies:\n"
		"- {name: p, namespace: n, scope: Everywhere, action: Allow, rules: [[[{sourceIp: []}]]]}\n"
		"- {name: q, namespace: n, scope: Global, action: Deny, dryRun: false,\n"
		"   rules: [[[{principals: [{Exakt: a}, {Exact: a, Prefix: b}, {Exact: }]}]]]}\n",
		"f:2: policies[0].scope: unknown value \"Everywhere\", known are: Global, Namespace,"
		" WorkloadSelector\n"
		"f:2: policies[0].rules[0][0][0].sourceIp: unknown key\n"
		"f:2: policies[0]: the key \"dryRun\" is missing\n"
		"f:4: policies[1].rules[0][0][0].principals[0]: unknown form, known are: Exact, Prefix,"
		" Suffix, Presence\n"
		"f:4: policies[1].rules[0][0][0].principals[1]: must have exactly one of Exact, Prefix,"
		" Suffix, Presence\n"
		"f:4: policies[1].rules[0][0][0].principals[2].Exact: has no value\n");
}

static void two_of_one_name(void **state)
{
	(void)state;
	expect_errors("workloads:\n"
		      "- {uid: a, namespace: n, workloadIps: [], services: {}}\n"
		      "- {uid: a, namespace: n, workloadIps: [], services: {}}\n"
		      "services:\n"
		      "- {name: a, namespace: n, hostname: h, vips: [], ports: {80: 80, 80: 81}}\n"
		      "- {name: b, namespace: n, hostname: h, vips: [], ports: {}, vips: []}\n",
		      "f:3: workloads[1]: the workload \"a\" is in line 2 already\n"
		      "f:5: services[0].ports: the key \"80\" is there twice\n"
		      "f:6: services[1].vips: is there twice\n"
		      "f:6: services[1]: the service \"n/h\" is in line 5 already\n");
}

static void not_our_kind_of_text(void **state)
{
	(void)state;
	expect_errors("[1, 2]", "f:1: must be a map, not a list\n");
	expect_errors("workloads: 7\n", "f:1: workloads: must be a list, not a single value\n");
	expect_errors("workloads:\n- a\n",
		      "f:2: workloads[0]: must be a map, not a single value\n");
	expect_errors("extra: []\n", "f:1: extra: unknown key\n");
	expect_errors("---\n{}\n---\n{}\n", "f:4: a second document\n");
	expect_errors("workloads: *nothing\n", "f:1: an alias to nothing\n");
	expect_errors("workloads: &a [*a]\n", "f:1: an alias inside of what it stands for\n");
	struct static_report report;
	struct fixture f;
	fx_begin(&f, "", NULL);
	assert_int_equal(static_load_text(f.w, STR("workloads:\n - {a\n"), "f", NULL, &report),
			 ERR_SYNTAX);
	assert_int_equal(report.errors, 1);
	static_report_fini(&report);
	fx_end(&f);
}

static void limits(void **state)
{
	char deep[256] = "workloads: ";
	char text[4096];
	struct static_report report;
	struct fixture f;
	size_t n = 0;

	(void)state;
	/* Ten to the ninth. */
	n += (size_t)snprintf(text + n, sizeof(text) - n, "a: &a [x,x,x,x,x,x,x,x,x,x]\n");
	for (char c = 'b'; c < 'j'; c++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c,
				      c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1,
				      c - 1);
	expect_errors(text, "f:8: too many values\n");
	for (int i = 0; i < 100; i++)
		strcat(deep, "[");
	expect_errors(deep, "f:1: nested too deeply\n");
	/* More errors than are told. */
	fx_begin(&f, "", NULL);
	n = (size_t)snprintf(text, sizeof(text), "policies:\n");
	for (int i = 0; i < LIMIT_STATIC_ERRORS + 5; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "- 7\n");
	assert_int_equal(static_load_text(f.w, str_of(text), "f", NULL, &report), ERR_SYNTAX);
	assert_int_equal(report.errors, LIMIT_STATIC_ERRORS + 5);
	assert_int_equal(static_report_lines(&report), LIMIT_STATIC_ERRORS);
	static_report_fini(&report);
	fx_end(&f);
}

static void json_is_yaml(void **state)
{
	static const char json[] =
		"{\n\t\"workloads\": [{\"uid\": \"u\", \"namespace\": \"n\", \"workloadIps\": [\"10.0.0.1\"],\n"
		"\t\t\"services\": {\"n/s\": {\"80\": 8080}}, \"waypoint\": null}],\n"
		"\t\"services\": [{\"name\": \"s\", \"namespace\": \"n\", \"hostname\": \"s\",\n"
		"\t\t\"vips\": [\"/10.1.0.1\"], \"ports\": {\"80\": 8080}}],\n"
		"\t\"policies\": []\n}\n";
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	assert_int_equal(static_load_text(f.w, str_of(json), "f", &r, &report), 0);
	assert_int_equal(r.added, 2);
	assert_int_equal(fx_endpoints(fx_service(&f, "n", "s")), 1);
	/* A mesh with nothing in it; aliases that stay within bounds are fine. */
	assert_int_equal(static_load_text(f.w, STR("{} # nothing\n"), "f", &r, &report), 0);
	assert_int_equal(r.removed, 2);
	assert_int_equal(
		static_load_text(
			f.w,
			STR("workloads:\n"
			    "- {uid: a, namespace: n, workloadIps: [], services: &s {n/s: {80: 80}}}\n"
			    "- {uid: b, namespace: n, workloadIps: [], services: *s}\n"),
			"f", &r, &report),
		0);
	assert_int_equal(r.added, 2);
	fx_end(&f);
}

/* As the original's own serializer writes its enums. */
static void tags_are_maps_of_one_key(void **state)
{
	static const char head[] =
		"policies:\n- {name: p, namespace: n, scope: Namespace, action: Deny, dryRun: false,\n"
		"   rules: [[[{namespaces: ";
	static const char tail[] = "}]]]}\n";
	char text[512];
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	snprintf(text, sizeof(text), "%s[{Exact: a}, {Presence: []}, {Suffix: b}]%s", head, tail);
	assert_int_equal(static_load_text(f.w, str_of(text), "f", &r, &report), 0);
	assert_int_equal(r.added, 1);
	snprintf(text, sizeof(text), "%s[!Exact a, !Presence [], &x !Suffix b]%s", head, tail);
	assert_int_equal(static_load_text(f.w, str_of(text), "f", &r, &report), 0);
	assert_int_equal(r.unchanged, 1);
	fx_end(&f);
	snprintf(text, sizeof(text), "%s[!Exactly a, !!str b]%s", head, tail);
	expect_errors(
		text,
		"f:3: policies[0].rules[0][0][0].namespaces[0]: unknown form, known are: Exact, Prefix, Suffix, Presence\n"
		"f:3: policies[0].rules[0][0][0].namespaces[1]: must be a map, not a single value\n");
	expect_errors("workloads: !a &a [*a]\n", "f:1: an alias inside of what it stands for\n");
}

static void reload_changes_what_changed(void **state)
{
	char path[] = "/tmp/gauze-static-XXXXXX";
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *file = fdopen(fd, "w");
	fprintf(file, "workloads:\n");
	for (int i = 0; i < 50; i++)
		fprintf(file,
			"- {uid: w%d, namespace: n, workloadIps: [10.0.0.%d], services: {}}\n", i,
			i);
	fflush(file);
	fx_begin(&f, "", NULL);
	assert_int_equal(static_load_file(f.w, path, &r, &report), 0);
	assert_int_equal(r.added, 50);
	fprintf(file, "- {uid: w50, namespace: n, workloadIps: [10.0.1.1], services: {}}\n");
	fflush(file);
	assert_int_equal(static_load_file(f.w, path, &r, &report), 0);
	assert_int_equal(r.added, 1);
	assert_int_equal(r.unchanged, 50);
	/* A bad new file: told, and nothing changes. */
	uint64_t version = world_version(f.w);
	fprintf(file, "- {uid: w51, namespace: n, workloadIps: [10.0.1], services: {}}\n");
	fclose(file);
	assert_int_equal(static_load_file(f.w, path, &r, &report), ERR_SYNTAX);
	assert_int_equal(report.errors, 1);
	assert_non_null(strstr(report.line[0], ":53: workloads[51].workloadIps[0]: "));
	static_report_fini(&report);
	assert_int_equal(world_version(f.w), version);
	assert_non_null(fx_workload(&f, "w50"));
	unlink(path);
	assert_int_equal(static_load_file(f.w, path, &r, &report), -2 /* ENOENT */);
	assert_int_equal(report.errors, 1);
	static_report_fini(&report);
	fx_end(&f);
}

/* What is cut to nothing must not take the mesh away: who means that says so. */
static void empty_is_refused(void **state)
{
	static const char *const empty[] = {"",	     "\n\n",   "# to be filled in\n",
					    "---\n", "null\n", "~\n"};
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	assert_int_equal(static_load_text(f.w, str_of(whole_workload), "f", &r, &report), 0);
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
		assert_int_equal(static_load_text(f.w, str_of(empty[i]), "f", &r, &report),
				 ERR_SYNTAX);
		assert_int_equal(report.errors, 1);
		assert_string_equal(report.line[0],
				    "f: is empty: write {} for a mesh with nothing in it");
		static_report_fini(&report);
		assert_non_null(fx_workload(&f, "cluster1//Pod/default/a"));
	}
	assert_int_equal(static_load_text(f.w, STR("{}"), "f", &r, &report), 0);
	assert_int_equal(r.removed, 1);
	fx_end(&f);
}

/* Reading must end, whatever stands there: the control thread does it. */
static void only_regular_files(void **state)
{
	char dir[] = "/tmp/gauze-static-XXXXXX", path[64];
	const char *paths[] = {dir, path, "/dev/zero"};
	struct static_report report;
	struct batch_result r;
	struct fixture f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pipe", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fx_begin(&f, "", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_not_equal(static_load_file(f.w, paths[i], &r, &report), 0);
		assert_int_equal(report.errors, 1);
		assert_non_null(strstr(report.line[0], ": cannot be read: not a regular file"));
		static_report_fini(&report);
	}
	fx_end(&f);
	unlink(path);
	rmdir(dir);
}

static void check_prints_a_verdict(void **state)
{
	char path[] = "/tmp/gauze-check-XXXXXX", *text = NULL;
	size_t n = 0;

	(void)state;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "workloads: []\n", 14), 14);
	FILE *out = open_memstream(&text, &n);
	assert_true(static_check(path, out));
	assert_int_equal(write(fd, "nonsense: 1\n", 12), 12);
	assert_false(static_check(path, out));
	close(fd);
	unlink(path);
	assert_false(static_check(path, out));
	fclose(out);
	assert_non_null(strstr(text, ": good: 0 objects\n"));
	assert_non_null(strstr(text, ":2: nonsense: unknown key\n"));
	assert_non_null(strstr(text, ": cannot be read: "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_workload_field),
		cmocka_unit_test(every_service_field),
		cmocka_unit_test(errors_name_line_and_key),
		cmocka_unit_test(two_of_one_name),
		cmocka_unit_test(not_our_kind_of_text),
		cmocka_unit_test(limits),
		cmocka_unit_test(json_is_yaml),
		cmocka_unit_test(tags_are_maps_of_one_key),
		cmocka_unit_test(reload_changes_what_changed),
		cmocka_unit_test(empty_is_refused),
		cmocka_unit_test(only_regular_files),
		cmocka_unit_test(check_prints_a_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
