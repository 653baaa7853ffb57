/* SPDX-License-Identifier: Apache-2.0 */
/* What an HTTP/2 session says: its frames are laid into records, fairly between streams and as far as there are buffers. */
#include "h2_private.h"
#include "shared/base/err.h"

enum {
	H2_FRAME_HEAD_BYTES = 9,
	H2_RECORD_PAYLOAD = TLS_RECORD_MAX - H2_FRAME_HEAD_BYTES,
	H2_WORTH_BYTES = 1024
};

/* One DATA frame is one record where that is possible: what is left of the current one, or a whole new one. */
nghttp2_ssize h2_on_read_length(nghttp2_session *ng, uint8_t frame_type, int32_t id,
				int32_t session_window, int32_t stream_window, uint32_t frame_max,
				void *user)
{
	struct h2 *h2 = user;
	uint32_t left = record_left(h2->writer);
	int64_t n = left >= H2_FRAME_HEAD_BYTES + H2_WORTH_BYTES ? left - H2_FRAME_HEAD_BYTES
								 : H2_RECORD_PAYLOAD;

	(void)ng;
	(void)frame_type;
	(void)id;
	n = MIN(n, (int64_t)frame_max);
	n = MIN(n, (int64_t)session_window);
	n = MIN(n, (int64_t)stream_window);
	return (nghttp2_ssize)MAX(n, (int64_t)1);
}

int h2_on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *framehd, size_t len,
		    nghttp2_data_source *source, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s = source->ptr;
	struct record_writer *w = h2->writer;
	int err;

	(void)ng;
	(void)frame;
	/* the frame had to wait for a buffer, and its bytes were thrown away meanwhile */
	if (len > s->tx.bytes)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	err = record_room(w, H2_FRAME_HEAD_BYTES + (uint32_t)len);
	if (err == ERR_NOMEM) {
		h2->starved = true;
		return NGHTTP2_ERR_WOULDBLOCK;
	}
	if (!err && record_left(w) < H2_FRAME_HEAD_BYTES + MIN(len, (size_t)H2_WORTH_BYTES))
		err = record_seal(w);
	if (!err)
		err = record_put(w, framehd, H2_FRAME_HEAD_BYTES);
	if (!err)
		err = record_put_q(w, &s->tx, (uint32_t)len);
	if (err) {
		h2->writing_error = err;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	s->turn_bytes += (uint32_t)len;
	h2->unsent -= (uint32_t)len;
	s->ep.tx_pending = s->tx.bytes;
	if (s->tx.bytes == 0) {
		list_del(&s->pending);
		if (!s->user_closed)
			endpoint_notify(&s->ep);
	}
	/* nghttp2 would go on as long as windows allow */
	return record_full(w) ? NGHTTP2_ERR_PAUSE : 0;
}

/* Everybody had a turn: a new round begins. Returns whether somebody waited for it. */
static bool next_round(struct h2 *h2)
{
	bool any = h2->yielded > 0;

	list_for_each(node, &h2->pending) {
		struct h2_stream *s = container_of(node, struct h2_stream, pending);

		s->turn_bytes = 0;
		if (!s->yielded)
			continue;
		h2_yield(s, false);
		s->deferred = false;
		(void)nghttp2_session_resume_data(h2->ng, s->id);
	}
	return any;
}

/* Failing is only dearer. */
void h2_unpin(struct h2 *h2)
{
	list_for_each(node, &h2->pending)
		ignore_result(bufq_unpin(&container_of(node, struct h2_stream, pending)->tx,
					 h2->pool, 0));
}

static int send_error(const struct h2 *h2, nghttp2_ssize rv)
{
	if (rv == NGHTTP2_ERR_NOMEM)
		return ERR_NOMEM;
	return h2->writing_error ? h2->writing_error : ERR_H2_PROTOCOL;
}

/* Lays down what nghttp2 gave, as far as there are buffers. */
static int put_rest(struct h2 *h2, struct record_writer *w)
{
	while (h2->rest_len > 0) {
		int err = record_left(w) ? 0 : record_seal(w);
		size_t n;

		if (!err)
			err = record_room(w, 1);
		n = MIN((size_t)record_left(w), h2->rest_len);
		if (err == ERR_NOMEM)
			h2->starved = true;
		if (!err)
			err = record_put(w, h2->rest, n);
		if (err)
			return err;
		h2->rest += n;
		h2->rest_len -= n;
	}
	return 0;
}

static int lay_down(struct h2 *h2, struct record_writer *w)
{
	int err = put_rest(h2, w);

	while (!err && !h2->starved && !record_full(w)) {
		nghttp2_ssize n = nghttp2_session_mem_send2(h2->ng, &h2->rest);

		if (n < 0)
			return send_error(h2, n);
		if (n == 0 && (h2->starved || record_full(w) || !next_round(h2)))
			break;
		h2->rest_len = (size_t)n;
		err = put_rest(h2, w);
	}
	return h2->starved ? 0 : err;
}

int h2_pull(struct h2 *h2, struct record_writer *w)
{
	int err;

	h2->writer = w;
	h2->starved = false;
	err = lay_down(h2, w);
	h2_unpin(h2);
	h2->writer = NULL;
	return err;
}

bool h2_starved(const struct h2 *h2)
{
	return h2->starved;
}
