/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An established session and a peer that says what the input wants. The input is a script of steps:
 *
 *	kind (1)  length (2)  bytes
 *
 * kind's low three bits choose the record's type, or bytes in the clear; bit 3 flips a bit of the sealed record; bit 4
 * renews the sender's keys after it; bit 5 cuts what is fed into pieces of 7 bytes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "shared/wire/tls_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[TLS_SECRET_MAX] = {1, 2, 3};

static struct bufpool *pool;

static struct tls *session(bool serves)
{
	struct tls *t = aligned_alloc(16, sizeof(*t));

	CHECK(t);
	memset(t, 0, sizeof(*t));
	t->magic = TLS_MAGIC;
	t->state = TLS_ESTABLISHED;
	t->serves = serves;
	t->suite = TLS_AES_128_GCM_SHA256;
	CHECK(tls_direction_init(&t->rx, t->suite, secret, 0) == 0);
	CHECK(tls_direction_init(&t->tx, t->suite, secret, 0) == 0);
	return t;
}

static void receive(struct tls *t, const uint8_t *bytes, size_t n, size_t piece)
{
	struct bufq out = {0};

	for (size_t at = 0; at < n; at += piece) {
		struct bufq in = {0};
		bool more = true;
		CHECK(bufq_copy(&in, pool, bytes + at, MIN(piece, n - at)) == 0);
		CHECK(tls_feed(t, &in) == 0);
		for (int i = 0; more && i < 10000; i++)
			if (tls_open(t, pool, &out, &more) != 0)
				break;
		/* No record is longer than it may be, and nothing waits but less than one. */
		CHECK(out.bytes <= n + TLS_PLAIN_MAX);
		CHECK(t->state != TLS_ESTABLISHED || t->rx_closed ||
		      tls_buffered(t) < TLS_HEADER + TLS_CIPHER_MAX);
		bufq_fini(&out);
		if (tls_wants_step(t))
			(void)!tls_step(t, pool, &out);
		CHECK(!tls_wants_step(t));
		bufq_fini(&out);
	}
}

static void step(struct tls *t, struct tls_direction *d, uint8_t kind, struct str bytes)
{
	static const uint8_t types[] = {
		TLS_APPLICATION_DATA, TLS_HANDSHAKE, TLS_ALERT, 0, TLS_CHANGE_CIPHER_SPEC, 24, 255};
	size_t n = MIN(bytes.n, (size_t)TLS_PLAIN_MAX), piece = kind & 32 ? 7 : SIZE_MAX / 2;
	uint8_t *room = malloc(TLS_HEADER + n + TLS_EXPANSION);

	CHECK(room);
	if ((kind & 7) == 7) {
		receive(t, (const uint8_t *)bytes.p, n, piece);
	} else {
		memcpy(room + TLS_HEADER, bytes.p, n);
		CHECK(tls_record_seal(d, types[kind & 7], room + TLS_HEADER, n));
		if (kind & 8)
			room[n % (TLS_HEADER + n + TLS_EXPANSION)] ^= 1;
		receive(t, room, TLS_HEADER + n + TLS_EXPANSION, piece);
		if (kind & 16)
			CHECK(tls_direction_update(d) == 0);
	}
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bufpool_limits limits = {.slots_max = 4, .bytes_max = 64 << 20, .slabs_cached = 1};
	struct cursor c = cursor_read(data, size);
	struct tls_direction d;

	if (!pool)
		CHECK((pool = bufpool_new(&limits)) != NULL);
	struct tls *t = session(cursor_u8(&c) & 1);
	CHECK(tls_direction_init(&d, t->suite, secret, 0) == 0);
	while (cursor_left(&c) > 0) {
		uint8_t kind = cursor_u8(&c);
		size_t n = cursor_u16(&c);
		struct str bytes = cursor_bytes(&c, MIN(n, cursor_left(&c)));
		if (cursor_error(&c) != 0)
			break;
		step(t, &d, kind, bytes);
	}
	tls_direction_fini(&d);
	tls_free(t);
	CHECK(bufpool_bytes(pool, BUF_KINDS) == 0);
	return 0;
}
