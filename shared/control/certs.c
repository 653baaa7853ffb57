/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "certs.h"

#include "certs_table.h"
#include "shared/base/err.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"
#include "shared/wire/x509.h"

LOG_SCOPE(scope, "ztunnel::identity::manager");

enum {
	/* The wall clock may be set meanwhile, so that we look at it at least this often. */
	LOOK_MS = 30 * 1000,
	SOON_MS = 1,
};

struct certs {
	struct worker *control;
	struct certs_table *table;
	struct task run; /* something ended, or is due */
	struct timer timer;
	struct certs_stats seen; /* counted in the metrics already */
	bool ending;		 /* the workers are gone, and with them whoever asked */
};

/*
 * A question on its way: made by the worker, waits in the table, comes back as mail. Only the worker looks at `wait`,
 * which is NULL once withdrawn; only the control thread at `waiter`.
 */
struct certs_request {
	struct mail mail;
	struct certs *certs;
	struct worker *asker;
	struct certs_wait *wait;
	struct certs_waiter waiter;
	struct tls_ctx *ctx;
	int error;
	char why[sizeof(((struct certs_wait *)NULL)->why)];
	struct str identity;
	char text[];
};

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / (int64_t)NS_PER_MS;
}

struct tls_ctx *certs_current(struct certs *c, struct str identity)
{
	return certs_table_current(c->table, identity, wall_ms());
}

/* ---- questions ---- */

/* On the asker. */
static void deliver_answer(struct mail *mail, struct worker *at)
{
	struct certs_request *r = container_of(mail, struct certs_request, mail);
	struct certs_wait *w = r->wait;

	if (w) {
		w->ctx = r->ctx;
		w->error = r->error;
		memcpy(w->why, r->why, sizeof(w->why));
		w->request = NULL;
		task_ready(&at->run, w->done);
	} else {
		tls_ctx_put(r->ctx);
	}
	free(r);
}

/* On the control thread. */
static void answer(struct certs_waiter *waiter, struct tls_ctx *ctx, int error, const char *why)
{
	struct certs_request *r = container_of(waiter, struct certs_request, waiter);

	if (r->certs->ending) {
		tls_ctx_put(ctx);
		free(r);
		return;
	}
	r->ctx = ctx;
	r->error = error;
	snprintf(r->why, sizeof(r->why), "%s", why);
	r->mail.deliver = deliver_answer;
	worker_post(r->asker, &r->mail);
}

static void deliver_question(struct mail *mail, struct worker *at)
{
	struct certs_request *r = container_of(mail, struct certs_request, mail);

	(void)at;
	r->waiter.answer = answer;
	certs_table_wait(r->certs->table, r->identity, &r->waiter, wall_ms());
}

void certs_wait(struct certs *c, struct worker *w, struct str identity, struct certs_wait *wait,
		struct task *done)
{
	*wait = (struct certs_wait){.done = done};
	wait->ctx = certs_current(c, identity);
	if (wait->ctx) {
		task_ready(&w->run, done);
		return;
	}
	struct certs_request *r = calloc(1, sizeof(*r) + identity.n);
	if (!r) {
		wait->error = ERR_NOMEM;
		snprintf(wait->why, sizeof(wait->why), "out of memory");
		task_ready(&w->run, done);
		return;
	}
	memcpy(r->text, identity.p, identity.n);
	r->identity = (struct str){r->text, identity.n};
	r->certs = c;
	r->asker = w;
	r->wait = wait;
	wait->request = r;
	r->mail.deliver = deliver_question;
	worker_post(c->control, &r->mail);
}

void certs_wait_cancel(struct certs_wait *wait)
{
	if (wait->request) {
		wait->request->wait = NULL;
		wait->request = NULL;
	}
	tls_ctx_put(wait->ctx);
	wait->ctx = NULL;
}

/* ---- control thread ---- */

static void count(struct certs *c)
{
	struct certs_stats now = certs_table_stats(c->table);
	struct metrics_shard *m = c->control->metrics;

	if (m && now.fetched > c->seen.fetched)
		metric_add_labels(m, METRIC_CERT_FETCHES, &STR("success"), 1,
				  (int64_t)(now.fetched - c->seen.fetched));
	if (m && now.failed > c->seen.failed)
		metric_add_labels(m, METRIC_CERT_FETCHES, &STR("CERT_FETCH"), 1,
				  (int64_t)(now.failed - c->seen.failed));
	c->seen = now;
}

