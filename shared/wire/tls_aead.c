/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include "tls_aead.h"

#include "shared/base/err.h"

_Static_assert(sizeof(Aes) <= TLS_AEAD_STATE, "the state must hold the cipher");
_Static_assert(_Alignof(Aes) <= 16, "and be aligned as it wants");

static Aes *aes(struct tls_aead *a)
{
	return (Aes *)(void *)a->state;
}

int tls_aead_init(struct tls_aead *a, const uint8_t *key, size_t key_len)
{
	CHECK(key_len == 16 || key_len == 32);
	if (wc_AesInit(aes(a), NULL, INVALID_DEVID) != 0)
		return ERR_NOMEM;
	if (wc_AesGcmSetKey(aes(a), key, (word32)key_len) != 0) {
		tls_aead_fini(a);
		return ERR_NOMEM;
	}
	return 0;
}

void tls_aead_fini(struct tls_aead *a)
{
	wc_AesFree(aes(a));
	wipe(a, sizeof(*a));
}

bool tls_aead_seal(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n)
{
	return wc_AesGcmEncrypt(aes(a), text, text, (word32)n, nonce, TLS_AEAD_NONCE, text + n,
				TLS_AEAD_TAG, aad, (word32)aad_len) == 0;
}

bool tls_aead_open(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n)
{
	return wc_AesGcmDecrypt(aes(a), text, text, (word32)n, nonce, TLS_AEAD_NONCE, text + n,
				TLS_AEAD_TAG, aad, (word32)aad_len) == 0;
}
