/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/wire/baggage.h"

static void formats_what_is_known(void **state)
{
	(void)state;
	struct baggage b = {
		.cluster = STR("C"),
		.namespace = STR("N"),
		.workload = STR("W"),
		.service = STR("S"),
		.revision = STR("R"),
		.region = STR("eu"),
		.zone = STR("eu-1"),
	};
	struct sbuf out;
	sbuf_init(&out, 4096);
	baggage_format(&b, STR("deployment"), &out);
	assert_str(sbuf_str(&out),
		   "k8s.cluster.name=C,k8s.namespace.name=N,k8s.deployment.name=W,service.name=S,"
		   "service.version=R,cloud.region=eu,cloud.availability_zone=eu-1");
	sbuf_reset(&out);
	baggage_format(&(struct baggage){.workload = STR("W"), .region = STR("eu")}, STR("pod"),
		       &out);
	assert_str(sbuf_str(&out), "k8s.pod.name=W,cloud.region=eu");
	/* It appends. */
	baggage_format(&(struct baggage){.zone = STR("z")}, STR("pod"), &out);
	assert_str(sbuf_str(&out), "k8s.pod.name=W,cloud.region=eucloud.availability_zone=z");
	sbuf_reset(&out);
	baggage_format(&(struct baggage){0}, STR("pod"), &out);
	assert_str(sbuf_str(&out), "");
	/* What would read as something else is not said. */
	baggage_format(&(struct baggage){.cluster = STR("a,service.name=evil"),
					 .service = STR("s\r\nx: y"),
					 .revision = STR("v\xc3\xbc"),
					 .zone = STR("z")},
		       STR("pod"), &out);
	assert_str(sbuf_str(&out), "cloud.availability_zone=z");
	sbuf_fini(&out);
}

static void parses(void **state)
{
	(void)state;
	struct baggage b = {0};
	assert_int_equal(
		baggage_parse(
			STR("k8s.cluster.name=K1,k8s.namespace.name=NS1,k8s.deployment.name=N1,"
			    "service.name=N2,service.version=V1,cloud.region=R,cloud.availability_zone=Z"),
			&b),
		0);
	assert_str(b.cluster, "K1");
	assert_str(b.namespace, "NS1");
	assert_str(b.workload, "N1");
	assert_str(b.service, "N2");
	assert_str(b.revision, "V1");
	assert_str(b.region, "R");
	assert_str(b.zone, "Z");
}

static void each_kind_of_workload(void **state)
{
	(void)state;
	static const char *const rows[] = {"k8s.deployment.name=w", "k8s.cronjob.name=w",
					   "k8s.pod.name=w", "k8s.job.name=w"};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct baggage b = {0};
		assert_int_equal(baggage_parse(str_of(rows[i]), &b), 0);
		assert_str(b.workload, "w");
	}
	struct baggage b = {0};
	assert_int_equal(baggage_parse(STR("k8s.replicaset.name=w,k8s..name=w"), &b), 0);
	assert_int_equal(b.workload.n, 0);
}

static void odd_values(void **state)
{
	(void)state;
	static const struct {
		const char *in, *service;
	} rows[] = {
		{"service.name=", ""},
		{"service.name", ""},
		{"", ""},
		{",,,=,=x,", ""},
		{"service.name=a=b", "a"},
		{" service.name=a ,x=y", "a"},
		{"service.name=a,service.name=b", "b"},
		{"service.name=a,service.name=", ""},
		{"service.name = a = b", "a"},
		{"SERVICE.NAME=a", ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct baggage b = {0};
		assert_int_equal(baggage_parse(str_of(rows[i].in), &b), 0);
		assert_str(b.service, rows[i].service);
	}
}

static void refuses(void **state)
{
	(void)state;
	struct baggage b = {.zone = STR("kept")};
	assert_int_equal(baggage_parse(STR("cloud.availability_zone=\xc3\xbc"), &b), ERR_SYNTAX);
	assert_int_equal(baggage_parse(STR("cloud.availability_zone=a\nb"), &b), ERR_SYNTAX);
	char *big = calloc(1, LIMIT_BAGGAGE_BYTES + 1);
	memset(big, 'a', LIMIT_BAGGAGE_BYTES + 1);
	assert_int_equal(baggage_parse((struct str){big, LIMIT_BAGGAGE_BYTES + 1}, &b),
			 ERR_TOO_LARGE);
	assert_int_equal(baggage_parse((struct str){big, LIMIT_BAGGAGE_BYTES}, &b), 0);
	assert_str(b.zone, "kept");
	free(big);
}

static void headers_add_up(void **state)
{
	(void)state;
	const struct header v[] = {
		{STR("baggage"), STR("k8s.cluster.name=K1")},
		{STR("other"), STR("k8s.cluster.name=K2")},
		{STR("baggage"), STR("service.name=S")},
		{STR("baggage"), STR("\x01")},
	};
	struct baggage b = baggage_from_headers(v, 3);
	assert_str(b.cluster, "K1");
	assert_str(b.service, "S");
	b = baggage_from_headers(v, 4);
	assert_int_equal(b.cluster.n + b.service.n, 0);
	b = baggage_from_headers(v, 0);
	assert_int_equal(b.cluster.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_what_is_known),
		cmocka_unit_test(parses),
		cmocka_unit_test(each_kind_of_workload),
		cmocka_unit_test(odd_values),
		cmocka_unit_test(refuses),
		cmocka_unit_test(headers_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
