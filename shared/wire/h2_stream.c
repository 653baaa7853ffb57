/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of an HTTP/2 session as endpoints: data, credit, half close, reset. */
#include <errno.h>
#include <stdlib.h>

#include "h2_private.h"
#include "shared/base/err.h"

/* Bytes of one stream after which others that wait get their turn: four full records. */
enum { H2_QUANTUM_BYTES = 60 * 1024, H2_HEAD_FIELDS_START = 12, H2_HEAD_FIELDS_MAX = 256 };

static struct h2_stream *stream_of(struct endpoint *ep)
{
	struct h2_stream *s = container_of(ep, struct h2_stream, ep);

	MAGIC_CHECK(s, H2_STREAM_MAGIC);
	return s;
}

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
	struct h2_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->magic = H2_STREAM_MAGIC;
	s->ep.ops = &h2_stream_ops;
	s->id = id;
	s->h2 = h2;
	s->window = h2->config.window_start;
	list_init(&s->link);
	list_init(&s->pending);
	bufq_init(&s->ep.rx);
	bufq_init(&s->tx);
	list_add_tail(&h2->streams, &s->link);
	h2->stream_count++;
	h2->held++;
	return s;
}

void h2_stream_drop_head(struct h2_stream *s)
{
	struct h2_head *head = s->head;

	s->head = NULL;
	if (!head)
		return;
	for (uint32_t i = 0; i < 2 * head->count; i++)
		nghttp2_rcbuf_decref(head->held[i]);
	free(head->held);
	free(head->v);
	free(head);
}

static void stream_free(struct h2_stream *s)
{
	struct h2 *h2 = s->h2;

	h2_stream_drop_head(s);
	list_del(&s->link);
	list_del(&s->pending);
	bufq_fini(&s->ep.rx);
	bufq_fini(&s->tx);
	s->magic = 0;
	free(s);
	if (--h2->held == 0 && !h2->ng)
		free(h2);
}

