/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "shared/base/epoch.h"

static struct worker *start(const char *backend, struct epoch *epoch)
{
	struct worker_config config = {
		.name = "a-name-that-is-too-long",
		.io_backend = backend,
		.buf_limits = rig_limits,
		.epoch = epoch,
		.index = 3,
	};
	struct worker *w;

	assert_int_equal(worker_new(&config, &w), 0);
	assert_int_equal(w->index, 3);
	return w;
}

static void *run_thread(void *arg)
{
	worker_run(arg);
	return NULL;
}

/* ---- posting ---- */

struct note {
	struct mail mail;
	uint32_t *count; /* of the worker */
	struct worker *last_at;
};

static void deliver(struct mail *mail, struct worker *at)
{
	struct note *n = container_of(mail, struct note, mail);

	(*n->count)++;
	if (n->last_at)
		worker_stop(at);
}

static void post_wakes(void **state)
{
	for (int round = 0; round < 20; round++) {
		struct worker *w = start(*state, NULL);
		struct note notes[50];
		uint32_t count = 0;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, run_thread, w), 0);
		for (int i = 0; i < 50; i++) {
			notes[i] = (struct note){{.deliver = deliver}, &count, i == 49 ? w : NULL};
			if (i % 10 == 0)
				usleep(200);
			worker_post(w, &notes[i].mail);
		}
		pthread_join(thread, NULL);
		assert_int_equal(count, 50);
		worker_free(w);
	}
}

static void stop_wakes(void **state)
{
	struct worker *w = start(*state, NULL);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_thread, w), 0);
	usleep(5000);
	worker_stop(w);
	pthread_join(thread, NULL);
	/* Stopped before it runs. */
	w->stopping = false;
	worker_stop(w);
	worker_run(w);
	worker_free(w);
}

/* ---- the order of a turn ---- */

struct step {
	struct worker *w;
	struct task run, again, flush;
	struct reap reap;
	struct timer timer;
	struct note note;
	uint32_t delivered;
	char log[32];
};

static void note(struct step *s, char c)
{
	s->log[strlen(s->log)] = c;
}

static void on_again(struct task *t)
{
	note(container_of(t, struct step, again), 'a');
}

static void on_flush(struct task *t)
{
	note(container_of(t, struct step, flush), 'f');
}

static void on_reap(struct reap *r)
{
	note(container_of(r, struct step, reap), 'x');
}

static void on_run(struct task *t)
{
	struct step *s = container_of(t, struct step, run);

	note(s, 'r');
	task_ready(&s->w->flush, &s->flush);
	task_ready(&s->w->run, &s->again);
	worker_reap(s->w, &s->reap, on_reap);
}

static void order(void **state)
{
	struct worker *w = start(*state, NULL);
	struct step s = {.w = w};

	task_init(&s.run, on_run);
	task_init(&s.again, on_again);
	task_init(&s.flush, on_flush);
	timer_init(&s.timer, &s.again);
	timer_arm(&w->timers, &s.timer, 5);
	task_ready(&w->run, &s.run);
	uint64_t t0 = rig_ms();

	worker_turn(w, UINT64_MAX);
	assert_string_equal(s.log, "rafx");
	/* Waits for the timer, though told for ever; it may wake early once or twice, but does not spin. */
	for (int i = 0; i < 5 && strlen(s.log) < 5; i++)
		worker_turn(w, UINT64_MAX);
	assert_string_equal(s.log, "rafxa");
	assert_true(rig_ms() - t0 >= 4 && rig_ms() - t0 < 500);
	/* A message to itself. */
	s.note = (struct note){.mail.deliver = deliver, .count = &s.delivered};
	worker_post(w, &s.note.mail);
	worker_turn(w, UINT64_MAX);
	assert_int_equal(s.delivered, 1);
	const struct io_stats *stats = worker_stats(w);

	assert_true(stats->turns <= 7 && stats->parks >= 1);
	worker_free(w);
}

/* ---- epochs ---- */

struct garbage {
	struct epoch_node node;
	bool freed;
};

static void drop(struct epoch_node *n)
{
	container_of(n, struct garbage, node)->freed = true;
}

/* A worker that sleeps holds nothing back; one that runs does until its turn ends. */
static void sleeping_is_offline(void **state)
{
	struct epoch *e = epoch_new(4);
	struct worker *w = start(*state, e);
	struct garbage g[2] = {0};
	pthread_t thread;

	worker_turn(w, 0);
	epoch_retire(e, &g[0].node, drop);
	worker_turn(w, 0);
	epoch_reclaim(e);
	worker_turn(w, 0);
	epoch_reclaim(e);
	assert_true(g[0].freed);
	/* A ring has one submitter: another worker for the other thread. */
	worker_free(w);
	w = start(*state, e);
	assert_int_equal(pthread_create(&thread, NULL, run_thread, w), 0);
	usleep(20000);
	epoch_retire(e, &g[1].node, drop);
	for (int i = 0; i < 100 && !g[1].freed; i++) {
		epoch_reclaim(e);
		usleep(100);
	}
	assert_true(g[1].freed);
	worker_stop(w);
	pthread_join(thread, NULL);
	worker_free(w);
	epoch_free(e);
}

