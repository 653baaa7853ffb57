/* SPDX-License-Identifier: Apache-2.0 */
/* A world filled from text in the static file's format, for tests of what reads it. */
#ifndef GAUZE_TESTS_STATE_FIXTURE_H
#define GAUZE_TESTS_STATE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/base/epoch.h"
#include "shared/base/rng.h"
#include "shared/state/world.h"

struct fixture {
	struct epoch *epoch;
	struct world *w;
	struct rng rng;
	struct batch_result last; /* of the last load */
};

/* node NULL: every workload is local. */
void fx_begin(struct fixture *f, const char *network, const char *node);
void fx_end(struct fixture *f);
/* Lists in the static file's YAML, each NULL or its items; replaces what was loaded before. Fails the test on errors. */
void fx_load(struct fixture *f, const char *workloads, const char *services, const char *policies);
struct ip fx_ip(const char *text);
struct addr fx_addr(const char *text);
/* By uid; NULL when there is none. */
struct workload *fx_workload(struct fixture *f, const char *uid);
struct service *fx_service(struct fixture *f, const char *ns, const char *hostname);
/* How many endpoints of the service take traffic. */
size_t fx_endpoints(const struct service *s);

#endif
