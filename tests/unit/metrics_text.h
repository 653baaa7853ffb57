/* SPDX-License-Identifier: Apache-2.0 */
/* Scrapes and looks into the text. */
#ifndef GAUZE_TESTS_METRICS_TEXT_H
#define GAUZE_TESTS_METRICS_TEXT_H

#include "unit.h"

#include "shared/base/limits.h"
#include "shared/obs/metrics.h"

/* The whole text, terminated; valid until the next call. */
static inline const char *scrape(void)
{
	static struct sbuf text;
	static bool ready;
	if (!ready)
		sbuf_init(&text, LIMIT_METRICS_TEXT_BYTES);
	ready = true;
	sbuf_reset(&text);
	assert_int_equal(metrics_render(&text), 0);
	return text.p;
}

/* Whether the line stands in the text, whole. */
static inline bool has_line(const char *text, const char *line)
{
	size_t n = strlen(line);
	for (const char *p = text; (p = strstr(p, line)); p++)
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return true;
	return false;
}

#define assert_has(text, line)                                                  \
	do {                                                                    \
		if (!has_line(text, line))                                      \
			fail_msg("not in the scrape: %s\n%.3000s", line, text); \
	} while (0)

#endif
