/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <pthread.h>

#include "testca.h"
#include "tls_pair.h"

#include "shared/wire/crl.h"
#include "shared/wire/x509.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

static const struct str want = {SERVER, sizeof(SERVER) - 1};

/* ---- sets ---- */

static struct crl_set *parse(struct str bytes)
{
	struct crl_set *s = NULL;

	assert_int_equal(crl_set_parse(bytes, &s), 0);
	assert_non_null(s);
	return s;
}

static void empty_means_nothing_is_revoked(void **state)
{
	(void)state;
	static const char *const nothing[] = {
		"", " \n\t", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
		struct crl_set *s = parse(str_of(nothing[i]));
		assert_int_equal(crl_set_count(s), 0);
		crl_set_put(s);
	}
}

static void refuses_what_is_no_list(void **state)
{
	struct testca ca = testca_new("root", NULL, 0);
	struct str der = testca_crl(&ca, (const uint8_t[]){5, 6}, 2, false);
	struct crl_set *s = NULL;

	(void)state;
	assert_true(crl_set_parse(STR("not a list at all"), &s) < 0);
	assert_true(crl_set_parse(STR("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
				  &s) < 0);
	assert_true(crl_set_parse(STR("-----BEGIN X509 CRL-----\nAAAA\n"), &s) < 0);
	assert_true(crl_set_parse(ca.der, &s) < 0); /* a certificate */
	for (size_t n = 1; n < der.n; n++)
		assert_true(crl_set_parse((struct str){der.p, n}, &s) < 0);
	assert_null(s);
	free((char *)der.p);
	testca_free(&ca);
}

static void reads_pem_and_der_and_several(void **state)
{
	struct testca a = testca_new("a", NULL, 0), b = testca_new("b", NULL, 0);
	struct str der = testca_crl(&a, (const uint8_t[]){1, 2, 3}, 3, false);
	struct str pem_a = testca_crl(&a, (const uint8_t[]){1, 2, 3}, 3, true);
	struct str pem_b = testca_crl(&b, (const uint8_t[]){4}, 1, true);
	char *both = NULL;

	(void)state;
	struct crl_set *s = parse(der);
	assert_int_equal(crl_set_count(s), 3);
	crl_set_put(s);
	/* Other blocks and text between them are skipped. */
	assert_true(asprintf(&both, "hello\n%s%s\n%s", pem_a.p, a.pem, pem_b.p) > 0);
	s = parse(str_of(both));
	assert_int_equal(crl_set_count(s), 4);
	crl_set_put(s);
	free(both);
	free((char *)der.p);
	free((char *)pem_a.p);
	free((char *)pem_b.p);
	testca_free(&a);
	testca_free(&b);
}

/* ---- single certificates ---- */

struct subject {
	struct x509 x;
	struct str key;
	struct crl_subject s;
};

static struct subject subject_of(struct str der, const struct testca *issuer)
{
	struct subject u;

	assert_int_equal(x509_parse(der, &u.x), 0);
	assert_int_equal(x509_public_key(issuer->der, &u.key), 0);
	u.s = (struct crl_subject){{(const char *)u.x.serial, u.x.serial_len}, NULL, u.key};
	return u;
}

static bool revokes(struct crl_set *s, struct subject *u)
{
	u->s.issuer = u->x.issuer;
	u->s.serial.p = (const char *)u->x.serial;
	return crl_revokes_cert(s, &u->s);
}

static void subject_free(struct subject *u)
{
	free((char *)u->key.p);
	x509_fini(&u->x);
}

static void finds_serial_of_that_issuer_only(void **state)
{
	struct testca a = testca_new("same name", NULL, 0), b = testca_new("same name", NULL, 0),
		      other = testca_new("other", NULL, 0);
	struct testcert leaf_a = testca_leaf(&a, CLIENT, 3600, 7),
			leaf_b = testca_leaf(&b, CLIENT, 3600, 7),
			leaf_o = testca_leaf(&other, CLIENT, 3600, 7),
			good = testca_leaf(&a, CLIENT, 3600, 8);
	struct str text = testca_crl(&a, (const uint8_t[]){200, 7, 9}, 3, true);
	struct crl_set *s = parse(text);
	struct subject ua = subject_of(leaf_a.der, &a), ub = subject_of(leaf_b.der, &b),
		       uo = subject_of(leaf_o.der, &other), ug = subject_of(good.der, &a);

	(void)state;
	/* More often than keys are remembered, and in turns. */
	for (int i = 0; i < 20; i++) {
		assert_true(revokes(s, &ua));
		assert_false(revokes(s, &ub)); /* another CA that has the same name */
		assert_false(revokes(s, &uo));
		assert_false(revokes(s, &ug));
	}
	subject_free(&ua);
	subject_free(&ub);
	subject_free(&uo);
	subject_free(&ug);
	crl_set_put(s);
	free((char *)text.p);
	testcert_free(&leaf_a);
	testcert_free(&leaf_b);
	testcert_free(&leaf_o);
	testcert_free(&good);
	testca_free(&a);
	testca_free(&b);
	testca_free(&other);
}

/* A list that nobody signed speaks for nobody. */
static void forged_lists_do_nothing(void **state)
{
	struct testca a = testca_new("root", NULL, 0);
	struct testcert leaf = testca_leaf(&a, CLIENT, 3600, 7);
	struct str der = testca_crl(&a, (const uint8_t[]){7}, 1, false);
	struct subject u = subject_of(leaf.der, &a);

	(void)state;
	struct crl_set *s = parse(der);
	assert_true(revokes(s, &u));
	crl_set_put(s);
	((char *)der.p)[der.n - 1] ^= 1; /* in the signature */
	s = parse(der);
	assert_false(revokes(s, &u));
	crl_set_put(s);
	subject_free(&u);
	free((char *)der.p);
	testcert_free(&leaf);
	testca_free(&a);
}

/* ---- handshakes and live peers ---- */

struct mesh {
	struct testca root, issuing;
	struct testcert client, server;
	struct crl_store *store;
	struct tls_ctx *cc, *sc;
};

static void mesh_new(struct mesh *m)
{
	m->root = testca_new("root", NULL, 0);
	m->issuing = testca_new("issuing", &m->root, 50);
	m->client = testca_leaf(&m->issuing, CLIENT, 3600, 7);
	m->server = testca_leaf(&m->issuing, SERVER, 3600, 8);
	m->store = crl_store_new();
	m->cc = testca_ctx(&m->client, m->issuing.pem, m->root.pem, m->store, NULL);
	m->sc = testca_ctx(&m->server, m->issuing.pem, m->root.pem, m->store, NULL);
}

static void mesh_free(struct mesh *m)
{
	tls_ctx_put(m->cc);
	tls_ctx_put(m->sc);
	crl_store_put(m->store);
	testcert_free(&m->client);
	testcert_free(&m->server);
	testca_free(&m->issuing);
	testca_free(&m->root);
}

static void revoke(struct mesh *m, const struct testca *by, const uint8_t *serials, size_t n)
{
	struct str text = testca_crl(by, serials, n, true);
	struct crl_set *s = parse(text);

	crl_store_swap(m->store, s);
	crl_set_put(s);
	free((char *)text.p);
}

static bool peer_revoked(struct mesh *m, const struct tls *t)
{
	struct crl_set *s = crl_store_current(m->store);
	bool yes = crl_revokes(s, tls_peer(t));

	crl_set_put(s);
	return yes;
}

static void handshake_fails(struct mesh *m, int c_rc, int s_rc, const char *text)
{
	struct pair p;

	pair_open(&p, m->cc, m->sc, &want, 1);
	pair_shake(&p);
	assert_int_equal(p.c_rc, c_rc);
	assert_int_equal(p.s_rc, s_rc);
	assert_string_equal(tls_error_text(c_rc == ERR_REVOKED ? p.c : p.s), text);
	assert_string_equal(tls_error_text(c_rc == ERR_REVOKED ? p.s : p.c),
			    "received fatal alert: certificate_revoked");
	pair_close(&p);
}

static void reload_reaches_live_peers_and_new_handshakes(void **state)
{
	struct mesh m;
	struct pair p;

	(void)state;
	mesh_new(&m);
	pair_open(&p, m.cc, m.sc, &want, 1);
	pair_shake(&p);
	assert_true(tls_established(p.c) && tls_established(p.s));
	assert_false(peer_revoked(&m, p.c));
	assert_false(peer_revoked(&m, p.s));
	/* Others' serials, and serials of another issuer: no. */
	revoke(&m, &m.issuing, (const uint8_t[]){1, 2, 50}, 3);
	assert_false(peer_revoked(&m, p.c) || peer_revoked(&m, p.s));
	revoke(&m, &m.root, (const uint8_t[]){7, 8}, 2);
	assert_false(peer_revoked(&m, p.c) || peer_revoked(&m, p.s));
	/* A leaf. */
	revoke(&m, &m.issuing, (const uint8_t[]){7}, 1);
	assert_true(peer_revoked(&m, p.s));
	assert_false(peer_revoked(&m, p.c));
	handshake_fails(&m, ERR_TLS_ALERT, ERR_REVOKED, "invalid peer certificate: revoked");
	revoke(&m, &m.issuing, (const uint8_t[]){8}, 1);
	assert_true(peer_revoked(&m, p.c));
	assert_false(peer_revoked(&m, p.s));
	handshake_fails(&m, ERR_REVOKED, ERR_TLS_ALERT, "invalid peer certificate: revoked");
	/* The intermediate, by the root: everybody below it. */
	revoke(&m, &m.root, (const uint8_t[]){50}, 1);
	assert_true(peer_revoked(&m, p.c) && peer_revoked(&m, p.s));
	handshake_fails(&m, ERR_REVOKED, ERR_TLS_ALERT, "invalid peer certificate: revoked");
	/* And pardoned. */
	struct crl_set *none = parse(STR(""));
	crl_store_swap(m.store, none);
	crl_set_put(none);
	assert_false(peer_revoked(&m, p.c) || peer_revoked(&m, p.s));
	pair_close(&p);
	mesh_free(&m);
}

/* Two leaves below one intermediate: revoking one leaves the other. */
static void siblings_live_on(void **state)
{
	struct mesh m;
	struct pair p, q;

	(void)state;
	mesh_new(&m);
	struct testcert second = testca_leaf(&m.issuing, CLIENT, 3600, 9);
	struct tls_ctx *cc = testca_ctx(&second, m.issuing.pem, m.root.pem, m.store, NULL);
	pair_open(&p, m.cc, m.sc, &want, 1);
	pair_open(&q, cc, m.sc, &want, 1);
	pair_shake(&p);
	pair_shake(&q);
	revoke(&m, &m.issuing, (const uint8_t[]){9}, 1);
	assert_false(peer_revoked(&m, p.s));
	assert_true(peer_revoked(&m, q.s));
	pair_close(&p);
	pair_close(&q);
	tls_ctx_put(cc);
	testcert_free(&second);
	mesh_free(&m);
}

/* The peer's facts outlive its session's context, and an expired certificate is not a revoked one. */
static void expiry_is_not_revocation(void **state)
{
	struct mesh m;
	struct pair p;

	(void)state;
	mesh_new(&m);
	struct testcert brief = testca_leaf(&m.issuing, CLIENT, 2, 9);
	struct tls_ctx *cc = testca_ctx(&brief, m.issuing.pem, m.root.pem, m.store, NULL);
	pair_open(&p, cc, m.sc, &want, 1);
	pair_shake(&p);
	assert_true(tls_established(p.s));
	struct timespec t = {.tv_sec = 2, .tv_nsec = 100000000};
	nanosleep(&t, NULL);
	assert_false(peer_revoked(&m, p.s));
	revoke(&m, &m.issuing, (const uint8_t[]){9}, 1);
	assert_true(peer_revoked(&m, p.s));
	pair_close(&p);
	tls_ctx_put(cc);
	testcert_free(&brief);
	mesh_free(&m);
}

/* ---- threads ---- */

struct swapper {
	struct mesh *m;
	struct crl_set *set[2];
};

static void *swap(void *arg)
{
	struct swapper *w = arg;

	for (int i = 0; i < 2000; i++)
		crl_store_swap(w->m->store, w->set[i % 2]);
	return NULL;
}

static void swaps_while_others_look(void **state)
{
	struct mesh m;
	struct pair p;
	pthread_t thread;

	(void)state;
	mesh_new(&m);
	struct str one = testca_crl(&m.issuing, (const uint8_t[]){7}, 1, true);
	struct swapper w = {&m, {parse(one), parse(STR(""))}};
	pair_open(&p, m.cc, m.sc, &want, 1);
	pair_shake(&p);
	assert_true(tls_established(p.s));
	assert_int_equal(pthread_create(&thread, NULL, swap, &w), 0);
	for (int i = 0; i < 2000; i++)
		(void)peer_revoked(&m, p.s);
	pthread_join(thread, NULL);
	assert_false(peer_revoked(&m, p.s));
	crl_set_put(w.set[0]);
	crl_set_put(w.set[1]);
	free((char *)one.p);
	pair_close(&p);
	mesh_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_means_nothing_is_revoked),
		cmocka_unit_test(refuses_what_is_no_list),
		cmocka_unit_test(reads_pem_and_der_and_several),
		cmocka_unit_test(finds_serial_of_that_issuer_only),
		cmocka_unit_test(forged_lists_do_nothing),
		cmocka_unit_test(reload_reaches_live_peers_and_new_handshakes),
		cmocka_unit_test(siblings_live_on),
		cmocka_unit_test(expiry_is_not_revocation),
		cmocka_unit_test(swaps_while_others_look),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