static void on_failure(void *arg, struct str identity, const char *why, int64_t retry_in_ms)
{
	struct log_line line;
	(void)arg;

	if (!log_begin(&line, &scope, LOG_WARN, "certificate could not be fetched"))
		return;
	log_str(&line, "identity", identity);
	log_str(&line, "error", str_of(why));
	log_i64(&line, "retry_in_ms", retry_in_ms);
	log_end(&line);
}

static void arm(struct certs *c)
{
	int64_t next = certs_table_next(c->table), now = wall_ms();
	uint64_t delay = LOOK_MS;

	if (next <= now)
		delay = SOON_MS;
	else if (next - now < LOOK_MS)
		delay = (uint64_t)(next - now);
	timer_arm(&c->control->timers, &c->timer, delay);
}

static void run(struct task *task)
{
	struct certs *c = container_of(task, struct certs, run);

	certs_table_run(c->table, wall_ms());
	count(c);
	arm(c);
}

static void emit_expiry(void *arg, const struct certs_info *info)
{
	if (info->not_after != 0)
		metrics_emit(arg, &info->identity, 1, info->not_after);
}

/* The scrape is answered on the control thread, which owns the table. */
static void collect_expiry(void *arg, struct metrics_emit *out)
{
	struct certs *c = arg;

	certs_table_each(c->table, emit_expiry, out);
}

int certs_new(const struct certs_config *config, struct certs **out)
{
	struct certs *c = calloc(1, sizeof(*c));

	if (!c) {
		config->source->ops->free(config->source);
		return ERR_NOMEM;
	}
	c->control = config->control;
	task_init(&c->run, run);
	timer_init(&c->timer, &c->run);
	struct certs_table_config t = {.epoch = config->control->epoch,
				       .source = config->source,
				       .crl = config->crl,
				       .tls = *config->tls,
				       .queue = &config->control->run,
				       .ended = &c->run,
				       .on_failure = on_failure};
	int rc = certs_table_new(&t, &c->table);
	if (rc != 0) {
		free(c);
		return rc;
	}
	config->source->certs = c;
	metrics_collect(METRIC_CERT_EXPIRY, collect_expiry, c);
	arm(c);
	*out = c;
	return 0;
}

void certs_free(struct certs *c)
{
	if (!c)
		return;
	c->ending = true;
	metrics_collect(METRIC_CERT_EXPIRY, NULL, NULL);
	timer_disarm(&c->control->timers, &c->timer);
	certs_table_free(c->table);
	task_cancel(&c->run);
	free(c);
}

void certs_prefetch(struct certs *c, struct str identity)
{
	if (certs_table_prefetch(c->table, identity, CERTS_WARMUP, wall_ms()) != 0)
		log_debug(&scope, "prefetch dropped: " STR_FMT, STR_ARG(identity));
}

void certs_forget(struct certs *c, struct str identity)
{
	certs_table_forget(c->table, identity);
}

void certs_refresh(struct certs *c, struct str identity)
{
	certs_table_refresh(c->table, identity, wall_ms());
}

void certs_each(struct certs *c, void (*fn)(void *arg, const struct certs_info *info), void *arg)
{
	certs_table_each(c->table, fn, arg);
}

void certs_each_cert(struct str pem, void (*fn)(void *arg, const struct certs_cert *cert),
		     void *arg)
{
	struct str der;
	struct x509 x;

	while (x509_pem_next(&pem, X509_BLOCK_CERT, &der) == 0) {
		if (x509_parse(der, &x) == 0) {
			struct certs_cert cert = {.pem = x509_to_pem(der),
						  .not_before = x.not_before,
						  .not_after = x.not_after};
			_Static_assert(sizeof(cert.serial) >= X509_SERIAL_TEXT_MAX,
				       "a serial fits");
			x509_serial_text(x.serial, x.serial_len, cert.serial);
			if (cert.pem)
				fn(arg, &cert);
			free(cert.pem);
			x509_fini(&x);
		}
		free((char *)der.p);
	}
}
