/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/mesh.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/control/certs.h"
#include "shared/control/static_file.h"
#include "shared/io/backend.h"
#include "shared/io/conn.h"
#include "shared/obs/metrics.h"
#include "shared/wire/tls_ctx.h"
#include "tests/unit/failalloc.h"
#include "ztunnel/flow.h"
#include "ztunnel/proxy.h"

enum { NS_FIRST = 2000000, STOP_TURNS = 200 * 1000 };

#define HOST(name, net, host, index)                                                           \
	{                                                                                      \
		name, {{4, {10, net, 0, host}}, 0}, {{16, {0xfd, 0, 0, net, [15] = host}}, 0}, \
			NS_FIRST + (index)                                                     \
	}

struct mesh_host mesh_hosts[MESH_PODS + 1] = {
	HOST("a1", 1, 1, 0), HOST("a2", 1, 2, 1), HOST("b1", 2, 1, 2),
	HOST("b2", 2, 2, 3), HOST("x", 9, 1, 4),
};

/* The linker leads getrandom() here, so that keys, and with them sizes and times, are those of the seed. */
static struct rng randomness;
ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags);

ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)rng_next(&randomness);
	return (ssize_t)n;
}

/* Shards stay for the life of the process. */
static struct metrics_shard *shards[2 * MESH_NODES + 1];

static struct metrics_shard *shard(int i)
{
	if (!shards[i])
		shards[i] = metrics_shard_new();
	CHECK(shards[i]);
	return shards[i];
}

/* ---- certificates ---- */

static void source_fetch(struct certs_source *base, struct certs_fetch *f)
{
	struct mesh_source *s = container_of(base, struct mesh_source, base);

	CHECK(s->count < MESH_CERTS_MAX);
	s->waiting[s->count++] = f;
}

static void source_cancel(struct certs_source *base, struct certs_fetch *f)
{
	struct mesh_source *s = container_of(base, struct mesh_source, base);

	for (uint32_t i = 0; i < s->count; i++)
		if (s->waiting[i] == f)
			s->waiting[i] = s->waiting[--s->count];
}

static void source_free(struct certs_source *base)
{
	free(container_of(base, struct mesh_source, base));
}

static const struct certs_source_ops source_ops = {source_fetch, source_cancel, source_free};

static void source_answer(struct mesh_source *s)
{
	struct mesh *m = s->mesh;
	struct certs_fetch *f;
	struct testcert leaf;

	if (s->count == 0 || rng_below(&m->rng, 4))
		return;
	f = s->waiting[--s->count];
	if (rng_below(&m->rng, 1000) < m->limits.cert_failures) {
		certs_fetch_failed(f, ERR_CERT_FETCH, "the authority is away");
		return;
	}
	leaf = testca_leaf(&m->ca, f->identity.p, 3600, 0);
	certs_fetch_done(f, str_of(leaf.pem), str_of(leaf.key_pem), str_of(m->ca.pem));
	testcert_free(&leaf);
}

/* ---- state ---- */

static int put_workload(char *at, size_t room, int pod, bool deny)
{
	const struct mesh_host *h = &mesh_hosts[pod];
	bool server = h->name[0] == 'b';
	char ip[ADDR_TEXT_MAX], ip6[ADDR_TEXT_MAX];

	return snprintf(
		at, room,
		"- {uid: \"c//Pod/ns/%s\", name: %s, namespace: ns, serviceAccount: %s,\n"
		"   trustDomain: td, workloadIps: [\"%s\", \"%s\"], protocol: HBONE, node: node%d,\n"
		"   services: {%s}%s}\n",
		h->name, h->name, h->name, ip_text(&h->at.ip, ip), ip_text(&h->at6.ip, ip6), server,
		server ? "\"ns/svc.ns\": {80: 8080}" : "",
		deny && pod == 2 ? ", authorizationPolicies: [\"ns/no\"]" : "");
}

static void load(struct mesh_node *n, bool deny)
{
	struct batch_result result;
	struct static_report report;
	static char text[8192];
	size_t at = 0;

	at += (size_t)snprintf(text, sizeof(text), "workloads:\n");
	for (int pod = 0; pod < MESH_PODS; pod++)
		at += (size_t)put_workload(text + at, sizeof(text) - at, pod, deny);
	at += (size_t)snprintf(
		text + at, sizeof(text) - at,
		"services:\n"
		"- {name: svc, namespace: ns, hostname: svc.ns, vips: [\"/10.96.0.1\", \"/fd00:96::1\"],\n"
		"   ports: {80: 8080}}\n");
	if (deny)
		at += (size_t)snprintf(
			text + at, sizeof(text) - at,
			"policies:\n"
			"- {name: \"no\", namespace: ns, scope: WorkloadSelector, action: Deny,\n"
			"   dryRun: false, rules: [[[{principals: [{Exact: td/ns/ns/sa/a1}]}]]]}\n");
	CHECK(at < sizeof(text));
	if (static_load_text(n->app.world, (struct str){text, at}, "sim", &result, &report)) {
		for (uint32_t i = 0; i < static_report_lines(&report); i++)
			fprintf(stderr, "%s\n", report.line[i]);
		CHECK(!"the state loads");
	}
	static_report_fini(&report);
}

