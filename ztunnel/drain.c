/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/drain.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/watch.h"
#include "shared/obs/log.h"
#include "ztunnel/pods.h"
#include "ztunnel/servers.h"
#include "ztunnel/zds_client.h"

LOG_SCOPE(scope, "ztunnel::app");

enum {
	ANSWERS_MS = 500,      /* what admin, stats and readiness get for their last answers */
	FORCED_MS = 10 * 1000, /* after the deadline nothing may take this long */
};

struct drain {
	struct app *app;
	int fd;
	struct watch *watch;
	struct task signalled, deadline, pods_gone, answered, hurry, stuck;
	struct timer deadline_timer, hurry_timer, stuck_timer;
	bool begun, interrupted, no_pods, no_answers;
};

static sigset_t signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return set;
}

void drain_block_signals(void)
{
	sigset_t set = signals();
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static noreturn_fn void leave(int status)
{
	log_stop();
	_exit(status);
}

static void signalled(struct task *task)
{
	struct drain *d = container_of(task, struct drain, signalled);
	struct signalfd_siginfo info;
	while (read(d->fd, &info, sizeof(info)) == sizeof(info)) {
		bool interrupt = info.ssi_signo == SIGINT;
		if (interrupt && d->interrupted) {
			log_info(&scope, "interrupted again: leaving at once");
			leave(0);
		}
		d->interrupted |= interrupt;
		drain_begin(d, interrupt ? "SIGINT" : "SIGTERM");
	}
	watch_arm(d->watch);
}

static void finish_if_done(struct drain *d)
{
	if (!d->no_pods || !d->no_answers)
		return;
	log_info(&scope, "drained");
	worker_stop(d->app->control);
}

static void pods_gone(struct task *task)
{
	struct drain *d = container_of(task, struct drain, pods_gone);
	if (!d->begun || d->no_pods || pods_live(d->app->pods))
		return;
	d->no_pods = true;
	timer_disarm(&d->app->control->timers, &d->deadline_timer);
	if (!d->no_answers)
		timer_arm(&d->app->control->timers, &d->hurry_timer, ANSWERS_MS);
	finish_if_done(d);
}

static void answered(struct task *task)
{
	struct drain *d = container_of(task, struct drain, answered);
	d->no_answers = true;
	finish_if_done(d);
}

static void hurry(struct task *task)
{
	servers_kill(container_of(task, struct drain, hurry)->app->servers);
}

static void deadline(struct task *task)
{
	struct drain *d = container_of(task, struct drain, deadline);
	log_warn(&scope, "drain deadline reached with %lu connections left: ending them",
		 (unsigned long)app_connections(d->app));
	pods_kill(d->app->pods, ERR_DRAINED);
	timer_arm(&d->app->control->timers, &d->stuck_timer, FORCED_MS);
}

static void stuck(struct task *task)
{
	struct drain *d = container_of(task, struct drain, stuck);
	log_error(&scope, "%u pods did not end although they were told to",
		  pods_live(d->app->pods));
	leave(1);
}

int drain_new(struct app *app, struct drain **out)
{
	sigset_t set = signals();
	struct drain *d = calloc(1, sizeof(*d));
	int rc;
	if (!d)
		return ERR_NOMEM;
	d->app = app;
	task_init(&d->signalled, signalled);
	task_init(&d->deadline, deadline);
	task_init(&d->pods_gone, pods_gone);
	task_init(&d->answered, answered);
	task_init(&d->hurry, hurry);
	task_init(&d->stuck, stuck);
	timer_init(&d->deadline_timer, &d->deadline);
	timer_init(&d->hurry_timer, &d->hurry);
	timer_init(&d->stuck_timer, &d->stuck);
	d->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	rc = d->fd < 0 ? -errno : watch_new(app->control, d->fd, &d->signalled, &d->watch);
	if (rc) {
		drain_free(d);
		return rc;
	}
	*out = d;
	return 0;
}

void drain_begin(struct drain *d, const char *why)
{
	struct app *app = d->app;
	if (d->begun)
		return;
	d->begun = app->draining = true;
	log_info(&scope, "%s: draining for at most %lu ms", why,
		 (unsigned long)app->config->drain_deadline_ms);
	zds_client_free(app->zds);
	app->zds = NULL;
	servers_drain(app->servers, &d->answered);
	pods_on_empty(app->pods, &d->pods_gone);
	pods_drain(app->pods);
	timer_arm(&app->control->timers, &d->deadline_timer, app->config->drain_deadline_ms);
	task_ready(&app->control->run, &d->pods_gone);
}

void drain_free(struct drain *d)
{
	if (!d)
		return;
	watch_free(d->watch);
	timer_disarm(&d->app->control->timers, &d->deadline_timer);
	timer_disarm(&d->app->control->timers, &d->hurry_timer);
	timer_disarm(&d->app->control->timers, &d->stuck_timer);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}
