/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/tales.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/backend.h"
#include "shared/io/socket.h"
#include "tests/sim/mesh.h"

enum { TX_PENDING_MAX = 48 * 1024, CONNECT_MS = 30 * 1000 };

static uint8_t pattern(uint32_t at, uint32_t id, bool client)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16) + id * 3 + client);
}

/* ---- one end ---- */

static void end_done(struct tale_end *e, struct worker *w, enum tale_end_state state, int reason)
{
	e->state = state;
	e->error = e->c->ep.error;
	timer_disarm(&w->timers, &e->nap);
	task_cancel(&e->wake);
	task_cancel(&e->task);
	e->c->ep.ops->close(&e->c->ep, reason);
	e->c = NULL;
}

static void put_u32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, 4);
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return v;
}

static void send_some(struct tale_end *e, struct worker *w)
{
	struct endpoint *ep = &e->c->ep;

	while (e->sent < e->to_send && ep->tx_pending < TX_PENDING_MAX && !ep->error) {
		uint32_t n = MIN(e->to_send - e->sent, 7001U);
		struct bufq q = {0};
		uint8_t bytes[7001];

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = pattern(e->sent + i, e->tale->id, e->client);
		CHECK(bufq_copy(&q, w->bufs, bytes, n) == 0);
		ep->ops->send(ep, &q);
		e->sent += n;
	}
	if (e->sent == e->to_send && !e->finished) {
		e->finished = true;
		ep->ops->finish(ep);
	}
}

/* Reads all there is; the bytes must be those that the other end sends at that place. */
static void read_all(struct tale_end *e)
{
	struct endpoint *ep = &e->c->ep;
	uint32_t n = ep->rx.bytes, skip = MIN(e->skip, n);

	bufq_pop(&ep->rx, skip);
	e->skip -= skip;

	for (uint16_t i = 0; i < ep->rx.count; i++) {
		const struct bslice *s = bufq_at(&ep->rx, i);

		for (uint32_t k = 0; k < s->len; k++, e->got++)
			CHECK(s->buf->data[s->off + k] == pattern(e->got, e->tale->id, !e->client));
	}
	CHECK(e->got <= e->want);
	bufq_fini(&ep->rx);
	if (n)
		ep->ops->credit(ep, n);
}

static void end_run(struct tale_end *e, struct worker *w)
{
	struct endpoint *ep = &e->c->ep;

	if (e->nap_ms == 0 || !e->asleep)
		read_all(e);
	if (e->nap_ms && !e->asleep) {
		e->asleep = true;
		timer_arm(&w->timers, &e->nap, e->nap_ms);
	}
	if (ep->error) {
		end_done(e, w, END_ERROR, ep->error);
		return;
	}
	send_some(e, w);
	if (e->sent >= e->reset_at && e->sent < e->to_send)
		end_done(e, w, END_RESET_BY_ITSELF, -ECONNRESET);
	else if (ep->eof && !ep->rx.bytes && e->finished && ep->tx_pending == 0)
		end_done(e, w, END_FIN, 0);
}

static void woken(struct task *task)
{
	struct tale_end *e = container_of(task, struct tale_end, wake);

	e->asleep = false;
	if (e->c)
		end_run(e, e->c->worker);
}

static void run(struct task *task)
{
	struct tale_end *e = container_of(task, struct tale_end, task);

	end_run(e, e->c->worker);
}

static void end_init(struct tale_end *e, struct tales *t, bool client)
{
	task_init(&e->task, run);
	task_init(&e->wake, woken);
	timer_init(&e->nap, &e->wake);
	list_init(&e->link);
	e->client = client;
	e->reset_at = UINT32_MAX;
	if (t && rng_below(t->rng, 3) == 0)
		e->nap_ms = 1 + (uint32_t)rng_below(t->rng, t->nap_max_ms);
}

/* ---- servers ---- */

struct stranger {
	struct tale_end end;
	struct tales *tales;
};

static void stranger_end(struct stranger *s, int reason)
{
	list_del(&s->end.link);
	task_cancel(&s->end.task);
	if (s->end.c)
		s->end.c->ep.ops->close(&s->end.c->ep, reason);
	free(s);
}

/* The head is there: the connection becomes the server's end of its tale. */
static void introduced(struct stranger *s)
{
	struct tales *t = s->tales;
	uint32_t id = get_u32(s->end.head);
	struct tale_end *e;
	struct conn *c = s->end.c;

	CHECK(id < t->count);
	e = &t->all[id].server;
	CHECK(e->state == END_NONE);
	CHECK(get_u32(s->end.head + 4) == e->want && get_u32(s->end.head + 8) == e->to_send);
	e->state = END_RUNS;
	e->c = c;
	s->end.c = NULL;
	stranger_end(s, 0);
	endpoint_attach(&c->ep, &t->w->run, &e->task);
}