static int head_grow(struct h2_head *head)
{
	uint32_t cap = head->cap ? head->cap * 2 : H2_HEAD_FIELDS_START;
	struct header *v;
	void **held;

	if (head->cap >= H2_HEAD_FIELDS_MAX)
		return ERR_TOO_LARGE;
	v = realloc(head->v, cap * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	head->v = v;
	held = realloc(head->held, 2 * cap * sizeof(*held));
	if (!held)
		return ERR_NOMEM;
	head->held = held;
	head->cap = cap;
	return 0;
}

int h2_stream_head_add(struct h2_stream *s, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
		       uint32_t bytes_max)
{
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
	struct h2_head *head = s->head;
	int err;

	if (!head) {
		head = s->head = calloc(1, sizeof(*head));
		if (!head)
			return ERR_NOMEM;
	}
	if (head->too_large)
		return 0;
	if (head->bytes + n.len + v.len + 32 > bytes_max) {
		head->too_large = true;
		return 0;
	}
	if (head->count == head->cap) {
		err = head_grow(head);
		if (err == ERR_TOO_LARGE) {
			head->too_large = true;
			return 0;
		}
		if (err)
			return err;
	}
	head->bytes += (uint32_t)(n.len + v.len + 32);
	nghttp2_rcbuf_incref(name);
	nghttp2_rcbuf_incref(value);
	head->held[2 * head->count] = name;
	head->held[2 * head->count + 1] = value;
	head->v[head->count] = (struct header){{(char *)n.base, n.len}, {(char *)v.base, v.len}};
	head->count++;
	return 0;
}

/* Returns connection window: at once while the session buffers little, later when it buffers much. */
static void conn_credit(struct h2 *h2, uint32_t n)
{
	h2->conn_debt += n;
	if (!h2->ng || h2->buffered > h2->config.buffered_max ||
	    (h2->buffered > h2->conn_window && bufpool_low(h2->pool)))
		return;
	(void)nghttp2_session_consume_connection(h2->ng, h2->conn_debt);
	h2->conn_drained += h2->conn_debt;
	h2->conn_debt = 0;
	if (h2->conn_drained < h2->conn_window)
		return;
	/* a whole window went through: when that took little time, the window is what limits the peer */
	if (h2->now_ns - h2->conn_drained_since_ns < H2_GROW_MS * NS_PER_MS &&
	    h2->conn_window < h2->config.conn_window_max) {
		h2->conn_window = MIN(h2->conn_window * 2, h2->config.conn_window_max);
		(void)nghttp2_session_set_local_window_size(h2->ng, NGHTTP2_FLAG_NONE, 0,
							    (int32_t)h2->conn_window);
	}
	h2->conn_drained = 0;
	h2->conn_drained_since_ns = h2->now_ns;
}

void h2_stream_data(struct h2_stream *s, const uint8_t *bytes, uint32_t len)
{
	struct h2 *h2 = s->h2;
	int err;

	if (s->user_closed || s->ep.error) {
		conn_credit(h2, len);
		(void)nghttp2_session_consume_stream(h2->ng, s->id, len);
		return;
	}
	/* what nobody takes yet must not pin a receive slot */
	if (s->ep.user && s->ep.open)
		err = bufq_push(&s->ep.rx, h2->in, (uint32_t)(bytes - h2->in->data), len);
	else
		err = bufq_copy(&s->ep.rx, h2->pool, bytes, len);
	if (err) {
		/* this stream ends, the others of the session do not */
		s->ep.error = err;
		(void)nghttp2_submit_rst_stream(h2->ng, NGHTTP2_FLAG_NONE, s->id, err_h2(err));
		conn_credit(h2, len);
		endpoint_notify(&s->ep);
		return;
	}
	s->uncredited += len;
	h2->buffered += len;
	conn_credit(h2, len);
	endpoint_notify(&s->ep);
}

static void stream_grow(struct h2_stream *s, uint32_t n)
{
	struct h2 *h2 = s->h2;

	s->drained += n;
	if (s->drained < s->window)
		return;
	if (h2->now_ns - s->drained_since_ns < H2_GROW_MS * NS_PER_MS &&
	    s->window < h2->config.window_max && h2->buffered < h2->config.buffered_max / 2 &&
	    !bufpool_low(h2->pool)) {
		s->window = MIN(s->window * 2, h2->config.window_max);
		(void)nghttp2_session_set_local_window_size(h2->ng, NGHTTP2_FLAG_NONE, s->id,
							    (int32_t)s->window);
	}
	s->drained = 0;
	s->drained_since_ns = h2->now_ns;
}

static void uncharge(struct h2_stream *s, uint32_t n)
{
	CHECK(n <= s->uncredited);
	s->uncredited -= n;
	s->h2->buffered -= n;
	if (s->h2->conn_debt)
		conn_credit(s->h2, 0);
	if (s->id >= 0) {
		(void)nghttp2_session_consume_stream(s->h2->ng, s->id, n);
		h2_wake(s->h2);
	}
}

static void op_credit(struct endpoint *ep, uint32_t n)
{
	struct h2_stream *s = stream_of(ep);

	if (s->id >= 0 && !ep->eof)
		stream_grow(s, n);
	uncharge(s, n);
}

static void resume(struct h2_stream *s)
{
	/* who spoke its share waits for the next round, whatever it has to say now */
	if (s->deferred && !s->yielded && s->id >= 0) {
		s->deferred = false;
		(void)nghttp2_session_resume_data(s->h2->ng, s->id);
	}
	h2_wake(s->h2);
}

static void drop_tx(struct h2_stream *s)
{
	s->h2->unsent -= s->tx.bytes;
	bufq_fini(&s->tx);
	s->ep.tx_pending = 0;
	list_del(&s->pending);
	h2_yield(s, false);
}

static void op_send(struct endpoint *ep, struct bufq *q)
{
	struct h2_stream *s = stream_of(ep);
	uint32_t moved;

	if (s->id < 0 || s->finishing || ep->tx_broken || ep->error) {
		bufq_fini(q);
		return;
	}
	if (bufq_move(&s->tx, q, q->bytes, &moved)) {
		/* no memory for the bookkeeping of bytes that we hold: this stream ends, nothing else does */
		bufq_fini(q);
		ep->error = ERR_NOMEM;
		endpoint_notify(ep);
		return;
	}
	s->h2->unsent += moved;
	ep->tx_pending = s->tx.bytes;
	if (s->tx.bytes && list_empty(&s->pending)) {
		s->turn_bytes = 0;
		list_add_tail(&s->h2->pending, &s->pending);
	}
	resume(s);
}

static void op_finish(struct endpoint *ep)
{
	struct h2_stream *s = stream_of(ep);

	if (s->finishing)
		return;
	s->finishing = true;
	if (s->id >= 0)
		resume(s);
}

static void op_close(struct endpoint *ep, int reason)
{
	struct h2_stream *s = stream_of(ep);

	CHECK(!s->user_closed);
	s->user_closed = true;
	ep->user = NULL;
	list_del(&s->pending);
	bufq_fini(&ep->rx);
	uncharge(s, s->uncredited);
	h2_stream_drop_head(s);
	if (s->id < 0) {
		drop_tx(s);
		stream_free(s);
		return;
	}
	if (reason || (s->h2->config.server && !s->answered)) {
		drop_tx(s);
		(void)nghttp2_submit_rst_stream(s->h2->ng, NGHTTP2_FLAG_NONE, s->id,
						reason ? err_h2(reason) : NGHTTP2_CANCEL);
		h2_wake(s->h2);
		return;
	}
	if (s->tx.bytes)
		list_add_tail(&s->h2->pending, &s->pending);
	if (s->local_done)
		h2_stream_local_end(s);
	s->finishing = true;
	resume(s);
}

const struct endpoint_ops h2_stream_ops = {
	.send = op_send,
	.finish = op_finish,
	.credit = op_credit,
	.close = op_close,
};

void h2_stream_local_end(struct h2_stream *s)
{
	s->local_done = true;
	/* given back by its user, and the peer still talks: nobody will listen (RFC 9113 section 8.1) */
	if (s->user_closed && !s->ep.eof) {
		(void)nghttp2_submit_rst_stream(s->h2->ng, NGHTTP2_FLAG_NONE, s->id,
						s->h2->config.server ? NGHTTP2_NO_ERROR
								     : NGHTTP2_CANCEL);
		h2_wake(s->h2);
	}
}

void h2_stream_gone(struct h2_stream *s, uint32_t error_code)
{
	s->id = -1;
	s->h2->stream_count--;
	list_del(&s->link);
	drop_tx(s);
	/* a request whose head was bad or incomplete, or that nobody took, has no user */
	if (s->user_closed || !s->taken) {
		uncharge(s, s->uncredited);
		stream_free(s);
		return;
	}
	switch (error_code) {
	case NGHTTP2_NO_ERROR:
	case NGHTTP2_CANCEL:
		/* contract 5.5: to the reader an end of file, to the writer a broken pipe */
		s->ep.eof = true;
		s->ep.tx_broken = !s->local_done || error_code == NGHTTP2_CANCEL;
		break;
	case NGHTTP2_REFUSED_STREAM:
	case NGHTTP2_ENHANCE_YOUR_CALM:
		s->ep.error = s->ep.error ? s->ep.error : ERR_H2_RESET;
		break;
	default: s->ep.error = s->ep.error ? s->ep.error : -ECONNRESET;
	}
	endpoint_notify(&s->ep);
}

/*
 * nghttp2 asks what to send next. The bytes themselves are laid down by the send-data callback of h2.c (NO_COPY).
 */
nghttp2_ssize h2_stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
			     uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h2 = user;
	uint32_t n = (uint32_t)MIN((size_t)s->tx.bytes, length);

	(void)ng;
	(void)id;
	(void)buf;
	if (n == 0 && !s->finishing) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0 && s->turn_bytes >= H2_QUANTUM_BYTES && h2->pending.next->next != &h2->pending) {
		s->deferred = true;
		h2_yield(s, true);
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == s->tx.bytes && s->finishing)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (nghttp2_ssize)n;
}
