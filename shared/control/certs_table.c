/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "certs_table.h"

#include "certs_schedule.h"
#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/base/rcumap.h"
#include "shared/wire/crl.h"
#include "shared/wire/x509_issue.h"

/* What workers see of an entry; replaced whole, freed when no worker can be looking. */
struct published {
	struct epoch_node node;
	struct tls_ctx *ctx;
};

struct certs_entry {
	struct epoch_node node;
	struct list link; /* certs_table.entries */
	struct certs_table *table;
	struct str identity;   /* owned, terminated */
	struct published *now; /* atomic; NULL until the first success */
	enum certs_priority priority;
	int64_t due_ms;	  /* of the next fetch */
	uint64_t step_ms; /* of the back-off; 0: the last fetch succeeded */
	int error;	  /* of the last fetch */
	char why[CERTS_WHY_MAX];
	bool fetching;
	bool again; /* asked to refresh while fetching */
	struct certs_fetch fetch;
	struct list waiters;
	struct str chain, roots; /* text of the certificate in use; owned */
};

struct certs_table {
	struct certs_table_config config;
	struct rcumap *map; /* identity -> struct certs_entry */
	struct list entries;
	struct list ended; /* struct certs_fetch.link */
	struct rng rng;
	struct certs_stats stats;
};

/* ---- what sources say ---- */

static void file_end(struct certs_fetch *f)
{
	CHECK(!f->ended && f->entry->fetching);
	f->ended = true;
	list_add_tail(&f->table->ended, &f->link);
	task_ready(f->table->config.queue, f->table->config.ended);
}

static bool copy(struct str s, struct str *out)
{
	char *p = malloc(s.n + 1);

	if (!p)
		return false;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	*out = (struct str){p, s.n};
	return true;
}

static void drop(struct str *s)
{
	free((char *)s->p);
	*s = (struct str){NULL, 0};
}

static void drop_secret(struct str *s)
{
	if (s->p)
		wipe((char *)s->p, s->n);
	drop(s);
}

void certs_fetch_done(struct certs_fetch *f, struct str chain, struct str key, struct str roots)
{
	if (!copy(chain, &f->chain) || !copy(key, &f->key) || !copy(roots, &f->roots)) {
		f->error = ERR_NOMEM;
		snprintf(f->why, sizeof(f->why), "out of memory");
	}
	file_end(f);
}

void certs_fetch_failed(struct certs_fetch *f, int error, const char *why)
{
	f->error = error ? error : ERR_CERT_FETCH;
	snprintf(f->why, sizeof(f->why), "%s", why);
	file_end(f);
}

static void drop_result(struct certs_fetch *f)
{
	if (f->ended)
		list_del(&f->link);
	drop(&f->chain);
	drop_secret(&f->key);
	drop(&f->roots);
	f->ended = false;
}

/* ---- entries ---- */

static void free_published(struct epoch_node *node)
{
	struct published *p = container_of(node, struct published, node);

	tls_ctx_put(p->ctx);
	free(p);
}

static void free_entry(struct epoch_node *node)
{
	struct certs_entry *e = container_of(node, struct certs_entry, node);

	if (e->now)
		free_published(&e->now->node);
	drop(&e->identity);
	drop(&e->chain);
	drop(&e->roots);
	free(e);
}

static struct certs_entry *find(const struct certs_table *t, struct str identity)
{
	return rcumap_get(t->map, identity);
}

static struct certs_entry *add(struct certs_table *t, struct str identity, enum certs_priority p,
			       int64_t now_ms)
{
	struct certs_entry *e = calloc(1, sizeof(*e));
	void *old = NULL;

	if (!e)
		return NULL;
	e->table = t;
	e->priority = p;
	e->due_ms = now_ms;
	list_init(&e->link);
	list_init(&e->waiters);
	list_init(&e->fetch.link);
	if (!copy(identity, &e->identity) || rcumap_put(t->map, identity, e, &old) != 0) {
		free_entry(&e->node);
		return NULL;
	}
	CHECK(old == NULL);
	list_add_tail(&t->entries, &e->link);
	t->stats.known++;
	return e;
}

