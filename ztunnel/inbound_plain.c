/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plaintext that somebody sent to a pod (contract section 6.2): only policies that need no identity can allow it.
 */
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/state/resolve_inbound.h"
#include "ztunnel/denial.h"
#include "ztunnel/flow.h"
#include "ztunnel/proxy.h"

struct plain {
	struct flow flow;
	struct task task;
	struct timer look;
	uint64_t give_up_ns;
	struct addr src, dst;
	bool transparent;
	struct endpoint *client; /* NULL once the relay owns it */
	struct inbound_plan plan;
	char *text; /* why it was denied, or NULL */
};

static void finish(struct plain *p, int reason)
{
	struct pod_worker *pw = p->flow.pw;
	const char *text = p->text;

	if (!p->flow.opened)
		flow_early_deny(pw, &p->src, &p->dst, true, reason, text);
	relay_abort(&p->flow.relay, reason ? reason : ERR_CLOSED);
	/* refused before a byte crossed: an end of file, as the original says it */
	if (p->client)
		p->client->ops->close(p->client, p->client->error);
	timer_disarm(&pw->aw->w->timers, &p->look);
	task_cancel(&p->task);
	flow_end(&p->flow, reason, text);
	inbound_plan_fini(&p->plan);
	free(p->text);
	free(p);
	pod_release(pw);
}

static void aborted(struct flow *f, int reason)
{
	finish(container_of(f, struct plain, flow), reason);
}

static bool denied(struct flow *f)
{
	struct plain *p = container_of(f, struct plain, flow);

	return denial_check(f->pw, f->destination, &p->plan.facts, NULL);
}

static void relayed(struct task *task)
{
	struct plain *p = container_of(task, struct plain, flow.done);

	finish(p, p->flow.relay.reason);
}

static void start(struct plain *p, struct workload *own)
{
	struct pod_worker *pw = p->flow.pw;
	struct proxy_worker *pxw = proxy_of(pw);
	struct app *app = pw->aw->app;
	struct inbound_query q = {
		.local = own,
		.src = p->src,
		.dst = p->dst,
		.illegal_ports = pxw->illegal_ports,
		.illegal_ports_count = pxw->illegal_ports_count,
	};
	struct flow_facts facts = {.inbound = true,
				   .protocol = POD_FLOW_TCP,
				   .src = p->src,
				   .dst = p->dst,
				   .listed_dst = p->dst,
				   .original_dst = p->dst,
				   .destination = own};
	struct endpoint *client = p->client;
	struct conn *upstream;
	int err;

	resolve_inbound_plain(app->world, &q, &p->plan);
	if (p->plan.error) {
		finish(p, p->plan.error);
		return;
	}
	facts.source = world_workload_by_ip(app->world, str_of(app->config->network), &p->src.ip);
	facts.service = p->plan.service;
	if (flow_open(&p->flow, &facts)) {
		finish(p, ERR_NOMEM);
		return;
	}
	p->flow.denied = denied;
	if (denial_check(pw, own, &p->plan.facts, &p->text)) {
		finish(p, ERR_POLICY_DENIED);
		return;
	}
	err = proxy_connect(pw, &p->plan.target,
			    p->transparent && !ip_eq(&p->src.ip, &p->dst.ip) ? &p->src.ip : NULL,
			    true, &upstream);
	if (err) {
		finish(p, err);
		return;
	}
	p->client = NULL;
	flow_relay(&p->flow, client, &upstream->ep, relayed);
}

static void drive(struct task *task)
{
	struct plain *p = container_of(task, struct plain, task);
	struct worker *w = p->flow.pw->aw->w;
	struct workload *own = proxy_own_workload(p->flow.pw);

	if (p->client->error) {
		finish(p, p->client->error);
	} else if (own) {
		timer_disarm(&w->timers, &p->look);
		start(p, own);
	} else if (w->now_ns >= p->give_up_ns) {
		finish(p, ERR_UNKNOWN_WORKLOAD);
	} else {
		timer_arm(&w->timers, &p->look, PROXY_WORKLOAD_LOOK_MS);
	}
}

void inbound_plain_accepted(struct pod_listener *pl, int fd, const struct addr *peer)
{
	struct pod_worker *pw = pl->pw;
	struct conn *client;
	struct plain *p;
	struct addr dst;
	bool redirected;

	if (socket_original_dst(fd, &dst, &redirected))
		dst = (struct addr){0};
	client = proxy_accept(pw, fd, peer, &dst, true);
	if (!client)
		return;
	p = calloc(1, sizeof(*p));
	if (!p) {
		client->ep.ops->close(&client->ep, ERR_NOMEM);
		pod_release(pw);
		return;
	}
	flow_init(&p->flow, pw, aborted);
	task_init(&p->task, drive);
	timer_init(&p->look, &p->task);
	p->give_up_ns = pw->aw->w->now_ns + PROXY_WORKLOAD_WAIT_MS * NS_PER_MS;
	p->src = *peer;
	p->dst = dst;
	p->transparent = pl->transparent;
	p->client = &client->ep;
	endpoint_attach(&client->ep, &pw->aw->w->run, &p->task);
}
