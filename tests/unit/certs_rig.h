/* SPDX-License-Identifier: Apache-2.0 */
/* A certificate table with a source that answers when it is told to, and a clock that stands still. */
#ifndef GAUZE_TESTS_CERTS_RIG_H
#define GAUZE_TESTS_CERTS_RIG_H

#include "testca.h"

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/control/certs_table.h"

/* ---- a source that answers when it is told to ---- */

enum { FETCHES = 600 };

struct fake {
	struct certs_source source;
	struct certs_fetch *open[FETCHES]; /* in order of their start */
	char *name[FETCHES];
	int started, cancelled;
};

static void fake_fetch(struct certs_source *s, struct certs_fetch *f)
{
	struct fake *k = container_of(s, struct fake, source);

	assert_true(k->started < FETCHES);
	k->name[k->started] = strdup(f->identity.p);
	f->user = &k->open[k->started];
	k->open[k->started++] = f;
}

static void fake_cancel(struct certs_source *s, struct certs_fetch *f)
{
	struct fake *k = container_of(s, struct fake, source);

	*(struct certs_fetch **)f->user = NULL;
	k->cancelled++;
}

static void fake_free(struct certs_source *s)
{
	struct fake *k = container_of(s, struct fake, source);

	for (int i = 0; i < k->started; i++) {
		assert_null(k->open[i]);
		free(k->name[i]);
	}
	free(k);
}

static const struct certs_source_ops fake_ops = {fake_fetch, fake_cancel, fake_free};

/* ---- the table under test ---- */

struct probe {
	struct certs_waiter waiter;
	struct tls_ctx *ctx;
	int error, answers;
	char why[256];
};

static void on_answer(struct certs_waiter *w, struct tls_ctx *ctx, int error, const char *why)
{
	struct probe *p = container_of(w, struct probe, waiter);

	p->ctx = ctx;
	p->error = error;
	p->answers++;
	snprintf(p->why, sizeof(p->why), "%s", why);
}

static struct testca root;
static struct fake *fake;
static struct epoch *epoch;
static struct certs_table *table;
static struct taskq queue;
static struct task ended;
static int64_t now;
static int failures;

static void on_failure(void *arg, struct str identity, const char *why, int64_t retry_in_ms)
{
	(void)arg;
	(void)identity;
	assert_true(why[0] != '\0');
	assert_true(retry_in_ms >= 0);
	failures++;
}

static void no_run(struct task *t)
{
	(void)t;
}

static int set_up(void **state)
{
	(void)state;
	fake = calloc(1, sizeof(*fake));
	fake->source.ops = &fake_ops;
	epoch = epoch_new(2);
	taskq_init(&queue);
	task_init(&ended, no_run);
	now = (int64_t)time(NULL) * 1000;
	failures = 0;
	struct certs_table_config c = {.epoch = epoch,
				       .source = &fake->source,
				       .queue = &queue,
				       .ended = &ended,
				       .on_failure = on_failure,
				       .seed = 7};
	return certs_table_new(&c, &table);
}

static int tear_down(void **state)
{
	(void)state;
	certs_table_free(table);
	epoch_free(epoch);
	return 0;
}

static int make_root(void **state)
{
	(void)state;
	root = testca_new("root", NULL, 0);
	return 0;
}

static int drop_root(void **state)
{
	(void)state;
	testca_free(&root);
	return 0;
}

static void run(void)
{
	certs_table_run(table, now);
}

static void ask(struct probe *p, const char *identity)
{
	*p = (struct probe){.waiter = {.answer = on_answer}};
	certs_table_wait(table, str_of(identity), &p->waiter, now);
}

static void got(struct probe *p)
{
	assert_int_equal(p->answers, 1);
	assert_int_equal(p->error, 0);
	assert_non_null(p->ctx);
	tls_ctx_put(p->ctx);
	p->ctx = NULL;
}

static void answer(int i, int seconds)
{
	struct testcert c = testca_leaf(&root, fake->name[i], seconds, 0);

	assert_non_null(fake->open[i]);
	certs_fetch_done(fake->open[i], str_of(c.pem), str_of(c.key_pem), str_of(root.pem));
	fake->open[i] = NULL;
	testcert_free(&c);
}

static void refuse(int i)
{
	assert_non_null(fake->open[i]);
	certs_fetch_failed(fake->open[i], ERR_CERT_FETCH, "the CA is away");
	fake->open[i] = NULL;
}

static struct tls_ctx *current(const char *identity)
{
	return certs_table_current(table, str_of(identity), now);
}

#endif
