/* SPDX-License-Identifier: Apache-2.0 */
#include "log_capture.h"

#include <cjson/cJSON.h>
#include <time.h>

#include "shared/base/err.h"

LOG_SCOPE(scope, "ztunnel::proxy::outbound");
LOG_SCOPE(other, "dns");

static void some_fields(struct log_line *l)
{
	struct addr a;
	assert_int_equal(addr_parse(STR("[fd00::1]:80"), &a), 0);
	log_str(l, "name", STR("a \"b\"\n"));
	log_addr(l, "addr", &a);
	log_bare(l, "bare", STR("x:1\ty"));
	log_u64(l, "u", UINT64_MAX);
	log_i64(l, "i", INT64_MIN);
	log_bool(l, "yes", true);
	log_err(l, ERR_TIMEOUT);
}

static void plain_lines(void **state)
{
	(void)state;
	struct log_line l;
	capture(NULL, false);
	log_info(&scope, "hello %d", 5);
	assert_line("\tinfo\tproxy::outbound\thello 5\t");
	assert_true(log_begin(&l, &scope, LOG_ERROR, "broken"));
	some_fields(&l);
	log_end(&l);
	assert_line(
		"\terror\tproxy::outbound\tbroken\tname=\"a \\\"b\\\"\\n\" addr=[fd00::1]:80 bare=x:1\\ty "
		"u=18446744073709551615 i=-9223372036854775808 yes=true error=\"timed out\"");
	assert_true(log_begin_span(&l, &other, LOG_WARN, STR("inbound"), STR("id"), STR("0af7"),
				   "in a span"));
	log_u64(&l, "n", 1);
	log_end(&l);
	assert_line("\twarn\tdns:inbound{id=0af7}\tin a span\tn=1");
	/* Nothing in a message starts a line of its own. */
	log_warn(&other, "%s", "evil\n2024-01-01T00:00:00.000000Z\tinfo\tx\ty\t");
	assert_line("\twarn\tdns\tevil\\n2024-01-01T00:00:00.000000Z\\tinfo\\tx\\ty\\t\t");
}

static void json_lines(void **state)
{
	(void)state;
	struct log_line l;
	capture(NULL, true);
	assert_true(log_begin_span(&l, &scope, LOG_INFO, STR("outbound"), STR("id"), STR("0af7"),
				   "say \"hi\"\x01"));
	some_fields(&l);
	log_end(&l);
	const char *text = captured();
	assert_int_equal(strchr(text, '\n') - text, strlen(text) - 1);
	cJSON *j = cJSON_Parse(text);
	assert_non_null(j);
	static const char *const keys[] = {"level", "time", "scope", "message",
					   "name",  "addr", "bare",  "u",
					   "i",	    "yes",  "error", "outbound"};
	const cJSON *item = j->child;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++, item = item->next)
		assert_string_equal(item->string, keys[i]);
	assert_null(item);
	assert_string_equal(cJSON_GetObjectItem(j, "level")->valuestring, "info");
	assert_stamp(cJSON_GetObjectItem(j, "time")->valuestring);
	assert_string_equal(cJSON_GetObjectItem(j, "scope")->valuestring,
			    "ztunnel::proxy::outbound");
	assert_string_equal(cJSON_GetObjectItem(j, "message")->valuestring, "say \"hi\"\x01");
	assert_string_equal(cJSON_GetObjectItem(j, "addr")->valuestring, "[fd00::1]:80");
	assert_true(cJSON_IsNumber(cJSON_GetObjectItem(j, "u")));
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(j, "yes")));
	assert_string_equal(
		cJSON_GetObjectItem(cJSON_GetObjectItem(j, "outbound"), "id")->valuestring, "0af7");
	cJSON_Delete(j);
}

static void the_clock_is_right(void **state)
{
	(void)state;
	capture(NULL, false);
	time_t before = time(NULL);
	log_info(&scope, "x");
	struct tm tm = {0};
	char stamp[STAMP_LEN + 1] = {0};
	memcpy(stamp, captured(), STAMP_LEN);
	assert_non_null(strptime(stamp, "%Y-%m-%dT%H:%M:%S", &tm));
	assert_in_range(timegm(&tm), before, before + 2);
}

