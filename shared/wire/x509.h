/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gauze reads from X.509 certificates (RFC 5280): names, times, serial, uses, SPIFFE identities. The decoding is
 * wolfSSL's. Nothing here trusts a certificate; tls_verify.c decides that.
 */
#ifndef GAUZE_WIRE_X509_H
#define GAUZE_WIRE_X509_H

#include "shared/base/base.h"

enum {
	X509_SERIAL_MAX = 32,
	X509_SERIAL_TEXT_MAX = 80, /* decimal, terminated */
	X509_HASH_BYTES = 20,
	X509_URIS_MAX = 32,
	X509_DER_MAX = 64 * 1024,
};

struct x509 {
	struct str der; /* borrowed: what was parsed */
	uint8_t serial[X509_SERIAL_MAX];
	uint8_t serial_len;					   /* without leading zeroes */
	int64_t not_before, not_after;				   /* UNIX seconds */
	uint8_t subject[X509_HASH_BYTES], issuer[X509_HASH_BYTES]; /* hashes of the names */
	uint8_t subject_key[X509_HASH_BYTES], issuer_key[X509_HASH_BYTES]; /* key identifiers */
	bool has_subject_key, has_issuer_key;
	bool may_sign;	    /* CA, and keyUsage, if present, lets it sign certificates */
	bool self_issued;   /* subject is issuer: a root as far as sending is concerned */
	bool serves, calls; /* extended key usage is absent or has serverAuth, clientAuth */
	struct str uri[X509_URIS_MAX]; /* URI alternative names in order; owned */
	size_t uris;
};

/* der is borrowed as long as *out lives. 0, ERR_SYNTAX, ERR_TOO_LARGE, ERR_NOMEM. x509_fini() after success. */
int must_check x509_parse(struct str der, struct x509 *out);
void x509_fini(struct x509 *x);
/* The i-th URI name that is an identity, counting from 0; an empty view when there are no more. */
struct str x509_identity(const struct x509 *x, size_t i);
/* Big-endian bytes as a decimal number (the form of contract section 9's certificate dump). */
void x509_serial_text(const uint8_t *serial, size_t len, char out[X509_SERIAL_TEXT_MAX]);

enum x509_block { X509_BLOCK_CERT, X509_BLOCK_CRL };

/*
 * Takes the next block of that kind from the front of *pem, skipping all else. *der is malloc'ed, the caller's.
 * 0; ERR_NOT_FOUND when there is none; ERR_SYNTAX; ERR_TOO_LARGE; ERR_NOMEM.
 */
int must_check x509_pem_next(struct str *pem, enum x509_block kind, struct str *der);
/* A terminated PEM block, malloc'ed; NULL when out of memory. */
char *x509_to_pem(struct str der);

/* SubjectPublicKeyInfo of a certificate, malloc'ed. 0, ERR_SYNTAX, ERR_NOMEM. */
int must_check x509_public_key(struct str der, struct str *spki);
/*
 * Whether `signature` over `message` is by the key `spki`. sig_oid is wolfSSL's sum of the algorithm's OID. Known are
 * ECDSA and RSA (PKCS#1) with SHA-256, SHA-384 and SHA-512; all else is false.
 */
bool x509_signed_by(struct str message, struct str signature, uint32_t sig_oid, struct str spki);

#endif
