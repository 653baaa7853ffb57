/* SPDX-License-Identifier: Apache-2.0 */
/* Byte by byte and all at once come to the same end. */
#include <stddef.h>

#include "shared/wire/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t run(struct socks5 *s, const uint8_t *data, size_t size, size_t piece)
{
	size_t done = 0, used;
	socks5_init(s);
	do {
		size_t n = MIN(piece, size - done);
		int rc = socks5_feed(s, data + done, n, &used);
		CHECK(used <= n && (rc == 0 || s->state == SOCKS5_FAILED));
		done += used;
	} while (used > 0 && done < size);
	return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks5 one, all;
	size_t a = run(&one, data, size, 1), b = run(&all, data, size, size ? size : 1);
	CHECK(a == b && one.state == all.state && one.out_len == all.out_len);
	CHECK(memcmp(one.out, all.out, all.out_len) == 0);
	if (all.state != SOCKS5_READY)
		return 0;
	CHECK(addr_eq(&one.target, &all.target) && str_eq(one.host, all.host));
	CHECK((all.host.n > 0) == (all.target.ip.len == 0));
	socks5_reply(&all, SOCKS5_GENERAL);
	CHECK(all.state == SOCKS5_FAILED);
	return 0;
}
