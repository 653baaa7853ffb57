/* SPDX-License-Identifier: Apache-2.0 */
#include "tunnels.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "shared/base/err.h"
#include "shared/base/rstr.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/obs/metrics.h"
#include "shared/wire/tls_ctx.h"

enum {
	TUNNEL_BUCKETS = 256,
	TUNNEL_MOVES_MAX = 3, /* a peer that opens and goes away at once is not asked for ever */
};

struct tunnel {
	struct list bucket; /* pooled: may be found */
	struct list all;
	struct list waiting; /* struct tunnel_request.link */
	struct tunnels *pool;
	struct link *link;
	struct task task, unused_task;
	struct timer unused;
	bool up;	   /* counted in config.up */
	uint32_t reserved; /* answered requests that have not opened their stream yet */
	/* the key */
	uint64_t hash;
	void *scope;
	struct tls_ctx *ctx; /* a reference */
	struct addr dst;
	struct ip src_ip;
	uint32_t sans_count;
	struct rstr *sans[]; /* references */
};

struct tunnels {
	struct worker *w;
	struct tunnels_config config;
	struct list all;
	uint32_t count;
	struct list buckets[TUNNEL_BUCKETS];
};

static uint64_t target_hash(const struct tunnel_target *k)
{
	struct {
		const void *scope, *ctx, *san;
		uint8_t dst[16], src[16];
		uint64_t port;
	} v = {k->scope, k->ctx, k->sans_count ? k->sans[0] : NULL, {0}, {0}, k->dst.port};

	memcpy(v.dst, k->dst.ip.b, sizeof(v.dst));
	memcpy(v.src, k->src_ip.b, sizeof(v.src));
	return XXH3_64bits(&v, sizeof(v));
}

static bool matches(const struct tunnel *t, const struct tunnel_target *k, uint64_t hash)
{
	return t->hash == hash && t->scope == k->scope && t->ctx == k->ctx &&
	       t->sans_count == k->sans_count && addr_eq(&t->dst, &k->dst) &&
	       ip_eq(&t->src_ip, &k->src_ip) &&
	       memcmp(t->sans, k->sans, k->sans_count * sizeof(t->sans[0])) == 0;
}

static uint32_t room(const struct tunnel *t)
{
	uint32_t limit = t->pool->config.streams_max;
	uint32_t used = link_streams(t->link) + t->reserved;

	if (t->link->h2)
		limit = MIN(limit, h2_peer_streams_max(t->link->h2));
	return used < limit ? limit - used : 0;
}

static void unpool(struct tunnel *t)
{
	list_del(&t->bucket);
}

static void answer(struct tunnel *t, struct tunnel_request *r, int error)
{
	list_del(&r->link);
	r->answered = true;
	r->error = error;
	if (error) {
		r->tunnel = NULL;
		snprintf(r->error_text, sizeof(r->error_text), "%s",
			 error == t->link->error ? t->link->error_text : err_text(error));
	} else {
		t->reserved++;
		timer_arm(&t->pool->w->timers, &t->unused, t->pool->config.unused_ms);
	}
	task_ready(&t->pool->w->run, r->done);
}

static void tunnel_free(struct tunnel *t)
{
	CHECK(list_empty(&t->waiting) && t->reserved == 0);
	timer_disarm(&t->pool->w->timers, &t->unused);
	task_cancel(&t->unused_task);
	task_cancel(&t->task);
	if (t->up)
		series_add(t->pool->config.up, -1);
	unpool(t);
	list_del(&t->all);
	t->pool->count--;
	link_free(t->link);
	tls_ctx_put(t->ctx);
	for (uint32_t i = 0; i < t->sans_count; i++)
		rstr_put(t->sans[i]);
	free(t);
}

static void report(struct tunnel *t, int error)
{
	const struct link *l = t->link;

	if (!t->pool->config.connected)
		return;
	t->pool->config.connected(t->scope, l->opened_ns ? l->opened_ns - l->began_ns : 0,
				  l->established_ns ? l->established_ns - l->opened_ns : 0, error);
}

static void ask_again(struct tunnel *t, struct tunnel_request *r, uint8_t moves);