static void stranger_run(struct task *task)
{
	struct stranger *s =
		container_of(container_of(task, struct tale_end, task), struct stranger, end);
	struct endpoint *ep = &s->end.c->ep;
	uint32_t n = MIN(TALE_HEAD_BYTES - s->end.head_have, ep->rx.bytes);

	n = bufq_peek(&ep->rx, s->end.head + s->end.head_have, n);
	bufq_pop(&ep->rx, n);
	s->end.head_have += n;
	if (n)
		ep->ops->credit(ep, n);
	if (s->end.head_have == TALE_HEAD_BYTES)
		introduced(s);
	else if (ep->error || ep->eof)
		stranger_end(s, ep->error);
}

static void accepted(void *arg, int fd, const struct addr *peer)
{
	struct tales *t = arg;
	struct conn *c = conn_accept(t->w, fd, peer, NULL);
	struct stranger *s = calloc(1, sizeof(*s));

	CHECK(c && s);
	end_init(&s->end, NULL, false);
	s->end.task.run = stranger_run;
	s->end.c = c;
	s->tales = t;
	list_add_tail(&t->strangers, &s->end.link);
	endpoint_attach(&c->ep, &t->w->run, &s->end.task);
}

void tales_listen(struct tales *t, int ns)
{
	struct netns at = {ns};
	struct socket_listen_options o = {
		.family = AF_INET6, .bind.port = MESH_APP_PORT, .backlog = 64};
	bool transparent;
	int fd = socket_listen(&at, &o, &transparent);

	CHECK(fd >= 0 && t->listener_count < ARRAY_SIZE(t->listeners));
	CHECK(listener_start(t->w, fd, accepted, t, &t->listeners[t->listener_count++]) == 0);
}

void tales_start(struct tales *t, struct worker *w, struct rng *rng, uint32_t bytes_max,
		 uint32_t nap_max_ms)
{
	memset(t, 0, sizeof(*t));
	t->bytes_max = bytes_max;
	t->nap_max_ms = nap_max_ms;
	t->w = w;
	t->rng = rng;
	list_init(&t->strangers);
}

/* ---- clients ---- */

static struct addr at(const struct mesh_host *h, bool v6, uint16_t port)
{
	return (struct addr){v6 ? h->at6.ip : h->at.ip, port};
}

/* Who calls whom on that way: the client's namespace, where it really connects to, and what it means. */
static int route(struct tales *t, enum tale_way way, struct addr *to, struct addr *meant)
{
	static const struct addr service[] = {{{4, {10, 96, 0, 1}}, 80},
					      {{16, {0xfd, 0, 0, 0x96, [15] = 1}}, 80}};
	const struct mesh_host *pod = &mesh_hosts[rng_below(t->rng, 2)];
	const struct mesh_host *server = &mesh_hosts[2 + rng_below(t->rng, 2)];
	const struct mesh_host *x = &mesh_hosts[MESH_PODS];
	bool v6 = rng_below(t->rng, 3) == 0;

	*meant = at(server, v6, MESH_APP_PORT);
	*to = at(pod, v6, CONFIG_PORT_OUTBOUND);
	switch (way) {
	case TALE_SERVICE: *meant = service[v6]; return pod->ns;
	case TALE_OUTSIDE: *meant = at(x, v6, MESH_APP_PORT); return pod->ns;
	case TALE_PLAIN: *to = at(server, v6, CONFIG_PORT_INBOUND_PLAINTEXT); return x->ns;
	case TALE_SOCKS:
		*to = (struct addr){{4, {127, 0, 0, 1}}, CONFIG_PORT_SOCKS5};
		return pod->ns;
	default: return pod->ns;
	}
}

/* RFC 1928: no authentication, connect to that address; the answers are twelve bytes. */
static void ask_socks(struct tale_end *e, struct worker *w, const struct addr *meant)
{
	uint8_t ask[3 + 4 + 16 + 2] = {5, 1, 0, 5, 1, 0, meant->ip.len == 4 ? 1 : 4};
	size_t n = 7;
	struct bufq q = {0};

	memcpy(ask + n, meant->ip.b, meant->ip.len);
	n += meant->ip.len;
	ask[n++] = (uint8_t)(meant->port >> 8);
	ask[n++] = (uint8_t)meant->port;
	CHECK(bufq_copy(&q, w->bufs, ask, n) == 0);
	e->c->ep.ops->send(&e->c->ep, &q);
	e->skip = 2 + 10;
}

