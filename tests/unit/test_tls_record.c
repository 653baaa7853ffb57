/* SPDX-License-Identifier: Apache-2.0 */
/* The record layer: known answers, cuts, forgeries, floods, and what follows a handshake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "testca.h"
#include "tls_pair.h"

#include "shared/wire/tls_priv.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

static struct tls_ctx *cc, *sc;
static struct pair p;
static struct bufq got;

static int make_contexts(void **state)
{
	struct testca root = testca_new("root", NULL, 0);

	(void)state;
	cc = testca_simple_ctx(&root, CLIENT);
	sc = testca_simple_ctx(&root, SERVER);
	testca_free(&root);
	return 0;
}

static int drop_contexts(void **state)
{
	(void)state;
	tls_ctx_put(cc);
	tls_ctx_put(sc);
	return 0;
}

static int set_up(void **state)
{
	struct str want = STR(SERVER);

	(void)state;
	pair_open(&p, cc, sc, &want, 1);
	pair_shake(&p);
	assert_true(tls_established(p.c) && tls_established(p.s));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	bufq_fini(&got);
	pair_close(&p);
	return 0;
}

/* ---- RFC 8448 section 3 ---- */

static size_t hex(const char *text, uint8_t *out)
{
	size_t n = 0;
	unsigned v;
	int used;

	while (sscanf(text, "%2x%n", &v, &used) == 1) {
		out[n++] = (uint8_t)v;
		text += used;
	}
	return n;
}

static void known_answers(void **state)
{
	struct tls_direction d;
	uint8_t secret[48], want[128], room[128], plain[50], type;
	size_t n;

	(void)state;
	hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", secret);
	for (int i = 0; i < 50; i++)
		plain[i] = (uint8_t)i;
	assert_int_equal(tls_direction_init(&d, TLS_AES_128_GCM_SHA256, secret, 0), 0);
	memcpy(room + TLS_HEADER, plain, 50);
	assert_true(tls_record_seal(&d, TLS_APPLICATION_DATA, room + TLS_HEADER, 50));
	n = hex("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b"
		"62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
		want);
	assert_int_equal(n, 72);
	assert_memory_equal(room, want, n);
	memcpy(room + TLS_HEADER, (uint8_t[]){1, 0}, 2);
	assert_true(tls_record_seal(&d, TLS_ALERT, room + TLS_HEADER, 2));
	n = hex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3", want);
	assert_memory_equal(room, want, n);
	tls_direction_fini(&d);
	/* And back. */
	assert_int_equal(tls_direction_init(&d, TLS_AES_128_GCM_SHA256, secret, 1), 0);
	assert_int_equal(tls_record_open(&d, want, n - TLS_HEADER, &type, &n), 0);
	assert_int_equal(type, TLS_ALERT);
	assert_int_equal(n, 2);
	assert_memory_equal(want + TLS_HEADER, ((uint8_t[]){1, 0}), 2);
	tls_direction_fini(&d);
	assert_int_equal(tls_direction_init(&d, 0x1303, secret, 0), ERR_UNSUPPORTED);
}

/* ---- helpers: one record of any content on the wire ---- */

static void raw(struct tls *from, struct bufq *wire, int type, const void *bytes, size_t n)
{
	uint8_t *room = malloc(TLS_HEADER + n + TLS_EXPANSION);

	assert_non_null(room);
	memcpy(room + TLS_HEADER, bytes, n);
	assert_true(tls_record_seal(&from->tx, (enum tls_content)type, room + TLS_HEADER, n));
	assert_int_equal(bufq_copy(wire, p.pool, room, TLS_HEADER + n + TLS_EXPANSION), 0);
	free(room);
}

static int to_server(int type, const void *bytes, size_t n)
{
	raw(p.c, &p.to_s, type, bytes, n);
	return pair_recv(&p, p.s, &p.to_s, &got);
}

static int to_client(int type, const void *bytes, size_t n)
{
	raw(p.s, &p.to_c, type, bytes, n);
	return pair_recv(&p, p.c, &p.to_c, &got);
}

