/* SPDX-License-Identifier: Apache-2.0 */
/* The static file: whatever the text is, it is refused with a line or loads; what loads, loads again as no change. */
#include <stddef.h>
#include <stdint.h>

#include "shared/control/dump_state.h"
#include "shared/control/static_file.h"
#include "shared/state/authz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool check_workload(void *arg, struct workload *w)
{
	const struct authz_facts facts = {.identity =
						  STR("spiffe://cluster.local/ns/default/sa/a")};
	char text[AUTHZ_TEXT_MAX];
	struct authz_result r;

	authz_check(arg, w, &facts, &r);
	authz_text(&r, text);
	return true;
}

static void load(struct world *w, struct str text)
{
	struct static_report report;
	struct batch_result r;

	int err = static_load_text(w, text, "fuzz", &r, &report);
	CHECK((err == 0) == (report.errors == 0));
	static_report_fini(&report);
	if (err)
		return;
	world_each_workload(w, check_workload, w);
	cJSON *dumps[] = {dump_workloads(w), dump_services(w), dump_policies(w),
			  dump_staged_services(w)};
	for (size_t i = 0; i < ARRAY_SIZE(dumps); i++) {
		CHECK(dumps[i] != NULL);
		cJSON_Delete(dumps[i]);
	}
	err = static_load_text(w, text, "fuzz", &r, &report);
	CHECK(err == 0 && r.added + r.changed + r.removed == 0);
	/* And away with all of it. */
	err = static_load_text(w, STR("{}"), "fuzz", &r, &report);
	CHECK(err == 0 && r.added + r.changed == 0);
	world_reclaim(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct world_config config = {0};
	struct epoch *epoch = epoch_new(1);
	struct world *w = world_new(&config, epoch);

	load(w, (struct str){(const char *)data, size});
	world_free(w);
	epoch_free(epoch);
	CHECK(rstr_count() == 0);
	return 0;
}
