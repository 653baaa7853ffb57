/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lays outgoing bytes into buffers as TLS records, sealed in place one after the other, so that a turn's output is one
 * contiguous send. Without TLS the bytes are laid down as they are.
 */
#ifndef GAUZE_WIRE_RECORD_H
#define GAUZE_WIRE_RECORD_H

#include "tls.h"

/* Plaintext laid down per turn: 16 full records of data, and what control frames shift into a 17th. One slab holds it. */
enum { RECORD_TURN_BYTES = 260 * 1024 };

struct record_writer {
	struct tls *tls;      /* NULL: plain */
	struct bufpool *pool; /* slots for little, slabs for much */
	struct bufq *out;     /* sealed records */
	struct buf *buf;      /* where the current record is */
	uint32_t start;	      /* of the current record's plaintext in buf */
	uint32_t len;	      /* plaintext in the current record */
	uint32_t total;	      /* plaintext of this turn */
	uint32_t expect;      /* bytes that are likely to come; chooses the buffer's size */
};

void record_begin(struct record_writer *w, struct tls *tls, struct bufpool *pool, struct bufq *out,
		  uint32_t expect);
/* Plaintext bytes that still fit in the current record; a whole one's when the next byte begins a new buffer. */
uint32_t record_left(const struct record_writer *w);
static inline bool record_full(const struct record_writer *w)
{
	return w->total >= RECORD_TURN_BYTES;
}
/*
 * Makes sure that the next n <= TLS_RECORD_MAX bytes find room. 0; ERR_NOMEM: no buffer is to be had now, and nothing is
 * lost; or the sealing error.
 */
int must_check record_room(struct record_writer *w, uint32_t n);
/* Appends bytes, beginning new records as needed. 0, ERR_NOMEM or the sealing error. */
int must_check record_put(struct record_writer *w, const void *bytes, size_t n);
/* The same for n bytes from the front of q, which are popped. n <= q->bytes. */
int must_check record_put_q(struct record_writer *w, struct bufq *q, uint32_t n);
/* Ends the current record now, so that the next byte begins a new one. */
int must_check record_seal(struct record_writer *w);
/* Seals what is open and lets go of the buffer. Call exactly once after record_begin, also after an error. */
int must_check record_end(struct record_writer *w);

#endif
