/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines into a file in memory, read back by tests. */
#ifndef GAUZE_TESTS_LOG_CAPTURE_H
#define GAUZE_TESTS_LOG_CAPTURE_H

#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "shared/obs/log.h"

static int log_fd = -1;

static inline void capture(const char *filter, bool json)
{
	if (log_fd >= 0)
		close(log_fd);
	log_fd = memfd_create("log", 0);
	assert_true(log_fd >= 0);
	assert_int_equal(log_init(filter, json, log_fd), 0);
}

/* All that was written since the last call, terminated. */
static inline const char *captured(void)
{
	static char text[1 << 20];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(log_fd, 0), 0);
	assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
	return text;
}

enum { STAMP_LEN = 27 };

/* Asserts 2024-01-31T12:34:56.123456Z. */
static inline void assert_stamp(const char *p)
{
	static const char form[] = "0000-00-00T00:00:00.000000Z";
	for (size_t i = 0; i < STAMP_LEN; i++) {
		if (form[i] == '0')
			assert_in_range(p[i], '0', '9');
		else
			assert_int_equal(p[i], form[i]);
	}
}

/* Asserts one plain line: the stamp, then exactly `rest` and the line's end. */
static inline void assert_line(const char *rest)
{
	const char *line = captured();
	assert_stamp(line);
	size_t n = strlen(line);
	assert_true(n > STAMP_LEN && line[n - 1] == '\n');
	assert_int_equal(n, STAMP_LEN + strlen(rest) + 1);
	assert_memory_equal(line + STAMP_LEN, rest, strlen(rest));
}

#endif
