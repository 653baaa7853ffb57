/* SPDX-License-Identifier: Apache-2.0 */
/* Batches, sources, and readers while the writer writes. */
#include "shared/state/world.h"

#include <pthread.h>
#include <stdio.h>

#include "shared/base/err.h"
#include "shared/state/authz.h"
#include "shared/state/resolve.h"
#include "state_fixture.h"

static struct batch *batch(struct fixture *f, enum world_source source)
{
	struct batch *b = batch_new(f->w, source);

	assert_non_null(b);
	return b;
}

static struct batch_result apply(struct batch *b)
{
	struct batch_result r;

	assert_int_equal(batch_apply(b, &r), 0);
	return r;
}

/* A workload with one address, in service n/s when `served`. */
static void put_workload(struct batch *b, const char *uid, uint8_t last_byte, bool served)
{
	const struct ip ip = {.len = 4, .b = {10, 0, 0, last_byte}};
	const struct workload_service_spec in = {STR("n/s"), NULL, 0};
	const struct workload_spec spec = {.uid = str_of(uid),
					   .ns = STR("n"),
					   .ips = &ip,
					   .ips_count = 1,
					   .capacity = 1,
					   .services = &in,
					   .services_count = served};

	assert_int_equal(batch_workload(b, &spec), 0);
}

static void put_service(struct batch *b)
{
	const struct network_ip vip = {STR(""), {.len = 4, .b = {10, 1, 0, 1}}};
	const struct port_pair port = {80, 8080};
	const struct service_spec spec = {.name = STR("s"),
					  .ns = STR("n"),
					  .hostname = STR("s"),
					  .vips = &vip,
					  .vips_count = 1,
					  .ports = &port,
					  .ports_count = 1};

	assert_int_equal(batch_service(b, &spec), 0);
}

static void put_policy(struct batch *b, const char *key, enum policy_action action)
{
	static const struct policy_clause none;
	const struct policy_rule all = {&none, 0};
	const struct policy_spec spec = {.key = str_of(key),
					 .name = str_of(key),
					 .ns = STR("n"),
					 .scope = POLICY_NAMESPACE,
					 .action = action,
					 .rules = &all,
					 .rules_count = 1};

	assert_int_equal(batch_policy(b, &spec), 0);
}

static void last_word_of_a_batch_counts(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	struct batch *b = batch(&f, WORLD_XDS);
	put_workload(b, "a", 1, false);
	put_workload(b, "a", 2, false);
	put_workload(b, "b", 3, false);
	assert_int_equal(batch_remove_address(b, STR("b")), 0);
	assert_int_equal(batch_remove_address(b, STR("c")), 0);
	put_workload(b, "c", 4, false);
	struct batch_result r = apply(b);
	assert_int_equal(r.added, 2);
	assert_true(workload_has_ip(fx_workload(&f, "a"), &(struct ip){4, {10, 0, 0, 2}}));
	assert_null(fx_workload(&f, "b"));
	assert_non_null(fx_workload(&f, "c"));
	fx_end(&f);
}

static void only_what_differs_is_touched(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	for (int round = 0; round < 2; round++) {
		struct batch *b = batch(&f, WORLD_XDS);
		put_service(b);
		put_workload(b, "a", 1, true);
		put_workload(b, "b", 2, true);
		put_policy(b, "n/p", POLICY_DENY);
		struct batch_result r = apply(b);
		assert_int_equal(r.added, round == 0 ? 4 : 0);
		assert_int_equal(r.unchanged, round == 0 ? 0 : 4);
		assert_int_equal(r.policies_changed, round == 0);
	}
	const struct endpoint_set *before = service_endpoints(fx_service(&f, "n", "s"));
	const struct workload *b_before = fx_workload(&f, "b");
	uint64_t version = world_version(f.w);
	struct batch *b = batch(&f, WORLD_XDS);
	put_workload(b, "a", 7, true);
	struct batch_result r = apply(b);
	assert_int_equal(r.changed, 1);
	assert_int_equal(world_version(f.w), version + 1);
	/* An address is no business of the service's. */
	assert_ptr_equal(service_endpoints(fx_service(&f, "n", "s")), before);
	assert_ptr_equal(fx_workload(&f, "b"), b_before);
	fx_end(&f);
}

