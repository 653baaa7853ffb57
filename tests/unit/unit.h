/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test starts with, in the order cmocka wants. */
#ifndef GAUZE_TESTS_UNIT_H
#define GAUZE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/base/base.h"

#define assert_str(s, text)                                              \
	do {                                                             \
		struct str got_ = (s);                                   \
		assert_int_equal(got_.n, strlen(text));                  \
		assert_memory_equal(got_.n ? got_.p : "", text, got_.n); \
	} while (0)

#endif
