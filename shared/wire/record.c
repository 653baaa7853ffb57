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

uint32_t record_left(const struct record_writer *w)
{
	uint32_t in_record, in_buf;

	if (!w->buf)
		return TLS_RECORD_MAX;
	in_record = TLS_RECORD_MAX - w->len;
	in_buf = w->buf->cap - tail_bytes(w) - (w->start + w->len);
	return MIN(in_record, in_buf);
}

static int take_buffer(struct record_writer *w)
{
	struct buf *b = NULL;

	if (w->expect + head_bytes(w) + TLS_ROOM_HEAD + TLS_ROOM_TAIL <= BUF_SLOT_BYTES)
		b = bufpool_slot(w->pool);
	if (!b)
		b = bufpool_slab(w->pool);
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

/* Makes room for at least one byte in the current record. */
static int make_room(struct record_writer *w)
{
	int err;

	if (w->buf && w->len > 0) {
		if (record_left(w) > 0)
			return 0;
		err = record_seal(w);
		if (err)
			return err;
	}
	if (w->buf && w->start + tail_bytes(w) + RECORD_WORTH_BYTES <= w->buf->cap)
		return 0;
	return take_buffer(w);
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
