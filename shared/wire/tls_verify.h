/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the peer is (contract section 5.1): its chain leads to a root, is valid now, may be used in that role, is not revoked,
 * and names an identity that is wanted. wolfSSL checks each signature; path, uses and identity are decided here.
 */
#ifndef GAUZE_WIRE_TLS_VERIFY_H
#define GAUZE_WIRE_TLS_VERIFY_H

#include "tls_ctx.h"

struct tls_trust;

/* Roots: PEM, one or more. 0, ERR_TLS_CONFIG (*why static), ERR_NOMEM. Any thread may verify with it. */
int must_check tls_trust_new(struct str roots_pem, struct tls_trust **out, const char **why);
void tls_trust_free(struct tls_trust *t);

enum { TLS_CHAIN_MAX = 9, TLS_WHY_MAX = 1024 };

struct tls_verify {
	bool peer_serves;	 /* the peer is the server */
	struct str trust_domain; /* wanted of a client */
	const struct str *want;	 /* wanted of a server: one of these URIs */
	size_t wants;
	struct crl_store *crl; /* may be NULL */
	/* results */
	struct tls_peer *peer; /* malloc'ed as one block; set on success only */
	uint8_t alert;	       /* what to tell the peer; on failure only */
	char why[TLS_WHY_MAX];
};

/* der: the chain as sent, leaf first. 0, ERR_PEER_IDENTITY, ERR_REVOKED, ERR_TLS_HANDSHAKE, ERR_NOMEM. */
int must_check tls_verify_peer(struct tls_trust *t, struct tls_verify *v, const struct str *der,
			       size_t n);

#endif
