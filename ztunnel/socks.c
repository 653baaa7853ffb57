/* SPDX-License-Identifier: Apache-2.0 */
/* SOCKS5 on 15080 (contract section 7, last item): negotiate, resolve a name if one was given, go on as outbound. */
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/state/world.h"
#include "shared/wire/socks5.h"
#include "ztunnel/flow.h"
#include "ztunnel/names.h"
#include "ztunnel/proxy.h"

struct socks {
	struct list link; /* proxy_worker.socks */
	struct task task;
	struct timer deadline;
	struct pod_worker *pw; /* counted */
	struct conn *client;
	struct socks5 protocol;
	struct name_wait name;
};

static void release(struct socks *s)
{
	struct pod_worker *pw = s->pw;

	list_del(&s->link);
	timer_disarm(&pw->aw->w->timers, &s->deadline);
	task_cancel(&s->task);
	name_wait_cancel(&s->name);
	free(s);
	pod_worker_put(pw);
}

static void say(struct socks *s)
{
	struct str out = socks5_output(&s->protocol);
	struct bufq q = {0};

	if (out.n && bufq_copy(&q, s->pw->aw->w->bufs, out.p, out.n) == 0)
		s->client->ep.ops->send(&s->client->ep, &q);
	bufq_fini(&q);
	socks5_sent(&s->protocol);
}

static void fail(struct socks *s, int reason)
{
	struct pod_worker *pw = s->pw;
	struct addr nowhere = {0};

	flow_early_deny(pw, &s->client->peer, &nowhere, false, reason, NULL);
	/* the reply must arrive: close after it, not with a reset */
	s->client->ep.ops->close(&s->client->ep, s->client->ep.error);
	release(s);
	pod_release(pw);
}

/* The target is known: success is said before connecting (contract 7). */
static void hand_over(struct socks *s, const struct addr *dst)
{
	struct pod_worker *pw = s->pw;
	struct conn *client = s->client;

	socks5_reply(&s->protocol, SOCKS5_OK);
	say(s);
	outbound_start(pw, client, dst);
	release(s);
}

static void resolve(struct socks *s)
{
	struct workload *own = proxy_own_workload(s->pw);
	struct addr dst = {.port = s->protocol.target.port};
	struct service *service;

	if (s->protocol.target.ip.len) {
		hand_over(s, &s->protocol.target);
		return;
	}
	service = own ? world_service_by_host(s->pw->aw->app->world, s->protocol.host,
					      rstr_str(own->ns))
		      : NULL;
	for (size_t i = 0; service && i < service->vips_count; i++) {
		dst.ip = service->vips[i].ip;
		if (dst.ip.len == s->client->peer.ip.len)
			break;
	}
	if (dst.ip.len)
		hand_over(s, &dst);
	else
		name_wait(s->pw->aw->app->names, s->pw->aw->w, s->protocol.host,
			  s->client->peer.ip.len, &s->name, &s->task);
}

static void resolved(struct socks *s)
{
	struct addr dst = {s->name.ip, s->protocol.target.port};

	if (!s->name.error) {
		hand_over(s, &dst);
		return;
	}
	socks5_reply(&s->protocol, SOCKS5_HOST_UNREACHABLE);
	say(s);
	fail(s, s->name.error);
}

static void drive(struct task *task)
{
	struct socks *s = container_of(task, struct socks, task);
	struct endpoint *ep = &s->client->ep;
	int err = 0;

	/* a timer that is not armed any more has fired */
	if (ep->error || !timer_armed(&s->deadline)) {
		fail(s, ep->error ? ep->error : ERR_TIMEOUT);
		return;
	}
	if (s->name.answered) {
		resolved(s);
		return;
	}
	while (!err && ep->rx.bytes && s->protocol.state < SOCKS5_READY) {
		struct bslice b = *bufq_at(&ep->rx, 0);
		size_t used;

		err = socks5_feed(&s->protocol, b.buf->data + b.off, b.len, &used);
		bufq_pop(&ep->rx, (uint32_t)used);
		ep->ops->credit(ep, (uint32_t)used);
		if (s->protocol.state < SOCKS5_READY || err)
			say(s);
	}
	if (err)
		fail(s, err);
	else if (s->protocol.state == SOCKS5_READY && !s->name.query)
		resolve(s);
	else if (ep->eof && s->protocol.state < SOCKS5_READY)
		fail(s, ERR_TRUNCATED);
}

void socks_accepted(struct pod_listener *pl, int fd, const struct addr *peer)
{
	struct pod_worker *pw = pl->pw;
	struct worker *w = pw->aw->w;
	struct addr local = {0};
	struct conn *client = proxy_accept(pw, fd, peer, &local, true);
	struct socks *s;

	if (!client)
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		client->ep.ops->close(&client->ep, ERR_NOMEM);
		pod_release(pw);
		return;
	}
	s->pw = pod_worker_get(pw);
	s->client = client;
	socks5_init(&s->protocol);
	task_init(&s->task, drive);
	timer_init(&s->deadline, &s->task);
	timer_arm(&w->timers, &s->deadline, LIMIT_HANDSHAKE_MS);
	list_add_tail(&proxy_of(pw)->socks, &s->link);
	endpoint_attach(&client->ep, &w->run, &s->task);
}

void socks_kill(struct pod_worker *pw, int reason)
{
	list_for_each_safe(node, tmp, &proxy_of(pw)->socks) {
		struct socks *s = list_entry(node, struct socks, link);

		if (s->pw == pw)
			fail(s, reason);
	}
}
