/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protection of TLS 1.3 records in place (RFC 8446 section 5) with keys of the schedule's section 7: one direction of one
 * session. It knows bytes and keys, not sessions: framing, alerts and post-handshake messages are tls_open.c's.
 */
#ifndef GAUZE_WIRE_TLS_RECORD_H
#define GAUZE_WIRE_TLS_RECORD_H

#include "tls_aead.h"

enum {
	TLS_HEADER = 5,
	TLS_SECRET_MAX = 48,
	TLS_PLAIN_MAX = 16384,
	TLS_CIPHER_MAX = TLS_PLAIN_MAX + 256, /* length field's maximum, section 5.2 */
	TLS_EXPANSION = 1 + TLS_AEAD_TAG,     /* type byte and tag behind the content */
};

enum tls_content {
	TLS_CHANGE_CIPHER_SPEC = 20,
	TLS_ALERT = 21,
	TLS_HANDSHAKE = 22,
	TLS_APPLICATION_DATA = 23
};

enum tls_suite { TLS_AES_128_GCM_SHA256 = 0x1301, TLS_AES_256_GCM_SHA384 = 0x1302 };

/* Alert descriptions, section 6. */
enum tls_alert {
	TLS_CLOSE_NOTIFY = 0,
	TLS_UNEXPECTED_MESSAGE = 10,
	TLS_BAD_RECORD_MAC = 20,
	TLS_RECORD_OVERFLOW = 22,
	TLS_HANDSHAKE_FAILURE = 40,
	TLS_BAD_CERTIFICATE = 42,
	TLS_UNSUPPORTED_CERTIFICATE = 43,
	TLS_CERTIFICATE_REVOKED = 44,
	TLS_CERTIFICATE_EXPIRED = 45,
	TLS_CERTIFICATE_UNKNOWN = 46,
	TLS_UNKNOWN_CA = 48,
	TLS_ACCESS_DENIED = 49,
	TLS_DECODE_ERROR = 50,
	TLS_INTERNAL_ERROR = 80,
	TLS_USER_CANCELED = 90,
	TLS_CERTIFICATE_REQUIRED = 116,
	TLS_NO_APPLICATION_PROTOCOL = 120,
};

/* "bad_record_mac"; "unknown" for what the table lacks. */
const char *tls_alert_text(uint8_t alert);

struct tls_direction {
	struct tls_aead aead;
	uint64_t seq; /* of the next record */
	uint16_t suite;
	uint8_t iv[TLS_AEAD_NONCE];
	uint8_t secret[TLS_SECRET_MAX]; /* the next generation comes from it */
};

/* 0, ERR_UNSUPPORTED (suite) or ERR_NOMEM; on failure there is nothing to wipe. */
int must_check tls_direction_init(struct tls_direction *d, uint16_t suite, const uint8_t *secret,
				  uint64_t seq);
/* Wipes. */
void tls_direction_fini(struct tls_direction *d);
/* Moves on to the next generation of keys (section 7.2); numbers start at 0 again. 0 or ERR_NOMEM: d is dead. */
int must_check tls_direction_update(struct tls_direction *d);
/*
 * Seals the n <= TLS_PLAIN_MAX bytes at text: writes TLS_HEADER bytes before and TLS_EXPANSION behind. False: internal
 * failure, or the sequence number would wrap.
 */
bool must_check tls_record_seal(struct tls_direction *d, enum tls_content type, uint8_t *text,
				size_t n);
/*
 * Opens a whole record that begins with its header at rec, `len` bytes (as its header says) behind that. Content is at
 * rec + TLS_HEADER, *n long, and of *type. 0 or the alert to send: TLS_BAD_RECORD_MAC, TLS_RECORD_OVERFLOW,
 * TLS_UNEXPECTED_MESSAGE.
 */
int must_check tls_record_open(struct tls_direction *d, uint8_t *rec, size_t len, uint8_t *type,
			       size_t *n);

#endif
