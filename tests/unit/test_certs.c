/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "certs_rig.h"

#include "shared/base/err.h"

#define ID "spiffe://td/ns/default/sa/a"

/* ---- the table ---- */

static void fetches_and_keeps(void **state)
{
	struct probe p;

	(void)state;
	assert_null(current(ID));
	ask(&p, ID);
	assert_int_equal(p.answers, 0);
	run();
	assert_int_equal(fake->started, 1);
	assert_string_equal(fake->name[0], ID);
	answer(0, 3600);
	assert_int_equal(p.answers, 0); /* recorded, not run */
	run();
	got(&p);
	struct tls_ctx *ctx = current(ID);
	assert_non_null(ctx);
	assert_string_equal(tls_ctx_identity(ctx), ID);
	tls_ctx_put(ctx);
	/* From now on at once. */
	ask(&p, ID);
	got(&p);
	assert_int_equal(fake->started, 1);
}

static void answers_a_thousand_from_one_fetch(void **state)
{
	static struct probe p[1000];

	(void)state;
	for (int i = 0; i < 500; i++)
		ask(&p[i], ID);
	run();
	for (int i = 500; i < 1000; i++)
		ask(&p[i], ID);
	run();
	assert_int_equal(fake->started, 1);
	answer(0, 3600);
	run();
	for (int i = 0; i < 1000; i++)
		got(&p[i]);
}

static void refreshes_at_half_life(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	answer(0, 1140); /* from 60 s ago: half is in 540 s */
	run();
	got(&p);
	struct tls_ctx *first = current(ID);
	int64_t next = certs_table_next(table);
	assert_in_range(next - now, 538000, 541000);
	now = next - 1;
	run();
	assert_int_equal(fake->started, 1);
	now = next;
	run();
	assert_int_equal(fake->started, 2);
	/* The old one serves meanwhile. */
	ask(&p, ID);
	got(&p);
	answer(1, 3600);
	run();
	struct tls_ctx *second = current(ID);
	assert_ptr_not_equal(first, second);
	tls_ctx_put(first);
	tls_ctx_put(second);
}

static void keeps_the_old_one_while_renewal_fails(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	answer(0, 100);
	run();
	got(&p);
	int64_t expiry = now / 1000 * 1000 + 100000;
	int tries = 0;
	while (certs_table_next(table) < expiry - 1000) {
		now = certs_table_next(table);
		run();
		assert_true(fake->started > ++tries);
		ask(&p, ID);
		got(&p);
		refuse(tries);
		run();
		ask(&p, ID);
		got(&p);
	}
	assert_true(tries >= 3);
	/* The last try is when it expires, and then there is nothing to give. */
	now = certs_table_next(table);
	assert_in_range(now, expiry - 2000, expiry + 2000);
	now = expiry + 2000;
	assert_null(current(ID));
	run();
	ask(&p, ID);
	assert_int_equal(p.answers, 0); /* a try is under way */
	refuse(fake->started - 1);
	run();
	assert_int_equal(p.answers, 1);
	assert_int_equal(p.error, ERR_CERT_FETCH);
	assert_string_equal(p.why, "the CA is away");
	/* Until the next try the answer is at once. */
	ask(&p, ID);
	assert_int_equal(p.answers, 1);
	assert_int_equal(p.error, ERR_CERT_FETCH);
	now = certs_table_next(table);
	run();
	answer(fake->started - 1, 3600);
	run();
	ask(&p, ID);
	got(&p);
}

static void backoff_starts_anew_after_success(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	for (int i = 0; i < 5; i++) {
		run();
		refuse(i);
		run();
		int64_t wait = certs_table_next(table) - now, step = 1000 << i;
		assert_in_range(wait, step * 8 / 10, step * 12 / 10);
		now += wait;
	}
	run();
	answer(5, 3600);
	run();
	now = certs_table_next(table);
	run();
	refuse(6);
	run();
	assert_in_range(certs_table_next(table) - now, 800, 1200);
	assert_int_equal(failures, 6);
}

