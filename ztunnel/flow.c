/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/flow.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/io/worker.h"
#include "shared/obs/access.h"
#include "shared/state/service.h"
#include "shared/state/workload.h"
#include "ztunnel/flow_labels.h"
#include "ztunnel/proxy.h"

/* What a flow that was opened needs for counting it, apart from what the relay touches. */
struct flow_meters {
	struct series *received, *sent;
	struct baggage baggage; /* views into text */
	bool has_baggage;
	char text[];
};

static struct str *baggage_fields(struct baggage *b, size_t i)
{
	struct str *all[] = {&b->cluster,  &b->namespace, &b->workload, &b->service,
			     &b->revision, &b->region,	  &b->zone};

	return i < ARRAY_SIZE(all) ? all[i] : NULL;
}

static struct flow_meters *meters_new(const struct baggage *b)
{
	struct baggage copy = b ? *b : (struct baggage){0};
	struct flow_meters *m;
	struct str *field;
	size_t bytes = 0;
	char *at;

	for (size_t i = 0; (field = baggage_fields(&copy, i)); i++)
		bytes += field->n;
	m = calloc(1, sizeof(*m) + bytes);
	if (!m)
		return NULL;
	at = m->text;
	m->has_baggage = b != NULL;
	m->baggage = copy;
	for (size_t i = 0; (field = baggage_fields(&m->baggage, i)); i++) {
		if (field->n)
			memcpy(at, field->p, field->n);
		field->p = at;
		at += field->n;
	}
	return m;
}

/* What baggage said of one side: of the source on inbound, of the destination on double HBONE. */
static const struct baggage *baggage_of(const struct flow *f, bool source)
{
	return f->meters->has_baggage && f->listed.inbound == source ? &f->meters->baggage : NULL;
}

static struct flow_parties parties(const struct flow *f)
{
	return (struct flow_parties){
		.inbound = f->listed.inbound,
		.mtls = f->mtls,
		.peer_identity = str_of(f->identity),
		.source = f->source,
		.destination = f->destination,
		.source_baggage = baggage_of(f, true),
		.destination_baggage = baggage_of(f, false),
		.service = f->service,
	};
}

static void access_peer_from(struct access_peer *p, const struct workload *w,
			     const struct baggage *b)
{
	if (w) {
		p->workload = w->name && w->name->len ? rstr_str(w->name)
						      : rstr_str(w->canonical_name);
		p->ns = rstr_str(w->ns);
		p->cluster = rstr_str(w->cluster_id);
		p->identity = rstr_str(w->identity);
	} else if (b) {
		/* baggage names no pod, so the canonical service stands for it (contract 10) */
		p->workload = b->service;
		p->ns = b->namespace;
		p->cluster = b->cluster;
	}
}

static struct access_facts access_of(const struct flow *f)
{
	struct access_facts a = {
		.direction = f->listed.inbound ? ACCESS_INBOUND : ACCESS_OUTBOUND,
		.mutual_tls = f->mtls,
		.src.addr = f->listed.src,
		.dst.addr = f->dst,
		.hbone_addr = str_of(f->authority),
		.service = f->service ? rstr_str(f->service->hostname) : STR(""),
	};

	access_peer_from(&a.src, f->source, baggage_of(f, true));
	access_peer_from(&a.dst, f->destination, baggage_of(f, false));
	/* what TLS verified, not what the world says of the address */
	if (f->listed.inbound)
		a.src.identity = str_of(f->identity);
	return a;
}

void flow_init(struct flow *f, struct pod_worker *pw, void (*abort)(struct flow *, int))
{
	list_init(&f->listed.link);
	task_init(&f->done, NULL);
	f->pw = pod_worker_get(pw);
	f->abort = abort;
	list_add_tail(&proxy_of(pw)->flows, &f->link);
	f->began_ns = pw->aw->w->now_ns;
}

/* A terminated copy; NULL stays what it was when there is nothing to copy. */
static int copy_text(char **to, struct str text)
{
	if (!text.n)
		return 0;
	*to = strndup(text.p, text.n);
	return *to ? 0 : ERR_NOMEM;
}

static void count_open(struct flow *f)
{
	struct metrics_shard *shard = f->pw->aw->w->metrics;
	struct str labels[TRAFFIC_LABELS];
	struct flow_parties p = parties(f);

	f->counted = true;
	flow_labels(&p, ERR_FLAG_NONE, labels);
	metric_add_labels(shard, METRIC_TCP_OPENED, labels, TRAFFIC_LABELS, 1);
	f->meters->received = series_get(shard, METRIC_TCP_RECEIVED, labels, TRAFFIC_LABELS);
	f->meters->sent = series_get(shard, METRIC_TCP_SENT, labels, TRAFFIC_LABELS);
	series_add(proxy_of(f->pw)->meters.sockets[f->listed.inbound], 1);
}

