/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates made at test time: no key is in the tree. All functions abort the test when something fails. */
#ifndef GAUZE_TESTS_TESTCA_H
#define GAUZE_TESTS_TESTCA_H

#include "shared/wire/x509_issue.h"

struct tls_ctx;
struct crl_store;
struct tls_options;

struct testca {
	struct x509_key *key;
	struct str der;
	char *pem;
};

struct testcert {
	struct str der;
	char *pem, *key_pem;
};

/* A root, or an intermediate signed by `parent`. serial 0: random. */
struct testca testca_new(const char *name, const struct testca *parent, uint8_t serial);
void testca_free(struct testca *ca);
/* A leaf for one identity, valid from now-60 s on for `seconds` (negative: expired). Both uses. */
struct testcert testca_leaf(const struct testca *ca, const char *uri, int seconds, uint8_t serial);
/* Whatever the request says. */
struct testcert testca_issue(const struct testca *ca, const struct x509_request *r);
void testcert_free(struct testcert *c);
/* A context of that leaf, its chain extended by `more` (PEM, may be NULL). */
struct tls_ctx *testca_ctx(const struct testcert *c, const char *more, const char *roots,
			   struct crl_store *crl, const struct tls_options *o);
/* A context of a fresh leaf straight under the root. */
struct tls_ctx *testca_simple_ctx(const struct testca *ca, const char *uri);
/* A CRL of one-byte serials; PEM or DER, malloc'ed. It expired long ago: nobody may care. */
struct str testca_crl(const struct testca *ca, const uint8_t *serials, size_t n, bool pem);

#endif