/* The server has failed: it says this alert, and stays dead. */
static void server_dead(uint8_t alert)
{
	char want[64];

	assert_true(tls_wants_step(p.s));
	assert_int_equal(tls_step(p.s, p.pool, &p.to_c), ERR_TLS_RECORD);
	assert_false(tls_wants_step(p.s));
	assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), ERR_TLS_ALERT);
	snprintf(want, sizeof(want), "received fatal alert: %s", tls_alert_text(alert));
	assert_string_equal(tls_error_text(p.c), want);
	assert_int_equal(pair_send(&p, p.s, &p.to_c, 'x', 1), ERR_TLS_RECORD);
	bool more = true;
	assert_int_equal(tls_open(p.s, p.pool, &got, &more), ERR_TLS_RECORD);
	assert_int_equal(got.bytes, 0);
}

static uint32_t wire_bytes(struct bufq *wire, uint8_t *out, uint32_t cap)
{
	uint32_t n = bufq_peek(wire, out, cap);

	bufq_fini(wire);
	return n;
}

/* A slice of its own in its own buffer. */
static void feed(struct tls *t, const uint8_t *bytes, size_t n)
{
	struct bufq in = {0};
	struct buf *b = bufpool_heap(p.pool, (uint32_t)n + 1);

	memcpy(b->data, bytes, n);
	assert_int_equal(bufq_push(&in, b, 0, (uint32_t)n), 0);
	buf_put(b);
	assert_int_equal(tls_feed(t, &in), 0);
	assert_int_equal(in.bytes, 0);
}

static int open_all(struct tls *t)
{
	bool more = true;
	int rc = 0;

	while (rc == 0 && more)
		rc = tls_open(t, p.pool, &got, &more);
	return rc;
}

/* ---- framing ---- */

static void cut_at_every_byte(void **state)
{
	uint8_t wire[256];

	(void)state;
	for (size_t cut = 0; cut <= 200; cut++) {
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 40), 0);
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 50), 0);
		uint32_t n = wire_bytes(&p.to_s, wire, sizeof(wire));
		size_t at = MIN(cut, (size_t)n);
		feed(p.s, wire, at);
		assert_int_equal(open_all(p.s), 0);
		feed(p.s, wire + at, n - at);
		assert_int_equal(open_all(p.s), 0);
		assert_true(pair_is(&got, 'a', 90));
		assert_int_equal(tls_buffered(p.s), 0);
	}
	/* One byte a time. */
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'b', 100), 0);
	uint32_t n = wire_bytes(&p.to_s, wire, sizeof(wire));
	for (uint32_t i = 0; i < n; i++) {
		feed(p.s, wire + i, 1);
		assert_int_equal(open_all(p.s), 0);
		assert_int_equal(got.bytes, i + 1 == n ? 100 : 0);
	}
	assert_true(pair_is(&got, 'b', 100));
}

static void whole_records_are_opened_in_place(void **state)
{
	struct bufq in = {0};

	(void)state;
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 1000), 0);
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 500), 0);
	struct buf *b = bufpool_slot(p.pool);
	uint32_t n = wire_bytes(&p.to_s, b->data, BUF_SLOT_BYTES);
	assert_int_equal(bufq_push(&in, b, 0, n), 0);
	assert_int_equal(tls_feed(p.s, &in), 0);
	assert_int_equal(open_all(p.s), 0);
	assert_int_equal(got.count, 2);
	assert_ptr_equal(bufq_at(&got, 0)->buf, b);
	assert_ptr_equal(bufq_at(&got, 1)->buf, b);
	assert_true(pair_is(&got, 'a', 1500));
	buf_put(b);
	assert_int_equal(bufpool_bytes(p.pool, BUF_SLOT), 0);
}

