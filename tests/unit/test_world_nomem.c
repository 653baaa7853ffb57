/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation of a batch, of decoding and of dumping fails once, in turn: the batch says so, nothing is left half done, and the same batch sent again
 * leads to the same world as if nothing had happened.
 */
#include "failalloc.h"
#include "shared/base/err.h"
#include "shared/control/dump_state.h"
#include "shared/control/static_file.h"
#include "shared/state/resolve.h"
#include "state_fixture.h"

/* What the world is like before the batch that is to fail. */
static void before(struct fixture *f)
{
	fx_load(f,
		"- {uid: stays, namespace: n, workloadIps: [10.0.0.1], services: {n/a: {}, n/late: {}}}\n"
		"- {uid: moves, name: m, namespace: n, workloadIps: [10.0.0.2], hostname: h, services: {n/a: {}}}\n"
		"- {uid: shares, namespace: n, workloadIps: [10.0.0.2], services: {n/b: {}}}\n"
		"- {uid: goes, namespace: n, workloadIps: [10.0.0.3], services: {n/a: {}, n/b: {}}}\n",
		"- {name: a, namespace: n, hostname: a, vips: [/10.1.0.1], ports: {80: 80}}\n"
		"- {name: b, namespace: n, hostname: b, vips: [/10.1.0.1, /10.1.0.2], ports: {80: 80}}\n",
		"- {name: p, namespace: n, scope: Namespace, action: Deny, dryRun: false, rules: [[]]}\n"
		"- {name: q, namespace: n, scope: Global, action: Deny, dryRun: false, rules: []}\n");
}

static const struct port_pair ports[] = {{80, 80}};
static const struct network_ip vips[] = {
	{{"", 0}, {.len = 4, .b = {10, 1, 0, 2}}},
	{{"", 0}, {.len = 4, .b = {10, 1, 0, 3}}},
};
static const struct network_cidr cidr = {{"", 0}, {{.len = 4, .b = {10, 9}}, 16}};

static int fill_services(struct batch *b)
{
	const struct endpoint_spec own = {STR("stays"), ports, 1, false};
	const struct gateway_spec waypoint = {.kind = GATEWAY_HOSTNAME, .hostname = STR("wp")};
	const struct service_spec changed = {.name = STR("b"),
					     .ns = STR("n"),
					     .hostname = STR("b"),
					     .vips = vips,
					     .vips_count = 2,
					     .ports = ports,
					     .ports_count = 1,
					     .cidr_vips = &cidr,
					     .cidr_vips_count = 1,
					     .endpoints = &own,
					     .endpoints_count = 1,
					     .waypoint = &waypoint};
	const struct service_spec late = {.name = STR("late"),
					  .ns = STR("n"),
					  .hostname = STR("late"),
					  .ports = ports,
					  .ports_count = 1};
	int err = batch_service(b, &changed);

	return err ? err : batch_service(b, &late);
}

static int fill_workloads(struct batch *b)
{
	const struct ip ips[] = {{4, {10, 0, 0, 9}}, {4, {10, 0, 0, 1}}};
	const struct workload_service_spec in[] = {{STR("n/b"), ports, 1},
						   {STR("n/new"), ports, 1}};
	const struct str keys[] = {STR("n/p")};
	const struct workload_spec moves = {.uid = STR("moves"),
					    .name = STR("m2"),
					    .ns = STR("n"),
					    .hostname = STR("h2"),
					    .ips = ips,
					    .ips_count = 2,
					    .services = in,
					    .services_count = 2,
					    .capacity = 1,
					    .policies = keys,
					    .policies_count = 1};
	const struct workload_spec fresh = {.uid = STR("fresh"),
					    .ns = STR("n"),
					    .ips = ips,
					    .ips_count = 1,
					    .services = in,
					    .services_count = 1,
					    .capacity = 1};
	int err = batch_workload(b, &moves);

	return err ? err : batch_workload(b, &fresh);
}

static int fill_rest(struct batch *b)
{
	const struct policy_spec policy = {
		.key = STR("n/p"), .name = STR("p"), .ns = STR("n"), .scope = POLICY_GLOBAL};
	int err = batch_policy(b, &policy);

	if (!err)
		err = batch_remove_address(b, STR("goes"));
	if (!err)
		err = batch_remove_address(b, STR("n/a"));
	return err ? err : batch_remove_policy(b, STR("n/q"));
}

static int send_batch(struct fixture *f)
{
	struct batch *b = batch_new(f->w, WORLD_STATIC);
	int err = b ? 0 : ERR_NOMEM;

	if (!err && ((err = fill_services(b)) != 0 || (err = fill_workloads(b)) != 0 ||
		     (err = fill_rest(b)) != 0)) {
		batch_free(b);
		return err;
	}
	return err ? err : batch_apply(b, NULL);
}

