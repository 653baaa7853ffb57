/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of one running ztunnel, and who may touch them. main.c builds it in order and unwinds it in reverse.
 *
 * The control worker runs on the main thread and owns all writing: pods, world, certificates, admin. Each data worker is
 * a thread of its own; what it owns hangs below its struct app_worker, which is `worker->user`.
 */
#ifndef GAUZE_ZTUNNEL_APP_H
#define GAUZE_ZTUNNEL_APP_H

#include <pthread.h>
#include <semaphore.h>

#include "shared/base/list.h"
#include "shared/io/worker.h"
#include "ztunnel/config.h"

struct app;
struct app_worker;
struct certs;
struct crl_store;
struct drain;
struct epoch;
struct names;
struct pod_listener;
struct pod_worker;
struct pods;
struct readiness;
struct servers;
struct world;
struct zds_client;

/*
 * What the data path provides to pods.c. Everything runs on the data worker that owns the pod_worker.
 * Accept functions own fd and have been admitted: they call pod_release() once for each connection when it has ended.
 */
struct proxy_ops {
	/* Once per worker, on its thread, before any pod; sets app_worker.proxy. 0 or a negative code. */
	int (*worker_start)(struct app_worker *aw);
	/* Last, after every pod is gone. */
	void (*worker_stop)(struct app_worker *aw);
	/* A pod begins; sets pod_worker.proxy. 0 or a negative code. */
	int (*pod_start)(struct pod_worker *pw);
	/* The pod's listeners are closed; its flows and tunnels are gone. */
	void (*pod_stop)(struct pod_worker *pw);
	void (*outbound)(struct pod_listener *pl, int fd, const struct addr *peer); /* 15001 */
	void (*inbound_plaintext)(struct pod_listener *pl, int fd,
				  const struct addr *peer);				 /* 15006 */
	void (*inbound_hbone)(struct pod_listener *pl, int fd, const struct addr *peer); /* 15008 */
	void (*socks5)(struct pod_listener *pl, int fd, const struct addr *peer);	 /* 15080 */
	/* Graceful: GOAWAY to HBONE peers, no new streams, idle tunnels closed; live flows go on. */
	void (*pod_drain)(struct pod_worker *pw);
	/* At once: every flow, link and tunnel of the pod ends with that reason (ERR_DRAINED, ERR_CLOSED). */
	void (*pod_kill)(struct pod_worker *pw, int reason);
	/* Policies changed: re-check the live inbound flows of this worker (contract section 6.3). */
	void (*recheck)(struct app_worker *aw);
	/* The CRL changed: end the live tunnels whose peer it revokes (contract section 5.6). */
	void (*revoke)(struct app_worker *aw);
};

struct app_worker {
	struct app *app;
	struct worker *w;
	struct list pods;     /* struct pod_worker.link */
	void *proxy;	      /* the data path's own per-worker state */
	uint32_t connections; /* admitted here; written by this worker only, read by any */
	char name[24];
	pthread_t thread;
	sem_t stopped; /* posted when nobody will name the worker again */
	bool started;
	struct mail mail_recheck;
	bool recheck_posted; /* atomic */
};

struct app {
	struct config *config;
	const struct proxy_ops *proxy;
	struct epoch *epoch;
	struct world *world;
	struct certs *certs;
	struct crl_store *crl; /* NULL without CRL_PATH */
	struct names *names;   /* host names of workloads; started before the data workers */
	struct pods *pods;
	struct readiness *readiness;
	struct servers *servers;
	struct drain *drain;
	struct zds_client *zds; /* shared mode, from the first state to the drain */
	struct worker *control;
	uint32_t workers_count;
	struct app_worker *workers;
	uint64_t started_ns;
	bool draining; /* control thread */
};

static inline struct app_worker *app_worker_of(struct worker *w)
{
	return w->user;
}

#endif
