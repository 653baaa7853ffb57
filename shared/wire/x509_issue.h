/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys, certificates and signing requests, all ECDSA P-256 with SHA-256 (contract section 8). What comes out is malloc'ed
 * text, the caller's; text that holds a private key is freed with x509_secret_free().
 */
#ifndef GAUZE_WIRE_X509_ISSUE_H
#define GAUZE_WIRE_X509_ISSUE_H

#include "shared/base/base.h"

struct x509_key;

/* 0, ERR_NOMEM, ERR_TLS_CONFIG (no randomness). */
int must_check x509_key_new(struct x509_key **out);
/* From PEM: PKCS#8 or SEC1. 0, ERR_SYNTAX, ERR_NOMEM. */
int must_check x509_key_read(struct str pem, struct x509_key **out);
/* Wipes. NULL is allowed. */
void x509_key_free(struct x509_key *k);
/* PKCS#8 PEM, terminated; NULL when out of memory. */
char *x509_key_pem(const struct x509_key *k);
/* Whether that certificate is for this key. */
bool x509_key_matches(const struct x509_key *k, struct str cert_der);
/* Wipes a terminated secret before freeing it. NULL is allowed. */
void x509_secret_free(char *secret);

struct x509_request {
	const char *organization; /* subject; NULL: empty subject */
	const char *name;	  /* common name; NULL: none */
	const struct str *uris;	  /* alternative names; critical when the subject is empty */
	size_t uri_count;
	int64_t not_before, not_after; /* UNIX seconds */
	bool ca;		       /* may sign certificates and CRLs */
	bool serves, calls;	       /* extended key usages; both false: none is written */
	const uint8_t *serial;	       /* NULL: random */
	size_t serial_len;
};

/*
 * A certificate for `subject` signed by `issuer`, whose certificate is issuer_der; self-signed when issuer is NULL. *der is
 * malloc'ed. 0, ERR_NOMEM, ERR_TOO_LARGE, ERR_TLS_CONFIG.
 */
int must_check x509_issue(const struct x509_request *r, struct x509_key *subject,
			  struct x509_key *issuer, struct str issuer_der, struct str *der);
/* A certificate signing request with an empty subject and that URI as a critical alternative name. PEM. */
int must_check x509_sign_request(struct str uri, struct x509_key *key, char **pem);

#endif
