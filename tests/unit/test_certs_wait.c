/* SPDX-License-Identifier: Apache-2.0 */
/* certs.c with its threads: workers ask while the control thread fetches, renews and forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <pthread.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/control/certs.h"
#include "shared/control/dev_ca.h"
#include "shared/wire/tls_ctx.h"

#define ID(n) "spiffe://td/ns/default/sa/" #n

enum { WORKERS = 2, ROUNDS = 40 };

struct user {
	struct worker *w;
	struct certs *certs;
	struct task task;
	struct certs_wait wait;
	struct timer pause;
	int round, answers, errors;
	bool asked;
	pthread_t thread;
};

static char dir[64];
static struct epoch *epoch;
static struct worker *control;
static struct certs *certs;

static void done(struct user *u)
{
	struct tls_ctx *ctx = u->wait.ctx;

	u->asked = false;
	if (u->wait.error) {
		assert_null(ctx);
		assert_true(u->wait.why[0] != '\0');
		u->errors++;
		return;
	}
	assert_non_null(ctx);
	assert_true(strncmp(tls_ctx_identity(ctx), ID(), sizeof(ID()) - 1) == 0);
	tls_ctx_put(ctx);
	u->wait.ctx = NULL;
	u->answers++;
}

/* Asks again and again; withdraws now and then. */
static void use(struct task *task)
{
	static const struct str id[] = {{ID(a), sizeof(ID(a)) - 1}, {ID(b), sizeof(ID(b)) - 1}};
	struct user *u = container_of(task, struct user, task);

	if (u->asked && (u->wait.ctx || u->wait.error))
		done(u);
	if (u->asked && u->round % 5 == 0) {
		certs_wait_cancel(&u->wait);
		u->asked = false;
	}
	if (u->asked)
		return;
	if (u->round++ == ROUNDS) {
		worker_stop(u->w);
		return;
	}
	u->asked = true;
	certs_wait(u->certs, u->w, id[u->round % 2], &u->wait, &u->task);
	/* also from time to time, so that a withdrawn question does not end it all */
	timer_arm(&u->w->timers, &u->pause, 2);
}

static void *thread(void *arg)
{
	struct user *u = arg;

	worker_run(u->w);
	return NULL;
}

static struct worker *new_worker(const char *name)
{
	struct worker_config c = {
		.name = name,
		.io_backend = "epoll",
		.buf_limits = {.slots_max = 16, .bytes_max = 16 << 20, .slabs_cached = 1},
		.epoch = epoch};
	struct worker *w;

	assert_int_equal(worker_new(&c, &w), 0);
	return w;
}

static void set_up(uint32_t lifetime_s)
{
	struct tls_options tls = {.tls12 = false};
	struct certs_config c = {.tls = &tls};
	char why[DEV_CA_WHY_MAX];

	snprintf(dir, sizeof(dir), "/tmp/gauze-test-certs-XXXXXX");
	assert_non_null(mkdtemp(dir));
	epoch = epoch_new(8);
	control = new_worker("control");
	assert_int_equal(dev_ca_new(dir, lifetime_s, &c.source, why), 0);
	c.control = control;
	assert_int_equal(certs_new(&c, &certs), 0);
}

static void tear_down(void)
{
	static const char *const names[] = {"root-cert.pem", "root-key.pem", "lock"};
	char path[128];

	worker_free(control);
	epoch_free(epoch);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void workers_ask_while_identities_come_and_go(void **state)
{
	struct user u[WORKERS] = {0};

	(void)state;
	set_up(3600);
	for (int i = 0; i < WORKERS; i++) {
		u[i].w = new_worker("data");
		u[i].certs = certs;
		task_init(&u[i].task, use);
		timer_init(&u[i].pause, &u[i].task);
		task_ready(&u[i].w->run, &u[i].task);
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&u[i].thread, NULL, thread, &u[i]), 0);
	for (int turn = 0; turn < 20000; turn++) {
		bool all = true;
		worker_turn(control, NS_PER_MS);
		if (turn % 3 == 0)
			certs_forget(certs, STR(ID(a)));
		if (turn % 4 == 0)
			certs_refresh(certs, STR(ID(b)));
		if (turn % 5 == 0)
			certs_prefetch(certs, STR(ID(a)));
		for (int i = 0; i < WORKERS; i++)
			all = all && __atomic_load_n(&u[i].w->stopping, __ATOMIC_ACQUIRE);
		if (all)
			break;
	}
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(u[i].thread, NULL), 0);
		assert_true(u[i].answers > 0);
	}
	/* Questions still on their way are answered to workers that have ended. */
	worker_turn(control, 0);
	certs_free(certs);
	for (int i = 0; i < WORKERS; i++) {
		timer_disarm(&u[i].w->timers, &u[i].pause);
		task_cancel(&u[i].task);
		worker_free(u[i].w);
	}
	tear_down();
}

static int turns_until_current(const char *id, struct tls_ctx *other_than)
{
	for (int i = 0; i < 4000; i++) {
		worker_turn(control, NS_PER_MS);
		struct tls_ctx *ctx = certs_current(certs, str_of(id));
		tls_ctx_put(ctx);
		if (ctx && ctx != other_than)
			return i;
	}
	return -1;
}

/* Short-lived certificates are renewed by the clock alone. */
static void renews_by_itself(void **state)
{
	(void)state;
	set_up(3);
	certs_prefetch(certs, STR(ID(a)));
	assert_true(turns_until_current(ID(a), NULL) >= 0);
	struct tls_ctx *first = certs_current(certs, STR(ID(a)));
	assert_true(turns_until_current(ID(a), first) >= 0);
	tls_ctx_put(first);
	certs_free(certs);
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workers_ask_while_identities_come_and_go),
		cmocka_unit_test(renews_by_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
