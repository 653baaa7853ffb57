/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a request, one field per line: "name value". The first byte of the input is not looked at. */
#include <stddef.h>

#include "shared/base/limits.h"
#include "shared/wire/hbone.h"
#include "shared/wire/text.h"

enum { FIELDS_MAX = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_target(const struct hbone_target *t)
{
	struct hbone_target again;
	struct sbuf out;
	sbuf_init(&out, 2 * LIMIT_AUTHORITY_BYTES);
	hbone_target_format(t, &out);
	CHECK(hbone_target_parse(sbuf_str(&out), &again) == 0);
	CHECK(addr_eq(&t->addr, &again.addr) && str_eq(t->host, again.host));
	CHECK(hbone_target_is_host(t) == (t->host.n > 0));
	sbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header v[FIELDS_MAX];
	size_t n = 0;
	if (size == 0)
		return 0;
	struct str rest = {(const char *)data + 1, size - 1};
	while (rest.n > 0 && n < FIELDS_MAX) {
		struct str line = text_split(&rest, '\n');
		v[n].name = text_split(&line, ' ');
		v[n++].value = line;
	}
	struct hbone_request r;
	if (hbone_request_parse(v, n, &r) == 0)
		check_target(&r.target);
	return 0;
}
