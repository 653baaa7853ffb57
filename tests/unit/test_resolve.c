/* SPDX-License-Identifier: Apache-2.0 */
/* Outbound plans (contract section 4). Cases named build_request_* are those of contract section 13. */
#include "shared/state/resolve.h"

#include <stdio.h>

#include "shared/base/err.h"
#include "state_fixture.h"

/* In every case: the source, and two waypoints, one of them dual stack. */
#define BASE                                                                                           \
	"- {uid: c//v1/Pod/ns/source, name: source, namespace: ns, serviceAccount: default,"           \
	"   trustDomain: cluster.local, workloadIps: [127.0.0.1, '::1'], node: local, services: {}}\n" \
	"- {uid: c//v1/Pod/ns/waypoint, name: waypoint, namespace: ns, serviceAccount: waypoint-sa,"   \
	"   trustDomain: cluster.local, workloadIps: [127.0.0.10], node: local, services: {}}\n"       \
	"- {uid: c//v1/Pod/ns/waypoint-dual, name: waypoint-dual, namespace: ns,"                      \
	"   serviceAccount: waypoint-sa, trustDomain: cluster.local,"                                  \
	"   workloadIps: [127.0.0.11, 'ff06::c5'], node: local, services: {}}\n"
#define EXAMPLE "- {name: example, namespace: '', hostname: example.com, vips: [/127.0.0.3], "
#define PORTS "ports: {80: 8080}"

static const uint16_t own_ports[] = {15001, 15006, 15008};

struct want {
	enum outbound_kind kind;
	const char *authority, *hop;
	int error;
};

static struct outbound_plan plan_for(struct fixture *f, const char *from, const char *to)
{
	struct outbound_query q = {.dst = fx_addr(to),
				   .illegal_ports = own_ports,
				   .illegal_ports_count = 3,
				   .rng = &f->rng};
	struct outbound_plan p;

	q.src = (struct addr){fx_ip(from), 40000};
	q.source = world_local_workload(f->w, STR("ns"), STR("source"), STR("default"));
	assert_non_null(q.source);
	resolve_outbound(f->w, &q, &p);
	return p;
}

static void expect(const struct outbound_plan *p, struct want want)
{
	char text[ADDR_TEXT_MAX];

	if (p->kind != want.kind || p->error != want.error)
		print_error("got kind %d, error %s\n", p->kind, err_text(p->error));
	assert_int_equal(p->kind, want.kind);
	assert_int_equal(p->error, want.error);
	if (want.kind == OUTBOUND_REFUSE)
		return;
	assert_string_equal(p->authority, want.authority);
	assert_string_equal(addr_text(&p->hop, text), want.hop);
	assert_int_equal(p->mtls,
			 want.kind == OUTBOUND_HBONE || want.kind == OUTBOUND_DOUBLE_HBONE);
}

/* One whole case; `local` is the node of the world. */
static void run(const char *from, const char *to, const char *workloads, const char *services,
		struct want want)
{
	char all[8192];
	struct fixture f;

	snprintf(all, sizeof(all), "%s%s", BASE, workloads ? workloads : "");
	fx_begin(&f, "", "local");
	fx_load(&f, all, services, NULL);
	struct outbound_plan p = plan_for(&f, from, to);
	expect(&p, want);
	outbound_plan_fini(&p);
	fx_end(&f);
}

static void build_request_unknown_dest(void **state)
{
	(void)state;
	run("127.0.0.1", "1.2.3.4:80",
	    "- {uid: c//v1/Pod/default/my-pod, namespace: d, workloadIps: [127.0.0.2], services: {}}\n",
	    NULL, (struct want){OUTBOUND_PASSTHROUGH, "", "1.2.3.4:80", 0});
}

#define REMOTE_POD(ips, gateway)                                                             \
	"- {uid: c//v1/Pod/default/remote-pod, namespace: default, workloadIps: [" ips "], " \
	"network: remote, " gateway "services: {/example.com: {80: 8080}}}\n"

