/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "failalloc.h"
#include "shared/base/err.h"
#include "shared/base/sbuf.h"

static void grows(void **state)
{
	(void)state;
	struct sbuf sb;
	sbuf_init(&sb, 100000);
	assert_str(sbuf_str(&sb), "");
	sbuf_putz(&sb, "a");
	sbuf_putc(&sb, 'b');
	sbuf_u64(&sb, 0);
	sbuf_u64(&sb, UINT64_MAX);
	sbuf_printf(&sb, " %d %s", -5, "x");
	assert_str(sbuf_str(&sb), "ab018446744073709551615 -5 x");
	for (int i = 0; i < 1000; i++)
		sbuf_printf(&sb, "%0300d", i);
	assert_int_equal(sbuf_error(&sb), ERR_TOO_LARGE);
	assert_true(sb.n <= 100000);
	sbuf_reset(&sb);
	sbuf_printf(&sb, "%0300d", 7);
	assert_int_equal(sb.n, 300);
	assert_int_equal(sb.p[299], '7');

	size_t n;
	char *p = sbuf_take(&sb, &n);
	assert_int_equal(n, 300);
	assert_int_equal(strlen(p), 300);
	free(p);
	p = sbuf_take(&sb, &n);
	assert_string_equal(p, "");
	free(p);
	sbuf_fini(&sb);
}

static void fixed_memory_never_grows(void **state)
{
	(void)state;
	char mem[8];
	struct sbuf sb;
	sbuf_init_fixed(&sb, mem, sizeof(mem));
	sbuf_putz(&sb, "1234567");
	assert_int_equal(sbuf_error(&sb), 0);
	assert_string_equal(mem, "1234567");
	sbuf_putc(&sb, '8');
	assert_int_equal(sbuf_error(&sb), ERR_TOO_LARGE);
	sbuf_putz(&sb, "");
	assert_string_equal(mem, "1234567");
	size_t n;
	assert_null(sbuf_take(&sb, &n));
}

static void escaping(void **state)
{
	(void)state;
	static const struct {
		const char *in, *json, *quoted, *bare;
	} rows[] = {
		{"", "\"\"", "\"\"", ""},
		{"a b", "\"a b\"", "\"a b\"", "a b"},
		{"\"\\", "\"\\\"\\\\\"", "\"\\\"\\\\\"", "\"\\"},
		{"\n\r\t", "\"\\n\\r\\t\"", "\"\\n\\r\\t\"", "\\n\\r\\t"},
		{"\x01\x7f", "\"\\u0001\\u007f\"", "\"\\u{1}\\u{7f}\"", "\\u{1}\\u{7f}"},
		{"\xc3\xbc\xf0\x9f\x98\x80", "\"\xc3\xbc\xf0\x9f\x98\x80\"",
		 "\"\xc3\xbc\xf0\x9f\x98\x80\"", "\xc3\xbc\xf0\x9f\x98\x80"},
		/* cut sequence, surrogate, overlong, beyond the last code point */
		{"x\xc3", "\"x\xef\xbf\xbd\"", "\"x\xef\xbf\xbd\"", "x\xef\xbf\xbd"},
		{"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", NULL, NULL},
		{"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"", NULL, NULL},
		{"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", NULL,
		 NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sbuf sb;
		sbuf_init(&sb, 1000);
		sbuf_json(&sb, str_of(rows[i].in));
		assert_str(sbuf_str(&sb), rows[i].json);
		sbuf_reset(&sb);
		if (rows[i].quoted) {
			sbuf_quoted(&sb, str_of(rows[i].in));
			assert_str(sbuf_str(&sb), rows[i].quoted);
			sbuf_reset(&sb);
			sbuf_bare(&sb, str_of(rows[i].in));
			assert_str(sbuf_str(&sb), rows[i].bare);
		}
		sbuf_fini(&sb);
	}
	struct sbuf sb;
	sbuf_init(&sb, 1000);
	sbuf_json(&sb, (struct str){"a\0b", 3});
	assert_str(sbuf_str(&sb), "\"a\\u0000b\"");
	sbuf_fini(&sb);
}

static bool build(struct sbuf *sb)
{
	sbuf_init(sb, 100000);
	for (int i = 0; i < 100; i++)
		sbuf_printf(sb, "%0300d", i);
	return sbuf_error(sb) == 0;
}

static void failing_memory_sticks(void **state)
{
	(void)state;
	for (uint32_t n = 0;; n++) {
		struct sbuf sb;
		failalloc_begin(n);
		bool ok = build(&sb);
		bool failed = failalloc_end();
		assert_int_equal(ok, !failed);
		if (failed)
			assert_int_equal(sbuf_error(&sb), ERR_NOMEM);
		sbuf_fini(&sb);
		if (!failed)
			break;
		assert_true(n < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows),
		cmocka_unit_test(fixed_memory_never_grows),
		cmocka_unit_test(escaping),
		cmocka_unit_test(failing_memory_sticks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
