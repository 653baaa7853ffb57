/* SPDX-License-Identifier: Apache-2.0 */
/* Contract sections 11 and 12: formats, defaults, precedence, worker count, and errors that name the culprit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/err.h"
#include "ztunnel/config.h"
#include "ztunnel/config_parse.h"

static char error[CONFIG_ERROR_MAX];

static struct config *load(const char *mesh, char *const *env, uint32_t cores)
{
	struct config_source source = {
		.environ = env, .mesh_path = mesh ? mesh : "/nonexistent", .host_cores = cores};
	struct config *c = NULL;
	error[0] = 0;
	int rc = config_load(&source, &c, error);
	assert_int_equal(rc == 0, c != NULL);
	if (rc)
		assert_string_not_equal(error, "");
	return c;
}

#define LOAD(...) load(NULL, (char *const[]){__VA_ARGS__, NULL}, 8)

static void defaults(void **state)
{
	(void)state;
	struct config *c = LOAD("PATH=/bin");
	assert_non_null(c);
	assert_true(c->enable_proxy);
	assert_int_equal(c->mode, CONFIG_SHARED);
	assert_int_equal(c->packet_mark, 1337);
	assert_int_equal(c->orig_src, CONFIG_ORIG_SRC_AUTO);
	assert_string_equal(c->network, "");
	assert_string_equal(c->cluster_id, "Kubernetes");
	assert_string_equal(c->instance_ip, "1.1.1.1");
	assert_string_equal(c->xds_address, "https://localhost:15012");
	assert_string_equal(c->ca_address, "https://localhost:15012");
	assert_string_equal(c->inpod_uds, "/var/run/ztunnel/ztunnel.sock");
	assert_true(c->keepalive.enabled);
	assert_int_equal(c->keepalive.idle_s, 180);
	assert_int_equal(c->keepalive.interval_s, 180);
	assert_int_equal(c->keepalive.count, 9);
	assert_int_equal(c->keepalive.user_timeout_ms, 600000);
	assert_int_equal(c->h2_stream_window, 4194304);
	assert_int_equal(c->h2_connection_window, 16777216);
	assert_int_equal(c->h2_frame_size, 1048576);
	assert_int_equal(c->pool_max_streams, 100);
	assert_int_equal(c->pool_unused_ms, 300000);
	assert_int_equal(c->drain_deadline_ms, 5000);
	assert_int_equal(c->secret_ttl_ms, 86400000);
	assert_int_equal(c->admin_port, 15000);
	assert_int_equal(c->stats_port, 15020);
	assert_int_equal(c->dns_addr.port, 15053);
	assert_true(c->dns_proxy);
	assert_false(c->socks5);
	assert_true(c->localhost_app_tunnel);
	assert_true(c->response_baggage);
	assert_false(c->log_json);
	assert_null(c->crl_path);
	assert_null(c->local_xds_path);
	assert_null(c->io_backend);
	config_free(c);
}

static void values(void **state)
{
	(void)state;
	struct config *c = LOAD("UNSTABLE_ENABLE_SOCKS5=true", "KEEPALIVE_TIME=1m30s",
				"USER_TIMEOUT_ENABLED=true", "ENABLE_ORIG_SRC=false",
				"XDS_ADDRESS=", "CA_ADDRESS=ca.example:1", "XDS_HEADER_X-Key=v 1",
				"LOG_FORMAT=json", "GAUZE_IO=epoll",
				"KUBERNETES_SERVICE_HOST=10.0.0.1", "ISTIO_META_DNS_CAPTURE=false",
				"ISTIO_METAJSON_LABELS={\"a\":1}", "PACKET_MARK=7",
				"COMPLIANCE_POLICY=pqc", "AUTH_TOKEN=secret");
	assert_non_null(c);
	assert_int_equal(c->keepalive.idle_s, 90);
	assert_int_equal(c->keepalive.user_timeout_ms, 90000 + 9 * 180000);
	assert_int_equal(c->orig_src, CONFIG_ORIG_SRC_OFF);
	assert_string_equal(c->xds_address, "");
	assert_string_equal(c->ca_address, "https://ca.example:1");
	assert_string_equal(config_map_get(&c->xds_headers, "x-key"), "v 1");
	assert_true(c->log_json);
	assert_string_equal(c->io_backend, "epoll");
	assert_false(c->dns_proxy);
	assert_string_equal(config_map_get(&c->json_metadata, "LABELS"), "{\"a\":1}");
	assert_null(config_map_get(&c->proxy_metadata, "LABELS"));
	assert_int_equal(c->packet_mark, 7);
	assert_true(c->pqc_only);
	assert_string_equal(c->auth_token, "secret");
	assert_null(c->auth_token_path);
	config_free(c);
}

static void bad_values(void **state)
{
	(void)state;
	static const struct {
		char *env[3];
		const char *says[2];
	} cases[] = {
		{{"ENABLE_PROXY=True"}, {"ENABLE_PROXY=True", "true or false"}},
		{{"ENABLE_PROXY=1"}, {"ENABLE_PROXY=1", "true or false"}},
		{{"POOL_UNUSED_RELEASE_TIMEOUT=5"}, {"POOL_UNUSED_RELEASE_TIMEOUT=5", "duration"}},
		{{"SECRET_TTL=1w"}, {"SECRET_TTL=1w", "duration"}},
		{{"KEEPALIVE_RETRIES=-1"}, {"KEEPALIVE_RETRIES=-1", "number"}},
		{{"KEEPALIVE_TIME=100ms"}, {"KEEPALIVE_TIME", "1s"}},
		{{"HTTP2_FRAME_SIZE=99999999"}, {"HTTP2_FRAME_SIZE=99999999", "number"}},
		{{"HTTP2_FRAME_SIZE=100"}, {"HTTP2_FRAME_SIZE=100", "16384"}},
		{{"PROXY_MODE=both"}, {"PROXY_MODE=both", "dedicated"}},
		{{"PROXY_MODE=dedicated"}, {"PROXY_WORKLOAD_INFO", "required"}},
		{{"PROXY_MODE=dedicated", "PROXY_WORKLOAD_INFO=a/b"}, {"PROXY_WORKLOAD_INFO=a/b"}},
		{{"PROXY_MODE=dedicated", "PROXY_WORKLOAD_INFO=a/b/c/d"}, {"a/b/c/d"}},
		{{"PACKET_MARK=0x539"}, {"PACKET_MARK=0x539", "number"}},
		{{"ENABLE_ORIG_SRC=auto"}, {"ENABLE_ORIG_SRC=auto", "true or false"}},
		{{"LOCAL_XDS=a", "LOCAL_XDS_PATH=b"}, {"LOCAL_XDS", "LOCAL_XDS_PATH"}},
		{{"ISTIO_META_DNS_PROXY_ADDR=nohost:1"}, {"DNS_PROXY_ADDR=nohost:1"}},
		{{"XDS_ON_DEMAND=true"}, {"XDS_ON_DEMAND"}},
		{{"ENABLE_PROXY=false", "ISTIO_META_DNS_CAPTURE=false"}, {"ENABLE_PROXY=false"}},
		{{"XDS_HEADER_A B=1"}, {"XDS_HEADER_A B"}},
		{{"CA_HEADER_A=\x01"}, {"CA_HEADER_A"}},
		{{"ZTUNNEL_WORKER_THREADS=many"}, {"ZTUNNEL_WORKER_THREADS=many"}},
		{{"ZTUNNEL_WORKER_THREADS=101%"}, {"ZTUNNEL_WORKER_THREADS=101%"}},
		{{"ZTUNNEL_RESOURCE_CPU_LIMIT=2x"}, {"ZTUNNEL_RESOURCE_CPU_LIMIT=2x", "quantity"}},
		{{"ZTUNNEL_CPU_LIMIT=0"}, {"ZTUNNEL_CPU_LIMIT=0"}},
		{{"CONNECTION_TERMINATION_DEADLINE=x"}, {"CONNECTION_TERMINATION_DEADLINE=x"}},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=5s"}, {"TERMINATION_GRACE_PERIOD_SECONDS=5s"}},
		{{"GAUZE_IO=kqueue"}, {"GAUZE_IO=kqueue", "epoll"}},
		{{"COMPLIANCE_POLICY=fips"}, {"COMPLIANCE_POLICY=fips", "pqc"}},
		{{"PROXY_CONFIG=proxyMetadata: [a]"}, {"PROXY_CONFIG", "line 1"}},
		{{"PROXY_CONFIG=concurrency: 2"}, {"PROXY_CONFIG", "proxyMetadata is missing"}},
		{{"PROXY_CONFIG={statsPort: 70000, proxyMetadata: {}}"}, {"statsPort=70000"}},
		{{"PROXY_CONFIG=\"unfinished"}, {"PROXY_CONFIG", "line"}},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_null(load(NULL, cases[i].env, 8));
		for (size_t k = 0; k < 2 && cases[i].says[k]; k++)
			if (!strstr(error, cases[i].says[k]))
				fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].env[0], error,
					 cases[i].says[k]);
	}
}

/* config_from_proxyconfig: environment over PROXY_CONFIG over the mesh config file. */
static void precedence(void **state)
{
	(void)state;
	char path[] = "/tmp/gauze-mesh-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");
	fputs("trustDomain: x\n"
	      "defaultConfig:\n"
	      "  discoveryAddress: mesh:1\n"
	      "  statsPort: 1111\n"
	      "  proxyAdminPort: 2222\n"
	      "  tracing: {}\n"
	      "  proxyMetadata:\n"
	      "    ISTIO_META_A: mesh\n"
	      "    ISTIO_META_B: mesh\n"
	      "    ISTIO_META_C: mesh\n",
	      f);
	fclose(f);
	char *const env[] = {
		"PROXY_CONFIG={\"discoveryAddress\": \"pc:2\", \"statsPort\": 3333, "
		"\"proxyMetadata\": {\"ISTIO_META_B\": \"pc\", \"ISTIO_META_C\": \"pc\"}}",
		"ISTIO_META_C=env", "ISTIO_META_CLUSTER_ID=c1", "CLUSTER_ID=c2", NULL};
	struct config *c = load(path, env, 8);
	assert_non_null(c);
	assert_string_equal(c->xds_address, "https://pc:2");
	assert_string_equal(c->ca_address, "https://localhost:15012");
	assert_int_equal(c->stats_port, 3333);
	assert_int_equal(c->admin_port, 2222);
	assert_string_equal(config_map_get(&c->proxy_metadata, "A"), "mesh");
	assert_string_equal(config_map_get(&c->proxy_metadata, "B"), "pc");
	assert_string_equal(config_map_get(&c->proxy_metadata, "C"), "env");
	assert_string_equal(c->cluster_id, "c1");
	config_free(c);
	c = load(path, (char *const[]){"XDS_ADDRESS=http://env:3", NULL}, 8);
	assert_string_equal(c->xds_address, "http://env:3");
	config_free(c);
	f = fopen(path, "w");
	fputs("rootNamespace: istio-system\n", f);
	fclose(f);
	c = load(path, (char *const[]){"A=b", NULL}, 8);
	assert_non_null(c);
	config_free(c);
	unlink(path);
}

