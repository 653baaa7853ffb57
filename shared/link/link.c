/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/worker.h"
#include "shared/wire/tls.h"
#include "shared/wire/tls_ctx.h"

enum { LINK_MAGIC = 0x6c696e6b, LINK_CONTROL_BYTES = 512, LINK_STARVED_MS = 10 };

static void notify(struct link *l)
{
	if (l->user)
		task_ready(l->user_queue, l->user);
}

/* Sends what q holds, if anything. */
static void net_send(struct link *l, struct bufq *q)
{
	if (q->bytes)
		l->net->ops->send(l->net, q);
	bufq_fini(q);
}

/*
 * What GOAWAY says of a reason. An end that is no fault of the peer's protocol is NO_ERROR (contract sections 5.3, 5.6);
 * CANCEL is for streams.
 */
static uint32_t goaway_code(int reason)
{
	uint32_t code = reason && reason != ERR_H2_KEEPALIVE ? err_h2(reason) : 0;

	return code == 0x8 ? 0 : code;
}

/* Ends the link. `say` tells the peer (GOAWAY, close_notify) before the transport is closed. */
static void die(struct link *l, int reason, bool say)
{
	struct bufq out = {0};

	if (l->state == LINK_DEAD)
		return;
	l->error = reason;
	if (!l->error_text[0] && reason)
		snprintf(l->error_text, sizeof(l->error_text), "%s", err_text(reason));
	l->state = LINK_DEAD;
	timer_disarm(&l->w->timers, &l->timer);
	timer_disarm(&l->w->timers, &l->retry);
	task_cancel(&l->run);
	task_cancel(&l->flush);
	if (l->h2) {
		struct record_writer w;

		/* a peer that cannot be told any more learns it from the transport's end */
		if (say) {
			record_begin(&w, l->tls, l->w->bufs, &out, LINK_CONTROL_BYTES);
			if (!h2_going_away(l->h2))
				ignore_result(h2_goaway(l->h2, goaway_code(reason)));
			ignore_result(h2_pull(l->h2, &w));
			ignore_result(record_end(&w));
		}
		h2_free(l->h2, reason ? reason : ERR_CLOSED);
		l->h2 = NULL;
		task_cancel(&l->flush);
	}
	if (say && tls_established(l->tls))
		ignore_result(tls_close_notify(l->tls, l->w->bufs, &out));
	net_send(l, &out);
	l->net->ops->close(l->net, say ? 0 : (reason ? reason : ERR_CLOSED));
	l->net = NULL;
	tls_free(l->tls);
	l->tls = NULL;
	notify(l);
}

/* The transport or the session failed with an error that text (may be empty) explains. */
static void fail(struct link *l, int reason, const char *text, bool say)
{
	if (text && text[0])
		snprintf(l->error_text, sizeof(l->error_text), "%s", text);
	die(l, reason, say);
}

static int opened(struct link *l)
{
	struct link_config *c = &l->config;

	l->established_ns = l->w->now_ns;
	l->h2 = h2_new(&c->h2, l->w->bufs, &l->w->flush, &l->flush);
	if (!l->h2)
		return ERR_NOMEM;
	l->state = LINK_OPEN;
	timer_arm(&l->w->timers, &l->timer, c->ping_every_ms);
	notify(l);
	if (l->drain_asked)
		link_drain(l);
	return l->state == LINK_DEAD ? l->error : 0;
}

/* Lets TLS say and hear what it must; 0 or the reason of the link's end (already ended). */
static int step_tls(struct link *l)
{
	struct bufq out = {0};
	int err = tls_step(l->tls, l->w->bufs, &out);

	net_send(l, &out);
	if (err) {
		fail(l, err, tls_error_text(l->tls), true);
		return err;
	}
	if (l->state == LINK_HANDSHAKE && tls_established(l->tls)) {
		err = opened(l);
		if (err)
			die(l, err, false);
	}
	return err;
}

/*
 * Opens records and feeds the session until none is left, or no buffer is to be had: then it goes on later, and nothing
 * more is taken from the transport. 0, ERR_CLOSED after close_notify, or an error.
 */
