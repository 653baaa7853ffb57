/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/config_parse.h"

#include <stdlib.h>

#include "shared/base/err.h"

int config_parse_bool(const char *text, bool *out)
{
	bool yes = strcmp(text, "true") == 0;
	if (!yes && strcmp(text, "false") != 0)
		return ERR_SYNTAX;
	*out = yes;
	return 0;
}

/* Digits at *text; moves it behind them. */
static int digits(const char **text, uint64_t max, uint64_t *out)
{
	const char *p = *text;
	uint64_t v = 0;
	if (*p < '0' || *p > '9')
		return ERR_SYNTAX;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v) || v > max)
			return ERR_TOO_LARGE;
	}
	*text = p;
	*out = v;
	return 0;
}

int config_parse_uint(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v;
	int rc = digits(&text, max, &v);
	if (rc)
		return rc;
	if (*text)
		return ERR_SYNTAX;
	*out = v;
	return 0;
}

int config_parse_duration(const char *text, uint64_t *out_ms)
{
	static const struct {
		struct str unit;
		uint64_t ms;
	} units[] = {
		{{"ms", 2}, 1},	     {{"s", 1}, 1000},	       {{"m", 1}, 60 * 1000},
		{{"h", 1}, 3600000}, {{"d", 1}, 24 * 3600000},
	};
	uint64_t total = 0;
	if (!*text)
		return ERR_SYNTAX;
	while (*text) {
		uint64_t v, ms = 0;
		int rc = digits(&text, UINT64_MAX, &v);
		if (rc)
			return rc;
		for (size_t i = 0; i < ARRAY_SIZE(units) && !ms; i++) {
			if (strncmp(text, units[i].unit.p, units[i].unit.n) == 0) {
				ms = units[i].ms;
				text += units[i].unit.n;
			}
		}
		if (!ms)
			return ERR_SYNTAX;
		/* A hundred years bounds every later sum. */
		if (__builtin_mul_overflow(v, ms, &v) || __builtin_add_overflow(total, v, &total) ||
		    total > 36500ULL * 24 * 3600000)
			return ERR_TOO_LARGE;
	}
	*out_ms = total;
	return 0;
}

int config_parse_cpu(const char *text, uint64_t *out_milli)
{
	static const struct {
		const char *suffix;
		double factor;
	} suffixes[] = {
		{"", 1e3},  {"m", 1},	{"u", 1e-3},	{"n", 1e-6},
		{"k", 1e6}, {"M", 1e9}, {"Ki", 1024e3}, {"Mi", 1024.0 * 1024e3},
	};
	char *end;
	double v;
	/* strtod knows more than quantities do: signs, blanks, hexadecimals, names. */
	if ((*text < '0' || *text > '9') && *text != '.')
		return ERR_SYNTAX;
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return ERR_SYNTAX;
	v = strtod(text, &end);
	if (end == text)
		return ERR_SYNTAX;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(end, suffixes[i].suffix) == 0) {
			uint64_t whole;
			v *= suffixes[i].factor;
			if (!(v < 1e9))
				return ERR_TOO_LARGE;
			whole = (uint64_t)v;
			/* A hair above a whole number is the noise of binary fractions. */
			*out_milli = v - (double)whole > 1e-6 ? whole + 1 : whole;
			return 0;
		}
	}
	return ERR_SYNTAX;
}

int config_parse_workers(const char *text, uint32_t cores, uint32_t *out)
{
	uint64_t v;
	int rc = digits(&text, UINT32_MAX, &v);
	if (rc)
		return rc;
	if (text[0] == '%' && !text[1]) {
		if (v < 1 || v > 100)
			return ERR_TOO_LARGE;
		v = (cores * v + 99) / 100;
	} else if (*text) {
		return ERR_SYNTAX;
	} else if (v == 0) {
		v = cores;
	}
	if (v > 1024)
		return ERR_TOO_LARGE;
	*out = (uint32_t)(v ? v : 1);
	return 0;
}
