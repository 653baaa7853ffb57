/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/signature.h>

#include <stdlib.h>
#include <time.h>

#include "x509.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "shared/base/spiffe.h"

_Static_assert(X509_HASH_BYTES <= (int)KEYID_SIZE, "hashes are taken whole");

/* `tlv` is a Time with its tag and length. */
static int read_time(const byte *tlv, int len, int64_t *out)
{
	const byte *date = NULL;
	byte format = 0;
	int n = 0;
	struct tm tm;

	if (tlv == NULL || len <= 0 || wc_GetDateInfo(tlv, len, &date, &format, &n) != 0)
		return ERR_SYNTAX;
	memset(&tm, 0, sizeof(tm));
	if (wc_GetDateAsCalendarTime(date, n, format, &tm) != 0)
		return ERR_SYNTAX;
	*out = (int64_t)timegm(&tm);
	return 0;
}

/* Leading zeroes are not part of a number. */
static int copy_serial(const byte *serial, int len, struct x509 *x)
{
	while (len > 0 && *serial == 0) {
		serial++;
		len--;
	}
	if (len < 0 || len > X509_SERIAL_MAX)
		return ERR_SYNTAX;
	memcpy(x->serial, serial, (size_t)len);
	x->serial_len = (uint8_t)len;
	return 0;
}

/* Built as we build it, wolfSSL puts each name before those it has read. */
#if defined(OPENSSL_EXTRA) && !defined(WOLFSSL_ALT_NAMES_NO_REV)
static const bool names_reversed = false;
#else
static const bool names_reversed = true;
#endif

static int copy_uris(const DNS_entry *name, struct x509 *x)
{
	for (; name; name = name->next) {
		if (name->type != ASN_URI_TYPE || name->len <= 0)
			continue;
		if (x->uris == X509_URIS_MAX)
			return ERR_TOO_LARGE;
		char *copy = malloc((size_t)name->len);
		if (!copy)
			return ERR_NOMEM;
		memcpy(copy, name->name, (size_t)name->len);
		x->uri[x->uris++] = (struct str){copy, (size_t)name->len};
	}
	for (size_t i = 0; names_reversed && i < x->uris / 2; i++) {
		struct str first = x->uri[i];
		x->uri[i] = x->uri[x->uris - 1 - i];
		x->uri[x->uris - 1 - i] = first;
	}
	return 0;
}

static int copy_facts(const struct DecodedCert *d, struct x509 *x)
{
	int rc = copy_serial(d->serial, d->serialSz, x);

	if (rc == 0)
		rc = read_time(d->beforeDate, d->beforeDateLen, &x->not_before);
	if (rc == 0)
		rc = read_time(d->afterDate, d->afterDateLen, &x->not_after);
	if (rc != 0)
		return rc;
	memcpy(x->subject, d->subjectHash, X509_HASH_BYTES);
	memcpy(x->issuer, d->issuerHash, X509_HASH_BYTES);
	memcpy(x->subject_key, d->extSubjKeyId, X509_HASH_BYTES);
	memcpy(x->issuer_key, d->extAuthKeyId, X509_HASH_BYTES);
	x->has_subject_key = d->extSubjKeyIdSet;
	x->has_issuer_key = d->extAuthKeyIdSet;
	x->may_sign = d->isCA &&
		      (!d->extKeyUsageSet || (d->extKeyUsage & KEYUSE_KEY_CERT_SIGN) != 0);
	x->self_issued = memcmp(x->subject, x->issuer, X509_HASH_BYTES) == 0;
	x->serves = !d->extExtKeyUsageSet ||
		    (d->extExtKeyUsage & (EXTKEYUSE_ANY | EXTKEYUSE_SERVER_AUTH)) != 0;
	x->calls = !d->extExtKeyUsageSet ||
		   (d->extExtKeyUsage & (EXTKEYUSE_ANY | EXTKEYUSE_CLIENT_AUTH)) != 0;
	return copy_uris(d->altNames, x);
}

