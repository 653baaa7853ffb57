/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "testca.h"
#include "tls_pair.h"

#include "shared/wire/crl.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

static struct testca root, other;
static struct str want_server[] = {{SERVER, sizeof(SERVER) - 1}};

static int set_up(void **state)
{
	(void)state;
	root = testca_new("root", NULL, 0);
	other = testca_new("other", NULL, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	testca_free(&root);
	testca_free(&other);
	return 0;
}

static void open_simple(struct pair *p)
{
	struct tls_ctx *cc = testca_simple_ctx(&root, CLIENT),
		       *sc = testca_simple_ctx(&root, SERVER);

	pair_open(p, cc, sc, want_server, 1);
	tls_ctx_put(cc);
	tls_ctx_put(sc);
}

static void moves_data_both_ways(void **state)
{
	struct pair p;
	struct bufq got = {0};

	(void)state;
	open_simple(&p);
	pair_shake(&p);
	assert_int_equal(p.c_rc, 0);
	assert_int_equal(p.s_rc, 0);
	assert_true(tls_established(p.c) && tls_established(p.s));
	assert_int_equal(tls_version(p.c), 0x0304);
	assert_int_equal(tls_suite(p.c), 0x1302);
	assert_int_equal(tls_suite(p.s), 0x1302);
	assert_string_equal(tls_peer(p.c)->identity, SERVER);
	assert_string_equal(tls_peer(p.s)->identity, CLIENT);
	static const size_t sizes[] = {1, 2, 100, 1024, 16383, 16384};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'c', sizes[i]), 0);
		assert_int_equal(pair_send(&p, p.s, &p.to_c, 's', sizes[i]), 0);
		assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
		assert_true(pair_is(&got, 'c', sizes[i]));
		assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), 0);
		assert_true(pair_is(&got, 's', sizes[i]));
	}
	assert_int_equal(tls_close_notify(p.c, p.pool, &p.to_s), 0);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), ERR_CLOSED);
	/* The other direction goes on. */
	assert_int_equal(pair_send(&p, p.s, &p.to_c, 's', 10), 0);
	assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), 0);
	assert_true(pair_is(&got, 's', 10));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'c', 10), ERR_CLOSED);
	pair_close(&p);
}

/* The client's last handshake record and its first data come in one piece. */
static void data_with_the_handshake_is_not_lost(void **state)
{
	struct pair p;
	struct bufq got = {0};

	(void)state;
	open_simple(&p);
	assert_int_equal(tls_step(p.c, p.pool, &p.to_s), 0);
	assert_int_equal(tls_feed(p.s, &p.to_s), 0);
	assert_int_equal(tls_step(p.s, p.pool, &p.to_c), 0);
	assert_int_equal(tls_feed(p.c, &p.to_c), 0);
	assert_int_equal(tls_step(p.c, p.pool, &p.to_s), 0);
	assert_true(tls_established(p.c));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'x', 5000), 0);
	assert_int_equal(tls_feed(p.s, &p.to_s), 0);
	assert_true(tls_wants_step(p.s));
	assert_int_equal(tls_step(p.s, p.pool, &p.to_c), 0);
	assert_true(tls_established(p.s));
	assert_true(tls_buffered(p.s) > 5000);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
	assert_true(pair_is(&got, 'x', 5000));
	pair_close(&p);
}

/* Every cut of the handshake's bytes works: here, one byte at a time. */
static void handshake_byte_by_byte(void **state)
{
	struct pair p;

	(void)state;
	open_simple(&p);
	assert_int_equal(tls_step(p.c, p.pool, &p.to_s), 0);
	for (int i = 0; i < 20000 && !(tls_established(p.c) && tls_established(p.s)); i++) {
		struct bufq one = {0};
		uint32_t moved;
		struct bufq *from = p.to_s.bytes ? &p.to_s : &p.to_c;
		struct tls *to = p.to_s.bytes ? p.s : p.c;
		assert_int_equal(bufq_move(&one, from, 1, &moved), 0);
		assert_int_equal(tls_feed(to, &one), 0);
		if (tls_wants_step(to))
			assert_int_equal(tls_step(to, p.pool, to == p.s ? &p.to_c : &p.to_s), 0);
	}
	assert_true(tls_established(p.c) && tls_established(p.s));
	pair_close(&p);
}

