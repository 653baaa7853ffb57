/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where certificates come from: a development CA, files, or a CA over the network. All of it on the control thread.
 */
#ifndef GAUZE_CONTROL_CERTS_SOURCE_H
#define GAUZE_CONTROL_CERTS_SOURCE_H

#include "shared/base/list.h"

struct certs;
struct certs_fetch;
struct certs_source;

struct certs_source_ops {
	/*
	 * Begins to get a certificate for f->identity. The source ends each fetch exactly once, by certs_fetch_done() or
	 * certs_fetch_failed(), now or later, unless it is cancelled before.
	 */
	void (*fetch)(struct certs_source *s, struct certs_fetch *f);
	/* Nobody wants the answer any more; f is gone after the call. */
	void (*cancel)(struct certs_source *s, struct certs_fetch *f);
	/* No fetch is under way. */
	void (*free)(struct certs_source *s);
};

struct certs_source {
	const struct certs_source_ops *ops;
	/* Whom to tell when a certificate changed by itself: certs_refresh(). NULL until certs_new(). */
	struct certs *certs;
};

enum { CERTS_WHY_MAX = 256 };

struct certs_fetch {
	struct str identity; /* terminated; borrowed from the table as long as the fetch lives */
	void *user;	     /* the source's own */
	/* private to certs_table.c */
	struct list link;
	struct certs_table *table;
	struct certs_entry *entry;
	struct str chain, key, roots;
	int error;
	char why[CERTS_WHY_MAX];
	bool ended;
};

/* PEM, copied: leaf and intermediates, private key, roots. Records only; the table acts on it in a later run. */
void certs_fetch_done(struct certs_fetch *f, struct str chain, struct str key, struct str roots);
/* error: ERR_CERT_FETCH or what is closer. why is copied. Records only. */
void certs_fetch_failed(struct certs_fetch *f, int error, const char *why);

#endif