/* What waits for its other half holds no slot. */
static void halves_pin_no_slot(void **state)
{
	uint8_t wire[2048];
	struct bufq in = {0};

	(void)state;
	for (size_t cut = 1; cut < 1000; cut += 37) {
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 1000), 0);
		uint32_t n = wire_bytes(&p.to_s, wire, sizeof(wire));
		struct buf *b = bufpool_slot(p.pool);
		memcpy(b->data, wire, cut);
		assert_int_equal(bufq_push(&in, b, 0, (uint32_t)cut), 0);
		buf_put(b);
		assert_int_equal(tls_feed(p.s, &in), 0);
		assert_int_equal(open_all(p.s), 0);
		assert_int_equal(bufpool_bytes(p.pool, BUF_SLOT), 0);
		assert_int_equal(tls_buffered(p.s), cut);
		feed(p.s, wire + cut, n - cut);
		assert_int_equal(open_all(p.s), 0);
		assert_true(pair_is(&got, 'a', 1000));
	}
}

static void padding_is_taken_off(void **state)
{
	uint8_t text[100] = {'a', 'b', 'c', TLS_APPLICATION_DATA};

	(void)state;
	for (size_t n = 4; n <= sizeof(text); n += 12) {
		assert_int_equal(to_server(0, text, n), 0);
		assert_int_equal(got.bytes, 3);
		bufq_fini(&got);
	}
	memset(text, 0, sizeof(text));
	assert_int_equal(to_server(0, text, sizeof(text)), ERR_TLS_RECORD);
	server_dead(TLS_UNEXPECTED_MESSAGE);
}

/* ---- forgeries ---- */

static void each_flipped_bit_is_noticed(void **state)
{
	uint8_t wire[128];

	(void)state;
	tear_down(NULL);
	for (unsigned bit = 0;; bit++) {
		set_up(NULL);
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 10), 0);
		uint32_t n = wire_bytes(&p.to_s, wire, sizeof(wire));
		if (bit == n * 8)
			break;
		wire[bit / 8] ^= (uint8_t)(1U << bit % 8);
		feed(p.s, wire, n);
		int rc = open_all(p.s);
		/* The two version bytes are authenticated, too; a longer length only waits. */
		unsigned len = (unsigned)wire[3] << 8 | wire[4];
		if (wire[0] == TLS_APPLICATION_DATA && len > n - TLS_HEADER &&
		    len <= TLS_CIPHER_MAX)
			assert_int_equal(rc, 0);
		else
			assert_int_equal(rc, ERR_TLS_RECORD);
		assert_int_equal(got.bytes, 0);
		tear_down(NULL);
	}
}

static void replayed_and_reordered(void **state)
{
	uint8_t one[64], two[64];

	(void)state;
	assert_int_equal(pair_send(&p, p.c, &p.to_s, '1', 10), 0);
	uint32_t n = wire_bytes(&p.to_s, one, sizeof(one));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, '2', 10), 0);
	wire_bytes(&p.to_s, two, sizeof(two));
	uint8_t kept[64];
	memcpy(kept, one, sizeof(one));
	feed(p.s, one, n);
	assert_int_equal(open_all(p.s), 0);
	assert_true(pair_is(&got, '1', 10));
	feed(p.s, kept, n); /* again */
	assert_int_equal(open_all(p.s), ERR_TLS_RECORD);
	server_dead(TLS_BAD_RECORD_MAC);
}

static void a_missing_record_is_noticed(void **state)
{
	uint8_t wire[64];

	(void)state;
	assert_int_equal(pair_send(&p, p.c, &p.to_s, '1', 10), 0);
	wire_bytes(&p.to_s, wire, sizeof(wire));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, '2', 10), 0);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), ERR_TLS_RECORD);
	server_dead(TLS_BAD_RECORD_MAC);
}

