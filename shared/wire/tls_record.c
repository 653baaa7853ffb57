/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include "tls_record.h"

#include "shared/base/err.h"

struct suite {
	uint16_t number;
	uint8_t key_len, hash_len;
	int hash;
};

static const struct suite suites[] = {
	{TLS_AES_256_GCM_SHA384, 32, 48, WC_SHA384},
	{TLS_AES_128_GCM_SHA256, 16, 32, WC_SHA256},
};

static const struct suite *suite_of(uint16_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(suites); i++)
		if (suites[i].number == number)
			return &suites[i];
	return NULL;
}

const char *tls_alert_text(uint8_t alert)
{
	switch (alert) {
	case TLS_CLOSE_NOTIFY: return "close_notify";
	case TLS_UNEXPECTED_MESSAGE: return "unexpected_message";
	case TLS_BAD_RECORD_MAC: return "bad_record_mac";
	case TLS_RECORD_OVERFLOW: return "record_overflow";
	case TLS_HANDSHAKE_FAILURE: return "handshake_failure";
	case TLS_BAD_CERTIFICATE: return "bad_certificate";
	case TLS_UNSUPPORTED_CERTIFICATE: return "unsupported_certificate";
	case TLS_CERTIFICATE_REVOKED: return "certificate_revoked";
	case TLS_CERTIFICATE_EXPIRED: return "certificate_expired";
	case TLS_CERTIFICATE_UNKNOWN: return "certificate_unknown";
	case 47: return "illegal_parameter";
	case TLS_UNKNOWN_CA: return "unknown_ca";
	case TLS_ACCESS_DENIED: return "access_denied";
	case TLS_DECODE_ERROR: return "decode_error";
	case 51: return "decrypt_error";
	case 70: return "protocol_version";
	case 71: return "insufficient_security";
	case TLS_INTERNAL_ERROR: return "internal_error";
	case TLS_USER_CANCELED: return "user_canceled";
	case 109: return "missing_extension";
	case 110: return "unsupported_extension";
	case 112: return "unrecognized_name";
	case TLS_CERTIFICATE_REQUIRED: return "certificate_required";
	case TLS_NO_APPLICATION_PROTOCOL: return "no_application_protocol";
	default: return "unknown";
	}
}

static bool expand(const struct suite *s, const uint8_t *secret, const char *label, uint8_t *out,
		   size_t n)
{
	static const char protocol[] = "tls13 ";

	return wc_Tls13_HKDF_Expand_Label(out, (word32)n, secret, s->hash_len,
					  (const byte *)protocol, sizeof(protocol) - 1,
					  (const byte *)label, (word32)strlen(label), NULL, 0,
					  s->hash) == 0;
}

int tls_direction_init(struct tls_direction *d, uint16_t suite, const uint8_t *secret, uint64_t seq)
{
	const struct suite *s = suite_of(suite);
	uint8_t key[TLS_AEAD_KEY_MAX];
	int rc = ERR_NOMEM;

	if (!s)
		return ERR_UNSUPPORTED;
	if (expand(s, secret, "key", key, s->key_len) &&
	    expand(s, secret, "iv", d->iv, TLS_AEAD_NONCE))
		rc = tls_aead_init(&d->aead, key, s->key_len);
	wipe(key, sizeof(key));
	if (rc != 0) {
		wipe(d->iv, sizeof(d->iv));
		return rc;
	}
	d->seq = seq;
	d->suite = suite;
	memcpy(d->secret, secret, s->hash_len);
	return 0;
}

void tls_direction_fini(struct tls_direction *d)
{
	tls_aead_fini(&d->aead);
	wipe(d, sizeof(*d));
}

int tls_direction_update(struct tls_direction *d)
{
	const struct suite *s = suite_of(d->suite);
	uint8_t next[TLS_SECRET_MAX];
	int rc = ERR_NOMEM;

	CHECK(s != NULL);
	if (expand(s, d->secret, "traffic upd", next, s->hash_len)) {
		tls_direction_fini(d);
		rc = tls_direction_init(d, s->number, next, 0);
	}
	wipe(next, sizeof(next));
	return rc;
}

static void make_nonce(const struct tls_direction *d, uint8_t nonce[TLS_AEAD_NONCE])
{
	memcpy(nonce, d->iv, TLS_AEAD_NONCE);
	for (int i = 0; i < 8; i++)
		nonce[TLS_AEAD_NONCE - 1 - i] ^= (uint8_t)(d->seq >> (8 * i));
}

bool tls_record_seal(struct tls_direction *d, enum tls_content type, uint8_t *text, size_t n)
{
	uint8_t nonce[TLS_AEAD_NONCE];
	uint8_t *head = text - TLS_HEADER;
	size_t len = n + TLS_EXPANSION;

	CHECK(n <= TLS_PLAIN_MAX);
	if (d->seq == UINT64_MAX)
		return false;
	head[0] = TLS_APPLICATION_DATA;
	head[1] = head[2] = 3;
	head[3] = (uint8_t)(len >> 8);
	head[4] = (uint8_t)len;
	text[n] = (uint8_t)type;
	make_nonce(d, nonce);
	d->seq++;
	return tls_aead_seal(&d->aead, nonce, head, TLS_HEADER, text, n + 1);
}

int tls_record_open(struct tls_direction *d, uint8_t *rec, size_t len, uint8_t *type, size_t *n)
{
	uint8_t nonce[TLS_AEAD_NONCE];
	uint8_t *text = rec + TLS_HEADER;

	if (len > TLS_CIPHER_MAX)
		return TLS_RECORD_OVERFLOW;
	if (len < TLS_EXPANSION || d->seq == UINT64_MAX)
		return TLS_BAD_RECORD_MAC;
	make_nonce(d, nonce);
	size_t inner = len - TLS_AEAD_TAG;
	if (!tls_aead_open(&d->aead, nonce, rec, TLS_HEADER, text, inner))
		return TLS_BAD_RECORD_MAC;
	d->seq++;
	if (inner > TLS_PLAIN_MAX + 1)
		return TLS_RECORD_OVERFLOW;
	/* The type is the last byte that is not padding; a record of padding only has none (section 5.4). */
	while (inner > 0 && text[inner - 1] == 0)
		inner--;
	if (inner == 0)
		return TLS_UNEXPECTED_MESSAGE;
	*type = text[inner - 1];
	*n = inner - 1;
	return 0;
}