static void log_opened(const struct flow *f)
{
	struct access_facts a = access_of(f);

	access_opened(&a);
}

int flow_open(struct flow *f, const struct flow_facts *facts)
{
	struct flow_meters *m = meters_new(facts->source ? NULL : facts->source_baggage);

	if (!m)
		return ERR_NOMEM;
	if (copy_text(&f->authority, facts->hbone_authority) ||
	    copy_text(&f->identity, facts->peer_identity)) {
		free(m);
		return ERR_NOMEM;
	}
	f->meters = m;
	f->mtls = facts->mtls;
	f->dst = facts->dst;
	f->source = workload_get(facts->source);
	f->destination = workload_get(facts->destination);
	f->service = service_get(facts->service);
	f->listed.inbound = facts->inbound;
	f->listed.protocol = facts->protocol;
	f->listed.src = facts->src;
	f->listed.original_dst = facts->original_dst;
	f->listed.actual_dst = facts->listed_dst;
	if (facts->inbound && !facts->original_dst.ip.len)
		f->listed.original_host = f->authority;
	f->opened = true;
	if (facts->protocol != POD_FLOW_DOUBLE_HBONE)
		count_open(f);
	pod_flow_add(f->pw, &f->listed);
	log_opened(f);
	return 0;
}

int flow_count(struct flow *f, const struct baggage *destination)
{
	struct flow_meters *m = destination ? meters_new(destination) : NULL;

	if (destination && !m)
		return ERR_NOMEM;
	if (m) {
		free(f->meters);
		f->meters = m;
		workload_put(f->destination);
		f->destination = NULL;
	}
	count_open(f);
	return 0;
}

static void moved(struct relay *r, uint32_t a_to_b, uint32_t b_to_a, int64_t held)
{
	struct flow *f = container_of(r, struct flow, relay);

	/* a is the client's side */
	if (a_to_b)
		series_add(f->meters->received, a_to_b);
	if (b_to_a)
		series_add(f->meters->sent, b_to_a);
	if (held)
		pod_account(f->pw, held);
}

void flow_relay(struct flow *f, struct endpoint *a, struct endpoint *b,
		void (*finished)(struct task *))
{
	task_init(&f->done, finished);
	f->relayed = true;
	relay_start(&f->relay, &f->pw->aw->w->run, a, b, &f->done, moved);
}

/* Ends that the copy loop of the original calls success, too (contract 5.5): the peers said it to each other. */
static bool is_success(const struct flow *f, int reason)
{
	if (reason == 0)
		return true;
	return f->relayed && (reason == -ECONNRESET || reason == -EPIPE || reason == -ENOTCONN ||
			      reason == ERR_H2_RESET);
}

static void count_end(struct flow *f, int reason, const char *text)
{
	struct metrics_shard *shard = f->pw->aw->w->metrics;
	enum err_flag flag = is_success(f, reason) ? ERR_FLAG_NONE : err_flag(reason);
	struct str labels[TRAFFIC_LABELS];
	struct flow_parties p = parties(f);
	struct access_facts a = access_of(f);

	flow_labels(&p, flag, labels);
	metric_add_labels(shard, METRIC_TCP_CLOSED, labels, TRAFFIC_LABELS, 1);
	if (flag != ERR_FLAG_NONE)
		metric_add_labels(shard, METRIC_TCP_FAILED, labels, TRAFFIC_LABELS, 1);
	series_add(proxy_of(f->pw)->meters.sockets[f->listed.inbound], -1);
	series_put(f->meters->received);
	series_put(f->meters->sent);
	a.received_bytes = f->relay.a_to_b;
	a.sent_bytes = f->relay.b_to_a;
	a.duration_ms = (f->pw->aw->w->now_ns - f->began_ns) / NS_PER_MS;
	if (flag != ERR_FLAG_NONE) {
		a.error = reason;
		a.error_text = str_of(text);
	}
	access_complete(&a);
}

void flow_end(struct flow *f, int reason, const char *text)
{
	CHECK(!f->relay.running);
	task_cancel(&f->done);
	list_del(&f->link);
	pod_flow_del(&f->listed);
	if (f->opened && !f->counted)
		count_open(f);
	if (f->opened)
		count_end(f, reason, text);
	free(f->meters);
	free(f->authority);
	free(f->identity);
	workload_put(f->source);
	workload_put(f->destination);
	service_put(f->service);
	pod_worker_put(f->pw);
}

void flow_early_deny(struct pod_worker *pw, const struct addr *src, const struct addr *dst,
		     bool inbound, int reason, const char *text)
{
	(void)pw;
	access_failed(inbound ? ACCESS_INBOUND : ACCESS_OUTBOUND, src, dst,
		      str_of(text && text[0] ? text : err_text(reason)));
}
