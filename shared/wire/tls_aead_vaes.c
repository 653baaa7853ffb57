/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Galois/counter mode (NIST SP 800-38D) over 256-byte groups: eight registers of two blocks each are encrypted while the
 * group before them (when opening: the group itself) is hashed, so that both units of the processor are busy.
 *
 * Hashing: a group's sixteen blocks are multiplied by the sixteenth to the first power of the hash key, summed up
 * unreduced, and reduced once. Bits within a byte run backwards in GCM; the hash key is multiplied by x once, after which
 * plain carry-less products of byte-swapped blocks are right without shifting.
 */
#include "tls_aead_vaes.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define INLINE TARGET static inline __attribute__((always_inline))

enum { GROUP = 256, VECTORS = 8, HASHED_ROUNDS = 9 };

bool vaes_present(void)
{
	unsigned a, b, c, d;

	/* The compiler's check covers the registers that the kernel must save. */
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("aes") ||
	    !__builtin_cpu_supports("pclmul"))
		return false;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return false;
	return (c >> 9 & 1) && (c >> 10 & 1); /* VAES, VPCLMULQDQ */
}

/* ---- the field ---- */

/* An unreduced product: low, middle and high parts. */
struct sum {
	__m128i lo, mi, hi;
};

struct sum2 {
	__m256i lo, mi, hi;
};

INLINE __m128i swap(__m128i x)
{
	return _mm_shuffle_epi8(x,
				_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

INLINE __m256i swap2(__m256i x)
{
	const __m128i order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

	return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order));
}

INLINE void add_product(struct sum *s, __m128i x, __m128i h)
{
	s->lo = _mm_xor_si128(s->lo, _mm_clmulepi64_si128(x, h, 0x00));
	s->mi = _mm_xor_si128(s->mi, _mm_xor_si128(_mm_clmulepi64_si128(x, h, 0x01),
						   _mm_clmulepi64_si128(x, h, 0x10)));
	s->hi = _mm_xor_si128(s->hi, _mm_clmulepi64_si128(x, h, 0x11));
}

INLINE void add_product2(struct sum2 *s, __m256i x, __m256i h)
{
	s->lo = _mm256_xor_si256(s->lo, _mm256_clmulepi64_epi128(x, h, 0x00));
	s->mi = _mm256_xor_si256(s->mi, _mm256_clmulepi64_epi128(x, h, 0x01));
	s->mi = _mm256_xor_si256(s->mi, _mm256_clmulepi64_epi128(x, h, 0x10));
	s->hi = _mm256_xor_si256(s->hi, _mm256_clmulepi64_epi128(x, h, 0x11));
}

/* Modulo x^128 + x^127 + x^126 + x^121 + 1, the reversed polynomial of GCM. */
INLINE __m128i reduce(struct sum s)
{
	const __m128i poly = _mm_set_epi64x((long long)0xc200000000000000ULL, 1);

	s.mi = _mm_xor_si128(s.mi, _mm_xor_si128(_mm_shuffle_epi32(s.lo, 0x4e),
						 _mm_clmulepi64_si128(poly, s.lo, 0x01)));
	return _mm_xor_si128(s.hi, _mm_xor_si128(_mm_shuffle_epi32(s.mi, 0x4e),
						 _mm_clmulepi64_si128(poly, s.mi, 0x01)));
}

INLINE __m128i fold(__m256i x)
{
	return _mm_xor_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

INLINE __m128i reduce2(struct sum2 s)
{
	struct sum t = {fold(s.lo), fold(s.mi), fold(s.hi)};

	return reduce(t);
}

INLINE __m128i multiply(__m128i x, __m128i h)
{
	struct sum s = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};

	add_product(&s, x, h);
	return reduce(s);
}

INLINE __m128i load(const void *p)
{
	return _mm_loadu_si128(p);
}

INLINE __m256i load2(const void *p)
{
	return _mm256_loadu_si256(p);
}

/* The hash key to the e-th power, 1 <= e <= 16. */
INLINE __m128i power(const struct vaes_key *k, int e)
{
	return load(k->power[VAES_POWERS - e]);
}

/* ---- blocks ---- */

INLINE __m128i encrypt(const struct vaes_key *k, __m128i b)
{
	b = _mm_xor_si128(b, load(k->round[0]));
	for (int r = 1; r < k->rounds; r++)
		b = _mm_aesenc_si128(b, load(k->round[r]));
	return _mm_aesenclast_si128(b, load(k->round[k->rounds]));
}

INLINE __m256i round_key2(const struct vaes_key *k, int r)
{
	return _mm256_broadcastsi128_si256(load(k->round[r]));
}