static void headers_that_cannot_be(void **state)
{
	static const struct {
		uint8_t head[5], alert;
	} bad[] = {
		{{22, 3, 3, 0, 40}, TLS_UNEXPECTED_MESSAGE},
		{{20, 3, 3, 0, 1}, TLS_UNEXPECTED_MESSAGE},
		{{21, 3, 3, 0, 2}, TLS_UNEXPECTED_MESSAGE},
		{{0, 0, 0, 0, 0}, TLS_UNEXPECTED_MESSAGE},
		{{23, 3, 3, 0x41, 1}, TLS_RECORD_OVERFLOW},
		{{23, 3, 3, 0xff, 0xff}, TLS_RECORD_OVERFLOW},
		{{23, 3, 3, 0, 0}, TLS_BAD_RECORD_MAC},
	};

	(void)state;
	tear_down(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		set_up(NULL);
		feed(p.s, bad[i].head, 5);
		assert_int_equal(open_all(p.s), ERR_TLS_RECORD);
		server_dead(bad[i].alert);
		tear_down(NULL);
	}
	set_up(NULL);
}

/* More content than a record may have, rightly sealed. */
static void overlong_content(void **state)
{
	const size_t inner = TLS_PLAIN_MAX + 2;
	uint8_t *rec = calloc(1, TLS_HEADER + inner + TLS_AEAD_TAG), nonce[TLS_AEAD_NONCE];
	struct tls_direction *d = &p.c->tx;

	(void)state;
	assert_non_null(rec);
	size_t len = inner + TLS_AEAD_TAG;
	memcpy(rec, (uint8_t[]){23, 3, 3, (uint8_t)(len >> 8), (uint8_t)len}, 5);
	rec[TLS_HEADER + inner - 1] = TLS_APPLICATION_DATA;
	memcpy(nonce, d->iv, sizeof(nonce));
	nonce[11] ^= (uint8_t)d->seq;
	assert_true(tls_aead_seal(&d->aead, nonce, rec, TLS_HEADER, rec + TLS_HEADER, inner));
	d->seq++;
	feed(p.s, rec, TLS_HEADER + len);
	free(rec);
	assert_int_equal(open_all(p.s), ERR_TLS_RECORD);
	server_dead(TLS_RECORD_OVERFLOW);
}

/* ---- alerts ---- */

static void alerts(void **state)
{
	(void)state;
	/* Warnings of old do nothing, a close ends one direction, all else is the end. */
	assert_int_equal(to_server(TLS_ALERT, (uint8_t[]){1, TLS_USER_CANCELED}, 2), 0);
	assert_int_equal(to_server(TLS_ALERT, (uint8_t[]){2, TLS_CLOSE_NOTIFY}, 2), ERR_CLOSED);
	assert_int_equal(to_server(TLS_APPLICATION_DATA, "late", 4), ERR_CLOSED);
	assert_int_equal(got.bytes, 0);
	assert_false(tls_wants_step(p.s));
	assert_int_equal(to_client(TLS_ALERT, (uint8_t[]){1, TLS_INTERNAL_ERROR}, 2),
			 ERR_TLS_ALERT);
	assert_string_equal(tls_error_text(p.c), "received fatal alert: internal_error");
	assert_false(tls_wants_step(p.c)); /* an alert is not answered */
}

static void malformed_alert(void **state)
{
	(void)state;
	assert_int_equal(to_server(TLS_ALERT, (uint8_t[]){2, 0, 0}, 3), ERR_TLS_RECORD);
	server_dead(TLS_DECODE_ERROR);
}

/* ---- after the handshake ---- */

static const uint8_t update[] = {24, 0, 0, 1, 0}, update_please[] = {24, 0, 0, 1, 1};

static void send_update(struct tls *from, struct bufq *wire, bool please)
{
	raw(from, wire, TLS_HANDSHAKE, please ? update_please : update, 5);
	assert_int_equal(tls_direction_update(&from->tx), 0);
}

static void key_updates_are_followed(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		send_update(p.c, &p.to_s, false);
		assert_int_equal(pair_send(&p, p.c, &p.to_s, 'k', 20), 0);
		assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
		assert_true(pair_is(&got, 'k', 20));
		assert_false(tls_wants_step(p.s));
	}
}

