/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <stdio.h>
#include <stdlib.h>

#include "tls_priv.h"

#include "shared/base/err.h"
#include "tls_verify.h"

/* TLS 1.2 with AES-GCM: header, explicit nonce, and the tag behind. */
enum { TLS12_HEAD = 5 + 8, TLS12_TAIL = 16 };
_Static_assert((int)TLS12_HEAD <= TLS_ROOM_HEAD && (int)TLS12_TAIL <= TLS_ROOM_TAIL,
	       "a record fits its room");

/* ---- what wolfSSL calls: they record, and never drive ---- */

static int on_recv(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	struct tls *t = arg;
	(void)ssl;

	uint32_t n = size > 0 ? bufq_peek(&t->in, buf, (uint32_t)size) : 0;
	if (n == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	bufq_pop(&t->in, n);
	return (int)n;
}

static int on_send(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	struct tls_shake *s = ((struct tls *)arg)->shake;
	(void)ssl;

	if (s->mute)
		return size;
	if (s->seal_to) {
		if ((size_t)size > s->seal_room - s->seal_len)
			return WOLFSSL_CBIO_ERR_GENERAL;
		memcpy(s->seal_to + s->seal_len, buf, (size_t)size);
		s->seal_len += (size_t)size;
		return size;
	}
	int rc = s->out ? bufq_copy(s->out, s->pool, buf, (size_t)size) : ERR_NOMEM;
	if (rc != 0) {
		s->error = rc;
		return WOLFSSL_CBIO_ERR_GENERAL;
	}
	return size;
}

static int on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int size, void *arg)
{
	struct tls_shake *s = ((struct tls *)arg)->shake;
	int place;
	(void)ssl;

	switch (id) {
	case CLIENT_HANDSHAKE_TRAFFIC_SECRET: place = TLS_CLIENT_HANDSHAKE; break;
	case SERVER_HANDSHAKE_TRAFFIC_SECRET: place = TLS_SERVER_HANDSHAKE; break;
	case CLIENT_TRAFFIC_SECRET: place = TLS_CLIENT_TRAFFIC; break;
	case SERVER_TRAFFIC_SECRET: place = TLS_SERVER_TRAFFIC; break;
	default: return 0;
	}
	if (size <= 0 || size > TLS_SECRET_MAX)
		return -1;
	memcpy(s->secret[place], secret, (size_t)size);
	s->have |= (uint8_t)(1U << place);
	return 0;
}

static int verify(struct tls *t, const WOLFSSL_X509_STORE_CTX *store)
{
	struct tls_shake *s = t->shake;
	struct str der[TLS_CHAIN_MAX];
	int n = store->totalCerts;

	s->verdict = calloc(1, sizeof(*s->verdict));
	if (!s->verdict)
		return ERR_NOMEM;
	s->verdict->peer_serves = !t->serves;
	s->verdict->trust_domain = t->ctx->trust_domain;
	s->verdict->want = s->want;
	s->verdict->wants = s->wants;
	s->verdict->crl = t->ctx->crl;
	if (n < 0 || n > TLS_CHAIN_MAX)
		n = 0;
	for (int i = 0; i < n; i++)
		der[i] = (struct str){(const char *)store->certs[i].buffer, store->certs[i].length};
	return tls_verify_peer(t->ctx->trust, s->verdict, der, (size_t)n);
}

/*
 * wolfSSL's own store is empty, so it comes here with "no signer" for the leaf, and for whatever certificate it does not
 * like. The whole chain is judged at the first call. Only "no signer" is ever overruled: for a CA that the peer sent,
 * overruling anything else would put it into the shared store.
 */
