/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "tls_priv.h"

#include "shared/base/err.h"

/* KeyUpdate, not requesting one in return: type, length, value. */
static const uint8_t key_update[] = {24, 0, 0, 1, 0};

static struct tls *new (struct tls_ctx *ctx, bool serves, const struct str *want, size_t wants)
{
	struct tls *t = aligned_alloc(16, sizeof(*t));

	_Static_assert(sizeof(struct tls) % 16 == 0, "aligned_alloc wants a multiple");
	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->magic = TLS_MAGIC;
	t->serves = serves;
	t->ctx = tls_ctx_get(ctx);
	bufq_init(&t->in);
	bufq_init(&t->later);
	if (tls_shake_new(t, want, wants) != 0) {
		tls_free(t);
		return NULL;
	}
	return t;
}

struct tls *tls_client_new(struct tls_ctx *ctx, const struct str *want_sans, size_t want_count)
{
	return new (ctx, false, want_sans, want_count);
}

struct tls *tls_server_new(struct tls_ctx *ctx)
{
	return new (ctx, true, NULL, 0);
}

static bool has_keys(const struct tls *t)
{
	return t->rx.suite != 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	MAGIC_CHECK(t, TLS_MAGIC);
	tls_shake_free(t);
	if (has_keys(t)) {
		tls_direction_fini(&t->rx);
		tls_direction_fini(&t->tx);
	}
	bufq_fini(&t->in);
	bufq_fini(&t->later);
	if (t->part)
		buf_put(t->part);
	free(t->peer);
	free(t->why);
	tls_ctx_put(t->ctx);
	t->magic = 0;
	free(t);
}

int tls_fail(struct tls *t, int error, uint8_t alert, const char *why)
{
	if (t->state == TLS_DEAD)
		return t->error;
	t->state = TLS_DEAD;
	t->error = error;
	t->alert = alert;
	t->alert_due = alert != 0 && has_keys(t) && !t->tx_closed;
	t->why = why ? strdup(why) : NULL;
	return error;
}

int tls_feed(struct tls *t, struct bufq *in)
{
	uint32_t moved = 0;

	MAGIC_CHECK(t, TLS_MAGIC);
	if (t->state == TLS_DEAD || t->rx_closed) {
		bufq_fini(in);
		return 0;
	}
	return bufq_move(&t->in, in, in->bytes, &moved);
}

/* ---- sending ---- */

static int put_record(struct tls *t, struct bufpool *pool, struct bufq *out, enum tls_content type,
		      const uint8_t *bytes, size_t n)
{
	uint8_t room[TLS_HEADER + 8 + TLS_EXPANSION] = {0};

	CHECK(n <= 8);
	memcpy(room + TLS_HEADER, bytes, n);
	if (!tls_record_seal(&t->tx, type, room + TLS_HEADER, n))
		return ERR_TLS_RECORD;
	return bufq_copy(out, pool, room, TLS_HEADER + n + TLS_EXPANSION);
}

static bool wants_rekey(const struct tls *t)
{
	return t->answer_update || t->tx.seq >= TLS_REKEY_RECORDS;
}

/* Our next keys, announced with the old ones. */
static int rekey(struct tls *t, struct bufpool *pool, struct bufq *out)
{
	int rc = put_record(t, pool, out, TLS_HANDSHAKE, key_update, sizeof(key_update));

	if (rc == 0)
		rc = tls_direction_update(&t->tx);
	t->answer_update = false;
	return rc == 0 ? 0 : tls_fail(t, rc, 0, NULL);
}

static int put_alert(struct tls *t, struct bufpool *pool, struct bufq *out, uint8_t alert)
{
	uint8_t text[2] = {alert == TLS_CLOSE_NOTIFY ? 1 : 2, alert};

	return put_record(t, pool, out, TLS_ALERT, text, sizeof(text));
}

int tls_step(struct tls *t, struct bufpool *pool, struct bufq *out)
{
	uint32_t moved = 0;

	MAGIC_CHECK(t, TLS_MAGIC);
	if (t->later.bytes > 0 && bufq_move(out, &t->later, t->later.bytes, &moved) != 0)
		return tls_fail(t, ERR_NOMEM, 0, NULL);
	switch (t->state) {
	case TLS_SHAKING: return tls_shake_step(t, pool, out);
	case TLS_ESTABLISHED:
		return !t->tls12 && !t->tx_closed && wants_rekey(t) ? rekey(t, pool, out) : 0;
	default:
		if (t->alert_due) {
			t->alert_due = false;
			t->tx_closed = true;
			(void)!put_alert(t, pool, out, t->alert);
		}
		return t->error;
	}
}

bool tls_wants_step(const struct tls *t)
{
	if (t->later.bytes > 0)
		return true;
	switch (t->state) {
	case TLS_SHAKING: return t->in.bytes > 0 || (!t->serves && !t->shake->started);
	case TLS_ESTABLISHED: return !t->tls12 && !t->tx_closed && wants_rekey(t);
	default: return t->alert_due;
	}
}

int tls_seal(struct tls *t, uint8_t *rec, size_t n, uint8_t **out, size_t *out_len)
{
	MAGIC_CHECK(t, TLS_MAGIC);
	CHECK(n <= TLS_RECORD_MAX);
	if (t->state == TLS_DEAD)
		return t->error;
	CHECK(t->state == TLS_ESTABLISHED);
	if (t->tx_closed)
		return ERR_CLOSED;
	if (t->tls12)
		return tls12_seal(t, rec, n, out, out_len);
	if (t->tx.seq >= TLS_KEY_RECORDS_MAX ||
	    !tls_record_seal(&t->tx, TLS_APPLICATION_DATA, rec, n))
		return tls_fail(t, ERR_TLS_RECORD, 0, "sealing failed");
	*out = rec - TLS_HEADER;
	*out_len = TLS_HEADER + n + TLS_EXPANSION;
	return 0;
}

uint32_t tls_record_head(const struct tls *t)
{
	return t->tls12 ? 13 : TLS_HEADER;
}

int tls_close_notify(struct tls *t, struct bufpool *pool, struct bufq *out)
{
	MAGIC_CHECK(t, TLS_MAGIC);
	if (t->state == TLS_DEAD)
		return t->error;
	if (t->state != TLS_ESTABLISHED || t->tx_closed)
		return 0;
	t->tx_closed = true;
	return t->tls12 ? tls12_close_notify(t, pool, out)
			: put_alert(t, pool, out, TLS_CLOSE_NOTIFY);
}

/* ---- receiving ---- */

int tls_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more)
{
	MAGIC_CHECK(t, TLS_MAGIC);
	if (t->state == TLS_DEAD)
		return t->error;
	if (t->state != TLS_ESTABLISHED) {
		*more = false;
		return 0;
	}
	return t->tls12 ? tls12_open(t, pool, out, more) : tls13_open(t, pool, out, more);
}

uint32_t tls_buffered(const struct tls *t)
{
	return t->in.bytes + (t->part ? t->part_have : 0);
}

/* ---- facts ---- */

bool tls_established(const struct tls *t)
{
	return t->state == TLS_ESTABLISHED;
}

const char *tls_error_text(const struct tls *t)
{
	if (t->why)
		return t->why;
	return t->error ? err_text(t->error) : "";
}

const struct tls_peer *tls_peer(const struct tls *t)
{
	return t->state == TLS_SHAKING ? NULL : t->peer;
}

uint16_t tls_version(const struct tls *t)
{
	return t->tls12 ? 0x0303 : 0x0304;
}

uint16_t tls_suite(const struct tls *t)
{
	return t->suite;
}
