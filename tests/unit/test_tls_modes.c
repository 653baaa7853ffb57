/* SPDX-License-Identifier: Apache-2.0 */
/* Versions, suites, groups and ALPN: what is agreed on, and with whom it is not. */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

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

/* ---- a peer that is not ours ---- */

struct stranger {
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	bool serves;
	uint8_t in[65536], out[65536];
	int in_len, in_at, out_len;
};

static int from_us(WOLFSSL *ssl, char *buf, int n, void *arg)
{
	struct stranger *s = arg;
	(void)ssl;

	n = MIN(n, s->in_len - s->in_at);
	if (n == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(buf, s->in + s->in_at, (size_t)n);
	s->in_at += n;
	return n;
}

static int to_us(WOLFSSL *ssl, char *buf, int n, void *arg)
{
	struct stranger *s = arg;
	(void)ssl;

	assert_true(s->out_len + n <= (int)sizeof(s->out));
	memcpy(s->out + s->out_len, buf, (size_t)n);
	s->out_len += n;
	return n;
}

static struct stranger *stranger_new(WOLFSSL_METHOD *method, bool serves, const struct testcert *c)
{
	struct stranger *s = calloc(1, sizeof(*s));

	s->serves = serves;
	s->ctx = wolfSSL_CTX_new(method);
	assert_non_null(s->ctx);
	if (c) {
		assert_int_equal(wolfSSL_CTX_use_certificate_chain_buffer(s->ctx, (byte *)c->pem,
									  (long)strlen(c->pem)),
				 WOLFSSL_SUCCESS);
		assert_int_equal(wolfSSL_CTX_use_PrivateKey_buffer(s->ctx, (byte *)c->key_pem,
								   (long)strlen(c->key_pem),
								   WOLFSSL_FILETYPE_PEM),
				 WOLFSSL_SUCCESS);
	}
	assert_int_equal(wolfSSL_CTX_load_verify_buffer(s->ctx, (byte *)root.pem,
							(long)strlen(root.pem),
							WOLFSSL_FILETYPE_PEM),
			 WOLFSSL_SUCCESS);
	wolfSSL_CTX_set_verify(s->ctx, WOLFSSL_VERIFY_PEER, NULL);
	return s;
}

static void stranger_begin(struct stranger *s)
{
	s->ssl = wolfSSL_new(s->ctx);
	assert_non_null(s->ssl);
	wolfSSL_SSLSetIORecv(s->ssl, from_us);
	wolfSSL_SSLSetIOSend(s->ssl, to_us);
	wolfSSL_SetIOReadCtx(s->ssl, s);
	wolfSSL_SetIOWriteCtx(s->ssl, s);
}

static void stranger_free(struct stranger *s)
{
	wolfSSL_free(s->ssl);
	wolfSSL_CTX_free(s->ctx);
	free(s);
}

struct talk {
	struct bufpool *pool;
	struct tls *t;
	int rc;	   /* of ours */
	bool done; /* the stranger's handshake */
};

static void carry(struct talk *k, struct stranger *s, struct bufq *out)
{
	struct bufq in = {0};

	if (s->in_at == s->in_len)
		s->in_at = s->in_len = 0;
	uint32_t n =
		bufq_peek(out, s->in + s->in_len, (uint32_t)(sizeof(s->in) - (size_t)s->in_len));
	s->in_len += (int)n;
	bufq_pop(out, n);
	assert_int_equal(bufq_copy(&in, k->pool, s->out, (size_t)s->out_len), 0);
	s->out_len = 0;
	assert_int_equal(tls_feed(k->t, &in), 0);
}

/* Runs the handshake between our session and the stranger. */
static void shake(struct talk *k, struct tls_ctx *ctx, struct stranger *s)
{
	struct bufq out = {0};

	*k = (struct talk){.pool = pair_pool()};
	k->t = s->serves ? tls_client_new(ctx, &want, 1) : tls_server_new(ctx);
	for (int i = 0; i < 10; i++) {
		if (k->rc == 0 && tls_wants_step(k->t))
			k->rc = tls_step(k->t, k->pool, &out);
		carry(k, s, &out);
		if (!k->done)
			k->done = (s->serves ? wolfSSL_accept(s->ssl) : wolfSSL_connect(s->ssl)) ==
				  WOLFSSL_SUCCESS;
		carry(k, s, &out);
	}
	bufq_fini(&out);
}

static void talk_end(struct talk *k)
{
	tls_free(k->t);
	bufpool_free(k->pool);
}

/* ---- modes of our own ---- */

static void both(struct tls_ctx *cc, struct tls_ctx *sc, uint16_t version, uint16_t suite)
{
	struct bufq got = {0};
	struct pair p;

	pair_open(&p, cc, sc, &want, 1);
	pair_shake(&p);
	assert_string_equal(tls_error_text(p.c), "");
	assert_string_equal(tls_error_text(p.s), "");
	assert_true(tls_established(p.c) && tls_established(p.s));
	assert_int_equal(tls_version(p.c), version);
	assert_int_equal(tls_version(p.s), version);
	assert_int_equal(tls_suite(p.c), suite);
	assert_string_equal(tls_peer(p.s)->identity, CLIENT);
	for (size_t n = 1; n <= 16384; n = n * 4) {
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'c', n), 0);
		assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
		assert_true(pair_is(&got, 'c', n));
		assert_int_equal(pair_send(&p, p.s, &p.to_c, 's', n), 0);
		assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), 0);
		assert_true(pair_is(&got, 's', n));
	}
	assert_int_equal(tls_close_notify(p.c, p.pool, &p.to_s), 0);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), ERR_CLOSED);
	pair_close(&p);
}

