/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void hook(void)
{
	printf("hook ran\n");
	fflush(stdout);
	CHECK(!"inside the hook"); /* must not run the hook again */
}

/* What a child prints, and that it aborts. */
static void run_failing(char *text, size_t size)
{
	int p[2];
	assert_int_equal(pipe(p), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(p[1], 1);
		dup2(p[1], 2);
		signal(SIGABRT, SIG_DFL);
		check_set_hook(hook);
		CHECK(1 + 1 == 2);
		CHECK(1 + 1 == 3);
		_exit(0);
	}
	close(p[1]);
	size_t n = 0;
	for (ssize_t got; (got = read(p[0], text + n, size - 1 - n)) > 0;)
		n += (size_t)got;
	text[n] = '\0';
	close(p[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void check_says_where_and_aborts(void **state)
{
	(void)state;
	char text[4096];
	run_failing(text, sizeof(text));
	assert_non_null(strstr(text, "hook ran"));
	assert_ptr_equal(strstr(strstr(text, "hook ran") + 1, "hook ran"), NULL);
	assert_non_null(strstr(text, "inside the hook"));
	assert_non_null(strstr(text, "test_base.c"));
}

static void wipe_overwrites(void **state)
{
	(void)state;
	char key[8] = "secret";
	wipe(key, 4);
	assert_memory_equal(key, "\0\0\0\0et", 6);
	wipe(NULL, 0);
}

static void strings_compare(void **state)
{
	(void)state;
	assert_true(str_eq(STR(""), (struct str){NULL, 0}));
	assert_true(str_eq(STR("ab"), STR("ab")));
	assert_false(str_eq(STR("ab"), STR("abc")));
	assert_true(str_starts(STR("abc"), STR("ab")));
	assert_true(str_starts(STR("abc"), (struct str){NULL, 0}));
	assert_false(str_starts(STR("a"), STR("ab")));
	assert_true(str_ends(STR("abc"), STR("bc")));
	assert_false(str_ends(STR("c"), STR("bc")));
	assert_str(str_of("x"), "x");
	assert_int_equal(str_of(NULL).n, 0);
	assert_int_equal(MIN(MAX(1, 5), 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_says_where_and_aborts),
		cmocka_unit_test(wipe_overwrites),
		cmocka_unit_test(strings_compare),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
