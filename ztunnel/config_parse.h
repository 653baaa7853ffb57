/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value formats of contract section 11, apart from what they mean. Pure. Each returns 0 or ERR_SYNTAX; a number that
 * does not fit is ERR_TOO_LARGE.
 */
#ifndef GAUZE_ZTUNNEL_CONFIG_PARSE_H
#define GAUZE_ZTUNNEL_CONFIG_PARSE_H

#include "shared/base/base.h"

/* Exactly "true" or "false". */
int must_check config_parse_bool(const char *text, bool *out);
/* Decimal digits only, at most max. */
int must_check config_parse_uint(const char *text, uint64_t max, uint64_t *out);
/* "10s", "5m", "1m30s", "250ms"; units ms, s, m, h, d. */
int must_check config_parse_duration(const char *text, uint64_t *out_ms);
/* A Kubernetes quantity of CPU, in thousandths of a core, rounded up: "2", "0.5", "1500m", "1e1". */
int must_check config_parse_cpu(const char *text, uint64_t *out_milli);
/* "4", "0" (all cores) or "50%" (1 to 100, rounded up) of cores; never 0. */
int must_check config_parse_workers(const char *text, uint32_t cores, uint32_t *out);

#endif
