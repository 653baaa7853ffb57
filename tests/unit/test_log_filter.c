/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/obs/log_filter.h"

static void assert_text(const struct log_filter *f, const char *want)
{
	struct sbuf out;
	sbuf_init(&out, 100000);
	log_filter_format(f, &out);
	assert_str(sbuf_str(&out), want);
	sbuf_fini(&out);
}

static void directives(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out; /* NULL: refused */
	} rows[] = {
		{"info", "info"},
		{"INFO", "info"},
		{"hickory_server::server=off,info", "hickory_server::server=off,info"},
		{"info,hickory_server::server=off", "hickory_server::server=off,info"},
		{"warn,info", "info"},
		{"a=info,a=debug", "a=debug"},
		{"a=1,b=5,0", "b=trace,a=error,off"},
		{"a=info,abc=warn,ab=debug", "abc=warn,ab=debug,a=info"},
		{"ztunnel::proxy", "ztunnel::proxy=trace"},
		{"", ""},
		{",,info,", "info"},
		{"a=", NULL},
		{"=info", NULL},
		{"a=loud", NULL},
		{"a=b=c", NULL},
		{"a b", NULL},
		{"info,a=6", NULL},
		{"a:info\n", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct log_filter f = {.rule = {{.level = LOG_WARN}}, .count = 0};
		int rc = log_filter_add(&f, str_of(rows[i].in));
		assert_int_equal(rc, rows[i].out ? 0 : ERR_SYNTAX);
		assert_text(&f, rows[i].out ? rows[i].out : "");
	}
}

static void adding_refines(void **state)
{
	(void)state;
	struct log_filter f = {.count = 0};
	assert_int_equal(log_filter_add(&f, STR("info,a=debug")), 0);
	assert_int_equal(log_filter_add(&f, STR("warn,a::b=off")), 0);
	assert_text(&f, "a::b=off,a=debug,warn");
	/* A bad one takes nothing of its list. */
	assert_int_equal(log_filter_add(&f, STR("error,x=y")), ERR_SYNTAX);
	assert_text(&f, "a::b=off,a=debug,warn");
}

static void the_longest_prefix_decides(void **state)
{
	(void)state;
	struct log_filter f = {.count = 0};
	assert_int_equal(log_filter_level(&f, STR("a")), LOG_OFF);
	assert_int_equal(
		log_filter_add(&f, STR("ztunnel::proxy=debug,ztunnel=error,access=off,info")), 0);
	assert_int_equal(log_filter_level(&f, STR("ztunnel::proxy::outbound")), LOG_DEBUG);
	assert_int_equal(log_filter_level(&f, STR("ztunnel::xds")), LOG_ERROR);
	assert_int_equal(log_filter_level(&f, STR("access")), LOG_OFF);
	assert_int_equal(log_filter_level(&f, STR("dns")), LOG_INFO);
}

static void rules_are_bounded(void **state)
{
	(void)state;
	struct log_filter f = {.count = 0};
	char one[32], long_name[LOG_FILTER_TARGET_MAX + 8];
	for (int i = 0; i < LOG_FILTER_RULES_MAX; i++) {
		snprintf(one, sizeof(one), "t%02d=info", i);
		assert_int_equal(log_filter_add(&f, str_of(one)), 0);
	}
	assert_int_equal(log_filter_add(&f, STR("more=info")), ERR_LIMIT);
	assert_int_equal(log_filter_add(&f, STR("t00=debug")), 0);
	assert_int_equal(f.count, LOG_FILTER_RULES_MAX);
	memset(long_name, 'a', sizeof(long_name));
	assert_int_equal(log_filter_add(&f, (struct str){long_name, LOG_FILTER_TARGET_MAX}),
			 ERR_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directives),
		cmocka_unit_test(adding_refines),
		cmocka_unit_test(the_longest_prefix_decides),
		cmocka_unit_test(rules_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
