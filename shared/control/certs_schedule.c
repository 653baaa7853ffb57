/* SPDX-License-Identifier: Apache-2.0 */
#include "certs_schedule.h"

enum { JITTER_PERCENT = 20 };

int64_t certs_renew_at(int64_t not_before_s, int64_t not_after_s, int64_t now_ms)
{
	int64_t half = not_before_s * 500 + not_after_s * 500;

	if (half <= now_ms)
		half = now_ms + (not_after_s * 1000 - now_ms) / 2;
	return MAX(half, now_ms + CERTS_RENEW_MIN_MS);
}

uint64_t certs_backoff_next(uint64_t step_ms)
{
	if (step_ms == 0)
		return CERTS_BACKOFF_MIN_MS;
	return MIN(step_ms * 2, (uint64_t)CERTS_BACKOFF_MAX_MS);
}

int64_t certs_retry_at(uint64_t step_ms, int64_t now_ms, int64_t expiry_ms, struct rng *rng)
{
	uint64_t delay =
		MIN(rng_jitter(rng, step_ms, JITTER_PERCENT), (uint64_t)CERTS_BACKOFF_MAX_MS);
	int64_t at = now_ms + (int64_t)delay;

	return expiry_ms > now_ms ? MIN(at, expiry_ms) : at;
}