/* Those who wait get the link, or its error, or wait for another one. */
static void answer_all(struct tunnel *t)
{
	bool dead = t->link->state == LINK_DEAD;
	int error = t->link->error ? t->link->error : ERR_CLOSED;
	bool useful = false;

	if (list_empty(&t->waiting))
		return;
	report(t, dead ? error : 0);
	if (error == ERR_CONNECT_TIMEOUT)
		error = ERR_HBONE_TIMEOUT;
	list_for_each_safe(node, tmp, &t->waiting) {
		struct tunnel_request *r = list_entry(node, struct tunnel_request, link);

		if (dead) {
			answer(t, r, error);
		} else if (t->link->state == LINK_OPEN && room(t) > 0) {
			answer(t, r, 0);
			useful = true;
		} else if (useful || r->moves < TUNNEL_MOVES_MAX) {
			ask_again(t, r, useful ? r->moves : r->moves + 1);
		} else {
			answer(t, r, ERR_H2_GOAWAY);
		}
	}
}

/* The link became usable, or died. */
static void changed(struct task *task)
{
	struct tunnel *t = container_of(task, struct tunnel, task);
	bool dead = t->link->state == LINK_DEAD;

	if (t->link->state < LINK_OPEN)
		return;
	if (!dead && !t->up) {
		t->up = true;
		series_add(t->pool->config.up, 1);
	}
	if (dead || t->link->state == LINK_DRAINING)
		unpool(t);
	/* whoever asked for it may have left: it is idle from its birth */
	else if (!list_empty(&t->bucket) && !timer_armed(&t->unused))
		timer_arm(&t->pool->w->timers, &t->unused, t->pool->config.unused_ms);
	answer_all(t);
	if (dead && t->reserved == 0)
		tunnel_free(t);
}

static void unused(struct task *task)
{
	struct tunnel *t = container_of(task, struct tunnel, unused_task);

	unpool(t);
	if (t->reserved == 0)
		link_drain(t->link);
}

static struct tunnel *tunnel_new(struct tunnels *pool, const struct tunnel_target *k, uint64_t hash)
{
	struct tunnel *t = calloc(1, sizeof(*t) + k->sans_count * sizeof(t->sans[0]));

	if (!t)
		return NULL;
	t->pool = pool;
	t->hash = hash;
	t->scope = k->scope;
	t->ctx = tls_ctx_get(k->ctx);
	t->dst = k->dst;
	t->src_ip = k->src_ip;
	t->sans_count = k->sans_count;
	for (uint32_t i = 0; i < k->sans_count; i++)
		t->sans[i] = rstr_get((struct rstr *)k->sans[i]);
	list_init(&t->waiting);
	list_init(&t->bucket);
	list_init(&t->all);
	task_init(&t->task, changed);
	task_init(&t->unused_task, unused);
	timer_init(&t->unused, &t->unused_task);
	return t;
}

static void key_free(struct tunnel *t)
{
	tls_ctx_put(t->ctx);
	for (uint32_t i = 0; i < t->sans_count; i++)
		rstr_put(t->sans[i]);
	free(t);
}

/* Begins to connect. 0 or a negative code; the tunnel stands in the pool afterwards. */
static int dial(struct tunnels *pool, const struct tunnel_target *k, uint64_t hash,
		struct tunnel **out)
{
	struct str want[TUNNEL_SANS_MAX];
	struct conn *conn;
	struct tunnel *t;
	int fd;

	fd = pool->config.open_socket(k->scope, &k->dst);
	if (fd < 0)
		return fd;
	conn = conn_connect(pool->w, fd, &k->dst, pool->config.connect_ms);
	if (!conn)
		return ERR_LIMIT;
	t = tunnel_new(pool, k, hash);
	if (!t) {
		conn->ep.ops->close(&conn->ep, ERR_NOMEM);
		return ERR_NOMEM;
	}
	for (uint32_t i = 0; i < k->sans_count; i++)
		want[i] = rstr_str(k->sans[i]);
	t->link = link_client(pool->w, &conn->ep, k->ctx, want, k->sans_count, &pool->config.link);
	if (!t->link) {
		key_free(t);
		return ERR_NOMEM;
	}
	link_attach(t->link, &pool->w->run, &t->task);
	list_add_tail(&pool->all, &t->all);
	list_add_tail(&pool->buckets[hash % TUNNEL_BUCKETS], &t->bucket);
	pool->count++;
	*out = t;
	return 0;
}

static struct tunnel *find(struct tunnels *pool, const struct tunnel_target *k, uint64_t hash)
{
	struct tunnel *connecting = NULL;

	list_for_each(node, &pool->buckets[hash % TUNNEL_BUCKETS]) {
		struct tunnel *t = list_entry(node, struct tunnel, bucket);

		if (!matches(t, k, hash))
			continue;
		if (t->link->state == LINK_OPEN && room(t) > 0)
			return t;
		if (t->link->state < LINK_OPEN)
			connecting = t;
	}
	return connecting;
}

