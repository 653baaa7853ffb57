/* SPDX-License-Identifier: Apache-2.0 */
#include "file_watch.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/watch.h"
#include "shared/io/worker.h"

struct file_watch {
	struct worker *w;
	int fd;
	uint32_t debounce_ms;
	struct watch *watch;
	struct task readable, due;
	struct timer timer;
	struct task *user;
};

/* What happened does not matter, only that something did. */
static void readable(struct task *task)
{
	struct file_watch *f = container_of(task, struct file_watch, readable);
	char events[4096] __attribute__((aligned(8)));

	while (read(f->fd, events, sizeof(events)) > 0)
		;
	timer_arm(&f->w->timers, &f->timer, f->debounce_ms);
	watch_arm(f->watch);
}

static void due(struct task *task)
{
	struct file_watch *f = container_of(task, struct file_watch, due);

	task_ready(&f->w->run, f->user);
}

static int watch_directory(int fd, const char *path)
{
	const uint32_t mask = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
			      IN_ONLYDIR;
	char *copy = strdup(path);
	struct stat st;
	int rc;

	if (!copy)
		return ERR_NOMEM;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		rc = inotify_add_watch(fd, path, mask);
	else
		rc = inotify_add_watch(fd, dirname(copy), mask);
	rc = rc < 0 ? -errno : 0;
	free(copy);
	return rc;
}

int file_watch_new(struct worker *w, const char *path, uint32_t debounce_ms, struct task *task,
		   struct file_watch **out)
{
	struct file_watch *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return ERR_NOMEM;
	f->w = w;
	f->debounce_ms = debounce_ms;
	f->user = task;
	task_init(&f->readable, readable);
	task_init(&f->due, due);
	timer_init(&f->timer, &f->due);
	f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->fd < 0) {
		err = -errno;
		goto fail_fd;
	}
	err = watch_directory(f->fd, path);
	if (err)
		goto fail_watch;
	err = watch_new(w, f->fd, &f->readable, &f->watch);
	if (err)
		goto fail_watch;
	*out = f;
	return 0;

fail_watch:
	close(f->fd);
fail_fd:
	free(f);
	return err;
}

void file_watch_free(struct file_watch *f)
{
	if (!f)
		return;
	watch_free(f->watch);
	task_cancel(&f->readable);
	task_cancel(&f->due);
	timer_disarm(&f->w->timers, &f->timer);
	close(f->fd);
	free(f);
}