static void versions_of_the_contract(void **state)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0),
			s = testca_leaf(&root, SERVER, 3600, 0);
	struct tls_options with12 = {.tls12 = true}, pqc = {.pqc_only = true};
	struct tls_ctx *c13 = testca_ctx(&c, NULL, root.pem, NULL, NULL),
		       *s13 = testca_ctx(&s, NULL, root.pem, NULL, NULL),
		       *c12 = testca_ctx(&c, NULL, root.pem, NULL, &with12),
		       *s12 = testca_ctx(&s, NULL, root.pem, NULL, &with12),
		       *cq = testca_ctx(&c, NULL, root.pem, NULL, &pqc),
		       *sq = testca_ctx(&s, NULL, root.pem, NULL, &pqc);

	(void)state;
	both(c13, s13, 0x0304, 0x1302);
	/* 1.2 is only a possibility: two that can 1.3 use that. */
	both(c12, s12, 0x0304, 0x1302);
	both(c12, s13, 0x0304, 0x1302);
	both(c13, s12, 0x0304, 0x1302);
	both(cq, sq, 0x0304, 0x1302);
	both(cq, s13, 0x0304, 0x1302);
	both(c13, sq, 0x0304, 0x1302);
	tls_ctx_put(c13);
	tls_ctx_put(s13);
	tls_ctx_put(c12);
	tls_ctx_put(s12);
	tls_ctx_put(cq);
	tls_ctx_put(sq);
	testcert_free(&c);
	testcert_free(&s);
}

/* ---- strangers ---- */

static struct tls_ctx *ours(const char *uri, bool tls12, bool pqc)
{
	struct testcert c = testca_leaf(&root, uri, 3600, 0);
	struct tls_options o = {.tls12 = tls12, .pqc_only = pqc};
	struct tls_ctx *ctx = testca_ctx(&c, NULL, root.pem, NULL, &o);

	testcert_free(&c);
	return ctx;
}

