/* SPDX-License-Identifier: Apache-2.0 */
/* Families that nobody counts: they are asked of the system when somebody wants to see them. */
#include <dirent.h>
#include <sys/resource.h>

#include "shared/obs/log.h"
#include "shared/obs/metrics.h"

static struct str build_labels[2];

static void collect_build(void *arg, struct metrics_emit *out)
{
	(void)arg;
	metrics_emit(out, build_labels, ARRAY_SIZE(build_labels), 1);
}

static void collect_open_fds(void *arg, struct metrics_emit *out)
{
	(void)arg;
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return;
	/* Less the one that reads the folder. */
	int64_t count = -1;
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		count += entry->d_name[0] != '.';
	closedir(dir);
	metrics_emit(out, NULL, 0, count);
}

static void collect_max_fds(void *arg, struct metrics_emit *out)
{
	(void)arg;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		metrics_emit(out, NULL, 0, (int64_t)limit.rlim_cur);
}

static void collect_log_waits(void *arg, struct metrics_emit *out)
{
	(void)arg;
	metrics_emit(out, NULL, 0, (int64_t)log_stats().waits);
}

static void collect_log_suppressed(void *arg, struct metrics_emit *out)
{
	(void)arg;
	metrics_emit(out, NULL, 0, (int64_t)log_stats().suppressed);
}

void metrics_process_init(struct str component, struct str tag)
{
	build_labels[0] = component;
	build_labels[1] = tag;
	metrics_collect(METRIC_BUILD, collect_build, NULL);
	metrics_collect(METRIC_OPEN_FDS, collect_open_fds, NULL);
	metrics_collect(METRIC_MAX_FDS, collect_max_fds, NULL);
	metrics_collect(METRIC_LOG_WAITS, collect_log_waits, NULL);
	metrics_collect(METRIC_LOG_SUPPRESSED, collect_log_suppressed, NULL);
}
