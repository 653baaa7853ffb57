/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of the identities that this process speaks for: state, refresh schedule, generations (contract section 8).
 * One table per process, written by the control thread, read by the workers.
 */
#ifndef GAUZE_CONTROL_CERTS_H
#define GAUZE_CONTROL_CERTS_H

#include "shared/io/worker.h"

struct certs;
struct certs_source;
struct crl_store;
struct tls_ctx;
struct tls_options;

enum certs_priority { CERTS_BACKGROUND, CERTS_WARMUP, CERTS_REALTIME };

enum { CERTS_WAIT_MS = 10 * 1000 };

/*
 * Any worker, inside its read section (one turn): the current context of that identity or NULL when there is none that
 * is valid now. A reference is taken; tls_ctx_put() it. Never blocks.
 */
struct tls_ctx *certs_current(struct certs *c, struct str identity);

/*
 * Asks for a context, fetching if needed, at CERTS_REALTIME. `wait->done` is readied on `w`'s run queue when there is an
 * answer: wait->ctx (a reference, given) or wait->error (ERR_CERT_FETCH; wait->why says more). Waits cannot hang: the
 * table answers within CERTS_WAIT_MS. certs_wait_cancel() withdraws; after it done is not readied. The wait object must
 * stay valid until answered or cancelled; cancelling is safe at any time on the same worker, and drops a
 * context that is still in wait->ctx: who takes it sets that to NULL.
 */
struct certs_wait {
	struct task *done;
	struct tls_ctx *ctx;
	int error;
	char why[160];
	struct certs_request *request; /* private */
};
void certs_wait(struct certs *c, struct worker *w, struct str identity, struct certs_wait *wait,
		struct task *done);
void certs_wait_cancel(struct certs_wait *wait);

/* ---- control thread ---- */

struct certs_config {
	struct worker *control;	     /* the thread that owns the table; its epoch publishes it */
	struct certs_source *source; /* consumed, also on failure */
	struct crl_store *crl;	     /* NULL without CRL_PATH; a reference is taken */
	const struct tls_options *tls;
};

/* 0 or ERR_NOMEM. */
int must_check certs_new(const struct certs_config *config, struct certs **out);
/* The data workers have ended. */
void certs_free(struct certs *c);
/* A workload of ours was seen: have its certificate ready. Dropped when too many wait already. */
void certs_prefetch(struct certs *c, struct str identity);
/* Its last local workload is gone. */
void certs_forget(struct certs *c, struct str identity);
/* The source has something newer. */
void certs_refresh(struct certs *c, struct str identity);

enum certs_state { CERTS_INITIALIZING, CERTS_AVAILABLE, CERTS_UNAVAILABLE };

/* For the admin dump. */
struct certs_info {
	struct str identity;
	enum certs_state state;
	const char *error; /* of CERTS_UNAVAILABLE, and of a renewal that fails; else NULL */
	struct str chain_pem, roots_pem; /* of the certificate in use; empty when there is none */
	int64_t not_before, not_after;	 /* UNIX seconds; 0 when there is none */
};
void certs_each(struct certs *c, void (*fn)(void *arg, const struct certs_info *info), void *arg);

/* One certificate of a PEM text, as the dump shows it. */
struct certs_cert {
	char *pem;	 /* this one alone, terminated */
	char serial[80]; /* decimal */
	int64_t not_before, not_after;
};
/* Calls fn for each certificate in the text that can be read; borrowed for the call. */
void certs_each_cert(struct str pem, void (*fn)(void *arg, const struct certs_cert *cert),
		     void *arg);

#endif
