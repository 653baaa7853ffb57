/* SPDX-License-Identifier: Apache-2.0 */
/* The families of metrics.def, and those without labels, through a scrape. */
#include "metrics_text.h"

#include "shared/obs/metrics_private.h"

static bool name_ok(const char *s)
{
	return strlen(s) > 0 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s);
}

static void the_table_is_sound(void **state)
{
	(void)state;
	for (int i = 0; i < METRIC_COUNT; i++) {
		const struct family *f = &metric_families[i];
		assert_true(name_ok(f->name));
		assert_true(strlen(f->help) > 10);
		bool of_the_system = strncmp(f->name, "process_", 8) == 0 ||
				     strncmp(f->name, "tokio_", 6) == 0;
		assert_int_equal(f->help[strlen(f->help) - 1] == '.', !of_the_system);
		assert_true(str_ends(str_of(f->name), str_of(f->unit)));
		assert_false(str_ends(str_of(f->name), STR("_total")));
		for (int k = 0; k < f->labels_count; k++)
			assert_true(name_ok(f->labels[k]));
		for (int k = 1; k < f->bounds_count; k++)
			assert_true(f->bounds_ns[k - 1] < f->bounds_ns[k]);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(f->name, metric_families[k].name);
	}
}

static void names_operators_know(void **state)
{
	(void)state;
	static const char *const names[] = {
		"process_open_fds",
		"process_max_fds",
		"tokio_num_workers",
		"istio_build",
		"istio_xds_connection_terminations",
		"istio_xds_message",
		"istio_xds_message_bytes",
		"istio_tcp_connections_opened",
		"istio_tcp_connections_closed",
		"istio_tcp_connections_failed",
		"istio_tcp_received_bytes",
		"istio_tcp_sent_bytes",
		"istio_tcp_sockets_open",
		"istio_crl_policy_rejections",
		"istio_crl_untracked_connections",
		"istio_on_demand_dns",
		"istio_dns_requests",
		"istio_dns_upstream_requests",
		"istio_dns_upstream_failures",
		"istio_dns_upstream_request_duration_seconds",
		"workload_manager_active_proxy_count",
		"workload_manager_pending_proxy_count",
		"workload_manager_proxies_started",
		"workload_manager_proxies_stopped",
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int found = 0;
		for (int k = 0; k < METRIC_COUNT; k++)
			found += strcmp(metric_families[k].name, names[i]) == 0;
		assert_int_equal(found, 1);
	}
	static const struct {
		int at;
		const char *label;
	} rows[] = {
		{TRAFFIC_REPORTER, "reporter"},
		{TRAFFIC_SOURCE_PRINCIPAL, "source_principal"},
		{TRAFFIC_SOURCE_CLUSTER, "source_cluster"},
		{TRAFFIC_DESTINATION_SERVICE, "destination_service"},
		{TRAFFIC_DESTINATION_SERVICE_NAME, "destination_service_name"},
		{TRAFFIC_DESTINATION_PRINCIPAL, "destination_principal"},
		{TRAFFIC_REQUEST_PROTOCOL, "request_protocol"},
		{TRAFFIC_RESPONSE_FLAGS, "response_flags"},
		{TRAFFIC_CONNECTION_SECURITY_POLICY, "connection_security_policy"},
		{TRAFFIC_DESTINATION_ZONE, "destination_zone"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(metric_families[METRIC_TCP_OPENED].labels[rows[i].at],
				    rows[i].label);
}

static void plain_families_add_up(void **state)
{
	(void)state;
	struct metrics_shard *a = metrics_shard_new(), *b = metrics_shard_new();
	const char *text = scrape();
	assert_has(text, "workload_manager_proxies_started_total 0");
	metric_add(a, METRIC_PROXIES_STARTED, 3);
	metric_add(b, METRIC_PROXIES_STARTED, 4);
	metric_gauge_add(a, METRIC_PROXIES_ACTIVE, 1);
	metric_gauge_add(b, METRIC_PROXIES_ACTIVE, -3);
	text = scrape();
	assert_has(
		text,
		"# HELP workload_manager_proxies_started The total number of proxies that were started "
		"(unstable).");
	assert_has(text, "# TYPE workload_manager_proxies_started counter");
	assert_has(text, "workload_manager_proxies_started_total 7");
	assert_has(text, "# TYPE workload_manager_active_proxy_count gauge");
	assert_has(text, "workload_manager_active_proxy_count -2");
	metrics_shard_free(a);
	assert_has(scrape(), "workload_manager_proxies_started_total 4");
	metrics_shard_free(b);
	metrics_shard_free(NULL);
}

static void no_shard_counts_nothing(void **state)
{
	(void)state;
	struct str label = STR("source");
	metric_add(NULL, METRIC_PROXIES_STARTED, 1);
	metric_gauge_add(NULL, METRIC_PROXIES_ACTIVE, 1);
	struct series *s = series_get(NULL, METRIC_TCP_SOCKETS, &label, 1);
	assert_null(s);
	series_add(s, 1);
	series_set(s, 1);
	series_observe_ns(s, 1);
	series_put(s);
	metric_add_labels(NULL, METRIC_TCP_SOCKETS, &label, 1, 1);
	assert_null(strstr(scrape(), "istio_tcp_sockets_open"));
}

static void shards_are_bounded(void **state)
{
	(void)state;
	static struct metrics_shard *all[LIMIT_THREADS];
	for (int i = 0; i < LIMIT_THREADS; i++)
		assert_non_null(all[i] = metrics_shard_new());
	assert_null(metrics_shard_new());
	metrics_shard_free(all[7]);
	assert_non_null(all[7] = metrics_shard_new());
	for (int i = 0; i < LIMIT_THREADS; i++)
		metrics_shard_free(all[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_sound),	 cmocka_unit_test(names_operators_know),
		cmocka_unit_test(plain_families_add_up), cmocka_unit_test(no_shard_counts_nothing),
		cmocka_unit_test(shards_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
