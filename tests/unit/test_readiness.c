/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/control/readiness.h"

static const char *pending(const struct readiness *r)
{
	static char text[256];
	struct sbuf sb;
	sbuf_init_fixed(&sb, text, sizeof(text));
	text[0] = 0;
	readiness_pending(r, &sb);
	return text;
}

static void names_are_sorted_and_go_when_done(void **state)
{
	struct readiness r;
	(void)state;
	readiness_init(&r);
	assert_true(readiness_done(&r));
	readiness_set(&r, "workload proxy manager", false);
	readiness_set(&r, "proxy", false);
	readiness_set(&r, "state manager", false);
	assert_false(readiness_done(&r));
	assert_string_equal(pending(&r), "proxy, state manager, workload proxy manager");
	readiness_set(&r, "state manager", true);
	assert_string_equal(pending(&r), "proxy, workload proxy manager");
	readiness_set(&r, "proxy", true);
	readiness_set(&r, "workload proxy manager", true);
	assert_true(readiness_done(&r));
	assert_string_equal(pending(&r), "");
	/* The stream to the agent ended. */
	readiness_set(&r, "workload proxy manager", false);
	assert_false(readiness_done(&r));
	assert_string_equal(pending(&r), "workload proxy manager");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_sorted_and_go_when_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