/* One SEQUENCE and nothing behind it: what is hashed as a certificate is one. */
static bool exactly_one(struct str der)
{
	struct cursor c = cursor_read(der.p, der.n);
	bool sequence = cursor_u8(&c) == (ASN_SEQUENCE | ASN_CONSTRUCTED);
	size_t n = cursor_u8(&c);

	if (n == 0x81)
		n = cursor_u8(&c);
	else if (n == 0x82)
		n = cursor_u16(&c);
	else if (n >= 0x80)
		return false;
	return sequence && cursor_error(&c) == 0 && cursor_left(&c) == n;
}

int x509_parse(struct str der, struct x509 *out)
{
	struct DecodedCert *d;
	struct x509 x = {.der = der};
	int rc = ERR_SYNTAX;

	if (der.n == 0 || der.n > X509_DER_MAX)
		return der.n == 0 ? ERR_SYNTAX : ERR_TOO_LARGE;
	if (!exactly_one(der))
		return ERR_SYNTAX;
	d = malloc(sizeof(*d));
	if (!d)
		return ERR_NOMEM;
	wc_InitDecodedCert(d, (const byte *)der.p, (word32)der.n, NULL);
	int err = wc_ParseCert(d, CERT_TYPE, NO_VERIFY, NULL);
	if (err == 0)
		rc = copy_facts(d, &x);
	else if (err == MEMORY_E)
		rc = ERR_NOMEM;
	wc_FreeDecodedCert(d);
	free(d);
	if (rc != 0) {
		x509_fini(&x);
		return rc;
	}
	*out = x;
	return 0;
}

void x509_fini(struct x509 *x)
{
	for (size_t i = 0; i < x->uris; i++)
		free((char *)x->uri[i].p);
	x->uris = 0;
}

struct str x509_identity(const struct x509 *x, size_t i)
{
	struct spiffe id;

	for (size_t k = 0; k < x->uris; k++)
		if (spiffe_parse(x->uri[k], &id) == 0 && i-- == 0)
			return x->uri[k];
	return (struct str){NULL, 0};
}

void x509_serial_text(const uint8_t *serial, size_t len, char out[X509_SERIAL_TEXT_MAX])
{
	uint8_t digit[X509_SERIAL_TEXT_MAX]; /* least significant first */
	size_t digits = 1;

	CHECK(len <= X509_SERIAL_MAX);
	digit[0] = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned carry = serial[i];
		for (size_t k = 0; k < digits; k++) {
			carry += digit[k] * 256U;
			digit[k] = carry % 10;
			carry /= 10;
		}
		for (; carry > 0; carry /= 10)
			digit[digits++] = carry % 10;
	}
	for (size_t k = 0; k < digits; k++)
		out[k] = (char)('0' + digit[digits - 1 - k]);
	out[digits] = '\0';
}

static const char *find(struct str in, const char *what)
{
	return in.n > 0 ? memmem(in.p, in.n, what, strlen(what)) : NULL;
}

static int decode_block(const char *block, size_t len, int type, struct str *der)
{
	DerBuffer *d = NULL;
	uint8_t *copy = NULL;
	int err = wc_PemToDer((const byte *)block, (long)len, type, &d, NULL, NULL, NULL);

	if (err == 0 && d->length > 0)
		copy = malloc(d->length);
	if (copy) {
		memcpy(copy, d->buffer, d->length);
		*der = (struct str){(const char *)copy, d->length};
	}
	bool empty = err == 0 && d->length == 0;
	wc_FreeDer(&d);
	if (copy)
		return 0;
	return (err == 0 && !empty) || err == MEMORY_E ? ERR_NOMEM : ERR_SYNTAX;
}