static void tls12_with_those_who_have_no_better(void **state)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0),
			sc = testca_leaf(&root, SERVER, 3600, 0);
	struct tls_ctx *with = ours(SERVER, true, false), *without = ours(SERVER, false, false),
		       *client = ours(CLIENT, true, false);
	struct bufq got = {0}, in = {0};
	struct talk k;
	char text[64];

	(void)state;
	/* Our server. */
	struct stranger *s = stranger_new(wolfTLSv1_2_client_method(), false, &c);
	stranger_begin(s);
	shake(&k, with, s);
	assert_int_equal(k.rc, 0);
	assert_true(k.done && tls_established(k.t));
	assert_int_equal(tls_version(k.t), 0x0303);
	assert_int_equal(tls_suite(k.t), 0xc02c);
	assert_string_equal(tls_peer(k.t)->identity, CLIENT);
	assert_int_equal(wolfSSL_write(s->ssl, "hello", 5), 5);
	bool more = true;
	assert_int_equal(bufq_copy(&in, k.pool, s->out, (size_t)s->out_len), 0);
	s->out_len = 0;
	assert_int_equal(tls_feed(k.t, &in), 0);
	while (more)
		assert_int_equal(tls_open(k.t, k.pool, &got, &more), 0);
	assert_int_equal(bufq_peek(&got, text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	bufq_fini(&got);
	uint8_t room[TLS_ROOM_HEAD + 5 + TLS_ROOM_TAIL], *out;
	size_t len;
	memcpy(room + TLS_ROOM_HEAD, "world", 5);
	assert_int_equal(tls_seal(k.t, room + TLS_ROOM_HEAD, 5, &out, &len), 0);
	assert_ptr_equal(out, room + TLS_ROOM_HEAD - tls_record_head(k.t));
	assert_int_equal(len, 5 + 29);
	memcpy(s->in, out, len);
	s->in_at = 0;
	s->in_len = (int)len;
	assert_int_equal(wolfSSL_read(s->ssl, text, sizeof(text)), 5);
	assert_memory_equal(text, "world", 5);
	talk_end(&k);
	stranger_free(s);
	/* Where it is not switched on. */
	s = stranger_new(wolfTLSv1_2_client_method(), false, &c);
	stranger_begin(s);
	shake(&k, without, s);
	assert_int_equal(k.rc, ERR_TLS_HANDSHAKE);
	assert_false(k.done);
	talk_end(&k);
	stranger_free(s);
	/* Our client. */
	s = stranger_new(wolfTLSv1_2_server_method(), true, &sc);
	stranger_begin(s);
	shake(&k, client, s);
	assert_int_equal(k.rc, 0);
	assert_true(k.done && tls_established(k.t));
	assert_int_equal(tls_version(k.t), 0x0303);
	assert_string_equal(tls_peer(k.t)->identity, SERVER);
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(with);
	tls_ctx_put(without);
	tls_ctx_put(client);
	testcert_free(&c);
	testcert_free(&sc);
}

static void with_suite(const char *list, uint16_t suite, bool works)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_client_method(), false, &c);
	struct tls_ctx *ctx = ours(SERVER, false, false);
	struct talk k;

	assert_int_equal(wolfSSL_CTX_set_cipher_list(s->ctx, list), WOLFSSL_SUCCESS);
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_int_equal(k.rc, works ? 0 : ERR_TLS_HANDSHAKE);
	assert_int_equal(tls_established(k.t), works);
	if (works)
		assert_int_equal(tls_suite(k.t), suite);
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

static void suites_in_our_order(void **state)
{
	(void)state;
	with_suite("TLS13-AES128-GCM-SHA256", 0x1301, true);
	with_suite("TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384", 0x1302, true);
	with_suite("TLS13-CHACHA20-POLY1305-SHA256", 0, false);
}

static void with_group(int group, bool pqc_only, bool works)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_client_method(), false, &c);
	struct tls_ctx *ctx = ours(SERVER, false, pqc_only);
	struct talk k;

	assert_int_equal(wolfSSL_CTX_set_groups(s->ctx, &group, 1), WOLFSSL_SUCCESS);
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_int_equal(k.rc == 0, works);
	assert_int_equal(tls_established(k.t), works);
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

static void groups_of_the_contract(void **state)
{
	(void)state;
	with_group(WOLFSSL_ECC_X25519, false, true);
	with_group(WOLFSSL_ECC_SECP256R1, false, true);
	with_group(WOLFSSL_ECC_SECP384R1, false, true);
	with_group(WOLFSSL_X25519MLKEM768, false, true);
	with_group(WOLFSSL_ECC_SECP521R1, false, false);
	with_group(WOLFSSL_ECC_X25519, true, false);
	with_group(WOLFSSL_X25519MLKEM768, true, true);
}

/* Our client's first key shares are not to the server's taste: it asks for another (HelloRetryRequest). */
static void client_tries_again_with_another_group(void **state)
{
	struct testcert c = testca_leaf(&root, SERVER, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_server_method(), true, &c);
	struct tls_ctx *ctx = ours(CLIENT, false, false);
	int p384 = WOLFSSL_ECC_SECP384R1;
	struct talk k;

	(void)state;
	assert_int_equal(wolfSSL_CTX_set_groups(s->ctx, &p384, 1), WOLFSSL_SUCCESS);
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_string_equal(tls_error_text(k.t), "");
	assert_true(k.done && tls_established(k.t));
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

static void with_alpn(const char *offer, int rc)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_client_method(), false, &c);
	struct tls_ctx *ctx = ours(SERVER, false, false);
	struct talk k;

	stranger_begin(s);
	if (offer)
		assert_int_equal(wolfSSL_UseALPN(s->ssl, (char *)offer, (unsigned)strlen(offer),
						 WOLFSSL_ALPN_CONTINUE_ON_MISMATCH),
				 WOLFSSL_SUCCESS);
	/* A name that is asked for is ignored (no SNI). */
	assert_int_equal(wolfSSL_UseSNI(s->ssl, WOLFSSL_SNI_HOST_NAME, "a.b", 3), WOLFSSL_SUCCESS);
	shake(&k, ctx, s);
	assert_int_equal(k.rc, rc);
	assert_int_equal(tls_established(k.t), rc == 0);
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

