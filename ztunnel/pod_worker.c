/* SPDX-License-Identifier: Apache-2.0 */
/* A pod on one data worker: its listeners, admission, and the way to its end. */
#include "ztunnel/pod_worker.h"

#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"

LOG_SCOPE(scope, "ztunnel::inpod");

/* The peer learns at once, by RST, that it is not served. */
static void refuse(int fd)
{
	struct linger now = {.l_onoff = 1};
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static void cell_add(uint32_t *cell, int32_t by)
{
	/* One writer: a plain sum, stored so that other threads never see half of it. */
	__atomic_store_n(cell, *cell + (uint32_t)by, __ATOMIC_RELAXED);
}

static int limit_hit(struct pod_worker *pw, struct str name)
{
	metric_add_labels(pw->aw->w->metrics, METRIC_LIMIT_HITS, &name, 1, 1);
	return ERR_LIMIT;
}

int pod_admit(struct pod_worker *pw)
{
	const struct config *c = pw->aw->app->config;
	uint64_t connections, bytes;
	pod_sum(pw->pod, &connections, &bytes);
	if (connections >= c->pod_connections_max)
		return limit_hit(pw, STR("limit_pod_flows"));
	if (pw->bytes_buffered >= LIMIT_POD_BUFFERED)
		return limit_hit(pw, STR("limit_pod_buffered"));
	if (app_connections(pw->aw->app) >= c->connections_max)
		return limit_hit(pw, STR("limit_process_flows"));
	cell_add(&pw->connections, 1);
	cell_add(&pw->aw->connections, 1);
	return 0;
}

void pod_release(struct pod_worker *pw)
{
	CHECK(pw->connections > 0 && pw->aw->connections > 0);
	cell_add(&pw->connections, -1);
	cell_add(&pw->aw->connections, -1);
}

void pod_account(struct pod_worker *pw, int64_t bytes)
{
	__atomic_store_n(&pw->bytes_buffered, pw->bytes_buffered + (uint64_t)bytes,
			 __ATOMIC_RELAXED);
}

static void accepted(void *arg, int fd, const struct addr *peer)
{
	struct pod_listener *pl = arg;
	struct pod_worker *pw = pl->pw;
	const struct proxy_ops *ops = pw->aw->app->proxy;
	if (pw->phase >= POD_KILLED || pod_admit(pw)) {
		refuse(fd);
		return;
	}
	switch (pl->port) {
	case POD_OUTBOUND: ops->outbound(pl, fd, peer); break;
	case POD_INBOUND_PLAINTEXT: ops->inbound_plaintext(pl, fd, peer); break;
	case POD_INBOUND_HBONE: ops->inbound_hbone(pl, fd, peer); break;
	case POD_SOCKS5: ops->socks5(pl, fd, peer); break;
	case POD_PORTS: CHECK(!"no such port");
	}
}

/* The last reference is gone; what held the pod may still be on the stack, so the end waits for its own task. */
static void ended(struct task *task)
{
	struct pod_worker *pw = container_of(task, struct pod_worker, ended);
	MAGIC_CHECK(pw, POD_WORKER_MAGIC);
	CHECK(pw->refs == 0 && list_empty(&pw->flows) && pw->connections == 0);
	if (pw->started)
		pw->aw->app->proxy->pod_stop(pw);
	list_del(&pw->link);
	pw->phase = POD_DONE;
	worker_post(pw->aw->app->control, &pw->mail_done);
}

void pod_worker_put(struct pod_worker *pw)
{
	MAGIC_CHECK(pw, POD_WORKER_MAGIC);
	CHECK(pw->refs > 0);
	if (--pw->refs == 0)
		task_ready(&pw->aw->w->run, &pw->ended);
}

/* The pod's own reference is dropped once, when draining has begun in earnest or at the kill. */
static void let_go(struct pod_worker *pw)
{
	if (!pw->held)
		return;
	pw->held = false;
	pod_worker_put(pw);
}

static void close_socket(struct pod_listener *pl)
{
	if (pl->fd < 0)
		return;
	close(pl->fd);
	pl->fd = -1;
	__atomic_sub_fetch(&pl->pw->pod->sockets[pl->port], 1, __ATOMIC_RELAXED);
}

static void drain_if_stopped(struct pod_worker *pw)
{
	if (pw->listening || pw->phase != POD_DRAINING || !pw->held)
		return;
	pw->gave_back = true;
	worker_post(pw->aw->app->control, &pw->mail_quiet);
	if (pw->started)
		pw->aw->app->proxy->pod_drain(pw);
	let_go(pw);
}

static void listener_stopped(struct task *task)
{
	struct pod_listener *pl = container_of(task, struct pod_listener, stopped);
	struct pod_worker *pw = pl->pw;
	pl->listener = NULL;
	pw->listening--;
	if (pw->phase == POD_KILLED)
		close_socket(pl);
	drain_if_stopped(pw);
	pod_worker_put(pw);
}

static void stop_listeners(struct pod_worker *pw)
{
	for (size_t i = 0; i < POD_PORTS; i++) {
		struct pod_listener *pl = &pw->listeners[i];
		if (!pl->listener || pl->stopping)
			continue;
		pl->stopping = true;
		listener_release(pl->listener, &pl->stopped);
	}
}

static void close_listeners(struct pod_worker *pw)
{
	stop_listeners(pw);
	for (size_t i = 0; i < POD_PORTS && !pw->gave_back; i++) {
		struct pod_listener *pl = &pw->listeners[i];
		/* A hand-over may have begun: another instance must not keep its program. */
		if (pw->phase == POD_KILLED && pl->fd >= 0)
			socket_unsteer(pl->fd);
		if (!pl->listener)
			close_socket(pl);
	}
}

/* The sockets of a younger instance follow ours in the kernel's array: ours are all there was when they came. */
static void steer_past(struct pod_worker *pw)
{
	for (size_t i = 0; i < POD_PORTS; i++) {
		struct pod_listener *pl = &pw->listeners[i];
		if (!pl->listener)
			continue;
		uint32_t ours = __atomic_load_n(&pw->pod->sockets[i], __ATOMIC_RELAXED);
		int rc = socket_steer(pl->fd, ours);
		if (!rc)
			rc = socket_deafen(pl->fd);
		if (rc)
			log_warn(&scope, "pod %s/%s may lose connections to a closing socket: %s",
				 pw->pod->ns->text, pw->pod->name->text, err_text(rc));
	}
}

static void hand_over_due(struct task *task)
{
	stop_listeners(container_of(task, struct pod_worker, hand_over_due));
}

void pod_close_sockets(struct pod *pod)
{
	for (size_t i = 0; i < POD_PORTS; i++) {
		struct pod_listener *last = NULL;
		for (uint32_t k = 0; k < pod->app->workers_count; k++) {
			struct pod_listener *pl = &pod->workers[k].listeners[i];
			if (!pod->workers[k].quiet || pl->fd < 0)
				continue;
			if (last)
				close_socket(last);
			last = pl;
		}
		/* As late as possible, yet while we can: the program belongs to the group, which lives on. */
		if (last) {
			socket_unsteer(last->fd);
			close_socket(last);
		}
	}
}

static void deliver_start(struct mail *mail, struct worker *at)
{
	struct pod_worker *pw = container_of(mail, struct pod_worker, mail_start);
	CHECK(at == pw->aw->w && pw->phase == POD_STARTING);
	pw->phase = POD_RUNNING;
	list_add_tail(&pw->aw->pods, &pw->link);
	int rc = pw->aw->app->proxy->pod_start(pw);
	if (rc) {
		/* Other workers serve the pod through their own listeners. */
		log_error(&scope, "worker %u cannot serve pod %s/%s: %s", at->index,
			  pw->pod->ns->text, pw->pod->name->text, err_text(rc));
		close_listeners(pw);
		return;
	}
	pw->started = true;
	for (size_t i = 0; i < POD_PORTS; i++) {
		struct pod_listener *pl = &pw->listeners[i];
		if (pl->fd < 0)
			continue;
		rc = listener_start(pw->aw->w, pl->fd, accepted, pl, &pl->listener);
		if (rc) {
			pl->fd = -1;
			__atomic_sub_fetch(&pw->pod->sockets[i], 1, __ATOMIC_RELAXED);
			log_error(&scope, "worker %u cannot accept for pod %s/%s: %s", at->index,
				  pw->pod->ns->text, pw->pod->name->text, err_text(rc));
			continue;
		}
		pw->listening++;
		pod_worker_get(pw);
	}
}

static void deliver_drain(struct mail *mail, struct worker *at)
{
	struct pod_worker *pw = container_of(mail, struct pod_worker, mail_drain);
	CHECK(at == pw->aw->w);
	if (pw->phase != POD_RUNNING)
		return;
	pw->phase = POD_DRAINING;
	if (pw->aw->app->config->inpod_port_reuse && pw->listening) {
		steer_past(pw);
		timer_arm(&at->timers, &pw->hand_over, LIMIT_HAND_OVER_MS);
	} else {
		stop_listeners(pw);
	}
	drain_if_stopped(pw);
}

static void deliver_quiet(struct mail *mail, struct worker *at)
{
	struct pod_worker *pw = container_of(mail, struct pod_worker, mail_quiet);
	struct pod *pod = pw->pod;
	CHECK(at == pod->app->control && !pw->quiet);
	pw->quiet = true;
	if (++pod->workers_quiet == pod->app->workers_count || pod->killed)
		pod_close_sockets(pod);
}

static void deliver_kill_answer(struct mail *mail, struct worker *at)
{
	struct pod *pod = container_of(mail, struct pod_worker, mail_kill)->pod;
	CHECK(at == pod->app->control && pod->kills_out > 0);
	pod->kills_out--;
	pods_reap(pod);
}

static void deliver_kill(struct mail *mail, struct worker *at)
{
	struct pod_worker *pw = container_of(mail, struct pod_worker, mail_kill);
	CHECK(at == pw->aw->w);
	/* A drain that ended by itself may have crossed this message; then there is nothing left to do. */
	if (pw->phase == POD_RUNNING || pw->phase == POD_DRAINING) {
		pw->phase = POD_KILLED;
		timer_disarm(&at->timers, &pw->hand_over);
		task_cancel(&pw->hand_over_due);
		close_listeners(pw);
		if (pw->started)
			pw->aw->app->proxy->pod_kill(pw, pw->pod->kill_reason);
		let_go(pw);
	}
	/* The pod may be freed only when no message to it is under way. */
	mail->deliver = deliver_kill_answer;
	worker_post(pw->aw->app->control, mail);
}

static void deliver_done(struct mail *mail, struct worker *at)
{
	struct pod *pod = container_of(mail, struct pod_worker, mail_done)->pod;
	CHECK(at == pod->app->control && pod->workers_live > 0);
	pod->workers_live--;
	pods_reap(pod);
}

void pod_worker_init(struct pod_worker *pw, struct pod *pod, struct app_worker *aw)
{
	pw->magic = POD_WORKER_MAGIC;
	pw->pod = pod;
	pw->aw = aw;
	list_init(&pw->link);
	list_init(&pw->flows);
	pw->refs = 1;
	pw->held = true;
	task_init(&pw->ended, ended);
	task_init(&pw->hand_over_due, hand_over_due);
	timer_init(&pw->hand_over, &pw->hand_over_due);
	pw->mail_start.deliver = deliver_start;
	pw->mail_drain.deliver = deliver_drain;
	pw->mail_quiet.deliver = deliver_quiet;
	pw->mail_kill.deliver = deliver_kill;
	pw->mail_done.deliver = deliver_done;
	for (size_t i = 0; i < POD_PORTS; i++) {
		struct pod_listener *pl = &pw->listeners[i];
		pl->pw = pw;
		pl->port = (enum pod_port)i;
		pl->fd = -1;
		task_init(&pl->stopped, listener_stopped);
	}
}

void pod_worker_fini(struct pod_worker *pw)
{
	MAGIC_CHECK(pw, POD_WORKER_MAGIC);
	pw->magic = 0;
	for (size_t i = 0; i < POD_PORTS; i++)
		if (pw->listeners[i].fd >= 0)
			close(pw->listeners[i].fd);
}
