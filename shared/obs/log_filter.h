/* SPDX-License-Identifier: Apache-2.0 */
/* Which level passes for which target: the directive list of RUST_LOG and of the admin server. */
#ifndef GAUZE_OBS_LOG_FILTER_H
#define GAUZE_OBS_LOG_FILTER_H

#include "shared/base/sbuf.h"
#include "shared/obs/log.h"

enum { LOG_FILTER_RULES_MAX = 64, LOG_FILTER_TARGET_MAX = 96 };

struct log_filter {
	struct log_rule {
		char target[LOG_FILTER_TARGET_MAX]; /* empty: the default */
		enum log_level level;
	} rule[LOG_FILTER_RULES_MAX]; /* most specific first */
	size_t count;
};

/*
 * Adds the directives; one for a target that is known replaces it. "level", "target=level", or "target" alone (all
 * its levels); levels by name in any case, or 0 to 5. 0; ERR_SYNTAX, or ERR_LIMIT beyond the rules that fit: *f is
 * then untouched.
 */
int must_check log_filter_add(struct log_filter *f, struct str directives);
/* Of the longest rule that the target begins with; LOG_OFF when there is none. */
enum log_level log_filter_level(const struct log_filter *f, struct str target);
void log_filter_format(const struct log_filter *f, struct sbuf *out);
const char *log_level_name(enum log_level level);

#endif
