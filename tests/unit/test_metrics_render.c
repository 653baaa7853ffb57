/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a scrape to the letter (contract section 9). */
#include "metrics_text.h"

#include <sys/resource.h>

static void traffic_series(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	struct str labels[TRAFFIC_LABELS] = {
		[TRAFFIC_REPORTER] = STR("source"),
		[TRAFFIC_SOURCE_WORKLOAD] = STR("sleep"),
		[TRAFFIC_SOURCE_PRINCIPAL] = STR("spiffe://cluster.local/ns/default/sa/sleep"),
		[TRAFFIC_REQUEST_PROTOCOL] = STR("tcp"),
		[TRAFFIC_RESPONSE_FLAGS] = STR("-"),
		[TRAFFIC_CONNECTION_SECURITY_POLICY] = STR("mutual_tls"),
	};
	metric_add_labels(m, METRIC_TCP_OPENED, labels, TRAFFIC_LABELS, 2);
	const char *text = scrape();
	assert_has(
		text,
		"# HELP istio_tcp_connections_opened The total number of TCP connections opened.");
	assert_has(text, "# TYPE istio_tcp_connections_opened counter");
	assert_has(
		text,
		"istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"sleep\","
		"source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\","
		"source_workload_namespace=\"unknown\","
		"source_principal=\"spiffe://cluster.local/ns/default/sa/sleep\",source_app=\"unknown\","
		"source_version=\"unknown\",source_cluster=\"unknown\",destination_service=\"unknown\","
		"destination_service_namespace=\"unknown\",destination_service_name=\"unknown\","
		"destination_workload=\"unknown\",destination_canonical_service=\"unknown\","
		"destination_canonical_revision=\"unknown\",destination_workload_namespace=\"unknown\","
		"destination_principal=\"unknown\",destination_app=\"unknown\",destination_version=\"unknown\","
		"destination_cluster=\"unknown\",request_protocol=\"tcp\",response_flags=\"-\","
		"connection_security_policy=\"mutual_tls\",source_region=\"unknown\",source_zone=\"unknown\","
		"destination_region=\"unknown\",destination_zone=\"unknown\"} 2");
	/* Families without samples leave no trace. */
	assert_null(strstr(text, "istio_tcp_connections_closed"));
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	assert_ptr_equal(strstr(text, "# EOF"), text + strlen(text) - 6);
	metrics_shard_free(m);
}

static void histograms(void **state)
{
	(void)state;
	struct metrics_shard *a = metrics_shard_new(), *b = metrics_shard_new();
	struct str labels[] = {STR("A"), STR("udp"), STR("s"), STR("v1")};
	static const uint64_t ns[] = {1, 500000, 500001, 2000000000, 5000000001};
	for (size_t i = 0; i < ARRAY_SIZE(ns); i++) {
		struct series *s = series_get(i % 2 ? a : b, METRIC_DNS_DURATION, labels, 4);
		series_observe_ns(s, ns[i]);
		series_put(s);
	}
	const char *text = scrape();
#define NAME "istio_dns_upstream_request_duration_seconds"
#define REST \
	"request_query_type=\"A\",request_protocol=\"udp\",source_canonical_service=\"s\",source_canonical_revision=\"v1\"}"
	assert_has(text, "# TYPE " NAME " histogram");
	assert_has(text, "# UNIT " NAME " seconds");
	assert_has(text, NAME "_sum{" REST " 7.001000003");
	assert_has(text, NAME "_count{" REST " 5");
	assert_has(text, NAME "_bucket{le=\"0.0005\"," REST " 2");
	assert_has(text, NAME "_bucket{le=\"0.001\"," REST " 3");
	assert_has(text, NAME "_bucket{le=\"0.01\"," REST " 3");
	assert_has(text, NAME "_bucket{le=\"0.1\"," REST " 3");
	assert_has(text, NAME "_bucket{le=\"1.0\"," REST " 3");
	assert_has(text, NAME "_bucket{le=\"5.0\"," REST " 4");
	assert_has(text, NAME "_bucket{le=\"+Inf\"," REST " 5");
	metrics_shard_free(a);
	metrics_shard_free(b);
}

