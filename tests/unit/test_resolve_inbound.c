/* SPDX-License-Identifier: Apache-2.0 */
/* Inbound plans (contract section 6). The first table is test_build_inbound_request and test_find_inbound_upstream. */
#include "shared/state/resolve_inbound.h"

#include <stdio.h>

#include "shared/base/err.h"
#include "state_fixture.h"

#define CLIENT_POD "10.0.0.1"
#define SERVER_POD "10.0.0.2"
#define SERVER_SVC "10.10.0.1"
#define SERVER_HOST "server.default.svc.cluster.local"
#define WAYPOINT_POD "10.0.0.3"
#define WAYPOINT_SVC "10.10.0.2"

static const uint16_t own_ports[] = {15001, 15006, 15008};

/* Where the server says its waypoint is, and whether the waypoint has a tunnel of its own. */
struct attachment {
	const char *of_service, *of_workload;
	bool tunnel;
};

static void begin(struct fixture *f, struct attachment a)
{
	char workloads[2048], services[2048], of_service[128] = "", of_workload[128] = "";

	if (a.of_service)
		snprintf(of_service, sizeof(of_service),
			 "waypoint: {destination: /%s, hboneMtlsPort: 15008}, ", a.of_service);
	if (a.of_workload)
		snprintf(of_workload, sizeof(of_workload),
			 "waypoint: {destination: /%s, hboneMtlsPort: 15008}, ", a.of_workload);
	snprintf(workloads, sizeof(workloads),
		 "- {uid: c//v1/Pod/default/waypoint, name: waypoint, namespace: default,"
		 " workloadIps: [" WAYPOINT_POD "], protocol: HBONE, %s services: {}}\n"
		 "- {uid: c//v1/Pod/default/client, name: client, namespace: default,"
		 " workloadIps: [" CLIENT_POD "], protocol: HBONE, services: {}}\n"
		 "- {uid: c//v1/Pod/default/server, name: server, namespace: default,"
		 " workloadIps: [" SERVER_POD "], protocol: HBONE, %s"
		 " services: {default/" SERVER_HOST ": {}}}\n",
		 a.tunnel ? "applicationTunnel: {protocol: PROXY, port: 15088}," : "", of_workload);
	snprintf(services, sizeof(services),
		 "- {name: waypoint, namespace: default, hostname: waypoint.default,"
		 " vips: [/" WAYPOINT_SVC "], ports: {80: 8080}, canonical: true,"
		 " endpoints: {c//v1/Pod/default/waypoint:"
		 " {workloadUid: c//v1/Pod/default/waypoint, port: {}, status: Healthy}}}\n"
		 "- {name: server, namespace: default, hostname: " SERVER_HOST ","
		 " vips: [/" SERVER_SVC "], ports: {80: 8080}, %s canonical: true,"
		 " endpoints: {c//v1/Pod/default/server:"
		 " {workloadUid: c//v1/Pod/default/server, port: {}, status: Healthy}}}\n",
		 of_service);
	fx_begin(f, "", NULL);
	fx_load(f, workloads, services, NULL);
}

static struct inbound_query query(struct fixture *f, const char *dst, const char *authority,
				  uint16_t port)
{
	struct inbound_query q = {.dst = {fx_ip(dst), 15008},
				  .src = fx_addr(CLIENT_POD ":1234"),
				  .identity = STR("spiffe://td/ns/default/sa/client"),
				  .illegal_ports = own_ports,
				  .illegal_ports_count = 3,
				  .localhost_app_tunnel = false};
	const struct ip ip = fx_ip(dst);

	q.local = world_workload_by_ip(f->w, STR(""), &ip);
	assert_non_null(q.local);
	if (ip_parse(str_of(authority), &q.authority.ip) != 0)
		q.authority_host = str_of(authority);
	q.authority.port = port;
	return q;
}

