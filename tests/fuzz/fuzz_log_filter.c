/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator posts to the admin server: any filter that is accepted, written out, is the same filter. */
#include <stddef.h>

#include "shared/base/err.h"
#include "shared/obs/log_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct log_filter f, again;
	struct sbuf a, b;
	f.count = again.count = 0;
	if (log_filter_add(&f, (struct str){(const char *)data, size})) {
		CHECK(f.count == 0);
		return 0;
	}
	sbuf_init(&a, 64 * 1024);
	sbuf_init(&b, 64 * 1024);
	log_filter_format(&f, &a);
	CHECK(log_filter_add(&again, sbuf_str(&a)) == 0 && again.count == f.count);
	log_filter_format(&again, &b);
	CHECK(sbuf_error(&a) == 0 && str_eq(sbuf_str(&a), sbuf_str(&b)));
	(void)log_filter_level(&f, STR("ztunnel::proxy"));
	sbuf_fini(&a);
	sbuf_fini(&b);
	return 0;
}
