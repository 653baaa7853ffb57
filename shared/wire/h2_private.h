/* SPDX-License-Identifier: Apache-2.0 */
/* What h2.c (the session), h2_pull.c (its output) and h2_stream.c (its streams) share. Nobody else includes this. */
#ifndef GAUZE_WIRE_H2_PRIVATE_H
#define GAUZE_WIRE_H2_PRIVATE_H

#include <nghttp2/nghttp2.h>

#include "h2.h"

enum { H2_STREAM_MAGIC = 0x68325374 };

/* A token bucket over the time that is passed in. */
struct h2_bucket {
	uint64_t filled_ns;
	uint32_t tokens;
};

struct h2 {
	nghttp2_session *
		ng; /* NULL after h2_free: only streams that their users still hold keep the rest */
	struct h2_config config;
	struct bufpool *pool;
	struct taskq *flush_queue;
	struct task *flush;
	struct list streams;
	struct list pending;	      /* streams whose tx holds bytes */
	struct list requests;	      /* server: heads complete, not yet given out */
	struct record_writer *writer; /* during h2_pull */
	struct buf *in;		      /* during h2_recv: the buffer being parsed */
	const uint8_t *rest;	      /* frame bytes of nghttp2's that found no buffer yet */
	size_t rest_len;
	uint64_t now_ns;
	uint32_t stream_count; /* known to nghttp2 */
	uint32_t held;	       /* struct h2_stream that exist */
	uint32_t buffered, unsent;
	uint32_t conn_debt; /* connection window not yet returned */
	uint32_t conn_window, conn_drained;
	uint64_t conn_drained_since_ns;
	uint32_t pongs;
	uint32_t yielded; /* streams that wait for the next round of output */
	int32_t last_request_id;
	struct h2_bucket resets, controls;
	int doomed; /* why the session ends, once it must */
	bool settings_seen, going_away, starved;
	int writing_error; /* why a DATA frame could not be laid down */
};

extern const struct endpoint_ops h2_stream_ops;

/* A stream that nghttp2 knows by id; on h2->streams. NULL: out of memory. */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
/* Appends a header to the head being received. 0 or ERR_NOMEM. */
int must_check h2_stream_head_add(struct h2_stream *s, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
				  uint32_t bytes_max);
/* Files payload that stands at bytes inside h2->in; without memory for it the stream is reset. */
void h2_stream_data(struct h2_stream *s, const uint8_t *bytes, uint32_t len);
/* nghttp2 forgot the stream; error_code as in RST_STREAM. May free it. */
void h2_stream_gone(struct h2_stream *s, uint32_t error_code);
/* END_STREAM of ours went out. */
void h2_stream_local_end(struct h2_stream *s);
nghttp2_ssize h2_stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
			     uint32_t *flags, nghttp2_data_source *source, void *user);

/* Waits for the others' turn, or no longer. */
static inline void h2_yield(struct h2_stream *s, bool yes)
{
	if (s->yielded != yes)
		s->h2->yielded += yes ? 1 : -1U;
	s->yielded = yes;
}

/* Callbacks of nghttp2 in h2_pull.c. */
nghttp2_ssize h2_on_read_length(nghttp2_session *ng, uint8_t frame_type, int32_t id,
				int32_t session_window, int32_t stream_window, uint32_t frame_max,
				void *user);
int h2_on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *framehd, size_t len,
		    nghttp2_data_source *source, void *user);

static inline void h2_wake(struct h2 *h2)
{
	if (h2->ng)
		task_ready(h2->flush_queue, h2->flush);
}

#endif