static void levels(void **state)
{
	(void)state;
	struct log_line l;
	struct sbuf text;
	capture(NULL, false);
	assert_true(log_on(&scope, LOG_INFO));
	assert_false(log_on(&scope, LOG_DEBUG));
	log_debug(&scope, "not %s", "this");
	assert_false(log_begin(&l, &scope, LOG_DEBUG, "nor this"));
	assert_string_equal(captured(), "");

	sbuf_init(&text, 1000);
	log_filter_text(&text);
	assert_str(sbuf_str(&text), "hickory_server::server=off,info");
	assert_int_equal(log_filter_set(STR("ztunnel::proxy=trace"), false), 0);
	assert_true(log_on(&scope, LOG_TRACE));
	assert_false(log_on(&other, LOG_DEBUG));
	assert_int_equal(log_filter_set(STR("off"), false), 0);
	assert_true(log_on(&scope, LOG_TRACE));
	assert_false(log_on(&other, LOG_ERROR));
	assert_int_equal(log_filter_set(STR("dns=nonsense"), false), ERR_SYNTAX);
	sbuf_reset(&text);
	log_filter_text(&text);
	assert_str(sbuf_str(&text), "hickory_server::server=off,ztunnel::proxy=trace,off");
	assert_int_equal(log_filter_set(STR("dns=debug"), true), 0);
	assert_false(log_on(&scope, LOG_DEBUG));
	assert_true(log_on(&other, LOG_DEBUG));
	assert_int_equal(log_filter_set(STR(""), true), 0);
	sbuf_reset(&text);
	log_filter_text(&text);
	assert_str(sbuf_str(&text), "hickory_server::server=off,info");
	sbuf_fini(&text);

	assert_int_equal(log_init("what=ever", false, log_fd), ERR_SYNTAX);
	assert_true(log_on(&scope, LOG_INFO));
	capture("warn,dns=off", false);
	assert_false(log_on(&scope, LOG_INFO));
	assert_false(log_on(&other, LOG_ERROR));
}

static void long_lines_are_cut_and_say_so(void **state)
{
	(void)state;
	static char big[2 * LIMIT_LOG_LINE_BYTES];
	struct log_line l;
	memset(big, '"', sizeof(big));
	for (int json = 0; json < 2; json++) {
		capture(NULL, json);
		assert_true(log_begin_span(&l, &scope, LOG_INFO, STR("s"), STR("id"), STR("1"),
					   "short"));
		log_u64(&l, "kept", 1);
		log_str(&l, "too_long", (struct str){big, sizeof(big)});
		log_u64(&l, "also", 2);
		log_end(&l);
		const char *text = captured();
		assert_non_null(strstr(text, "kept"));
		assert_non_null(strstr(text, "also"));
		assert_null(strstr(text, "too_long"));
		assert_non_null(strstr(text, json ? "\"cut\":true" : "cut=true"));

		big[sizeof(big) - 1] = '\0';
		assert_true(log_begin(&l, &scope, LOG_INFO, big));
		while (!l.cut || l.text.n < 3000)
			log_u64(&l, "n", 123456789);
		for (int i = 0; i < 1000; i++)
			log_u64(&l, "n", 123456789);
		log_end(&l);
		text = captured();
		assert_true(strlen(text) <= LIMIT_LOG_LINE_BYTES);
		cJSON *j = json ? cJSON_Parse(text) : NULL;
		assert_int_equal(j != NULL, json);
		cJSON_Delete(j);
		assert_int_equal(text[strlen(text) - 1], '\n');
	}
}

static void lines_about_peers_are_limited(void **state)
{
	(void)state;
	struct log_limit limit = {0};
	uint64_t suppressed = 99, passed = 0, before = log_stats().suppressed;
	for (int i = 0; i < 1000; i++)
		passed += log_allowed(&limit, &suppressed);
	/* The second may have turned meanwhile. */
	assert_in_range(passed, LIMIT_LOG_PEER_LINES_PER_S, 2 * LIMIT_LOG_PEER_LINES_PER_S);
	assert_int_equal(log_stats().suppressed - before, 1000 - passed);
	struct timespec second = {.tv_sec = 1, .tv_nsec = 20000000};
	nanosleep(&second, NULL);
	assert_true(log_allowed(&limit, &suppressed));
	assert_in_range(suppressed, 1, 1000 - passed);
	assert_true(log_allowed(&limit, &suppressed));
	assert_int_equal(suppressed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_lines),
		cmocka_unit_test(json_lines),
		cmocka_unit_test(the_clock_is_right),
		cmocka_unit_test(levels),
		cmocka_unit_test(long_lines_are_cut_and_say_so),
		cmocka_unit_test(lines_about_peers_are_limited),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