static void requests_are_answered_once(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		send_update(p.c, &p.to_s, true);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
	assert_true(tls_wants_step(p.s));
	assert_int_equal(tls_step(p.s, p.pool, &p.to_c), 0);
	assert_int_equal(p.to_c.bytes, TLS_HEADER + 5 + TLS_EXPANSION);
	assert_false(tls_wants_step(p.s));
	assert_int_equal(pair_send(&p, p.s, &p.to_c, 'r', 9), 0);
	assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), 0);
	assert_true(pair_is(&got, 'r', 9));
	assert_false(tls_wants_step(p.c)); /* no echo for ever */
}

static void storms_end(void **state)
{
	(void)state;
	for (int i = 0; i < TLS_IDLE_RECORDS_MAX; i++)
		send_update(p.c, &p.to_s, true);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
	send_update(p.c, &p.to_s, true);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), ERR_TLS_RECORD);
	assert_string_equal(tls_error_text(p.s), "too many records without data");
}

static void empty_records_are_counted(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < TLS_IDLE_RECORDS_MAX; i++)
			assert_int_equal(to_server(TLS_APPLICATION_DATA, "", 0), 0);
		assert_int_equal(to_server(TLS_APPLICATION_DATA, "x", 1), 0);
		assert_true(pair_is(&got, 'x', 1));
	}
	for (int i = 0; i < TLS_IDLE_RECORDS_MAX; i++)
		assert_int_equal(to_server(TLS_APPLICATION_DATA, "", 0), 0);
	assert_int_equal(to_server(TLS_APPLICATION_DATA, "", 0), ERR_TLS_RECORD);
	server_dead(TLS_UNEXPECTED_MESSAGE);
}

/* A ticket in any number of pieces, several in one record. */
static void tickets_are_stepped_over(void **state)
{
	uint8_t ticket[2 * (4 + 200)] = {0};

	(void)state;
	memcpy(ticket, (uint8_t[]){4, 0, 0, 200}, 4);
	memcpy(ticket + 204, (uint8_t[]){4, 0, 0, 200}, 4);
	for (size_t cut = 1; cut < sizeof(ticket); cut += 29) {
		assert_int_equal(to_client(TLS_HANDSHAKE, ticket, cut), 0);
		assert_int_equal(to_client(TLS_HANDSHAKE, ticket + cut, sizeof(ticket) - cut), 0);
		assert_int_equal(to_client(TLS_APPLICATION_DATA, "ok", 2), 0);
		assert_int_equal(got.bytes, 2);
		bufq_fini(&got);
	}
	/* An empty one, and a key update cut into bytes. */
	assert_int_equal(to_client(TLS_HANDSHAKE, (uint8_t[]){4, 0, 0, 0}, 4), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(to_client(TLS_HANDSHAKE, &update[i], 1), 0);
	raw(p.s, &p.to_c, TLS_HANDSHAKE, &update[4], 1);
	assert_int_equal(tls_direction_update(&p.s->tx), 0);
	assert_int_equal(pair_send(&p, p.s, &p.to_c, 'z', 3), 0);
	assert_int_equal(pair_recv(&p, p.c, &p.to_c, &got), 0);
	assert_true(pair_is(&got, 'z', 3));
}

static void messages_that_cannot_be(void **state)
{
	static const struct {
		uint8_t text[8];
		size_t n;
		uint8_t alert;
	} bad[] = {
		{{24, 0, 0, 1, 2}, 5, 47},			   /* neither 0 nor 1 */
		{{24, 0, 0, 2, 0, 0}, 6, TLS_DECODE_ERROR},	   /* too long */
		{{24, 0, 0, 1, 0, 24}, 6, TLS_UNEXPECTED_MESSAGE}, /* more behind a change of keys */
		{{4, 0, 0, 1, 0}, 5, TLS_UNEXPECTED_MESSAGE},	   /* a client gives no tickets */
		{{1, 0, 0, 1, 0}, 5, TLS_UNEXPECTED_MESSAGE},	   /* renegotiation */
		{{13, 0, 0, 1, 0}, 5, TLS_UNEXPECTED_MESSAGE},	   /* request of a certificate */
		{{0}, 0, TLS_UNEXPECTED_MESSAGE},		   /* nothing */
	};

	(void)state;
	tear_down(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		set_up(NULL);
		assert_int_equal(to_server(TLS_HANDSHAKE, bad[i].text, bad[i].n), ERR_TLS_RECORD);
		server_dead(bad[i].alert);
		tear_down(NULL);
	}
	set_up(NULL);
	/* Data inside a message. */
	assert_int_equal(to_server(TLS_HANDSHAKE, update, 2), 0);
	assert_int_equal(to_server(TLS_APPLICATION_DATA, "x", 1), ERR_TLS_RECORD);
	server_dead(TLS_UNEXPECTED_MESSAGE);
	tear_down(NULL);
	set_up(NULL);
	assert_int_equal(to_client(TLS_HANDSHAKE, (uint8_t[]){4, 0xff, 0xff, 0xff}, 4),
			 ERR_TLS_RECORD);
	tear_down(NULL);
	set_up(NULL);
	assert_int_equal(to_server(99, "x", 1), ERR_TLS_RECORD);
	server_dead(TLS_UNEXPECTED_MESSAGE);
}

static void keys_are_renewed_in_time(void **state)
{
	(void)state;
	p.c->tx.seq = p.s->rx.seq = TLS_REKEY_RECORDS - 1;
	assert_false(tls_wants_step(p.c));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'o', 5), 0);
	assert_true(tls_wants_step(p.c));
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'o', 5), 0); /* it is no hurry */
	assert_int_equal(tls_step(p.c, p.pool, &p.to_s), 0);
	assert_int_equal(p.c->tx.seq, 0);
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'o', 5), 0);
	assert_int_equal(pair_recv(&p, p.s, &p.to_s, &got), 0);
	assert_true(pair_is(&got, 'o', 15));
	/* But there is an end. */
	p.c->tx.seq = TLS_KEY_RECORDS_MAX;
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'o', 5), ERR_TLS_RECORD);
}

