/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/zds_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/base/list.h"

/* A pod that could not be started: its request and namespace are held until it can, or until it is deleted. */
struct pending {
	struct list link;
	struct zds_request request;
	int netns_fd;
};

struct zds_session {
	struct zds_pods pods;
	struct list pending;
	uint32_t pending_count;
	bool connected, snapshot, ready, was_ready;
};

struct zds_session *zds_session_new(const struct zds_pods *pods)
{
	struct zds_session *z = calloc(1, sizeof(*z));
	if (!z)
		return NULL;
	z->pods = *pods;
	list_init(&z->pending);
	return z;
}

static void pending_drop(struct zds_session *z, struct pending *p)
{
	list_del(&p->link);
	z->pending_count--;
	zds_request_fini(&p->request);
	if (p->netns_fd >= 0)
		close(p->netns_fd);
	free(p);
}

static void pending_drop_all(struct zds_session *z)
{
	list_for_each_safe(pos, tmp, &z->pending)
		pending_drop(z, list_entry(pos, struct pending, link));
}

static void pending_drop_uid(struct zds_session *z, const char *uid)
{
	list_for_each_safe(pos, tmp, &z->pending) {
		struct pending *p = list_entry(pos, struct pending, link);
		if (strcmp(p->request.uid, uid) == 0)
			pending_drop(z, p);
	}
}

void zds_session_free(struct zds_session *z)
{
	if (!z)
		return;
	pending_drop_all(z);
	free(z);
}

void zds_session_connected(struct zds_session *z)
{
	pending_drop_all(z);
	z->pods.keep_none(z->pods.arg);
	z->connected = true;
	z->snapshot = z->ready = false;
}

void zds_session_disconnected(struct zds_session *z)
{
	z->connected = z->ready = false;
}

static void reply_with(struct zds_reply *reply, enum zds_verdict verdict, const char *prefix,
		       const char *text)
{
	reply->verdict = verdict;
	/* One byte of `error` is kept for the terminator by both copies. */
	snprintf(reply->error, sizeof(reply->error), "%s%s", prefix, text);
	reply->len = zds_encode_ack(reply->error, reply->packet);
}

/* Takes the request out of *r when it has to be kept. */
static void add(struct zds_session *z, struct zds_request *r, int netns_fd, struct zds_reply *reply)
{
	char why[ZDS_ERROR_MAX] = "";
	struct pending *p;
	int rc;
	if (!r->has_info) {
		close(netns_fd);
		reply_with(reply, ZDS_FATAL,
			   "protocol error : ", "add workload without workload_info");
		return;
	}
	pending_drop_uid(z, r->uid);
	rc = z->pods.add(z->pods.arg, r, netns_fd, why);
	if (rc == 0) {
		z->pods.keep(z->pods.arg, r->uid, true);
		return;
	}
	reply_with(reply, ZDS_GO_ON, "failure to start proxy : ", *why ? why : err_text(rc));
	p = calloc(1, sizeof(*p));
	if (!p) {
		close(netns_fd);
		return;
	}
	p->request = *r;
	p->netns_fd = netns_fd;
	list_add_tail(&z->pending, &p->link);
	z->pending_count++;
	r->message = NULL;
}

static void handle(struct zds_session *z, struct zds_request *r, int netns_fd,
		   struct zds_reply *reply)
{
	switch (r->kind) {
	case ZDS_ADD: add(z, r, netns_fd, reply); break;
	case ZDS_KEEP:
		if (z->snapshot)
			reply_with(reply, ZDS_FATAL,
				   "protocol error : ", "keep workload after the snapshot");
		else
			z->pods.keep(z->pods.arg, r->uid, true);
		break;
	case ZDS_DEL:
		pending_drop_uid(z, r->uid);
		if (z->snapshot)
			z->pods.del(z->pods.arg, r->uid);
		else
			z->pods.keep(z->pods.arg, r->uid, false);
		break;
	case ZDS_SNAPSHOT:
		if (z->snapshot) {
			reply_with(reply, ZDS_FATAL, "protocol error : ", "second snapshot");
			break;
		}
		z->snapshot = true;
		z->pods.reconcile(z->pods.arg);
		break;
	}
}

static void look_ready(struct zds_session *z)
{
	z->ready = z->connected && z->snapshot && z->pending_count == 0;
	z->was_ready |= z->ready;
}

void zds_session_packet(struct zds_session *z, const void *bytes, size_t len, const int *fds,
			size_t fd_count, bool truncated, struct zds_reply *reply)
{
	struct zds_request r;
	char why[ZDS_WHY_MAX];
	int rc = zds_decode(bytes, len, fd_count, truncated, &r, why);
	reply_with(reply, ZDS_GO_ON, "", "");
	if (rc) {
		for (size_t i = 0; i < fd_count; i++)
			close(fds[i]);
		reply_with(reply, ZDS_RECONNECT, "failure to read message : ", why);
		return;
	}
	handle(z, &r, fd_count ? fds[0] : -1, reply);
	if (r.message)
		zds_request_fini(&r);
	if (!reply->error[0])
		look_ready(z);
}

void zds_session_retry(struct zds_session *z)
{
	if (!z->connected)
		return;
	list_for_each_safe(pos, tmp, &z->pending) {
		struct pending *p = list_entry(pos, struct pending, link);
		char why[ZDS_ERROR_MAX];
		if (z->pods.add(z->pods.arg, &p->request, p->netns_fd, why))
			continue;
		z->pods.keep(z->pods.arg, p->request.uid, true);
		/* The pod owns the namespace now. */
		p->netns_fd = -1;
		pending_drop(z, p);
		look_ready(z);
	}
}

bool zds_session_ready(const struct zds_session *z)
{
	return z->ready;
}

bool zds_session_was_ready(const struct zds_session *z)
{
	return z->was_ready;
}

uint32_t zds_session_pending(const struct zds_session *z)
{
	return z->pending_count;
}

void zds_session_each_pending(const struct zds_session *z,
			      void (*fn)(void *arg, const struct zds_request *r), void *arg)
{
	list_for_each(pos, &z->pending)
		fn(arg, &list_entry(pos, struct pending, link)->request);
}
