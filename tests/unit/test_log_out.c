/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads, one output: nothing lost, nothing mixed, in order for each thread, and waiting when it is full. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared/base/limits.h"
#include "shared/obs/log_out.h"

enum { THREADS = 4, LINES = 4000, LINE_BYTES = 120 };

static int pipe_fd[2];
static uint32_t counts[THREADS];
static bool slow_reader;

static void *producer(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	char line[LINE_BYTES + 1];
	for (uint32_t i = 0; i < LINES; i++) {
		int n = snprintf(line, sizeof(line), "%u %u ", me, i);
		memset(line + n, '.', sizeof(line) - 1 - (size_t)n);
		line[LINE_BYTES - 1] = '\n';
		log_out_put((struct str){line, LINE_BYTES});
	}
	return NULL;
}

static void check_line(const char *line)
{
	uint32_t who, i;
	CHECK(sscanf(line, "%u %u ", &who, &i) == 2 && who < THREADS);
	CHECK(i == counts[who]);
	counts[who]++;
	CHECK(line[LINE_BYTES - 1] == '\n' && line[LINE_BYTES - 2] == '.');
}

static void *reader(void *arg)
{
	(void)arg;
	static char text[1 << 16];
	size_t have = 0;
	for (;;) {
		ssize_t n = read(pipe_fd[0], text + have, sizeof(text) - have);
		if (n <= 0)
			break;
		have += (size_t)n;
		size_t at = 0;
		for (; have - at >= LINE_BYTES; at += LINE_BYTES)
			check_line(text + at);
		memmove(text, text + at, have - at);
		have -= at;
		if (slow_reader)
			nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return NULL;
}

static void run_threads(void)
{
	pthread_t thread[THREADS], reads;
	memset(counts, 0, sizeof(counts));
	assert_int_equal(pipe(pipe_fd), 0);
	log_out_fd(pipe_fd[1]);
	assert_int_equal(pthread_create(&reads, NULL, reader, NULL), 0);
	assert_int_equal(log_out_start(), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, producer, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	log_out_stop();
	close(pipe_fd[1]);
	pthread_join(reads, NULL);
	close(pipe_fd[0]);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(counts[i], LINES);
}

static void nothing_is_lost(void **state)
{
	(void)state;
	slow_reader = false;
	run_threads();
	run_threads(); /* the rings of threads that ended are used again */
}

static void a_slow_output_makes_threads_wait(void **state)
{
	(void)state;
	uint64_t before = log_out_waits();
	slow_reader = true;
	run_threads();
	assert_true(log_out_waits() > before);
}

static void *fill(void *arg)
{
	uint32_t *done = arg;
	for (uint32_t i = 0; i < LIMIT_LOG_LINES * 2U; i++) {
		log_out_put(STR("x\n"));
		__atomic_store_n(done, i + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void the_queue_holds_so_many_lines(void **state)
{
	(void)state;
	uint32_t done = 0;
	pthread_t thread;
	assert_int_equal(pipe(pipe_fd), 0);
	/* A full pipe: the writer is stuck at once. */
	assert_int_equal(fcntl(pipe_fd[1], F_SETFL, O_NONBLOCK), 0);
	char page[4096] = {0};
	while (write(pipe_fd[1], page, sizeof(page)) > 0)
		;
	log_out_fd(pipe_fd[1]);
	assert_int_equal(log_out_start(), 0);
	assert_int_equal(pthread_create(&thread, NULL, fill, &done), 0);
	uint32_t last = 0;
	for (int same = 0; same < 20;) {
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		uint32_t now = __atomic_load_n(&done, __ATOMIC_RELAXED);
		same = now == last ? same + 1 : 0;
		last = now;
	}
	assert_int_equal(last, LIMIT_LOG_LINES);
	/* The reader comes back. */
	assert_int_equal(fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK), 0);
	while (__atomic_load_n(&done, __ATOMIC_RELAXED) < LIMIT_LOG_LINES * 2U) {
		static char text[1 << 16];
		(void)!read(pipe_fd[0], text, sizeof(text));
	}
	pthread_join(thread, NULL);
	close(pipe_fd[0]);
	signal(SIGPIPE, SIG_IGN);
	log_out_stop(); /* nobody reads any more: that must not hold us */
	close(pipe_fd[1]);
}

static void a_crash_loses_nothing(void **state)
{
	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		log_out_fd(pipe_fd[1]);
		check_set_hook(log_out_crash);
		CHECK(log_out_start() == 0);
		for (int i = 0; i < 100; i++)
			log_out_put(STR("before the crash\n"));
		close(2);
		CHECK(!"now");
	}
	close(pipe_fd[1]);
	size_t total = 0;
	char text[4096];
	for (ssize_t n; (n = read(pipe_fd[0], text, sizeof(text))) > 0;)
		total += (size_t)n;
	close(pipe_fd[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(total, 100 * strlen("before the crash\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_loses_nothing),
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(a_slow_output_makes_threads_wait),
		cmocka_unit_test(the_queue_holds_so_many_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