static const struct {
	const char *name;
	struct attachment a;
	const char *dst, *authority;
	uint16_t port;
	const char *want, *tunnelled; /* NULL: refused; NULL: no tunnel */
} cases[] = {
	{"to workload, no waypoint", {0}, SERVER_POD, SERVER_POD, 8080, SERVER_POD ":8080", NULL},
	{"service hostname", {0}, SERVER_POD, SERVER_HOST, 80, SERVER_POD ":8080", NULL},
	{"workload's waypoint by pod",
	 {.of_workload = WAYPOINT_POD},
	 WAYPOINT_POD,
	 SERVER_POD,
	 8080,
	 WAYPOINT_POD ":8080",
	 NULL},
	{"workload's waypoint by VIP",
	 {.of_workload = WAYPOINT_SVC},
	 WAYPOINT_POD,
	 SERVER_POD,
	 8080,
	 WAYPOINT_POD ":8080",
	 NULL},
	{"workload, app tunnel",
	 {.of_workload = WAYPOINT_SVC, .tunnel = true},
	 WAYPOINT_POD,
	 SERVER_POD,
	 8080,
	 WAYPOINT_POD ":15088",
	 SERVER_POD ":8080"},
	{"service's waypoint by pod",
	 {.of_service = WAYPOINT_POD},
	 WAYPOINT_POD,
	 SERVER_SVC,
	 8080,
	 WAYPOINT_POD ":8080",
	 NULL},
	{"service's waypoint by VIP",
	 {.of_service = WAYPOINT_SVC},
	 WAYPOINT_POD,
	 SERVER_SVC,
	 8080,
	 WAYPOINT_POD ":8080",
	 NULL},
	{"service, app tunnel",
	 {.of_service = WAYPOINT_SVC, .tunnel = true},
	 WAYPOINT_POD,
	 SERVER_SVC,
	 8080,
	 WAYPOINT_POD ":15088",
	 SERVER_SVC ":8080"},
	{"server, ip mismatch", {0}, SERVER_POD, CLIENT_POD, 8080, NULL, NULL},
	{"waypoint without attachment", {0}, WAYPOINT_POD, CLIENT_POD, 8080, NULL, NULL},
	{"workload via service's waypoint",
	 {.of_service = WAYPOINT_POD},
	 WAYPOINT_POD,
	 SERVER_POD,
	 8080,
	 NULL,
	 NULL},
	{"service via workload's waypoint",
	 {.of_workload = WAYPOINT_POD},
	 WAYPOINT_POD,
	 SERVER_SVC,
	 8080,
	 NULL,
	 NULL},
	{"an address that nobody has", {0}, SERVER_POD, "10.9.9.9", 8080, NULL, NULL},
};

static void test_build_inbound_request(void **state)
{
	char text[ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct inbound_plan p;
		struct fixture f;
		begin(&f, cases[i].a);
		struct inbound_query q = query(&f, cases[i].dst, cases[i].authority, cases[i].port);
		resolve_inbound(f.w, &q, &p);
		if ((p.error == 0) != (cases[i].want != NULL))
			print_error("case %s: %s\n", cases[i].name, err_text(p.error));
		assert_int_equal(p.error, cases[i].want ? 0 : ERR_DESTINATION_MISMATCH);
		assert_int_equal(p.status, cases[i].want ? 0 : 400);
		if (cases[i].want)
			assert_string_equal(addr_text(&p.target, text), cases[i].want);
		assert_int_equal(p.proxy_header, cases[i].tunnelled != NULL);
		if (cases[i].tunnelled)
			assert_string_equal(addr_text(&p.proxy_dst, text), cases[i].tunnelled);
		inbound_plan_fini(&p);
		fx_end(&f);
	}
}

static void policies_see_the_port_that_is_dialled(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct inbound_plan p;
	struct fixture f;

	(void)state;
	begin(&f, (struct attachment){.of_service = WAYPOINT_SVC, .tunnel = true});
	struct inbound_query q = query(&f, WAYPOINT_POD, SERVER_SVC, 80);
	q.localhost_app_tunnel = true;
	resolve_inbound(f.w, &q, &p);
	assert_int_equal(p.error, 0);
	assert_true(p.loopback);
	assert_string_equal(addr_text(&p.target, text), "127.0.0.1:15088");
	assert_string_equal(addr_text(&p.facts.dst, text), WAYPOINT_POD ":15088");
	assert_string_equal(addr_text(&p.facts.src, text), CLIENT_POD ":1234");
	assert_true(str_eq(p.facts.identity, q.identity));
	inbound_plan_fini(&p);
	fx_end(&f);
}

static void illegal_target_ports(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, (struct attachment){0});
	for (size_t i = 0; i < ARRAY_SIZE(own_ports); i++) {
		struct inbound_plan p;
		struct inbound_query q = query(&f, SERVER_POD, SERVER_POD, own_ports[i]);
		resolve_inbound(f.w, &q, &p);
		assert_int_equal(p.error, ERR_ILLEGAL_PORT);
		assert_int_equal(p.status, 503);
		inbound_plan_fini(&p);
		q.dst.port = own_ports[i];
		resolve_inbound_plain(f.w, &q, &p);
		assert_int_equal(p.error, ERR_ILLEGAL_PORT);
		inbound_plan_fini(&p);
	}
	fx_end(&f);
}

static void hostname_without_port_or_service(void **state)
{
	struct inbound_plan p;
	struct fixture f;

	(void)state;
	begin(&f, (struct attachment){0});
	struct inbound_query q = query(&f, SERVER_POD, SERVER_HOST, 81);
	resolve_inbound(f.w, &q, &p);
	assert_int_equal(p.status, 503);
	inbound_plan_fini(&p);
	q = query(&f, SERVER_POD, "nobody.example", 80);
	resolve_inbound(f.w, &q, &p);
	assert_int_equal(p.error, ERR_NOT_FOUND);
	assert_int_equal(p.status, 503);
	inbound_plan_fini(&p);
	fx_end(&f);
}