static void build_request_wrong_network(void **state)
{
	(void)state;
	/* Service addressed, but no gateway leads to the remote network. */
	run("127.0.0.1", "127.0.0.3:80", REMOTE_POD("10.0.0.2", ""), EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_NO_DESTINATION});
	/* A remote workload's address means nothing here. */
	run("127.0.0.1", "10.0.0.2:80", REMOTE_POD("10.0.0.2", ""), EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_PASSTHROUGH, "", "10.0.0.2:80", 0});
}

#define GATEWAY_BY_IP "networkGateway: {destination: remote/10.22.1.1, hboneMtlsPort: 15009}, "
#define GATEWAY_BY_NAME "networkGateway: {destination: /ew-gtw, hboneMtlsPort: 15009}, "
#define GATEWAY_POD                                                                        \
	"- {uid: c//v1/Pod/default/ew-gtw, namespace: default, workloadIps: [10.22.1.1], " \
	"network: remote, services: {}}\n"

static void build_request_double_hbone(void **state)
{
	(void)state;
	/* Gateway by address; the remote pod itself has none. */
	run("127.0.0.1", "127.0.0.3:80", REMOTE_POD("", GATEWAY_BY_IP) GATEWAY_POD,
	    EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_DOUBLE_HBONE, "example.com:80", "10.22.1.1:15009", 0});
	/* By hostname: a service, whose endpoint maps the port. */
	run("127.0.0.1", "127.0.0.3:80",
	    REMOTE_POD(
		    "127.0.0.6",
		    GATEWAY_BY_NAME) "- {uid: c//v1/Pod/default/ew-gtw, namespace: default, workloadIps: [127.0.0.5], "
				     "network: remote, services: {/ew-gtw: {15009: 15008}}}\n",
	    EXAMPLE PORTS "}\n"
			  "- {name: gw, namespace: '', hostname: ew-gtw, vips: [/127.0.0.4], "
			  "ports: {15009: 15009}}\n",
	    (struct want){OUTBOUND_DOUBLE_HBONE, "example.com:80", "127.0.0.5:15008", 0});
	/* The service's waypoint is on the remote network. */
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: K//Pod/default/remote-waypoint, namespace: default, workloadIps: [], "
	    "network: remote, " GATEWAY_BY_IP
	    "services: {/waypoint.com: {15008: 15008}}}\n" GATEWAY_POD,
	    EXAMPLE PORTS ", waypoint: {destination: /waypoint.com, hboneMtlsPort: 15008}}\n"
			  "- {name: w, namespace: '', hostname: waypoint.com, vips: [/127.0.0.4], "
			  "ports: {15008: 15008}}\n",
	    (struct want){OUTBOUND_DOUBLE_HBONE, "example.com:80", "10.22.1.1:15009", 0});
	/* A gateway that is not there. */
	run("127.0.0.1", "127.0.0.3:80", REMOTE_POD("", GATEWAY_BY_IP), EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_UNKNOWN_GATEWAY});
	run("127.0.0.1", "127.0.0.3:80", REMOTE_POD("", GATEWAY_BY_NAME), EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_UNKNOWN_GATEWAY});
}