static void expect_failure(struct tls_ctx *cc, struct tls_ctx *sc, int c_rc, const char *c_text,
			   int s_rc, const char *s_text)
{
	struct pair p;

	pair_open(&p, cc, sc, want_server, 1);
	pair_shake(&p);
	if (strcmp(tls_error_text(p.c), c_text) != 0 || strcmp(tls_error_text(p.s), s_text) != 0)
		print_message("client: %s\nserver: %s\n", tls_error_text(p.c), tls_error_text(p.s));
	assert_string_equal(tls_error_text(p.c), c_text);
	assert_string_equal(tls_error_text(p.s), s_text);
	assert_int_equal(p.c_rc, c_rc);
	assert_int_equal(p.s_rc, s_rc);
	pair_close(&p);
	tls_ctx_put(cc);
	tls_ctx_put(sc);
}

static void server_of_another_name(void **state)
{
	(void)state;
	expect_failure(testca_simple_ctx(&root, CLIENT),
		       testca_simple_ctx(&root, "spiffe://td/ns/x/sa/y"), ERR_PEER_IDENTITY,
		       "identity verification error: peer did not present the expected SAN (" SERVER
		       "), got spiffe://td/ns/x/sa/y",
		       ERR_TLS_ALERT, "received fatal alert: access_denied");
}

static void client_of_another_trust_domain(void **state)
{
	(void)state;
	expect_failure(
		testca_simple_ctx(&root, "spiffe://foreign/ns/default/sa/client"),
		testca_simple_ctx(&root, SERVER), ERR_TLS_ALERT,
		"received fatal alert: access_denied", ERR_PEER_IDENTITY,
		"identity verification error: peer did not present the expected trustdomain (td), "
		"got spiffe://foreign/ns/default/sa/client");
}

static void unknown_issuer(void **state)
{
	struct testcert s = testca_leaf(&other, SERVER, 3600, 0),
			c = testca_leaf(&other, CLIENT, 3600, 0);

	(void)state;
	expect_failure(testca_simple_ctx(&root, CLIENT), testca_ctx(&s, NULL, root.pem, NULL, NULL),
		       ERR_TLS_HANDSHAKE, "invalid peer certificate: unknown issuer", ERR_TLS_ALERT,
		       "received fatal alert: unknown_ca");
	expect_failure(testca_ctx(&c, NULL, root.pem, NULL, NULL), testca_simple_ctx(&root, SERVER),
		       ERR_TLS_ALERT, "received fatal alert: unknown_ca", ERR_TLS_HANDSHAKE,
		       "invalid peer certificate: unknown issuer");
	testcert_free(&s);
	testcert_free(&c);
}

static void expired(void **state)
{
	struct testcert s = testca_leaf(&root, SERVER, -10, 0),
			c = testca_leaf(&root, CLIENT, -10, 0);

	(void)state;
	expect_failure(testca_simple_ctx(&root, CLIENT), testca_ctx(&s, NULL, root.pem, NULL, NULL),
		       ERR_TLS_HANDSHAKE, "invalid peer certificate: expired", ERR_TLS_ALERT,
		       "received fatal alert: certificate_expired");
	expect_failure(testca_ctx(&c, NULL, root.pem, NULL, NULL), testca_simple_ctx(&root, SERVER),
		       ERR_TLS_ALERT, "received fatal alert: certificate_expired",
		       ERR_TLS_HANDSHAKE, "invalid peer certificate: expired");
	testcert_free(&s);
	testcert_free(&c);
}

static void garbage_instead_of_tls(void **state)
{
	struct tls_ctx *sc = testca_simple_ctx(&root, SERVER);
	static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct bufpool *pool = pair_pool();
	struct tls *s = tls_server_new(sc);
	struct bufq in = {0}, out = {0};

	(void)state;
	assert_int_equal(bufq_copy(&in, pool, http, sizeof(http) - 1), 0);
	assert_int_equal(tls_feed(s, &in), 0);
	assert_int_equal(tls_step(s, pool, &out), ERR_TLS_HANDSHAKE);
	assert_false(tls_established(s));
	assert_null(tls_peer(s));
	/* It stays so. */
	assert_int_equal(tls_step(s, pool, &out), ERR_TLS_HANDSHAKE);
	tls_free(s);
	tls_ctx_put(sc);
	bufq_fini(&out);
	bufpool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_data_both_ways),
		cmocka_unit_test(data_with_the_handshake_is_not_lost),
		cmocka_unit_test(handshake_byte_by_byte),
		cmocka_unit_test(server_of_another_name),
		cmocka_unit_test(client_of_another_trust_domain),
		cmocka_unit_test(unknown_issuer),
		cmocka_unit_test(expired),
		cmocka_unit_test(garbage_instead_of_tls),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