TARGET void vaes_init(struct vaes_key *k, const void *round_keys, int rounds)
{
	uint64_t half[2];

	CHECK(rounds == 10 || rounds == 14);
	memset(k, 0, sizeof(*k));
	memcpy(k->round, round_keys, (size_t)(rounds + 1) * VAES_BLOCK);
	k->rounds = rounds;
	/* Times x: the top bit comes back as the polynomial. */
	_mm_storeu_si128((__m128i *)(void *)half, swap(encrypt(k, _mm_setzero_si128())));
	uint64_t carry = 0 - (half[1] >> 63);
	half[1] = half[1] << 1 | half[0] >> 63;
	half[0] = half[0] << 1;
	half[0] ^= carry & 1;
	half[1] ^= carry & 0xc200000000000000ULL;
	__m128i h = load(half), p = h;
	for (int e = 1; e <= VAES_POWERS; e++) {
		_mm_storeu_si128((__m128i *)(void *)k->power[VAES_POWERS - e], p);
		p = multiply(p, h);
	}
	wipe(half, sizeof(half));
}

/* ---- a group ---- */

/* One step of hashing a group: the v-th pair of blocks, times its powers. acc goes into the very first block. */
INLINE void hash_pair(const struct vaes_key *k, const uint8_t *group, int v, __m128i acc,
		      struct sum2 *s)
{
	__m256i x = swap2(load2(group + 32 * v));

	if (v == 0)
		x = _mm256_xor_si256(x, _mm256_zextsi128_si256(acc));
	add_product2(s, x, load2(k->power[2 * v]));
}

INLINE __m128i hash_group(const struct vaes_key *k, const uint8_t *group, __m128i acc)
{
	struct sum2 s = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};

	for (int v = 0; v < VECTORS; v++)
		hash_pair(k, group, v, acc, &s);
	return reduce2(s);
}

/*
 * Keeps the compiler from doing all of one thing before the other, which needs more registers than there are. What is
 * read from memory again is in the nearest cache.
 */
INLINE void hold(__m256i b[VECTORS], struct sum2 *s)
{
	__asm__ volatile(""
			 : "+x"(b[0]), "+x"(b[1]), "+x"(b[2]), "+x"(b[3]), "+x"(b[4]), "+x"(b[5]),
			   "+x"(b[6]), "+x"(b[7]), "+x"(s->lo), "+x"(s->mi), "+x"(s->hi)
			 :
			 : "memory");
}

/*
 * Encrypts or decrypts the group at text, and meanwhile hashes the one at hashed (NULL: none; it may be the same, since a
 * pair is hashed before it is written). Counters are little endian in *counter, a pair of them.
 */
INLINE __m128i crypt_group(const struct vaes_key *k, uint8_t *text, __m256i *counter,
			   const uint8_t *hashed, __m128i acc)
{
	const __m256i two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
	struct sum2 s = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
	__m256i b[VECTORS], key = round_key2(k, 0);

#pragma GCC unroll 8
	for (int v = 0; v < VECTORS; v++) {
		b[v] = _mm256_xor_si256(swap2(*counter), key);
		*counter = _mm256_add_epi32(*counter, two);
	}
#pragma GCC unroll 9
	for (int r = 1; r <= HASHED_ROUNDS; r++) {
		key = round_key2(k, r);
#pragma GCC unroll 8
		for (int v = 0; v < VECTORS; v++)
			b[v] = _mm256_aesenc_epi128(b[v], key);
		if (hashed && r <= VECTORS)
			hash_pair(k, hashed, r - 1, acc, &s);
		hold(b, &s);
	}
	for (int r = HASHED_ROUNDS + 1; r < k->rounds; r++) {
		key = round_key2(k, r);
#pragma GCC unroll 8
		for (int v = 0; v < VECTORS; v++)
			b[v] = _mm256_aesenc_epi128(b[v], key);
	}
	key = round_key2(k, k->rounds);
#pragma GCC unroll 8
	for (int v = 0; v < VECTORS; v++) {
		uint8_t *p = text + 32 * v;
		b[v] = _mm256_aesenclast_epi128(b[v], _mm256_xor_si256(key, load2(p)));
		_mm256_storeu_si256((__m256i *)(void *)p, b[v]);
	}
	return hashed ? reduce2(s) : acc;
}

/* ---- what is left: less than a group ---- */

INLINE __m128i load_part(const uint8_t *p, size_t n)
{
	uint8_t b[VAES_BLOCK] = {0};

	memcpy(b, p, n);
	return load(b);
}