void tales_open(struct tales *t, enum tale_way way, bool resets)
{
	struct tale *tale = &t->all[t->count];
	struct addr to, meant;
	struct netns ns = {route(t, way, &to, &meant)};
	uint8_t head[TALE_HEAD_BYTES] = {0};
	struct bufq q = {0};
	int fd = socket_open(&ns, to.ip.len == 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
	struct tale_end *e = &tale->client;
	/* most are small */
	uint32_t bytes = t->bytes_max >> 2 * rng_below(t->rng, 4);

	CHECK(fd >= 0 && t->count < TALES_MAX);
	*tale = (struct tale){.id = t->count++, .way = way};
	end_init(&tale->client, t, true);
	end_init(&tale->server, t, false);
	tale->client.tale = tale->server.tale = tale;
	tale->client.to_send = tale->server.want = (uint32_t)rng_below(t->rng, bytes);
	tale->server.to_send = tale->client.want = (uint32_t)rng_below(t->rng, bytes);
	if (resets && rng_below(t->rng, 3) == 0) {
		struct tale_end *who = rng_below(t->rng, 2) ? &tale->client : &tale->server;

		who->reset_at = (uint32_t)rng_below(t->rng, who->to_send + 1);
	}
	fakenet_capture(fd, &meant);
	e->c = conn_connect(t->w, fd, &to, CONNECT_MS);
	CHECK(e->c);
	e->state = END_RUNS;
	if (way == TALE_SOCKS)
		ask_socks(e, t->w, &meant);
	put_u32(head, tale->id);
	put_u32(head + 4, e->to_send);
	put_u32(head + 8, e->want);
	CHECK(bufq_copy(&q, t->w->bufs, head, sizeof(head)) == 0);
	e->c->ep.ops->send(&e->c->ep, &q);
	endpoint_attach(&e->c->ep, &t->w->run, &e->task);
}

/* ---- what became of them ---- */

uint32_t tales_running(const struct tales *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->count; i++)
		n += (t->all[i].client.state == END_RUNS) + (t->all[i].server.state == END_RUNS);
	return n + !list_empty(&t->strangers);
}

void tales_excuse(struct tales *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->all[i].client.state == END_RUNS || t->all[i].server.state == END_RUNS)
			t->all[i].excused = true;
}

static void print_end(const char *name, const struct tale_end *e)
{
	static const char *const states[] = {"none", "runs", "fin", "error", "reset itself"};

	fprintf(stderr, "  %s %-12s sent %u/%u%s got %u/%u %s nap %u", name, states[e->state],
		e->sent, e->to_send, e->finished ? " finished" : "", e->got, e->want,
		e->error ? err_name(e->error) : "-", e->nap_ms);
	if (e->c)
		fprintf(stderr, " [state %u owed %u open %d eof %d err %d tx %u rx %u unc %u]",
			e->c->state, e->c->owed, e->c->ep.open, e->c->ep.eof, e->c->ep.error,
			e->c->ep.tx_pending, e->c->ep.rx.bytes, e->c->uncredited);
	fputc('\n', stderr);
}

static void print_tale(const struct tale *tale)
{
	fprintf(stderr, "tale %u way %d%s\n", tale->id, tale->way, tale->excused ? " excused" : "");
	print_end("client", &tale->client);
	print_end("server", &tale->server);
}

/* A FIN says that everything was said: then everything must be here, and the other end must have finished. */
static bool honest(const struct tale *tale, const struct tale_end *e, const struct tale_end *other)
{
	if (e->state != END_FIN || tale->excused)
		return true;
	/* refused before a byte crossed: told as an end of file (contract section 4) */
	if (other->state == END_NONE && e->got == 0)
		return true;
	return e->got == e->want && other->finished;
}

uint32_t tales_check(const struct tales *t, bool all)
{
	uint32_t whole = 0;

	for (uint32_t i = 0; i < t->count; i++) {
		const struct tale *tale = &t->all[i];
		const struct tale_end *c = &tale->client, *s = &tale->server;
		bool ok = honest(tale, c, s) && honest(tale, s, c);

		/* an end that reset is not taken for one that finished */
		if (!tale->excused && c->state == END_RESET_BY_ITSELF)
			ok = ok && s->state != END_FIN;
		if (!tale->excused && s->state == END_RESET_BY_ITSELF)
			ok = ok && c->state != END_FIN;
		bool is_whole = c->state == END_FIN && s->state == END_FIN && c->got == c->want &&
				s->got == s->want;

		ok = ok && (is_whole || !all);
		if (!ok)
			print_tale(tale);
		CHECK(ok);
		whole += is_whole;
	}
	return whole;
}

void tales_print(const struct tales *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->all[i].client.state == END_RUNS || t->all[i].server.state == END_RUNS)
			print_tale(&t->all[i]);
}

void tales_stop(struct tales *t)
{
	for (uint32_t i = 0; i < t->listener_count; i++)
		listener_stop(t->listeners[i], NULL);
	list_for_each_safe(node, tmp, &t->strangers)
		stranger_end(container_of(container_of(node, struct tale_end, link),
					  struct stranger, end),
			     ERR_CLOSED);
	for (uint32_t i = 0; i < t->count; i++) {
		struct tale *tale = &t->all[i];

		if (tale->client.state == END_RUNS)
			end_done(&tale->client, t->w, END_ERROR, ERR_CLOSED);
		if (tale->server.state == END_RUNS)
			end_done(&tale->server, t->w, END_ERROR, ERR_CLOSED);
	}
}