static int pump_up(struct link *l)
{
	struct bufq plain = {0};
	bool more = true;
	int err = 0;

	l->starved = false;
	while (more && !err) {
		err = tls_open(l->tls, l->w->bufs, &plain, &more);
		if (plain.bytes) {
			int bad = h2_recv(l->h2, &plain, l->w->now_ns);

			bufq_fini(&plain);
			if (bad)
				return bad;
		}
	}
	if (err == ERR_NOMEM && tls_established(l->tls)) {
		l->starved = true;
		timer_arm(&l->w->timers, &l->retry, LINK_STARVED_MS);
		return 0;
	}
	/* what waited meanwhile */
	if (l->net->rx.bytes)
		task_ready(&l->w->run, &l->run);
	return err;
}

static void check_pong(struct link *l)
{
	uint32_t pongs = h2_pongs(l->h2);

	if (pongs == l->pongs_seen)
		return;
	l->pongs_seen = pongs;
	l->ping_out = false;
	timer_arm(&l->w->timers, &l->timer, l->config.ping_every_ms);
	/* the second half of a graceful shutdown: now the peer knows, say which streams were served */
	if (l->notice_sent && !l->goaway_sent) {
		l->goaway_sent = true;
		ignore_result(h2_goaway(l->h2, 0));
	}
}

static void run(struct task *task)
{
	struct link *l = container_of(task, struct link, run);
	struct endpoint *net = l->net;
	uint32_t got;
	int err;

	if (l->state == LINK_CONNECTING) {
		if (net->error) {
			fail(l, net->error, NULL, false);
			return;
		}
		if (!net->open)
			return;
		l->state = LINK_HANDSHAKE;
		l->opened_ns = l->w->now_ns;
		timer_arm(&l->w->timers, &l->timer, l->config.handshake_ms);
	}
	got = l->starved ? 0 : net->rx.bytes;
	if (got) {
		err = tls_feed(l->tls, &net->rx);
		net->ops->credit(net, got);
		if (err) {
			fail(l, err, NULL, false);
			return;
		}
	}
	if (l->state == LINK_HANDSHAKE && step_tls(l))
		return;
	if (l->h2) {
		err = pump_up(l);
		if (!err && tls_wants_step(l->tls))
			err = step_tls(l);
		if (l->state == LINK_DEAD)
			return;
		if (err == ERR_CLOSED) {
			die(l, l->state == LINK_DRAINING ? 0 : ERR_CLOSED, true);
			return;
		}
		if (err == ERR_TLS_RECORD && step_tls(l))
			return;
		if (err) {
			fail(l, err, tls_error_text(l->tls), true);
			return;
		}
		check_pong(l);
		if (h2_going_away(l->h2) && l->state == LINK_OPEN) {
			l->state = LINK_DRAINING;
			notify(l);
		}
		if (h2_request_waits(l->h2))
			notify(l);
		if (h2_wants_pull(l->h2) || l->state == LINK_DRAINING)
			task_ready(&l->w->flush, &l->flush);
	}
	if (net->error)
		fail(l, net->error, NULL, false);
	else if (net->eof && !net->rx.bytes && !l->starved)
		fail(l, l->state == LINK_HANDSHAKE ? ERR_TLS_HANDSHAKE : ERR_TLS_TRUNCATED,
		     l->state == LINK_HANDSHAKE
			     ? "peer closed the connection during the TLS handshake"
			     : NULL,
		     false);
}

static void flush(struct task *task)
{
	struct link *l = container_of(task, struct link, flush);
	struct record_writer w;
	struct bufq out = {0};
	int err, bad;

	/* one turn's output is in flight: what waits goes with the next, when the transport says it is done */
	if (!l->h2)
		return;
	if (l->net->tx_pending) {
		h2_unpin(l->h2);
		return;
	}
	record_begin(&w, l->tls, l->w->bufs, &out, h2_unsent(l->h2) + LINK_CONTROL_BYTES);
	err = h2_pull(l->h2, &w);
	bad = record_end(&w);
	net_send(l, &out);
	if (err || bad) {
		fail(l, err ? err : bad, NULL, false);
		return;
	}
	if (h2_starved(l->h2))
		timer_arm(&l->w->timers, &l->retry, LINK_STARVED_MS);
	if (h2_finished(l->h2)) {
		int wrong = h2_error(l->h2);

		die(l, wrong ? wrong : l->state == LINK_DRAINING ? 0 : ERR_CLOSED, true);
		return;
	}
	if (l->state == LINK_DRAINING && h2_streams(l->h2) == 0 &&
	    (!l->notice_sent || l->goaway_sent))
		die(l, 0, true);
}

