/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table behind certs.h, without threads and clocks: `now_ms` (UNIX milliseconds) is passed in. The control thread
 * writes; certs_table_current() may be asked by any thread that is a reader of the epoch.
 *
 * An identity is wanted (a worker waits, or a workload was seen), fetched, good until it expires, renewed at half of its
 * lifetime, and forgotten. While renewing fails the old certificate stays in use; once it expired, or if there never was
 * one, who asks gets the error until the next attempt, and then waits for that.
 */
#ifndef GAUZE_CONTROL_CERTS_TABLE_H
#define GAUZE_CONTROL_CERTS_TABLE_H

#include "certs.h"
#include "certs_source.h"
#include "shared/wire/tls_ctx.h"

struct epoch;

enum {
	CERTS_FETCHES_MAX = 8,	 /* under way at once */
	CERTS_WARMUPS_MAX = 256, /* prefetches that wait; more are dropped */
};

struct certs_table;

struct certs_table_config {
	struct epoch *epoch;
	struct certs_source *source; /* consumed */
	struct crl_store *crl;	     /* NULL without CRL_PATH; a reference is taken */
	struct tls_options tls;
	/* Readied when a fetch ended; whoever owns it then calls certs_table_run(). */
	struct taskq *queue;
	struct task *ended;
	/* A fetch failed, and when the next is due. May be NULL; must not call the table. */
	void (*on_failure)(void *arg, struct str identity, const char *why, int64_t retry_in_ms);
	void *arg;
	uint64_t seed; /* of the jitter; 0: from the kernel */
};

/* Somebody who needs a context; embedded, valid until answered. */
struct certs_waiter {
	struct list link;
	int64_t deadline_ms;
	/* ctx is given, or NULL with an error and its text (borrowed). Must not call the table. */
	void (*answer)(struct certs_waiter *w, struct tls_ctx *ctx, int error, const char *why);
};

/* 0 or ERR_NOMEM (the source is freed then, too). */
int must_check certs_table_new(const struct certs_table_config *config, struct certs_table **out);
/* Answers all waiters and cancels all fetches. No reader may be inside. */
void certs_table_free(struct certs_table *t);

/* Answers now or in a later certs_table_run(), within CERTS_WAIT_MS. */
void certs_table_wait(struct certs_table *t, struct str identity, struct certs_waiter *w,
		      int64_t now_ms);
/* Fetches in the background of others. 0, ERR_LIMIT (dropped) or ERR_NOMEM. */
int certs_table_prefetch(struct certs_table *t, struct str identity, enum certs_priority priority,
			 int64_t now_ms);
/* Fetches again soon, if the identity is known; the old certificate stays until then. */
void certs_table_refresh(struct certs_table *t, struct str identity, int64_t now_ms);
/* Drops the identity; a fetch under way is discarded, waiters get ERR_CERT_FETCH. */
void certs_table_forget(struct certs_table *t, struct str identity);
/* Does all that is due. */
void certs_table_run(struct certs_table *t, int64_t now_ms);
/* When something will be due; INT64_MAX when nothing is. */
int64_t certs_table_next(const struct certs_table *t);
/* A reference, or NULL. Any reader of the epoch. */
struct tls_ctx *certs_table_current(const struct certs_table *t, struct str identity,
				    int64_t now_ms);
/* Entries in no order. The view is borrowed for the call. */
void certs_table_each(const struct certs_table *t,
		      void (*fn)(void *arg, const struct certs_info *info), void *arg);

struct certs_stats {
	uint64_t fetched, failed; /* ended fetches */
	uint32_t known, under_way;
};
struct certs_stats certs_table_stats(const struct certs_table *t);

#endif
