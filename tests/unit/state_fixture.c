/* SPDX-License-Identifier: Apache-2.0 */
#include "state_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/control/static_file.h"

void fx_begin(struct fixture *f, const char *network, const char *node)
{
	const struct world_config config = {str_of(network), str_of(node)};

	*f = (struct fixture){.epoch = epoch_new(8)};
	assert_non_null(f->epoch);
	f->w = world_new(&config, f->epoch);
	assert_non_null(f->w);
	rng_init(&f->rng, 1);
}

void fx_end(struct fixture *f)
{
	world_free(f->w);
	epoch_free(f->epoch);
}

void fx_load(struct fixture *f, const char *workloads, const char *services, const char *policies)
{
	struct static_report report;
	char *text = NULL;

	int n = asprintf(&text, "workloads:\n%s\nservices:\n%s\npolicies:\n%s\n",
			 workloads ? workloads : "", services ? services : "",
			 policies ? policies : "");
	assert_true(n > 0);
	int err = static_load_text(f->w, (struct str){text, (size_t)n}, "test", &f->last, &report);
	for (uint32_t i = 0; i < static_report_lines(&report); i++)
		print_error("%s\n", report.line[i]);
	assert_int_equal(err, 0);
	static_report_fini(&report);
	free(text);
	world_reclaim(f->w);
}

struct ip fx_ip(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(str_of(text), &ip), 0);
	return ip;
}

struct addr fx_addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(str_of(text), &a), 0);
	return a;
}

struct find {
	const char *uid;
	struct workload *found;
};

static bool find_uid(void *arg, struct workload *w)
{
	struct find *f = arg;

	if (strcmp(w->uid->text, f->uid) == 0)
		f->found = w;
	return !f->found;
}

struct workload *fx_workload(struct fixture *f, const char *uid)
{
	struct find find = {uid, NULL};

	world_each_workload(f->w, find_uid, &find);
	return find.found;
}

struct service *fx_service(struct fixture *f, const char *ns, const char *hostname)
{
	struct rstr *key;

	assert_int_equal(key_intern(str_of(ns), str_of(hostname), &key), 0);
	struct service *s = world_service_by_key(f->w, key);
	rstr_put(key);
	return s;
}

size_t fx_endpoints(const struct service *s)
{
	const struct endpoint_set *set = service_endpoints(s);
	size_t n = 0;

	for (uint32_t i = 0; set && i < set->count; i++)
		if (service_takes(s, &set->v[i]) && cell_workload(set->v[i].cell))
			n++;
	return n;
}
