/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/limits.h"
#include "shared/wire/forwarded.h"

static void formats(void **state)
{
	(void)state;
	static const struct {
		const char *addr, *host, *out;
	} rows[] = {
		{"127.0.0.1:80", "", "for=\"127.0.0.1:80\""},
		{"[::1]:80", "", "for=\"[::1]:80\""},
		{"127.0.0.1:80", "example.com", "for=\"127.0.0.1:80\";host=example.com"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sbuf out;
		struct addr a;
		sbuf_init(&out, 1000);
		assert_int_equal(addr_parse(str_of(rows[i].addr), &a), 0);
		forwarded_format(&a, str_of(rows[i].host), &out);
		assert_str(sbuf_str(&out), rows[i].out);
		sbuf_fini(&out);
	}
}

static void finds_the_host(void **state)
{
	(void)state;
	static const struct {
		const char *in, *host;
	} rows[] = {
		{"by=identifier;for=identifier;host=example.com;proto=https", "example.com"},
		{"by=identifier;for=identifier;host=\"example.com\";proto=https", "example.com"},
		{"for=\"127.0.0.1:80\";host=a.b.svc", "a.b.svc"},
		{" host=a ", "a"},
		{"for=x;  host=a", "a"},
		{"for=x;host=\"a", "a"},
		{"for=x;host=a\"", "a"},
		{"host=a;host=b", "a"},
		{"by=identifier;for=identifier;proto=https", ""},
		{"for=identifier;host=;proto=https", ""},
		{"for=identifier;host=\"\"", ""},
		{"for=identifier;host=\"", ""},
		{"host=;host=b", ""},
		{"Host=a", ""},
		{"xhost=a", ""},
		{"host", ""},
		{"", ""},
		{"for=for;host=host;proto=\"pr\xc3\xb6to\"", ""},
		{"host=a\nb", ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_str(forwarded_host(str_of(rows[i].in)), rows[i].host);
	assert_str(forwarded_host((struct str){NULL, 0}), "");
}

static void absurd_lengths_are_not_read(void **state)
{
	(void)state;
	char big[LIMIT_FORWARDED_BYTES + 1];
	memset(big, 'a', sizeof(big));
	memcpy(big, "host=", 5);
	assert_int_equal(forwarded_host((struct str){big, sizeof(big) - 1}).n,
			 LIMIT_FORWARDED_BYTES - 5);
	assert_int_equal(forwarded_host((struct str){big, sizeof(big)}).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
		cmocka_unit_test(finds_the_host),
		cmocka_unit_test(absurd_lengths_are_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
