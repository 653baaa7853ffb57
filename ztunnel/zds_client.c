/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/zds_client.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/base/rng.h"
#include "shared/control/readiness.h"
#include "shared/io/watch.h"
#include "shared/obs/log.h"
#include "ztunnel/pods.h"

LOG_SCOPE(scope, "ztunnel::inpod");

enum {
	CONNECT_FIRST_MS = 10, /* doubled before each wait */
	HELLO_FIRST_MS = 500,
	HELLO_FIRST_READY_MS = 5, /* once we have been ready */
	BACKOFF_MAX_MS = 15000,
	JITTER_PERCENT = 20,
	PACKETS_PER_TURN = 32,
};
static const char task_name[] = "workload proxy manager";

struct zds_client {
	struct app *app;
	struct task *fatal;
	struct zds_session *session;
	struct sockaddr_un address;
	int fd; /* -1: not connected */
	struct watch *watch;
	struct task readable, connect, retry;
	struct timer connect_timer, retry_timer;
	uint32_t connect_ms, hello_ms;
	bool heard; /* a good message came on this connection */
	bool complained;
	struct rng rng;
};

/* ---- the pods as the session sees them ---- */

static void log_namespace(const struct zds_request *r, int fd)
{
	/* Contract section 2: looked at, and only told. */
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		log_warn(&scope, "descriptor of pod %s is no network namespace", r->uid);
}

static int pod_add(void *arg, const struct zds_request *r, int netns_fd, char error[ZDS_ERROR_MAX])
{
	struct zds_client *c = arg;
	struct pod_spec spec = {.kind = POD_ANNOUNCED,
				.uid = str_of(r->uid),
				.name = str_of(r->name),
				.ns = str_of(r->ns),
				.sa = str_of(r->service_account),
				.netns_fd = netns_fd};
	log_namespace(r, netns_fd);
	int rc = pods_add(c->app->pods, &spec, error);
	if (rc)
		log_warn(&scope, "pod %s/%s cannot start: %s", r->ns, r->name, error);
	else
		log_info(&scope, "pod %s/%s started, uid %s", r->ns, r->name, r->uid);
	return rc;
}

static void pod_del(void *arg, const char *uid)
{
	struct zds_client *c = arg;
	log_info(&scope, "pod deleted, uid %s", uid);
	pods_del(c->app->pods, str_of(uid));
}

static void pod_keep(void *arg, const char *uid, bool kept)
{
	struct zds_client *c = arg;
	struct pod *pod = pods_find(c->app->pods, str_of(uid));
	if (pod)
		pod->kept = kept;
}

static void unkeep(void *arg, struct pod *pod)
{
	(void)arg;
	pod->kept = false;
}

static void pod_keep_none(void *arg)
{
	struct zds_client *c = arg;
	pods_each(c->app->pods, unkeep, NULL);
}

static void end_unkept(void *arg, struct pod *pod)
{
	struct zds_client *c = arg;
	/* Ours (the self listener) were never announced. */
	if (pod->kept || pod->kind != POD_ANNOUNCED)
		return;
	log_info(&scope, "pod %s/%s is not in the snapshot", pod->ns->text, pod->name->text);
	pods_del(c->app->pods, rstr_str(pod->uid));
}

static void pod_reconcile(void *arg)
{
	struct zds_client *c = arg;
	pods_each(c->app->pods, end_unkept, c);
}

/* ---- the connection ---- */

static void look_ready(struct zds_client *c)
{
	readiness_set(c->app->readiness, task_name, zds_session_ready(c->session));
}

static void connect_after(struct zds_client *c, uint32_t delay_ms)
{
	timer_arm(&c->app->control->timers, &c->connect_timer, delay_ms);
}

static void backoff_connect(struct zds_client *c)
{
	c->connect_ms = MIN(c->connect_ms * 2, (uint32_t)BACKOFF_MAX_MS);
	connect_after(c, c->connect_ms);
}

static void backoff_hello(struct zds_client *c)
{
	if (!c->hello_ms)
		c->hello_ms = zds_session_was_ready(c->session) ? HELLO_FIRST_READY_MS
								: HELLO_FIRST_MS;
	uint64_t delay = rng_jitter(&c->rng, c->hello_ms, JITTER_PERCENT);
	connect_after(c, (uint32_t)MIN(delay, (uint64_t)BACKOFF_MAX_MS));
	c->hello_ms = MIN(c->hello_ms * 2, (uint32_t)BACKOFF_MAX_MS);
}

static void disconnect(struct zds_client *c)
{
	if (c->fd < 0)
		return;
	watch_free(c->watch);
	c->watch = NULL;
	task_cancel(&c->readable);
	timer_disarm(&c->app->control->timers, &c->retry_timer);
	close(c->fd);
	c->fd = -1;
	zds_session_disconnected(c->session);
	look_ready(c);
}

/* A connection that never said anything counts as a failed attempt, or two agents could keep each other spinning. */
static void reconnect(struct zds_client *c)
{
	disconnect(c);
	if (c->heard) {
		c->connect_ms = CONNECT_FIRST_MS;
		connect_after(c, 0);
	} else {
		backoff_connect(c);
	}
}

