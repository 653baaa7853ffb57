/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/base/rng.h"
#include "shared/wire/traceparent.h"

static void round_trip(void **state)
{
	(void)state;
	const char *text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	struct traceparent t;
	char out[TRACEPARENT_TEXT_LEN + 1], id[TRACEPARENT_ID_LEN + 1];
	assert_int_equal(traceparent_parse(str_of(text), &t), 0);
	assert_string_equal(traceparent_text(&t, out), text);
	assert_string_equal(traceparent_id(&t, id), "0af7651916cd43dd8448eb211c80319c");
	assert_int_equal(t.flags, 1);
	assert_int_equal(
		traceparent_parse(STR("FF-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-00"),
				  &t),
		0);
	assert_int_equal(t.version, 0xff);
}

static void new_ones_differ(void **state)
{
	(void)state;
	struct rng r;
	rng_init(&r, 1);
	struct traceparent a = traceparent_new(&r), b = traceparent_new(&r), c;
	char text[TRACEPARENT_TEXT_LEN + 1];
	assert_memory_not_equal(a.trace_id, b.trace_id, sizeof(a.trace_id));
	assert_memory_not_equal(a.parent_id, b.parent_id, sizeof(a.parent_id));
	traceparent_text(&a, text);
	assert_int_equal(strlen(text), TRACEPARENT_TEXT_LEN);
	assert_memory_equal(text, "00-", 3);
	assert_string_equal(text + 52, "-00");
	assert_int_equal(traceparent_parse(str_of(text), &c), 0);
	assert_memory_equal(&a, &c, sizeof(a));
}

static void refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331001",
		"00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
		"0-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
		"00-0af7651916cd43dd8448eb211c8031 c-b7ad6b7169203331-01",
	};
	struct traceparent t = {.version = 77};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(traceparent_parse(str_of(bad[i]), &t), ERR_SYNTAX);
	assert_int_equal(t.version, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(new_ones_differ),
		cmocka_unit_test(refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
