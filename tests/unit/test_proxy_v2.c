/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/wire/proxy_v2.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static size_t build(const char *source, const char *destination, struct str identity, uint8_t *out)
{
	struct addr s, d;
	size_t len = 0;
	assert_int_equal(addr_parse(str_of(source), &s), 0);
	assert_int_equal(addr_parse(str_of(destination), &d), 0);
	assert_int_equal(proxy_v2_build(&s, &d, identity, out, &len), 0);
	return len;
}

static void ipv4(void **state)
{
	(void)state;
	uint8_t out[PROXY_V2_BYTES_MAX];
	static const char want[] = SIGNATURE
		"\x21\x11\0\x14\x0a\0\0\1\x0a\0\0\2\x30\x39\0\x50\xd0\0\5abcde";
	assert_int_equal(build("10.0.0.1:12345", "10.0.0.2:80", STR("abcde"), out),
			 sizeof(want) - 1);
	assert_memory_equal(out, want, sizeof(want) - 1);
}

static void ipv6_without_identity(void **state)
{
	(void)state;
	uint8_t out[PROXY_V2_BYTES_MAX];
	assert_int_equal(build("[fd00::1]:1", "[fd00::2]:2", STR(""), out), 16 + 36);
	assert_memory_equal(out, SIGNATURE "\x21\x21\0\x24\xfd", 17);
	assert_memory_equal(out + 16 + 32, "\0\1\0\2", 4);
}

static void mixed_families_are_unspecified(void **state)
{
	(void)state;
	uint8_t out[PROXY_V2_BYTES_MAX];
	assert_int_equal(build("[fd00::1]:1", "10.0.0.2:2", STR("i"), out), 16 + 4);
	assert_memory_equal(out, SIGNATURE "\x21\x01\0\4\xd0\0\1i", 20);
	assert_int_equal(build("10.0.0.1:1", "[fd00::1]:2", STR(""), out), 16);
}

static void longest_identity(void **state)
{
	(void)state;
	uint8_t out[PROXY_V2_BYTES_MAX];
	char name[SPIFFE_TEXT_MAX + 1];
	size_t len = 5;
	struct addr a = {0};
	memset(name, 'x', sizeof(name));
	assert_int_equal(
		build("[fd00::1]:1", "[fd00::2]:2", (struct str){name, SPIFFE_TEXT_MAX}, out),
		PROXY_V2_BYTES_MAX);
	assert_int_equal(proxy_v2_build(&a, &a, (struct str){name, sizeof(name)}, out, &len),
			 ERR_TOO_LARGE);
	assert_int_equal(len, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipv4),
		cmocka_unit_test(ipv6_without_identity),
		cmocka_unit_test(mixed_families_are_unspecified),
		cmocka_unit_test(longest_identity),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
