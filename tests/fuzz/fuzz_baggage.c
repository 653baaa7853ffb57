/* SPDX-License-Identifier: Apache-2.0 */
/* What is read from any value, written again, reads the same. */
#include <stddef.h>

#include "shared/base/limits.h"
#include "shared/wire/baggage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(struct str field, struct str whole)
{
	if (field.n > 0)
		CHECK(field.p >= whole.p && field.p + field.n <= whole.p + whole.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str value = {(const char *)data, size};
	struct baggage b = {0}, again = {0};
	struct sbuf out;
	if (baggage_parse(value, &b)) {
		CHECK(b.cluster.n + b.namespace.n + b.workload.n + b.service.n == 0);
		return 0;
	}
	check_view(b.cluster, value);
	check_view(b.namespace, value);
	check_view(b.workload, value);
	check_view(b.service, value);
	check_view(b.revision, value);
	check_view(b.region, value);
	check_view(b.zone, value);
	sbuf_init(&out, 2 * LIMIT_BAGGAGE_BYTES);
	baggage_format(&b, STR("deployment"), &out);
	CHECK(sbuf_error(&out) == 0);
	if (out.n <= LIMIT_BAGGAGE_BYTES) {
		CHECK(baggage_parse(sbuf_str(&out), &again) == 0);
		CHECK(str_eq(b.cluster, again.cluster) && str_eq(b.namespace, again.namespace) &&
		      str_eq(b.workload, again.workload) && str_eq(b.service, again.service) &&
		      str_eq(b.revision, again.revision) && str_eq(b.region, again.region) &&
		      str_eq(b.zone, again.zone));
	}
	sbuf_fini(&out);
	return 0;
}
