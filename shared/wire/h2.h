/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 session over memory, on nghttp2 (RFC 9113). Bytes and the time go in, frames and events come out; no
 * socket, no clock, no thread. Each stream is an endpoint (base/endpoint.h).
 *
 * Flow control: a stream's window is returned as its user says credit(), so back pressure is per stream. The
 * connection's window is returned on receipt while the session buffers less than h2_config.buffered_max, so that a
 * stalled stream blocks nobody else; beyond that it waits for credit, so that a session holds at most that and one
 * connection window. Windows start at window_start and double while the user drains a whole window in less than
 * H2_GROW_MS (more than the round trip of any path worth filling), up to window_max.
 *
 * nghttp2's callbacks only record; h2_recv() and h2_pull() drive.
 */
#ifndef GAUZE_WIRE_H2_H
#define GAUZE_WIRE_H2_H

#include "header.h"
#include "record.h"
#include "shared/base/endpoint.h"

enum { H2_GROW_MS = 250 };

struct h2;

struct h2_config {
	bool server;
	uint32_t window_start, window_max;	     /* per stream, bytes */
	uint32_t conn_window_start, conn_window_max; /* bytes */
	uint32_t frame_max;			     /* SETTINGS_MAX_FRAME_SIZE */
	uint32_t streams_max;	  /* SETTINGS_MAX_CONCURRENT_STREAMS; server only */
	uint32_t header_list_max; /* bytes of a received head (RFC 9113 6.5.2 counting) */
	uint32_t buffered_max;	  /* received and uncredited bytes of all streams */
	uint32_t resets_per_s, resets_burst;	 /* RST_STREAM from the peer */
	uint32_t controls_per_s, controls_burst; /* PING, SETTINGS, PRIORITY, empty DATA, ... */
};

/* A received head; kept until h2_stream_drop_head(). */
struct h2_head {
	uint32_t count, cap;
	uint32_t bytes;	  /* RFC 9113 counting: 32 per field + name + value */
	struct header *v; /* pseudo headers included, in order */
	void **held;	  /* what v points into; two per field */
	bool too_large;	  /* fields beyond the limit were left out */
};

struct h2_stream {
	struct endpoint ep; /* eof, error, tx_broken as RST_STREAM codes say: contract section 5.5 */
	uint32_t magic;
	int32_t id; /* -1 when the session has forgotten the stream */
	struct h2 *h2;
	struct list link;    /* h2->streams */
	struct list pending; /* h2->pending while tx holds bytes */
	struct bufq tx;
	uint32_t uncredited;
	uint32_t window;
	uint32_t drained; /* bytes credited since a whole window was, at drained_since_ns */
	uint64_t drained_since_ns;
	struct h2_head *head; /* request (server) or response (client) head; NULL until complete */
	uint16_t status;      /* client: of the final response, 0 before */
	bool head_done;	      /* the head above is complete */
	bool finishing;	      /* END_STREAM follows the last queued byte */
	bool deferred;	      /* nghttp2 waits for nghttp2_session_resume_data */
	bool yielded;	      /* deferred only until the others have spoken */
	bool user_closed;     /* the user gave it back; freed when nghttp2 forgets it too */
	bool local_done;      /* END_STREAM was sent */
	bool answered;	      /* server: the response head was submitted */
	bool taken;	      /* given to a user; before that it is the session's alone */
	uint32_t turn_bytes;  /* laid down in this round */
	void *owner;	      /* the user's */
};

/*
 * `flush` is readied on `queue` whenever h2_pull() should be called. NULL: out of memory. All that is passed must outlive
 * the session.
 */
struct h2 *h2_new(const struct h2_config *config, struct bufpool *pool, struct taskq *queue,
		  struct task *flush);
/* Files error `reason` on every stream that is left; their users still close them. */
void h2_free(struct h2 *h2, int reason);

/*
 * Feeds all of in. 0, or an error after which the session is dead once h2_pull() has brought out the GOAWAY:
 * ERR_H2_PROTOCOL, ERR_H2_FLOOD, ERR_NOMEM.
 */
int must_check h2_recv(struct h2 *h2, struct bufq *in, uint64_t now_ns);
/* Server: the next stream whose request head is complete, once each; NULL when none. The caller owns it (ep.close). */
struct h2_stream *h2_next_request(struct h2 *h2);
bool h2_request_waits(const struct h2 *h2);
/* Whether h2_pull() would have something to say. */
bool h2_wants_pull(const struct h2 *h2);
/*
 * Lays frames into w until there are no more, w is full (record_full), or there is no buffer for more: then h2_starved(),
 * and the caller pulls again later. 0 or a fatal error.
 */
int must_check h2_pull(struct h2 *h2, struct record_writer *w);
bool h2_starved(const struct h2 *h2);
/* The transport takes nothing now: what waits to be sent lets go of receive slots and of blocks it only sits in. */
void h2_unpin(struct h2 *h2);

/*
 * Client: opens a stream with that request head (pseudo headers first). The stream counts against h2_streams(). 0,
 * ERR_H2_GOAWAY (the session takes no more), ERR_NOMEM.
 */
int must_check h2_open(struct h2 *h2, const struct header *head, size_t n, struct h2_stream **out);
/* Server: sends the response head; `end`: no body follows. Once per stream. A dead stream is ignored. */
int must_check h2_respond(struct h2_stream *s, const struct header *head, size_t n, bool end);
/* Frees the received head. */
void h2_stream_drop_head(struct h2_stream *s);

/* Streams that are open now. */
uint32_t h2_streams(const struct h2 *h2);
/* Streams that the peer lets us open in all (SETTINGS_MAX_CONCURRENT_STREAMS); UINT32_MAX before it said. */
uint32_t h2_peer_streams_max(const struct h2 *h2);
/* Nothing more will be said or heard: the transport may be closed. */
bool h2_finished(const struct h2 *h2);
/* Why the session had to end: ERR_H2_PROTOCOL, ERR_H2_FLOOD; 0 when nothing is wrong with it. */
int h2_error(const struct h2 *h2);
/* The peer sent GOAWAY, or we began one: no new streams. */
bool h2_going_away(const struct h2 *h2);
/* Received and uncredited bytes of all streams, and bytes of all streams waiting to be sent. */
uint32_t h2_buffered(const struct h2 *h2);
uint32_t h2_unsent(const struct h2 *h2);

/* Keepalive: submits a PING; h2_pongs() counts its acknowledgements. */
int must_check h2_ping(struct h2 *h2);
uint32_t h2_pongs(const struct h2 *h2);
/* Graceful end: GOAWAY with the highest id and, in a second call after a pong, with the last one served. */
int must_check h2_shutdown_notice(struct h2 *h2);
int must_check h2_goaway(struct h2 *h2, uint32_t code);

#endif
