/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "shared/base/err.h"
#include "shared/wire/socks5.h"

#define BYTES(literal) ((struct str){(literal), sizeof(literal) - 1})
#define GREETING "\5\1\0"
#define FAILED_7 "\5\7\0\1\0\0\0\0\0\0"

/* Feeds everything, `piece` bytes at a time; returns the first error. *used counts what was taken. */
static int feed(struct socks5 *s, struct str bytes, size_t piece, size_t *used)
{
	*used = 0;
	while (*used < bytes.n) {
		size_t n = MIN(piece, bytes.n - *used), took = 0;
		int rc = socks5_feed(s, bytes.p + *used, n, &took);
		*used += took;
		if (rc || took < n)
			return rc;
	}
	return 0;
}

static void assert_out(struct socks5 *s, struct str want)
{
	struct str got = socks5_output(s);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
	socks5_sent(s);
}

static void targets(void **state)
{
	(void)state;
	static const struct {
		struct str request;
		const char *addr, *host;
		uint16_t port;
	} rows[] = {
		{STR_INIT("\5\1\0\1\x0a\0\0\1\0\x50"), "10.0.0.1:80", "", 80},
		{STR_INIT("\5\1\0\4\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x1f\x90"), "[fd00::1]:8080",
		 "", 8080},
		{STR_INIT("\5\1\0\3\4host\0\x50"), NULL, "host", 80},
		{STR_INIT("\5\1\xff\1\x0a\0\0\1\0\0"), "10.0.0.1:0", "",
		 0}, /* reserved byte: any */
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t piece = 1; piece < 40; piece++) {
			struct socks5 s;
			size_t used;
			socks5_init(&s);
			assert_int_equal(feed(&s, BYTES(GREETING), piece, &used), 0);
			assert_int_equal(s.state, SOCKS5_REQUEST);
			assert_out(&s, BYTES("\5\0"));
			assert_int_equal(feed(&s, rows[i].request, piece, &used), 0);
			assert_int_equal(s.state, SOCKS5_READY);
			assert_int_equal(s.target.port, rows[i].port);
			assert_str(s.host, rows[i].host);
			char text[ADDR_TEXT_MAX];
			if (rows[i].addr)
				assert_string_equal(addr_text(&s.target, text), rows[i].addr);
			else
				assert_int_equal(s.target.ip.len, 0);
			assert_out(&s, BYTES(""));
			socks5_reply(&s, SOCKS5_OK);
			assert_int_equal(s.state, SOCKS5_DONE);
			assert_out(&s, BYTES("\5\0\0\1\0\0\0\0\0\0"));
		}
	}
}

static void bytes_sent_early_are_left(void **state)
{
	(void)state;
	struct socks5 s;
	size_t used;
	socks5_init(&s);
	/* Greeting, request and the application's first bytes in one go. */
	struct str all = BYTES(GREETING "\5\1\0\1\x0a\0\0\1\0\x50GET /");
	assert_int_equal(socks5_feed(&s, all.p, all.n, &used), 0);
	assert_int_equal(used, all.n - 5);
	assert_int_equal(s.state, SOCKS5_READY);
	assert_int_equal(socks5_feed(&s, "GET /", 5, &used), 0);
	assert_int_equal(used, 0);
	socks5_reply(&s, SOCKS5_OK);
	assert_int_equal(socks5_output(&s).n, 12); /* both answers still wait */
}

static void violations(void **state)
{
	(void)state;
	static const struct {
		struct str bytes;
		int rc;
	} rows[] = {
		{STR_INIT("\4"), ERR_UNSUPPORTED},
		{STR_INIT("GET / HTTP/1.1\r\n"), ERR_UNSUPPORTED},
		{STR_INIT("\5\0"), ERR_SYNTAX},
		{STR_INIT("\5\2\1\2"), ERR_UNSUPPORTED},
		{STR_INIT(GREETING "\4"), ERR_UNSUPPORTED},
		{STR_INIT(GREETING "\5\2"), ERR_UNSUPPORTED},
		{STR_INIT(GREETING "\5\3"), ERR_UNSUPPORTED},
		{STR_INIT(GREETING "\5\1\0\2"), ERR_UNSUPPORTED},
		{STR_INIT(GREETING "\5\1\0\3\0\0"), ERR_SYNTAX},
		{STR_INIT(GREETING "\5\1\0\3\3a\nb\0\x50"), ERR_SYNTAX},
		{STR_INIT(GREETING "\5\1\0\3\2\xc3\xbc\0\x50"), ERR_SYNTAX},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t piece = 1; piece < 20; piece++) {
			struct socks5 s;
			size_t used;
			socks5_init(&s);
			assert_int_equal(feed(&s, rows[i].bytes, piece, &used), rows[i].rc);
			assert_int_equal(s.state, SOCKS5_FAILED);
			struct str out = socks5_output(&s);
			assert_true(out.n >= 10);
			assert_memory_equal(out.p + out.n - 10, FAILED_7, 10);
			assert_int_equal(socks5_feed(&s, "x", 1, &used), 0);
			assert_int_equal(used, 0);
		}
	}
}

static void longest_messages_fit(void **state)
{
	(void)state;
	struct socks5 s;
	size_t used;
	char methods[2 + 255], request[5 + 255 + 2];
	memset(methods, 1, sizeof(methods));
	methods[0] = 5;
	methods[1] = (char)255;
	methods[sizeof(methods) - 1] = 0;
	memset(request, 'h', sizeof(request));
	memcpy(request, "\5\1\0\3\xff", 5);
	socks5_init(&s);
	assert_int_equal(feed(&s, (struct str){methods, sizeof(methods)}, 7, &used), 0);
	assert_int_equal(s.state, SOCKS5_REQUEST);
	assert_int_equal(feed(&s, (struct str){request, sizeof(request)}, 300, &used), 0);
	assert_int_equal(s.state, SOCKS5_READY);
	assert_int_equal(s.host.n, SOCKS5_HOST_MAX);
}

static void failures_are_said(void **state)
{
	(void)state;
	struct socks5 s;
	size_t used;
	socks5_init(&s);
	assert_int_equal(feed(&s, BYTES(GREETING "\5\1\0\3\4host\0\x50"), 100, &used), 0);
	socks5_sent(&s);
	socks5_reply(&s, SOCKS5_HOST_UNREACHABLE);
	assert_int_equal(s.state, SOCKS5_FAILED);
	assert_out(&s, BYTES("\5\4\0\1\0\0\0\0\0\0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets),	     cmocka_unit_test(bytes_sent_early_are_left),
		cmocka_unit_test(violations),	     cmocka_unit_test(longest_messages_fit),
		cmocka_unit_test(failures_are_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
