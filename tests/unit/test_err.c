/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "shared/base/err.h"

static void every_code_has_all_of_it(void **state)
{
	(void)state;
	assert_true(ERR_BEFORE_FIRST < ERR_BASE && ERR_END < ERR_BASE);
	for (int code = ERR_BEFORE_FIRST + 1; code < ERR_END; code++) {
		assert_true(strlen(err_text(code)) > 0);
		assert_string_not_equal(err_text(code), "unknown error");
		assert_string_not_equal(err_name(code), "UNKNOWN");
		assert_int_not_equal(err_flag(code), ERR_FLAG_NONE);
		assert_true(err_h2(code) <= 0xd);
	}
}

static void flags_follow_the_contract(void **state)
{
	(void)state;
	static const struct {
		int code;
		const char *flag;
	} rows[] = {
		{0, "-"},
		{ERR_POLICY_DENIED, "DENY"},
		{ERR_POLICY_CHANGED, "DENY"},
		{ERR_TLS_CONFIG, "TLS_FAILURE"},
		{ERR_TLS_HANDSHAKE, "CONNECT"},
		{ERR_H2_HANDSHAKE, "H2_HANDSHAKE_FAILURE"},
		{ERR_HBONE_TIMEOUT, "NETWORK_POLICY"},
		{ERR_CERT_FETCH, "IDENTITY_ERROR"},
		{ERR_REVOKED, "CERT_REVOKED"},
		{ERR_HTTP_STATUS, "CONNECT"},
		{-ECONNREFUSED, "CONNECT"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(err_flag_text(err_flag(rows[i].code)), rows[i].flag);
	assert_string_equal(err_flag_text((enum err_flag)99), "-");
}

static void errno_is_understood(void **state)
{
	(void)state;
	assert_string_equal(err_name(-ECONNRESET), "ECONNRESET");
	assert_string_equal(err_text(-ECONNREFUSED), "Connection refused");
	assert_string_equal(err_name(0), "OK");
	assert_int_equal(err_h2(0), 0);
	assert_int_equal(err_h2(ERR_DRAINED), 8);
}

static void nonsense_is_harmless(void **state)
{
	(void)state;
	const int codes[] = {5, ERR_BEFORE_FIRST, ERR_END, ERR_BASE, -999, INT32_MIN};
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		assert_non_null(err_text(codes[i]));
		assert_non_null(err_name(codes[i]));
		assert_int_equal(err_flag(codes[i]), ERR_FLAG_CONNECT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_all_of_it),
		cmocka_unit_test(flags_follow_the_contract),
		cmocka_unit_test(errno_is_understood),
		cmocka_unit_test(nonsense_is_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
