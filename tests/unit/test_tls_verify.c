/* SPDX-License-Identifier: Apache-2.0 */
/* Who is believed: chains, authorities, uses, roots and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "testca.h"
#include "tls_pair.h"

#include "shared/wire/x509.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

static const struct str want = {SERVER, sizeof(SERVER) - 1};
static struct testca root;

static int set_up(void **state)
{
	(void)state;
	root = testca_new("root", NULL, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	testca_free(&root);
	return 0;
}

static void outcome(struct tls_ctx *cc, struct tls_ctx *sc, int c_rc, int s_rc, const char *text)
{
	struct pair p;

	pair_open(&p, cc, sc, &want, 1);
	pair_shake(&p);
	assert_string_equal(tls_error_text(s_rc == ERR_TLS_ALERT ? p.c : p.s), text);
	assert_int_equal(p.c_rc, c_rc);
	assert_int_equal(p.s_rc, s_rc);
	pair_close(&p);
}

static void intermediates(void **state)
{
	struct testca mid = testca_new("mid", &root, 0), low = testca_new("low", &mid, 0),
		      stray = testca_new("stray", NULL, 0);
	struct testcert leaf = testca_leaf(&low, CLIENT, 3600, 0);
	char *chain = NULL, *noise = NULL, *twisted = NULL;

	(void)state;
	assert_true(asprintf(&chain, "%s%s", low.pem, mid.pem) > 0);
	assert_true(asprintf(&noise, "%s%s%s", low.pem, mid.pem, root.pem) > 0);
	assert_true(asprintf(&twisted, "%s%s", mid.pem, low.pem) > 0);
	struct tls_ctx *sc = testca_simple_ctx(&root, SERVER);
	struct tls_ctx *good = testca_ctx(&leaf, chain, root.pem, NULL, NULL),
		       *rooted = testca_ctx(&leaf, noise, root.pem, NULL, NULL),
		       *bare = testca_ctx(&leaf, NULL, root.pem, NULL, NULL),
		       *half = testca_ctx(&leaf, low.pem, root.pem, NULL, NULL),
		       *odd = testca_ctx(&leaf, twisted, root.pem, NULL, NULL);
	/* Before and after a good one: what one peer sent does not help another. */
	for (int i = 0; i < 3; i++) {
		outcome(bare, sc, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE,
			"invalid peer certificate: unknown issuer");
		outcome(half, sc, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE,
			"invalid peer certificate: unknown issuer");
		outcome(good, sc, 0, 0, "");
		outcome(rooted, sc, 0, 0, "");
	}
	/* In the wrong order it is no chain. */
	outcome(odd, sc, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE,
		"invalid peer certificate: unknown issuer");
	tls_ctx_put(sc);
	tls_ctx_put(good);
	tls_ctx_put(rooted);
	tls_ctx_put(bare);
	tls_ctx_put(half);
	tls_ctx_put(odd);
	free(chain);
	free(noise);
	free(twisted);
	testcert_free(&leaf);
	testca_free(&mid);
	testca_free(&low);
	testca_free(&stray);
}

/* A leaf cannot vouch for others, and an intermediate that is over cannot either. */
static void only_good_authorities_vouch(void **state)
{
	struct str uri = STR(CLIENT);
	struct x509_request r = {.organization = "test",
				 .name = "evil",
				 .uris = &uri,
				 .uri_count = 1,
				 .not_before = time(NULL) - 60,
				 .not_after = time(NULL) + 600,
				 .serves = true,
				 .calls = true};
	struct tls_ctx *sc = testca_simple_ctx(&root, SERVER);

	(void)state;
	struct testcert evil = testca_issue(&root, &r);
	struct testca as_ca = {.der = evil.der, .pem = evil.pem};
	assert_int_equal(x509_key_read(str_of(evil.key_pem), &as_ca.key), 0);
	struct testcert forged = testca_leaf(&as_ca, "spiffe://td/ns/kube-system/sa/admin", 600, 0);
	struct tls_ctx *cc = testca_ctx(&forged, evil.pem, root.pem, NULL, NULL);
	outcome(cc, sc, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE,
		"invalid peer certificate: unknown issuer");
	tls_ctx_put(cc);
	x509_key_free(as_ca.key);
	testcert_free(&forged);
	testcert_free(&evil);

	r.ca = true;
	r.not_after = time(NULL) - 10;
	struct testcert old = testca_issue(&root, &r);
	struct testca old_ca = {.der = old.der, .pem = old.pem};
	assert_int_equal(x509_key_read(str_of(old.key_pem), &old_ca.key), 0);
	struct testcert leaf = testca_leaf(&old_ca, CLIENT, 600, 0);
	cc = testca_ctx(&leaf, old.pem, root.pem, NULL, NULL);
	struct pair p;
	pair_open(&p, cc, sc, &want, 1);
	pair_shake(&p);
	assert_int_equal(p.s_rc, ERR_TLS_HANDSHAKE);
	pair_close(&p);
	tls_ctx_put(cc);
	x509_key_free(old_ca.key);
	testcert_free(&leaf);
	testcert_free(&old);
	tls_ctx_put(sc);
}

