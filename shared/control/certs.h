/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of the identities that this process speaks for: state, refresh schedule, generations (contract section 8).
 * One table per process, written by the control thread, read by the workers.
 */
#ifndef GAUZE_CONTROL_CERTS_H
#define GAUZE_CONTROL_CERTS_H

#include "shared/io/worker.h"

struct certs;
struct tls_ctx;

enum certs_priority { CERTS_BACKGROUND, CERTS_WARMUP, CERTS_REALTIME };

/*
 * Any worker, inside its read section (one turn): the current context of that identity or NULL when there is none that
 * is valid now. A reference is taken; tls_ctx_put() it. Never blocks.
 */
struct tls_ctx *certs_current(struct certs *c, struct str identity);

/*
 * Asks for a context, fetching if needed, at CERTS_REALTIME. `wait->done` is readied on `w`'s run queue when there is an
 * answer: wait->ctx (a reference, given) or wait->error (ERR_CERT_FETCH; wait->why says more). Waits cannot hang: the
 * table answers within CERTS_WAIT_MS. certs_wait_cancel() withdraws; after it done is not readied. The wait object must
 * stay valid until answered or cancelled; cancelling is safe at any time on the same worker.
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

#endif
