/* SPDX-License-Identifier: Apache-2.0 */
/* The table of variables: one row each, from which they are read and `ztunnel help` is printed. */
#ifndef GAUZE_ZTUNNEL_CONFIG_VARS_H
#define GAUZE_ZTUNNEL_CONFIG_VARS_H

#include "ztunnel/config.h"

enum config_kind {
	CONFIG_BOOL,
	CONFIG_NUMBER,	 /* uint32_t, at most `max` */
	CONFIG_TEXT,	 /* char *, never NULL */
	CONFIG_TEXT_OPT, /* char *, NULL when unset or empty */
	CONFIG_DURATION, /* uint64_t milliseconds */
	CONFIG_RULE,	 /* read by a rule of config.c; the row documents it */
};

struct config_var {
	const char *name; /* a `*` at the end: a family of variables */
	enum config_kind kind;
	size_t offset;	       /* of the field in struct config */
	const char *kind_text; /* what help shows; NULL: from kind */
	const char *fallback;  /* parsed when unset; for CONFIG_RULE only shown */
	const char *meaning;
	uint64_t max; /* CONFIG_NUMBER */
};

extern const struct config_var config_vars[];
extern const size_t config_vars_count;

/* Parses value as the row says into *c. 0, ERR_SYNTAX, ERR_TOO_LARGE or ERR_NOMEM. */
int must_check config_var_set(const struct config_var *v, const char *value, struct config *c);
/* "a number up to 65535": what a value of that row should have been. */
const char *config_var_expects(const struct config_var *v);

#endif
