/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/random.h>

#include <stdlib.h>
#include <time.h>

#include "x509_issue.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "x509.h"

enum {
	KEY_DER_MAX = 512,
	KEY_PEM_MAX = 1024,
	FIXED_DER = 4096, /* all of a certificate but its alternative names */
	URI_MAX = 2048,
	GENERAL_NAME_URI = 0x86,
	DER_SEQUENCE = 0x30,
};

struct x509_key {
	WC_RNG rng;
	ecc_key ecc;
};

static int key_alloc(struct x509_key **out)
{
	struct x509_key *k = calloc(1, sizeof(*k));

	if (!k)
		return ERR_NOMEM;
	if (wc_InitRng(&k->rng) != 0) {
		free(k);
		return ERR_TLS_CONFIG;
	}
	if (wc_ecc_init(&k->ecc) != 0) {
		wc_FreeRng(&k->rng);
		free(k);
		return ERR_NOMEM;
	}
	wc_ecc_set_rng(&k->ecc, &k->rng);
	*out = k;
	return 0;
}

int x509_key_new(struct x509_key **out)
{
	struct x509_key *k;

	int rc = key_alloc(&k);
	if (rc != 0)
		return rc;
	if (wc_ecc_make_key_ex(&k->rng, 32, &k->ecc, ECC_SECP256R1) != 0) {
		x509_key_free(k);
		return ERR_TLS_CONFIG;
	}
	*out = k;
	return 0;
}

int x509_key_read(struct str pem, struct x509_key **out)
{
	uint8_t der[KEY_PEM_MAX];
	struct x509_key *k;
	word32 at = 0;

	if (pem.n == 0 || pem.n > sizeof(der))
		return ERR_SYNTAX;
	int rc = key_alloc(&k);
	if (rc != 0)
		return rc;
	int n = wc_KeyPemToDer((const byte *)pem.p, (int)pem.n, der, sizeof(der), NULL);
	if (n <= 0 || wc_EccPrivateKeyDecode(der, &at, &k->ecc, (word32)n) != 0 ||
	    (k->ecc.type == ECC_PRIVATEKEY_ONLY && wc_ecc_make_pub(&k->ecc, NULL) != 0)) {
		x509_key_free(k);
		rc = ERR_SYNTAX;
	} else {
		*out = k;
	}
	wipe(der, sizeof(der));
	return rc;
}

void x509_key_free(struct x509_key *k)
{
	if (!k)
		return;
	wc_ecc_free(&k->ecc);
	wc_FreeRng(&k->rng);
	wipe(k, sizeof(*k));
	free(k);
}

char *x509_key_pem(const struct x509_key *k)
{
	uint8_t der[KEY_DER_MAX];
	word32 n = sizeof(der);
	char *pem = calloc(1, KEY_PEM_MAX);

	/* The encoder takes a pointer to what it does not change. */
	bool ok = pem && wc_EccKeyToPKCS8((ecc_key *)&k->ecc, der, &n) > 0 &&
		  wc_DerToPem(der, n, (byte *)pem, KEY_PEM_MAX - 1, PKCS8_PRIVATEKEY_TYPE) > 0;
	wipe(der, sizeof(der));
	if (!ok) {
		free(pem);
		return NULL;
	}
	return pem;
}

bool x509_key_matches(const struct x509_key *k, struct str cert_der)
{
	uint8_t der[KEY_DER_MAX];
	struct str spki;

	/* The encoder takes a pointer to what it does not change. */
	int n = wc_EccPublicKeyToDer((ecc_key *)&k->ecc, der, sizeof(der), 1);
	if (n <= 0 || x509_public_key(cert_der, &spki) != 0)
		return false;
	bool same = spki.n == (size_t)n && memcmp(spki.p, der, (size_t)n) == 0;
	free((char *)spki.p);
	return same;
}

void x509_secret_free(char *secret)
{
	if (!secret)
		return;
	wipe(secret, strlen(secret));
	free(secret);
}

/* ---- the pieces of a certificate ---- */

static void put_length(struct cursor *c, size_t n)
{
	if (n >= 0x100) {
		cursor_put_u8(c, 0x82);
		cursor_put_u16(c, (uint16_t)n);
		return;
	}
	if (n >= 0x80)
		cursor_put_u8(c, 0x81);
	cursor_put_u8(c, (uint8_t)n);
}

static size_t length_bytes(size_t n)
{
	return n >= 0x100 ? 3 : n >= 0x80 ? 2 : 1;
}

/* GeneralNames, all of them URIs (RFC 5280 section 4.2.1.6). */
static int put_names(Cert *cert, const struct str *uris, size_t count)
{
	size_t body = 0;

	for (size_t i = 0; i < count; i++) {
		if (uris[i].n > URI_MAX)
			return ERR_TOO_LARGE;
		body += 1 + length_bytes(uris[i].n) + uris[i].n;
	}
	if (body == 0)
		return 0;
	struct cursor c =
		cursor_write(cert->altNames, MIN(sizeof(cert->altNames), (size_t)UINT16_MAX));
	cursor_put_u8(&c, DER_SEQUENCE);
	put_length(&c, body);
	for (size_t i = 0; i < count; i++) {
		cursor_put_u8(&c, GENERAL_NAME_URI);
		put_length(&c, uris[i].n);
		cursor_put(&c, uris[i].p, uris[i].n);
	}
	if (cursor_error(&c) != 0)
		return ERR_TOO_LARGE;
	cert->altNamesSz = (int)c.pos;
	return 0;
}

