/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/obs/log_filter.h"

#include <strings.h>

#include "shared/base/err.h"

static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};

const char *log_level_name(enum log_level level)
{
	return names[level];
}

static bool parse_level(struct str s, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		bool named = s.n == strlen(names[i]) && strncasecmp(s.p, names[i], s.n) == 0;
		bool numbered = s.n == 1 && s.p[0] == (char)('0' + i);
		if (named || numbered) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static bool parse_target(struct str s, struct log_rule *rule)
{
	if (s.n == 0 || s.n >= sizeof(rule->target))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9');
		if (!word && (c == '\0' || !strchr("_:-.", c)))
			return false;
	}
	memcpy(rule->target, s.p, s.n);
	rule->target[s.n] = '\0';
	return true;
}

static int parse_rule(struct str s, struct log_rule *rule)
{
	const char *eq = memchr(s.p, '=', s.n);
	rule->level = LOG_TRACE;
	rule->target[0] = '\0';
	if (!eq)
		return parse_level(s, &rule->level) || parse_target(s, rule) ? 0 : ERR_SYNTAX;
	struct str target = {s.p, (size_t)(eq - s.p)};
	struct str level = {eq + 1, s.n - target.n - 1};
	return parse_target(target, rule) && parse_level(level, &rule->level) ? 0 : ERR_SYNTAX;
}

/* Longer targets first; among equals the order of the original: the greater one first. */
static bool goes_before(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	return na != nb ? na > nb : strcmp(a, b) > 0;
}

static int put_rule(struct log_filter *f, const struct log_rule *rule)
{
	size_t at = 0;
	while (at < f->count && goes_before(f->rule[at].target, rule->target))
		at++;
	if (at < f->count && strcmp(f->rule[at].target, rule->target) == 0) {
		f->rule[at].level = rule->level;
		return 0;
	}
	if (f->count == LOG_FILTER_RULES_MAX)
		return ERR_LIMIT;
	memmove(&f->rule[at + 1], &f->rule[at], (f->count - at) * sizeof(f->rule[0]));
	f->rule[at] = *rule;
	f->count++;
	return 0;
}

int log_filter_add(struct log_filter *f, struct str directives)
{
	struct log_filter next = *f;
	size_t at = 0;
	while (at < directives.n) {
		const char *start = directives.p + at;
		const char *comma = memchr(start, ',', directives.n - at);
		struct str one = {start, comma ? (size_t)(comma - start) : directives.n - at};
		at += one.n + 1;
		if (one.n == 0)
			continue;
		struct log_rule rule;
		int rc = parse_rule(one, &rule);
		if (rc == 0)
			rc = put_rule(&next, &rule);
		if (rc)
			return rc;
	}
	*f = next;
	return 0;
}

enum log_level log_filter_level(const struct log_filter *f, struct str target)
{
	for (size_t i = 0; i < f->count; i++)
		if (str_starts(target, str_of(f->rule[i].target)))
			return f->rule[i].level;
	return LOG_OFF;
}

void log_filter_format(const struct log_filter *f, struct sbuf *out)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct log_rule *rule = &f->rule[i];
		const char *comma = i ? "," : "", *eq = rule->target[0] ? "=" : "";
		sbuf_printf(out, "%s%s%s%s", comma, rule->target, eq, names[rule->level]);
	}
}
