/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation fails once, wolfSSL's own as well: the one thing that needed it ends, with a reason, and leaks nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "failalloc.h"
#include "testca.h"
#include "tls_pair.h"

#include "shared/wire/crl.h"
#include "shared/wire/x509.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

enum { SWEEP_MAX = 20000 };

static struct testca root, mid;
static struct testcert client, server;
static char *chain;

static int set_up(void **state)
{
	(void)state;
	root = testca_new("root", NULL, 0);
	mid = testca_new("mid", &root, 0);
	client = testca_leaf(&mid, CLIENT, 3600, 0);
	server = testca_leaf(&mid, SERVER, 3600, 0);
	/* the library's own set-up is not what is tested */
	tls_ctx_put(testca_ctx(&client, mid.pem, root.pem, NULL, NULL));
	return asprintf(&chain, "%s%s", client.pem, mid.pem) > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(chain);
	testcert_free(&client);
	testcert_free(&server);
	testca_free(&mid);
	testca_free(&root);
	return 0;
}

static void contexts(void **state)
{
	static const struct tls_options options = {.tls12 = true};
	struct crl_store *store = crl_store_new();
	uint32_t n = 0;

	(void)state;
	for (; n < SWEEP_MAX; n++) {
		struct tls_ctx *ctx = NULL;
		const char *why = NULL;
		failalloc_begin(n);
		int rc = tls_ctx_new(str_of(chain), str_of(client.key_pem), str_of(root.pem),
				     &options, store, &ctx, &why);
		bool failed = failalloc_end();
		assert_true(rc == 0 || rc == ERR_NOMEM || rc == ERR_TLS_CONFIG);
		assert_int_equal(rc == 0, ctx != NULL);
		tls_ctx_put(ctx);
		if (!failed)
			break;
	}
	assert_true(n > 20 && n < SWEEP_MAX);
	crl_store_put(store);
}

static void lists(void **state)
{
	struct str pem = testca_crl(&root, (const uint8_t[]){1, 2, 3}, 3, true),
		   der = testca_crl(&root, (const uint8_t[]){1, 2, 3}, 3, false);
	const struct str *both[] = {&pem, &der};

	(void)state;
	for (int i = 0; i < 2; i++) {
		for (uint32_t n = 0; n < SWEEP_MAX; n++) {
			struct crl_set *s = NULL;
			failalloc_begin(n);
			int rc = crl_set_parse(*both[i], &s);
			bool failed = failalloc_end();
			assert_int_equal(rc == 0, s != NULL);
			if (!failed)
				assert_int_equal(crl_set_count(s), 3);
			crl_set_put(s);
			if (!failed)
				break;
		}
	}
	free((char *)pem.p);
	free((char *)der.p);
}

/* A handshake, data both ways and a close. What must not happen is that somebody gets in who should not. */
static void once(struct tls_ctx *cc, struct tls_ctx *sc, struct bufpool *pool, bool *worked)
{
	struct str want = STR(SERVER);
	struct bufq to_c = {0}, to_s = {0}, got = {0};
	struct tls *c = tls_client_new(cc, &want, 1), *s = c ? tls_server_new(sc) : NULL;
	int rc = s ? 0 : ERR_NOMEM;
	bool more = true;

	for (int i = 0; rc == 0 && i < 6; i++) {
		rc = tls_feed(c, &to_c);
		if (rc == 0 && tls_wants_step(c))
			rc = tls_step(c, pool, &to_s);
		if (rc == 0)
			rc = tls_feed(s, &to_s);
		if (rc == 0 && tls_wants_step(s))
			rc = tls_step(s, pool, &to_c);
	}
	*worked = rc == 0 && tls_established(c) && tls_established(s);
	if (*worked) {
		uint8_t room[TLS_ROOM_HEAD + 100 + TLS_ROOM_TAIL] = {0}, *out;
		struct bufq rest = {0};
		uint32_t moved;
		size_t len;
		/* Sealing needs no memory. */
		assert_int_equal(tls_seal(c, room + TLS_ROOM_HEAD, 100, &out, &len), 0);
		rc = bufq_copy(&to_s, pool, out, len);
		/* In two pieces, so that they are put together. */
		if (rc == 0)
			rc = bufq_move(&rest, &to_s, 50, &moved);
		if (rc == 0)
			rc = tls_feed(s, &rest);
		while (rc == 0 && more)
			rc = tls_open(s, pool, &got, &more);
		if (rc == 0)
			rc = tls_feed(s, &to_s);
		more = true;
		while (rc == 0 && more)
			rc = tls_open(s, pool, &got, &more);
		*worked = rc == 0;
		if (rc == 0)
			assert_int_equal(got.bytes, 100);
		bufq_fini(&rest);
	}
	bufq_fini(&got);
	bufq_fini(&to_c);
	bufq_fini(&to_s);
	tls_free(c);
	tls_free(s);
}

static void sessions(void **state)
{
	struct crl_store *store = crl_store_new();
	struct bufpool *pool = pair_pool();
	uint32_t n = 0, reached = 0;

	(void)state;
	for (; n < SWEEP_MAX; n++) {
		/* fresh ones, so that nothing is remembered */
		struct tls_ctx *cc = testca_ctx(&client, mid.pem, root.pem, store, NULL),
			       *sc = testca_ctx(&server, mid.pem, root.pem, store, NULL);
		bool worked = false;
		failalloc_begin(n);
		once(cc, sc, pool, &worked);
		bool failed = failalloc_end();
		reached += worked;
		tls_ctx_put(cc);
		tls_ctx_put(sc);
		assert_int_equal(bufpool_bytes(pool, BUF_KINDS), 0);
		if (!failed) {
			assert_true(worked);
			break;
		}
	}
	assert_true(n > 100 && n < SWEEP_MAX);
	/* A few allocations are not needed that much, but most are. */
	assert_true(reached < n / 2);
	bufpool_free(pool);
	crl_store_put(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contexts),
		cmocka_unit_test(lists),
		cmocka_unit_test(sessions),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