static int on_verify(int fine, WOLFSSL_X509_STORE_CTX *store)
{
	struct tls *t = store->userCtx;
	struct tls_shake *s = t->shake;

	if (!s->verdict && s->error == 0) {
		s->error = verify(t, store);
		s->verified = s->error == 0;
		if (s->verified) {
			t->peer = s->verdict->peer;
			s->verdict->peer = NULL;
		}
	}
	bool overrule = fine || store->error == ASN_NO_SIGNER_E ||
			store->error == ASN_SELF_SIGNED_E;
	if (s->verified && overrule)
		return 1;
	if (s->error == 0)
		s->error = ERR_TLS_HANDSHAKE;
	/* Before TLS 1.3 it is in the clear, and wolfSSL's alert must do. */
	s->mute = wolfSSL_version(t->shake->ssl) == TLS1_3_VERSION;
	return 0;
}

/* ---- life ---- */

/* The wanted names in one block with their texts. */
static int copy_wants(struct tls_shake *s, const struct str *want, size_t wants)
{
	size_t bytes = wants * sizeof(*want);

	if (wants == 0)
		return 0;
	if (wants > TLS_EXPECTED_SANS_MAX)
		wants = TLS_EXPECTED_SANS_MAX;
	for (size_t i = 0; i < wants; i++)
		bytes += want[i].n;
	s->want = malloc(bytes);
	if (!s->want)
		return ERR_NOMEM;
	char *text = (char *)(s->want + wants);
	for (size_t i = 0; i < wants; i++) {
		memcpy(text, want[i].p, want[i].n);
		s->want[i] = (struct str){text, want[i].n};
		text += want[i].n;
	}
	s->wants = wants;
	return 0;
}

static int set_up(struct tls *t, WOLFSSL *ssl)
{
	static char alpn[] = "h2";

	wolfSSL_SSLSetIORecv(ssl, on_recv);
	wolfSSL_SSLSetIOSend(ssl, on_send);
	wolfSSL_SetIOReadCtx(ssl, t);
	wolfSSL_SetIOWriteCtx(ssl, t);
	wolfSSL_SetCertCbCtx(ssl, t);
	wolfSSL_set_verify(ssl, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   on_verify);
	if (wolfSSL_set_tls13_secret_cb(ssl, on_secret, t) != WOLFSSL_SUCCESS ||
	    wolfSSL_UseALPN(ssl, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH) !=
		    WOLFSSL_SUCCESS)
		return ERR_NOMEM;
	if (t->serves)
		return 0;
	/* Two key shares, so that a server without the hybrid needs no second round trip. */
	if (wolfSSL_UseKeyShare(ssl, WOLFSSL_X25519MLKEM768) != WOLFSSL_SUCCESS)
		return ERR_NOMEM;
	if (!t->ctx->options.pqc_only &&
	    wolfSSL_UseKeyShare(ssl, WOLFSSL_ECC_X25519) != WOLFSSL_SUCCESS)
		return ERR_NOMEM;
	return 0;
}

int tls_shake_new(struct tls *t, const struct str *want, size_t wants)
{
	t->shake = calloc(1, sizeof(*t->shake));
	if (!t->shake)
		return ERR_NOMEM;
	int rc = copy_wants(t->shake, want, wants);
	if (rc != 0)
		return rc;
	t->shake->ssl = wolfSSL_new(t->serves ? t->ctx->server : t->ctx->client);
	return t->shake->ssl ? set_up(t, t->shake->ssl) : ERR_NOMEM;
}

static void drop_secrets(struct tls_shake *s)
{
	wipe(s->secret, sizeof(s->secret));
	s->have = 0;
}

void tls_shake_free(struct tls *t)
{
	struct tls_shake *s = t->shake;

	if (!s)
		return;
	if (s->ssl)
		wolfSSL_free(s->ssl);
	drop_secrets(s);
	free(s->verdict);
	free(s->want);
	free(s);
	t->shake = NULL;
}

/* ---- the handshake ---- */

static bool have(const struct tls_shake *s, enum tls_secret which)
{
	return (s->have >> which) & 1;
}

