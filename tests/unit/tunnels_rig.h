/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of client links, a server that sends back what it gets, and those who ask for streams. */
#ifndef TESTS_UNIT_TUNNELS_RIG_H
#define TESTS_UNIT_TUNNELS_RIG_H

#include "shared/base/rstr.h"
#include "tests/unit/link_rig.h"

enum { SERVERS = 32, ASKERS = 600 };

struct pool_rig;

/* One accepted link. */
struct server {
	struct pool_rig *r;
	struct link *l;
	struct task task;
};

/* The far end of one stream: sends back what it gets. */
struct echo {
	struct endpoint *ep;
	struct task task;
};

struct pool_rig {
	struct rig io;
	struct testca ca;
	struct tls_ctx *cctx, *cctx2, *sctx;
	struct rstr *san, *other_san;
	struct tunnels *pool;
	struct server servers[SERVERS];
	uint32_t server_count;
	struct echo echoes[ASKERS];
	uint32_t echo_count;
	uint32_t sockets, reports, failures; /* asked for; of the `connected` hook */
	bool no_answer;			     /* requests are left without a response */
	int socket_error;		     /* open_socket fails with it */
};

/* Scopes point back at the rig. */
struct scope {
	struct pool_rig *r;
};

/* One who wants a stream. */
struct asker {
	struct tunnel_request req;
	struct task task, moved;
	struct pool_rig *r;
	struct h2_stream *s;
	uint32_t answers, to_send, sent, got, wrong;
	int open_error;
	bool hold; /* does not open when answered */
	bool eof;
};

static inline void echo_run(struct task *task)
{
	struct echo *e = container_of(task, struct echo, task);
	struct bufq q = {0};
	uint32_t n = 0;

	assert_int_equal(bufq_move(&q, &e->ep->rx, UINT32_MAX, &n), 0);
	if (n) {
		e->ep->ops->credit(e->ep, n);
		e->ep->ops->send(e->ep, &q);
	}
	if (e->ep->eof)
		e->ep->ops->finish(e->ep);
	if (e->ep->error || (e->ep->eof && e->ep->tx_pending == 0)) {
		task_cancel(&e->task);
		e->ep->ops->close(e->ep, e->ep->error);
		e->ep = NULL;
	}
}

static inline void server_changed(struct task *task)
{
	struct server *sv = container_of(task, struct server, task);
	struct pool_rig *r = sv->r;
	struct header ok[] = {{STR(":status"), STR("200")}};
	struct h2_stream *s;

	while (sv->l && (s = link_next_request(sv->l))) {
		struct echo *e = &r->echoes[r->echo_count++];

		assert_true(r->echo_count <= ASKERS);
		h2_stream_drop_head(s);
		if (!r->no_answer)
			assert_int_equal(h2_respond(s, ok, 1, false), 0);
		e->ep = &s->ep;
		task_init(&e->task, echo_run);
		endpoint_attach(e->ep, &r->io.w->run, &e->task);
	}
}

static inline void pool_accepted(void *arg, int fd, const struct addr *peer)
{
	struct pool_rig *r = arg;
	struct server *sv = &r->servers[r->server_count++];
	struct conn *c = conn_accept(r->io.w, fd, peer, NULL);
	struct link_config config = rig_link_config;

	assert_true(r->server_count <= SERVERS);
	assert_non_null(c);
	config.h2.server = true;
	sv->r = r;
	sv->l = link_server(r->io.w, &c->ep, r->sctx, &config);
	assert_non_null(sv->l);
	task_init(&sv->task, server_changed);
	link_attach(sv->l, &r->io.w->run, &sv->task);
}

static inline int pool_socket(void *scope, const struct addr *dst)
{
	struct pool_rig *r = ((struct scope *)scope)->r;

	(void)dst;
	r->sockets++;
	if (r->socket_error)
		return r->socket_error;
	return socket_open(NULL, AF_INET, SOCK_STREAM, 0);
}

static inline void pool_connected(void *scope, uint64_t connect_ns, uint64_t handshake_ns,
				  int error)
{
	struct pool_rig *r = ((struct scope *)scope)->r;

	r->reports++;
	r->failures += error != 0;
	assert_true(error || (connect_ns > 0 && handshake_ns > 0));
}