static void units_and_escapes(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	struct str url = STR("a\"b\\c\nd\xc3\xbc");
	metric_add_labels(m, METRIC_XDS_BYTES, &url, 1, 10);
	struct str worker = STR("0");
	metric_add_labels(m, METRIC_WORKER_BUSY, &worker, 1, 1500000000);
	const char *text = scrape();
	assert_has(text, "# UNIT istio_xds_message_bytes bytes");
	assert_has(text, "istio_xds_message_bytes_total{url=\"a\\\"b\\\\c\\nd\xc3\xbc\"} 10");
	assert_has(text, "tokio_worker_total_busy_duration_seconds_total{worker=\"0\"} 1.5");
	assert_has(
		text,
		"# HELP tokio_worker_total_busy_duration_seconds the amount of time worker threads have "
		"been busy");
	metrics_shard_free(m);
}

static void shards_are_merged(void **state)
{
	(void)state;
	struct metrics_shard *a = metrics_shard_new(), *b = metrics_shard_new();
	char text[64];
	/* Enough to make the merging table grow. */
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "url-%d", i);
		struct str url = str_of(text);
		metric_add_labels(a, METRIC_XDS_MESSAGES, &url, 1, 1);
		if (i % 2)
			metric_add_labels(b, METRIC_XDS_MESSAGES, &url, 1, 10);
	}
	const char *out = scrape();
	for (int i = 0; i < 1000; i += 101) {
		snprintf(text, sizeof(text), "istio_xds_message_total{url=\"url-%d\"} %d", i,
			 i % 2 ? 11 : 1);
		assert_has(out, text);
	}
	uint32_t lines = 0;
	for (const char *p = out; (p = strstr(p, "istio_xds_message_total{")); p++)
		lines++;
	assert_int_equal(lines, 1000);
	metrics_shard_free(a);
	metrics_shard_free(b);
}

static void emit_two(void *arg, struct metrics_emit *out)
{
	struct str labels[] = {STR("default"), STR("pod-1")};
	metrics_emit(out, labels, 2, *(int64_t *)arg);
	labels[1] = STR("");
	metrics_emit(out, labels, 2, -1);
}

static void emit_none(void *arg, struct metrics_emit *out)
{
	(void)arg;
	(void)out;
}

static void collectors(void **state)
{
	(void)state;
	int64_t value = 5;
	metrics_collect(METRIC_POD_CONNECTIONS, emit_two, &value);
	const char *text = scrape();
	assert_has(text, "gauze_pod_active_connections{namespace=\"default\",pod=\"pod-1\"} 5");
	assert_has(text, "gauze_pod_active_connections{namespace=\"default\",pod=\"unknown\"} -1");
	metrics_collect(METRIC_POD_CONNECTIONS, emit_none, NULL);
	assert_null(strstr(scrape(), "gauze_pod_active_connections"));
	metrics_collect(METRIC_POD_CONNECTIONS, NULL, NULL);
}

static void the_process(void **state)
{
	(void)state;
	metrics_process_init(STR("ztunnel"), STR(""));
	const char *text = scrape();
	assert_has(text, "# HELP istio_build Istio component build info.");
	assert_has(text, "istio_build{component=\"ztunnel\",tag=\"unknown\"} 1");
	assert_has(text, "# HELP process_open_fds Number of open file descriptors");
	long before = atol(strstr(text, "\nprocess_open_fds ") + 18);
	FILE *f = fopen("/dev/null", "r");
	text = scrape();
	assert_int_equal(atol(strstr(text, "\nprocess_open_fds ") + 18), before + 1);
	fclose(f);
	struct rlimit limit;
	char want[64];
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	snprintf(want, sizeof(want), "process_max_fds %llu", (unsigned long long)limit.rlim_cur);
	assert_has(text, want);
	assert_has(text, "gauze_log_waits_total 0");
}

static void content_types(void **state)
{
	(void)state;
	const char *open = "application/openmetrics-text;charset=utf-8;version=1.0.0";
	const char *plain = "text/plain; charset=utf-8";
	assert_string_equal(metrics_content_type(STR("")), plain);
	assert_string_equal(metrics_content_type(STR("text/plain")), plain);
	assert_string_equal(
		metrics_content_type(STR("application/openmetrics-text; version=1.0.0,*/*")), open);
	assert_string_equal(
		metrics_content_type(STR("text/plain;q=0.5,application/openmetrics-text;q=0.8")),
		open);
}

static void a_text_too_long_is_an_error(void **state)
{
	(void)state;
	struct sbuf small;
	sbuf_init(&small, 100);
	assert_true(metrics_render(&small) != 0);
	sbuf_fini(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(traffic_series),    cmocka_unit_test(histograms),
		cmocka_unit_test(units_and_escapes), cmocka_unit_test(shards_are_merged),
		cmocka_unit_test(collectors),	     cmocka_unit_test(the_process),
		cmocka_unit_test(content_types),     cmocka_unit_test(a_text_too_long_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
