/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One CONNECT request to a pod (contract section 6.1): validate, find the target, authorize, connect to the application,
 * answer 200, relay.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/obs/metrics.h"
#include "shared/state/resolve_inbound.h"
#include "shared/wire/hbone.h"
#include "shared/wire/proxy_v2.h"
#include "ztunnel/denial.h"
#include "ztunnel/flow.h"
#include "ztunnel/inbound.h"

struct inbound {
	struct flow flow;
	struct task task;
	struct hbone_server *server; /* counted */
	struct h2_stream *stream;    /* NULL once the relay owns it */
	struct conn *app;	     /* likewise; NULL before the connect */
	struct inbound_plan plan;    /* facts.identity views server->identity */
	struct addr authority;	     /* ip.len 0: a name */
	bool admitted;
	char *text; /* why it was denied, or NULL */
};

static void release(struct inbound *in, int reason)
{
	struct hbone_server *server = in->server;

	task_cancel(&in->task);
	if (!in->flow.opened && reason)
		flow_early_deny(server->pw, &server->peer, &server->local, true, reason, in->text);
	if (in->admitted)
		pod_release(server->pw);
	flow_end(&in->flow, reason, in->text);
	inbound_plan_fini(&in->plan);
	hbone_server_put(in->server);
	free(in->text);
	free(in);
}

/* Answers with a status and no body; the flow is over. */
static void reject(struct inbound *in, int status, int reason)
{
	struct header head[HBONE_RESPONSE_HEADERS_MAX];
	struct endpoint *ep = &in->stream->ep;
	size_t n = hbone_response_head(status, STR(""), head);
	int err = h2_respond(in->stream, head, n, true);

	ep->ops->close(ep, err);
	in->stream = NULL;
	if (in->app)
		in->app->ep.ops->close(&in->app->ep, reason);
	in->app = NULL;
	release(in, reason);
}

/* Ends both sides at once. */
static void abandon(struct inbound *in, int reason)
{
	relay_abort(&in->flow.relay, reason);
	if (in->stream)
		in->stream->ep.ops->close(&in->stream->ep, reason);
	if (in->app)
		in->app->ep.ops->close(&in->app->ep, reason);
	release(in, reason);
}

static void aborted(struct flow *f, int reason)
{
	abandon(container_of(f, struct inbound, flow), reason);
}

static bool denied(struct flow *f)
{
	struct inbound *in = container_of(f, struct inbound, flow);

	return denial_check(f->pw, f->destination, &in->plan.facts, NULL);
}

static void relayed(struct task *task)
{
	struct inbound *in = container_of(task, struct inbound, flow.done);

	release(in, in->flow.relay.reason);
}

static int accept_stream(struct inbound *in)
{
	struct header head[HBONE_RESPONSE_HEADERS_MAX];
	const struct workload *own = in->flow.destination;
	const struct baggage b = {
		.cluster = rstr_str(own->cluster_id),
		.namespace = rstr_str(own->ns),
		.workload = rstr_str(own->workload_name),
		.service = rstr_str(own->canonical_name),
		.revision = rstr_str(own->canonical_revision),
		.region = rstr_str(own->region),
		.zone = rstr_str(own->zone),
	};
	struct sbuf text;
	size_t n;
	int err;

	sbuf_init(&text, LIMIT_BAGGAGE_BYTES);
	if (in->flow.pw->aw->app->config->response_baggage)
		baggage_format(&b, str_of(workload_type_text(own->type)), &text);
	n = hbone_response_head(200, text.error ? STR("") : sbuf_str(&text), head);
	err = h2_respond(in->stream, head, n, false);
	sbuf_fini(&text);
	return err;
}

static int send_proxy_header(struct inbound *in)
{
	uint8_t bytes[PROXY_V2_BYTES_MAX];
	struct bufq q = {0};
	size_t len;
	int err;

	err = proxy_v2_build(&in->server->peer, &in->plan.proxy_dst, str_of(in->server->identity),
			     bytes, &len);
	if (!err)
		err = bufq_copy(&q, in->flow.pw->aw->w->bufs, bytes, len);
	if (!err)
		in->app->ep.ops->send(&in->app->ep, &q);
	bufq_fini(&q);
	return err;
}

/* Waits for the application to accept; the stream's peer may give up meanwhile. */
static void drive(struct task *task)
{
	struct inbound *in = container_of(task, struct inbound, task);
	struct endpoint *stream = &in->stream->ep, *app = &in->app->ep;
	int err = 0;

	if (stream->error || stream->tx_broken) {
		abandon(in, stream->error ? stream->error : ERR_H2_RESET);
		return;
	}
	if (app->error) {
		reject(in, 503, app->error);
		return;
	}
	if (!app->open)
		return;
	if (in->plan.proxy_header)
		err = send_proxy_header(in);
	if (!err)
		err = accept_stream(in);
	if (err) {
		abandon(in, err);
		return;
	}
	in->stream = NULL;
	in->app = NULL;
	flow_relay(&in->flow, stream, app, relayed);
}

