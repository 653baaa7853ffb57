/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TLS costs by itself, in memory and on one core: handshakes of both sides, sealing and opening of records, and the
 * memory that an established session keeps.
 *
 *	bench_handshake [SECONDS]
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/testca.h"
#include "tests/unit/tls_pair.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

enum { SESSIONS = 500, RECORDS = 16 };

static const struct str want = {SERVER, sizeof(SERVER) - 1};

/* CPU time of this thread: other jobs on the machine do not count. */
static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct cost {
	double client, server, set_up; /* seconds */
	unsigned count;
};

static void one_handshake(struct tls_ctx *cc, struct tls_ctx *sc, struct bufpool *pool,
			  struct cost *c)
{
	struct bufq to_s = {0}, to_c = {0};

	double at = cpu_s();
	struct tls *client = tls_client_new(cc, &want, 1), *server = tls_server_new(sc);
	CHECK(client && server);
	c->set_up += cpu_s() - at;
	while (!tls_established(client) || !tls_established(server)) {
		at = cpu_s();
		CHECK(tls_feed(client, &to_c) == 0);
		if (tls_wants_step(client))
			CHECK(tls_step(client, pool, &to_s) == 0);
		double between = cpu_s();
		CHECK(tls_feed(server, &to_s) == 0);
		if (tls_wants_step(server))
			CHECK(tls_step(server, pool, &to_c) == 0);
		c->client += between - at;
		c->server += cpu_s() - between;
	}
	at = cpu_s();
	tls_free(client);
	tls_free(server);
	bufq_fini(&to_s);
	bufq_fini(&to_c);
	c->set_up += cpu_s() - at;
	c->count++;
}

static void handshakes(const char *name, struct tls_ctx *cc, struct tls_ctx *sc,
		       struct bufpool *pool, double seconds)
{
	struct cost c = {0};
	double end = cpu_s() + seconds;

	while (cpu_s() < end)
		one_handshake(cc, sc, pool, &c);
	double n = c.count, sum = c.client + c.server + c.set_up;
	printf("handshake %-22s client %6.1f us  server %6.1f us  objects %5.1f us  both sides %6.0f/s\n",
	       name, c.client / n * 1e6, c.server / n * 1e6, c.set_up / n * 1e6, n / sum);
}

/* Seals RECORDS of n bytes side by side into one block and opens them in place, as a link does with a slab. */
static void records(struct pair *p, size_t n, double seconds)
{
	struct buf *block = bufpool_slab(p->pool);
	size_t stride = n + TLS_ROOM_HEAD + TLS_ROOM_TAIL, sealed = 0;
	double seal = 0, opened = 0;
	uint64_t bytes = 0;
	uint32_t len[RECORDS], at[RECORDS];

	CHECK(block && stride * RECORDS <= block->cap);
	while (seal + opened < seconds) {
		double t0 = cpu_s();
		for (int i = 0; i < RECORDS; i++) {
			uint8_t *out;
			CHECK(tls_seal(p->c, block->data + (size_t)i * stride + TLS_ROOM_HEAD, n,
				       &out, &sealed) == 0);
			at[i] = (uint32_t)(out - block->data);
			len[i] = (uint32_t)sealed;
		}
		double t1 = cpu_s();
		struct bufq in = {0}, out = {0};
		bool more = true;
		for (int i = 0; i < RECORDS; i++)
			CHECK(bufq_push(&in, block, at[i], len[i]) == 0);
		CHECK(tls_feed(p->s, &in) == 0);
		while (more)
			CHECK(tls_open(p->s, p->pool, &out, &more) == 0);
		CHECK(out.bytes == n * RECORDS);
		double t2 = cpu_s();
		bufq_fini(&out);
		seal += t1 - t0;
		opened += t2 - t1;
		bytes += n * RECORDS;
		if (tls_wants_step(p->c))
			CHECK(tls_step(p->c, p->pool, &p->to_s) == 0 &&
			      tls_feed(p->s, &p->to_s) == 0);
	}
	double gb = (double)bytes / 1e9, count = (double)bytes / (double)n;
	printf("records of %5zu bytes  seal %5.2f GB/s (%4.2f s/GB, %5.2f us)  open %5.2f GB/s (%4.2f s/GB, %5.2f us)\n",
	       n, gb / seal, seal / gb, seal / count * 1e6, gb / opened, opened / gb,
	       opened / count * 1e6);
	buf_put(block);
}

static size_t heap_in_use(void)
{
	return mallinfo2().uordblks;
}

static void memory(struct tls_ctx *cc, struct tls_ctx *sc)
{
	static struct pair p[SESSIONS];
	struct bufq got = {0};
	size_t before = heap_in_use(), pools = 0;

	for (int i = 0; i < SESSIONS; i++) {
		size_t b = heap_in_use();
		struct bufpool *pool = pair_pool();
		pools += heap_in_use() - b;
		bufpool_free(pool);
		pair_open(&p[i], cc, sc, &want, 1);
	}
	size_t begun = heap_in_use();
	for (int i = 0; i < SESSIONS; i++)
		pair_shake(&p[i]);
	for (int i = 0; i < SESSIONS; i++) {
		CHECK(pair_send(&p[i], p[i].c, &p[i].to_s, 'x', 16384) == 0);
		CHECK(pair_recv(&p[i], p[i].s, &p[i].to_s, &got) == 0);
		bufq_fini(&got);
	}
	size_t after = heap_in_use();
	printf("memory of a session, mean of both sides: %zu bytes established (%zu before the handshake)\n",
	       (after - before - pools) / (2 * SESSIONS),
	       (begun - before - pools) / (2 * SESSIONS));
	for (int i = 0; i < SESSIONS; i++)
		pair_close(&p[i]);
}

static struct tls_ctx *context(const struct testca *issuer, const char *more, const char *roots,
			       const char *uri, bool pqc)
{
	struct testcert c = testca_leaf(issuer, uri, 3600, 0);
	struct tls_options o = {.pqc_only = pqc};
	struct tls_ctx *ctx = testca_ctx(&c, more, roots, NULL, &o);

	testcert_free(&c);
	return ctx;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1.0;
	struct testca root = testca_new("root", NULL, 0),
		      mid = testca_new("intermediate", &root, 0);
	struct tls_ctx *cc = context(&root, NULL, root.pem, CLIENT, false),
		       *sc = context(&root, NULL, root.pem, SERVER, false),
		       *cm = context(&mid, mid.pem, root.pem, CLIENT, false),
		       *sm = context(&mid, mid.pem, root.pem, SERVER, false);
	struct bufpool *pool = pair_pool();
	struct pair p;

	handshakes("X25519MLKEM768", cc, sc, pool, seconds);
	handshakes("with an intermediate", cm, sm, pool, seconds);
	pair_open(&p, cc, sc, &want, 1);
	pair_shake(&p);
	static const size_t sizes[] = {64, 1024, 16375, 16384};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		records(&p, sizes[i], seconds);
	pair_close(&p);
	memory(cc, sc);
	bufpool_free(pool);
	tls_ctx_put(cc);
	tls_ctx_put(sc);
	tls_ctx_put(cm);
	tls_ctx_put(sm);
	testca_free(&mid);
	testca_free(&root);
	return 0;
}