static void double_hbone_names_whom_to_trust(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f,
		BASE REMOTE_POD(
			"",
			GATEWAY_BY_NAME) "- {uid: c//v1/Pod/istio-system/gw, namespace: istio-system, serviceAccount: gw,"
					 " trustDomain: td, workloadIps: [10.22.1.1], network: remote,"
					 " services: {/ew-gtw: {15009: 15009}}}\n",
		EXAMPLE PORTS ", subjectAltNames: ['spiffe://cluster.local/ns/r/sa/one', bogus,"
			      " 'spiffe://cluster.local/ns/r/sa/two']}\n"
			      "- {name: gw, namespace: '', hostname: ew-gtw, vips: [],"
			      " ports: {15009: 15009},"
			      " subjectAltNames: ['spiffe://td/ns/x/sa/gw-svc']}\n",
		NULL);
	struct outbound_plan p = plan_for(&f, "127.0.0.1", "127.0.0.3:80");
	expect(&p, (struct want){OUTBOUND_DOUBLE_HBONE, "example.com:80", "10.22.1.1:15009", 0});
	/* Outer: the gateway's service and the gateway itself. Inner: the service's names only, bad ones left out. */
	assert_int_equal(plan_peer_count(&p.peer), 2);
	assert_string_equal(plan_peer_san(&p.peer, 0)->text, "spiffe://td/ns/x/sa/gw-svc");
	assert_string_equal(plan_peer_san(&p.peer, 1)->text, "spiffe://td/ns/istio-system/sa/gw");
	assert_int_equal(plan_peer_count(&p.inner_peer), 2);
	assert_string_equal(plan_peer_san(&p.inner_peer, 0)->text,
			    "spiffe://cluster.local/ns/r/sa/one");
	assert_string_equal(plan_peer_san(&p.inner_peer, 1)->text,
			    "spiffe://cluster.local/ns/r/sa/two");
	assert_string_equal(p.service->hostname->text, "example.com");
	outbound_plan_fini(&p);
	fx_end(&f);
}

static void build_request_failover_to_remote(void **state)
{
	static const char pods[] = GATEWAY_POD REMOTE_POD(
		"",
		GATEWAY_BY_IP) "- {uid: K//Pod/default/local-pod, namespace: default, workloadIps: [127.0.0.2],"
			       " protocol: HBONE, services: {/example.com: {80: 8080}}, status: ";
	static const char service[] = EXAMPLE PORTS
		", loadBalancer: {mode: Failover, routingPreferences: [Network]}}\n";
	char text[2048];

	(void)state;
	snprintf(text, sizeof(text), "%sHealthy}\n", pods);
	run("127.0.0.1", "127.0.0.3:80", text, service,
	    (struct want){OUTBOUND_HBONE, "127.0.0.2:8080", "127.0.0.2:15008", 0});
	snprintf(text, sizeof(text), "%sUnhealthy}\n", pods);
	run("127.0.0.1", "127.0.0.3:80", text, service,
	    (struct want){OUTBOUND_DOUBLE_HBONE, "example.com:80", "10.22.1.1:15009", 0});
}

#define KNOWN(protocol, node)                                                              \
	"- {uid: c//v1/Pod/ns/test, name: test, namespace: ns, workloadIps: [127.0.0.2], " \
	"protocol: " protocol ", node: " node ", services: {}}\n"

static void build_request_known_dest(void **state)
{
	const struct want tcp = {OUTBOUND_TCP, "", "127.0.0.2:80", 0};
	const struct want hbone = {OUTBOUND_HBONE, "127.0.0.2:80", "127.0.0.2:15008", 0};

	(void)state;
	run("127.0.0.1", "127.0.0.2:80", KNOWN("TCP", "remote-node"), NULL, tcp);
	run("127.0.0.1", "127.0.0.2:80", KNOWN("HBONE", "remote-node"), NULL, hbone);
	run("127.0.0.1", "127.0.0.2:80", KNOWN("TCP", "local"), NULL, tcp);
	/* No short cut on the same node. */
	run("127.0.0.1", "127.0.0.2:80", KNOWN("HBONE", "local"), NULL, hbone);
}

#define WAYPOINT(to) "waypoint: {destination: " to ", hboneMtlsPort: 15008}"
#define WITH_WAYPOINT(ips, to)                                                     \
	"- {uid: c//v1/Pod/default/my-pod, namespace: default, workloadIps: [" ips \
	"], " WAYPOINT(to) ", services: {}}\n"

static void build_request_source_waypoint(void **state)
{
	(void)state;
	/* The source's own waypoint is not used. */
	run("127.0.0.2", "127.0.0.1:80", WITH_WAYPOINT("127.0.0.2", "/127.0.0.10"), NULL,
	    (struct want){OUTBOUND_TCP, "", "127.0.0.1:80", 0});
}

