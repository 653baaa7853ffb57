/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_text.h"

#include <pthread.h>

#include "failalloc.h"

static struct series *get_url(struct metrics_shard *m, enum metric id, uint32_t i)
{
	char text[32];
	snprintf(text, sizeof(text), "u%u", i);
	struct str label = str_of(text);
	return series_get(m, id, &label, 1);
}

static void equal_labels_are_one_series(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	struct series *a = get_url(m, METRIC_XDS_MESSAGES, 1),
		      *b = get_url(m, METRIC_XDS_MESSAGES, 1);
	struct series *c = get_url(m, METRIC_XDS_MESSAGES, 2), *d = get_url(m, METRIC_XDS_BYTES, 1);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_ptr_not_equal(a, d);
	series_add(a, 1);
	series_put(a);
	series_put(b);
	/* Idle ones stay. */
	assert_ptr_equal(get_url(m, METRIC_XDS_MESSAGES, 1), a);
	assert_has(scrape(), "istio_xds_message_total{url=\"u1\"} 1");
	/* "" is "unknown", and values do not run into each other. */
	struct str empty[] = {STR("")}, unknown[] = {STR("unknown")};
	assert_ptr_equal(series_get(m, METRIC_XDS_MESSAGES, empty, 1),
			 series_get(m, METRIC_XDS_MESSAGES, unknown, 1));
	struct str ab[] = {STR("ab"), STR("c")}, bc[] = {STR("a"), STR("bc")};
	assert_ptr_not_equal(series_get(m, METRIC_POD_CONNECTIONS, ab, 2),
			     series_get(m, METRIC_POD_CONNECTIONS, bc, 2));
	metrics_shard_free(m);
}

static void gauges_at_zero_go(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	struct str pod[] = {STR("ns"), STR("pod")};
	struct series *s = series_get(m, METRIC_POD_CONNECTIONS, pod, 2);
	series_add(s, 1);
	series_put(s);
	assert_has(scrape(), "gauze_pod_active_connections{namespace=\"ns\",pod=\"pod\"} 1");
	metric_add_labels(m, METRIC_POD_CONNECTIONS, pod, 2, -1);
	assert_null(strstr(scrape(), "gauze_pod_active_connections"));
	s = series_get(m, METRIC_POD_CONNECTIONS, pod, 2);
	series_set(s, 7);
	series_put(s);
	assert_has(scrape(), "gauze_pod_active_connections{namespace=\"ns\",pod=\"pod\"} 7");
	metrics_shard_free(m);
}

static void absurd_labels_are_cut(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	static char big[10000];
	struct str labels[TRAFFIC_LABELS];
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < TRAFFIC_LABELS; i++)
		labels[i] = (struct str){big, sizeof(big)};
	metric_add_labels(m, METRIC_TCP_OPENED, labels, TRAFFIC_LABELS, 1);
	assert_true(strlen(strstr(scrape(), "istio_tcp_connections_opened_total")) < 12000);
	metrics_shard_free(m);
}

static void families_are_bounded(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	static struct series *held[LIMIT_SERIES];
	for (uint32_t i = 0; i < LIMIT_SERIES; i++) {
		held[i] = get_url(m, METRIC_XDS_MESSAGES, i);
		series_add(held[i], i + 1);
	}
	/* All in use: what comes now is counted together. */
	struct series *x = get_url(m, METRIC_XDS_MESSAGES, LIMIT_SERIES);
	struct series *y = get_url(m, METRIC_XDS_MESSAGES, LIMIT_SERIES + 1);
	assert_ptr_equal(x, y);
	series_add(x, 5);
	series_put(x);
	series_put(y);
	const char *text = scrape();
	assert_has(text, "istio_xds_message_total{url=\"overflow\"} 5");
	assert_has(text, "gauze_metric_series_overflow_total 2");
	/* What was known goes on, and other families have room. */
	x = get_url(m, METRIC_XDS_MESSAGES, 7);
	assert_ptr_equal(x, held[7]);
	series_put(x);
	x = get_url(m, METRIC_XDS_BYTES, 7);
	series_add(x, 1);
	assert_has(scrape(), "istio_xds_message_bytes_total{url=\"u7\"} 1");
	series_put(x);
	/* Of the idle ones, the one that is idle longest goes. */
	series_put(held[3]);
	series_put(held[2]);
	x = get_url(m, METRIC_XDS_MESSAGES, LIMIT_SERIES);
	series_add(x, 9);
	text = scrape();
	assert_has(text, "istio_xds_message_total{url=\"u10000\"} 9");
	assert_null(strstr(text, "istio_xds_message_total{url=\"u3\"}"));
	assert_has(text, "istio_xds_message_total{url=\"u2\"} 3");
	assert_has(text, "gauze_metric_series_overflow_total 2");
	metrics_shard_free(m);
}

