/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <netinet/in.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"

static void ips(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out; /* NULL: refused */
	} rows[] = {
		{"10.0.0.1", "10.0.0.1"},
		{"fd00::1", "fd00::1"},
		{"FD00:0:0::1", "fd00::1"},
		{"::", "::"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"::ffff:0a00:0001", "10.0.0.1"},
		{"", NULL},
		{"10.0.0", NULL},
		{"10.0.0.256", NULL},
		{"010.0.0.1", NULL},
		{"10.0.0.1 ", NULL},
		{"fd00::1%eth0", NULL},
		{"[fd00::1]", NULL},
		{"example.com", NULL},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999", NULL},
		{"00000000000000000000000000000000000000000000000000000000000000001", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip ip = {.len = 99};
		char text[ADDR_TEXT_MAX];
		int rc = ip_parse(str_of(rows[i].in), &ip);
		if (rows[i].out) {
			assert_int_equal(rc, 0);
			assert_string_equal(ip_text(&ip, text), rows[i].out);
		} else {
			assert_int_equal(rc, ERR_SYNTAX);
			assert_int_equal(ip.len, 99);
		}
	}
	struct ip ip;
	assert_int_equal(ip_parse((struct str){"10.0.0.1\0", 9}, &ip), ERR_SYNTAX);
}

static void ips_from_bytes(void **state)
{
	(void)state;
	struct ip a, b;
	char text[ADDR_TEXT_MAX];
	static const uint8_t six[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1};
	assert_int_equal(ip_from_bytes(six, 16, &a), 0);
	assert_int_equal(ip_from_bytes(six + 12, 4, &b), 0);
	assert_true(ip_eq(&a, &b));
	assert_string_equal(ip_text(&a, text), "10.0.0.1");
	assert_int_equal(ip_from_bytes(six, 15, &a), ERR_SYNTAX);
	assert_int_equal(ip_from_bytes(six, 0, &a), ERR_SYNTAX);
	assert_string_equal(ip_text(&(struct ip){0}, text), "-");
}

static void loopback(void **state)
{
	(void)state;
	static const char *const yes[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
	static const char *const no[] = {"128.0.0.1", "::2", "fd00::1"};
	struct ip ip;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		assert_int_equal(ip_parse(str_of(yes[i]), &ip), 0);
		assert_true(ip_is_loopback(&ip));
	}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
		assert_int_equal(ip_parse(str_of(no[i]), &ip), 0);
		assert_false(ip_is_loopback(&ip));
	}
}

static void addresses(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"10.0.0.1:80", "10.0.0.1:80"},
		{"[fd00::1]:65535", "[fd00::1]:65535"},
		{"[::ffff:10.0.0.1]:1", "10.0.0.1:1"},
		{"10.0.0.1:0", "10.0.0.1:0"},
		{"10.0.0.1", NULL},
		{"10.0.0.1:", NULL},
		{"10.0.0.1:65536", NULL},
		{"10.0.0.1:999999", NULL},
		{"10.0.0.1:+80", NULL},
		{"10.0.0.1: 80", NULL},
		{"[10.0.0.1]:80", NULL},
		{"fd00::1:80", NULL},
		{"[fd00::1]", NULL},
		{"[fd00::1]80", NULL},
		{"[]:80", NULL},
		{":80", NULL},
		{"", NULL},
		{"host:80", NULL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct addr a = {.port = 7};
		char text[ADDR_TEXT_MAX];
		int rc = addr_parse(str_of(rows[i].in), &a);
		if (rows[i].out) {
			assert_int_equal(rc, 0);
			assert_string_equal(addr_text(&a, text), rows[i].out);
		} else {
			assert_int_equal(rc, ERR_SYNTAX);
			assert_int_equal(a.port, 7);
		}
	}
}

static void socket_addresses(void **state)
{
	(void)state;
	struct addr four, six, back;
	struct sockaddr_storage sa;
	assert_int_equal(addr_parse(STR("10.0.0.1:80"), &four), 0);
	assert_int_equal(addr_parse(STR("[fd00::1]:443"), &six), 0);

	assert_int_equal(addr_to_sockaddr(&four, AF_INET, &sa), sizeof(struct sockaddr_in));
	assert_int_equal(addr_from_sockaddr(&sa, &back), 0);
	assert_true(addr_eq(&four, &back));
	assert_int_equal(addr_to_sockaddr(&four, AF_INET6, &sa), sizeof(struct sockaddr_in6));
	assert_true(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&sa)->sin6_addr));
	assert_int_equal(addr_from_sockaddr(&sa, &back), 0);
	assert_true(addr_eq(&four, &back));
	assert_int_equal(addr_to_sockaddr(&six, AF_INET6, &sa), sizeof(struct sockaddr_in6));
	assert_int_equal(addr_from_sockaddr(&sa, &back), 0);
	assert_true(addr_eq(&six, &back));
	assert_false(addr_eq(&four, &six));

	assert_int_equal(addr_to_sockaddr(&six, AF_INET, &sa), 0);
	assert_int_equal(addr_to_sockaddr(&(struct addr){0}, AF_INET6, &sa), 0);
	sa.ss_family = AF_UNIX;
	assert_int_equal(addr_from_sockaddr(&sa, &back), ERR_UNSUPPORTED);
}

static void ranges(void **state)
{
	(void)state;
	static const struct {
		const char *range, *ip;
		bool in;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.1.2.3/8", "10.200.0.1", true}, /* host bits do not matter */
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "fd00::1", false},
		{"::/0", "fd00::1", true},
		{"::/0", "1.2.3.4", false},
		{"10.0.0.0/9", "10.127.0.1", true},
		{"10.0.0.0/9", "10.128.0.1", false},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"fd00::/127", "fd00::1", true},
		{"fd00::/127", "fd00::2", false},
		{"::ffff:10.0.0.0/104", "10.9.9.9", true},
		{"::ffff:10.0.0.0/104", "11.9.9.9", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cidr c;
		struct ip ip;
		assert_int_equal(cidr_parse(str_of(rows[i].range), &c), 0);
		assert_int_equal(ip_parse(str_of(rows[i].ip), &ip), 0);
		assert_int_equal(cidr_has(&c, &ip), rows[i].in);
	}
	static const char *const bad[] = {"",
					  "/8",
					  "10.0.0.0/",
					  "10.0.0.0/33",
					  "fd00::/129",
					  "10.0.0.0/08",
					  "10.0.0.0/-1",
					  "10.0.0.0/8/8",
					  "10.0.0.0/1000"};
	struct cidr c = {.prefix = 77};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cidr_parse(str_of(bad[i]), &c), ERR_SYNTAX);
	assert_int_equal(c.prefix, 77);
	assert_false(cidr_has(&(struct cidr){0}, &(struct ip){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ips),
		cmocka_unit_test(ips_from_bytes),
		cmocka_unit_test(loopback),
		cmocka_unit_test(addresses),
		cmocka_unit_test(socket_addresses),
		cmocka_unit_test(ranges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
