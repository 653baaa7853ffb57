/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "buf.h"
#include "err.h"

enum {
	RING_MIN = 4,
	RING_MAX = 32768,
	COPY_MIN = 512,		/* smallest block that copies are gathered in */
	COPY_MAX = 64 * 1024,	/* largest */
	UNPIN_WASTE_MIN = 1024, /* less than this is not worth a copy */
};

void bufq_init(struct bufq *q)
{
	*q = (struct bufq){0};
}

static void ring_drop(struct bufq *q)
{
	free(q->v);
	*q = (struct bufq){0};
}

void bufq_fini(struct bufq *q)
{
	for (uint16_t i = 0; i < q->count; i++)
		buf_put(bufq_at(q, i)->buf);
	ring_drop(q);
}

/* Room for `more` further slices. */
static int reserve(struct bufq *q, uint32_t more)
{
	uint32_t need = q->count + more;
	if (need <= q->cap)
		return 0;
	if (need > RING_MAX)
		return ERR_NOMEM;
	uint32_t cap = q->cap ? q->cap : RING_MIN;
	while (cap < need)
		cap *= 2;
	struct bslice *v = malloc(cap * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	for (uint16_t i = 0; i < q->count; i++)
		v[i] = *bufq_at(q, i);
	free(q->v);
	q->v = v;
	q->head = 0;
	q->cap = (uint16_t)cap;
	return 0;
}

static struct bslice *tail(const struct bufq *q)
{
	return q->count ? bufq_at(q, q->count - 1) : NULL;
}

/* Joins to the last slice when it continues it. No reference is taken. */
static bool join(struct bufq *q, const struct buf *b, uint32_t off, uint32_t len)
{
	struct bslice *last = tail(q);
	if (!last || last->buf != b || last->off + last->len != off)
		return false;
	last->len += len;
	q->bytes += len;
	return true;
}

/* After reserve(); the slice's reference is given to the queue. */
static void append(struct bufq *q, struct bslice s)
{
	q->count++;
	*tail(q) = s;
	q->bytes += s.len;
}

int bufq_push(struct bufq *q, struct buf *b, uint32_t off, uint32_t len)
{
	CHECK(off <= b->cap && len <= b->cap - off);
	if (len == 0)
		return 0;
	if (len > UINT32_MAX - q->bytes)
		return ERR_NOMEM;
	if (join(q, b, off, len))
		return 0;
	int rc = reserve(q, 1);
	if (rc)
		return rc;
	append(q, (struct bslice){buf_get(b), off, len});
	return 0;
}

/* Free bytes behind the last slice, if nobody else may look at that block. */
static uint32_t tail_room(const struct bufq *q, const struct bufpool *pool)
{
	const struct bslice *last = tail(q);
	if (!last || last->buf->kind != BUF_HEAP || last->buf->refs != 1 || last->buf->pool != pool)
		return 0;
	return last->buf->cap - last->off - last->len;
}

static uint32_t fill_tail(struct bufq *q, const struct bufpool *pool, const uint8_t *p, size_t len)
{
	uint32_t n = (uint32_t)MIN((size_t)tail_room(q, pool), len);
	if (n == 0)
		return 0;
	struct bslice *last = tail(q);
	memcpy(last->buf->data + last->off + last->len, p, n);
	last->len += n;
	q->bytes += n;
	return n;
}

int bufq_copy(struct bufq *q, struct bufpool *pool, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	if (len == 0)
		return 0;
	if (len > UINT32_MAX - q->bytes)
		return ERR_NOMEM;
	/* All blocks are had before the first byte moves, so that a failure leaves the queue as it was. */
	size_t beyond = len - MIN(len, (size_t)tail_room(q, pool));
	struct bufq more = {0};
	while (more.bytes < beyond) {
		size_t left = beyond - more.bytes;
		/* A queue that grows piece by piece gets blocks that grow with it. */
		size_t want = MIN(MAX((size_t)q->bytes, (size_t)COPY_MIN), (size_t)COPY_MAX);
		uint32_t cap = (uint32_t)MIN(MAX(left, want), (size_t)COPY_MAX);
		struct buf *b = bufpool_heap(pool, cap);
		if (!b)
			goto nomem;
		int rc = bufq_push(&more, b, 0, (uint32_t)MIN(left, (size_t)cap));
		buf_put(b);
		if (rc)
			goto nomem;
	}
	if (reserve(q, more.count))
		goto nomem;
	size_t done = fill_tail(q, pool, p, len - beyond);
	for (uint16_t i = 0; i < more.count; i++) {
		struct bslice *s = bufq_at(&more, i);
		memcpy(s->buf->data, p + done, s->len);
		done += s->len;
		append(q, *s);
	}
	ring_drop(&more);
	return 0;
nomem:
	bufq_fini(&more);
	return ERR_NOMEM;
}

int bufq_move(struct bufq *to, struct bufq *from, uint32_t max, uint32_t *moved)
{
	uint32_t n = MIN(max, from->bytes);
	if (n > UINT32_MAX - to->bytes)
		return ERR_NOMEM;
	if (n == from->bytes && to->count == 0) {
		ring_drop(to);
		*to = *from;
		*from = (struct bufq){0};
		*moved = n;
		return 0;
	}
	uint16_t slices = 0;
	for (uint32_t seen = 0; seen < n; slices++)
		seen += bufq_at(from, slices)->len;
	int rc = reserve(to, slices);
	if (rc)
		return rc;
	*moved = n;
	while (n > 0) {
		struct bslice *s = bufq_at(from, 0);
		uint32_t take = MIN(s->len, n);
		if (!join(to, s->buf, s->off, take))
			append(to, (struct bslice){buf_get(s->buf), s->off, take});
		bufq_pop(from, take);
		n -= take;
	}
	return 0;
}

void bufq_pop(struct bufq *q, uint32_t n)
{
	CHECK(n <= q->bytes);
	q->bytes -= n;
	while (n > 0) {
		struct bslice *s = bufq_at(q, 0);
		if (s->len > n) {
			s->off += n;
			s->len -= n;
			return;
		}
		n -= s->len;
		buf_put(s->buf);
		q->head = (q->head + 1) & (q->cap - 1);
		q->count--;
	}
	if (q->count == 0)
		ring_drop(q);
}

uint32_t bufq_peek(const struct bufq *q, void *dst, uint32_t n)
{
	uint8_t *p = dst;
	uint32_t done = 0;
	for (uint16_t i = 0; i < q->count && done < n; i++) {
		const struct bslice *s = bufq_at(q, i);
		uint32_t take = MIN(s->len, n - done);
		memcpy(p + done, s->buf->data + s->off, take);
		done += take;
	}
	return done;
}

static bool pins(const struct bslice *s)
{
	if (s->buf->kind == BUF_SLOT)
		return true;
	return s->len < s->buf->cap / 4 && s->buf->cap - s->len >= UNPIN_WASTE_MIN;
}

/* How many slices from the i-th on are to be copied into one block of *bytes. */
static uint16_t pinned_run(const struct bufq *q, uint16_t i, uint32_t *bytes)
{
	uint16_t n = 0;
	*bytes = 0;
	for (; i + n < q->count && pins(bufq_at(q, i + n)); n++) {
		uint32_t len = bufq_at(q, i + n)->len;
		if (n > 0 && *bytes + len > COPY_MAX)
			break;
		*bytes += len;
	}
	return n;
}

int bufq_unpin(struct bufq *q, struct bufpool *pool, uint16_t skip)
{
	uint16_t kept = MIN(skip, q->count);
	uint16_t i = kept;
	int rc = 0;
	while (i < q->count) {
		uint32_t bytes;
		uint16_t run = rc ? 0 : pinned_run(q, i, &bytes);
		if (run == 0) {
			*bufq_at(q, kept++) = *bufq_at(q, i++);
			continue;
		}
		struct buf *b = bufpool_heap(pool, bytes);
		if (!b) {
			rc = ERR_NOMEM;
			continue;
		}
		uint32_t done = 0;
		for (; run > 0; run--, i++) {
			struct bslice *s = bufq_at(q, i);
			memcpy(b->data + done, s->buf->data + s->off, s->len);
			done += s->len;
			buf_put(s->buf);
		}
		*bufq_at(q, kept++) = (struct bslice){b, 0, bytes};
	}
	q->count = kept;
	return rc;
}
