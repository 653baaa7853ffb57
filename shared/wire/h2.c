/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/2 session: nghttp2's callbacks record here; h2_recv() and h2_pull() drive. What it says is laid
 * down in h2_pull.c, streams are in h2_stream.c.
 */
#include <stdlib.h>

#include "h2_private.h"
#include "shared/base/err.h"
#include "shared/base/limits.h"

/* Takes one token; false when the bucket of `burst` tokens, filled at `per_s`, is empty. */
static bool bucket_take(struct h2_bucket *b, uint64_t now_ns, uint32_t per_s, uint32_t burst)
{
	uint64_t fresh = (now_ns - b->filled_ns) * per_s / NS_PER_S;

	if (fresh > 0) {
		b->tokens = (uint32_t)MIN((uint64_t)burst, b->tokens + fresh);
		b->filled_ns = now_ns;
	}
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

static void doom(struct h2 *h2, int reason, uint32_t code)
{
	if (h2->doomed)
		return;
	h2->doomed = reason;
	(void)nghttp2_session_terminate_session(h2->ng, code);
	h2_wake(h2);
}

static struct h2_stream *stream_by_id(struct h2 *h2, int32_t id)
{
	return id > 0 ? nghttp2_session_get_stream_user_data(h2->ng, id) : NULL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = h2_stream_new(h2, frame->hd.stream_id);
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	(void)nghttp2_session_set_stream_user_data(ng, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s = stream_by_id(h2, frame->hd.stream_id);

	(void)ng;
	(void)flags;
	/* trailers and interim responses say nothing to a tunnel */
	if (!s || s->head_done || s->user_closed)
		return 0;
	if (h2_stream_head_add(s, name, value, h2->config.header_list_max))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

static uint16_t head_status(const struct h2_head *head)
{
	const struct header *f = head ? header_find(head->v, head->count, STR(":status")) : NULL;

	/* nghttp2 has checked that it is three digits */
	return f && f->value.n == 3 ? (uint16_t)atoi(f->value.p) : 0;
}

static void head_complete(struct h2 *h2, struct h2_stream *s)
{
	if (h2->config.server) {
		s->head_done = true;
		h2->last_request_id = s->id;
		if (s->user_closed)
			return;
		list_del(&s->link);
		list_add_tail(&h2->requests, &s->link);
		return;
	}
	s->status = head_status(s->head);
	if (s->status >= 100 && s->status < 200) {
		s->status = 0;
		h2_stream_drop_head(s);
		return;
	}
	s->head_done = true;
	s->ep.open = s->status == 200;
	endpoint_notify(&s->ep);
}

/* Frames that cost the peer nothing and us something. */
static bool is_control(const nghttp2_frame *f)
{
	switch (f->hd.type) {
	case NGHTTP2_DATA: return f->hd.length == 0 && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM);
	case NGHTTP2_PING:
	case NGHTTP2_SETTINGS: return !(f->hd.flags & NGHTTP2_FLAG_ACK);
	case NGHTTP2_PRIORITY:
	case NGHTTP2_PRIORITY_UPDATE: return true;
	default: return false;
	}
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s = stream_by_id(h2, f->hd.stream_id);

	(void)ng;
	if (is_control(f) && !bucket_take(&h2->controls, h2->now_ns, h2->config.controls_per_s,
					  h2->config.controls_burst))
		doom(h2, ERR_H2_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM);
	switch (f->hd.type) {
	case NGHTTP2_RST_STREAM:
		if (!bucket_take(&h2->resets, h2->now_ns, h2->config.resets_per_s,
				 h2->config.resets_burst))
			doom(h2, ERR_H2_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM);
		return 0;
	case NGHTTP2_SETTINGS:
		if (!(f->hd.flags & NGHTTP2_FLAG_ACK))
			h2->settings_seen = true;
		return 0;
	case NGHTTP2_PING:
		if (f->hd.flags & NGHTTP2_FLAG_ACK)
			h2->pongs++;
		return 0;
	case NGHTTP2_GOAWAY: h2->going_away = true; return 0;
	case NGHTTP2_HEADERS:
		if (s && !s->head_done)
			head_complete(h2, s);
		break;
	default: break;
	}
	if (s && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS)) {
		s->ep.eof = true;
		if (!s->user_closed)
			endpoint_notify(&s->ep);
	}
	return 0;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
			 size_t len, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s = stream_by_id(h2, id);

	(void)flags;
	/* of a stream that is being refused: nobody else returns the window */
	if (!s)
		return nghttp2_session_consume(ng, id, len) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
	h2_stream_data(s, data, (uint32_t)len);
	return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error_code, void *user)
{
	struct h2_stream *s = stream_by_id(user, id);

	if (s) {
		(void)nghttp2_session_set_stream_user_data(ng, id, NULL);
		h2_stream_gone(s, error_code);
	}
	return 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
	struct h2 *h2 = user;
	struct h2_stream *s = stream_by_id(h2, f->hd.stream_id);

	(void)ng;
	if (s && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS))
		h2_stream_local_end(s);
	/* nghttp2 judged the peer by itself */
	if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR && !h2->doomed)
		h2->doomed = f->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM ? ERR_H2_FLOOD
									       : ERR_H2_PROTOCOL;
	return 0;
}

