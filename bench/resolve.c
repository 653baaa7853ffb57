/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What decisions and changes cost with small and large meshes: nanoseconds of a plan and of a check, microseconds of one
 * endpoint's change, bytes of memory per workload. Usage: bench_resolve [workloads ...]; 1000 and 50000 by default.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shared/base/rng.h"
#include "shared/state/authz.h"
#include "shared/state/resolve.h"

enum {
	PER_SERVICE = 25,
	PER_NAMESPACE = 500,
	POLICIES_PER_10 = 1,
	ROUNDS = 200000,
	CHANGES = 2000
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static struct str text(char *to, size_t room, const char *fmt, uint32_t a, uint32_t b)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	int n = snprintf(to, room, fmt, a, b);
#pragma GCC diagnostic pop
	return (struct str){to, (size_t)n};
}

static struct ip pod_ip(uint32_t i)
{
	return (struct ip){4, {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
}

static struct ip vip(uint32_t service)
{
	return (struct ip){
		4,
		{172, (uint8_t)(16 + (service >> 16)), (uint8_t)(service >> 8), (uint8_t)service}};
}

/* A pod as istiod describes it; `port` is what its service's port 80 leads to. */
static void put_workload(struct batch *b, uint32_t i, uint16_t port)
{
	char uid[96], name[64], ns[32], sa[32], app[32], key[96], node[32];
	uint32_t s = i / PER_SERVICE, n = i / PER_NAMESPACE;
	const struct ip ip = pod_ip(i);
	const struct port_pair ports[] = {{80, port}, {443, 8443}};
	const struct workload_service_spec in = {
		text(key, sizeof(key), "ns-%u/app-%u.svc.cluster.local", n, s), ports, 2};
	const struct workload_spec spec = {
		.uid = text(uid, sizeof(uid), "Kubernetes//Pod/ns/app-%u-7c5ddbdf54-%05u", s, i),
		.name = text(name, sizeof(name), "app-%u-7c5ddbdf54-%05u", s, i),
		.ns = text(ns, sizeof(ns), "ns-%u", n, 0),
		.service_account = text(sa, sizeof(sa), "sa-%u", s, 0),
		.trust_domain = STR("cluster.local"),
		.network = STR("network1"),
		.node = text(node, sizeof(node), "node-%u", i % 500, 0),
		.workload_name = text(app, sizeof(app), "app-%u", s, 0),
		.canonical_name = text(app, sizeof(app), "app-%u", s, 0),
		.canonical_revision = STR("v1"),
		.cluster_id = STR("Kubernetes"),
		.region = STR("region-1"),
		.zone = STR("zone-a"),
		.protocol = WORKLOAD_HBONE,
		.capacity = 1,
		.ips = &ip,
		.ips_count = 1,
		.services = &in,
		.services_count = 1};

	CHECK(batch_workload(b, &spec) == 0);
}

static void put_service(struct batch *b, uint32_t s)
{
	char name[32], ns[32], host[64];
	const struct network_ip at = {STR("network1"), vip(s)};
	const struct port_pair ports[] = {{80, 8080}, {443, 8443}};
	const struct service_spec spec = {
		.name = text(name, sizeof(name), "app-%u", s, 0),
		.ns = text(ns, sizeof(ns), "ns-%u", s * PER_SERVICE / PER_NAMESPACE, 0),
		.hostname = text(host, sizeof(host), "app-%u.svc.cluster.local", s, 0),
		.vips = &at,
		.vips_count = 1,
		.ports = ports,
		.ports_count = 2};

	CHECK(batch_service(b, &spec) == 0);
}

/* Ten percent as many policies as workloads: ALLOW with two principals and a port, by namespace. */
static void put_policy(struct batch *b, uint32_t i, uint32_t namespaces)
{
	char key[64], name[32], ns[32];
	const struct string_match who[] = {{STRING_EXACT, STR("cluster.local/ns/ns-0/sa/sa-0")},
					   {STRING_PREFIX, STR("cluster.local/ns/other/")}};
	const uint16_t ports[] = {8080};
	const struct policy_match m[] = {
		{.principals = {who}, .principals_count = {2}},
		{.destination_ports = {ports}, .destination_ports_count = {1}},
	};
	const struct policy_clause clauses[] = {{&m[0], 1}, {&m[1], 1}};
	const struct policy_rule rule = {clauses, 2};
	const struct policy_spec spec = {
		.key = text(key, sizeof(key), "ns-%u/p-%u", i % namespaces, i),
		.name = text(name, sizeof(name), "p-%u", i, 0),
		.ns = text(ns, sizeof(ns), "ns-%u", i % namespaces, 0),
		.scope = POLICY_NAMESPACE,
		.rules = &rule,
		.rules_count = 1};

	CHECK(batch_policy(b, &spec) == 0);
}

static void apply(struct world *w, struct batch *b)
{
	CHECK(batch_apply(b, NULL) == 0);
	world_reclaim(w);
}

static size_t heap(void)
{
	malloc_trim(0);
	return mallinfo2().uordblks;
}

struct figures {
	double load_ms, plan_ns, check_ns, change_us;
	double bytes_per_workload, bytes_per_policy;
};

static void measure_decisions(struct world *w, uint32_t count, struct figures *f)
{
	const struct ip own = pod_ip(0);
	struct outbound_query q = {.source = world_workload_by_ip(w, STR("network1"), &own),
				   .src = {own, 1}};
	struct authz_result result;
	struct rng rng;

	rng_init(&rng, 1);
	q.rng = &rng;
	uint64_t start = now_ns();
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct outbound_plan plan;
		q.dst = (struct addr){vip((uint32_t)rng_below(&rng, count / PER_SERVICE)), 80};
		resolve_outbound(w, &q, &plan);
		CHECK(plan.kind == OUTBOUND_HBONE);
		outbound_plan_fini(&plan);
	}
	f->plan_ns = (double)(now_ns() - start) / ROUNDS;
	struct authz_facts facts = {.src = {own, 1},
				    .identity = STR("spiffe://cluster.local/ns/ns-0/sa/sa-0")};
	start = now_ns();
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const struct ip ip = pod_ip((uint32_t)rng_below(&rng, count));
		facts.dst = (struct addr){ip, 8080};
		CHECK(authz_check(w, world_workload_by_ip(w, STR("network1"), &ip), &facts,
				  &result));
	}
	f->check_ns = (double)(now_ns() - start) / ROUNDS;
}

