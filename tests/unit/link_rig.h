/* SPDX-License-Identifier: Apache-2.0 */
/* Client and server links in one worker over a loopback connection, or one inside the other's stream. */
#ifndef TESTS_UNIT_LINK_RIG_H
#define TESTS_UNIT_LINK_RIG_H

#include "tests/unit/io_rig.h"
#include "tests/unit/testca.h"

#include "shared/link/link.h"
#include "shared/link/relay.h"
#include "shared/link/tunnels.h"
#include "shared/wire/tls_ctx.h"

static const char *const RIG_CLIENT = "spiffe://td/ns/a/sa/client";
static const char *const RIG_SERVER = "spiffe://td/ns/b/sa/server";

static const struct link_config rig_link_config = {
	.h2 = {.window_start = 256 * 1024,
	       .window_max = 4 << 20,
	       .conn_window_start = 1 << 20,
	       .conn_window_max = 16 << 20,
	       .frame_max = 1 << 20,
	       .streams_max = 200,
	       .header_list_max = 65536,
	       .buffered_max = 16 << 20,
	       .resets_per_s = 100,
	       .resets_burst = 100,
	       .controls_per_s = 100,
	       .controls_burst = 100},
	.handshake_ms = 2000,
	.ping_every_ms = 10000,
	.ping_timeout_ms = 20000,
};

/* What happens on one side of a stream. */
struct talker {
	struct endpoint *ep;
	struct task task;
	uint64_t got, wrong; /* bytes received; bytes that differ from pattern(position, 0) */
	uint64_t to_send, sent;
	struct worker *w;
	bool echo, hold, eof_seen, finish_at_end;
	int error;
};

static void talker_send(struct talker *t)
{
	uint8_t bytes[16384];

	while (t->sent < t->to_send && t->ep->tx_pending < 256 * 1024) {
		size_t n = MIN((uint64_t)sizeof(bytes), t->to_send - t->sent);
		struct bufq q = {0};

		for (size_t i = 0; i < n; i++)
			bytes[i] = pattern(t->sent + i, 0);
		assert_int_equal(bufq_copy(&q, t->w->bufs, bytes, n), 0);
		t->ep->ops->send(t->ep, &q);
		bufq_fini(&q);
		t->sent += n;
	}
	if (t->to_send && t->sent == t->to_send && t->finish_at_end)
		t->ep->ops->finish(t->ep);
}

static void talker_run(struct task *task)
{
	struct talker *t = container_of(task, struct talker, task);
	struct bufq q = {0};
	uint32_t n = 0;

	t->error = t->ep->error;
	if (t->hold)
		return;
	assert_int_equal(bufq_move(&q, &t->ep->rx, UINT32_MAX, &n), 0);
	for (uint16_t i = 0; i < q.count; i++)
		for (uint32_t k = 0; k < bufq_at(&q, i)->len; k++)
			t->wrong += bufq_at(&q, i)->buf->data[bufq_at(&q, i)->off + k] !=
				    pattern(t->got++, 0);
	if (n)
		t->ep->ops->credit(t->ep, n);
	if (t->echo && n)
		t->ep->ops->send(t->ep, &q);
	bufq_fini(&q);
	if (t->ep->eof && !t->eof_seen) {
		t->eof_seen = true;
		if (t->echo)
			t->ep->ops->finish(t->ep);
	}
	talker_send(t);
}

static inline void talker_start(struct talker *t, struct worker *w, struct endpoint *ep)
{
	t->ep = ep;
	t->w = w;
	task_init(&t->task, talker_run);
	endpoint_attach(ep, &w->run, &t->task);
}

static inline void talker_close(struct talker *t, int reason)
{
	task_cancel(&t->task);
	if (t->ep)
		t->ep->ops->close(t->ep, reason);
	t->ep = NULL;
}

struct link_rig {
	struct rig io;
	struct testca ca;
	struct tls_ctx *cctx, *sctx;
	struct link *client, *server;
	struct task client_task, server_task;
	struct h2_stream *requests[64];
	uint32_t request_count, client_changes;
};

static void rig_server_changed(struct task *task)
{
	struct link_rig *r = container_of(task, struct link_rig, server_task);
	struct h2_stream *s;

	while (r->server && (s = link_next_request(r->server)))
		r->requests[r->request_count++ % 64] = s;
}

static void rig_client_changed(struct task *task)
{
	container_of(task, struct link_rig, client_task)->client_changes++;
}

static void rig_link_accepted(void *arg, int fd, const struct addr *peer)
{
	struct link_rig *r = arg;
	struct conn *c = conn_accept(r->io.w, fd, peer, NULL);
	struct link_config config = rig_link_config;

	assert_non_null(c);
	config.h2.server = true;
	if (r->server)
		link_free(r->server);
	r->server = link_server(r->io.w, &c->ep, r->sctx, &config);
	assert_non_null(r->server);
	link_attach(r->server, &r->io.w->run, &r->server_task);
}

static inline int rig_socket(const struct addr *dst)
{
	(void)dst;
	return socket_open(NULL, AF_INET, SOCK_STREAM, 0);
}

static inline void link_rig_start_wanting(struct link_rig *r, const char *backend, const char *want)
{
	struct worker_config config = {
		.name = "test", .io_backend = backend, .buf_limits = rig_limits};
	struct str sans[] = {str_of(want)};
	struct conn *c;

	*r = (struct link_rig){.io.fds_before = rig_fds()};
	r->ca = testca_new("root", NULL, 0);
	r->cctx = testca_simple_ctx(&r->ca, RIG_CLIENT);
	r->sctx = testca_simple_ctx(&r->ca, RIG_SERVER);
	task_init(&r->client_task, rig_client_changed);
	task_init(&r->server_task, rig_server_changed);
	assert_int_equal(worker_new(&config, &r->io.w), 0);
	assert_int_equal(
		listener_start(r->io.w, rig_listen(&r->io), rig_link_accepted, r, &r->io.l), 0);
	c = conn_connect(r->io.w, rig_socket(&r->io.at), &r->io.at, 2000);
	assert_non_null(c);
	r->client = link_client(r->io.w, &c->ep, r->cctx, sans, 1, &rig_link_config);
	assert_non_null(r->client);
	link_attach(r->client, &r->io.w->run, &r->client_task);
}

static inline void link_rig_start(struct link_rig *r, const char *backend)
{
	link_rig_start_wanting(r, backend, RIG_SERVER);
	UNTIL(&r->io, r->client->state == LINK_OPEN && r->server && r->server->state == LINK_OPEN);
}

static inline void link_rig_end(struct link_rig *r)
{
	if (r->client)
		link_free(r->client);
	if (r->server)
		link_free(r->server);
	r->client = r->server = NULL;
	tls_ctx_put(r->cctx);
	tls_ctx_put(r->sctx);
	testca_free(&r->ca);
	rig_end(&r->io);
}

/* A CONNECT stream that the server answered with 200. */
static inline void link_rig_stream(struct link_rig *r, struct h2_stream **c, struct h2_stream **s)
{
	struct header head[] = {{STR(":method"), STR("CONNECT")},
				{STR(":authority"), STR("10.0.0.1:80")}};
	struct header ok[] = {{STR(":status"), STR("200")}};
	uint32_t before = r->request_count;

	assert_int_equal(link_open(r->client, head, 2, c), 0);
	UNTIL(&r->io, r->request_count > before);
	*s = r->requests[before % 64];
	h2_stream_drop_head(*s);
	assert_int_equal(h2_respond(*s, ok, 1, false), 0);
	UNTIL(&r->io, (*c)->status == 200);
}

#endif