static bool use(struct metrics_shard *m)
{
	uint64_t before = 0;
	for (uint32_t i = 0; i < 200; i++) {
		struct series *s = get_url(m, METRIC_XDS_MESSAGES, i);
		CHECK(s);
		series_add(s, 1);
		series_put(s);
		before++;
	}
	struct str pod[] = {STR("ns"), STR("pod")};
	metric_add_labels(m, METRIC_POD_CONNECTIONS, pod, 2, 1);
	metric_add_labels(m, METRIC_POD_CONNECTIONS, pod, 2, -1);
	return before == 200;
}

static uint64_t total_messages(const char *text)
{
	uint64_t sum = 0;
	for (const char *p = text; (p = strstr(p, "\nistio_xds_message_total{")); p++)
		sum += strtoull(strchr(p, '}') + 1, NULL, 10);
	return sum;
}

static void failing_memory_counts_under_overflow(void **state)
{
	(void)state;
	uint32_t n = 0;
	for (;; n++) {
		failalloc_begin(n);
		struct metrics_shard *m = metrics_shard_new();
		bool ok = m && use(m);
		bool failed = failalloc_end();
		if (m) {
			/* Nothing is lost, whatever failed. */
			assert_int_equal(total_messages(scrape()), 200);
			assert_true(ok);
		} else {
			assert_true(failed);
		}
		metrics_shard_free(m);
		if (!failed)
			break;
		assert_true(n < 1000);
	}
	assert_true(n > 400);
}

static void a_failing_scrape_says_so(void **state)
{
	(void)state;
	struct metrics_shard *m = metrics_shard_new();
	assert_true(use(m));
	for (uint32_t n = 0;; n++) {
		struct sbuf text;
		sbuf_init(&text, LIMIT_METRICS_TEXT_BYTES);
		failalloc_begin(n);
		int rc = metrics_render(&text);
		bool failed = failalloc_end();
		assert_int_equal(rc != 0, failed);
		sbuf_fini(&text);
		if (!failed)
			break;
	}
	metrics_shard_free(m);
}

/* ---- threads ---- */

enum { THREADS = 3, ROUNDS = 3000 };

static bool finished[THREADS];

static void *worker(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	struct metrics_shard *m = metrics_shard_new();
	CHECK(m);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		metric_add(m, METRIC_IO_STARVED, 1);
		metric_gauge_add(m, METRIC_PROXIES_ACTIVE, i % 2 ? -1 : 1);
		struct series *s = get_url(m, METRIC_XDS_MESSAGES, i % 50);
		series_add(s, 1);
		series_put(s);
		/* Comes and goes under the scrape. */
		char name[16];
		snprintf(name, sizeof(name), "p%u", i % 7);
		struct str pod[] = {STR("ns"), str_of(name)};
		s = series_get(m, METRIC_POD_CONNECTIONS, pod, 2);
		series_add(s, 1);
		struct str reporter = STR("source");
		struct series *h = series_get(m, METRIC_CONNECT_DURATION, &reporter, 1);
		series_observe_ns(h, i * 1000ULL);
		series_put(h);
		series_add(s, -1);
		series_put(s);
	}
	__atomic_store_n(&finished[me], true, __ATOMIC_RELEASE);
	return m;
}

static void scraping_while_counting(void **state)
{
	(void)state;
	pthread_t thread[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, worker, (void *)i), 0);
	uint64_t last = 0;
	bool all = false;
	while (!all) {
		all = true;
		for (int i = 0; i < THREADS; i++)
			all &= __atomic_load_n(&finished[i], __ATOMIC_ACQUIRE);
		uint64_t now = total_messages(scrape());
		assert_true(now >= last);
		last = now;
	}
	assert_int_equal(last, THREADS * ROUNDS);
	struct metrics_shard *m[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], (void **)&m[i]);
	const char *text = scrape();
	assert_has(text, "gauze_io_starved_total 9000");
	assert_has(text, "workload_manager_active_proxy_count 0");
	assert_has(text, "gauze_connect_duration_seconds_count{reporter=\"source\"} 9000");
	assert_null(strstr(text, "gauze_pod_active_connections"));
	for (int i = 0; i < THREADS; i++)
		metrics_shard_free(m[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_labels_are_one_series),
		cmocka_unit_test(gauges_at_zero_go),
		cmocka_unit_test(absurd_labels_are_cut),
		cmocka_unit_test(families_are_bounded),
		cmocka_unit_test(failing_memory_counts_under_overflow),
		cmocka_unit_test(a_failing_scrape_says_so),
		cmocka_unit_test(scraping_while_counting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
