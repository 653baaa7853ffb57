/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/wire/hbone.h"

static void authorities(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out; /* NULL: refused */
		bool host;
	} rows[] = {
		{"10.0.0.1:80", "10.0.0.1:80", false},
		{"[fd00::1]:8080", "[fd00::1]:8080", false},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1:80", false},
		{"httpbin.default.svc.cluster.local:8000", "httpbin.default.svc.cluster.local:8000",
		 true},
		{"a:0", "a:0", true},
		{"10.0.0.1:0", "10.0.0.1:0", false},
		{"A_b-c:1", "A_b-c:1", true},
		/* Not an address, but a name that nobody has. */
		{"10.0.0.999:80", "10.0.0.999:80", true},
		{"", NULL, false},
		{":80", NULL, false},
		{"host", NULL, false},
		{"host:", NULL, false},
		{"host:http", NULL, false},
		{"host:65536", NULL, false},
		{"host:000080", NULL, false},
		{"host:-1", NULL, false},
		{"10.0.0.1", NULL, false},
		{"fd00::1:80", NULL, false},
		{"[fd00::1]", NULL, false},
		{"[fd00::g]:80", NULL, false},
		{"[host]:80", NULL, false},
		{"user@host:80", NULL, false},
		{"ho st:80", NULL, false},
		{"host/path:80", NULL, false},
		{"h\xc3\xb6st:80", NULL, false},
		{"http://host:80", NULL, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hbone_target t = {.addr.port = 7};
		int rc = hbone_target_parse(str_of(rows[i].in), &t);
		if (!rows[i].out) {
			assert_int_equal(rc, ERR_SYNTAX);
			assert_int_equal(t.addr.port, 7);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(hbone_target_is_host(&t), rows[i].host);
		struct sbuf out;
		sbuf_init(&out, 1000);
		hbone_target_format(&t, &out);
		assert_str(sbuf_str(&out), rows[i].out);
		sbuf_fini(&out);
	}
	struct hbone_target t;
	assert_int_equal(hbone_target_parse((struct str){"a\0b:80", 6}, &t), ERR_SYNTAX);
	char big[LIMIT_AUTHORITY_BYTES + 1];
	memset(big, 'a', sizeof(big));
	memcpy(big + sizeof(big) - 4, ":80", 3);
	big[sizeof(big) - 1] = '8';
	assert_int_equal(hbone_target_parse((struct str){big, sizeof(big) - 1}, &t), 0);
	assert_int_equal(hbone_target_parse((struct str){big, sizeof(big)}, &t), ERR_SYNTAX);
}

static void the_head_we_send(void **state)
{
	(void)state;
	struct header v[HBONE_HEADERS_MAX];
	struct hbone_connect c = {
		.authority = STR("10.0.0.1:80"),
		.baggage = STR("b"),
		.forwarded = STR("f"),
		.traceparent = STR("t"),
	};
	static const char *const names[] = {":method",	 ":authority",	"baggage",
					    "forwarded", "traceparent", "x-forwarded-network"};
	assert_int_equal(hbone_connect_head(&c, v), 5);
	for (size_t i = 0; i < 5; i++)
		assert_str(v[i].name, names[i]);
	assert_str(v[0].value, "CONNECT");
	assert_str(v[1].value, "10.0.0.1:80");
	c.forwarded_network = STR("net");
	assert_int_equal(hbone_connect_head(&c, v), 6);
	assert_str(v[5].name, names[5]);
	c = (struct hbone_connect){.authority = STR("a:1")};
	assert_int_equal(hbone_connect_head(&c, v), 2);
}

static void responses(void **state)
{
	(void)state;
	struct header v[HBONE_RESPONSE_HEADERS_MAX];
	assert_int_equal(hbone_response_head(200, STR("service.name=s"), v), 2);
	assert_str(v[0].name, ":status");
	assert_str(v[1].value, "service.name=s");
	assert_str(v[0].value, "200");
	assert_int_equal(hbone_response_head(200, STR(""), v), 1);
	assert_int_equal(hbone_response_head(503, STR("service.name=s"), v), 1);
	assert_str(v[0].value, "503");
}

static void a_request(void **state)
{
	(void)state;
	const struct header v[] = {
		{STR(":method"), STR("CONNECT")},
		{STR(":authority"), STR("10.0.0.1:80")},
		{STR("baggage"), STR("service.name=s")},
		{STR("forwarded"), STR("for=\"10.0.0.9:1\";host=svc.ns")},
		{STR("traceparent"),
		 STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")},
		{STR("x-forwarded-network"), STR("remote")},
		{STR("x-istio-source"), STR("waypoint")},
	};
	struct hbone_request r;
	assert_int_equal(hbone_request_parse(v, ARRAY_SIZE(v), &r), 0);
	assert_str(r.authority, "10.0.0.1:80");
	assert_int_equal(r.target.addr.port, 80);
	assert_str(r.baggage.service, "s");
	assert_str(r.forwarded_host, "svc.ns");
	assert_str(r.forwarded_network, "remote");
	assert_true(r.has_trace);
	/* All but the first two may be missing or nonsense. */
	struct header w[] = {
		v[0], v[1], {STR("traceparent"), STR("x")}, {STR("baggage"), STR("\x01")}};
	assert_int_equal(hbone_request_parse(w, 4, &r), 0);
	assert_false(r.has_trace);
	assert_int_equal(r.baggage.service.n + r.forwarded_host.n + r.forwarded_network.n, 0);
}

static void bad_requests(void **state)
{
	(void)state;
	const struct header method = {STR(":method"), STR("CONNECT")},
			    get = {STR(":method"), STR("GET")};
	const struct header authority = {STR(":authority"), STR("a:1")},
			    none = {STR(":authority"), STR("")};
	const struct header path = {STR(":path"), STR("/")},
			    scheme = {STR(":scheme"), STR("https")};
	const struct {
		struct header v[4];
		size_t n;
		int rc;
	} rows[] = {
		{{method}, 1, ERR_SYNTAX},
		{{method, none}, 2, ERR_SYNTAX},
		{{authority}, 1, ERR_H2_PROTOCOL},
		{{get, authority, path, scheme}, 4, ERR_UNSUPPORTED},
		{{method, authority, path}, 3, ERR_H2_PROTOCOL},
		{{method, authority, scheme}, 3, ERR_H2_PROTOCOL},
		{{method, method, authority}, 3, ERR_H2_PROTOCOL},
		{{method, authority, authority}, 3, ERR_H2_PROTOCOL},
		{{method}, 0, ERR_H2_PROTOCOL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hbone_request r = {.authority = STR("kept")};
		assert_int_equal(hbone_request_parse(rows[i].v, rows[i].n, &r), rows[i].rc);
		assert_str(r.authority, "kept");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(authorities),	cmocka_unit_test(the_head_we_send),
		cmocka_unit_test(responses),	cmocka_unit_test(a_request),
		cmocka_unit_test(bad_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
