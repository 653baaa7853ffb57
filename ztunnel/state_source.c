/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/state_source.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/control/file_watch.h"
#include "shared/control/static_file.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"
#include "ztunnel/workers.h"

LOG_SCOPE(scope, "ztunnel::state");

enum { SETTLE_MS = 50 /* a writer's burst of events is one change */, RECLAIM_MS = 1000 };

struct state_source {
	struct app *app;
	struct file_watch *watch;
	struct task changed, reclaim;
	struct timer reclaim_timer;
	struct stat seen; /* the file as it was last loaded, for better or worse */
};

static void count(struct app *app, struct str result)
{
	metric_add_labels(app->control->metrics, METRIC_CONFIG_LOADS, &result, 1, 1);
}

static int load(struct state_source *s)
{
	const struct config *c = s->app->config;
	struct static_report report = {0};
	struct batch_result r = {0};
	int rc = c->local_xds_path ? static_load_file(s->app->world, c->local_xds_path, &r, &report)
				   : static_load_text(s->app->world, str_of(c->local_xds),
						      "LOCAL_XDS", &r, &report);
	if (rc) {
		for (uint32_t i = 0; i < static_report_lines(&report); i++)
			log_error(&scope, "%s", report.line[i]);
		log_error(&scope, "static configuration refused: %u errors (%s)", report.errors,
			  err_text(rc));
	} else {
		log_info(
			&scope,
			"static configuration loaded: %u added, %u changed, %u removed, %u as before",
			r.added, r.changed, r.removed, r.unchanged);
	}
	/* Also when memory ended half-way: what was published is in force. */
	if (r.policies_changed)
		workers_recheck(s->app);
	task_ready(&s->app->control->run, &s->reclaim);
	count(s->app, rc ? STR("refused") : STR("accepted"));
	static_report_fini(&report);
	return rc;
}

/* The folder is what is watched, and other files may live in it. */
static bool is_news(struct state_source *s)
{
	struct stat now = {0};
	bool same = stat(s->app->config->local_xds_path, &now) == 0 &&
		    now.st_ino == s->seen.st_ino && now.st_dev == s->seen.st_dev &&
		    now.st_size == s->seen.st_size &&
		    now.st_mtim.tv_sec == s->seen.st_mtim.tv_sec &&
		    now.st_mtim.tv_nsec == s->seen.st_mtim.tv_nsec;
	s->seen = now;
	return !same;
}

static void changed(struct task *task)
{
	struct state_source *s = container_of(task, struct state_source, changed);
	if (!is_news(s))
		return;
	if (s->seen.st_ino && s->seen.st_size == 0) {
		/* A writer that truncates first: to believe it would empty the mesh for a moment. */
		log_error(&scope, "%s is empty: what was loaded before stays",
			  s->app->config->local_xds_path);
		count(s->app, STR("refused"));
		return;
	}
	(void)load(s);
}

static void reclaim(struct task *task)
{
	struct state_source *s = container_of(task, struct state_source, reclaim);
	(void)world_reclaim(s->app->world);
	/* Workers that sleep pass at once; a busy one may need a moment. */
	if (epoch_retired(s->app->epoch))
		timer_arm(&s->app->control->timers, &s->reclaim_timer, RECLAIM_MS);
}

int state_source_start(struct app *app, struct state_source **out)
{
	struct state_source *s = calloc(1, sizeof(*s));
	int rc = 0;
	if (!s)
		return ERR_NOMEM;
	s->app = app;
	task_init(&s->changed, changed);
	task_init(&s->reclaim, reclaim);
	timer_init(&s->reclaim_timer, &s->reclaim);
	if (app->config->local_xds_path) {
		rc = file_watch_new(app->control, app->config->local_xds_path, SETTLE_MS,
				    &s->changed, &s->watch);
		if (rc)
			log_error(&scope, "%s cannot be watched: %s", app->config->local_xds_path,
				  err_text(rc));
	}
	if (!rc && app->config->local_xds_path)
		(void)is_news(s);
	if (!rc && (app->config->local_xds_path || app->config->local_xds))
		rc = load(s);
	if (rc) {
		state_source_stop(s);
		return rc;
	}
	*out = s;
	return 0;
}

void state_source_stop(struct state_source *s)
{
	if (!s)
		return;
	file_watch_free(s->watch);
	timer_disarm(&s->app->control->timers, &s->reclaim_timer);
	task_cancel(&s->changed);
	task_cancel(&s->reclaim);
	free(s);
}
