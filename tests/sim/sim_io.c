/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections over a network with faults: clients send a pattern to an echo server and check what comes back. Whatever
 * the faults, every flow ends, no byte is wrong, no bound is passed and nothing leaks. SIM_SEED=n runs one seed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fakenet.h"
#include "shared/base/err.h"
#include "shared/base/rng.h"
#include "shared/io/backend.h"
#include "shared/io/conn.h"
#include "shared/io/listen.h"
#include "shared/io/socket.h"
#include "shared/io/worker.h"

enum {
	FLOWS = 24,
	SEEDS = 40,
	TURNS_MAX = 400 * 1000,
	HELD_MAX = CONN_WINDOW_BYTES + BUF_SLOT_BYTES + BUF_SLAB_BYTES,
};

/* One end; the server's echoes, the client's sends and checks. */
struct end {
	struct task task;
	struct worker *w;
	struct conn *c;
	uint32_t charged;
	/* client */
	uint32_t total, sent, got, lag; /* lag: turns it sleeps before it reads */
	unsigned stream;
	int *whole; /* counts flows that ended as they should */
	bool may_fail;
};

static struct addr at;
static struct rng rng;
static int alive;

static uint8_t pattern(uint64_t p, unsigned s)
{
	return (uint8_t)(p * 131 + (p >> 8) * 7 + (p >> 16) * 13 + s);
}

static void end_close(struct end *e, int reason)
{
	task_cancel(&e->task);
	e->c->ep.ops->close(&e->c->ep, reason);
	free(e);
	alive--;
}

static struct end *end_new(struct worker *w, struct conn *c, void (*run)(struct task *))
{
	struct end *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	e->w = w;
	e->c = c;
	task_init(&e->task, run);
	endpoint_attach(&c->ep, &w->run, &e->task);
	alive++;
	return e;
}

/* ---- the server ---- */

static void echo(struct task *task)
{
	struct end *e = container_of(task, struct end, task);
	struct endpoint *ep = &e->c->ep;

	assert_true(e->c->uncredited <= HELD_MAX);
	if (ep->rx.bytes) {
		e->charged += ep->rx.bytes;
		ep->ops->send(ep, &ep->rx);
	}
	if (e->charged > ep->tx_pending) {
		uint32_t n = e->charged - ep->tx_pending;

		e->charged -= n;
		ep->ops->credit(ep, n);
	}
	if (ep->error)
		end_close(e, ep->error);
	else if (ep->eof && ep->tx_pending == 0)
		end_close(e, 0);
}

static void accepted(void *arg, int fd, const struct addr *peer)
{
	struct conn *c = conn_accept(arg, fd, peer, NULL);

	assert_non_null(c);
	assert_true(addr_eq(&c->local, &at));
	end_new(arg, c, echo);
}

/* ---- the clients ---- */

static void check(struct end *e, const struct bufq *rx)
{
	for (uint16_t i = 0; i < rx->count; i++) {
		const struct bslice *s = bufq_at(rx, i);

		for (uint32_t k = 0; k < s->len; k++)
			assert_int_equal(s->buf->data[s->off + k], pattern(e->got + k, e->stream));
		e->got += s->len;
	}
}

static void say_more(struct end *e)
{
	struct endpoint *ep = &e->c->ep;

	while (e->sent < e->total && ep->tx_pending < 200 * 1000) {
		uint32_t n = (uint32_t)MIN(1 + rng_below(&rng, 90 * 1000),
					   (uint64_t)(e->total - e->sent));
		struct buf *b = bufpool_heap(e->w->bufs, n);
		struct bufq q = {0};

		assert_non_null(b);
		for (uint32_t k = 0; k < n; k++)
			b->data[k] = pattern(e->sent + k, e->stream);
		assert_int_equal(bufq_push(&q, b, 0, n), 0);
		buf_put(b);
		ep->ops->send(ep, &q);
		e->sent += n;
	}
	if (e->sent == e->total)
		ep->ops->finish(ep);
}

