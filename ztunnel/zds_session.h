/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ZDS state machine (contract section 2): what each packet does to the pods, which ack it gets, when we are ready.
 * No socket and no clock; pods are reached through a table, so that tests bring their own.
 */
#ifndef GAUZE_ZTUNNEL_ZDS_SESSION_H
#define GAUZE_ZTUNNEL_ZDS_SESSION_H

#include "ztunnel/zds.h"

enum { ZDS_RETRY_MS = 5000, ZDS_FDS_MAX = 8, ZDS_ERROR_MAX = 256 };

struct zds_pods {
	void *arg;
	/*
	 * Starts a pod or finds it running in that very namespace; in another one it is ended first. Success consumes
	 * netns_fd; failure leaves it to the caller and says why.
	 */
	int (*add)(void *arg, const struct zds_request *r, int netns_fd, char error[ZDS_ERROR_MAX]);
	/* Ends it at once; an unknown uid is fine. */
	void (*del)(void *arg, const char *uid);
	/* Whether the pod, if it runs, survives the reconcile. */
	void (*keep)(void *arg, const char *uid, bool kept);
	/* A new connection: nothing is kept yet. */
	void (*keep_none)(void *arg);
	/* Ends every pod that is not kept. */
	void (*reconcile)(void *arg);
};

enum zds_verdict {
	ZDS_GO_ON,
	ZDS_RECONNECT, /* send the reply, then drop the connection and make it again */
	ZDS_FATAL,     /* send the reply, then end the process with status 1, without drain */
};

struct zds_reply {
	uint8_t packet[ZDS_PACKET_MAX];
	size_t len;
	enum zds_verdict verdict;
	char error[ZDS_ERROR_MAX]; /* "" or what the ack complains about */
};

struct zds_session;

/* NULL: out of memory. */
struct zds_session *zds_session_new(const struct zds_pods *pods);
void zds_session_free(struct zds_session *z);
/* A connection begins (hello was sent) or ended. Pods keep running either way. */
void zds_session_connected(struct zds_session *z);
void zds_session_disconnected(struct zds_session *z);
/* One packet; the descriptors are consumed. Every packet gets exactly one reply. */
void zds_session_packet(struct zds_session *z, const void *bytes, size_t len, const int *fds,
			size_t fd_count, bool truncated, struct zds_reply *reply);
/* Tries the pending pods again; call every ZDS_RETRY_MS while connected. */
void zds_session_retry(struct zds_session *z);
/* Snapshot received on this connection and nothing pending, as of the last good message. */
bool zds_session_ready(const struct zds_session *z);
bool zds_session_was_ready(const struct zds_session *z);
/* Pods that were announced and could not be started yet. */
uint32_t zds_session_pending(const struct zds_session *z);
/* Calls fn for each of them. */
void zds_session_each_pending(const struct zds_session *z,
			      void (*fn)(void *arg, const struct zds_request *r), void *arg);

#endif
