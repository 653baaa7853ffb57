/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/control/certs_table.h"
#include "shared/control/dev_ca.h"
#include "shared/control/read_file.h"
#include "shared/wire/x509.h"
#include "tls_pair.h"

#include <fcntl.h>

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

static char base[64], dir[128], why[DEV_CA_WHY_MAX];

static int set_up(void **state)
{
	(void)state;
	snprintf(base, sizeof(base), "/tmp/gauze-test-ca-XXXXXX");
	assert_non_null(mkdtemp(base));
	snprintf(dir, sizeof(dir), "%s/some/where", base);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"some/where/root-cert.pem", "some/where/root-key.pem",
					    "some/where/lock", "some/where", "some"};
	char path[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, names[i]);
		(void)remove(path);
	}
	return rmdir(base);
}

static struct str contents(const char *name)
{
	char path[256];
	struct str s;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &s), 0);
	return s;
}

static void overwrite(const char *name, struct str with)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(with.p, 1, with.n, f), with.n);
	fclose(f);
}

static mode_t mode_of(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void makes_a_private_folder(void **state)
{
	struct certs_source *s;

	(void)state;
	assert_int_equal(dev_ca_new(dir, 60, &s, why), 0);
	assert_int_equal(mode_of(""), 0700);
	assert_int_equal(mode_of("root-key.pem"), 0600);
	s->ops->free(s);
	struct str before = contents("root-cert.pem");
	/* The second one reads what the first made, and closes a folder that was left open. */
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(dev_ca_new(dir, 60, &s, why), 0);
	assert_int_equal(mode_of(""), 0700);
	s->ops->free(s);
	struct str after = contents("root-cert.pem");
	assert_true(str_eq(before, after));
	free((char *)before.p);
	free((char *)after.p);
}

static void racing_processes_get_the_same(void **state)
{
	enum { PROCESSES = 6 };
	int gate[2], status;
	pid_t pid[PROCESSES];

	(void)state;
	assert_int_equal(pipe(gate), 0);
	for (int i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			struct certs_source *s;
			char c;
			close(gate[1]);
			(void)!read(gate[0], &c, 1); /* until the parent closes it */
			_exit(dev_ca_new(dir, 60, &s, why) == 0 ? 0 : 1);
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	/* Key and certificate are of one making: reading them checks that. */
	struct certs_source *s;
	assert_int_equal(dev_ca_new(dir, 60, &s, why), 0);
	s->ops->free(s);
}

static void says_what_is_wrong(void **state)
{
	struct certs_source *s;
	char other[256];

	(void)state;
	assert_int_equal(dev_ca_new(dir, 60, &s, why), 0);
	s->ops->free(s);
	struct str cert = contents("root-cert.pem"), key = contents("root-key.pem");
	overwrite("root-key.pem", STR("rubbish"));
	assert_true(dev_ca_new(dir, 60, &s, why) < 0);
	assert_non_null(strstr(why, "root-key.pem"));
	overwrite("root-key.pem", key);
	overwrite("root-cert.pem", STR("rubbish"));
	assert_true(dev_ca_new(dir, 60, &s, why) < 0);
	assert_non_null(strstr(why, "root-cert.pem"));
	/* Another CA's key. */
	overwrite("root-cert.pem", cert);
	char path[256];
	snprintf(path, sizeof(path), "%s/root-cert.pem", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(dev_ca_new(dir, 60, &s, why), 0);
	s->ops->free(s);
	overwrite("root-key.pem", key);
	assert_true(dev_ca_new(dir, 60, &s, why) < 0);
	assert_non_null(strstr(why, "do not belong together"));
	/* A file where the folder should be. */
	snprintf(other, sizeof(other), "%s/root-cert.pem", dir);
	assert_true(dev_ca_new(other, 60, &s, why) < 0);
	assert_non_null(strstr(why, other));
	free((char *)cert.p);
	free((char *)key.p);
}

static void no_run(struct task *t)
{
	(void)t;
}

struct probe {
	struct certs_waiter waiter;
	struct tls_ctx *ctx;
	int error;
};

static void on_answer(struct certs_waiter *w, struct tls_ctx *ctx, int error, const char *text)
{
	struct probe *p = container_of(w, struct probe, waiter);

	(void)text;
	p->ctx = ctx;
	p->error = error;
}

static struct tls_ctx *fetch(const char *identity, uint32_t lifetime_s)
{
	struct probe p = {.waiter = {.answer = on_answer}};
	struct epoch *epoch = epoch_new(1);
	struct certs_table *table;
	struct taskq queue;
	struct task ended;
	int64_t now = (int64_t)time(NULL) * 1000;
	struct certs_table_config c = {.epoch = epoch, .queue = &queue, .ended = &ended};

	taskq_init(&queue);
	task_init(&ended, no_run);
	assert_int_equal(dev_ca_new(dir, lifetime_s, &c.source, why), 0);
	assert_int_equal(certs_table_new(&c, &table), 0);
	certs_table_wait(table, str_of(identity), &p.waiter, now);
	certs_table_run(table, now);
	certs_table_run(table, now);
	assert_int_equal(p.error, 0);
	assert_non_null(p.ctx);
	certs_table_free(table);
	epoch_free(epoch);
	return p.ctx;
}

static void issues_what_peers_accept(void **state)
{
	struct str want = STR(SERVER);
	struct bufq received = {0};
	struct pair p;

	(void)state;
	struct tls_ctx *c = fetch(CLIENT, 20), *s = fetch(SERVER, 20);
	int64_t now = (int64_t)time(NULL);
	assert_string_equal(tls_ctx_identity(c), CLIENT);
	assert_in_range(now - tls_ctx_not_before(c), 1, 4);
	assert_in_range(tls_ctx_not_after(c) - now, 18, 20);
	pair_open(&p, c, s, &want, 1);
	pair_shake(&p);
	assert_true(tls_established(p.c) && tls_established(p.s));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'x', 100), 0);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &received), 0);
	assert_true(pair_is(&received, 'x', 100));
	pair_close(&p);
	tls_ctx_put(c);
	tls_ctx_put(s);
}

#define CA_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CA_TEST(makes_a_private_folder),
		CA_TEST(racing_processes_get_the_same),
		CA_TEST(says_what_is_wrong),
		CA_TEST(issues_what_peers_accept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
