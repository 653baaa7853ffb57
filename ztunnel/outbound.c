/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod opens a connection (contract section 4): wait for the pod's own workload, decide (state/resolve.h), then plain
 * TCP, one tunnel, or a tunnel in a tunnel, and join the two sides.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/base/sbuf.h"
#include "shared/control/certs.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/obs/metrics.h"
#include "shared/state/resolve.h"
#include "shared/wire/forwarded.h"
#include "shared/wire/hbone.h"
#include "shared/wire/tls_ctx.h"
#include "ztunnel/flow.h"
#include "ztunnel/names.h"
#include "ztunnel/proxy.h"

enum {
	OUTBOUND_ASK_MAX = 3, /* tunnels that went away between answer and use, before giving up */
	OUTBOUND_TEXT = 192,
	OUTBOUND_HEAD_BYTES =
		LIMIT_BAGGAGE_BYTES + LIMIT_FORWARDED_BYTES + TRACEPARENT_TEXT_LEN + 1,
};

struct outbound;

/* A step looks at what happened and either stays, or names its successor. Returns whether it moved on. */
typedef bool (*outbound_step)(struct outbound *o);

/* What only a connection that is being set up needs. */
struct setup {
	struct workload *source; /* counted, while a name is resolved */
	struct outbound_plan plan;
	struct certs_wait cert;
	bool cert_asked;
	struct tls_ctx *ctx;
	struct tunnel_request tunnel;
	uint32_t asked;
	struct name_wait name;
	struct traceparent trace;
	struct timer look;
	uint64_t give_up_ns;
	char text[OUTBOUND_TEXT];
};

struct outbound {
	struct flow flow;
	struct task task;
	outbound_step step;
	struct setup *setup; /* NULL once the relay runs */
	struct addr src, dst;
	struct endpoint *client;	 /* NULL once the relay owns it */
	struct h2_stream *outer, *inner; /* likewise */
	struct link *inner_link;	 /* double HBONE: lives as long as the flow */
};

static struct worker *worker_of(const struct outbound *o)
{
	return o->flow.pw->aw->w;
}

static void setup_free(struct outbound *o)
{
	struct setup *s = o->setup;

	if (!s)
		return;
	o->setup = NULL;
	timer_disarm(&worker_of(o)->timers, &s->look);
	if (s->cert_asked)
		certs_wait_cancel(&s->cert);
	name_wait_cancel(&s->name);
	tunnel_cancel(&s->tunnel);
	tls_ctx_put(s->ctx);
	workload_put(s->source);
	outbound_plan_fini(&s->plan);
	free(s);
}

static void finish(struct outbound *o, int reason, const char *text)
{
	struct pod_worker *pw = o->flow.pw;

	if (!o->flow.opened)
		flow_early_deny(pw, &o->src, &o->dst, false, reason, text);
	/* refused before a byte crossed: an end of file, as the original says it (contract section 4) */
	if (o->client)
		o->client->ops->close(o->client, o->client->error);
	if (o->inner)
		o->inner->ep.ops->close(&o->inner->ep, reason);
	if (o->inner_link)
		link_free(o->inner_link);
	else if (o->outer)
		o->outer->ep.ops->close(&o->outer->ep, reason);
	task_cancel(&o->task);
	flow_end(&o->flow, reason, text);
	setup_free(o);
	free(o);
	pod_release(pw);
}

static bool refuse(struct outbound *o, int reason, const char *text)
{
	finish(o, reason, text);
	return false;
}

static void aborted(struct flow *f, int reason)
{
	struct outbound *o = container_of(f, struct outbound, flow);

	relay_abort(&f->relay, reason);
	finish(o, reason, NULL);
}

static void relayed(struct task *task)
{
	struct outbound *o = container_of(task, struct outbound, flow.done);

	finish(o, o->flow.relay.reason, NULL);
}

static void drive(struct task *task)
{
	struct outbound *o = container_of(task, struct outbound, task);

	/* the application gave up meanwhile: nothing to be done for it any more */
	if (o->client && o->client->error) {
		finish(o, o->client->error, NULL);
		return;
	}
	if (o->client && o->client->rx.bytes)
		ignore_result(
			bufq_unpin(&o->client->rx, worker_of(o)->bufs, 0)); /* costs memory only */
	while (o->step && o->step(o))
		;
}

/* Both sides are there. The other side's endpoint goes to the relay. */
static bool join(struct outbound *o, struct endpoint *other)
{
	struct endpoint *client = o->client;

	o->client = NULL;
	o->step = NULL;
	setup_free(o);
	flow_relay(&o->flow, client, other, relayed);
	return false;
}

