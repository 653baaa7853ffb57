/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include <pthread.h>
#include <stdlib.h>

#include "tls_aead.h"

#include "shared/base/err.h"
#include "tls_aead_vaes.h"

_Static_assert(sizeof(struct vaes_key) <= TLS_AEAD_STATE, "the state must hold the key");

static bool use_vaes; /* decided once, before the first key */

/* wolfSSL's is nearly twice as large, so that it stands apart. */
static Aes **aes(struct tls_aead *a)
{
	return (Aes **)(void *)a->state;
}

static struct vaes_key *vaes(struct tls_aead *a)
{
	return (struct vaes_key *)(void *)a->state;
}

static int wolf_init(Aes *a, const uint8_t *key, size_t key_len)
{
	if (wc_AesInit(a, NULL, INVALID_DEVID) != 0)
		return ERR_NOMEM;
	if (wc_AesGcmSetKey(a, key, (word32)key_len) != 0) {
		wc_AesFree(a);
		wipe(a, sizeof(*a));
		return ERR_NOMEM;
	}
	return 0;
}

/* wolfSSL expands the key; with AES instructions it keeps the round keys as these want them. */
static int vaes_key_init(struct vaes_key *k, const uint8_t *key, size_t key_len)
{
	Aes expanded;

	int rc = wolf_init(&expanded, key, key_len);
	if (rc != 0)
		return rc;
	vaes_init(k, expanded.key, (int)expanded.rounds);
	wc_AesFree(&expanded);
	wipe(&expanded, sizeof(expanded));
	return 0;
}

/* Seals one text with both and compares: whatever is not as we think it is, wolfSSL's own code then serves. */
static bool agrees(size_t key_len)
{
	static const uint8_t key[TLS_AEAD_KEY_MAX] = {1, 2, 3, 0xfe},
			     nonce[TLS_AEAD_NONCE] = {9, 8, 7}, aad[5] = {23, 3, 3};
	enum { TEXT = 555 };
	uint8_t ours[TEXT + TLS_AEAD_TAG] = {5}, theirs[TEXT + TLS_AEAD_TAG] = {5};
	struct vaes_key k;
	Aes a;

	if (wolf_init(&a, key, key_len) != 0)
		return false;
	bool same = wc_AesGcmEncrypt(&a, theirs, theirs, TEXT, nonce, sizeof(nonce), theirs + TEXT,
				     TLS_AEAD_TAG, aad, sizeof(aad)) == 0 &&
		    vaes_key_init(&k, key, key_len) == 0;
	if (same) {
		vaes_seal(&k, nonce, aad, sizeof(aad), ours, TEXT);
		same = memcmp(ours, theirs, sizeof(ours)) == 0 &&
		       vaes_open(&k, nonce, aad, sizeof(aad), ours, TEXT);
	}
	wc_AesFree(&a);
	return same;
}

static void decide(void)
{
	/* Valgrind and old processors say that they have not got it. */
	use_vaes = vaes_present() && agrees(16) && agrees(32);
}

int tls_aead_init(struct tls_aead *a, const uint8_t *key, size_t key_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	CHECK(key_len == 16 || key_len == 32);
	pthread_once(&once, decide);
	if (use_vaes)
		return vaes_key_init(vaes(a), key, key_len);
	Aes *wolf = aligned_alloc(_Alignof(Aes), sizeof(*wolf));
	if (!wolf)
		return ERR_NOMEM;
	int rc = wolf_init(wolf, key, key_len);
	if (rc == 0)
		*aes(a) = wolf;
	else
		free(wolf);
	return rc;
}

void tls_aead_fini(struct tls_aead *a)
{
	if (!use_vaes) {
		Aes *wolf = *aes(a);
		wc_AesFree(wolf);
		wipe(wolf, sizeof(*wolf));
		free(wolf);
	}
	wipe(a, sizeof(*a));
}

bool tls_aead_seal(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n)
{
	if (use_vaes) {
		vaes_seal(vaes(a), nonce, aad, aad_len, text, n);
		return true;
	}
	return wc_AesGcmEncrypt(*aes(a), text, text, (word32)n, nonce, TLS_AEAD_NONCE, text + n,
				TLS_AEAD_TAG, aad, (word32)aad_len) == 0;
}

bool tls_aead_open(struct tls_aead *a, const uint8_t nonce[TLS_AEAD_NONCE], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n)
{
	if (use_vaes)
		return vaes_open(vaes(a), nonce, aad, aad_len, text, n);
	return wc_AesGcmDecrypt(*aes(a), text, text, (word32)n, nonce, TLS_AEAD_NONCE, text + n,
				TLS_AEAD_TAG, aad, (word32)aad_len) == 0;
}

const char *tls_aead_name(void)
{
	return use_vaes ? "vaes" : "wolfcrypt";
}
