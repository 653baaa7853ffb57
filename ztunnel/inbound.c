/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HBONE connections to a pod (contract sections 5.1, 6.1): accept, wait for the pod's workload and certificate, handshake,
 * then hand each request to inbound_stream.c.
 */
#include "ztunnel/inbound.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"
#include "shared/state/workload.h"
#include "shared/wire/tls_ctx.h"
#include "ztunnel/flow.h"

LOG_SCOPE(scope, "ztunnel::proxy::inbound");

void hbone_server_put(struct hbone_server *s)
{
	if (--s->refs)
		return;
	pod_worker_put(s->pw);
	free(s->identity);
	free(s);
}

static void leave_handshake(struct hbone_server *s)
{
	if (!s->in_handshake)
		return;
	s->in_handshake = false;
	proxy_of(s->pw)->handshakes--;
	series_add(proxy_of(s->pw)->meters.handshakes, -1);
}

/* The connection is over; streams that still run hold the rest. */
static void end(struct hbone_server *s)
{
	struct pod_worker *pw = s->pw;

	leave_handshake(s);
	list_del(&s->link);
	task_cancel(&s->task);
	timer_disarm(&pw->aw->w->timers, &s->look);
	if (s->cert_asked)
		certs_wait_cancel(&s->cert);
	tls_ctx_put(s->cert.ctx);
	if (s->identity)
		series_add(proxy_of(pw)->meters.tunnels[1], -1);
	if (s->tls_link)
		link_free(s->tls_link);
	s->tls_link = NULL;
	pod_release(pw);
	hbone_server_put(s);
}

/* Refused before there was a link. */
static void refuse(struct hbone_server *s, int reason, const char *text)
{
	flow_early_deny(s->pw, &s->peer, &s->local, true, reason, text);
	if (s->conn)
		s->conn->ep.ops->close(&s->conn->ep, s->conn->ep.error);
	s->conn = NULL;
	end(s);
}

void hbone_server_kill(struct hbone_server *s, int reason)
{
	if (s->tls_link)
		link_kill(s->tls_link, reason);
	else if (s->conn)
		refuse(s, reason, NULL);
}

static void established(struct hbone_server *s)
{
	const struct tls_peer *peer = link_peer(s->tls_link);
	struct proxy_meters *m = &proxy_of(s->pw)->meters;

	leave_handshake(s);
	series_observe_ns(m->handshake[1], s->tls_link->established_ns - s->tls_link->opened_ns);
	s->identity = peer && peer->identity ? strdup(peer->identity) : NULL;
	if (s->identity)
		series_add(m->tunnels[1], 1);
}

static void handshake_failed(struct hbone_server *s, int reason, const char *text)
{
	struct str label = str_of(err_name(reason));

	metric_add_labels(s->pw->aw->w->metrics, METRIC_HANDSHAKE_FAILURES, &label, 1, 1);
	if (reason == ERR_REVOKED)
		proxy_count_revoked(s->pw, true);
	flow_early_deny(s->pw, &s->peer, &s->local, true, reason, text);
}

/* The peer is who it says and still breaks the protocol: counted, and told at a bounded rate. */
static void violated(struct hbone_server *s, int reason)
{
	static struct log_limit limit;
	struct str label = str_of(err_name(reason));
	struct log_line line;
	uint64_t suppressed;

	metric_add_labels(s->pw->aw->w->metrics, METRIC_PEER_VIOLATIONS, &label, 1, 1);
	if (!log_allowed(&limit, &suppressed) ||
	    !log_begin(&line, &scope, LOG_WARN,
		       "HBONE connection ended: the peer broke the protocol"))
		return;
	log_addr(&line, "src.addr", &s->peer);
	log_str(&line, "src.identity", str_of(s->identity));
	log_err(&line, reason);
	if (suppressed)
		log_u64(&line, "suppressed", suppressed);
	log_end(&line);
}

static void link_changed(struct hbone_server *s)
{
	struct h2_stream *stream;
	struct link *l = s->tls_link;

	if (l->state >= LINK_OPEN && l->state != LINK_DEAD && !s->identity) {
		established(s);
		if (!s->identity) {
			link_kill(l, ERR_PEER_IDENTITY);
			return;
		}
	}
	while (s->identity && (stream = link_next_request(l)))
		inbound_stream_start(s, stream);
	if (l->state != LINK_DEAD)
		return;
	if (!s->identity)
		handshake_failed(s, l->error ? l->error : ERR_CLOSED, l->error_text);
	else if (l->error == ERR_H2_PROTOCOL || l->error == ERR_H2_FLOOD ||
		 l->error == ERR_TLS_RECORD)
		violated(s, l->error);
	end(s);
}

