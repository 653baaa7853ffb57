/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "testca.h"

#include "shared/base/epoch.h"
#include "shared/control/cert_files.h"
#include "shared/control/certs.h"
#include "shared/wire/tls_ctx.h"

#define ID "spiffe://td/default/sa/a"
#define GOOD "spiffe://td/ns/default/sa/a"

static char dir[64];
static struct epoch *epoch;
static struct worker *control;
static struct certs *certs;
static struct testca root;

static void put(const char *name, const char *text)
{
	char path[256], temporary[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(temporary, sizeof(temporary), "%s/new", dir);
	FILE *f = fopen(temporary, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(temporary, path), 0);
}

static int set_up(void **state)
{
	struct tls_options tls = {.tls12 = false};
	struct worker_config wc = {
		.name = "control",
		.io_backend = "epoll",
		.buf_limits = {.slots_max = 16, .bytes_max = 16 << 20, .slabs_cached = 1}};
	struct certs_config c = {.tls = &tls};
	char why[CERT_FILES_WHY_MAX], path[128];
	static const char *const folders[] = {"td", "td/default", "td/default/a"};

	(void)state;
	root = testca_new("root", NULL, 0);
	snprintf(dir, sizeof(dir), "/tmp/gauze-test-files-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	epoch = epoch_new(4);
	wc.epoch = epoch;
	assert_int_equal(worker_new(&wc, &control), 0);
	assert_int_equal(cert_files_new(control, dir, &c.source, why), 0);
	c.control = control;
	return certs_new(&c, &certs);
}

static int tear_down(void **state)
{
	static const char *const names[] = {"td/default/a/cert-chain.pem",
					    "td/default/a/key.pem",
					    "td/default/a/root-cert.pem",
					    "root-cert.pem",
					    "td/default/a",
					    "td/default",
					    "td"};
	char path[128];

	(void)state;
	certs_free(certs);
	worker_free(control);
	epoch_free(epoch);
	testca_free(&root);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)remove(path);
	}
	return rmdir(dir);
}

static void on_info(void *arg, const struct certs_info *info)
{
	*(struct certs_info *)arg = *info;
}

static struct certs_info info_of_one(void)
{
	struct certs_info i = {.error = NULL};

	certs_each(certs, on_info, &i);
	return i;
}

/* Turns until there is a context that is not `old`; NULL after six seconds. */
static struct tls_ctx *await(const struct tls_ctx *old)
{
	for (int i = 0; i < 600; i++) {
		worker_turn(control, 10 * NS_PER_MS);
		struct tls_ctx *ctx = certs_current(certs, STR(GOOD));
		if (ctx && ctx != old)
			return ctx;
		tls_ctx_put(ctx);
	}
	return NULL;
}

static void reads_and_follows_changes(void **state)
{
	struct testcert a = testca_leaf(&root, GOOD, 3600, 0),
			b = testca_leaf(&root, GOOD, 3600, 0);

	(void)state;
	put("td/default/a/cert-chain.pem", a.pem);
	put("td/default/a/key.pem", a.key_pem);
	put("root-cert.pem", root.pem); /* shared by all */
	certs_prefetch(certs, STR(GOOD));
	struct tls_ctx *first = await(NULL);
	assert_non_null(first);
	/* Half of a change is not used, and harms nothing. */
	put("td/default/a/cert-chain.pem", b.pem);
	for (int i = 0; i < 150; i++)
		worker_turn(control, 10 * NS_PER_MS);
	struct tls_ctx *still = certs_current(certs, STR(GOOD));
	assert_ptr_equal(still, first);
	tls_ctx_put(still);
	put("td/default/a/key.pem", b.key_pem);
	struct tls_ctx *second = await(first);
	assert_non_null(second);
	tls_ctx_put(first);
	tls_ctx_put(second);
	testcert_free(&a);
	testcert_free(&b);
}

static void names_what_is_missing(void **state)
{
	(void)state;
	certs_prefetch(certs, STR(GOOD));
	for (int i = 0; i < 5; i++)
		worker_turn(control, NS_PER_MS);
	assert_int_equal(info_of_one().state, CERTS_UNAVAILABLE);
	assert_non_null(strstr(info_of_one().error, "td/default/a/cert-chain.pem: No such file"));
}

static void stays_in_its_folder(void **state)
{
	static const char *const bad[] = {"spiffe://../ns/default/sa/a", "spiffe://td/ns/../sa/a",
					  "spiffe://td/ns/default/sa/..", ID};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		certs_prefetch(certs, str_of(bad[i]));
		for (int k = 0; k < 5; k++)
			worker_turn(control, NS_PER_MS);
		assert_int_equal(info_of_one().state, CERTS_UNAVAILABLE);
		assert_non_null(strstr(info_of_one().error, "the identity"));
		certs_forget(certs, str_of(bad[i]));
	}
}

static void wants_a_folder(void **state)
{
	struct certs_source *s;
	char why[CERT_FILES_WHY_MAX];

	(void)state;
	assert_true(cert_files_new(control, "/nowhere/at/all", &s, why) < 0);
	assert_non_null(strstr(why, "/nowhere/at/all"));
}

#define FILES_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILES_TEST(reads_and_follows_changes),
		FILES_TEST(names_what_is_missing),
		FILES_TEST(stays_in_its_folder),
		FILES_TEST(wants_a_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