static int send_packet(struct zds_client *c, const uint8_t *packet, size_t len)
{
	ssize_t n = send(c->fd, packet, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EMSGSIZE;
}

static void do_connect(struct task *task)
{
	struct zds_client *c = container_of(task, struct zds_client, connect);
	uint8_t hello[ZDS_PACKET_MAX];
	int rc;
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rc = c->fd < 0 ? -errno : 0;
	if (!rc && connect(c->fd, (struct sockaddr *)&c->address, sizeof(c->address)))
		rc = -errno;
	if (rc) {
		if (c->fd >= 0)
			close(c->fd);
		c->fd = -1;
		if (!c->complained)
			log_warn(&scope, "cannot connect to the CNI agent at %s: %s; trying again",
				 c->address.sun_path, err_text(rc));
		c->complained = true;
		backoff_connect(c);
		return;
	}
	rc = send_packet(c, hello, zds_encode_hello(hello));
	if (!rc)
		rc = watch_new(c->app->control, c->fd, &c->readable, &c->watch);
	if (rc) {
		log_warn(&scope, "hello to the CNI agent failed: %s", err_text(rc));
		close(c->fd);
		c->fd = -1;
		backoff_hello(c);
		return;
	}
	log_info(&scope, "connected to the CNI agent at %s", c->address.sun_path);
	c->heard = c->complained = false;
	c->hello_ms = 0;
	zds_session_connected(c->session);
	timer_arm(&c->app->control->timers, &c->retry_timer, ZDS_RETRY_MS);
}

/* One packet with its descriptors. The count of bytes, 0 at the end, or -errno. */
static ssize_t receive(struct zds_client *c, uint8_t packet[ZDS_PACKET_MAX], int fds[ZDS_FDS_MAX],
		       size_t *fd_count, bool *truncated)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(ZDS_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {packet, ZDS_PACKET_MAX};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	*fd_count = 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && *fd_count < ZDS_FDS_MAX; i++)
			memcpy(&fds[(*fd_count)++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	*truncated = m.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	return n;
}

/* Handles one packet; false when the connection is gone or nothing waits. */
static bool step(struct zds_client *c)
{
	uint8_t packet[ZDS_PACKET_MAX];
	int fds[ZDS_FDS_MAX];
	size_t fd_count = 0;
	bool truncated = false;
	struct zds_reply reply;
	ssize_t n = receive(c, packet, fds, &fd_count, &truncated);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n < 0 || (n == 0 && fd_count == 0)) {
		log_warn(&scope, "connection to the CNI agent ended%s%s", n < 0 ? ": " : "",
			 n < 0 ? err_text((int)n) : "");
		reconnect(c);
		return false;
	}
	zds_session_packet(c->session, packet, (size_t)n, fds, fd_count, truncated, &reply);
	int rc = send_packet(c, reply.packet, reply.len);
	if (reply.error[0])
		log_warn(&scope, "refused a message of the CNI agent: %s", reply.error);
	else
		c->heard = true;
	look_ready(c);
	if (reply.verdict == ZDS_FATAL) {
		disconnect(c);
		task_ready(&c->app->control->run, c->fatal);
		return false;
	}
	if (reply.verdict == ZDS_RECONNECT) {
		/* Whatever spoils packets (no descriptors left, say) would spoil them again at once. */
		disconnect(c);
		backoff_connect(c);
		return false;
	}
	if (rc) {
		reconnect(c);
		return false;
	}
	if (zds_session_ready(c->session))
		c->connect_ms = CONNECT_FIRST_MS;
	return true;
}

static void readable(struct task *task)
{
	struct zds_client *c = container_of(task, struct zds_client, readable);
	/* An announced pod costs system calls: other control work comes in between. */
	for (int i = 0; i < PACKETS_PER_TURN; i++)
		if (!step(c))
			break;
	if (c->fd >= 0)
		watch_arm(c->watch);
}

static void retry(struct task *task)
{
	struct zds_client *c = container_of(task, struct zds_client, retry);
	zds_session_retry(c->session);
	look_ready(c);
	timer_arm(&c->app->control->timers, &c->retry_timer, ZDS_RETRY_MS);
}

struct zds_client *zds_client_new(struct app *app, struct task *fatal)
{
	struct zds_client *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	const struct zds_pods pods = {.arg = c,
				      .add = pod_add,
				      .del = pod_del,
				      .keep = pod_keep,
				      .keep_none = pod_keep_none,
				      .reconcile = pod_reconcile};
	c->app = app;
	c->fatal = fatal;
	c->fd = -1;
	c->connect_ms = CONNECT_FIRST_MS;
	c->address.sun_family = AF_UNIX;
	snprintf(c->address.sun_path, sizeof(c->address.sun_path), "%s", app->config->inpod_uds);
	rng_init_random(&c->rng);
	task_init(&c->readable, readable);
	task_init(&c->connect, do_connect);
	task_init(&c->retry, retry);
	timer_init(&c->connect_timer, &c->connect);
	timer_init(&c->retry_timer, &c->retry);
	c->session = zds_session_new(&pods);
	if (!c->session) {
		free(c);
		return NULL;
	}
	look_ready(c);
	task_ready(&app->control->run, &c->connect);
	return c;
}

void zds_client_free(struct zds_client *c)
{
	if (!c)
		return;
	disconnect(c);
	timer_disarm(&c->app->control->timers, &c->connect_timer);
	task_cancel(&c->connect);
	task_cancel(&c->retry);
	task_cancel(&c->readable);
	zds_session_free(c->session);
	free(c);
}

const struct zds_session *zds_client_session(const struct zds_client *c)
{
	return c->session;
}
