/* SPDX-License-Identifier: Apache-2.0 */
/* The access lines to the letter (contract section 10). */
#include "log_capture.h"

#include <cjson/cJSON.h>
#include <errno.h>

#include "shared/base/err.h"
#include "shared/obs/access.h"

static struct access_facts all_known(enum access_direction direction)
{
	struct access_facts f = {
		.direction = direction,
		.mutual_tls = true,
		.src = {.workload = STR("sleep-1"),
			.ns = STR("default"),
			.identity = STR("spiffe://cluster.local/ns/default/sa/sleep"),
			.cluster = STR("Kubernetes")},
		.dst = {.workload = STR("httpbin-1"),
			.ns = STR("apps"),
			.identity = STR("spiffe://cluster.local/ns/apps/sa/httpbin"),
			.cluster = STR("Kubernetes")},
		.hbone_addr = STR("10.0.0.2:80"),
		.service = STR("httpbin.apps.svc.cluster.local"),
		.received_bytes = 84,
		.sent_bytes = 1519,
		.duration_ms = 12,
	};
	assert_int_equal(addr_parse(STR("10.0.0.1:40000"), &f.src.addr), 0);
	assert_int_equal(addr_parse(STR("10.0.0.2:15008"), &f.dst.addr), 0);
	return f;
}

#define KNOWN                                                                                     \
	"src.addr=10.0.0.1:40000 src.workload=\"sleep-1\" src.namespace=\"default\" "             \
	"src.identity=\"spiffe://cluster.local/ns/default/sa/sleep\" src.cluster=\"Kubernetes\" " \
	"dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 "                                     \
	"dst.service=\"httpbin.apps.svc.cluster.local\" dst.workload=\"httpbin-1\" "              \
	"dst.namespace=\"apps\" dst.identity=\"spiffe://cluster.local/ns/apps/sa/httpbin\" "      \
	"dst.cluster=\"Kubernetes\" "

static void complete(void **state)
{
	(void)state;
	capture(NULL, false);
	struct access_facts f = all_known(ACCESS_OUTBOUND);
	access_complete(&f);
	assert_line("\tinfo\taccess\tconnection complete\t" KNOWN
		    "direction=\"outbound\" bytes_sent=84 bytes_recv=1519 duration=\"12ms\"");
	/* The same bytes as the server's side sees them. */
	f.direction = ACCESS_INBOUND;
	access_complete(&f);
	assert_line("\tinfo\taccess\tconnection complete\t" KNOWN
		    "direction=\"inbound\" bytes_sent=1519 bytes_recv=84 duration=\"12ms\"");
}

static void failures(void **state)
{
	(void)state;
	capture(NULL, false);
	struct access_facts f = all_known(ACCESS_INBOUND);
	f.error = ERR_POLICY_CHANGED;
	access_complete(&f);
	assert_line("\terror\taccess\tconnection complete\t" KNOWN
		    "direction=\"inbound\" bytes_sent=1519 bytes_recv=84 duration=\"12ms\" "
		    "error=\"connection closed due to policy change\"");
	f.error_text = STR("http status: 503 Service Unavailable");
	access_complete(&f);
	assert_non_null(strstr(
		captured(), "duration=\"12ms\" error=\"http status: 503 Service Unavailable\"\n"));
}

static void what_is_not_known_is_left_out(void **state)
{
	(void)state;
	capture(NULL, false);
	struct access_facts f = {.direction = ACCESS_OUTBOUND};
	assert_int_equal(addr_parse(STR("[fd00::1]:1"), &f.src.addr), 0);
	assert_int_equal(addr_parse(STR("[fd00::2]:2"), &f.dst.addr), 0);
	access_complete(&f);
	assert_line(
		"\tinfo\taccess\tconnection complete\tsrc.addr=[fd00::1]:1 dst.addr=[fd00::2]:2 "
		"direction=\"outbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\"");
	/* Identities only for mutual TLS. */
	f = all_known(ACCESS_OUTBOUND);
	f.mutual_tls = false;
	access_complete(&f);
	assert_null(strstr(captured(), "identity"));
}

static void opened_and_early_denial(void **state)
{
	(void)state;
	capture(NULL, false);
	struct access_facts f = all_known(ACCESS_OUTBOUND);
	access_opened(&f);
	assert_string_equal(captured(), "");
	access_failed(ACCESS_INBOUND, &f.src.addr, &f.dst.addr, STR("unknown destination"));
	assert_line(
		"\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:40000 dst.addr=10.0.0.2:15008 "
		"direction=\"inbound\" error=\"unknown destination\"");
	capture("access=debug", false);
	access_opened(&f);
	assert_line("\tdebug\taccess\tconnection opened\t" KNOWN "direction=\"outbound\"");
	capture("access=off", false);
	access_complete(&f);
	access_failed(ACCESS_INBOUND, &f.src.addr, &f.dst.addr, STR("x"));
	assert_string_equal(captured(), "");
}

static void as_json(void **state)
{
	(void)state;
	static const char *const keys[] = {
		"level",	  "time",	   "scope",	   "message",	    "src.addr",
		"src.workload",	  "src.namespace", "src.identity", "src.cluster",   "dst.addr",
		"dst.hbone_addr", "dst.service",   "dst.workload", "dst.namespace", "dst.identity",
		"dst.cluster",	  "direction",	   "bytes_sent",   "bytes_recv",    "duration",
		"error"};
	capture(NULL, true);
	struct access_facts f = all_known(ACCESS_OUTBOUND);
	f.error = -ECONNREFUSED;
	access_complete(&f);
	cJSON *j = cJSON_Parse(captured());
	assert_non_null(j);
	const cJSON *item = j->child;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++, item = item->next)
		assert_string_equal(item->string, keys[i]);
	assert_null(item);
	assert_string_equal(cJSON_GetObjectItem(j, "level")->valuestring, "error");
	assert_string_equal(cJSON_GetObjectItem(j, "scope")->valuestring, "access");
	assert_string_equal(cJSON_GetObjectItem(j, "dst.addr")->valuestring, "10.0.0.2:15008");
	assert_int_equal(cJSON_GetObjectItem(j, "bytes_recv")->valueint, 1519);
	assert_string_equal(cJSON_GetObjectItem(j, "duration")->valuestring, "12ms");
	assert_string_equal(cJSON_GetObjectItem(j, "error")->valuestring, "Connection refused");
	cJSON_Delete(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(complete),
		cmocka_unit_test(failures),
		cmocka_unit_test(what_is_not_known_is_left_out),
		cmocka_unit_test(opened_and_early_denial),
		cmocka_unit_test(as_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