/* UTCTime up to 2049, as RFC 5280 section 4.1.2.5 wants it. */
static int put_time(int64_t when, byte out[CTC_DATE_SIZE], int *len)
{
	struct tm tm;
	time_t t = (time_t)when;
	char text[24];

	if (!gmtime_r(&t, &tm) || tm.tm_year < 50 || tm.tm_year > 9999 - 1900)
		return ERR_SYNTAX;
	bool utc = tm.tm_year < 150;
	size_t n = strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm);
	size_t skip = utc ? 2 : 0; /* the century */
	out[0] = utc ? ASN_UTC_TIME : ASN_GENERALIZED_TIME;
	out[1] = (byte)(n - skip);
	memcpy(out + 2, text + skip, n - skip);
	*len = (int)(n - skip) + 2;
	return 0;
}

static void put_name(CertName *name, const struct x509_request *r)
{
	if (r->organization)
		strncpy(name->org, r->organization, sizeof(name->org) - 1);
	if (r->name)
		strncpy(name->commonName, r->name, sizeof(name->commonName) - 1);
}

static int put_uses(Cert *cert, const struct x509_request *r)
{
	const char *extended = r->serves && r->calls ? "serverAuth,clientAuth"
			       : r->serves	     ? "serverAuth"
						     : "clientAuth";

	cert->basicConstSet = 1;
	cert->basicConstCrit = 1;
	cert->isCA = r->ca;
	if (wc_SetKeyUsage(cert, r->ca ? "keyCertSign,cRLSign,digitalSignature"
				       : "digitalSignature,keyEncipherment") != 0)
		return ERR_TLS_CONFIG;
	if ((r->serves || r->calls) && wc_SetExtKeyUsage(cert, extended) != 0)
		return ERR_TLS_CONFIG;
	return 0;
}

static int fill(Cert *cert, const struct x509_request *r, struct x509_key *subject,
		struct x509_key *issuer, struct str issuer_der)
{
	cert->sigType = CTC_SHA256wECDSA;
	cert->selfSigned = issuer == NULL;
	put_name(&cert->subject, r);
	if (r->serial) {
		if (r->serial_len > sizeof(cert->serial))
			return ERR_TOO_LARGE;
		memcpy(cert->serial, r->serial, r->serial_len);
		cert->serialSz = (int)r->serial_len;
	}
	cert->altNamesCrit = !r->organization && !r->name;
	int rc = put_names(cert, r->uris, r->uri_count);
	if (rc == 0)
		rc = put_time(r->not_before, cert->beforeDate, &cert->beforeDateSz);
	if (rc == 0)
		rc = put_time(r->not_after, cert->afterDate, &cert->afterDateSz);
	if (rc == 0)
		rc = put_uses(cert, r);
	if (rc != 0)
		return rc;
	if (wc_SetSubjectKeyIdFromPublicKey_ex(cert, ECC_TYPE, &subject->ecc) != 0)
		return ERR_TLS_CONFIG;
	if (issuer &&
	    (wc_SetIssuerBuffer(cert, (const byte *)issuer_der.p, (int)issuer_der.n) != 0 ||
	     wc_SetAuthKeyIdFromPublicKey_ex(cert, ECC_TYPE, &issuer->ecc) != 0))
		return ERR_TLS_CONFIG;
	return 0;
}

int x509_issue(const struct x509_request *r, struct x509_key *subject, struct x509_key *issuer,
	       struct str issuer_der, struct str *der)
{
	Cert *cert = malloc(sizeof(*cert));
	struct x509_key *signer = issuer ? issuer : subject;
	uint8_t *bytes = NULL;
	int n = 0, rc = ERR_NOMEM;

	if (!cert || wc_InitCert(cert) != 0)
		goto out;
	rc = fill(cert, r, subject, issuer, issuer_der);
	if (rc != 0)
		goto out;
	size_t cap = FIXED_DER + (size_t)cert->altNamesSz;
	bytes = malloc(cap);
	rc = ERR_NOMEM;
	if (!bytes)
		goto out;
	n = wc_MakeCert_ex(cert, bytes, (word32)cap, ECC_TYPE, &subject->ecc, &signer->rng);
	if (n > 0)
		n = wc_SignCert_ex(cert->bodySz, cert->sigType, bytes, (word32)cap, ECC_TYPE,
				   &signer->ecc, &signer->rng);
	rc = n > 0 ? 0 : ERR_TLS_CONFIG;
	if (rc == 0)
		*der = (struct str){(const char *)bytes, (size_t)n};
out:
	if (rc != 0)
		free(bytes);
	free(cert);
	return rc;
}

int x509_sign_request(struct str uri, struct x509_key *key, char **pem)
{
	Cert *cert = malloc(sizeof(*cert));
	const size_t cap = FIXED_DER + URI_MAX;
	uint8_t *der = malloc(cap);
	char *text = calloc(1, cap * 2);
	int n = 0, rc = ERR_NOMEM;

	if (!cert || !der || !text || wc_InitCert(cert) != 0)
		goto out;
	cert->version = 0;
	cert->sigType = CTC_SHA256wECDSA;
	cert->altNamesCrit = 1;
	rc = put_names(cert, &uri, 1);
	if (rc != 0)
		goto out;
	n = wc_MakeCertReq_ex(cert, der, (word32)cap, ECC_TYPE, &key->ecc);
	if (n > 0)
		n = wc_SignCert_ex(cert->bodySz, cert->sigType, der, (word32)cap, ECC_TYPE,
				   &key->ecc, &key->rng);
	if (n > 0)
		n = wc_DerToPem(der, (word32)n, (byte *)text, (word32)cap * 2 - 1, CERTREQ_TYPE);
	rc = n > 0 ? 0 : ERR_TLS_CONFIG;
	if (rc == 0) {
		*pem = text;
		text = NULL;
	}
out:
	free(text);
	free(der);
	free(cert);
	return rc;
}