static size_t connect_head(struct outbound *o, bool inner, struct sbuf *text,
			   struct header head[HBONE_HEADERS_MAX])
{
	const struct outbound_plan *p = &o->setup->plan;
	const struct app *app = o->flow.pw->aw->app;
	struct hbone_connect c = {.authority = str_of(p->authority)};
	const struct workload *src = o->flow.source;
	const struct baggage b = {
		.cluster = rstr_str(src->cluster_id),
		.namespace = rstr_str(src->ns),
		.workload = rstr_str(src->workload_name),
		.service = rstr_str(src->canonical_name),
		.revision = rstr_str(src->canonical_revision),
		.region = rstr_str(src->region),
		.zone = rstr_str(src->zone),
	};
	char trace[TRACEPARENT_TEXT_LEN + 1];
	size_t at_forwarded, at_trace;

	baggage_format(&b, str_of(workload_type_text(src->type)), text);
	at_forwarded = text->n;
	forwarded_format(&o->src, p->service ? rstr_str(p->service->hostname) : STR(""), text);
	at_trace = text->n;
	sbuf_putz(text, traceparent_text(&o->setup->trace, trace));
	if (text->error)
		return 0;
	c.baggage = (struct str){text->p, at_forwarded};
	c.forwarded = (struct str){text->p + at_forwarded, at_trace - at_forwarded};
	c.traceparent = (struct str){text->p + at_trace, text->n - at_trace};
	if (inner)
		c.forwarded_network = str_of(app->config->network);
	return hbone_connect_head(&c, head);
}

static const char *status_text(uint16_t status)
{
	switch (status) {
	case 400: return " Bad Request";
	case 401: return " Unauthorized";
	case 403: return " Forbidden";
	case 404: return " Not Found";
	case 431: return " Request Header Fields Too Large";
	case 500: return " Internal Server Error";
	case 502: return " Bad Gateway";
	case 503: return " Service Unavailable";
	case 504: return " Gateway Timeout";
	default: return "";
	}
}

/* The response head decides; anything but 200 is the end. */
static int answered(struct outbound *o, struct h2_stream *s)
{
	if (s->ep.error)
		return s->ep.error;
	if (!s->head_done)
		return s->ep.eof || s->ep.tx_broken ? ERR_H2_RESET : 1;
	if (s->status == 200)
		return 0;
	snprintf(o->setup->text, sizeof(o->setup->text), "http status: %u%s", s->status,
		 status_text(s->status));
	return ERR_HTTP_STATUS;
}

static bool await_inner_response(struct outbound *o)
{
	int rc = answered(o, o->inner);
	struct h2_stream *s = o->inner;
	struct baggage far;

	if (rc > 0)
		return false;
	if (rc < 0)
		return refuse(o, rc, o->setup->text[0] ? o->setup->text : NULL);
	far = baggage_from_headers(s->head->v, s->head->count);
	rc = flow_count(&o->flow,
			header_find(s->head->v, s->head->count, STR("baggage")) ? &far : NULL);
	h2_stream_drop_head(s);
	if (rc)
		return refuse(o, rc, NULL);
	o->inner = NULL;
	return join(o, &s->ep);
}

static bool await_inner_link(struct outbound *o)
{
	struct link *l = o->inner_link;
	struct header head[HBONE_HEADERS_MAX];
	struct sbuf text;
	size_t n;
	int err;

	if (l->state < LINK_OPEN)
		return false;
	if (l->state != LINK_OPEN) {
		/* the link ends before its text is logged */
		snprintf(o->setup->text, sizeof(o->setup->text), "%s", l->error_text);
		return refuse(o, l->error ? l->error : ERR_CLOSED, o->setup->text);
	}
	sbuf_init(&text, OUTBOUND_HEAD_BYTES);
	n = connect_head(o, true, &text, head);
	err = n ? link_open(l, head, n, &o->inner) : ERR_NOMEM;
	sbuf_fini(&text);
	if (err)
		return refuse(o, err, NULL);
	endpoint_attach(&o->inner->ep, &worker_of(o)->run, &o->task);
	o->step = await_inner_response;
	return true;
}

