/* SPDX-License-Identifier: Apache-2.0 */
/* When to renew and when to try again (contract section 8). Times in UNIX milliseconds. */
#ifndef GAUZE_CONTROL_CERTS_SCHEDULE_H
#define GAUZE_CONTROL_CERTS_SCHEDULE_H

#include "shared/base/rng.h"

enum { CERTS_BACKOFF_MIN_MS = 1000, CERTS_BACKOFF_MAX_MS = 150 * 1000, CERTS_RENEW_MIN_MS = 1000 };

/*
 * At half of the lifetime. A CA that backdates much may issue what is past that already: then at half of what is left,
 * and never sooner than CERTS_RENEW_MIN_MS from now.
 */
int64_t certs_renew_at(int64_t not_before_s, int64_t not_after_s, int64_t now_ms);
/* The step after `step_ms` (0: the first), without jitter. */
uint64_t certs_backoff_next(uint64_t step_ms);
/*
 * When to try again after a failure with that step: with 20 % jitter, at most CERTS_BACKOFF_MAX_MS, and, while an old
 * certificate is good until expiry_ms (0: there is none), no later than that.
 */
int64_t certs_retry_at(uint64_t step_ms, int64_t now_ms, int64_t expiry_ms, struct rng *rng);

#endif
