/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/base/spiffe.h"

static void parses_five_parts(void **state)
{
	(void)state;
	struct spiffe id;
	char text[SPIFFE_TEXT_MAX];
	assert_int_equal(spiffe_parse(STR("spiffe://cluster.local/ns/default/sa/httpbin"), &id), 0);
	assert_str(id.trust_domain, "cluster.local");
	assert_str(id.ns, "default");
	assert_str(id.sa, "httpbin");
	assert_int_equal(spiffe_format(&id, text), 0);
	assert_string_equal(text, "spiffe://cluster.local/ns/default/sa/httpbin");
}

static void refuses_the_rest(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"spiffe://",
		"spiffe://td",
		"spiffe://td/ns/n/sa",
		"spiffe://td/ns/n/sa/s/",
		"spiffe://td/ns/n/sa/s/x",
		"spiffe://td/sa/n/ns/s",
		"spiffe://td/NS/n/sa/s",
		"SPIFFE://td/ns/n/sa/s",
		"https://td/ns/n/sa/s",
		"spiffe:/td/ns/n/sa/s",
		"spiffe:///ns/n/sa/s",
		"spiffe://td/ns//sa/s",
		"spiffe://td/ns/n/sa/",
		"spiffe://td/ns/n/sa/s\n",
		"spiffe://td/ns/a b/sa/s",
		"spiffe://td/ns/n\xc3\xbc/sa/s",
	};
	struct spiffe id = {.ns = STR("kept")};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(spiffe_parse(str_of(bad[i]), &id), ERR_SYNTAX);
	assert_int_equal(spiffe_parse((struct str){"spiffe://td/ns/n/sa/s\0", 22}, &id),
			 ERR_SYNTAX);
	assert_str(id.ns, "kept");
}

static void length_has_a_bound(void **state)
{
	(void)state;
	char name[SPIFFE_TEXT_MAX];
	char text[SPIFFE_TEXT_MAX] = "kept";
	memset(name, 'a', sizeof(name));
	size_t fixed = strlen("spiffe:///ns//sa/");
	struct spiffe id = {.trust_domain = {name, SPIFFE_TEXT_MAX - fixed - 1}};
	assert_int_equal(spiffe_format(&id, text), 0);
	assert_int_equal(strlen(text), SPIFFE_TEXT_MAX - 1);
	memcpy(text, "kept", 5);
	id.trust_domain.n++;
	assert_int_equal(spiffe_format(&id, text), ERR_TOO_LARGE);
	assert_string_equal(text, "kept");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_five_parts),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(length_has_a_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