static void build_request_destination_waypoint(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.2:80", WITH_WAYPOINT("127.0.0.2", "/127.0.0.10"), NULL,
	    (struct want){OUTBOUND_HBONE, "127.0.0.2:80", "127.0.0.10:15008", 0});
	/* Nobody at that address. */
	run("127.0.0.1", "127.0.0.2:80", WITH_WAYPOINT("127.0.0.2", "/127.0.0.99"), NULL,
	    (struct want){OUTBOUND_REFUSE, .error = ERR_UNKNOWN_WAYPOINT});
}

static void build_request_destination_waypoint_mismatch_ip(void **state)
{
	(void)state;
	run("127.0.0.1", "[ff06::c3]:80", WITH_WAYPOINT("127.0.0.2, 'ff06::c3'", "/127.0.0.11"),
	    NULL, (struct want){OUTBOUND_HBONE, "[ff06::c3]:80", "127.0.0.11:15008", 0});
	/* By hostname it adapts to the family. */
	run("127.0.0.1", "[ff06::c3]:80",
	    WITH_WAYPOINT(
		    "127.0.0.2, 'ff06::c3'",
		    "ns/wp") "- {uid: wp, namespace: ns, workloadIps: [127.0.0.12, 'ff06::c9'],"
			     " services: {ns/wp: {15008: 15008}}}\n",
	    "- {name: wp, namespace: ns, hostname: wp, vips: [], ports: {15008: 15008}}\n",
	    (struct want){OUTBOUND_HBONE, "[ff06::c3]:80", "[ff06::c9]:15008", 0});
}

static void build_request_destination_svc_waypoint(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.3:80", NULL, EXAMPLE PORTS ", " WAYPOINT("/127.0.0.10") "}\n",
	    (struct want){OUTBOUND_HBONE, "127.0.0.3:80", "127.0.0.10:15008", 0});
	/* Bound to a waypoint that is not there: closed, not around it. */
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: p, namespace: d, workloadIps: [127.0.0.2], services: {/example.com: {}}}\n",
	    EXAMPLE PORTS ", " WAYPOINT("/127.0.0.99") "}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_UNKNOWN_WAYPOINT});
}

static void build_request_empty_service(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.3:80", NULL, EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_NO_HEALTHY_UPSTREAM});
}

static void build_request_target_port(void **state)
{
	(void)state;
	/* Named ports: only the pod that maps 80 will do. */
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: matching, namespace: d, workloadIps: [127.0.0.2],"
	    " services: {/example.com: {80: 1234}}}\n"
	    "- {uid: other, namespace: d, workloadIps: [127.0.0.4],"
	    " services: {/example.com: {8080: 9999}}}\n",
	    EXAMPLE "ports: {80: 0, 8080: 0}}\n",
	    (struct want){OUTBOUND_TCP, "", "127.0.0.2:1234", 0});
	/* A port that the service does not have. */
	run("127.0.0.1", "127.0.0.3:81",
	    "- {uid: p, namespace: d, workloadIps: [127.0.0.2], services: {/example.com: {81: 1}}}\n",
	    EXAMPLE PORTS "}\n", (struct want){OUTBOUND_REFUSE, .error = ERR_NO_HEALTHY_UPSTREAM});
}

static void build_request_host_network(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f,
		BASE "- {uid: pod1, name: pod1, namespace: d, workloadIps: [127.0.0.2],"
		     " networkMode: HostNetwork, services: {/example.com: {80: 80}}}\n"
		     "- {uid: pod2, name: pod2, namespace: d, workloadIps: [127.0.0.2],"
		     " networkMode: HostNetwork, services: {}}\n",
		EXAMPLE "ports: {80: 80}}\n", NULL);
	struct outbound_plan p = plan_for(&f, "127.0.0.1", "127.0.0.3:80");
	expect(&p, (struct want){OUTBOUND_TCP, "", "127.0.0.2:80", 0});
	assert_string_equal(p.destination->name->text, "pod1");
	outbound_plan_fini(&p);
	/* By address nobody knows which of them is meant. */
	p = plan_for(&f, "127.0.0.1", "127.0.0.2:80");
	expect(&p, (struct want){OUTBOUND_PASSTHROUGH, "", "127.0.0.2:80", 0});
	assert_null(p.destination);
	outbound_plan_fini(&p);
	fx_end(&f);
}