/* What must be true after the batch, however often it was sent. */
static void check_after(struct fixture *f)
{
	const struct ip nine = {4, {10, 0, 0, 9}}, two = {4, {10, 0, 0, 2}},
			far = {4, {10, 9, 1, 1}};
	struct world_stats stats;

	world_stats(f->w, &stats);
	assert_int_equal(stats.workloads, 4);
	assert_int_equal(stats.services, 2);
	assert_int_equal(stats.policies, 1);
	assert_int_equal(stats.staged_services, 2); /* n/a and n/new */
	assert_int_equal(fx_endpoints(fx_service(f, "n", "b")), 4);
	assert_int_equal(fx_endpoints(fx_service(f, "n", "late")), 1);
	assert_null(fx_service(f, "n", "a"));
	assert_string_equal(world_workload_by_ip(f->w, STR(""), &two)->uid->text, "shares");
	assert_non_null(world_workload_by_ip(f->w, STR(""), &nine));
	assert_non_null(world_local_workload(f->w, STR("n"), STR("m2"), STR("")));
	assert_null(world_local_workload(f->w, STR("n"), STR("m"), STR("")));
	assert_ptr_equal(world_service_by_ip(f->w, STR(""), &far, STR("n")),
			 fx_service(f, "n", "b"));
	assert_ptr_equal(world_service_by_ip(f->w, STR(""), &vips[1].ip, STR("n")),
			 fx_service(f, "n", "b"));
}

static void every_allocation_fails_once(void **state)
{
	bool failed = true;
	uint32_t n;

	(void)state;
	for (n = 0; failed; n++) {
		struct fixture f;
		fx_begin(&f, "", NULL);
		before(&f);
		failalloc_begin(n);
		int err = send_batch(&f);
		failed = failalloc_end();
		if (err) {
			assert_int_equal(err, ERR_NOMEM);
			assert_int_equal(send_batch(&f), 0);
		}
		check_after(&f);
		world_reclaim(f.w);
		fx_end(&f);
		assert_int_equal(rstr_count(), 0);
	}
	assert_true(n > 30);
}

static void decoding_fails_whole(void **state)
{
	static const char good[] =
		"workloads:\n"
		"- &w {uid: a, namespace: n, workloadIps: [10.0.0.1], services: {n/s: {80: 80}}}\n"
		"services:\n"
		"- {name: s, namespace: n, hostname: s, vips: [/10.1.0.1], ports: {80: 80}}\n"
		"policies:\n"
		"- {name: p, namespace: n, scope: Global, action: Allow, dryRun: false, rules: [[[]]]}\n";
	bool failed = true;

	(void)state;
	for (uint32_t n = 0; failed; n++) {
		struct static_report report;
		struct fixture f;
		fx_begin(&f, "", NULL);
		failalloc_begin(n);
		int err = static_load_text(f.w, str_of(good), "t", NULL, &report);
		failed = failalloc_end();
		if (err)
			assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(report.errors, 0);
		if (err)
			assert_int_equal(static_load_text(f.w, str_of(good), "t", NULL, &report),
					 0);
		assert_int_equal(fx_endpoints(fx_service(&f, "n", "s")), 1);
		fx_end(&f);
	}
}

static void wrong_text_without_memory(void **state)
{
	static const char bad[] = "workloads: [{uid: 1}, 7]\nfoo: {}\n";
	bool failed = true;

	(void)state;
	for (uint32_t n = 0; failed; n++) {
		struct static_report report;
		struct fixture f;
		fx_begin(&f, "", NULL);
		failalloc_begin(n);
		int err = static_load_text(f.w, str_of(bad), "t", NULL, &report);
		failed = failalloc_end();
		assert_true(err == ERR_NOMEM || (err == ERR_SYNTAX && report.errors > 0));
		static_report_fini(&report);
		fx_end(&f);
	}
}

static void a_dump_fails_whole(void **state)
{
	cJSON *(*const dumps[])(const struct world *) = {dump_workloads, dump_services,
							 dump_policies, dump_staged_services};
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	before(&f);
	for (size_t i = 0; i < ARRAY_SIZE(dumps); i++) {
		bool failed = true;
		for (uint32_t n = 0; failed; n++) {
			failalloc_begin(n);
			cJSON *got = dumps[i](f.w);
			failed = failalloc_end();
			assert_int_equal(got == NULL, failed);
			cJSON_Delete(got);
		}
	}
	fx_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_fails_once),
		cmocka_unit_test(decoding_fails_whole),
		cmocka_unit_test(wrong_text_without_memory),
		cmocka_unit_test(a_dump_fails_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