static void eight_at_once_and_by_priority(void **state)
{
	struct probe p[20];
	char id[20][64];

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(id[i], sizeof(id[i]), "spiffe://td/ns/n/sa/%d", i);
		now++;
		if (i < 10)
			assert_int_equal(
				certs_table_prefetch(table, str_of(id[i]), CERTS_WARMUP, now), 0);
		else
			ask(&p[i], id[i]);
	}
	run();
	/* Those that somebody waits for, oldest first. */
	assert_int_equal(fake->started, CERTS_FETCHES_MAX);
	for (int i = 0; i < 8; i++)
		assert_string_equal(fake->name[i], id[10 + i]);
	/* A request raises what was only prefetched. */
	ask(&p[5], id[5]);
	answer(0, 3600);
	run();
	assert_string_equal(fake->name[8], id[5]);
	for (int i = 1; i < 8; i++)
		answer(i, 3600);
	run();
	assert_string_equal(fake->name[9], id[18]);
	assert_string_equal(fake->name[10], id[19]);
	/* Prefetches go one by one. */
	assert_string_equal(fake->name[11], id[0]);
	assert_int_equal(fake->started, 12);
	for (int i = 8; i < 12; i++)
		answer(i, 3600);
	run();
	assert_int_equal(fake->started, 13);
	assert_string_equal(fake->name[12], id[1]);
	for (int i = 10; i < 20; i++)
		got(&p[i]);
	got(&p[5]);
}

static void prefetch_is_bounded(void **state)
{
	char id[64];

	(void)state;
	for (int i = 0; i < CERTS_WARMUPS_MAX; i++) {
		snprintf(id, sizeof(id), "spiffe://td/ns/n/sa/%d", i);
		assert_int_equal(certs_table_prefetch(table, str_of(id), CERTS_WARMUP, now), 0);
	}
	assert_int_equal(certs_table_prefetch(table, str_of(ID), CERTS_WARMUP, now), ERR_LIMIT);
	/* One that is known already is no new one. */
	assert_int_equal(certs_table_prefetch(table, str_of(id), CERTS_WARMUP, now), 0);
	struct probe p;
	ask(&p, ID);
	run();
	assert_string_equal(fake->name[0], ID);
	answer(0, 3600);
	run();
	got(&p);
}

static void prefetch_of_a_known_one_is_nothing(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	answer(0, 3600);
	run();
	got(&p);
	assert_int_equal(certs_table_prefetch(table, str_of(ID), CERTS_WARMUP, now), 0);
	run();
	assert_int_equal(fake->started, 1);
}

static void forgets(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	answer(0, 3600);
	run();
	got(&p);
	certs_table_forget(table, STR(ID));
	assert_null(current(ID));
	assert_int_equal(certs_table_next(table), INT64_MAX);
	certs_table_forget(table, STR(ID));
	/* A later need fetches again. */
	ask(&p, ID);
	run();
	assert_int_equal(fake->started, 2);
	answer(1, 3600);
	run();
	got(&p);
}

static void forgets_what_is_under_way(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	certs_table_forget(table, STR(ID));
	assert_int_equal(fake->cancelled, 1);
	assert_int_equal(p.answers, 1);
	assert_int_equal(p.error, ERR_CERT_FETCH);
	run();
	assert_null(current(ID));
	/* Also when the answer is there and was not looked at. */
	ask(&p, ID);
	run();
	answer(1, 3600);
	certs_table_forget(table, STR(ID));
	assert_int_equal(p.answers, 1);
	run();
	assert_null(current(ID));
	assert_int_equal(fake->cancelled, 1);
	assert_int_equal(certs_table_stats(table).under_way, 0);
	/* And when it had not begun. */
	assert_int_equal(certs_table_prefetch(table, STR(ID), CERTS_WARMUP, now), 0);
	certs_table_forget(table, STR(ID));
	run();
	assert_int_equal(fake->started, 2);
}

static void waits_end(void **state)
{
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	now += CERTS_WAIT_MS - 1;
	run();
	assert_int_equal(p.answers, 0);
	assert_int_equal(certs_table_next(table), now + 1);
	now++;
	run();
	assert_int_equal(p.answers, 1);
	assert_int_equal(p.error, ERR_CERT_FETCH);
	/* The fetch itself goes on, and serves the next one. */
	answer(0, 3600);
	run();
	ask(&p, ID);
	got(&p);
}