static int make_session(struct h2 *h2)
{
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;
	int rv;

	if (nghttp2_session_callbacks_new(&cb))
		return ERR_NOMEM;
	if (nghttp2_option_new(&opt)) {
		nghttp2_session_callbacks_del(cb);
		return ERR_NOMEM;
	}
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_data_source_read_length_callback2(cb, h2_on_read_length);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_on_send_data);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	/* before the peer's SETTINGS arrive (contract 5.3) */
	nghttp2_option_set_peer_max_concurrent_streams(opt, 100);
	nghttp2_option_set_max_continuations(opt, LIMIT_H2_CONTINUATIONS);
	/* our own bucket judges first, and says ENHANCE_YOUR_CALM (contract 14) */
	nghttp2_option_set_stream_reset_rate_limit(opt, 2ULL * h2->config.resets_burst,
						   2ULL * h2->config.resets_per_s);
	rv = h2->config.server ? nghttp2_session_server_new2(&h2->ng, cb, h2, opt)
			       : nghttp2_session_client_new2(&h2->ng, cb, h2, opt);
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return rv ? ERR_NOMEM : 0;
}

static int announce(struct h2 *h2)
{
	const struct h2_config *c = &h2->config;
	nghttp2_settings_entry v[5] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->window_start},
		{NGHTTP2_SETTINGS_MAX_FRAME_SIZE, c->frame_max},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->header_list_max},
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	};
	size_t n = 4;

	if (c->server)
		v[3] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
						c->streams_max};
	if (nghttp2_submit_settings(h2->ng, NGHTTP2_FLAG_NONE, v, n))
		return ERR_NOMEM;
	if (nghttp2_session_set_local_window_size(h2->ng, NGHTTP2_FLAG_NONE, 0,
						  (int32_t)c->conn_window_start))
		return ERR_NOMEM;
	return 0;
}

struct h2 *h2_new(const struct h2_config *config, struct bufpool *pool, struct taskq *queue,
		  struct task *flush)
{
	struct h2 *h2 = calloc(1, sizeof(*h2));

	if (!h2)
		return NULL;
	h2->config = *config;
	h2->pool = pool;
	h2->flush_queue = queue;
	h2->flush = flush;
	h2->conn_window = config->conn_window_start;
	h2->resets.tokens = config->resets_burst;
	h2->controls.tokens = config->controls_burst;
	list_init(&h2->streams);
	list_init(&h2->pending);
	list_init(&h2->requests);
	if (make_session(h2)) {
		free(h2);
		return NULL;
	}
	if (announce(h2)) {
		nghttp2_session_del(h2->ng);
		free(h2);
		return NULL;
	}
	h2_wake(h2);
	return h2;
}

/* nghttp2 forgets the streams of the list; those without a user are freed. */
static void orphan(struct h2 *h2, struct list *streams, int reason)
{
	list_for_each_safe(node, tmp, streams) {
		struct h2_stream *s = list_entry(node, struct h2_stream, link);

		(void)nghttp2_session_set_stream_user_data(h2->ng, s->id, NULL);
		if (!s->ep.error)
			s->ep.error = reason;
		h2_stream_gone(s, NGHTTP2_INTERNAL_ERROR);
	}
}

void h2_free(struct h2 *h2, int reason)
{
	h2->held++; /* keeps h2 while streams are freed */
	orphan(h2, &h2->requests, reason);
	orphan(h2, &h2->streams, reason);
	nghttp2_session_del(h2->ng);
	h2->ng = NULL;
	if (--h2->held == 0)
		free(h2);
}

static int recv_error(struct h2 *h2, nghttp2_ssize rv)
{
	switch (rv) {
	case NGHTTP2_ERR_NOMEM:
	case NGHTTP2_ERR_CALLBACK_FAILURE: return ERR_NOMEM;
	case NGHTTP2_ERR_FLOODED:
		doom(h2, ERR_H2_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM);
		return ERR_H2_FLOOD;
	default: doom(h2, ERR_H2_PROTOCOL, NGHTTP2_PROTOCOL_ERROR); return ERR_H2_PROTOCOL;
	}
}

int h2_recv(struct h2 *h2, struct bufq *in, uint64_t now_ns)
{
	h2->now_ns = now_ns;
	while (in->bytes > 0) {
		struct bslice s = *bufq_at(in, 0);
		nghttp2_ssize rv;

		h2->in = s.buf;
		rv = nghttp2_session_mem_recv2(h2->ng, s.buf->data + s.off, s.len);
		h2->in = NULL;
		if (rv < 0)
			return recv_error(h2, rv);
		bufq_pop(in, s.len);
		if (h2->doomed)
			return h2->doomed;
	}
	if (nghttp2_session_want_write(h2->ng))
		h2_wake(h2);
	return 0;
}