static void client(struct task *task)
{
	struct end *e = container_of(task, struct end, task);
	struct endpoint *ep = &e->c->ep;

	if (ep->error) {
		assert_true(e->may_fail);
		end_close(e, ep->error);
		return;
	}
	if (e->lag > 0) {
		/* A slow reader: looks again next time. */
		e->lag--;
		task_ready(&e->w->run, &e->task);
		return;
	}
	uint32_t n = ep->rx.bytes;

	check(e, &ep->rx);
	bufq_pop(&ep->rx, n);
	ep->ops->credit(ep, n);
	if (ep->open)
		say_more(e);
	if (ep->eof) {
		assert_int_equal(e->got, e->total);
		(*e->whole)++;
		end_close(e, 0);
	} else if (rng_below(&rng, 5000) == 0 && e->may_fail) {
		end_close(e, rng_below(&rng, 2) ? 0 : -ECONNABORTED);
	} else if (rng_below(&rng, 4) == 0) {
		e->lag = (uint32_t)rng_below(&rng, 50);
	}
}

static void dial(struct worker *w, unsigned stream, bool may_fail, int *whole)
{
	int fd = socket_open(NULL, AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	struct conn *c = conn_connect(w, fd, &at, 2000);

	assert_non_null(c);
	struct end *e = end_new(w, c, client);

	e->stream = stream;
	e->total = (uint32_t)rng_below(&rng, rng_below(&rng, 3) ? 3000 : 1500 * 1000);
	e->may_fail = may_fail;
	e->whole = whole;
}

static int run_seed(uint64_t seed, const struct fakenet_faults *faults)
{
	struct worker_config config = {
		.name = "sim",
		.io_backend = "sim",
		.buf_limits = {.slots_max = 16, .bytes_max = 256 << 20, .slabs_cached = 2},
	};
	bool may_fail = faults->reset || faults->refuse || faults->blackhole || faults->jump;
	struct worker *w;
	struct listener *l;
	bool transparent;
	int whole = 0, turns = 0;

	fakenet_start(seed, faults);
	rng_init(&rng, seed);
	assert_int_equal(addr_parse(STR("10.0.0.1:80"), &at), 0);
	assert_int_equal(worker_new(&config, &w), 0);
	int fd = socket_listen(
		NULL, &(struct socket_listen_options){.bind = at, .family = AF_INET, .backlog = 64},
		&transparent);

	assert_int_equal(listener_start(w, fd, accepted, w, &l), 0);
	for (unsigned i = 0; i < FLOWS; i++) {
		dial(w, i, may_fail, &whole);
		worker_turn(w, 0);
	}
	while ((alive > 0 || w->io->conns > 0) && turns++ < TURNS_MAX)
		worker_turn(w, 50 * NS_PER_MS);
	assert_int_equal(alive, 0);
	assert_int_equal(w->io->conns, 0);
	listener_stop(l, NULL);
	while (w->io->listeners > 0 && turns++ < TURNS_MAX)
		worker_turn(w, 50 * NS_PER_MS);
	assert_int_equal(w->io->slot_used, 0);
	assert_int_equal(w->timers.armed, 0);
	worker_free(w);
	assert_int_equal(fakenet_open(), 0);
	fakenet_stop();
	return whole;
}

static int run(const struct fakenet_faults *faults)
{
	const char *one = getenv("SIM_SEED");
	uint64_t first = one ? strtoull(one, NULL, 0) : 1;
	int whole = 0;

	for (uint64_t seed = first; seed < first + (one ? 1 : SEEDS); seed++)
		whole += run_seed(seed, faults);
	return whole;
}

static void calm(void **state)
{
	(void)state;
	assert_int_equal(run_seed(1, &(struct fakenet_faults){0}), FLOWS);
}

/* Nothing is lost, only late and in pieces: every flow ends well. */
static void slow_and_in_pieces(void **state)
{
	const struct fakenet_faults faults = {
		.split = 300,
		.short_send = 300,
		.delay = 300,
		.starve = 100,
		.no_room = 100,
		.pipe_bytes = 30000,
	};

	(void)state;
	assert_int_equal(run(&faults) % FLOWS, 0);
}

static void tiny_pipes(void **state)
{
	(void)state;
	assert_int_equal(run_seed(2, &(struct fakenet_faults){.pipe_bytes = 700, .delay = 100}),
			 FLOWS);
}

static void everything_breaks(void **state)
{
	const struct fakenet_faults faults = {
		.split = 200,
		.short_send = 200,
		.delay = 300,
		.starve = 100,
		.no_room = 200,
		.reset = 5,
		.refuse = 30,
		.blackhole = 30,
		.jump = 2,
		.pipe_bytes = 100 * 1000,
	};

	(void)state;
	int whole = run(&faults);

	assert_true(whole > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calm),
		cmocka_unit_test(slow_and_in_pieces),
		cmocka_unit_test(tiny_pipes),
		cmocka_unit_test(everything_breaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