static void refuses_bad_certificates(void **state)
{
	struct testcert c = testca_leaf(&root, "spiffe://td/ns/other/sa/a", 3600, 0);
	struct testcert old = testca_leaf(&root, ID, -10, 0),
			good = testca_leaf(&root, ID, 3600, 0);
	struct {
		const char *chain, *key, *roots, *why;
	} bad[] = {
		{c.pem, c.key_pem, root.pem, "the certificate is for another identity"},
		{old.pem, old.key_pem, root.pem, "the certificate has expired already"},
		{"", good.key_pem, root.pem, "certificate chain is not readable"},
		{good.pem, c.key_pem, root.pem,
		 "private key and certificate do not belong together"},
		{good.pem, "nothing", root.pem, "private key is not usable"},
		{good.pem, good.key_pem, "", "no usable root certificate"},
		{root.pem, good.key_pem, root.pem, "certificate has no SPIFFE identity"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct probe p;
		ask(&p, ID);
		run();
		certs_fetch_done(fake->open[i], str_of(bad[i].chain), str_of(bad[i].key),
				 str_of(bad[i].roots));
		fake->open[i] = NULL;
		run();
		assert_int_equal(p.answers, 1);
		assert_string_equal(p.why, bad[i].why);
		assert_null(current(ID));
		now = certs_table_next(table);
	}
	testcert_free(&c);
	testcert_free(&old);
	testcert_free(&good);
}

static void refreshes_when_asked(void **state)
{
	struct probe p;

	(void)state;
	certs_table_refresh(table, STR(ID), now); /* unknown: nothing */
	run();
	assert_int_equal(fake->started, 0);
	ask(&p, ID);
	run();
	certs_table_refresh(table, STR(ID), now); /* while it is under way: once more after it */
	answer(0, 3600);
	run();
	got(&p);
	assert_int_equal(fake->started, 2);
	answer(1, 3600);
	run();
	assert_int_equal(fake->started, 2);
	certs_table_refresh(table, STR(ID), now);
	run();
	assert_int_equal(fake->started, 3);
	answer(2, 3600);
	run();
}

struct seen {
	struct certs_info info;
	int count, certs;
	char serial[80];
};

static void see_cert(void *arg, const struct certs_cert *c)
{
	struct seen *s = arg;

	s->certs++;
	snprintf(s->serial, sizeof(s->serial), "%s", c->serial);
	assert_non_null(strstr(c->pem, "-----BEGIN CERTIFICATE-----"));
	assert_true(c->not_after > c->not_before);
}

static void see(void *arg, const struct certs_info *info)
{
	struct seen *s = arg;

	s->info = *info;
	s->count++;
	certs_each_cert(info->chain_pem, see_cert, s);
}

static void shows_its_entries(void **state)
{
	struct seen s = {.count = 0};
	struct probe p;

	(void)state;
	ask(&p, ID);
	run();
	certs_table_each(table, see, &s);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.info.state, CERTS_INITIALIZING);
	assert_int_equal(s.certs, 0);
	refuse(0);
	run();
	certs_table_each(table, see, &s);
	assert_int_equal(s.info.state, CERTS_UNAVAILABLE);
	assert_string_equal(s.info.error, "the CA is away");
	now = certs_table_next(table);
	run();
	struct testcert c = testca_leaf(&root, ID, 3600, 200);
	certs_fetch_done(fake->open[1], str_of(c.pem), str_of(c.key_pem), str_of(root.pem));
	fake->open[1] = NULL;
	testcert_free(&c);
	run();
	certs_table_each(table, see, &s);
	assert_int_equal(s.info.state, CERTS_AVAILABLE);
	assert_null(s.info.error);
	assert_int_equal(s.certs, 1);
	assert_string_equal(s.serial, "200");
	assert_true(s.info.roots_pem.n > 0);
}

#define TABLE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(fetches_and_keeps),
		TABLE_TEST(answers_a_thousand_from_one_fetch),
		TABLE_TEST(refreshes_at_half_life),
		TABLE_TEST(keeps_the_old_one_while_renewal_fails),
		TABLE_TEST(backoff_starts_anew_after_success),
		TABLE_TEST(eight_at_once_and_by_priority),
		TABLE_TEST(prefetch_is_bounded),
		TABLE_TEST(prefetch_of_a_known_one_is_nothing),
		TABLE_TEST(forgets),
		TABLE_TEST(forgets_what_is_under_way),
		TABLE_TEST(waits_end),
		TABLE_TEST(refuses_bad_certificates),
		TABLE_TEST(refreshes_when_asked),
		TABLE_TEST(shows_its_entries),
	};
	return cmocka_run_group_tests(tests, make_root, drop_root);
}