static int64_t expiry_ms(const struct certs_entry *e)
{
	return e->now ? tls_ctx_not_after(e->now->ctx) * 1000 : 0;
}

static bool valid(const struct certs_entry *e, int64_t now_ms)
{
	return expiry_ms(e) > now_ms;
}

static void answer_all(struct certs_entry *e, struct tls_ctx *ctx, int error, const char *why)
{
	while (!list_empty(&e->waiters)) {
		struct certs_waiter *w = list_first(&e->waiters, struct certs_waiter, link);
		list_del(&w->link);
		w->answer(w, ctx ? tls_ctx_get(ctx) : NULL, error, why);
	}
}

/* ---- the end of a fetch ---- */

static int publish(struct certs_entry *e, struct tls_ctx *ctx)
{
	struct certs_table *t = e->table;
	struct published *p = calloc(1, sizeof(*p)), *old = e->now;

	if (!p)
		return ERR_NOMEM;
	p->ctx = ctx;
	/* Pairs with the load in certs_table_current(). */
	__atomic_store_n(&e->now, p, __ATOMIC_RELEASE);
	if (old)
		epoch_retire(t->config.epoch, &old->node, free_published);
	return 0;
}

/* Takes the result over into the entry. On failure *why says what is wrong with it. */
static int take_result(struct certs_entry *e, int64_t now_ms, const char **why)
{
	struct certs_fetch *f = &e->fetch;
	const struct certs_table_config *c = &e->table->config;
	struct tls_ctx *ctx = NULL;

	*why = f->why;
	if (f->error != 0)
		return f->error;
	int rc = tls_ctx_new(f->chain, f->key, f->roots, &c->tls, c->crl, &ctx, why);
	if (rc == 0 && !str_eq(str_of(tls_ctx_identity(ctx)), e->identity)) {
		*why = "the certificate is for another identity";
		rc = ERR_CERT_FETCH;
	}
	if (rc == 0 && tls_ctx_not_after(ctx) * 1000 <= now_ms) {
		*why = "the certificate has expired already";
		rc = ERR_CERT_FETCH;
	}
	if (rc == 0 && (rc = publish(e, ctx)) != 0)
		*why = "out of memory";
	if (rc != 0) {
		tls_ctx_put(ctx);
		return rc;
	}
	drop(&e->chain);
	drop(&e->roots);
	e->chain = f->chain;
	e->roots = f->roots;
	f->chain = f->roots = (struct str){NULL, 0};
	return 0;
}

static void ended(struct certs_table *t, struct certs_entry *e, int64_t now_ms)
{
	const char *why = "";
	int rc = take_result(e, now_ms, &why);

	if (rc == 0) {
		struct tls_ctx *ctx = e->now->ctx;
		t->stats.fetched++;
		e->step_ms = 0;
		e->error = 0;
		e->priority = CERTS_BACKGROUND;
		e->due_ms = e->again ? now_ms
				     : certs_renew_at(tls_ctx_not_before(ctx),
						      tls_ctx_not_after(ctx), now_ms);
		answer_all(e, ctx, 0, "");
	} else {
		t->stats.failed++;
		e->error = rc;
		if (why != e->why)
			snprintf(e->why, sizeof(e->why), "%s", why);
		e->step_ms = certs_backoff_next(e->step_ms);
		e->due_ms = certs_retry_at(e->step_ms, now_ms, expiry_ms(e), &t->rng);
		if (valid(e, now_ms))
			e->priority = CERTS_BACKGROUND;
		if (t->config.on_failure)
			t->config.on_failure(t->config.arg, e->identity, e->why,
					     e->due_ms - now_ms);
		answer_all(e, NULL, ERR_CERT_FETCH, e->why);
	}
	e->again = false;
	e->fetching = false;
	t->stats.under_way--;
	drop_result(&e->fetch);
}

/* ---- the start of one ---- */

static bool comes_before(const struct certs_entry *a, const struct certs_entry *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return a->due_ms < b->due_ms;
}

