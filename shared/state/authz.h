/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorization of one connection by the policies of the workload it goes to (contract section 3.7). Pure: facts in,
 * verdict out, the same at admission and at every re-check of a live connection.
 */
#ifndef GAUZE_STATE_AUTHZ_H
#define GAUZE_STATE_AUTHZ_H

#include "policy.h"

struct workload;
struct world;

enum { AUTHZ_TEXT_MAX = 640, AUTHZ_DRY_RUN_MAX = 8 };

/* What is known about a connection. Views are borrowed. */
struct authz_facts {
	struct addr src;
	struct addr dst;     /* real pod IP and the port dialled on the application, never 15008 */
	struct str identity; /* the peer's verified "spiffe://..."; empty: none */
};

enum authz_why {
	AUTHZ_NO_ALLOW_POLICY, /* allowed: nothing denies, no policy allows explicitly */
	AUTHZ_ALLOWED_BY,      /* allowed by `policy` */
	AUTHZ_DENIED_BY,       /* denied by `policy` */
	AUTHZ_NONE_ALLOWED,    /* denied: there are allow policies, none matched */
};

struct authz_result {
	bool allowed;
	enum authz_why why;
	const struct policy *policy; /* or NULL; borrowed until the read section ends */
	/* Dry-run policies that matched (they decide nothing); the first ones, and how many there were. */
	const struct policy *dry_run[AUTHZ_DRY_RUN_MAX];
	uint32_t dry_run_count;
	bool dry_run_none_allowed; /* allowed, but not if the dry-run ALLOW policies were enforced */
	uint32_t unknown_policies; /* keys of the workload's own list that name no policy: skipped */
};

/*
 * Inside the read section. `local` is the workload that the connection goes to (contract 6.3: the snapshot taken when the
 * connection began). Returns result->allowed.
 */
bool authz_check(const struct world *world, const struct workload *local,
		 const struct authz_facts *facts, struct authz_result *result);
/* "explicitly denied by: ns/name", "allow policies exist, but none allowed", ... written into out, terminated. */
const char *authz_text(const struct authz_result *result, char out[AUTHZ_TEXT_MAX]);

/* One policy alone; whether its rules match, action and dry-run apart. */
bool policy_matches(const struct policy *p, const struct authz_facts *facts);

#endif