/* ---- the end ---- */

/* What lingers when the worker is told to stop is reset, and nothing leaks. */
static void stop_with_lingering(void **state)
{
	struct rig r;

	rig_start(&r, *state);
	int fd = peer_connect(&r.at);

	UNTIL(&r, r.accepted == 1);
	user_close(&r.users[0], 0);
	worker_turn(r.w, 0);
	assert_int_equal(r.w->io->conns, 1);
	listener_stop(r.l, NULL);
	r.l = NULL;
	worker_stop(r.w);
	worker_run(r.w);
	assert_int_equal(r.w->io->slot_used, 0);
	close(fd);
	rig_end(&r);
}

/* ---- memory ---- */

static uint64_t resident_bytes(void)
{
	unsigned long pages = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_int_equal(fscanf(f, "%lu %lu", &pages, &resident), 2);
	fclose(f);
	return (uint64_t)resident * 4096;
}

static void *stop_later(void *arg)
{
	usleep(1400 * 1000);
	worker_stop(arg);
	return NULL;
}

/* A second after a burst its memory is the system's again, and the worker goes on. */
static void idle_gives_memory_back(void **state)
{
	enum { CONNS = 60, BYTES = 200 * 1000 };
	static char junk[BYTES];
	struct rig r;
	int fds[CONNS];
	pthread_t stopper;

	rig_start(&r, *state);
	r.credit = true;
	for (int i = 0; i < CONNS; i++) {
		fds[i] = peer_connect(&r.at);
		assert_int_equal(send(fds[i], junk, sizeof(junk), 0), sizeof(junk));
	}
	UNTIL(&r, r.accepted == CONNS);
	for (int i = 0; i < CONNS; i++)
		UNTIL(&r, r.users[i].got.bytes == BYTES);
	uint64_t busy = resident_bytes();

	for (int i = 0; i < CONNS; i++)
		bufq_fini(&r.users[i].got);
	assert_int_equal(pthread_create(&stopper, NULL, stop_later, r.w), 0);
	worker_run(r.w);
	pthread_join(stopper, NULL);
	assert_true(resident_bytes() + CONNS * BYTES / 2 < busy);
	r.w->stopping = false;
	assert_int_equal(send(fds[0], junk, 100, 0), 100);
	UNTIL(&r, r.users[0].got.bytes == 100);
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	rig_end(&r);
}

/* ---- choosing a backend ---- */

/* In a process where the kernel refuses io_uring, as container runtimes arrange it. */
static int without_uring(int (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog prog = {ARRAY_SIZE(code), code};

		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
			_exit(100);
		_exit(fn());
	}
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int falls_back(void)
{
	struct worker_config config = {.name = "w", .buf_limits = rig_limits};
	struct worker *w[2];

	unsetenv("GAUZE_IO");
	for (int i = 0; i < 2; i++)
		if (worker_new(&config, &w[i]) || strcmp(worker_io_name(w[i]), "epoll"))
			return 1;
	for (int i = 0; i < 2; i++)
		worker_free(w[i]);
	return 0;
}

static int insists(void)
{
	struct worker_config config = {.name = "w", .buf_limits = rig_limits};
	struct worker *w;

	setenv("GAUZE_IO", "uring", 1);
	return worker_new(&config, &w) == -EPERM ? 0 : 1;
}

static void refused_uring(void **state)
{
	(void)state;
	assert_int_equal(without_uring(falls_back), 0);
	assert_int_equal(without_uring(insists), 0);
}

static void chosen_by_environment(void **state)
{
	struct worker_config config = {.name = "w", .buf_limits = rig_limits};
	struct worker *w;

	(void)state;
	setenv("GAUZE_IO", "epoll", 1);
	assert_int_equal(worker_new(&config, &w), 0);
	assert_string_equal(worker_io_name(w), "epoll");
	worker_free(w);
	setenv("GAUZE_IO", "smoke signals", 1);
	assert_int_equal(worker_new(&config, &w), ERR_UNSUPPORTED);
	unsetenv("GAUZE_IO");
	assert_int_equal(worker_new(&config, &w), 0);
	worker_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(post_wakes),
		BOTH(stop_wakes),
		BOTH(order),
		BOTH(sleeping_is_offline),
		BOTH(stop_with_lingering),
		BOTH(idle_gives_memory_back),
		cmocka_unit_test(refused_uring),
		cmocka_unit_test(chosen_by_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
