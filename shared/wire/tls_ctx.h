/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The immutable TLS context of one generation of one identity: certificate, key, roots, CRL store, versions and suites.
 * Counted; shared by all threads. The last reference wipes the key.
 */
#ifndef GAUZE_WIRE_TLS_CTX_H
#define GAUZE_WIRE_TLS_CTX_H

#include "shared/base/base.h"

struct crl_store;
struct tls_ctx;

struct tls_options {
	bool tls12;    /* TLS12_ENABLED */
	bool pqc_only; /* COMPLIANCE_POLICY=pqc */
};

/* What the peer showed, after verification. */
struct tls_peer {
	const char *identity; /* first parsable SPIFFE URI SAN, terminated */
	const uint8_t
		*chain_der; /* private to crl.c: what crl_revokes() needs to know of the chain */
	size_t chain_len;
};

/*
 * chain_pem: leaf and intermediates (never the root is sent); key_pem: PKCS#8 or SEC1; roots_pem: one or more. Checks that
 * key and leaf belong together. crl: NULL, or where the current revocations are (a reference is taken). *out holds one
 * reference. 0, ERR_TLS_CONFIG (why: *why, static), ERR_NOMEM.
 */
int must_check tls_ctx_new(struct str chain_pem, struct str key_pem, struct str roots_pem,
			   const struct tls_options *options, struct crl_store *crl,
			   struct tls_ctx **out, const char **why);
struct tls_ctx *tls_ctx_get(struct tls_ctx *c);
/* NULL is allowed. */
void tls_ctx_put(struct tls_ctx *c);
/* The leaf's identity URI and validity (UNIX seconds). */
const char *tls_ctx_identity(const struct tls_ctx *c);
int64_t tls_ctx_not_before(const struct tls_ctx *c);
int64_t tls_ctx_not_after(const struct tls_ctx *c);

#endif