static void removal_by_name(void **state)
{
	struct world_stats stats;
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	struct batch *b = batch(&f, WORLD_XDS);
	put_service(b);
	put_workload(b, "c//Pod/n/a", 1, true);
	put_workload(b, "c//Pod/n/b", 2, true);
	put_policy(b, "n/p", POLICY_DENY);
	apply(b);
	b = batch(&f, WORLD_XDS);
	assert_int_equal(batch_remove_address(b, STR("c//Pod/n/a")), 0);
	assert_int_equal(batch_remove_address(b, STR("never/there")), 0);
	assert_int_equal(batch_remove_address(b, STR("")), 0);
	assert_int_equal(apply(b).removed, 1);
	assert_int_equal(fx_endpoints(fx_service(&f, "n", "s")), 1);
	b = batch(&f, WORLD_XDS);
	assert_int_equal(batch_remove_address(b, STR("n/s")), 0);
	assert_int_equal(batch_remove_policy(b, STR("n/p")), 0);
	assert_int_equal(batch_remove_policy(b, STR("n/q")), 0);
	struct batch_result r = apply(b);
	assert_int_equal(r.removed, 2);
	assert_true(r.policies_changed);
	assert_null(fx_service(&f, "n", "s"));
	world_stats(f.w, &stats);
	assert_int_equal(stats.workloads, 1);
	assert_int_equal(stats.services, 0);
	assert_int_equal(stats.policies, 0);
	assert_int_equal(stats.staged_services, 1);
	fx_end(&f);
}

static void sources_keep_to_their_own(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	struct batch *b = batch(&f, WORLD_XDS);
	put_workload(b, "from-xds", 1, false);
	put_policy(b, "n/xds", POLICY_DENY);
	apply(b);
	fx_load(&f, "- {uid: from-file, namespace: n, workloadIps: [], services: {}}\n", NULL,
		NULL);
	assert_non_null(fx_workload(&f, "from-xds"));
	fx_load(&f, NULL, NULL, NULL);
	assert_non_null(fx_workload(&f, "from-xds"));
	assert_null(fx_workload(&f, "from-file"));
	/* Whoever said it last owns it. */
	fx_load(&f, "- {uid: from-xds, namespace: other, workloadIps: [], services: {}}\n", NULL,
		NULL);
	fx_load(&f, NULL, NULL, NULL);
	assert_null(fx_workload(&f, "from-xds"));
	fx_end(&f);
}

static void a_batch_may_be_dropped(void **state)
{
	const struct workload_service_spec bad = {STR("no-slash"), NULL, 0};
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	struct batch *b = batch(&f, WORLD_XDS);
	put_service(b);
	put_workload(b, "a", 1, true);
	put_policy(b, "n/p", POLICY_DENY);
	/* A bad object spoils nothing else. */
	assert_int_equal(
		batch_workload(b, &(struct workload_spec){.services = &bad, .services_count = 1}),
		ERR_SYNTAX);
	batch_free(b);
	batch_free(NULL);
	assert_null(fx_workload(&f, "a"));
	assert_int_equal(world_version(f.w), 0);
	fx_end(&f);
	assert_int_equal(rstr_count(), 0);
}

static void two_services_one_push(void **state)
{
	struct fixture f;

	(void)state;
	fx_begin(&f, "", NULL);
	/* batch_service_before_workloads, batch_groups_endpoints_per_service: in any order within one batch. */
	struct batch *b = batch(&f, WORLD_XDS);
	for (int i = 0; i < 100; i++) {
		char uid[16];
		snprintf(uid, sizeof(uid), "w%d", i);
		put_workload(b, uid, (uint8_t)i, true);
	}
	put_service(b);
	apply(b);
	assert_int_equal(fx_endpoints(fx_service(&f, "n", "s")), 100);
	/* remove_drops_endpoint */
	b = batch(&f, WORLD_XDS);
	for (int i = 0; i < 100; i += 2) {
		char uid[16];
		snprintf(uid, sizeof(uid), "w%d", i);
		assert_int_equal(batch_remove_address(b, str_of(uid)), 0);
	}
	apply(b);
	assert_int_equal(fx_endpoints(fx_service(&f, "n", "s")), 50);
	fx_end(&f);
}

/* ---- readers while the writer writes ---- */

