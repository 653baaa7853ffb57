/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods and their listeners. A pod is made, changed and ended on the control thread; each data worker has its own part of
 * it, the pod_worker, with its own listening sockets (SO_REUSEPORT) inside the pod's network namespace.
 *
 * Lifetime: the control thread posts start, then perhaps drain, then kill to every worker. A pod_worker is done when its
 * listeners are closed and nobody holds it (pod_worker_get/put, worker's thread only); the last worker to be done lets
 * the control thread free the pod. So code on a worker that holds a pod_worker may use its pod, the namespace included.
 *
 * Hand-over (contract sections 2, 12, 14): when a pod drains, another instance may listen beside us already, and no
 * connection may be lost between the two. So each worker steers new connections past our sockets, to those that were
 * bound after them, makes its own ones deaf in case that fails, and waits until handshakes under way have ended. Then it
 * accepts what is queued and gives the sockets back. When the last has come, the control thread closes them in one go:
 * as they leave, an instance with fewer sockets than we had moves out of the steering's reach, and SYNs that come to a
 * deaf socket meanwhile come again a second later. tcp_migrate_req serves handshakes that took longer than the wait.
 */
#ifndef GAUZE_ZTUNNEL_PODS_H
#define GAUZE_ZTUNNEL_PODS_H

#include "shared/base/rstr.h"
#include "shared/io/listen.h"
#include "ztunnel/app.h"

enum pod_port { POD_OUTBOUND, POD_INBOUND_PLAINTEXT, POD_INBOUND_HBONE, POD_SOCKS5, POD_PORTS };
enum pod_kind {
	POD_ANNOUNCED, /* came over ZDS */
	POD_DEDICATED, /* dedicated mode: the process's own namespace */
	POD_SELF,      /* ztunnel's own workload, shared mode (contract section 1.6): only 15008 */
};

struct pod {
	uint32_t magic;
	struct app *app;
	enum pod_kind kind;
	struct rstr *uid, *name, *ns, *sa;
	struct netns netns; /* fd owned by the pod; -1 for the process's own */
	uint64_t netns_ino, netns_dev;
	uint32_t mark;		     /* SO_MARK of every socket of this pod; 0 = none */
	uint32_t sockets[POD_PORTS]; /* atomic: open ones of ours */
	uint32_t workers_quiet;	     /* control thread: pod_workers that gave their sockets back */
	uint32_t workers_live;	     /* control thread: pod_workers not yet done */
	uint32_t kills_out;	     /* control thread: kill messages not yet answered */
	bool killed;		     /* control thread */
	int kill_reason;
	bool ending;	  /* control thread: killed or draining */
	bool kept;	  /* control thread: added or kept on the current ZDS connection */
	struct list link; /* control thread */
	struct pod_worker *workers; /* one per data worker */
};

struct pod_listener {
	struct pod_worker *pw;
	enum pod_port port;
	bool transparent; /* IP_TRANSPARENT took: the source address is preserved (contract section 1.4) */
	int fd;		  /* -1: none */
	struct listener *listener; /* uses fd while there is one */
	bool stopping;
	struct task stopped;
};

enum pod_phase { POD_STARTING, POD_RUNNING, POD_DRAINING, POD_KILLED, POD_DONE };

struct pod_worker {
	uint32_t magic;
	struct pod *pod;
	struct app_worker *aw;
	struct list link;  /* app_worker.pods */
	struct list flows; /* struct pod_flow.link; what config_dump lists */
	struct pod_listener listeners[POD_PORTS];
	void *proxy; /* the data path's own part: pools, lists of links */
	uint32_t refs;
	uint32_t listening; /* listeners not yet stopped */
	enum pod_phase phase;
	bool held;	/* the pod's own reference is still there */
	bool started;	/* pod_start succeeded */
	bool gave_back; /* the sockets belong to the control thread */
	bool quiet;	/* control thread: ... which has heard of it */
	/* Cells written by this worker only, read by any thread (pod_sum). */
	uint32_t connections;
	uint64_t bytes_buffered;
	struct mail mail_start, mail_drain, mail_quiet, mail_kill, mail_done;
	struct timer hand_over;
	struct task hand_over_due, ended;
};

static inline struct pod_worker *pod_worker_get(struct pod_worker *pw)
{
	pw->refs++;
	return pw;
}
/* The last put after a drain or kill lets go of the pod at the end of the turn. */
void pod_worker_put(struct pod_worker *pw);

/*
 * Counts one more connection or stream of the pod. The accept functions are called with one admitted; a tunnelled stream
 * asks for itself. ERR_LIMIT: the pod or the process has as many as it may. pod_release() gives it back.
 */
int must_check pod_admit(struct pod_worker *pw);
void pod_release(struct pod_worker *pw);
/* Adds to (or takes from) the bytes that this worker holds for the pod. */
void pod_account(struct pod_worker *pw, int64_t bytes);

/* One live connection or stream as config_dump shows it; embedded in the data path's own struct. */
enum pod_flow_protocol { POD_FLOW_TCP, POD_FLOW_HBONE, POD_FLOW_DOUBLE_HBONE };
struct pod_flow {
	struct list link;
	bool inbound;
	enum pod_flow_protocol protocol;
	struct addr src, original_dst, actual_dst; /* ip.len 0: none (null in the dump) */
	const char *original_host; /* instead of original_dst when not NULL; borrowed while listed */
};
static inline void pod_flow_add(struct pod_worker *pw, struct pod_flow *f)
{
	list_add_tail(&pw->flows, &f->link);
}
static inline void pod_flow_del(struct pod_flow *f)
{
	list_del(&f->link);
}

/*
 * The control side. All on the control thread.
 */
struct pods;

enum { POD_ERROR_MAX = 256 };

struct pod_spec {
	enum pod_kind kind;
	struct str uid, name, ns, sa; /* borrowed */
	int netns_fd;		      /* consumed on success; -1: the process's own namespace */
};

/* Of announced pods. */
struct pods_counts {
	uint32_t active;
	uint64_t started, stopped;
};

/* workers and config of the app must be set. NULL: out of memory. */
struct pods *pods_new(struct app *app);
/* Every pod must be gone (pods_live 0). */
void pods_free(struct pods *p);
/*
 * Starts a pod: listeners for all workers in its namespace. A running pod of that uid in the same namespace is left as it
 * is; in another namespace it is killed first. 0, or a negative code and a sentence in error; then nothing listens.
 */
int must_check pods_add(struct pods *p, const struct pod_spec *spec, char error[POD_ERROR_MAX]);
/* Kills it at once (contract section 2, Del); an unknown uid is fine. */
void pods_del(struct pods *p, struct str uid);
/* The running pod of that uid, or NULL. */
struct pod *pods_find(struct pods *p, struct str uid);
/* Calls fn for each running pod; fn may call pods_del() on the one it is given. */
void pods_each(struct pods *p, void (*fn)(void *arg, struct pod *pod), void *arg);
/* Graceful end of all: listeners close, flows go on. From now on pods_add() refuses. */
void pods_drain(struct pods *p);
/* Forced end of all, draining ones included. */
void pods_kill(struct pods *p, int reason);
/* Pods that still have a worker which is not done; `task` is readied each time the number falls to 0. */
uint32_t pods_live(const struct pods *p);
void pods_on_empty(struct pods *p, struct task *task);
struct pods_counts pods_counts(const struct pods *p);
/* Sums the cells of all workers; any thread that may use the pod. */
void pod_sum(const struct pod *pod, uint64_t *connections, uint64_t *bytes_buffered);
/* Connections and streams admitted over all pods and workers; any thread. */
uint64_t app_connections(const struct app *app);

#endif