/* A node has some hundred identities, so a look at each is cheap beside one fetch. */
static struct certs_entry *next_due(const struct certs_table *t, int64_t now_ms)
{
	struct certs_entry *best = NULL;
	bool warming = false;

	list_for_each(l, &t->entries) {
		const struct certs_entry *e = list_entry(l, struct certs_entry, link);
		warming = warming || (e->fetching && e->priority == CERTS_WARMUP);
	}
	list_for_each(l, &t->entries) {
		struct certs_entry *e = list_entry(l, struct certs_entry, link);
		if (e->fetching || e->due_ms > now_ms)
			continue;
		/* Prefetches come one after the other (contract section 8). */
		if (warming && e->priority == CERTS_WARMUP)
			continue;
		if (!best || comes_before(e, best))
			best = e;
	}
	return best;
}

static void start(struct certs_table *t, struct certs_entry *e)
{
	e->fetching = true;
	e->fetch = (struct certs_fetch){.identity = e->identity, .table = t, .entry = e};
	list_init(&e->fetch.link);
	t->stats.under_way++;
	t->config.source->ops->fetch(t->config.source, &e->fetch);
}

static void time_out(struct certs_entry *e, int64_t now_ms)
{
	list_for_each_safe(l, tmp, &e->waiters) {
		struct certs_waiter *w = list_entry(l, struct certs_waiter, link);
		if (w->deadline_ms > now_ms)
			continue;
		list_del(&w->link);
		w->answer(w, NULL, ERR_CERT_FETCH, "timed out waiting for the certificate");
	}
}

void certs_table_run(struct certs_table *t, int64_t now_ms)
{
	struct certs_entry *e;
	struct list done;

	/* What ends while we start others waits for the next run. */
	list_take_all(&done, &t->ended);
	while (!list_empty(&done))
		ended(t, list_first(&done, struct certs_fetch, link)->entry, now_ms);
	while (t->stats.under_way < CERTS_FETCHES_MAX && (e = next_due(t, now_ms)) != NULL)
		start(t, e);
	list_for_each(l, &t->entries)
		time_out(list_entry(l, struct certs_entry, link), now_ms);
	(void)epoch_reclaim(t->config.epoch);
}

int64_t certs_table_next(const struct certs_table *t)
{
	int64_t at = INT64_MAX;

	list_for_each(l, &t->entries) {
		const struct certs_entry *e = list_entry(l, struct certs_entry, link);
		/* With all places taken, the end of a fetch is what comes next. */
		if (!e->fetching && t->stats.under_way < CERTS_FETCHES_MAX)
			at = MIN(at, e->due_ms);
		list_for_each(k, &e->waiters)
			at = MIN(at, list_entry(k, struct certs_waiter, link)->deadline_ms);
	}
	return at;
}

/* ---- asking ---- */

void certs_table_wait(struct certs_table *t, struct str identity, struct certs_waiter *w,
		      int64_t now_ms)
{
	struct certs_entry *e = find(t, identity);

	list_init(&w->link);
	if (!e)
		e = add(t, identity, CERTS_REALTIME, now_ms);
	if (!e) {
		w->answer(w, NULL, ERR_NOMEM, "out of memory");
		return;
	}
	if (valid(e, now_ms)) {
		w->answer(w, tls_ctx_get(e->now->ctx), 0, "");
		return;
	}
	if (e->error != 0 && !e->fetching && e->due_ms > now_ms) {
		w->answer(w, NULL, ERR_CERT_FETCH, e->why);
		return;
	}
	if (!e->fetching) {
		e->priority = CERTS_REALTIME;
		e->due_ms = MIN(e->due_ms, now_ms);
	}
	w->deadline_ms = now_ms + CERTS_WAIT_MS;
	list_add_tail(&e->waiters, &w->link);
	task_ready(t->config.queue, t->config.ended);
}

