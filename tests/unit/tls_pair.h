/* SPDX-License-Identifier: Apache-2.0 */
/* Two sessions in one process, and a wire between them that the test may tamper with. */
#ifndef GAUZE_TESTS_TLS_PAIR_H
#define GAUZE_TESTS_TLS_PAIR_H

#include <stdlib.h>

#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/wire/tls.h"
#include "shared/wire/tls_ctx.h"

struct pair {
	struct bufpool *pool;
	struct tls *c, *s;
	struct bufq to_s, to_c; /* on the wire */
	int c_rc, s_rc;
};

static inline struct bufpool *pair_pool(void)
{
	struct bufpool_limits l = {.slots_max = 64, .bytes_max = 64 << 20, .slabs_cached = 1};
	struct bufpool *p = bufpool_new(&l);
	CHECK(p);
	return p;
}

static inline void pair_open(struct pair *p, struct tls_ctx *cc, struct tls_ctx *sc,
			     const struct str *want, size_t wants)
{
	*p = (struct pair){.pool = pair_pool()};
	p->c = tls_client_new(cc, want, wants);
	p->s = tls_server_new(sc);
	CHECK(p->c && p->s);
}

static inline void pair_close(struct pair *p)
{
	tls_free(p->c);
	tls_free(p->s);
	bufq_fini(&p->to_s);
	bufq_fini(&p->to_c);
	bufpool_free(p->pool);
}

/* Runs both until neither has anything to say; errors stick in c_rc and s_rc. */
static inline void pair_shake(struct pair *p)
{
	for (int i = 0; i < 20; i++) {
		CHECK(tls_feed(p->c, &p->to_c) == 0 && tls_feed(p->s, &p->to_s) == 0);
		if (!tls_wants_step(p->c) && !tls_wants_step(p->s))
			return;
		if (tls_wants_step(p->c) && p->c_rc == 0)
			p->c_rc = tls_step(p->c, p->pool, &p->to_s);
		if (tls_wants_step(p->s) && p->s_rc == 0)
			p->s_rc = tls_step(p->s, p->pool, &p->to_c);
		if (p->c_rc || p->s_rc) {
			/* what the failing side said still reaches the other */
			CHECK(tls_feed(p->c, &p->to_c) == 0 && tls_feed(p->s, &p->to_s) == 0);
			bool more = true;
			struct bufq drop = {0};
			while (p->s_rc && p->c_rc == 0 && more) {
				if (tls_wants_step(p->c))
					p->c_rc = tls_step(p->c, p->pool, &p->to_s);
				if (p->c_rc == 0)
					p->c_rc = tls_open(p->c, p->pool, &drop, &more);
			}
			more = true;
			while (p->c_rc && p->s_rc == 0 && more) {
				if (tls_wants_step(p->s))
					p->s_rc = tls_step(p->s, p->pool, &p->to_c);
				if (p->s_rc == 0)
					p->s_rc = tls_open(p->s, p->pool, &drop, &more);
			}
			bufq_fini(&drop);
			return;
		}
	}
}

/* Seals n bytes of value v and puts the record on the wire. */
static inline int pair_send(struct pair *p, struct tls *from, struct bufq *wire, uint8_t v,
			    size_t n)
{
	uint8_t *room = malloc(TLS_ROOM_HEAD + n + TLS_ROOM_TAIL), *out;
	size_t len;

	CHECK(room);
	memset(room + TLS_ROOM_HEAD, v, n);
	int rc = tls_seal(from, room + TLS_ROOM_HEAD, n, &out, &len);
	if (rc == 0) {
		CHECK(out >= room && out + len <= room + TLS_ROOM_HEAD + n + TLS_ROOM_TAIL);
		CHECK(bufq_copy(wire, p->pool, out, len) == 0);
	}
	free(room);
	return rc;
}

/* Feeds what is on the wire and opens all there is. */
static inline int pair_recv(struct pair *p, struct tls *to, struct bufq *wire, struct bufq *got)
{
	bool more = true;
	int rc = tls_feed(to, wire);

	while (rc == 0 && more)
		rc = tls_open(to, p->pool, got, &more);
	return rc;
}

/* Whether q is n bytes of value v; empties it. */
static inline bool pair_is(struct bufq *q, uint8_t v, size_t n)
{
	bool ok = q->bytes == n;

	for (uint16_t i = 0; i < q->count; i++)
		for (uint32_t k = 0; k < bufq_at(q, i)->len; k++)
			ok = ok && bufq_at(q, i)->buf->data[bufq_at(q, i)->off + k] == v;
	bufq_fini(q);
	return ok;
}

#endif