void mesh_publish(struct mesh *m, bool deny)
{
	m->denied = deny;
	for (int i = 0; i < MESH_NODES; i++) {
		load(&m->nodes[i], deny);
		proxy_ops.recheck(&m->nodes[i].aw);
	}
}

static struct mesh_node *node_of(struct mesh *m, int pod)
{
	return &m->nodes[pod / 2];
}

void mesh_renew(struct mesh *m, int pod)
{
	char identity[64];

	snprintf(identity, sizeof(identity), "spiffe://td/ns/ns/sa/%s", mesh_hosts[pod].name);
	certs_refresh(node_of(m, pod)->app.certs, str_of(identity));
}

/* ---- pods ---- */

static char *pod_uid(int pod)
{
	static char uid[16];

	snprintf(uid, sizeof(uid), "uid-%s", mesh_hosts[pod].name);
	return uid;
}

void mesh_pod_add(struct mesh *m, int pod)
{
	const struct mesh_host *h = &mesh_hosts[pod];
	struct pod_spec spec = {
		.kind = POD_ANNOUNCED,
		.uid = str_of(pod_uid(pod)),
		.name = str_of(h->name),
		.ns = STR("ns"),
		.sa = str_of(h->name),
		.netns_fd = h->ns,
	};
	char error[POD_ERROR_MAX];

	int err = pods_add(node_of(m, pod)->app.pods, &spec, error);

	/* the node may be on its way out */
	CHECK(err == 0 || err == ERR_DRAINED);
}

void mesh_pod_del(struct mesh *m, int pod)
{
	pods_del(node_of(m, pod)->app.pods, str_of(pod_uid(pod)));
}

/* ---- beginning ---- */

static struct worker *make_worker(const char *name, const struct bufpool_limits *bufs,
				  struct epoch *epoch, int shard_index)
{
	struct worker_config c = {
		.name = name, .io_backend = "sim", .buf_limits = *bufs, .epoch = epoch};
	struct worker *w;

	CHECK(worker_new(&c, &w) == 0);
	w->metrics = shard(shard_index);
	return w;
}

static void start_node(struct mesh *m, int index)
{
	static char *const environ_of[MESH_NODES][7] = {
		{"NODE_NAME=node0", "ZTUNNEL_WORKER_THREADS=1", "FAKE_CA=true", "XDS_ADDRESS=",
		 "HTTP2_STREAM_WINDOW_SIZE=524288", "UNSTABLE_ENABLE_SOCKS5=true", NULL},
		{"NODE_NAME=node1", "ZTUNNEL_WORKER_THREADS=1", "FAKE_CA=true", "XDS_ADDRESS=",
		 "HTTP2_STREAM_WINDOW_SIZE=524288", "UNSTABLE_ENABLE_SOCKS5=true", NULL},
	};
	const struct bufpool_limits plenty = {.slots_max = 64, .bytes_max = 64 << 20};
	struct config_source source = {.environ = environ_of[index], .mesh_path = "/nowhere"};
	struct mesh_node *n = &m->nodes[index];
	struct tls_options tls = {0};
	struct certs_config certs = {.tls = &tls};
	struct world_config world = {.network = STR(""),
				     .node_name = str_of(index ? "node1" : "node0")};
	char error[CONFIG_ERROR_MAX];

	CHECK(config_load(&source, &n->config, error) == 0);
	n->app.config = n->config;
	n->app.proxy = &proxy_ops;
	n->app.epoch = epoch_new(2);
	n->app.control = make_worker("control", &plenty, n->app.epoch, 2 * index);
	n->app.world = world_new(&world, n->app.epoch);
	n->source = calloc(1, sizeof(*n->source));
	CHECK(n->app.epoch && n->app.world && n->source);
	n->source->base.ops = &source_ops;
	n->source->mesh = m;
	certs.control = n->app.control;
	certs.source = &n->source->base;
	CHECK(certs_new(&certs, &n->app.certs) == 0);
	n->aw.app = &n->app;
	n->aw.w = make_worker("data", &m->limits.bufs, n->app.epoch, 2 * index + 1);
	n->aw.w->user = &n->aw;
	list_init(&n->aw.pods);
	n->app.workers = &n->aw;
	n->app.workers_count = 1;
	CHECK(proxy_ops.worker_start(&n->aw) == 0);
	n->app.pods = pods_new(&n->app);
	CHECK(n->app.pods);
}

void mesh_start(struct mesh *m, uint64_t seed, const struct mesh_limits *limits)
{
	const struct bufpool_limits plenty = {.slots_max = 1024, .bytes_max = 256 << 20};

	rng_init(&m->rng, seed);
	rng_init(&randomness, seed);
	m->limits = *limits;
	m->ca = testca_new("root", NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(mesh_hosts); i++) {
		fakenet_host(mesh_hosts[i].ns, &mesh_hosts[i].at);
		fakenet_host(mesh_hosts[i].ns, &mesh_hosts[i].at6);
	}
	for (int i = 0; i < MESH_NODES; i++)
		start_node(m, i);
	m->apps = make_worker("apps", &plenty, NULL, 2 * MESH_NODES);
	for (int i = 0; i < MESH_NODES; i++)
		load(&m->nodes[i], false);
	for (int pod = 0; pod < MESH_PODS; pod++)
		mesh_pod_add(m, pod);
}