static void measure(uint32_t count, struct figures *f)
{
	const struct world_config config = {STR("network1"), STR("node-1")};
	uint32_t namespaces = (count + PER_NAMESPACE - 1) / PER_NAMESPACE;
	struct epoch *epoch = epoch_new(1);
	struct world *w = world_new(&config, epoch);
	size_t before = heap();
	uint64_t start = now_ns();
	struct batch *b = batch_new(w, WORLD_XDS);

	for (uint32_t i = 0; i < count; i++)
		put_workload(b, i, 8080);
	for (uint32_t s = 0; s < count / PER_SERVICE; s++)
		put_service(b, s);
	apply(w, b);
	f->load_ms = (double)(now_ns() - start) / (double)NS_PER_MS;
	size_t loaded = heap();
	f->bytes_per_workload = (double)(loaded - before) / count;
	b = batch_new(w, WORLD_XDS);
	for (uint32_t i = 0; i < count / 10; i++)
		put_policy(b, i, namespaces);
	apply(w, b);
	f->bytes_per_policy = (double)(heap() - loaded) / (count / 10.0);
	measure_decisions(w, count, f);
	start = now_ns();
	for (uint32_t i = 0; i < CHANGES; i++) {
		b = batch_new(w, WORLD_XDS);
		put_workload(b, (i * 7919) % count, (uint16_t)(9000 + i % 100));
		apply(w, b);
	}
	f->change_us = (double)(now_ns() - start) / CHANGES / (double)NS_PER_US;
	world_free(w);
	epoch_free(epoch);
}

int main(int argc, char **argv)
{
	static const char *const defaults[] = {"", "1000", "50000"};
	const char *const *list = argc > 1 ? (const char *const *)argv : defaults;
	int n = argc > 1 ? argc : (int)ARRAY_SIZE(defaults);

	printf("%10s %9s %9s %9s %11s %12s %12s\n", "workloads", "load ms", "plan ns", "check ns",
	       "change us", "B/workload", "B/policy");
	for (int i = 1; i < n; i++) {
		struct figures f;
		uint32_t count = (uint32_t)strtoul(list[i], NULL, 10);
		if (count < 100) {
			fprintf(stderr, "at least 100 workloads\n");
			return 1;
		}
		measure(count, &f);
		printf("%10u %9.1f %9.0f %9.0f %11.2f %12.0f %12.0f\n", count, f.load_ms, f.plan_ns,
		       f.check_ns, f.change_us, f.bytes_per_workload, f.bytes_per_policy);
	}
	return 0;
}
