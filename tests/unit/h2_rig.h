/* SPDX-License-Identifier: Apache-2.0 */
/* Two HTTP/2 sessions in memory, or one and frames made by hand. No TLS: records are plain bytes. */
#ifndef TESTS_UNIT_H2_RIG_H
#define TESTS_UNIT_H2_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "shared/base/err.h"
#include "shared/wire/h2.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
enum {
	F_DATA,
	F_HEADERS,
	F_PRIORITY,
	F_RST_STREAM,
	F_SETTINGS,
	F_PUSH_PROMISE,
	F_PING,
	F_GOAWAY,
	F_WINDOW_UPDATE,
	F_CONTINUATION,
	F_KINDS
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static const struct h2_config h2_rig_config = {
	.window_start = 256 * KIB,
	.window_max = 4 * MIB,
	.conn_window_start = MIB,
	.conn_window_max = 16 * MIB,
	.frame_max = MIB,
	.streams_max = 200,
	.header_list_max = 65536,
	.buffered_max = 16 * MIB,
	.resets_per_s = 100,
	.resets_burst = 100,
	.controls_per_s = 100,
	.controls_burst = 100,
};

struct side {
	struct h2 *h2;
	struct taskq queue;
	struct task flush;
	int error; /* of h2_recv or h2_pull */
};

/* What a session said, frame by frame. */
struct said {
	uint32_t frames[F_KINDS];
	uint32_t data_bytes, goaway_code, rst_code;
	int32_t goaway_last;
	uint8_t part[9];
	uint32_t have, left;
	uint8_t type;
	uint8_t body[16];
	uint32_t body_have;
};

struct h2_pair {
	struct bufpool *pool;
	struct side c, s;
	struct said from_c, from_s;
	uint64_t now_ns;
	uint32_t pulled_max; /* most bytes of one pull */
};

static inline void nothing_to_run(struct task *task)
{
	(void)task;
}

static inline uint32_t be(const uint8_t *p, int n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static inline void said_frame(struct said *f)
{
	if (f->type < F_KINDS)
		f->frames[f->type]++;
	if (f->type == F_GOAWAY) {
		f->goaway_last = (int32_t)be(f->body, 4);
		f->goaway_code = be(f->body + 4, 4);
	} else if (f->type == F_RST_STREAM) {
		f->rst_code = be(f->body, 4);
	}
}

static inline void said_bytes(struct said *f, const uint8_t *p, size_t n)
{
	for (; n > 0; p++, n--) {
		if (f->have < 9) {
			f->part[f->have++] = *p;
			if (f->have < 9)
				continue;
			f->left = be(f->part, 3);
			f->type = f->part[3];
			f->body_have = 0;
			if (f->type == F_DATA)
				f->data_bytes += f->left;
		} else {
			if (f->body_have < sizeof(f->body))
				f->body[f->body_have++] = *p;
			f->left--;
		}
		if (f->left == 0) {
			said_frame(f);
			f->have = 0;
		}
	}
}

static inline void side_start(struct side *s, struct bufpool *pool, const struct h2_config *config,
			      bool server)
{
	struct h2_config c = *config;

	c.server = server;
	taskq_init(&s->queue);
	task_init(&s->flush, nothing_to_run);
	s->error = 0;
	s->h2 = h2_new(&c, pool, &s->queue, &s->flush);
	assert_non_null(s->h2);
}

static inline struct bufpool *h2_rig_pool(uint64_t bytes)
{
	struct bufpool_limits l = {.slots_max = 64, .bytes_max = bytes, .slabs_cached = 1};
	struct bufpool *pool = bufpool_new(&l);

	assert_non_null(pool);
	return pool;
}

static inline void pair_start_with(struct h2_pair *p, const struct h2_config *client,
				   const struct h2_config *server, uint64_t pool_bytes)
{
	*p = (struct h2_pair){.pool = h2_rig_pool(pool_bytes), .now_ns = NS_PER_S};
	side_start(&p->c, p->pool, client, false);
	side_start(&p->s, p->pool, server, true);
}

static inline void pair_start(struct h2_pair *p)
{
	pair_start_with(p, &h2_rig_config, &h2_rig_config, 256 * MIB);
}

static inline void side_end(struct side *s, int reason)
{
	if (s->h2)
		h2_free(s->h2, reason);
	s->h2 = NULL;
	task_cancel(&s->flush);
}

/* All streams that users hold must have been closed: the pool and a leak checker say so. */
static inline void pair_end(struct h2_pair *p)
{
	side_end(&p->c, ERR_CLOSED);
	side_end(&p->s, ERR_CLOSED);
	assert_int_equal(bufpool_bytes(p->pool, BUF_KINDS), 0);
	bufpool_free(p->pool);
}

/* One pull, handed to `to` (NULL: dropped). Returns its bytes. */
static inline uint32_t carry(struct h2_pair *p, struct side *from, struct said *said,
			     struct side *to)
{
	struct record_writer w;
	struct bufq out = {0};
	uint32_t n;
	int err;

	if (!from->h2)
		return 0;
	task_cancel(&from->flush);
	record_begin(&w, NULL, p->pool, &out, h2_unsent(from->h2) + 512);
	err = h2_pull(from->h2, &w);
	assert_int_equal(record_end(&w), 0);
	from->error = from->error ? from->error : err;
	n = out.bytes;
	p->pulled_max = MAX(p->pulled_max, n);
	for (uint16_t i = 0; i < out.count; i++)
		said_bytes(said, bufq_at(&out, i)->buf->data + bufq_at(&out, i)->off,
			   bufq_at(&out, i)->len);
	if (to && to->h2 && n) {
		err = h2_recv(to->h2, &out, p->now_ns);
		to->error = to->error ? to->error : err;
	}
	bufq_fini(&out);
	return n;
}

/* Until neither has anything to say. */
static inline void pair_run(struct h2_pair *p)
{
	for (int i = 0; i < 100000; i++) {
		uint32_t n = carry(p, &p->c, &p->from_c, &p->s);

		n += carry(p, &p->s, &p->from_s, &p->c);
		if (n == 0)
			return;
	}
	assert_true(!"the sessions never rest");
}

static inline int open_stream(struct h2_pair *p, struct h2_stream **out)
{
	struct header head[] = {{STR(":method"), STR("CONNECT")},
				{STR(":authority"), STR("10.0.0.1:80")}};

	return h2_open(p->c.h2, head, 2, out);
}

/* Both ends of a stream that was answered with 200. */
static inline void pair_stream(struct h2_pair *p, struct h2_stream **c, struct h2_stream **s)
{
	struct header ok[] = {{STR(":status"), STR("200")}};

	assert_int_equal(open_stream(p, c), 0);
	pair_run(p);
	*s = h2_next_request(p->s.h2);
	assert_non_null(*s);
	h2_stream_drop_head(*s);
	assert_int_equal(h2_respond(*s, ok, 1, false), 0);
	pair_run(p);
	assert_int_equal((*c)->status, 200);
	assert_true((*c)->ep.open);
	h2_stream_drop_head(*c);
}

/* n bytes from `from` on: byte i of a stream is (uint8_t)(i * 7 + i / 256). */
static inline void stream_send(struct h2_pair *p, struct h2_stream *s, uint32_t from, uint32_t n)
{
	uint8_t *bytes = malloc(n);
	struct bufq q = {0};

	for (uint32_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)((from + i) * 7 + (from + i) / 256);
	assert_int_equal(bufq_copy(&q, p->pool, bytes, n), 0);
	free(bytes);
	s->ep.ops->send(&s->ep, &q);
	bufq_fini(&q);
}

/* Takes and credits all that came, checking it; `from` is the position it should begin at. Returns how much. */
static inline uint32_t stream_take(struct h2_stream *s, uint32_t from)
{
	uint32_t n = s->ep.rx.bytes, at = from;

	for (uint16_t i = 0; i < s->ep.rx.count; i++) {
		const struct bslice *b = bufq_at(&s->ep.rx, i);

		for (uint32_t k = 0; k < b->len; k++, at++)
			assert_int_equal(b->buf->data[b->off + k], (uint8_t)(at * 7 + at / 256));
	}
	bufq_fini(&s->ep.rx);
	if (n)
		s->ep.ops->credit(&s->ep, n);
	return n;
}

static inline void stream_close(struct h2_stream *s, int reason)
{
	s->ep.ops->close(&s->ep, reason);
}

/* ---- frames by hand ---- */

struct raw {
	uint8_t bytes[128 * 1024];
	size_t n;
};

static inline void raw_put(struct raw *r, const void *bytes, size_t n)
{
	assert_true(r->n + n <= sizeof(r->bytes));
	if (n)
		memcpy(r->bytes + r->n, bytes, n);
	r->n += n;
}

static inline void raw_frame(struct raw *r, uint8_t type, uint8_t flags, uint32_t id,
			     const void *body, size_t n)
{
	uint8_t head[9] = {
		(uint8_t)(n >> 16),  (uint8_t)(n >> 8),	  (uint8_t)n,	      type,	  flags,
		(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	raw_put(r, head, sizeof(head));
	raw_put(r, body, n);
}

static inline void raw_hello(struct raw *r)
{
	raw_put(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	raw_frame(r, F_SETTINGS, 0, 0, NULL, 0);
}

/* A literal field without indexing (RFC 7541 section 6.2.2); both texts shorter than 127 bytes. */
static inline size_t raw_field(uint8_t *at, const char *name, const char *value)
{
	size_t n = strlen(name), v = strlen(value);

	at[0] = 0;
	at[1] = (uint8_t)n;
	memcpy(at + 2, name, n);
	at[2 + n] = (uint8_t)v;
	memcpy(at + 3 + n, value, v);
	return 3 + n + v;
}

static inline size_t raw_connect_block(uint8_t *at)
{
	size_t n = raw_field(at, ":method", "CONNECT");

	return n + raw_field(at + n, ":authority", "10.0.0.1:80");
}

static inline void raw_connect(struct raw *r, uint32_t id, uint8_t flags)
{
	uint8_t block[64];

	raw_frame(r, F_HEADERS, END_HEADERS | flags, id, block, raw_connect_block(block));
}

static inline void raw_u32_frame(struct raw *r, uint8_t type, uint32_t id, uint32_t v)
{
	uint8_t body[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	raw_frame(r, type, 0, id, body, 4);
}

/* Hands all of r to a session and forgets it. The error of h2_recv, also kept in the side. */
static inline int raw_feed(struct h2_pair *p, struct side *to, struct raw *r)
{
	struct bufq q = {0};
	int err;

	assert_int_equal(bufq_copy(&q, p->pool, r->bytes, r->n), 0);
	r->n = 0;
	err = h2_recv(to->h2, &q, p->now_ns);
	bufq_fini(&q);
	to->error = to->error ? to->error : err;
	return err;
}

/* A server alone, for raw_feed(). */
static inline void server_start(struct h2_pair *p, const struct h2_config *config)
{
	*p = (struct h2_pair){.pool = h2_rig_pool(256 * MIB), .now_ns = NS_PER_S};
	side_start(&p->s, p->pool, config, true);
}

static inline void server_says(struct h2_pair *p)
{
	for (int i = 0; i < 1000 && carry(p, &p->s, &p->from_s, NULL) > 0; i++)
		;
}

#endif