enum { READERS = 3, WRITES = 300 };

struct shared {
	struct fixture f;
	bool stop; /* atomic */
	uint64_t plans;
};

/*
 * What a reader must never see: a destination without the policy that denies it, when they come in one batch; an object
 * that was freed. CHECK, since cmocka's asserts belong to its own thread.
 */
static void read_once(struct shared *s, struct rng *rng, struct workload *source)
{
	const struct outbound_query q = {.source = source,
					 .src = {{4, {10, 0, 0, 200}}, 1},
					 .dst = {{4, {10, 1, 0, 1}}, 80},
					 .rng = rng};
	const struct ip ip = {4, {10, 0, 0, 1}};
	struct outbound_plan plan;
	struct authz_result r;

	struct workload *guarded = world_workload_by_ip(s->f.w, STR(""), &ip);
	if (guarded) {
		struct authz_facts facts = {.dst = {ip, 80}};
		CHECK(!authz_check(s->f.w, guarded, &facts, &r));
	}
	resolve_outbound(s->f.w, &q, &plan);
	if (plan.destination)
		CHECK(plan.destination->uid->len > 0);
	outbound_plan_fini(&plan);
}

static void *reader(void *arg)
{
	struct shared *s = arg;
	int slot = epoch_register(s->f.epoch);
	struct rng rng;
	uint64_t n = 0;

	rng_init(&rng, 7);
	epoch_online(s->f.epoch, slot);
	struct workload *source = NULL;
	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (!source)
			source = workload_get(
				world_local_workload(s->f.w, STR("n"), STR("me"), STR("")));
		if (source) {
			read_once(s, &rng, source);
			n++;
		}
		epoch_quiescent(s->f.epoch, slot);
	}
	workload_put(source);
	epoch_offline(s->f.epoch, slot);
	epoch_unregister(s->f.epoch, slot);
	__atomic_fetch_add(&s->plans, n, __ATOMIC_RELAXED);
	return NULL;
}

static void write_round(struct fixture *f, int i)
{
	struct batch *b = batch(f, WORLD_XDS);

	if (i % 4 == 0) {
		put_policy(b, "n/guard", POLICY_DENY);
		put_workload(b, "guarded", 1, true);
	} else if (i % 4 == 2) {
		assert_int_equal(batch_remove_address(b, STR("guarded")), 0);
	} else if (i % 4 == 3) {
		/* A reader may hold the workload that it found before it went. */
		while (epoch_retired(f->epoch) > 0)
			world_reclaim(f->w);
		assert_int_equal(batch_remove_policy(b, STR("n/guard")), 0);
	}
	if (i % 8 == 1)
		put_service(b);
	else if (i % 8 == 5)
		assert_int_equal(batch_remove_address(b, STR("n/s")), 0);
	for (int k = 0; k < 20; k++) {
		char uid[16];
		snprintf(uid, sizeof(uid), "w%d", k);
		if ((i + k) % 3 == 0)
			assert_int_equal(batch_remove_address(b, str_of(uid)), 0);
		else
			put_workload(b, uid, (uint8_t)(20 + (k + i) % 50), true);
	}
	apply(b);
	world_reclaim(f->w);
}

static void readers_while_writing(void **state)
{
	const struct workload_spec me = {.uid = STR("me"), .ns = STR("n"), .name = STR("me")};
	pthread_t threads[READERS];
	struct shared s = {.stop = false};

	(void)state;
	fx_begin(&s.f, "", NULL);
	struct batch *b = batch(&s.f, WORLD_XDS);
	assert_int_equal(batch_workload(b, &me), 0);
	apply(b);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
	for (int i = 0; i < WRITES; i++)
		write_round(&s.f, i);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(s.plans > 0);
	world_reclaim(s.f.w);
	assert_int_equal(epoch_retired(s.f.epoch), 0);
	fx_end(&s.f);
	assert_int_equal(rstr_count(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_word_of_a_batch_counts),
		cmocka_unit_test(only_what_differs_is_touched),
		cmocka_unit_test(removal_by_name),
		cmocka_unit_test(sources_keep_to_their_own),
		cmocka_unit_test(a_batch_may_be_dropped),
		cmocka_unit_test(two_services_one_push),
		cmocka_unit_test(readers_while_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