int x509_pem_next(struct str *pem, enum x509_block kind, struct str *der)
{
	static const char *const begin[] = {"-----BEGIN CERTIFICATE-----",
					    "-----BEGIN X509 CRL-----"};
	static const char *const end[] = {"-----END CERTIFICATE-----", "-----END X509 CRL-----"};
	static const int type[] = {CERT_TYPE, CRL_TYPE};
	const char *from = find(*pem, begin[kind]);

	if (!from)
		return ERR_NOT_FOUND;
	struct str rest = {from, pem->n - (size_t)(from - pem->p)};
	const char *to = find(rest, end[kind]);
	if (!to)
		return ERR_SYNTAX;
	to += strlen(end[kind]);
	size_t len = (size_t)(to - from);
	if (len > INT32_MAX / 2)
		return ERR_TOO_LARGE;
	/* The decoder wants an end of line behind the footer. */
	char *block = malloc(len + 2);
	if (!block)
		return ERR_NOMEM;
	memcpy(block, from, len);
	memcpy(block + len, "\n", 2);
	int rc = decode_block(block, len + 1, type[kind], der);
	free(block);
	if (rc != 0)
		return rc;
	*pem = (struct str){to, pem->n - (size_t)(to - pem->p)};
	return 0;
}

char *x509_to_pem(struct str der)
{
	size_t cap = der.n * 2 + 256;
	char *pem = malloc(cap);

	if (!pem)
		return NULL;
	int n = wc_DerToPem((const byte *)der.p, (word32)der.n, (byte *)pem, (word32)cap - 1,
			    CERT_TYPE);
	if (n <= 0) {
		free(pem);
		return NULL;
	}
	pem[n] = '\0';
	return pem;
}

int x509_public_key(struct str der, struct str *spki)
{
	word32 n = 0;

	if (wc_GetSubjectPubKeyInfoDerFromCert((const byte *)der.p, (word32)der.n, NULL, &n) < 0 ||
	    n == 0)
		return ERR_SYNTAX;
	uint8_t *key = malloc(n);
	if (!key)
		return ERR_NOMEM;
	if (wc_GetSubjectPubKeyInfoDerFromCert((const byte *)der.p, (word32)der.n, key, &n) != 0) {
		free(key);
		return ERR_SYNTAX;
	}
	*spki = (struct str){(const char *)key, n};
	return 0;
}

static bool signed_ecc(struct str m, struct str sig, enum wc_HashType hash, struct str spki)
{
	ecc_key key;
	word32 at = 0;

	if (wc_ecc_init(&key) != 0)
		return false;
	bool ok = wc_EccPublicKeyDecode((const byte *)spki.p, &at, &key, (word32)spki.n) == 0 &&
		  wc_SignatureVerify(hash, WC_SIGNATURE_TYPE_ECC, (const byte *)m.p, (word32)m.n,
				     (const byte *)sig.p, (word32)sig.n, &key, sizeof(key)) == 0;
	wc_ecc_free(&key);
	return ok;
}

static bool signed_rsa(struct str m, struct str sig, enum wc_HashType hash, struct str spki)
{
	RsaKey key;
	word32 at = 0;

	if (wc_InitRsaKey(&key, NULL) != 0)
		return false;
	bool ok = wc_RsaPublicKeyDecode((const byte *)spki.p, &at, &key, (word32)spki.n) == 0 &&
		  wc_SignatureVerify(hash, WC_SIGNATURE_TYPE_RSA_W_ENC, (const byte *)m.p,
				     (word32)m.n, (const byte *)sig.p, (word32)sig.n, &key,
				     sizeof(key)) == 0;
	wc_FreeRsaKey(&key);
	return ok;
}

bool x509_signed_by(struct str message, struct str signature, uint32_t sig_oid, struct str spki)
{
	switch (sig_oid) {
	case CTC_SHA256wECDSA: return signed_ecc(message, signature, WC_HASH_TYPE_SHA256, spki);
	case CTC_SHA384wECDSA: return signed_ecc(message, signature, WC_HASH_TYPE_SHA384, spki);
	case CTC_SHA512wECDSA: return signed_ecc(message, signature, WC_HASH_TYPE_SHA512, spki);
	case CTC_SHA256wRSA: return signed_rsa(message, signature, WC_HASH_TYPE_SHA256, spki);
	case CTC_SHA384wRSA: return signed_rsa(message, signature, WC_HASH_TYPE_SHA384, spki);
	case CTC_SHA512wRSA: return signed_rsa(message, signature, WC_HASH_TYPE_SHA512, spki);
	default: return false;
	}
}