/* test_parse_worker_threads and contract section 12. */
static void workers(void **state)
{
	(void)state;
	static const struct {
		char *env[4];
		uint32_t cores, want;
	} cases[] = {
		{{NULL}, 8, 2},
		{{NULL}, 9, 3},
		{{NULL}, 1, 2},
		{{NULL}, 64, 16},
		{{"ZTUNNEL_WORKER_THREADS=4"}, 1, 4},
		{{"ZTUNNEL_WORKER_THREADS=0"}, 6, 6},
		{{"ZTUNNEL_WORKER_THREADS=50%"}, 8, 4},
		{{"ZTUNNEL_WORKER_THREADS=50%"}, 5, 3},
		{{"ZTUNNEL_WORKER_THREADS=1%"}, 4, 1},
		{{"ZTUNNEL_WORKER_THREADS=50%", "ZTUNNEL_CPU_LIMIT=16"}, 4, 8},
		{{"PROXY_CONFIG={concurrency: 3, proxyMetadata: {}}"}, 8, 3},
		{{"PROXY_CONFIG={concurrency: 0, proxyMetadata: {}}"}, 8, 8},
		{{"ZTUNNEL_RESOURCE_CPU_LIMIT=1500m"}, 8, 2},
		{{"ZTUNNEL_RESOURCE_CPU_LIMIT=1", "ZTUNNEL_RESOURCE_CPU_REQUEST=3"}, 8, 3},
		{{"ZTUNNEL_RESOURCE_CPU_REQUEST=2500m"}, 8, 3},
		{{"ZTUNNEL_CPU_LIMIT=40"}, 8, 10},
		{{"ZTUNNEL_WORKER_THREADS=0", "ZTUNNEL_RESOURCE_CPU_LIMIT=3",
		  "ZTUNNEL_CPU_LIMIT=9"},
		 8,
		 3},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config *c = load(NULL, cases[i].env, cases[i].cores);
		assert_non_null(c);
		assert_int_equal(c->workers, cases[i].want);
		config_free(c);
	}
}

