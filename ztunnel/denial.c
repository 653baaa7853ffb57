/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/denial.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"
#include "shared/state/policy.h"
#include "shared/state/workload.h"
#include "ztunnel/proxy.h"

LOG_SCOPE(scope, "ztunnel::state");

static void log_decision(const struct app *app, const struct authz_facts *facts,
			 const char *message, const struct policy *policy)
{
	enum log_level level = app->config->authz_info_log ? LOG_INFO : LOG_DEBUG;
	struct log_line line;

	if (!log_begin(&line, &scope, level, message))
		return;
	log_addr(&line, "src.addr", &facts->src);
	log_addr(&line, "dst.addr", &facts->dst);
	if (facts->identity.n)
		log_str(&line, "src.identity", facts->identity);
	if (policy)
		log_str(&line, "policy", rstr_str(policy->key));
	log_end(&line);
}

bool denial_check(struct pod_worker *pw, struct workload *own, const struct authz_facts *facts,
		  char **text)
{
	const struct app *app = pw->aw->app;
	struct workload *now = proxy_own_workload(pw);
	struct authz_result r;
	char why[AUTHZ_TEXT_MAX];
	struct str label;

	authz_check(app->world, now ? now : own, facts, &r);
	for (uint32_t i = 0; i < MIN(r.dry_run_count, (uint32_t)AUTHZ_DRY_RUN_MAX); i++)
		log_decision(app, facts, "dry-run policy matched", r.dry_run[i]);
	if (r.allowed) {
		log_decision(app, facts, "connection allowed by policy", r.policy);
		return false;
	}
	log_decision(app, facts, "connection denied by policy", r.policy);
	label = r.policy ? rstr_str(r.policy->key) : STR("no allow policy matched");
	metric_add_labels(pw->aw->w->metrics, METRIC_DENIALS, &label, 1, 1);
	if (text) {
		free(*text);
		*text = NULL;
		if (asprintf(text, "%s: %s", err_text(ERR_POLICY_DENIED), authz_text(&r, why)) < 0)
			*text = NULL;
	}
	return true;
}