/* The outer tunnel's stream is the transport of the inner link. */
static bool start_inner_link(struct outbound *o)
{
	const struct plan_peer *peer = &o->setup->plan.inner_peer;
	struct str sans[TUNNEL_SANS_MAX];
	size_t n = MIN(plan_peer_count(peer), (size_t)TUNNEL_SANS_MAX);
	struct h2_stream *outer = o->outer;

	for (size_t i = 0; i < n; i++)
		sans[i] = rstr_str(plan_peer_san(peer, i));
	o->outer = NULL;
	o->inner_link = link_client(worker_of(o), &outer->ep, o->setup->ctx, sans, n,
				    proxy_link_config(o->flow.pw));
	if (!o->inner_link)
		return refuse(o, ERR_NOMEM, NULL);
	link_attach(o->inner_link, &worker_of(o)->run, &o->task);
	o->step = await_inner_link;
	return true;
}

static bool await_response(struct outbound *o)
{
	int rc = answered(o, o->outer);
	struct h2_stream *s = o->outer;

	if (rc > 0)
		return false;
	if (rc < 0)
		return refuse(o, rc, o->setup->text[0] ? o->setup->text : NULL);
	h2_stream_drop_head(s);
	if (o->setup->plan.kind == OUTBOUND_DOUBLE_HBONE)
		return start_inner_link(o);
	o->outer = NULL;
	return join(o, &s->ep);
}

static void ask_tunnel(struct outbound *o);

static bool await_tunnel(struct outbound *o)
{
	struct setup *s = o->setup;
	struct header head[HBONE_HEADERS_MAX];
	struct sbuf text;
	size_t n;
	int err;

	if (!s->tunnel.answered)
		return false;
	if (s->tunnel.error)
		return refuse(o, s->tunnel.error, s->tunnel.error_text);
	sbuf_init(&text, OUTBOUND_HEAD_BYTES);
	n = connect_head(o, false, &text, head);
	err = n ? tunnel_open(&s->tunnel, head, n, &o->outer) : ERR_NOMEM;
	sbuf_fini(&text);
	/* nothing was sent yet, so a tunnel that went away meanwhile costs another one */
	if ((err == ERR_H2_GOAWAY || err == ERR_CLOSED) && s->asked < OUTBOUND_ASK_MAX) {
		ask_tunnel(o);
		return false;
	}
	if (err)
		return refuse(o, err, NULL);
	endpoint_attach(&o->outer->ep, &worker_of(o)->run, &o->task);
	o->step = await_response;
	return true;
}

static void ask_tunnel(struct outbound *o)
{
	struct setup *s = o->setup;
	struct tunnel_target k = {
		.scope = o->flow.pw, .dst = s->plan.hop, .src_ip = o->src.ip, .ctx = s->ctx};
	size_t n = MIN(plan_peer_count(&s->plan.peer), (size_t)TUNNEL_SANS_MAX);

	for (size_t i = 0; i < n; i++)
		k.sans[i] = plan_peer_san(&s->plan.peer, i);
	k.sans_count = (uint32_t)n;
	s->asked++;
	tunnels_ask(proxy_of(o->flow.pw)->tunnels, &k, &s->tunnel, &o->task);
}

static bool start_tunnel(struct outbound *o)
{
	ask_tunnel(o);
	o->step = await_tunnel;
	return false;
}

static bool await_cert(struct outbound *o)
{
	struct setup *s = o->setup;

	if (s->cert.ctx) {
		s->ctx = s->cert.ctx;
		s->cert.ctx = NULL;
		s->cert_asked = false;
		return start_tunnel(o);
	}
	if (!s->cert.error)
		return false;
	s->cert_asked = false;
	snprintf(s->text, sizeof(s->text), "%.*s", OUTBOUND_TEXT - 1, s->cert.why);
	return refuse(o, s->cert.error, s->text);
}

static bool start_hbone(struct outbound *o)
{
	struct setup *s = o->setup;
	struct certs *certs = o->flow.pw->aw->app->certs;
	struct str identity = rstr_str(o->flow.source->identity);

	s->ctx = certs_current(certs, identity);
	if (s->ctx)
		return start_tunnel(o);
	s->cert_asked = true;
	certs_wait(certs, worker_of(o), identity, &s->cert, &o->task);
	o->step = await_cert;
	return false;
}

static bool start_tcp(struct outbound *o)
{
	struct conn *upstream;
	int err = proxy_connect(o->flow.pw, &o->setup->plan.hop, NULL, false, &upstream);

	if (err)
		return refuse(o, err, NULL);
	/* bytes may be queued before the connection is there, so the relay begins at once */
	return join(o, &upstream->ep);
}