static void tick(struct task *task)
{
	struct link *l = container_of(task, struct link, tick);

	if (l->state == LINK_DEAD)
		return;
	if (!l->h2) {
		fail(l, ERR_TIMEOUT, "TLS handshake timed out", false);
		return;
	}
	if (l->ping_out) {
		fail(l, ERR_H2_KEEPALIVE, NULL, l->config.h2.server);
		return;
	}
	l->ping_out = true;
	if (h2_ping(l->h2)) {
		die(l, ERR_NOMEM, false);
		return;
	}
	timer_arm(&l->w->timers, &l->timer, l->config.ping_timeout_ms);
}

static struct link *make(struct worker *w, struct endpoint *net, struct tls *tls,
			 const struct link_config *config)
{
	struct link *l = tls ? calloc(1, sizeof(*l)) : NULL;

	if (!l) {
		tls_free(tls);
		net->ops->close(net, ERR_NOMEM);
		return NULL;
	}
	l->magic = LINK_MAGIC;
	l->w = w;
	l->net = net;
	l->tls = tls;
	l->config = *config;
	l->began_ns = w->now_ns;
	task_init(&l->run, run);
	task_init(&l->flush, flush);
	task_init(&l->tick, tick);
	timer_init(&l->timer, &l->tick);
	timer_init(&l->retry, &l->run);
	net->urgent = true;
	endpoint_attach(net, &w->run, &l->run);
	return l;
}

struct link *link_client(struct worker *w, struct endpoint *net, struct tls_ctx *ctx,
			 const struct str *want_sans, size_t want_count,
			 const struct link_config *config)
{
	return net ? make(w, net, tls_client_new(ctx, want_sans, want_count), config) : NULL;
}

struct link *link_server(struct worker *w, struct endpoint *net, struct tls_ctx *ctx,
			 const struct link_config *config)
{
	return net ? make(w, net, tls_server_new(ctx), config) : NULL;
}

void link_attach(struct link *l, struct taskq *queue, struct task *user)
{
	l->user_queue = queue;
	l->user = user;
	notify(l);
}

const struct tls_peer *link_peer(const struct link *l)
{
	return l->tls ? tls_peer(l->tls) : NULL;
}

int link_open(struct link *l, const struct header *head, size_t n, struct h2_stream **out)
{
	if (l->state != LINK_OPEN)
		return ERR_CLOSED;
	return h2_open(l->h2, head, n, out);
}

struct h2_stream *link_next_request(struct link *l)
{
	return l->h2 ? h2_next_request(l->h2) : NULL;
}

uint32_t link_streams(const struct link *l)
{
	return l->h2 ? h2_streams(l->h2) : 0;
}

void link_drain(struct link *l)
{
	if (l->state == LINK_DEAD || l->notice_sent)
		return;
	if (!l->h2 && l->config.h2.server) {
		/* The client counts on us already: it is served, and told as soon as there is a session to say it in. */
		l->drain_asked = true;
		return;
	}
	if (!l->h2) {
		die(l, 0, false);
		return;
	}
	l->state = LINK_DRAINING;
	if (l->config.h2.server) {
		l->notice_sent = true;
		if (h2_shutdown_notice(l->h2))
			die(l, ERR_NOMEM, false);
	}
	task_ready(&l->w->flush, &l->flush);
}

void link_kill(struct link *l, int reason)
{
	die(l, reason, l->h2 != NULL);
}

void link_free(struct link *l)
{
	MAGIC_CHECK(l, LINK_MAGIC);
	l->user = NULL;
	die(l, ERR_CLOSED, l->h2 != NULL);
	task_cancel(&l->tick);
	l->magic = 0;
	free(l);
}