/* ---- turns ---- */

static void turn_data(struct mesh *m, struct mesh_node *n)
{
	bool fails = rng_below(&m->rng, 1000) < m->limits.alloc_failures;

	if (fails)
		failalloc_begin((uint32_t)rng_below(&m->rng, 30));
	worker_turn(n->aw.w, NS_PER_MS);
	if (fails)
		failalloc_end();
	if (m->check)
		m->check(m, n);
}

static void turn_control(struct mesh_node *n)
{
	source_answer(n->source);
	worker_turn(n->app.control, NS_PER_MS);
	world_reclaim(n->app.world);
	epoch_reclaim(n->app.epoch);
}

void mesh_turn(struct mesh *m)
{
	uint32_t first = (uint32_t)rng_below(&m->rng, 5);

	m->turns++;
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t who = (first + i) % 5;

		if (who == 4)
			worker_turn(m->apps, NS_PER_MS);
		else if (who < 2)
			turn_data(m, &m->nodes[who]);
		else
			turn_control(&m->nodes[who - 2]);
	}
}

/* ---- end ---- */

static void stop_node(struct mesh *m, struct mesh_node *n)
{
	struct proxy_worker *p = n->aw.proxy;

	CHECK(n->aw.connections == 0);
	CHECK(list_empty(&n->aw.pods) && list_empty(&p->flows) && list_empty(&p->hbone));
	CHECK(tunnels_count(p->tunnels) == 0);
	pods_free(n->app.pods);
	proxy_ops.worker_stop(&n->aw);
	CHECK(n->aw.w->io->conns == 0 && n->aw.w->io->slot_used == 0);
	CHECK(bufpool_bytes(n->aw.w->bufs, BUF_KINDS) == 0);
	worker_free(n->aw.w);
	for (int i = 0; i < 1000 && n->source->count > 0; i++)
		turn_control(n);
	certs_free(n->app.certs);
	world_free(n->app.world);
	worker_free(n->app.control);
	epoch_free(n->app.epoch);
	config_free(n->config);
	(void)m;
}

void mesh_print(const struct mesh *m)
{
	for (int i = 0; i < MESH_NODES; i++) {
		const struct worker *w = m->nodes[i].aw.w;
		struct proxy_worker *p = m->nodes[i].aw.proxy;
		const struct io_stats *s = &w->io->stats;

		fprintf(stderr,
			"node %d: %u sockets, slots %lu slabs %lu heap %lu bytes, starved %lu, no slab %lu\n",
			i, w->io->conns, (unsigned long)bufpool_bytes(w->bufs, BUF_SLOT),
			(unsigned long)bufpool_bytes(w->bufs, BUF_SLAB),
			(unsigned long)bufpool_bytes(w->bufs, BUF_HEAP), (unsigned long)s->starved,
			(unsigned long)s->slabs_refused);
		for (uint32_t k = 0; k < w->io->slot_cap; k++) {
			const struct io_slot *slot = &w->io->slots[k];
			const struct conn *c = slot->obj;

			if (!c || slot->next != IO_CONN)
				continue;
			fprintf(stderr,
				"  socket: state %u owed %u%s%s rx %u uncredited %u tx %u in %u slices\n",
				c->state, c->owed, c->ep.urgent ? " urgent" : "",
				list_empty(&c->ready) ? "" : " starved", c->ep.rx.bytes,
				c->uncredited, c->tx.bytes, c->tx.count);
		}
		list_for_each(node, &p->flows) {
			const struct flow *f = list_entry(node, struct flow, link);
			const struct relay *r = &f->relay;

			if (!r->running)
				continue;
			fprintf(stderr,
				"  flow: a %u in flight, rx %u tx %u; b %u in flight, rx %u tx %u\n",
				r->a.in_flight, r->a.ep->rx.bytes, r->a.ep->tx_pending,
				r->b.in_flight, r->b.ep->rx.bytes, r->b.ep->tx_pending);
		}
	}
}

static bool pods_left(const struct mesh *m)
{
	for (int i = 0; i < MESH_NODES; i++)
		if (pods_live(m->nodes[i].app.pods) || m->nodes[i].aw.w->io->slot_used > 0)
			return true;
	return false;
}

void mesh_stop(struct mesh *m)
{
	m->limits.alloc_failures = m->limits.cert_failures = 0;
	for (int i = 0; i < MESH_NODES; i++)
		pods_kill(m->nodes[i].app.pods, ERR_DRAINED);
	for (int i = 0; i < STOP_TURNS && (pods_left(m) || m->apps->io->slot_used > 0); i++)
		mesh_turn(m);
	CHECK(!pods_left(m));
	for (int i = 0; i < MESH_NODES; i++)
		stop_node(m, &m->nodes[i]);
	CHECK(m->apps->io->slot_used == 0);
	worker_free(m->apps);
	testca_free(&m->ca);
}