/* From here on records are ours. wolfSSL has read up to the end of the peer's last handshake record, and no further. */
static int take_over(struct tls *t)
{
	struct tls_shake *s = t->shake;
	enum tls_secret rx = t->serves ? TLS_CLIENT_TRAFFIC : TLS_SERVER_TRAFFIC;
	enum tls_secret tx = t->serves ? TLS_SERVER_TRAFFIC : TLS_CLIENT_TRAFFIC;
	word64 rx_seq = 0, tx_seq = 0;

	if (!have(s, rx) || !have(s, tx))
		return tls_fail(t, ERR_TLS_HANDSHAKE, 0, "handshake gave no keys");
	/* Both say 1 for zero, which is what they should find. */
	(void)wolfSSL_GetPeerSequenceNumber(s->ssl, &rx_seq);
	(void)wolfSSL_GetSequenceNumber(s->ssl, &tx_seq);
	int rc = tls_direction_init(&t->rx, t->suite, s->secret[rx], rx_seq);
	if (rc != 0)
		return tls_fail(t, rc, 0, NULL);
	rc = tls_direction_init(&t->tx, t->suite, s->secret[tx], tx_seq);
	if (rc != 0) {
		tls_direction_fini(&t->rx);
		return tls_fail(t, rc, 0, NULL);
	}
	tls_shake_free(t);
	return 0;
}

static int finish(struct tls *t)
{
	struct tls_shake *s = t->shake;

	if (!s->verified || !t->peer)
		return tls_fail(t, ERR_TLS_HANDSHAKE, 0, "peer was not verified");
	t->suite = (uint16_t)wolfSSL_get_current_cipher_suite(s->ssl);
	t->tls12 = wolfSSL_version(s->ssl) != TLS1_3_VERSION;
	if (!t->tls12) {
		int rc = take_over(t);
		if (rc != 0)
			return rc;
	} else {
		free(s->want);
		free(s->verdict);
		s->want = NULL;
		s->wants = 0;
		s->verdict = NULL;
	}
	t->state = TLS_ESTABLISHED;
	return 0;
}

/* The reason in our own words, sealed with the keys the peer expects at this point (RFC 8446 section 6). */
static void say_alert(struct tls *t, uint8_t alert)
{
	struct tls_shake *s = t->shake;
	enum tls_secret which = t->serves ? TLS_SERVER_TRAFFIC : TLS_CLIENT_HANDSHAKE;
	uint8_t room[TLS_HEADER + 2 + TLS_EXPANSION] = {0};
	uint8_t *text = room + TLS_HEADER;
	struct tls_direction d;

	if (!have(s, which) || alert == 0 ||
	    tls_direction_init(&d, (uint16_t)wolfSSL_get_current_cipher_suite(s->ssl),
			       s->secret[which], 0) != 0)
		return;
	text[0] = 2; /* fatal */
	text[1] = alert;
	if (tls_record_seal(&d, TLS_ALERT, text, 2))
		(void)!bufq_copy(s->out, s->pool, room, sizeof(room));
	tls_direction_fini(&d);
}

static int received_alert(struct tls *t, uint8_t alert)
{
	char why[96];

	snprintf(why, sizeof(why), "received fatal alert: %s", tls_alert_text(alert));
	return tls_fail(t, ERR_TLS_ALERT, 0, why);
}

static int shake_failed(struct tls *t, int error)
{
	struct tls_shake *s = t->shake;
	WOLFSSL_ALERT_HISTORY alerts;
	char why[160];

	if (s->mute)
		say_alert(t, s->verdict ? s->verdict->alert : TLS_INTERNAL_ERROR);
	if (s->error != 0)
		return tls_fail(t, s->error, 0,
				s->verdict && s->verdict->why[0] ? s->verdict->why : NULL);
	memset(&alerts, 0, sizeof(alerts));
	if (error == FATAL_ERROR && wolfSSL_get_alert_history(s->ssl, &alerts) == WOLFSSL_SUCCESS &&
	    alerts.last_rx.level == alert_fatal)
		return received_alert(t, (uint8_t)alerts.last_rx.code);
	switch (error) {
	case MEMORY_E: return tls_fail(t, ERR_NOMEM, 0, NULL);
	case NO_PEER_CERT: return tls_fail(t, ERR_TLS_HANDSHAKE, 0, "peer sent no certificate");
	case UNKNOWN_ALPN_PROTOCOL_NAME_E:
		return tls_fail(t, ERR_H2_HANDSHAKE, 0, "peer does not offer h2");
	case ZERO_RETURN:
	case SOCKET_PEER_CLOSED_E:
		return tls_fail(t, ERR_CLOSED, 0, "peer closed during the handshake");
	default: break;
	}
	snprintf(why, sizeof(why), "handshake: %s",
		 wolfSSL_ERR_reason_error_string((unsigned long)error));
	return tls_fail(t, ERR_TLS_HANDSHAKE, 0, why);
}

