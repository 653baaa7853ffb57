/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a TLS session, shared by the files that make it up, in the order of a session's life:
 *   tls_ctx.c        what all sessions of an identity have in common
 *   tls_handshake.c  wolfSSL over memory until the handshake is done, and for all of TLS 1.2
 *   tls_open.c       received records
 *   tls.c            sent records, and the session as its users see it
 */
#ifndef GAUZE_WIRE_TLS_PRIV_H
#define GAUZE_WIRE_TLS_PRIV_H

#include "tls.h"
#include "tls_ctx.h"
#include "tls_record.h"

struct WOLFSSL;
struct WOLFSSL_CTX;
struct tls_trust;
struct tls_verify;

struct tls_ctx {
	uint32_t magic;
	uint32_t refs; /* atomic */
	struct WOLFSSL_CTX *client, *server;
	struct tls_trust *trust;
	struct crl_store *crl;
	char *identity;
	struct str trust_domain; /* into identity */
	int64_t not_before, not_after;
	struct tls_options options;
};

enum {
	TLS_MAGIC = 0x746c7331,
	TLS_CTX_MAGIC = 0x746c7343,
	/* Bytes a peer may send before its handshake is done: the largest chain that is read, and its signature. */
	TLS_HANDSHAKE_BYTES_MAX = 256 * 1024,
	/* Records in a row that carry no application data (post-handshake messages, empty records, warnings). */
	TLS_IDLE_RECORDS_MAX = 32,
	/* A ticket's length; we only step over them. */
	TLS_TICKET_BYTES_MAX = 64 * 1024,
};

/* Records after which our own key is renewed: half of what RFC 8446 section 5.5 allows for AES-GCM. */
#define TLS_REKEY_RECORDS (1ULL << 23)
/* Records after which nothing more is sealed with one key: the user did not step. */
#define TLS_KEY_RECORDS_MAX (1ULL << 24)

enum tls_state { TLS_SHAKING, TLS_ESTABLISHED, TLS_DEAD };

/* What only the handshake needs; freed with wolfSSL's session once it is done (TLS 1.2 keeps it). */
struct tls_shake {
	struct WOLFSSL *ssl;
	struct str *want; /* one block with the texts */
	size_t wants;
	struct tls_verify *verdict; /* what our verification said of the peer */
	uint8_t secret[4][TLS_SECRET_MAX];
	uint8_t have; /* bit per secret */
	uint32_t received;
	bool started;
	bool verified; /* the peer's certificate passed */
	bool mute;     /* drop what wolfSSL says: our own alert is better */
	int error;     /* of a callback: ERR_NOMEM, ... */
	/* Where wolfSSL's output goes: */
	struct bufpool *pool;
	struct bufq *out;
	uint8_t *seal_to; /* during a TLS 1.2 seal */
	size_t seal_room, seal_len;
};

enum tls_secret {
	TLS_CLIENT_HANDSHAKE,
	TLS_SERVER_HANDSHAKE,
	TLS_CLIENT_TRAFFIC,
	TLS_SERVER_TRAFFIC
};

struct tls {
	uint32_t magic;
	uint8_t state; /* enum tls_state */
	bool serves;
	bool tls12;
	bool rx_closed, tx_closed; /* close_notify came, went */
	bool answer_update;	   /* the peer asked for our KeyUpdate */
	bool alert_due;
	uint8_t alert;
	uint16_t suite;
	int error; /* why it is dead */
	struct tls_ctx *ctx;
	struct tls_shake *shake;
	struct tls_peer *peer;
	char *why; /* malloc'ed text of the error, or NULL */
	struct bufq in;
	struct bufq later; /* TLS 1.2: what wolfSSL said outside of tls_step */
	/* A record whose pieces came in different buffers is put together here. */
	struct buf *part;
	uint32_t part_have, part_need;
	/* Post-handshake messages are stepped over as they come, so they need no buffer. */
	uint8_t message[4], message_have;
	uint32_t message_skip;
	uint32_t idle_records;
	struct tls_direction rx, tx; /* once established, TLS 1.3 only */
};

/* tls.c */
/* Ends the session: `error` sticks, and the alert (0: none) goes out with the next tls_step(). Returns error. */
int tls_fail(struct tls *t, int error, uint8_t alert, const char *why);

/* tls_handshake.c */
int must_check tls_shake_new(struct tls *t, const struct str *want, size_t wants);
void tls_shake_free(struct tls *t);
/* Runs the handshake as far as the fed bytes allow. */
int must_check tls_shake_step(struct tls *t, struct bufpool *pool, struct bufq *out);
/* TLS 1.2 only. */
int must_check tls12_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more);
int must_check tls12_seal(struct tls *t, uint8_t *rec, size_t n, uint8_t **out, size_t *out_len);
int must_check tls12_close_notify(struct tls *t, struct bufpool *pool, struct bufq *out);

/* tls_open.c */
int must_check tls13_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more);

#endif
