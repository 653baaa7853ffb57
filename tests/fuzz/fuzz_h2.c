/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 session, as server or as client, whose peer says anything in any order, while its user opens, answers, reads,
 * sends, resets and lets go, with and without memory. Each input is a list of steps (enum step) and what they need.
 */
#include <errno.h>

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "shared/wire/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	RAW,	 /* bytes as they are */
	FRAME,	 /* a frame with a right length */
	CONNECT, /* a good request (server) or response (client) head */
	DATA,	 /* many bytes for a stream */
	PULL,
	TAKE, /* the next request, or a new stream */
	RESPOND,
	SEND,
	READ,
	FINISH,
	CLOSE,
	WAIT,
	HOG, /* no more memory, or all of it again */
	SESSION,
	STEPS
};

enum { HELD_MAX = 16, HOGS_MAX = 64, DATA_BYTES = 4096 };

struct run {
	struct cursor in;
	struct bufpool *pool;
	struct h2 *h2;
	struct taskq queue;
	struct task flush;
	struct h2_stream *held[HELD_MAX];
	uint32_t count;
	struct buf *hogs[HOGS_MAX];
	uint32_t hog_count;
	uint64_t now_ns;
	uint32_t next_id; /* of requests that the peer makes */
	bool server, over;
};

static const struct h2_config config = {
	.window_start = 64 * 1024,
	.window_max = 256 * 1024,
	.conn_window_start = 128 * 1024,
	.conn_window_max = 512 * 1024,
	.frame_max = 16384,
	.streams_max = 20,
	.header_list_max = 4096,
	.buffered_max = 256 * 1024,
	.resets_per_s = 10,
	.resets_burst = 10,
	.controls_per_s = 10,
	.controls_burst = 10,
};

static void nothing(struct task *task)
{
	(void)task;
}

static void hear(struct run *r, const void *bytes, size_t n)
{
	struct bufq q = {0};
	struct buf *b;

	if (r->over || n == 0)
		return;
	/* as from a socket: a slot where there is one */
	b = bufpool_slot(r->pool);
	if (b && n <= b->cap) {
		memcpy(b->data, bytes, n);
		if (bufq_push(&q, b, 0, (uint32_t)n) == 0)
			r->over = h2_recv(r->h2, &q, r->now_ns) != 0;
	}
	if (b)
		buf_put(b);
	bufq_fini(&q);
}

static void hear_frame(struct run *r, uint8_t type, uint8_t flags, uint32_t id, struct str body)
{
	uint8_t bytes[9 + 16384] = {(uint8_t)(body.n >> 16),
				    (uint8_t)(body.n >> 8),
				    (uint8_t)body.n,
				    type,
				    flags,
				    (uint8_t)(id >> 24),
				    (uint8_t)(id >> 16),
				    (uint8_t)(id >> 8),
				    (uint8_t)id};

	if (body.n > 16384 - 9)
		return;
	if (body.n)
		memcpy(bytes + 9, body.p, body.n);
	hear(r, bytes, 9 + body.n);
}

static uint32_t some_id(struct run *r)
{
	uint8_t v = cursor_u8(&r->in);

	/* streams that may exist are the interesting ones */
	return v < 200 ? v % 40 : (uint32_t)v << 23 | v;
}

static void hear_head(struct run *r)
{
	/* :method CONNECT, :authority a:1 / :status 200, literal without indexing */
	static const char request[] = "\0\7:method\7CONNECT\0\12:authority\3a:1";
	static const char response[] = "\0\7:status\003200";
	uint8_t flags = cursor_u8(&r->in);
	uint32_t id = r->next_id;

	if (r->server)
		r->next_id += 2;
	else
		id = some_id(r) | 1;
	hear_frame(r, 1, (uint8_t)(flags | 4) & ~0x28, id,
		   r->server ? (struct str){request, sizeof(request) - 1}
			     : (struct str){response, sizeof(response) - 1});
}

static void hear_data(struct run *r)
{
	static const char zeros[DATA_BYTES];
	uint32_t id = some_id(r);
	uint8_t flags = cursor_u8(&r->in), much = cursor_u8(&r->in);

	for (uint32_t i = 0; i <= much % 40U && !r->over; i++)
		hear_frame(r, 0, i == much % 40U ? flags & 1 : 0, id,
			   (struct str){zeros, DATA_BYTES});
}

static void pull(struct run *r)
{
	struct record_writer w;
	struct bufq out = {0};

	record_begin(&w, NULL, r->pool, &out, h2_unsent(r->h2) + 512);
	if (h2_pull(r->h2, &w))
		r->over = true;
	if (record_end(&w))
		r->over = true;
	CHECK(out.bytes <= RECORD_TURN_BYTES + 3 * TLS_RECORD_MAX);
	bufq_fini(&out);
}

static void take(struct run *r)
{
	struct header head[] = {{STR(":method"), STR("CONNECT")}, {STR(":authority"), STR("a:1")}};
	struct h2_stream *s = NULL;

	if (r->count == HELD_MAX)
		return;
	if (r->server)
		s = h2_next_request(r->h2);
	else if (h2_open(r->h2, head, 2, &s))
		s = NULL;
	if (!s)
		return;
	CHECK(!r->server || s->head);
	CHECK(!s->head || s->head->bytes <= config.header_list_max);
	r->held[r->count++] = s;
}

static struct h2_stream *some_stream(struct run *r, uint32_t *at)
{
	uint8_t v = cursor_u8(&r->in);

	if (r->count == 0)
		return NULL;
	*at = v % r->count;
	return r->held[*at];
}