struct h2_stream *h2_next_request(struct h2 *h2)
{
	struct h2_stream *s;

	if (list_empty(&h2->requests))
		return NULL;
	s = list_first(&h2->requests, struct h2_stream, link);
	list_del(&s->link);
	list_add_tail(&h2->streams, &s->link);
	s->taken = true;
	return s;
}

bool h2_request_waits(const struct h2 *h2)
{
	return !list_empty(&h2->requests);
}

bool h2_wants_pull(const struct h2 *h2)
{
	return h2->rest_len > 0 || h2->yielded > 0 || nghttp2_session_want_write(h2->ng);
}

/*
 * A value that never comes twice is not worth a place in the header tables: it would push out what does come again, and
 * leave small pieces of memory all over those of the connections that come and go (RFC 7541 section 6.2.3).
 */
static bool comes_once(struct str name)
{
	return str_eq(name, STR("forwarded")) || str_eq(name, STR("traceparent"));
}

static nghttp2_nv nv_of(const struct header *h)
{
	return (nghttp2_nv){(uint8_t *)h->name.p, (uint8_t *)h->value.p, h->name.n, h->value.n,
			    comes_once(h->name) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

enum { H2_SEND_FIELDS_MAX = 32 };

static size_t nv_all(const struct header *head, size_t n, nghttp2_nv v[H2_SEND_FIELDS_MAX])
{
	CHECK(n <= H2_SEND_FIELDS_MAX);
	for (size_t i = 0; i < n; i++)
		v[i] = nv_of(&head[i]);
	return n;
}

int h2_open(struct h2 *h2, const struct header *head, size_t n, struct h2_stream **out)
{
	nghttp2_nv v[H2_SEND_FIELDS_MAX];
	struct h2_stream *s;
	nghttp2_data_provider2 body = {.read_callback = h2_stream_read};
	int32_t id;

	if (h2_going_away(h2) || !nghttp2_session_check_request_allowed(h2->ng))
		return ERR_H2_GOAWAY;
	s = h2_stream_new(h2, 0);
	if (!s)
		return ERR_NOMEM;
	body.source.ptr = s;
	id = nghttp2_submit_request2(h2->ng, NULL, v, nv_all(head, n, v), &body, s);
	if (id < 0) {
		h2_stream_gone(s, NGHTTP2_INTERNAL_ERROR);
		return id == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_H2_GOAWAY;
	}
	s->id = id;
	s->taken = true;
	h2_wake(h2);
	*out = s;
	return 0;
}

int h2_respond(struct h2_stream *s, const struct header *head, size_t n, bool end)
{
	nghttp2_nv v[H2_SEND_FIELDS_MAX];
	nghttp2_data_provider2 body = {.source.ptr = s, .read_callback = h2_stream_read};

	if (s->id < 0 || s->answered)
		return 0;
	s->answered = true;
	s->ep.open = !end;
	if (nghttp2_submit_response2(s->h2->ng, s->id, v, nv_all(head, n, v), end ? NULL : &body))
		return ERR_NOMEM;
	h2_wake(s->h2);
	return 0;
}

uint32_t h2_streams(const struct h2 *h2)
{
	return h2->stream_count;
}

uint32_t h2_peer_streams_max(const struct h2 *h2)
{
	return h2->settings_seen ? nghttp2_session_get_remote_settings(
					   h2->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
				 : UINT32_MAX;
}

bool h2_finished(const struct h2 *h2)
{
	return !nghttp2_session_want_read(h2->ng) && !h2_wants_pull(h2);
}

int h2_error(const struct h2 *h2)
{
	return h2->doomed;
}

bool h2_going_away(const struct h2 *h2)
{
	return h2->going_away || h2->doomed;
}

uint32_t h2_buffered(const struct h2 *h2)
{
	return h2->buffered;
}

uint32_t h2_unsent(const struct h2 *h2)
{
	return h2->unsent;
}

int h2_ping(struct h2 *h2)
{
	if (nghttp2_submit_ping(h2->ng, NGHTTP2_FLAG_NONE, NULL))
		return ERR_NOMEM;
	h2_wake(h2);
	return 0;
}

uint32_t h2_pongs(const struct h2 *h2)
{
	return h2->pongs;
}

int h2_shutdown_notice(struct h2 *h2)
{
	if (nghttp2_submit_shutdown_notice(h2->ng) ||
	    nghttp2_submit_ping(h2->ng, NGHTTP2_FLAG_NONE, NULL))
		return ERR_NOMEM;
	h2_wake(h2);
	return 0;
}

int h2_goaway(struct h2 *h2, uint32_t code)
{
	h2->going_away = true;
	if (nghttp2_submit_goaway(h2->ng, NGHTTP2_FLAG_NONE,
				  nghttp2_session_get_last_proc_stream_id(h2->ng), code, NULL, 0))
		return ERR_NOMEM;
	h2_wake(h2);
	return 0;
}
