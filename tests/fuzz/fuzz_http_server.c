/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a client of our own ports, in pieces: the first byte is the size of each piece. */
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/endpoint.h"
#include "shared/base/err.h"
#include "shared/control/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t answers;
static bool closed;

static void take(struct endpoint *ep, struct bufq *q)
{
	char head[9];
	(void)ep;
	CHECK(bufq_peek(q, head, sizeof(head)) == sizeof(head) &&
	      memcmp(head, "HTTP/1.1 ", 9) == 0);
	answers++;
	bufq_fini(q);
	bufq_init(q);
}

static void finish(struct endpoint *ep)
{
	(void)ep;
}

static void credit(struct endpoint *ep, uint32_t n)
{
	(void)ep;
	(void)n;
}

static void end(struct endpoint *ep, int reason)
{
	(void)ep;
	(void)reason;
	closed = true;
}

static void handler(void *arg, struct http_exchange *x, const struct http_request *r)
{
	(void)arg;
	CHECK(r->method.n > 0 && (r->query.p || r->query.n == 0));
	(void)http_query_get(r->query, STR("level"));
	http_respond(x, &(struct http_response){.status = 200, .body = r->path});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct endpoint_ops ops = {
		.send = take, .finish = finish, .credit = credit, .close = end};
	const struct worker_config config = {.name = "fuzz",
					     .io_backend = "epoll",
					     .buf_limits = {.slots_max = 4, .bytes_max = 16 << 20}};
	struct endpoint ep = {.ops = &ops, .open = true};
	struct worker *w;
	struct http_server *s;
	size_t piece = size ? data[0] + 1U : 1;
	if (worker_new(&config, &w))
		return 0;
	s = http_server_new(w, handler, NULL);
	closed = false;
	answers = 0;
	if (!s || http_server_serve(s, &ep))
		abort();
	for (size_t at = 1; at < size && !closed; at += piece) {
		CHECK(bufq_copy(&ep.rx, w->bufs, data + at, MIN(piece, size - at)) == 0);
		endpoint_notify(&ep);
		worker_turn(w, 0);
	}
	ep.eof = true;
	endpoint_notify(&ep);
	for (int i = 0; i < 4; i++)
		worker_turn(w, 0);
	/* A client that is done is let go, whatever it sent. */
	CHECK(closed || ep.rx.bytes == 0);
	http_server_drain(s, NULL);
	http_server_kill(s);
	worker_turn(w, 0);
	CHECK(closed);
	bufq_fini(&ep.rx);
	worker_free(w);
	return 0;
}