/* Without memory for a record that came in pieces it waits, and goes on with what it has. */
static void without_memory(void **state)
{
	struct bufpool_limits none = {.slots_max = 1, .bytes_max = 1, .slabs_cached = 0};
	struct bufpool *poor = bufpool_new(&none);
	uint8_t wire[512];
	bool more = true;

	(void)state;
	assert_int_equal(pair_send(&p, p.c, &p.to_s, 'a', 300), 0);
	uint32_t n = wire_bytes(&p.to_s, wire, sizeof(wire));
	feed(p.s, wire, 100);
	assert_int_equal(tls_open(p.s, poor, &got, &more), ERR_NOMEM);
	assert_int_equal(tls_open(p.s, poor, &got, &more), ERR_NOMEM);
	assert_true(tls_established(p.s));
	assert_int_equal(tls_open(p.s, p.pool, &got, &more), 0);
	assert_false(more);
	feed(p.s, wire + 100, n - 100);
	assert_int_equal(tls_open(p.s, p.pool, &got, &more), 0);
	assert_true(pair_is(&got, 'a', 300));
	bufpool_free(poor);
}
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		PAIR_TEST(cut_at_every_byte),
		PAIR_TEST(whole_records_are_opened_in_place),
		PAIR_TEST(halves_pin_no_slot),
		PAIR_TEST(padding_is_taken_off),
		PAIR_TEST(each_flipped_bit_is_noticed),
		PAIR_TEST(replayed_and_reordered),
		PAIR_TEST(a_missing_record_is_noticed),
		PAIR_TEST(headers_that_cannot_be),
		PAIR_TEST(overlong_content),
		PAIR_TEST(alerts),
		PAIR_TEST(malformed_alert),
		PAIR_TEST(key_updates_are_followed),
		PAIR_TEST(requests_are_answered_once),
		PAIR_TEST(storms_end),
		PAIR_TEST(empty_records_are_counted),
		PAIR_TEST(tickets_are_stepped_over),
		PAIR_TEST(messages_that_cannot_be),
		PAIR_TEST(keys_are_renewed_in_time),
		PAIR_TEST(without_memory),
	};
	return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