static void uses_are_obeyed(void **state)
{
	struct str client = STR(CLIENT), server = STR(SERVER);
	struct x509_request r = {
		.uri_count = 1, .not_before = time(NULL) - 60, .not_after = time(NULL) + 600};
	static const char *const text =
		"invalid peer certificate: its extended key usage forbids this use";

	(void)state;
	for (int serves = 0; serves < 2; serves++) {
		for (int calls = 0; calls < 2; calls++) {
			r.serves = serves;
			r.calls = calls;
			bool none = !serves && !calls;
			r.uris = &client;
			struct testcert c = testca_issue(&root, &r);
			r.uris = &server;
			struct testcert s = testca_issue(&root, &r);
			struct tls_ctx *cc = testca_ctx(&c, NULL, root.pem, NULL, NULL),
				       *sc = testca_ctx(&s, NULL, root.pem, NULL, NULL),
				       *good_c = testca_simple_ctx(&root, CLIENT),
				       *good_s = testca_simple_ctx(&root, SERVER);
			if (calls || none)
				outcome(cc, good_s, 0, 0, "");
			else
				outcome(cc, good_s, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE, text);
			if (serves || none)
				outcome(good_c, sc, 0, 0, "");
			else
				outcome(good_c, sc, ERR_TLS_HANDSHAKE, ERR_TLS_ALERT, text);
			tls_ctx_put(cc);
			tls_ctx_put(sc);
			tls_ctx_put(good_c);
			tls_ctx_put(good_s);
			testcert_free(&c);
			testcert_free(&s);
		}
	}
}

static void several_roots(void **state)
{
	struct testca second = testca_new("second", NULL, 0);
	struct testcert c = testca_leaf(&second, CLIENT, 600, 0),
			s = testca_leaf(&root, SERVER, 600, 0);
	char *roots = NULL;

	(void)state;
	assert_true(asprintf(&roots, "# both\n%s\n%s", root.pem, second.pem) > 0);
	struct tls_ctx *cc = testca_ctx(&c, NULL, roots, NULL, NULL),
		       *sc = testca_ctx(&s, NULL, roots, NULL, NULL);
	outcome(cc, sc, 0, 0, "");
	tls_ctx_put(cc);
	tls_ctx_put(sc);
	free(roots);
	testcert_free(&c);
	testcert_free(&s);
	testca_free(&second);
}

/* Any of the names may be the wanted one; the peer is called by the first that is an identity. */
static void several_names(void **state)
{
	struct str names[] = {STR("https://example.org/"), STR("spiffe://td/not/five/parts/at/all"),
			      STR("spiffe://td/ns/default/sa/first"), STR(SERVER)};
	struct x509_request r = {.uris = names,
				 .uri_count = ARRAY_SIZE(names),
				 .not_before = time(NULL) - 60,
				 .not_after = time(NULL) + 600};
	struct testcert s = testca_issue(&root, &r);
	struct tls_ctx *sc = testca_ctx(&s, NULL, root.pem, NULL, NULL),
		       *cc = testca_simple_ctx(&root, CLIENT);
	struct pair p;

	(void)state;
	struct str two[] = {STR("spiffe://td/ns/x/sa/y"), STR(SERVER)};
	pair_open(&p, cc, sc, two, 2);
	pair_shake(&p);
	assert_true(tls_established(p.c));
	assert_string_equal(tls_peer(p.c)->identity, "spiffe://td/ns/default/sa/first");
	pair_close(&p);
	/* The text names all of both. */
	struct str others[] = {STR("spiffe://td/ns/a/sa/a"), STR("spiffe://td/ns/b/sa/b")};
	pair_open(&p, cc, sc, others, 2);
	pair_shake(&p);
	assert_string_equal(tls_error_text(p.c),
			    "identity verification error: peer did not present the expected SAN "
			    "([spiffe://td/ns/a/sa/a, spiffe://td/ns/b/sa/b]), got "
			    "[spiffe://td/ns/default/sa/first, " SERVER "]");
	pair_close(&p);
	/* No name is wanted: none is good enough. */
	pair_open(&p, cc, sc, NULL, 0);
	pair_shake(&p);
	assert_int_equal(p.c_rc, ERR_PEER_IDENTITY);
	pair_close(&p);
	tls_ctx_put(cc);
	tls_ctx_put(sc);
	testcert_free(&s);
}