/* Contract section 11: an explicit deadline; else grace above 10 s less 5, otherwise less 1. */
static void deadline(void **state)
{
	(void)state;
	static const struct {
		char *env[3];
		uint64_t want_ms;
	} cases[] = {
		{{NULL}, 5000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=30"}, 25000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=11"}, 6000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=10"}, 9000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=1"}, 1000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=0"}, 1000},
		{{"TERMINATION_GRACE_PERIOD_SECONDS=30", "CONNECTION_TERMINATION_DEADLINE=2m"},
		 120000},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config *c = load(NULL, cases[i].env, 8);
		assert_non_null(c);
		assert_int_equal(c->drain_deadline_ms, cases[i].want_ms);
		config_free(c);
	}
}

static void dedicated(void **state)
{
	(void)state;
	struct config *c = LOAD("PROXY_MODE=dedicated", "PROXY_WORKLOAD_INFO=default/app/sleep");
	assert_non_null(c);
	assert_int_equal(c->mode, CONFIG_DEDICATED);
	assert_string_equal(c->own_namespace, "default");
	assert_string_equal(c->own_name, "app");
	assert_string_equal(c->own_service_account, "sleep");
	assert_int_equal(c->packet_mark, 0);
	config_free(c);
}

static void formats(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t want; /* negative: refused */
	} times[] =
		{
			{"10s", 10000},	   {"5m", 300000},
			{"1m30s", 90000},  {"250ms", 250},
			{"24h", 86400000}, {"0s", 0},
			{"", -1},	   {"s", -1},
			{"10", -1},	   {"1.5s", -1},
			{"-1s", -1},	   {"10 s", -1},
			{"10S", -1},	   {"9999999999999d", -1},
		},
	  cpus[] = {
		  {"2", 2000}, {"0.5", 500},  {"100m", 100},   {"1e1", 10000}, {"250001u", 251},
		  {".5", 500}, {"2.1", 2100}, {"1k", 1000000}, {"", -1},       {"-1", -1},
		  {"1x", -1},  {"nan", -1},   {"0x10", -1},    {" 1", -1},     {"1e99", -1},
	  };
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		uint64_t got = 77;
		int rc = config_parse_duration(times[i].text, &got);
		assert_int_equal(rc == 0, times[i].want >= 0);
		assert_int_equal(got, rc ? 77 : (uint64_t)times[i].want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
		uint64_t got = 77;
		int rc = config_parse_cpu(cpus[i].text, &got);
		if ((rc == 0) != (cpus[i].want >= 0) || got != (rc ? 77 : (uint64_t)cpus[i].want))
			fail_msg("%s: %d %lu", cpus[i].text, rc, got);
	}
}

static void help_names_every_variable(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	config_print_help(f);
	fclose(f);
	assert_non_null(strstr(text, "POOL_MAX_STREAMS_PER_CONNECTION"));
	assert_non_null(strstr(text, "(default: 4194304)"));
	assert_non_null(strstr(text, "GAUZE_DEV_CA_DIR"));
	assert_null(strstr(text, "(null)"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(precedence),
		cmocka_unit_test(workers),
		cmocka_unit_test(deadline),
		cmocka_unit_test(dedicated),
		cmocka_unit_test(formats),
		cmocka_unit_test(help_names_every_variable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
