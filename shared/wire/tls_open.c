/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "tls_priv.h"

#include "shared/base/err.h"

/* Handshake message types that may come after the handshake (RFC 8446 section 4.6). */
enum { NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };

/* ---- framing ---- */

static int bad(struct tls *t, uint8_t alert, const char *why)
{
	return tls_fail(t, ERR_TLS_RECORD, alert, why);
}

/* Body length of the record whose header is at h; negative after failing the session. */
static int body_len(struct tls *t, const uint8_t h[TLS_HEADER])
{
	int len = h[3] << 8 | h[4];

	if (h[0] != TLS_APPLICATION_DATA)
		return bad(t, TLS_UNEXPECTED_MESSAGE, "record: unexpected type");
	if (len > TLS_CIPHER_MAX)
		return bad(t, TLS_RECORD_OVERFLOW, "record: too long");
	return len;
}

/* Fills the record that is being put together. True when it is whole. */
static bool fill_part(struct tls *t)
{
	uint32_t n = MIN(t->part_need - t->part_have, t->in.bytes);

	n = bufq_peek(&t->in, t->part->data + t->part_have, n);
	bufq_pop(&t->in, n);
	t->part_have += n;
	return t->part_have == t->part_need;
}

/*
 * The next whole record: *rec is a reference to the buffer that holds it from *off on, *len with its header. *rec is NULL
 * when there is none; what there is of one then waits in a buffer of its own, so that it pins no large one.
 */
static int next_record(struct tls *t, struct bufpool *pool, struct buf **rec, uint32_t *off,
		       uint32_t *len)
{
	uint8_t h[TLS_HEADER];

	*rec = NULL;
	if (!t->part) {
		if (t->in.bytes < TLS_HEADER)
			return t->in.bytes > 0 ? bufq_unpin(&t->in, pool, 0) : 0;
		bufq_peek(&t->in, h, TLS_HEADER);
		int body = body_len(t, h);
		if (body < 0)
			return body;
		*len = TLS_HEADER + (uint32_t)body;
		const struct bslice *s = bufq_at(&t->in, 0);
		if (s->len >= *len) {
			*off = s->off;
			*rec = buf_get(s->buf);
			bufq_pop(&t->in, *len);
			return 0;
		}
		t->part = bufpool_heap(pool, *len);
		if (!t->part)
			return ERR_NOMEM;
		t->part_have = 0;
		t->part_need = *len;
	}
	if (!fill_part(t))
		return 0;
	*rec = t->part;
	*off = 0;
	*len = t->part_need;
	t->part = NULL;
	return 0;
}

/* ---- what is not application data ---- */

static int on_alert(struct tls *t, const uint8_t *p, size_t n)
{
	char why[96];

	if (n != 2)
		return bad(t, TLS_DECODE_ERROR, "record: malformed alert");
	if (p[1] == TLS_CLOSE_NOTIFY) {
		t->rx_closed = true;
		return ERR_CLOSED;
	}
	/* The level is to be ignored, and only this one does not end the session (section 6.1). */
	if (p[1] == TLS_USER_CANCELED)
		return 0;
	snprintf(why, sizeof(why), "received fatal alert: %s", tls_alert_text(p[1]));
	return tls_fail(t, ERR_TLS_ALERT, 0, why);
}

static int on_key_update(struct tls *t, uint8_t request)
{
	if (request > 1)
		return bad(t, 47, "key update: malformed");
	int rc = tls_direction_update(&t->rx);
	if (rc != 0)
		return tls_fail(t, rc, TLS_INTERNAL_ERROR, NULL);
	/* Any number of requests before our answer is answered once (section 4.6.3). */
	if (request == 1 && !t->tx_closed)
		t->answer_update = true;
	return 0;
}

static uint32_t message_len(const uint8_t m[4])
{
	return (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];
}

/* Looks at the head of a message that is now whole. */
static int begin_message(struct tls *t)
{
	uint32_t len = message_len(t->message);

	switch (t->message[0]) {
	case NEW_SESSION_TICKET:
		if (t->serves)
			break;
		if (len > TLS_TICKET_BYTES_MAX)
			return bad(t, TLS_DECODE_ERROR, "session ticket: too long");
		t->message_skip = len;
		if (len == 0)
			t->message_have = 0;
		return 0;
	case KEY_UPDATE:
		if (len != 1)
			return bad(t, TLS_DECODE_ERROR, "key update: malformed");
		return 0;
	default: break;
	}
	return bad(t, TLS_UNEXPECTED_MESSAGE, "unexpected handshake message");
}

/* Messages may be cut and joined at will by records, but not around a change of keys (section 5.1). */
static int on_handshake(struct tls *t, const uint8_t *p, size_t n)
{
	int rc = 0;

	if (n == 0)
		return bad(t, TLS_UNEXPECTED_MESSAGE, "record: empty handshake message");
	while (rc == 0 && n > 0) {
		if (t->message_have < sizeof(t->message)) {
			t->message[t->message_have++] = *p++;
			n--;
			if (t->message_have == sizeof(t->message))
				rc = begin_message(t);
		} else if (t->message[0] == KEY_UPDATE) {
			if (n != 1)
				return bad(t, TLS_UNEXPECTED_MESSAGE, "key update inside a record");
			t->message_have = 0;
			return on_key_update(t, *p);
		} else {
			uint32_t skip = (uint32_t)MIN(n, (size_t)t->message_skip);
			p += skip;
			n -= skip;
			t->message_skip -= skip;
			if (t->message_skip == 0)
				t->message_have = 0;
		}
	}
	return rc;
}

static int on_other(struct tls *t, uint8_t type, const uint8_t *p, size_t n)
{
	if (++t->idle_records > TLS_IDLE_RECORDS_MAX)
		return bad(t, TLS_UNEXPECTED_MESSAGE, "too many records without data");
	if (t->message_have > 0 && type != TLS_HANDSHAKE)
		return bad(t, TLS_UNEXPECTED_MESSAGE, "record inside a handshake message");
	switch (type) {
	case TLS_ALERT: return on_alert(t, p, n);
	case TLS_HANDSHAKE: return on_handshake(t, p, n);
	case TLS_APPLICATION_DATA: return 0; /* an empty one */
	default: return bad(t, TLS_UNEXPECTED_MESSAGE, "record: unexpected inner type");
	}
}

int tls13_open(struct tls *t, struct bufpool *pool, struct bufq *out, bool *more)
{
	struct buf *rec;
	uint32_t off = 0, len = 0;
	uint8_t type = 0;
	size_t n = 0;

	if (t->rx_closed)
		return ERR_CLOSED;
	int rc = next_record(t, pool, &rec, &off, &len);
	if (rc != 0)
		return rc;
	if (!rec) {
		*more = false;
		return 0;
	}
	uint8_t *bytes = rec->data + off;
	int alert = tls_record_open(&t->rx, bytes, len - TLS_HEADER, &type, &n);
	if (alert != 0) {
		rc = bad(t, (uint8_t)alert,
			 alert == TLS_BAD_RECORD_MAC ? "record: not authentic"
						     : "record: malformed");
	} else if (type == TLS_APPLICATION_DATA && n > 0 && t->message_have == 0) {
		t->idle_records = 0;
		rc = bufq_push(out, rec, off + TLS_HEADER, (uint32_t)n);
		if (rc != 0)
			rc = tls_fail(t, rc, TLS_INTERNAL_ERROR, NULL);
	} else {
		rc = on_other(t, type, bytes + TLS_HEADER, n);
	}
	buf_put(rec);
	if (rc == 0)
		*more = true;
	return rc;
}