static void respond(struct run *r)
{
	struct header head[] = {{STR(":status"), STR("200")}};
	uint32_t at;
	struct h2_stream *s = some_stream(r, &at);
	uint8_t end = cursor_u8(&r->in);

	if (s && r->server)
		ignore_result(h2_respond(s, head, 1, end & 1));
}

static void send_bytes(struct run *r)
{
	static const uint8_t zeros[DATA_BYTES];
	uint32_t at;
	struct h2_stream *s = some_stream(r, &at);
	uint8_t much = cursor_u8(&r->in);
	struct bufq q = {0};

	if (!s || h2_unsent(r->h2) > 1 << 20)
		return;
	for (uint32_t i = 0; i <= much % 32U; i++)
		ignore_result(bufq_copy(&q, r->pool, zeros, sizeof(zeros)));
	s->ep.ops->send(&s->ep, &q);
	CHECK(q.bytes == 0);
	bufq_fini(&q);
}

static void read_bytes(struct run *r)
{
	uint32_t at;
	struct h2_stream *s = some_stream(r, &at);
	uint32_t n = cursor_u8(&r->in) * 1024U;

	if (!s)
		return;
	h2_stream_drop_head(s);
	n = MIN(n, s->ep.rx.bytes);
	bufq_pop(&s->ep.rx, n);
	s->ep.ops->credit(&s->ep, n);
}

static void close_stream(struct run *r)
{
	static const int reasons[] = {0, ERR_CLOSED, -ECONNRESET, ERR_NOMEM, ERR_TIMEOUT};
	uint32_t at;
	struct h2_stream *s = some_stream(r, &at);
	uint8_t why = cursor_u8(&r->in);

	if (!s)
		return;
	r->held[at] = r->held[--r->count];
	s->ep.ops->close(&s->ep, reasons[why % ARRAY_SIZE(reasons)]);
}

static void hog(struct run *r)
{
	struct buf *b;

	if (r->hog_count > 0) {
		while (r->hog_count > 0)
			buf_put(r->hogs[--r->hog_count]);
		return;
	}
	while (r->hog_count < HOGS_MAX && (b = bufpool_slab(r->pool)))
		r->hogs[r->hog_count++] = b;
	/* one slot stays for what is heard */
	while (r->hog_count < HOGS_MAX && bufpool_slots_left(r->pool) > 1 &&
	       (b = bufpool_slot(r->pool)))
		r->hogs[r->hog_count++] = b;
}

static void session(struct run *r)
{
	switch (cursor_u8(&r->in) % 4) {
	case 0: ignore_result(h2_ping(r->h2)); break;
	case 1: ignore_result(h2_shutdown_notice(r->h2)); break;
	case 2: ignore_result(h2_goaway(r->h2, 0)); break;
	default: h2_unpin(r->h2);
	}
}

static void step(struct run *r)
{
	uint32_t at;
	struct h2_stream *s;
	uint8_t type, flags;
	uint32_t id;

	switch ((enum step)(cursor_u8(&r->in) % STEPS)) {
	case RAW: {
		struct str raw =
			cursor_bytes(&r->in, MIN((size_t)cursor_u8(&r->in), cursor_left(&r->in)));
		hear(r, raw.p, raw.n);
		break;
	}
	case FRAME:
		type = cursor_u8(&r->in) % 18;
		flags = cursor_u8(&r->in);
		id = some_id(r);
		hear_frame(
			r, type, flags, id,
			cursor_bytes(&r->in, MIN((size_t)cursor_u8(&r->in), cursor_left(&r->in))));
		break;
	case CONNECT: hear_head(r); break;
	case DATA: hear_data(r); break;
	case PULL: pull(r); break;
	case TAKE: take(r); break;
	case RESPOND: respond(r); break;
	case SEND: send_bytes(r); break;
	case READ: read_bytes(r); break;
	case FINISH:
		s = some_stream(r, &at);
		if (s)
			s->ep.ops->finish(&s->ep);
		break;
	case CLOSE: close_stream(r); break;
	case WAIT: r->now_ns += cursor_u8(&r->in) * 10 * NS_PER_MS; break;
	case HOG: hog(r); break;
	case SESSION: session(r); break;
	case STEPS: break;
	}
	/* more than the windows were never let in */
	CHECK(h2_buffered(r->h2) <= config.buffered_max + config.conn_window_max);
}

static void let_go(struct run *r, int reason)
{
	while (r->count > 0) {
		struct endpoint *ep = &r->held[--r->count]->ep;

		ep->ops->close(ep, reason);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	struct bufpool_limits limits = {.slots_max = 24, .bytes_max = 4 << 20, .slabs_cached = 1};
	struct run r = {.in = cursor_read(data, size), .now_ns = NS_PER_S, .next_id = 1};
	struct h2_config c = config;
	uint8_t mode = cursor_u8(&r.in);

	r.server = c.server = mode & 1;
	r.pool = bufpool_new(&limits);
	taskq_init(&r.queue);
	task_init(&r.flush, nothing);
	r.h2 = r.pool ? h2_new(&c, r.pool, &r.queue, &r.flush) : NULL;
	if (!r.h2) {
		bufpool_free(r.pool);
		return 0;
	}
	if (mode & 2)
		hear(&r, r.server ? hello : hello + 24, sizeof(hello) - 1 - (r.server ? 0 : 24));
	while (cursor_left(&r.in) > 0 && !r.over)
		step(&r);
	if (r.hog_count > 0)
		hog(&r);
	pull(&r);
	/* users let go before or after the session */
	if (mode & 4)
		let_go(&r, 0);
	h2_free(r.h2, ERR_CLOSED);
	let_go(&r, ERR_CLOSED);
	task_cancel(&r.flush);
	CHECK(bufpool_bytes(r.pool, BUF_KINDS) == 0);
	bufpool_free(r.pool);
	return 0;
}
