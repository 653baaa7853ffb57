/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a stranger may say to the handshake: as to a server, or (first byte odd) as to a client that has said hello. */
#include <stdint.h>
#include <stdlib.h>

#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/wire/tls.h"
#include "shared/wire/tls_ctx.h"
#include "tests/unit/testca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bufpool *pool;
static struct tls_ctx *ctx;

static void set_up(void)
{
	struct bufpool_limits limits = {.slots_max = 4, .bytes_max = 64 << 20, .slabs_cached = 1};
	struct testca root = testca_new("root", NULL, 0);

	ctx = testca_simple_ctx(&root, "spiffe://td/ns/default/sa/server");
	testca_free(&root);
	pool = bufpool_new(&limits);
	CHECK(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str want = STR("spiffe://td/ns/default/sa/x");
	struct bufq in = {0}, out = {0};
	int rc = 0;

	if (!ctx)
		set_up();
	if (size < 2)
		return 0;
	struct tls *t = data[0] & 1 ? tls_client_new(ctx, &want, 1) : tls_server_new(ctx);
	CHECK(t);
	if (tls_wants_step(t))
		CHECK(tls_step(t, pool, &out) == 0);
	size_t piece = data[1] ? data[1] : 4096;
	for (size_t at = 2; at < size && rc == 0; at += piece) {
		CHECK(bufq_copy(&in, pool, data + at, MIN(piece, size - at)) == 0);
		CHECK(tls_feed(t, &in) == 0);
		if (tls_wants_step(t))
			rc = tls_step(t, pool, &out);
		bool more = true;
		while (rc == 0 && more)
			rc = tls_open(t, pool, &out, &more);
	}
	/* Nobody gets in without a certificate. */
	CHECK(!tls_established(t));
	CHECK(tls_peer(t) == NULL);
	bufq_fini(&out);
	tls_free(t);
	CHECK(bufpool_bytes(pool, BUF_KINDS) == 0);
	return 0;
}
