/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate revocation lists (contract section 5.6). A set is immutable and counted; a store holds the current set and is
 * shared by all contexts, so that one swap reaches every later handshake. A list speaks for a certificate when it bears the
 * issuer's name and the issuer's key signed it; its own expiry is ignored, and a certificate that no list speaks for is good.
 */
#ifndef GAUZE_WIRE_CRL_H
#define GAUZE_WIRE_CRL_H

#include "tls_ctx.h"

struct crl_set;
struct crl_store;

enum { CRL_FILE_MAX = 64 * 1024 * 1024, CRL_LISTS_MAX = 256 };

/*
 * From the bytes of a file: PEM with any number of CRL blocks (others are skipped), or one DER list. Empty gives the empty
 * set, one reference. 0, ERR_SYNTAX, ERR_TOO_LARGE, ERR_NOMEM.
 */
int must_check crl_set_parse(struct str bytes, struct crl_set **out);
struct crl_set *crl_set_get(struct crl_set *s);
/* NULL is allowed. */
void crl_set_put(struct crl_set *s);
/* Revoked serials over all lists. */
size_t crl_set_count(const struct crl_set *s);

/* A store with an empty set; NULL when out of memory. Any thread may use it. */
struct crl_store *crl_store_new(void);
struct crl_store *crl_store_get(struct crl_store *s);
void crl_store_put(struct crl_store *s);
/* The current set, a reference. */
struct crl_set *crl_store_current(struct crl_store *s);
/* Replaces the set; takes a reference of its own. */
void crl_store_swap(struct crl_store *s, struct crl_set *set);

/* One certificate of a chain as revocation sees it; what tls_peer.chain holds. */
struct crl_subject {
	struct str serial;
	const uint8_t *issuer; /* X509_HASH_BYTES: hash of the issuer's name */
	struct str issuer_key; /* SubjectPublicKeyInfo */
};
bool crl_revokes_cert(struct crl_set *s, const struct crl_subject *c);
/* Whether the peer's chain is revoked by that set, at any place of the chain. */
bool crl_revokes(struct crl_set *s, const struct tls_peer *peer);

/* Appends one certificate to a chain blob at *at within cap bytes; only counts when blob is NULL. */
void crl_chain_put(uint8_t *blob, size_t *at, const struct crl_subject *c);

#endif