/* Counter mode for n < GROUP bytes, two blocks at a time. */
INLINE void crypt_rest(const struct vaes_key *k, uint8_t *text, size_t n, __m256i counter)
{
	const __m256i two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);

	while (n > 0) {
		uint8_t part[32];
		__m256i b = _mm256_xor_si256(swap2(counter), round_key2(k, 0));
		counter = _mm256_add_epi32(counter, two);
		for (int r = 1; r < k->rounds; r++)
			b = _mm256_aesenc_epi128(b, round_key2(k, r));
		b = _mm256_aesenclast_epi128(b, round_key2(k, k->rounds));
		if (n >= 32) {
			_mm256_storeu_si256((__m256i *)(void *)text,
					    _mm256_xor_si256(b, load2(text)));
			text += 32;
			n -= 32;
			continue;
		}
		_mm256_storeu_si256((__m256i *)(void *)part, b);
		for (size_t i = 0; i < n; i++)
			text[i] ^= part[i];
		n = 0;
	}
}

/* Hashes n < GROUP bytes and the block of lengths behind them, with one reduction (two when there are sixteen blocks). */
INLINE __m128i hash_rest(const struct vaes_key *k, const uint8_t *text, size_t n, __m128i acc,
			 __m128i lengths)
{
	struct sum s = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
	int blocks = (int)((n + VAES_BLOCK - 1) / VAES_BLOCK);
	int top = blocks == VAES_POWERS ? blocks : blocks + 1;

	for (int i = 0; i < blocks; i++) {
		size_t len = MIN(n - (size_t)i * VAES_BLOCK, (size_t)VAES_BLOCK);
		const uint8_t *p = text + i * VAES_BLOCK;
		__m128i x = swap(len == VAES_BLOCK ? load(p) : load_part(p, len));
		if (i == 0)
			x = _mm_xor_si128(x, acc);
		add_product(&s, x, power(k, top - i));
	}
	if (blocks == VAES_POWERS)
		return multiply(_mm_xor_si128(reduce(s), lengths), power(k, 1));
	if (blocks == 0)
		lengths = _mm_xor_si128(lengths, acc);
	add_product(&s, lengths, power(k, 1));
	return reduce(s);
}

/* ---- the whole ---- */

INLINE __m128i first_counter(const uint8_t nonce[12])
{
	uint8_t b[VAES_BLOCK] = {0};

	memcpy(b, nonce, 12);
	b[15] = 1;
	return load(b);
}

/* Encrypts or decrypts and returns the tag. */
INLINE __m128i gcm(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
		   size_t aad_len, uint8_t *text, size_t n, bool seals)
{
	const __m128i start = first_counter(nonce), little = swap(start);
	const __m128i mask = encrypt(k, start);
	const __m128i lengths = _mm_set_epi64x((long long)(aad_len * 8), (long long)(n * 8));
	__m256i counter = _mm256_add_epi32(_mm256_broadcastsi128_si256(little),
					   _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1));
	__m128i acc = _mm_setzero_si128();
	uint8_t *before = NULL;

	CHECK(aad_len <= VAES_AAD_MAX);
	if (aad_len > 0)
		acc = multiply(swap(load_part(aad, aad_len)), power(k, 1));
	for (; n >= GROUP; n -= GROUP, text += GROUP) {
		if (!seals)
			acc = crypt_group(k, text, &counter, text, acc);
		else if (before)
			acc = crypt_group(k, text, &counter, before, acc);
		else
			acc = crypt_group(k, text, &counter, NULL, acc);
		before = text;
	}
	if (seals && before)
		acc = hash_group(k, before, acc);
	if (!seals)
		acc = hash_rest(k, text, n, acc, lengths);
	crypt_rest(k, text, n, counter);
	if (seals)
		acc = hash_rest(k, text, n, acc, lengths);
	return _mm_xor_si128(swap(acc), mask);
}

TARGET void vaes_seal(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
		      size_t aad_len, uint8_t *text, size_t n)
{
	_mm_storeu_si128((__m128i *)(void *)(text + n), gcm(k, nonce, aad, aad_len, text, n, true));
}

TARGET bool vaes_open(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
		      size_t aad_len, uint8_t *text, size_t n)
{
	__m128i want = load(text + n), differs;

	differs = _mm_xor_si128(want, gcm(k, nonce, aad, aad_len, text, n, false));
	return _mm_testz_si128(differs, differs);
}

#else

bool vaes_present(void)
{
	return false;
}

/* Without it nothing below is called. */
void vaes_init(struct vaes_key *k, const void *round_keys, int rounds)
{
	CHECK(k == NULL || round_keys == NULL || rounds == 0);
}

void vaes_seal(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
	       size_t aad_len, uint8_t *text, size_t n)
{
	CHECK(k == NULL || nonce == NULL || aad == NULL || aad_len == 0 || text == NULL || n == 0);
}

bool vaes_open(const struct vaes_key *k, const uint8_t nonce[12], const uint8_t *aad,
	       size_t aad_len, uint8_t *text, size_t n)
{
	CHECK(k == NULL || nonce == NULL || aad == NULL || aad_len == 0 || text == NULL || n == 0);
	return false;
}

#endif
