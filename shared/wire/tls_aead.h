/* SPDX-License-Identifier: Apache-2.0 */
/* AES-GCM in place, as TLS 1.3 uses it. The one place that knows which code does the cipher. */
#ifndef GAUZE_WIRE_TLS_AEAD_H
#define GAUZE_WIRE_TLS_AEAD_H

#include "shared/base/base.h"

enum { TLS_AEAD_TAG = 16, TLS_AEAD_NONCE = 12, TLS_AEAD_KEY_MAX = 32, TLS_AEAD_STATE = 512 };

struct tls_aead {
	_Alignas(16) uint8_t state[TLS_AEAD_STATE]; /* private: the key, expanded, or where it is */
};

/* key_len is 16 or 32; aad_len of all uses at most 16. 0 or ERR_NOMEM (nothing to wipe then). */
int must_check tls_aead_init(struct tls_aead *a, const uint8_t *key, size_t key_len);
/* Wipes the key. */
void tls_aead_fini(struct tls_aead *a);
/* Encrypts n bytes in place and writes the tag behind them. False only on an internal failure. */
bool tls_aead_seal(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n);
/* Decrypts n bytes in place; the tag stands behind them. False: not authentic, text is undefined. */
bool tls_aead_open(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n);
/* Whose code does it: "vaes" or "wolfcrypt". Known once there was a key. */
const char *tls_aead_name(void);

#endif