static void multiple_address_workload(void **state)
{
	static const char dual[] =
		"- {uid: c//v1/Pod/ns/dual, namespace: ns, workloadIps: [127.0.0.2, 'ff06::c3'],"
		" services: {}}\n";

	(void)state;
	run("127.0.0.1", "127.0.0.2:80", dual, NULL,
	    (struct want){OUTBOUND_TCP, "", "127.0.0.2:80", 0});
	run("127.0.0.1", "[ff06::c3]:80", dual, NULL,
	    (struct want){OUTBOUND_TCP, "", "[ff06::c3]:80", 0});
}

static void service_ip_families(void **state)
{
	static const char dual[] =
		"- {uid: c//v1/Pod/d/dual, namespace: d, workloadIps: [127.0.0.2, 'ff06::c3'],"
		" protocol: HBONE, services: {/example.com: {}}}\n";
#define FAMILY(f)                                                                       \
	"- {name: e, namespace: '', hostname: example.com, vips: [/127.0.0.3, '/::3']," \
	" ports: {80: 80}, ipFamilies: " f "}\n"
	const struct want v4 = {OUTBOUND_HBONE, "127.0.0.2:80", "127.0.0.2:15008", 0};
	const struct want v6 = {OUTBOUND_HBONE, "[ff06::c3]:80", "[ff06::c3]:15008", 0};

	(void)state;
	run("127.0.0.1", "127.0.0.3:80", dual, FAMILY("IPv6"), v6);
	run("127.0.0.1", "127.0.0.3:80", dual, FAMILY("IPv4"), v4);
	run("127.0.0.1", "127.0.0.3:80", dual, FAMILY("Dual"), v4);
	run("::1", "[::3]:80", dual, FAMILY("Dual"), v6);
}

#define PASSTHROUGH                                                                     \
	"- {name: e, namespace: '', hostname: example.com, vips: [/1.2.3.4, /1.5.6.7]," \
	" ports: {80: 80}, loadBalancer: {mode: Passthrough}"

static void build_request_passthrough_svc(void **state)
{
	(void)state;
	run("127.0.0.1", "1.2.3.4:80", NULL, PASSTHROUGH "}\n",
	    (struct want){OUTBOUND_PASSTHROUGH, "", "1.2.3.4:80", 0});
}

static void build_request_passthrough_svc_with_waypoint(void **state)
{
	(void)state;
	run("127.0.0.1", "1.2.3.4:80", NULL, PASSTHROUGH ", " WAYPOINT("/127.0.0.10") "}\n",
	    (struct want){OUTBOUND_HBONE, "1.2.3.4:80", "127.0.0.10:15008", 0});
}

/* ---- beyond the named cases ---- */

static void calls_to_our_own_ports(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.1:15001", NULL, NULL,
	    (struct want){OUTBOUND_REFUSE, .error = ERR_SELF_CALL});
	run("127.0.0.1", "[::1]:15008", NULL, NULL,
	    (struct want){OUTBOUND_REFUSE, .error = ERR_SELF_CALL});
	/* Elsewhere the port is nobody's business here. */
	run("127.0.0.1", "1.2.3.4:15008", NULL, NULL,
	    (struct want){OUTBOUND_PASSTHROUGH, "", "1.2.3.4:15008", 0});
}

static void from_waypoint_no_second_traversal(void **state)
{
	struct outbound_query q = {.illegal_ports_count = 0};
	struct outbound_plan p;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f,
		BASE WITH_WAYPOINT(
			"127.0.0.2",
			"ns/wp") "- {uid: wp-pod, name: wp, namespace: ns, serviceAccount: wp, trustDomain: td,"
				 " workloadIps: [127.0.0.20], services: {ns/wp: {15008: 15008}}}\n",
		"- {name: wp, namespace: ns, hostname: wp, vips: [], ports: {15008: 15008}}\n",
		NULL);
	q.source = fx_workload(&f, "wp-pod");
	q.dst = fx_addr("127.0.0.2:80");
	q.src = fx_addr("127.0.0.20:1000");
	q.rng = &f.rng;
	resolve_outbound(f.w, &q, &p);
	expect(&p, (struct want){OUTBOUND_TCP, "", "127.0.0.2:80", 0});
	outbound_plan_fini(&p);
	/* The identity alone is not enough: the address must be the waypoint's as well. */
	q.src = fx_addr("127.0.0.21:1000");
	resolve_outbound(f.w, &q, &p);
	expect(&p, (struct want){OUTBOUND_HBONE, "127.0.0.2:80", "127.0.0.20:15008", 0});
	assert_true(p.via_waypoint);
	outbound_plan_fini(&p);
	fx_end(&f);
}