/* The route is decided: from here on the connection is counted, listed and logged, whatever happens. */
static bool start(struct outbound *o, struct workload *source)
{
	const struct outbound_plan *p = &o->setup->plan;
	bool hbone = p->kind == OUTBOUND_HBONE || p->kind == OUTBOUND_DOUBLE_HBONE;
	struct flow_facts facts = {
		.protocol = p->kind == OUTBOUND_DOUBLE_HBONE ? POD_FLOW_DOUBLE_HBONE
			    : hbone			     ? POD_FLOW_HBONE
							     : POD_FLOW_TCP,
		.mtls = p->mtls,
		.src = o->src,
		.dst = p->hop,
		.listed_dst = p->hop,
		.original_dst = o->dst,
		.hbone_authority = hbone ? str_of(p->authority) : STR(""),
		.source = source,
		.destination = p->destination,
		.service = p->service,
	};

	if (flow_open(&o->flow, &facts))
		return refuse(o, ERR_NOMEM, NULL);
	return hbone ? start_hbone(o) : start_tcp(o);
}

static void count_name(const struct outbound *o)
{
	const struct workload *w = o->setup->source;
	struct str labels[] = {
		rstr_str(w->workload_name),
		rstr_str(w->canonical_name),
		rstr_str(w->canonical_revision),
		rstr_str(w->ns),
		rstr_str(w->identity),
		rstr_str(w->canonical_name),
		rstr_str(w->canonical_revision),
		rstr_str(w->cluster_id),
		rstr_str(o->setup->plan.hop_hostname),
	};

	metric_add_labels(worker_of(o)->metrics, METRIC_ON_DEMAND_DNS, labels, ARRAY_SIZE(labels),
			  1);
}

static bool await_name(struct outbound *o)
{
	struct setup *s = o->setup;

	if (!s->name.answered)
		return false;
	count_name(o);
	if (s->name.error)
		return refuse(o, s->name.error, "the destination's host name does not resolve");
	outbound_plan_resolved(&s->plan, &s->name.ip);
	return start(o, s->source);
}

static bool decide(struct outbound *o)
{
	struct pod_worker *pw = o->flow.pw;
	struct proxy_worker *pxw = proxy_of(pw);
	struct setup *s = o->setup;
	struct workload *source = proxy_own_workload(pw);
	struct outbound_query q = {
		.source = source,
		.src = o->src,
		.dst = o->dst,
		.illegal_ports = pxw->illegal_ports,
		.illegal_ports_count = pxw->illegal_ports_count,
		.rng = &pxw->rng,
	};

	if (!source) {
		if (worker_of(o)->now_ns >= s->give_up_ns)
			return refuse(o, ERR_UNKNOWN_WORKLOAD, NULL);
		timer_arm(&worker_of(o)->timers, &s->look, PROXY_WORKLOAD_LOOK_MS);
		return false;
	}
	timer_disarm(&worker_of(o)->timers, &s->look);
	resolve_outbound(pw->aw->app->world, &q, &s->plan);
	if (s->plan.kind == OUTBOUND_REFUSE)
		return refuse(o, s->plan.error, NULL);
	if (!s->plan.hop_hostname)
		return start(o, source);
	s->source = workload_get(source);
	name_wait(pw->aw->app->names, pw->aw->w, rstr_str(s->plan.hop_hostname), o->src.ip.len,
		  &s->name, &o->task);
	o->step = await_name;
	return true;
}

void outbound_start(struct pod_worker *pw, struct conn *client, const struct addr *dst)
{
	struct outbound *o = calloc(1, sizeof(*o));
	struct setup *s = calloc(1, sizeof(*s));

	if (!o || !s) {
		free(o);
		free(s);
		client->ep.ops->close(&client->ep, ERR_NOMEM);
		pod_release(pw);
		return;
	}
	flow_init(&o->flow, pw, aborted);
	task_init(&o->task, drive);
	o->setup = s;
	o->src = client->peer;
	o->dst = *dst;
	o->client = &client->ep;
	timer_init(&s->look, &o->task);
	list_init(&s->tunnel.link);
	s->trace = traceparent_new(&proxy_of(pw)->rng);
	s->give_up_ns = pw->aw->w->now_ns + PROXY_WORKLOAD_WAIT_MS * NS_PER_MS;
	o->step = decide;
	endpoint_attach(&client->ep, &pw->aw->w->run, &o->task);
}

void outbound_accepted(struct pod_listener *pl, int fd, const struct addr *peer)
{
	struct pod_worker *pw = pl->pw;
	struct conn *client;
	struct addr dst;
	bool redirected;

	if (socket_original_dst(fd, &dst, &redirected))
		dst = (struct addr){0};
	client = proxy_accept(pw, fd, peer, &dst, true);
	if (client)
		outbound_start(pw, client, &dst);
}