static void start_link(struct hbone_server *s, struct tls_ctx *ctx)
{
	struct conn *conn = s->conn;

	s->conn = NULL;
	s->tls_link = link_server(s->pw->aw->w, &conn->ep, ctx, proxy_server_config(s->pw));
	tls_ctx_put(ctx);
	if (!s->tls_link) {
		refuse(s, ERR_NOMEM, NULL);
		return;
	}
	link_attach(s->tls_link, &s->pw->aw->w->run, &s->task);
	/* Came out of a closing listener's queue: served, and told to go elsewhere next. */
	if (s->pw->phase == POD_DRAINING)
		link_drain(s->tls_link);
}

/* Before the link: the pod's own workload must be known, then its certificate. */
static void prepare(struct hbone_server *s)
{
	struct worker *w = s->pw->aw->w;
	struct workload *own;
	struct tls_ctx *ctx;

	if (s->conn->ep.error || (s->conn->ep.eof && !s->conn->ep.rx.bytes)) {
		refuse(s, s->conn->ep.error ? s->conn->ep.error : ERR_CLOSED, NULL);
		return;
	}
	if (s->cert_asked) {
		if (s->cert.error) {
			s->cert_asked = false;
			refuse(s, s->cert.error, s->cert.why);
		} else if (s->cert.ctx) {
			ctx = s->cert.ctx;
			s->cert.ctx = NULL;
			s->cert_asked = false;
			start_link(s, ctx);
		}
		return;
	}
	own = proxy_own_workload(s->pw);
	if (!own) {
		if (w->now_ns >= s->give_up_ns)
			refuse(s, ERR_UNKNOWN_WORKLOAD, NULL);
		else
			timer_arm(&w->timers, &s->look, PROXY_WORKLOAD_LOOK_MS);
		return;
	}
	timer_disarm(&w->timers, &s->look);
	ctx = certs_current(s->pw->aw->app->certs, rstr_str(own->identity));
	if (ctx) {
		start_link(s, ctx);
		return;
	}
	s->cert_asked = true;
	certs_wait(s->pw->aw->app->certs, w, rstr_str(own->identity), &s->cert, &s->task);
}

static void run(struct task *task)
{
	struct hbone_server *s = container_of(task, struct hbone_server, task);

	if (s->tls_link)
		link_changed(s);
	else
		prepare(s);
}

void inbound_hbone_accepted(struct pod_listener *pl, int fd, const struct addr *peer)
{
	struct pod_worker *pw = pl->pw;
	struct proxy_worker *pxw = proxy_of(pw);
	struct worker *w = pw->aw->w;
	struct str limit = STR("limit_handshakes");
	struct hbone_server *s = NULL;
	struct conn *conn;
	struct addr local;

	if (socket_local(fd, &local))
		local = (struct addr){0};
	conn = proxy_accept(pw, fd, peer, &local, false);
	if (!conn)
		return;
	if (pxw->handshakes >= LIMIT_HANDSHAKES)
		metric_add_labels(w->metrics, METRIC_LIMIT_HITS, &limit, 1, 1);
	else
		s = calloc(1, sizeof(*s));
	if (!s) {
		conn->ep.ops->close(&conn->ep, ERR_LIMIT);
		pod_release(pw);
		return;
	}
	s->refs = 1;
	s->pw = pod_worker_get(pw);
	s->conn = conn;
	s->transparent = pl->transparent;
	s->peer = *peer;
	s->local = local;
	s->give_up_ns = w->now_ns + PROXY_WORKLOAD_WAIT_MS * NS_PER_MS;
	s->in_handshake = true;
	pxw->handshakes++;
	series_add(pxw->meters.handshakes, 1);
	task_init(&s->task, run);
	timer_init(&s->look, &s->task);
	list_add_tail(&pxw->hbone, &s->link);
	endpoint_attach(&conn->ep, &w->run, &s->task);
}