static void service_traffic_skips_workload_waypoint(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: p, namespace: d, workloadIps: [127.0.0.2], protocol: HBONE, " WAYPOINT(
		    "/127.0.0.10") ", services: {/example.com: {}}}\n",
	    EXAMPLE PORTS "}\n",
	    (struct want){OUTBOUND_HBONE, "127.0.0.2:8080", "127.0.0.2:15008", 0});
}

static void waypoint_by_app_tunnel_needs_no_port(void **state)
{
	(void)state;
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: wp, namespace: ns, workloadIps: [127.0.0.12], applicationTunnel: {protocol: PROXY,"
	    " port: 15088}, services: {ns/wp: {}}}\n",
	    EXAMPLE PORTS ", " WAYPOINT(
		    "ns/wp") "}\n"
			     "- {name: wp, namespace: ns, hostname: wp, vips: [], ports: {}}\n",
	    (struct want){OUTBOUND_HBONE, "127.0.0.3:80", "127.0.0.12:15008", 0});
	/* Without one the port must be declared. */
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: wp, namespace: ns, workloadIps: [127.0.0.12], services: {ns/wp: {}}}\n",
	    EXAMPLE PORTS ", " WAYPOINT(
		    "ns/wp") "}\n"
			     "- {name: wp, namespace: ns, hostname: wp, vips: [], ports: {}}\n",
	    (struct want){OUTBOUND_REFUSE, .error = ERR_UNKNOWN_WAYPOINT});
}

static void test_sample_weighted_waypoint(void **state)
{
	static const char weighted[] = EXAMPLE PORTS ", " WAYPOINT(
		"/127.0.0.99") ", weightedWaypoints: ["
			       "{destination: {destination: /127.0.0.10, hboneMtlsPort: 15008}, weight: 25},"
			       "{destination: {destination: /127.0.0.11, hboneMtlsPort: 15008}, weight: 75}]}\n";
	int first = 0, rounds = 2000;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f, BASE, weighted, NULL);
	for (int i = 0; i < rounds; i++) {
		struct outbound_plan p = plan_for(&f, "127.0.0.1", "127.0.0.3:80");
		assert_int_equal(p.kind, OUTBOUND_HBONE);
		first += p.hop.ip.b[3] == 10;
		outbound_plan_fini(&p);
	}
	assert_in_range(first, rounds / 5, rounds * 3 / 10);
	fx_end(&f);
	/* A set without weight falls through to the single waypoint. */
	run("127.0.0.1", "127.0.0.3:80", NULL,
	    EXAMPLE PORTS ", " WAYPOINT(
		    "/127.0.0.10") ", weightedWaypoints: [{destination: {destination: /127.0.0.11, hboneMtlsPort: 15008},"
				   " weight: 0}]}\n",
	    (struct want){OUTBOUND_HBONE, "127.0.0.3:80", "127.0.0.10:15008", 0});
}

static void hostname_destination_waits_for_its_address(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f,
		BASE
		"- {uid: vm, namespace: d, workloadIps: [], hostname: vm.example, protocol: HBONE,"
		" services: {/example.com: {}}}\n",
		EXAMPLE PORTS "}\n", NULL);
	struct outbound_plan p = plan_for(&f, "127.0.0.1", "127.0.0.3:80");
	assert_int_equal(p.kind, OUTBOUND_HBONE);
	assert_string_equal(p.hop_hostname->text, "vm.example");
	assert_int_equal(p.hop.ip.len, 0);
	const struct ip ip = fx_ip("192.0.2.7");
	outbound_plan_resolved(&p, &ip);
	assert_null(p.hop_hostname);
	assert_string_equal(p.authority, "192.0.2.7:8080");
	assert_string_equal(addr_text(&p.hop, text), "192.0.2.7:15008");
	outbound_plan_fini(&p);
	fx_end(&f);
}

