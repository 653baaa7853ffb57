/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS session over memory: no socket, no clock. TLS 1.3 by wolfSSL's handshake and, once it is done, our own record
 * layer (RFC 8446 section 5) that opens and seals in place; TLS 1.2, when configured, through wolfSSL's records.
 *
 * One turn: tls_feed() hands over received bytes, tls_step() runs the handshake while it lasts and appends what is to be
 * sent, tls_open() gives plaintext slices out of the fed buffers.
 */
#ifndef GAUZE_WIRE_TLS_H
#define GAUZE_WIRE_TLS_H

#include "shared/base/buf.h"

struct tls;
struct tls_ctx;
struct tls_peer;

enum {
	TLS_RECORD_MAX = 16384, /* plaintext bytes of one record (RFC 8446 section 5.1) */
	TLS_ROOM_HEAD = 16,	/* room that tls_seal needs before the plaintext ... */
	TLS_ROOM_TAIL = 32,	/* ... and behind it */
	TLS_EXPECTED_SANS_MAX = 64,
};

/*
 * A session of that context (a reference is taken). want_sans: the URI SANs one of which a server must present (contract
 * 5.1), borrowed for the call; a server passes none (it demands a peer of its own trust domain). NULL: out of memory.
 */
struct tls *tls_client_new(struct tls_ctx *ctx, const struct str *want_sans, size_t want_count);
struct tls *tls_server_new(struct tls_ctx *ctx);
/* Wipes keys. NULL is allowed. */
void tls_free(struct tls *t);

/* Takes all of in (bytes as received). 0, or ERR_NOMEM / ERR_TOO_LARGE (a record beyond the protocol's size). */
int must_check tls_feed(struct tls *t, struct bufq *in);
/*
 * Advances the handshake with what was fed, appends output records to out (allocated from pool). 0 while all is well,
 * else the session is dead: ERR_TLS_HANDSHAKE, ERR_PEER_IDENTITY, ERR_REVOKED, ERR_TLS_ALERT, ERR_H2_HANDSHAKE (ALPN);
 * an alert is then in out, and tls_error_text() says more. Also needed after the handshake for post-handshake messages
 * (KeyUpdate answers): call it whenever tls_wants_step().
 */
int must_check tls_step(struct tls *t, struct bufpool *pool, struct bufq *out);
bool tls_wants_step(const struct tls *t);
bool tls_established(const struct tls *t);
/* "" or what the handshake failed for, with the identities involved; never a secret. Borrowed until tls_free. */
const char *tls_error_text(const struct tls *t);
/* The peer's verified certificate facts; NULL before tls_established. Borrowed. */
const struct tls_peer *tls_peer(const struct tls *t);
/* Negotiated protocol: 0x0304 or 0x0303, and the suite's IANA number. */
uint16_t tls_version(const struct tls *t);
uint16_t tls_suite(const struct tls *t);

/*
 * Next piece of plaintext: appends one record's content to out as a slice of the buffer it was received in (decrypted in
 * place), or of a heap buffer when the record was split. *more is false when no whole record is left. 0; ERR_CLOSED after
 * close_notify; ERR_TLS_RECORD (bad MAC or malformed: the alert to send is produced by the next tls_step);
 * ERR_TLS_ALERT; ERR_NOMEM, after which nothing is lost as long as tls_established() and the call may be repeated.
 */
int must_check tls_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more);
/*
 * Seals n <= TLS_RECORD_MAX bytes of plaintext that stand at rec (with TLS_ROOM_HEAD writable bytes before and
 * TLS_ROOM_TAIL behind); *out, *out_len is the sealed record inside that room. 0 or an error that ends the session.
 * Rekeys by KeyUpdate before the AEAD limit (RFC 8446 section 5.5): the update record then precedes, see tls_wants_step.
 */
int must_check tls_seal(struct tls *t, uint8_t *rec, size_t n, uint8_t **out, size_t *out_len);
/* Bytes directly before rec that tls_seal writes (5 in TLS 1.3); nothing before these is touched. */
uint32_t tls_record_head(const struct tls *t);
/* Appends a close_notify record. */
int must_check tls_close_notify(struct tls *t, struct bufpool *pool, struct bufq *out);
/* Bytes fed and not yet opened. */
uint32_t tls_buffered(const struct tls *t);

#endif
