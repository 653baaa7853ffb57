/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include "shared/base/err.h"

/* What a fresh buffer must at least hold for beginning a record in it. */
enum { RECORD_WORTH_BYTES = 512 };

static uint32_t head_bytes(const struct record_writer *w)
{
	return w->tls ? tls_record_head(w->tls) : 0;
}

static uint32_t tail_bytes(const struct record_writer *w)
{
	return w->tls ? TLS_ROOM_TAIL : 0;
}

void record_begin(struct record_writer *w, struct tls *tls, struct bufpool *pool, struct bufq *out,
		  uint32_t expect)
{
	*w = (struct record_writer){.tls = tls, .pool = pool, .out = out, .expect = expect};
}

/* Plaintext bytes that fit in the buffer when a record's plaintext begins at `start` there. */
static uint32_t fits(const struct record_writer *w, uint32_t start)
{
	uint32_t taken = start + tail_bytes(w);

	return taken < w->buf->cap ? w->buf->cap - taken : 0;
}

/* Whether the next byte begins a new buffer. */
static bool used_up(const struct record_writer *w)
{
	return !w->buf || (w->len == 0 && fits(w, w->start) < RECORD_WORTH_BYTES);
}

uint32_t record_left(const struct record_writer *w)
{
	if (used_up(w))
		return TLS_RECORD_MAX;
	return MIN(TLS_RECORD_MAX - w->len, fits(w, w->start + w->len));
}

/* A fresh buffer that holds `least` bytes, better all that is expected. */
static int take_buffer(struct record_writer *w, uint32_t least)
{
	uint32_t room = head_bytes(w) + TLS_ROOM_HEAD + TLS_ROOM_TAIL;
	struct buf *b = NULL;

	if (MAX(w->expect, least) + room <= BUF_SLOT_BYTES)
		b = bufpool_slot(w->pool);
	if (!b)
		b = bufpool_slab(w->pool);
	/* a slab is not to be had: go on in small pieces */
	if (!b && least + room <= BUF_SLOT_BYTES)
		b = bufpool_slot(w->pool);
	if (!b)
		return ERR_NOMEM;
	if (w->buf)
		buf_put(w->buf);
	w->buf = b;
	w->start = w->tls ? TLS_ROOM_HEAD : 0;
	w->len = 0;
	/* whoever fills one buffer is likely to fill the next */
	w->expect = RECORD_TURN_BYTES;
	return 0;
}

int record_seal(struct record_writer *w)
{
	uint8_t *out;
	size_t out_len;
	int err;

	if (!w->buf || w->len == 0)
		return 0;
	out = w->buf->data + w->start;
	out_len = w->len;
	if (w->tls) {
		err = tls_seal(w->tls, w->buf->data + w->start, w->len, &out, &out_len);
		if (err)
			return err;
	}
	err = bufq_push(w->out, w->buf, (uint32_t)(out - w->buf->data), (uint32_t)out_len);
	if (err)
		return err;
	w->start = (uint32_t)(out - w->buf->data + out_len) + head_bytes(w);
	w->len = 0;
	return 0;
}

int record_room(struct record_writer *w, uint32_t n)
{
	int err;

	if (!used_up(w)) {
		uint32_t next = w->start + w->len + tail_bytes(w) + head_bytes(w);

		/* what this record cannot take, one more behind it can */
		if (record_left(w) >= n || fits(w, next) >= n + RECORD_WORTH_BYTES)
			return 0;
		err = record_seal(w);
		if (err)
			return err;
	}
	return take_buffer(w, n);
}

/* Makes room for at least one byte in the current record. */
static int make_room(struct record_writer *w)
{
	if (w->buf && w->len > 0 && record_left(w) == 0) {
		int err = record_seal(w);

		if (err)
			return err;
	}
	return used_up(w) ? take_buffer(w, 1) : 0;
}

int record_put(struct record_writer *w, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n > 0) {
		uint32_t take;
		int err = make_room(w);

		if (err)
			return err;
		take = (uint32_t)MIN((size_t)record_left(w), n);
		memcpy(w->buf->data + w->start + w->len, p, take);
		w->len += take;
		w->total += take;
		p += take;
		n -= take;
	}
	return 0;
}

int record_put_q(struct record_writer *w, struct bufq *q, uint32_t n)
{
	while (n > 0) {
		const struct bslice *s = bufq_at(q, 0);
		uint32_t take = MIN(s->len, n);
		int err = record_put(w, s->buf->data + s->off, take);

		if (err)
			return err;
		bufq_pop(q, take);
		n -= take;
	}
	return 0;
}

int record_end(struct record_writer *w)
{
	int err = record_seal(w);

	if (w->buf)
		buf_put(w->buf);
	w->buf = NULL;
	return err;
}