static void peers_of_a_direct_tunnel(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", "local");
	fx_load(&f,
		BASE
		"- {uid: p, namespace: d, serviceAccount: sa, trustDomain: td, protocol: HBONE,"
		" workloadIps: [127.0.0.2], services: {/example.com: {}}}\n",
		EXAMPLE PORTS ", subjectAltNames: ['spiffe://a/ns/b/sa/c']}\n", NULL);
	struct outbound_plan p = plan_for(&f, "127.0.0.1", "127.0.0.3:80");
	assert_int_equal(plan_peer_count(&p.peer), 2);
	assert_string_equal(plan_peer_san(&p.peer, 0)->text, "spiffe://a/ns/b/sa/c");
	assert_string_equal(plan_peer_san(&p.peer, 1)->text, "spiffe://td/ns/d/sa/sa");
	assert_string_equal(p.service->hostname->text, "example.com");
	assert_string_equal(p.destination->uid->text, "p");
	/* The plan outlives what it was made from. */
	fx_load(&f, BASE, NULL, NULL);
	world_reclaim(f.w);
	assert_string_equal(p.destination->uid->text, "p");
	assert_string_equal(plan_peer_san(&p.peer, 1)->text, "spiffe://td/ns/d/sa/sa");
	outbound_plan_fini(&p);
	outbound_plan_fini(&p); /* harmless */
	fx_end(&f);
}

static void workload_wins_over_service_when_asked_what_it_is(void **state)
{
	(void)state;
	/* The address is a workload's and a service's: no service waypoint, but the service chooses the endpoint. */
	run("127.0.0.1", "127.0.0.3:80",
	    "- {uid: both, namespace: d, workloadIps: [127.0.0.3], services: {}}\n"
	    "- {uid: p, namespace: d, workloadIps: [127.0.0.2], services: {/example.com: {}}}\n",
	    EXAMPLE PORTS ", " WAYPOINT("/127.0.0.10") "}\n",
	    (struct want){OUTBOUND_TCP, "", "127.0.0.2:8080", 0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(build_request_unknown_dest),
		cmocka_unit_test(build_request_wrong_network),
		cmocka_unit_test(build_request_double_hbone),
		cmocka_unit_test(double_hbone_names_whom_to_trust),
		cmocka_unit_test(build_request_failover_to_remote),
		cmocka_unit_test(build_request_known_dest),
		cmocka_unit_test(build_request_source_waypoint),
		cmocka_unit_test(build_request_destination_waypoint),
		cmocka_unit_test(build_request_destination_waypoint_mismatch_ip),
		cmocka_unit_test(build_request_destination_svc_waypoint),
		cmocka_unit_test(build_request_empty_service),
		cmocka_unit_test(build_request_target_port),
		cmocka_unit_test(build_request_host_network),
		cmocka_unit_test(multiple_address_workload),
		cmocka_unit_test(service_ip_families),
		cmocka_unit_test(build_request_passthrough_svc),
		cmocka_unit_test(build_request_passthrough_svc_with_waypoint),
		cmocka_unit_test(calls_to_our_own_ports),
		cmocka_unit_test(from_waypoint_no_second_traversal),
		cmocka_unit_test(service_traffic_skips_workload_waypoint),
		cmocka_unit_test(waypoint_by_app_tunnel_needs_no_port),
		cmocka_unit_test(test_sample_weighted_waypoint),
		cmocka_unit_test(hostname_destination_waits_for_its_address),
		cmocka_unit_test(peers_of_a_direct_tunnel),
		cmocka_unit_test(workload_wins_over_service_when_asked_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