int tls_shake_step(struct tls *t, struct bufpool *pool, struct bufq *out)
{
	struct tls_shake *s = t->shake;
	uint32_t before = t->in.bytes;
	int rc = 0;

	s->started = true;
	s->pool = pool;
	s->out = out;
	int ret = t->serves ? wolfSSL_accept(s->ssl) : wolfSSL_connect(s->ssl);
	s->received += before - t->in.bytes;
	if (ret == WOLFSSL_SUCCESS) {
		rc = finish(t);
	} else {
		int error = wolfSSL_get_error(s->ssl, ret);
		if (error != WOLFSSL_ERROR_WANT_READ)
			rc = shake_failed(t, error);
		else if (s->received > TLS_HANDSHAKE_BYTES_MAX)
			rc = tls_fail(t, ERR_TLS_HANDSHAKE, 0, "handshake is too long");
	}
	if (t->shake) {
		t->shake->pool = NULL;
		t->shake->out = NULL;
	}
	return rc;
}

/* ---- TLS 1.2 ---- */

int tls12_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more)
{
	struct tls_shake *s = t->shake;
	uint8_t text[TLS_PLAIN_MAX];
	char why[160];
	int rc = 0;

	s->pool = pool;
	s->out = &t->later;
	int n = wolfSSL_read(s->ssl, text, sizeof(text));
	s->out = NULL;
	if (n > 0) {
		*more = true;
		rc = bufq_copy(out, pool, text, (size_t)n);
		if (rc != 0)
			rc = tls_fail(t, rc, 0, NULL);
		wipe(text, (size_t)n);
		return rc;
	}
	WOLFSSL_ALERT_HISTORY alerts;
	memset(&alerts, 0, sizeof(alerts));
	int error = wolfSSL_get_error(s->ssl, n);
	switch (error) {
	case WOLFSSL_ERROR_WANT_READ: *more = false; return 0;
	case WOLFSSL_ERROR_ZERO_RETURN: t->rx_closed = true; return ERR_CLOSED;
	case FATAL_ERROR:
		if (wolfSSL_get_alert_history(s->ssl, &alerts) == WOLFSSL_SUCCESS &&
		    alerts.last_rx.level == alert_fatal)
			return received_alert(t, (uint8_t)alerts.last_rx.code);
		break;
	default: break;
	}
	snprintf(why, sizeof(why), "record: %s",
		 wolfSSL_ERR_reason_error_string((unsigned long)error));
	return tls_fail(t, ERR_TLS_RECORD, 0, why);
}

int tls12_seal(struct tls *t, uint8_t *rec, size_t n, uint8_t **out, size_t *out_len)
{
	struct tls_shake *s = t->shake;

	s->seal_to = rec - TLS12_HEAD;
	s->seal_room = TLS12_HEAD + n + TLS_ROOM_TAIL;
	s->seal_len = 0;
	int done = n > 0 ? wolfSSL_write(s->ssl, rec, (int)n) : 0;
	*out = s->seal_to;
	*out_len = s->seal_len;
	s->seal_to = NULL;
	if (done != (int)n)
		return tls_fail(t, ERR_TLS_RECORD, 0, "sealing failed");
	return 0;
}

int tls12_close_notify(struct tls *t, struct bufpool *pool, struct bufq *out)
{
	struct tls_shake *s = t->shake;

	s->pool = pool;
	s->out = out;
	(void)wolfSSL_shutdown(s->ssl);
	s->out = NULL;
	return s->error;
}
