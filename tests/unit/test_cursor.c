/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"

static void reads_what_was_written(void **state)
{
	(void)state;
	uint8_t b[32];
	struct cursor w = cursor_write(b, sizeof(b));
	cursor_put_u8(&w, 0x12);
	cursor_put_u16(&w, 0x3456);
	cursor_put_u24(&w, 0x789abc);
	cursor_put_u32(&w, 0xdef01234);
	cursor_put(&w, "xyz", 3);
	cursor_put(&w, NULL, 0);
	assert_int_equal(cursor_error(&w), 0);
	assert_int_equal(w.pos, 13);
	assert_memory_equal(b, "\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34xyz", 13);

	struct cursor r = cursor_read(b, w.pos);
	assert_int_equal(cursor_u8(&r), 0x12);
	assert_int_equal(cursor_u16(&r), 0x3456);
	assert_int_equal(cursor_u24(&r), 0x789abc);
	assert_int_equal(cursor_u32(&r), 0xdef01234);
	cursor_skip(&r, 1);
	assert_str(cursor_bytes(&r, 2), "yz");
	assert_int_equal(cursor_left(&r), 0);
	assert_int_equal(cursor_error(&r), 0);
	assert_str(cursor_bytes(&r, 0), "");
	assert_int_equal(cursor_error(&r), 0);
}

static void first_error_sticks(void **state)
{
	(void)state;
	struct cursor r = cursor_read("abc", 3);
	assert_int_equal(cursor_u32(&r), 0);
	assert_int_equal(cursor_error(&r), ERR_TRUNCATED);
	assert_int_equal(cursor_left(&r), 0);
	/* Three bytes are there, but no longer to be had. */
	assert_int_equal(cursor_u8(&r), 0);
	assert_str(cursor_bytes(&r, 1), "");
	cursor_fail(&r, ERR_SYNTAX);
	assert_int_equal(cursor_error(&r), ERR_TRUNCATED);

	r = cursor_read("abc", 3);
	cursor_fail(&r, ERR_SYNTAX);
	cursor_skip(&r, 100);
	assert_int_equal(cursor_error(&r), ERR_SYNTAX);
}

static void writing_stops_at_the_end(void **state)
{
	(void)state;
	uint8_t b[4] = {9, 9, 9, 9};
	struct cursor w = cursor_write(b, 3);
	cursor_put_u16(&w, 1);
	cursor_put_u16(&w, 2);
	assert_int_equal(cursor_error(&w), ERR_TRUNCATED);
	assert_memory_equal(b, "\0\1\t\t", 4);
	w = cursor_write(b, 3);
	cursor_put(&w, "abcd", 4);
	assert_int_equal(cursor_error(&w), ERR_TRUNCATED);
	assert_int_equal(b[0], 0);
}

static void huge_lengths_do_not_wrap(void **state)
{
	(void)state;
	struct cursor r = cursor_read("abc", 3);
	cursor_u8(&r);
	cursor_skip(&r, SIZE_MAX);
	assert_int_equal(cursor_error(&r), ERR_TRUNCATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(first_error_sticks),
		cmocka_unit_test(writing_stops_at_the_end),
		cmocka_unit_test(huge_lengths_do_not_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