/* Signatures are checked once for the same chain; the time is not. */
static void what_was_good_expires(void **state)
{
	struct testcert c = testca_leaf(&root, CLIENT, 2, 0);
	struct tls_ctx *cc = testca_ctx(&c, NULL, root.pem, NULL, NULL),
		       *sc = testca_simple_ctx(&root, SERVER);
	struct timespec t = {.tv_sec = 3};

	(void)state;
	outcome(cc, sc, 0, 0, "");
	outcome(cc, sc, 0, 0, "");
	nanosleep(&t, NULL);
	outcome(cc, sc, ERR_TLS_ALERT, ERR_TLS_HANDSHAKE, "invalid peer certificate: expired");
	tls_ctx_put(cc);
	tls_ctx_put(sc);
	testcert_free(&c);
}

static void one_value_is_one_certificate(void **state)
{
	struct testcert c = testca_leaf(&root, CLIENT, 600, 0);
	char *bytes = malloc(c.der.n + root.der.n);
	struct x509 x;

	(void)state;
	memcpy(bytes, c.der.p, c.der.n);
	memcpy(bytes + c.der.n, root.der.p, root.der.n);
	assert_int_equal(x509_parse((struct str){bytes, c.der.n}, &x), 0);
	x509_fini(&x);
	assert_int_equal(x509_parse((struct str){bytes, c.der.n + 1}, &x), ERR_SYNTAX);
	assert_int_equal(x509_parse((struct str){bytes, c.der.n + root.der.n}, &x), ERR_SYNTAX);
	assert_int_equal(x509_parse((struct str){bytes, c.der.n - 1}, &x), ERR_SYNTAX);
	assert_int_equal(x509_parse((struct str){NULL, 0}, &x), ERR_SYNTAX);
	free(bytes);
	testcert_free(&c);
}

static void serials_are_decimal(void **state)
{
	static const struct {
		uint8_t bytes[20];
		size_t n;
		const char *text;
	} cases[] = {
		{{0}, 0, "0"},
		{{0}, 1, "0"},
		{{9}, 1, "9"},
		{{1, 0}, 2, "256"},
		{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, "18446744073709551615"},
		{{1, 0, 0, 0, 0, 0, 0, 0, 0}, 9, "18446744073709551616"},
		{{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		 20,
		 "730750818665451459101842416358141509827966271487"},
	};
	char text[X509_SERIAL_TEXT_MAX];
	uint8_t longest[X509_SERIAL_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		x509_serial_text(cases[i].bytes, cases[i].n, text);
		assert_string_equal(text, cases[i].text);
	}
	memset(longest, 0xff, sizeof(longest));
	x509_serial_text(longest, sizeof(longest), text);
	assert_int_equal(strlen(text), 78);
}

static void signing_requests(void **state)
{
	struct x509_key *key;
	char *pem = NULL;

	(void)state;
	assert_int_equal(x509_key_new(&key), 0);
	assert_int_equal(x509_sign_request(STR(CLIENT), key, &pem), 0);
	assert_true(strncmp(pem, "-----BEGIN CERTIFICATE REQUEST-----", 35) == 0);
	free(pem);
	char *long_name = calloc(1, 5000);
	memset(long_name, 'a', 4999);
	assert_int_equal(x509_sign_request(str_of(long_name), key, &pem), ERR_TOO_LARGE);
	free(long_name);
	x509_key_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intermediates),
		cmocka_unit_test(only_good_authorities_vouch),
		cmocka_unit_test(uses_are_obeyed),
		cmocka_unit_test(several_roots),
		cmocka_unit_test(several_names),
		cmocka_unit_test(what_was_good_expires),
		cmocka_unit_test(one_value_is_one_certificate),
		cmocka_unit_test(serials_are_decimal),
		cmocka_unit_test(signing_requests),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
