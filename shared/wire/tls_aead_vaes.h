/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-GCM for processors that do two AES blocks and two carry-less products an instruction (VAES, VPCLMULQDQ). Private to
 * tls_aead.c, which knows whether it may be used.
 */
#ifndef GAUZE_WIRE_TLS_AEAD_VAES_H
#define GAUZE_WIRE_TLS_AEAD_VAES_H

#include "shared/base/base.h"

enum { VAES_ROUND_KEYS = 15, VAES_POWERS = 16, VAES_BLOCK = 16, VAES_AAD_MAX = 16 };

struct vaes_key {
	_Alignas(16) uint8_t round[VAES_ROUND_KEYS][VAES_BLOCK];
	_Alignas(16) uint8_t
		power[VAES_POWERS][VAES_BLOCK]; /* of the hash key: 16th first, first last */
	int rounds;				/* 10 or 14 */
};

/* Whether this processor has what it takes. */
bool vaes_present(void);
/* From AES round keys as the AES instructions want them. */
void vaes_init(struct vaes_key *k, const void *round_keys, int rounds);
/* In place; the tag is written to, or compared with, what stands behind the n bytes. aad_len <= VAES_AAD_MAX. */
void vaes_seal(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
	       size_t aad_len, uint8_t *text, size_t n);
bool vaes_open(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
	       size_t aad_len, uint8_t *text, size_t n);

#endif