int certs_table_prefetch(struct certs_table *t, struct str identity, enum certs_priority priority,
			 int64_t now_ms)
{
	struct certs_entry *e = find(t, identity);
	uint32_t waiting = 0;

	if (e) {
		if (!e->fetching && !e->now && e->error == 0)
			e->priority = MAX(e->priority, priority);
		return 0;
	}
	list_for_each(l, &t->entries) {
		e = list_entry(l, struct certs_entry, link);
		waiting += !e->fetching && !e->now && e->error == 0 && e->priority == CERTS_WARMUP;
	}
	if (priority == CERTS_WARMUP && waiting >= CERTS_WARMUPS_MAX)
		return ERR_LIMIT;
	if (!add(t, identity, priority, now_ms))
		return ERR_NOMEM;
	task_ready(t->config.queue, t->config.ended);
	return 0;
}

void certs_table_refresh(struct certs_table *t, struct str identity, int64_t now_ms)
{
	struct certs_entry *e = find(t, identity);

	if (!e)
		return;
	if (e->fetching)
		e->again = true;
	else
		e->due_ms = now_ms;
	task_ready(t->config.queue, t->config.ended);
}

void certs_table_forget(struct certs_table *t, struct str identity)
{
	struct certs_entry *e = find(t, identity);

	if (!e)
		return;
	if (e->fetching) {
		if (!e->fetch.ended)
			t->config.source->ops->cancel(t->config.source, &e->fetch);
		drop_result(&e->fetch);
		t->stats.under_way--;
	}
	answer_all(e, NULL, ERR_CERT_FETCH, "the identity is not needed any more");
	rcumap_del(t->map, e->identity);
	list_del(&e->link);
	t->stats.known--;
	epoch_retire(t->config.epoch, &e->node, free_entry);
	task_ready(t->config.queue, t->config.ended);
}

struct tls_ctx *certs_table_current(const struct certs_table *t, struct str identity,
				    int64_t now_ms)
{
	struct certs_entry *e = find(t, identity);
	/* Pairs with the store in publish(). */
	struct published *p = e ? __atomic_load_n(&e->now, __ATOMIC_ACQUIRE) : NULL;

	if (!p || tls_ctx_not_after(p->ctx) * 1000 <= now_ms)
		return NULL;
	return tls_ctx_get(p->ctx);
}

void certs_table_each(const struct certs_table *t,
		      void (*fn)(void *arg, const struct certs_info *info), void *arg)
{
	list_for_each(l, &t->entries) {
		const struct certs_entry *e = list_entry(l, struct certs_entry, link);
		struct certs_info i = {.identity = e->identity,
				       .state = e->now	   ? CERTS_AVAILABLE
						: e->error ? CERTS_UNAVAILABLE
							   : CERTS_INITIALIZING,
				       .error = e->error ? e->why : NULL,
				       .chain_pem = e->chain,
				       .roots_pem = e->roots};
		if (e->now) {
			i.not_before = tls_ctx_not_before(e->now->ctx);
			i.not_after = tls_ctx_not_after(e->now->ctx);
		}
		fn(arg, &i);
	}
}

struct certs_stats certs_table_stats(const struct certs_table *t)
{
	return t->stats;
}

/* ---- life ---- */

int certs_table_new(const struct certs_table_config *config, struct certs_table **out)
{
	struct certs_table *t = calloc(1, sizeof(*t));
	struct rcumap *map = t ? rcumap_new(config->epoch) : NULL;

	if (!map) {
		free(t);
		config->source->ops->free(config->source);
		return ERR_NOMEM;
	}
	t->config = *config;
	t->map = map;
	if (t->config.crl)
		crl_store_get(t->config.crl);
	list_init(&t->entries);
	list_init(&t->ended);
	if (config->seed)
		rng_init(&t->rng, config->seed);
	else
		rng_init_random(&t->rng);
	*out = t;
	return 0;
}

void certs_table_free(struct certs_table *t)
{
	if (!t)
		return;
	while (!list_empty(&t->entries))
		certs_table_forget(t, list_first(&t->entries, struct certs_entry, link)->identity);
	task_cancel(t->config.ended);
	(void)epoch_reclaim(t->config.epoch);
	rcumap_free(t->map);
	t->config.source->ops->free(t->config.source);
	crl_store_put(t->config.crl);
	free(t);
}
