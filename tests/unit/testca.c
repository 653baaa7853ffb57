/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "testca.h"

#include "shared/wire/tls_ctx.h"
#include "shared/wire/x509.h"

struct testca testca_new(const char *name, const struct testca *parent, uint8_t serial)
{
	struct testca ca;
	struct x509_request r = {.organization = "test",
				 .name = name,
				 .not_before = time(NULL) - 3600,
				 .not_after = time(NULL) + 3600,
				 .ca = true,
				 .serial = serial ? &serial : NULL,
				 .serial_len = 1};

	CHECK(x509_key_new(&ca.key) == 0);
	CHECK(x509_issue(&r, ca.key, parent ? parent->key : NULL,
			 parent ? parent->der : (struct str){0}, &ca.der) == 0);
	ca.pem = x509_to_pem(ca.der);
	CHECK(ca.pem);
	return ca;
}

void testca_free(struct testca *ca)
{
	x509_key_free(ca->key);
	free((char *)ca->der.p);
	free(ca->pem);
}

struct testcert testca_issue(const struct testca *ca, const struct x509_request *r)
{
	struct testcert c;
	struct x509_key *key;

	CHECK(x509_key_new(&key) == 0);
	CHECK(x509_issue(r, key, ca->key, ca->der, &c.der) == 0);
	c.pem = x509_to_pem(c.der);
	c.key_pem = x509_key_pem(key);
	CHECK(c.pem && c.key_pem);
	x509_key_free(key);
	return c;
}

struct testcert testca_leaf(const struct testca *ca, const char *uri, int seconds, uint8_t serial)
{
	struct str name = str_of(uri);
	struct x509_request r = {.uris = &name,
				 .uri_count = 1,
				 .not_before = time(NULL) - 60,
				 .not_after = time(NULL) + seconds,
				 .serves = true,
				 .calls = true,
				 .serial = serial ? &serial : NULL,
				 .serial_len = 1};

	return testca_issue(ca, &r);
}

void testcert_free(struct testcert *c)
{
	free((char *)c->der.p);
	free(c->pem);
	x509_secret_free(c->key_pem);
}

struct tls_ctx *testca_ctx(const struct testcert *c, const char *more, const char *roots,
			   struct crl_store *crl, const struct tls_options *o)
{
	static const struct tls_options none;
	struct tls_ctx *ctx = NULL;
	const char *why = "";
	char *chain = NULL;

	CHECK(asprintf(&chain, "%s%s", c->pem, more ? more : "") > 0);
	int rc = tls_ctx_new(str_of(chain), str_of(c->key_pem), str_of(roots), o ? o : &none, crl,
			     &ctx, &why);
	if (rc != 0)
		fprintf(stderr, "context: %s\n", why);
	CHECK(rc == 0);
	free(chain);
	return ctx;
}

struct tls_ctx *testca_simple_ctx(const struct testca *ca, const char *uri)
{
	struct testcert c = testca_leaf(ca, uri, 3600, 0);
	struct tls_ctx *ctx = testca_ctx(&c, NULL, ca->pem, NULL, NULL);

	testcert_free(&c);
	return ctx;
}

struct str testca_crl(const struct testca *ca, const uint8_t *serials, size_t n, bool pem)
{
	RevokedCert *revoked = calloc(n ? n : 1, sizeof(*revoked));
	uint8_t *der = calloc(1, 65536), *to_sign = calloc(1, 65536);
	static const byte before[] = "200101000000Z", after[] = "200201000000Z";
	uint8_t key_der[512];
	struct DecodedCert d;
	ecc_key key;
	WC_RNG rng;
	word32 at = 0;

	CHECK(revoked && der && to_sign && wc_ecc_init(&key) == 0 && wc_InitRng(&rng) == 0);
	for (size_t i = 0; i < n; i++) {
		revoked[i].serialNumber[0] = serials[i];
		revoked[i].serialSz = 1;
		memcpy(revoked[i].revDate, before, sizeof(before) - 1);
		revoked[i].revDateFormat = ASN_UTC_TIME;
		revoked[i].reasonCode = -1;
		revoked[i].next = i + 1 < n ? &revoked[i + 1] : NULL;
	}
	char *key_pem = x509_key_pem(ca->key);
	int key_len = wc_KeyPemToDer((byte *)key_pem, (int)strlen(key_pem), key_der,
				     sizeof(key_der), NULL);
	CHECK(key_len > 0 && wc_EccPrivateKeyDecode(key_der, &at, &key, (word32)key_len) == 0);
	x509_secret_free(key_pem);
	wc_InitDecodedCert(&d, (const byte *)ca->der.p, (word32)ca->der.n, NULL);
	CHECK(wc_ParseCert(&d, CERT_TYPE, NO_VERIFY, NULL) == 0);
	/* The name as a whole, with its own tag. */
	uint8_t name[512];
	size_t name_len = (size_t)d.subjectRawLen;
	CHECK(name_len < 128);
	name[0] = 0x30;
	name[1] = (uint8_t)name_len;
	memcpy(name + 2, d.subjectRaw, name_len);
	int tbs = wc_MakeCRL_ex(name, (word32)name_len + 2, before, ASN_UTC_TIME, after,
				ASN_UTC_TIME, n ? revoked : NULL, NULL, 0, CTC_SHA256wECDSA, 2,
				to_sign, 65536);
	CHECK(tbs > 0);
	int len = wc_SignCRL_ex(to_sign, tbs, CTC_SHA256wECDSA, der, 65536, NULL, &key, &rng);
	CHECK(len > 0);
	wc_FreeDecodedCert(&d);
	wc_ecc_free(&key);
	wc_FreeRng(&rng);
	free(revoked);
	free(to_sign);
	if (!pem)
		return (struct str){(char *)der, (size_t)len};
	char *text = calloc(1, 131072);
	CHECK(text && wc_DerToPem(der, (word32)len, (byte *)text, 131072, CRL_TYPE) > 0);
	free(der);
	return str_of(text);
}