/* Two services on one pod; a named port on the second, through the workload's own map. */
static void begin_two_services(struct fixture *f)
{
	fx_begin(f, "net", NULL);
	fx_load(f,
		"- {uid: pod, name: pod, namespace: default, network: net, workloadIps: [10.0.0.2],"
		" applicationTunnel: {protocol: NONE},"
		" services: {default/a: {80: 8080}, default/b: {443: 8443}, other/gone: {1: 1}}}\n",
		"- {name: a, namespace: default, hostname: a, vips: [], ports: {80: 8080}}\n"
		"- {name: b, namespace: default, hostname: b, vips: [old/10.1.0.9, 'net/::9', net/10.1.0.1],"
		" ports: {443: 0}}\n",
		NULL);
}

static struct inbound_plan attribute(struct fixture *f, uint16_t port, struct str forwarded)
{
	const struct ip ip = fx_ip("10.0.0.2");
	struct inbound_query q = {.local = world_workload_by_ip(f->w, STR("net"), &ip),
				  .src = fx_addr("10.0.0.1:1"),
				  .dst = {ip, 15008},
				  .authority = {ip, port},
				  .forwarded_host = forwarded};
	struct inbound_plan p;

	resolve_inbound(f->w, &q, &p);
	assert_int_equal(p.error, 0);
	return p;
}

static void service_attribution(void **state)
{
	struct fixture f;

	(void)state;
	begin_two_services(&f);
	struct inbound_plan p = attribute(&f, 8080, STR(""));
	assert_string_equal(p.service->hostname->text, "a");
	inbound_plan_fini(&p);
	/* A named port: only the endpoint knows the number. */
	p = attribute(&f, 8443, STR(""));
	assert_string_equal(p.service->hostname->text, "b");
	inbound_plan_fini(&p);
	/* What the client says counts, if it is one of them. */
	p = attribute(&f, 8080, STR("b"));
	assert_string_equal(p.service->hostname->text, "b");
	inbound_plan_fini(&p);
	p = attribute(&f, 8080, STR("made-up"));
	assert_string_equal(p.service->hostname->text, "a");
	inbound_plan_fini(&p);
	p = attribute(&f, 9999, STR("made-up"));
	assert_null(p.service);
	inbound_plan_fini(&p);
	fx_end(&f);
}

static void hostname_to_named_port_and_vip(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct inbound_plan p;
	struct fixture f;

	(void)state;
	begin_two_services(&f);
	const struct ip ip = fx_ip("10.0.0.2");
	struct inbound_query q = {.local = world_workload_by_ip(f.w, STR("net"), &ip),
				  .src = fx_addr("10.0.0.1:1"),
				  .dst = {ip, 15008},
				  .authority = {.port = 443},
				  .authority_host = STR("b")};
	resolve_inbound(f.w, &q, &p);
	assert_int_equal(p.error, 0);
	assert_string_equal(addr_text(&p.target, text), "10.0.0.2:8443");
	assert_false(p.proxy_header);
	/* Own network first, IPv4 first within it; with the port that the client named. */
	assert_string_equal(addr_text(&p.proxy_dst, text), "10.1.0.1:443");
	inbound_plan_fini(&p);
	/* A tunnel, and no address that could stand for the name. */
	q.authority_host = STR("a");
	q.authority.port = 80;
	resolve_inbound(f.w, &q, &p);
	assert_int_equal(p.error, ERR_NO_DESTINATION);
	assert_int_equal(p.status, 503);
	inbound_plan_fini(&p);
	fx_end(&f);
}

static void plaintext_goes_where_it_was_sent(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct inbound_plan p;
	struct fixture f;

	(void)state;
	begin(&f, (struct attachment){0});
	struct inbound_query q = query(&f, SERVER_POD, SERVER_POD, 0);
	q.dst.port = 8080;
	q.identity = (struct str){"", 0};
	resolve_inbound_plain(f.w, &q, &p);
	assert_int_equal(p.error, 0);
	assert_string_equal(addr_text(&p.target, text), SERVER_POD ":8080");
	assert_string_equal(addr_text(&p.facts.dst, text), SERVER_POD ":8080");
	assert_int_equal(p.facts.identity.n, 0);
	assert_string_equal(p.service->hostname->text, SERVER_HOST);
	inbound_plan_fini(&p);
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_inbound_request),
		cmocka_unit_test(policies_see_the_port_that_is_dialled),
		cmocka_unit_test(illegal_target_ports),
		cmocka_unit_test(hostname_without_port_or_service),
		cmocka_unit_test(service_attribution),
		cmocka_unit_test(hostname_to_named_port_and_vip),
		cmocka_unit_test(plaintext_goes_where_it_was_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