static void connect_app(struct inbound *in)
{
	struct hbone_server *server = in->server;
	const struct addr *target = &in->plan.target;
	struct ip loopback = {.len = target->ip.len};
	const struct ip *source = NULL;
	int err;

	if (in->plan.loopback) {
		if (loopback.len == 4)
			memcpy(loopback.b, (uint8_t[]){127, 0, 0, 1}, 4);
		else
			loopback.b[15] = 1;
		source = &loopback;
	} else if (server->transparent && !ip_eq(&server->peer.ip, &target->ip)) {
		source = &server->peer.ip;
	}
	err = proxy_connect(in->flow.pw, target, source, !in->plan.loopback, &in->app);
	if (err) {
		in->app = NULL;
		reject(in, 503, err);
		return;
	}
	/* all that is needed of it has been copied: a live stream holds no head */
	h2_stream_drop_head(in->stream);
	endpoint_attach(&in->stream->ep, &in->flow.pw->aw->w->run, &in->task);
	endpoint_attach(&in->app->ep, &in->flow.pw->aw->w->run, &in->task);
}

static bool same_network(struct str a, const char *b)
{
	return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0;
}

static int open_flow(struct inbound *in, const struct hbone_request *req, struct workload *own)
{
	struct hbone_server *server = in->server;
	const struct app *app = in->flow.pw->aw->app;
	bool from_gateway = req->forwarded_network.p &&
			    !same_network(req->forwarded_network, app->config->network);
	struct workload *source = from_gateway ? NULL
					       : world_workload_by_ip(app->world,
								      str_of(app->config->network),
								      &server->peer.ip);
	struct flow_facts facts = {
		.inbound = true,
		.protocol = POD_FLOW_HBONE,
		.mtls = true,
		.src = server->peer,
		.dst = server->local,
		.listed_dst = in->plan.target,
		.original_dst = in->authority,
		.hbone_authority = req->authority,
		.peer_identity = str_of(server->identity),
		.source = source,
		.destination = own,
		.source_baggage = app->config->response_baggage ? &req->baggage : NULL,
		.service = in->plan.service,
	};

	return flow_open(&in->flow, &facts);
}

static void explain_mismatch(struct inbound *in, const struct hbone_request *req)
{
	char dst[ADDR_TEXT_MAX];

	if (in->plan.error != ERR_DESTINATION_MISMATCH)
		return;
	if (asprintf(&in->text, "%s: %s != " STR_FMT, err_text(in->plan.error),
		     ip_text(&in->server->local.ip, dst), STR_ARG(req->authority)) < 0)
		in->text = NULL;
}

/* Everything that is decided from the head alone. */
static void begin(struct inbound *in, const struct hbone_request *req)
{
	struct pod_worker *pw = in->flow.pw;
	struct proxy_worker *pxw = proxy_of(pw);
	struct app *app = pw->aw->app;
	struct workload *own = proxy_own_workload(pw);
	struct inbound_query q = {
		.local = own,
		.src = in->server->peer,
		.dst = in->server->local,
		.identity = str_of(in->server->identity),
		.authority_host = req->target.host,
		.authority = req->target.addr,
		.forwarded_host = req->forwarded_host,
		.illegal_ports = pxw->illegal_ports,
		.illegal_ports_count = pxw->illegal_ports_count,
		.localhost_app_tunnel = app->config->localhost_app_tunnel,
	};

	if (pod_admit(pw)) {
		reject(in, 503, ERR_LIMIT);
		return;
	}
	in->admitted = true;
	if (!own) {
		reject(in, 503, ERR_UNKNOWN_WORKLOAD);
		return;
	}
	in->authority = req->target.addr;
	resolve_inbound(app->world, &q, &in->plan);
	if (in->plan.error) {
		explain_mismatch(in, req);
		reject(in, in->plan.status ? in->plan.status : 503, in->plan.error);
		return;
	}
	if (open_flow(in, req, own)) {
		reject(in, 503, ERR_NOMEM);
		return;
	}
	in->flow.denied = denied;
	if (denial_check(pw, own, &in->plan.facts, &in->text)) {
		reject(in, 401, ERR_POLICY_DENIED);
		return;
	}
	connect_app(in);
}

static void count_one(const struct inbound *in, enum metric id, struct str label)
{
	metric_add_labels(in->flow.pw->aw->w->metrics, id, &label, 1, 1);
}

void inbound_stream_start(struct hbone_server *server, struct h2_stream *stream)
{
	struct inbound *in = calloc(1, sizeof(*in));
	const struct h2_head *head = stream->head;
	struct hbone_request req;
	int err;

	if (!in) {
		stream->ep.ops->close(&stream->ep, ERR_NOMEM);
		return;
	}
	flow_init(&in->flow, server->pw, aborted);
	task_init(&in->task, drive);
	in->server = hbone_server_get(server);
	in->stream = stream;
	if (!head || head->too_large) {
		count_one(in, METRIC_LIMIT_HITS, STR("limit_h2_header_bytes_server"));
		reject(in, 431, ERR_TOO_LARGE);
		return;
	}
	err = hbone_request_parse(head->v, head->count, &req);
	if (err)
		count_one(in, METRIC_PEER_VIOLATIONS, str_of(err_name(err)));
	if (err == ERR_H2_PROTOCOL)
		abandon(in, err);
	else if (err)
		reject(in, 400, err);
	else
		begin(in, &req);
}