static void alpn_of_the_contract(void **state)
{
	(void)state;
	with_alpn("h2", 0);
	with_alpn("http/1.1,h2", 0);
	with_alpn(NULL, 0);
	with_alpn("http/1.1", ERR_H2_HANDSHAKE);
}

static void client_without_certificate(void **state)
{
	struct stranger *s = stranger_new(wolfTLSv1_3_client_method(), false, NULL);
	struct tls_ctx *ctx = ours(SERVER, false, false);
	struct talk k;

	(void)state;
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_int_equal(k.rc, ERR_TLS_HANDSHAKE);
	assert_string_equal(tls_error_text(k.t), "peer sent no certificate");
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
}

/* A server's tickets are the first records under the new keys: stepped over. */
static void tickets_are_ignored(void **state)
{
	struct testcert c = testca_leaf(&root, SERVER, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_server_method(), true, &c);
	struct tls_ctx *ctx = ours(CLIENT, false, false);
	struct bufq in = {0}, got = {0};
	struct talk k;
	bool more = true;

	(void)state;
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_true(k.done && tls_established(k.t));
	for (int i = 0; i < 3; i++)
		assert_int_equal(wolfSSL_send_SessionTicket(s->ssl), WOLFSSL_SUCCESS);
	assert_int_equal(wolfSSL_write(s->ssl, "data", 4), 4);
	assert_int_equal(bufq_copy(&in, k.pool, s->out, (size_t)s->out_len), 0);
	assert_int_equal(tls_feed(k.t, &in), 0);
	while (more)
		assert_int_equal(tls_open(k.t, k.pool, &got, &more), 0);
	assert_int_equal(got.bytes, 4);
	bufq_fini(&got);
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

/* The other library understands our records and our KeyUpdate, and we its. */
static void keys_are_renewed_with_strangers(void **state)
{
	struct testcert c = testca_leaf(&root, CLIENT, 3600, 0);
	struct stranger *s = stranger_new(wolfTLSv1_3_client_method(), false, &c);
	struct tls_ctx *ctx = ours(SERVER, false, false);
	struct bufq in = {0}, got = {0}, out = {0};
	struct talk k;
	char text[16];

	(void)state;
	stranger_begin(s);
	shake(&k, ctx, s);
	assert_true(k.done && tls_established(k.t));
	for (int i = 0; i < 3; i++) {
		bool more = true;
		/* Asks for ours as well. */
		assert_int_equal(wolfSSL_update_keys(s->ssl), WOLFSSL_SUCCESS);
		assert_int_equal(wolfSSL_write(s->ssl, "ping", 4), 4);
		assert_int_equal(bufq_copy(&in, k.pool, s->out, (size_t)s->out_len), 0);
		s->out_len = 0;
		assert_int_equal(tls_feed(k.t, &in), 0);
		while (more)
			assert_int_equal(tls_open(k.t, k.pool, &got, &more), 0);
		assert_int_equal(got.bytes, 4);
		bufq_fini(&got);
		assert_true(tls_wants_step(k.t));
		assert_int_equal(tls_step(k.t, k.pool, &out), 0);
		assert_false(tls_wants_step(k.t));
		uint8_t room[TLS_ROOM_HEAD + 4 + TLS_ROOM_TAIL], *rec;
		size_t len;
		memcpy(room + TLS_ROOM_HEAD, "pong", 4);
		assert_int_equal(tls_seal(k.t, room + TLS_ROOM_HEAD, 4, &rec, &len), 0);
		assert_int_equal(bufq_copy(&out, k.pool, rec, len), 0);
		s->in_len = (int)bufq_peek(&out, s->in, sizeof(s->in));
		s->in_at = 0;
		bufq_fini(&out);
		assert_int_equal(wolfSSL_read(s->ssl, text, sizeof(text)), 4);
		assert_memory_equal(text, "pong", 4);
	}
	talk_end(&k);
	stranger_free(s);
	tls_ctx_put(ctx);
	testcert_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_of_the_contract),
		cmocka_unit_test(tls12_with_those_who_have_no_better),
		cmocka_unit_test(suites_in_our_order),
		cmocka_unit_test(groups_of_the_contract),
		cmocka_unit_test(client_tries_again_with_another_group),
		cmocka_unit_test(alpn_of_the_contract),
		cmocka_unit_test(client_without_certificate),
		cmocka_unit_test(tickets_are_ignored),
		cmocka_unit_test(keys_are_renewed_with_strangers),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