static inline void pool_start(struct pool_rig *r, const char *backend, uint32_t streams_max,
			      uint64_t unused_ms)
{
	struct worker_config config = {
		.name = "test", .io_backend = backend, .buf_limits = rig_limits};
	struct tunnels_config pool = {
		.link = rig_link_config,
		.streams_max = streams_max,
		.unused_ms = unused_ms,
		.connect_ms = 2000,
		.open_socket = pool_socket,
		.connected = pool_connected,
	};

	*r = (struct pool_rig){.io.fds_before = rig_fds()};
	r->ca = testca_new("root", NULL, 0);
	r->cctx = testca_simple_ctx(&r->ca, RIG_CLIENT);
	r->cctx2 = testca_simple_ctx(&r->ca, RIG_CLIENT);
	r->sctx = testca_simple_ctx(&r->ca, RIG_SERVER);
	r->san = rstr_intern(str_of(RIG_SERVER));
	r->other_san = rstr_intern(STR("spiffe://td/ns/b/sa/other"));
	assert_int_equal(worker_new(&config, &r->io.w), 0);
	assert_int_equal(listener_start(r->io.w, rig_listen(&r->io), pool_accepted, r, &r->io.l),
			 0);
	r->pool = tunnels_new(r->io.w, &pool);
	assert_non_null(r->pool);
}

static inline void pool_end(struct pool_rig *r)
{
	tunnels_free(r->pool);
	for (uint32_t i = 0; i < r->server_count; i++)
		if (r->servers[i].l)
			link_free(r->servers[i].l);
	for (uint32_t i = 0; i < r->echo_count; i++) {
		struct echo *e = &r->echoes[i];

		if (e->ep) {
			task_cancel(&e->task);
			e->ep->ops->close(e->ep, ERR_CLOSED);
		}
	}
	tls_ctx_put(r->cctx);
	tls_ctx_put(r->cctx2);
	tls_ctx_put(r->sctx);
	rstr_put(r->san);
	rstr_put(r->other_san);
	testca_free(&r->ca);
	rig_end(&r->io);
}

static inline uint32_t live_servers(const struct pool_rig *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->server_count; i++)
		n += r->servers[i].l->state != LINK_DEAD;
	return n;
}

static inline struct tunnel_target target(struct pool_rig *r, struct scope *scope)
{
	scope->r = r;
	return (struct tunnel_target){.scope = scope,
				      .dst = r->io.at,
				      .src_ip = {4, {10, 0, 0, 1}},
				      .ctx = r->cctx,
				      .sans = {r->san},
				      .sans_count = 1};
}

static inline void stream_moved(struct task *task)
{
	struct asker *a = container_of(task, struct asker, moved);
	struct endpoint *ep = &a->s->ep;
	uint32_t n = ep->rx.bytes;

	for (uint16_t i = 0; i < ep->rx.count; i++)
		for (uint32_t k = 0; k < bufq_at(&ep->rx, i)->len; k++)
			a->wrong += bufq_at(&ep->rx, i)->buf->data[bufq_at(&ep->rx, i)->off + k] !=
				    pattern(a->got++, 0);
	bufq_fini(&ep->rx);
	if (n)
		ep->ops->credit(ep, n);
	while (a->sent < a->to_send && ep->tx_pending < 65536) {
		struct bufq q = {0};
		uint8_t bytes[4096];
		uint32_t len = MIN(a->to_send - a->sent, (uint32_t)sizeof(bytes));

		for (uint32_t i = 0; i < len; i++)
			bytes[i] = pattern(a->sent + i, 0);
		assert_int_equal(bufq_copy(&q, a->r->io.w->bufs, bytes, len), 0);
		ep->ops->send(ep, &q);
		a->sent += len;
	}
	if (a->sent == a->to_send && a->to_send)
		ep->ops->finish(ep);
	a->eof = ep->eof;
}

static inline void answered(struct task *task)
{
	struct asker *a = container_of(task, struct asker, task);
	struct header head[] = {{STR(":method"), STR("CONNECT")},
				{STR(":authority"), STR("10.0.0.1:80")}};

	a->answers++;
	assert_true(a->req.answered);
	if (a->req.error || a->hold)
		return;
	a->open_error = tunnel_open(&a->req, head, 2, &a->s);
	if (a->open_error)
		return;
	task_init(&a->moved, stream_moved);
	endpoint_attach(&a->s->ep, &a->r->io.w->run, &a->moved);
}

static inline void ask_for(struct pool_rig *r, struct asker *a, const struct tunnel_target *k)
{
	a->r = r;
	a->answers = 0;
	task_init(&a->task, answered);
	tunnels_ask(r->pool, k, &a->req, &a->task);
	assert_int_equal(a->answers, 0);
}

static inline void leave(struct asker *a, int reason)
{
	if (!a->s)
		return;
	task_cancel(&a->moved);
	a->s->ep.ops->close(&a->s->ep, reason);
	a->s = NULL;
}

static inline bool all_open(const struct asker *a, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!a[i].s || a[i].s->status != 200)
			return false;
	return true;
}

#endif