void tunnels_ask(struct tunnels *pool, const struct tunnel_target *k, struct tunnel_request *r,
		 struct task *done)
{
	uint64_t hash = target_hash(k);
	struct tunnel *t;
	int err = 0;

	CHECK(k->sans_count <= TUNNEL_SANS_MAX);
	*r = (struct tunnel_request){.done = done};
	list_init(&r->link);
	t = find(pool, k, hash);
	if (!t)
		err = dial(pool, k, hash, &t);
	if (err) {
		r->answered = true;
		r->error = err;
		snprintf(r->error_text, sizeof(r->error_text), "%s", err_text(err));
		task_ready(&pool->w->run, done);
		return;
	}
	r->tunnel = t;
	if (t->link->state == LINK_OPEN)
		answer(t, r, 0);
	else
		list_add_tail(&t->waiting, &r->link);
}

/* The tunnel it waited for is full: the request waits for another one of the same key. */
static void ask_again(struct tunnel *t, struct tunnel_request *r, uint8_t moves)
{
	struct tunnel_target k = {.scope = t->scope,
				  .dst = t->dst,
				  .src_ip = t->src_ip,
				  .ctx = t->ctx,
				  .sans_count = t->sans_count};

	memcpy(k.sans, t->sans, t->sans_count * sizeof(t->sans[0]));
	list_del(&r->link);
	tunnels_ask(t->pool, &k, r, r->done);
	r->moves = moves;
}

static void unreserve(struct tunnel *t)
{
	t->reserved--;
	if (t->reserved == 0 && t->link->state == LINK_DEAD)
		task_ready(&t->pool->w->run, &t->task);
	else if (t->reserved == 0 && list_empty(&t->bucket))
		link_drain(t->link);
}

void tunnel_cancel(struct tunnel_request *r)
{
	struct tunnel *t = r->tunnel;

	if (!t)
		return;
	r->tunnel = NULL;
	if (r->answered) {
		unreserve(t);
		return;
	}
	list_del(&r->link);
	/* out of the pool, nobody else can come to want it */
	if (list_empty(&t->waiting) && list_empty(&t->bucket) && t->reserved == 0)
		link_drain(t->link);
}

int tunnel_open(struct tunnel_request *r, const struct header *head, size_t n,
		struct h2_stream **out)
{
	struct tunnel *t = r->tunnel;
	int err;

	CHECK(t && r->answered && !r->error);
	r->tunnel = NULL;
	err = link_open(t->link, head, n, out);
	unreserve(t);
	return err;
}

void tunnels_drain(struct tunnels *pool, void *scope)
{
	list_for_each_safe(node, tmp, &pool->all) {
		struct tunnel *t = list_entry(node, struct tunnel, all);

		if (t->scope != scope)
			continue;
		unpool(t);
		if (t->reserved == 0 && list_empty(&t->waiting))
			link_drain(t->link);
	}
}

/* Ends a tunnel now; who waits for it is told. */
static void end(struct tunnel *t, int reason)
{
	unpool(t);
	link_kill(t->link, reason);
	list_for_each_safe(node, tmp, &t->waiting)
		answer(t, list_entry(node, struct tunnel_request, link), reason);
}

void tunnels_kill(struct tunnels *pool, void *scope, int reason)
{
	list_for_each_safe(node, tmp, &pool->all) {
		struct tunnel *t = list_entry(node, struct tunnel, all);

		if (t->scope == scope)
			end(t, reason);
	}
}

uint32_t tunnels_judge(struct tunnels *pool, bool (*judge)(void *arg, const struct tls_peer *peer),
		       void *arg, int reason)
{
	uint32_t ended = 0;

	list_for_each_safe(node, tmp, &pool->all) {
		struct tunnel *t = list_entry(node, struct tunnel, all);
		const struct tls_peer *peer = link_peer(t->link);

		if (!peer || !judge(arg, peer))
			continue;
		end(t, reason);
		ended++;
	}
	return ended;
}

uint32_t tunnels_count(const struct tunnels *pool)
{
	return pool->count;
}

struct tunnels *tunnels_new(struct worker *w, const struct tunnels_config *config)
{
	struct tunnels *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->w = w;
	pool->config = *config;
	list_init(&pool->all);
	for (size_t i = 0; i < TUNNEL_BUCKETS; i++)
		list_init(&pool->buckets[i]);
	return pool;
}

void tunnels_free(struct tunnels *pool)
{
	list_for_each_safe(node, tmp, &pool->all) {
		struct tunnel *t = list_entry(node, struct tunnel, all);

		end(t, ERR_CLOSED);
		CHECK(t->reserved == 0);
		tunnel_free(t);
	}
	free(pool);
}
