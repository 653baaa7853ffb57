/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "shared/base/rng.h"
#include "shared/wire/tls_aead.h"
#include "shared/wire/tls_aead_vaes.h"

enum { BYTES = 20000 };

static struct rng rng;
static uint8_t key[32], nonce[12], aad[16], plain[BYTES], ours[BYTES + 16], theirs[BYTES + 16];

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rng_next(&rng);
}

static int set_up(void **state)
{
	(void)state;
	rng_init(&rng, 42);
	return 0;
}

/* Against the library's code, which is what we would use otherwise. */
static void agree(size_t key_len, size_t aad_len, size_t n)
{
	struct tls_aead a;
	Aes ref;

	fill(key, sizeof(key));
	fill(nonce, sizeof(nonce));
	fill(aad, sizeof(aad));
	fill(plain, n);
	memcpy(ours, plain, n);
	memcpy(theirs, plain, n);
	assert_int_equal(wc_AesInit(&ref, NULL, INVALID_DEVID), 0);
	assert_int_equal(wc_AesGcmSetKey(&ref, key, (word32)key_len), 0);
	assert_int_equal(wc_AesGcmEncrypt(&ref, theirs, theirs, (word32)n, nonce, 12, theirs + n,
					  16, aad, (word32)aad_len),
			 0);
	wc_AesFree(&ref);
	assert_int_equal(tls_aead_init(&a, key, key_len), 0);
	assert_true(tls_aead_seal(&a, nonce, aad, aad_len, ours, n));
	assert_memory_equal(ours, theirs, n + 16);
	assert_true(tls_aead_open(&a, nonce, aad, aad_len, ours, n));
	assert_memory_equal(ours, plain, n);
	/* Forged anywhere: refused. */
	size_t at = (size_t)rng_below(&rng, n + 16);
	theirs[at] ^= (uint8_t)(1U << rng_below(&rng, 8));
	assert_false(tls_aead_open(&a, nonce, aad, aad_len, theirs, n));
	tls_aead_fini(&a);
	for (size_t i = 0; i < sizeof(a); i++)
		assert_int_equal(((uint8_t *)&a)[i], 0);
}

static void every_length(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 1100; n++) {
		agree(16, 5, n);
		agree(32, 5, n);
	}
	for (size_t n = 16300; n <= 16400; n += 7)
		agree(n % 2 ? 16 : 32, 5, n);
	for (size_t i = 0; i <= 16; i++) {
		agree(16, i, 0);
		agree(32, i, 333);
	}
}

/* SP 800-38D's original proposal, test cases 13 to 16: AES-256. */
static void known_answers(void **state)
{
	static const uint8_t zero[32];
	static const uint8_t tag_of_nothing[16] = {0x53, 0x0f, 0x8a, 0xfb, 0xc7, 0x45, 0x36, 0xb9,
						   0xa9, 0x63, 0xb4, 0xf1, 0xc4, 0xcb, 0x73, 0x8b};
	static const uint8_t sealed_zeroes[32] = {0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e,
						  0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,
						  0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0,
						  0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19};
	struct tls_aead a;
	uint8_t text[32] = {0};

	(void)state;
	assert_int_equal(tls_aead_init(&a, zero, 32), 0);
	assert_true(tls_aead_seal(&a, zero, NULL, 0, text, 0));
	assert_memory_equal(text, tag_of_nothing, 16);
	memset(text, 0, sizeof(text));
	assert_true(tls_aead_seal(&a, zero, NULL, 0, text, 16));
	assert_memory_equal(text, sealed_zeroes, 32);
	tls_aead_fini(&a);
}

/* Nothing outside of text and tag is written, wherever the text stands. */
static void any_alignment(void **state)
{
	struct tls_aead a;

	(void)state;
	fill(key, sizeof(key));
	assert_int_equal(tls_aead_init(&a, key, 32), 0);
	for (size_t off = 1; off < 40; off++) {
		for (size_t n = 0; n < 600; n += 37) {
			memset(ours, 0xaa, 1024);
			assert_true(tls_aead_seal(&a, nonce, aad, 5, ours + off, n));
			for (size_t i = 0; i < off; i++)
				assert_int_equal(ours[i], 0xaa);
			for (size_t i = off + n + 16; i < 1024; i++)
				assert_int_equal(ours[i], 0xaa);
			assert_true(tls_aead_open(&a, nonce, aad, 5, ours + off, n));
			for (size_t i = 0; i < off + n; i++)
				assert_int_equal(ours[i], 0xaa);
		}
	}
	tls_aead_fini(&a);
}

/* Where the processor has it, it is what is used. */
static void the_fast_one_is_used(void **state)
{
	struct tls_aead a;

	(void)state;
	assert_int_equal(tls_aead_init(&a, key, 16), 0);
	assert_string_equal(tls_aead_name(), vaes_present() ? "vaes" : "wolfcrypt");
	tls_aead_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length),
		cmocka_unit_test(known_answers),
		cmocka_unit_test(any_alignment),
		cmocka_unit_test(the_fast_one_is_used),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
