/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tls_verify.h"

#include "crl.h"
#include "shared/base/err.h"
#include "shared/base/spiffe.h"
#include "tls_record.h"
#include "x509.h"

enum {
	ROOTS_MAX = 256,
	/* Sets of intermediates that are kept ready: a mesh has one or two, and another pair while they rotate. */
	PATHS_KEPT = 4,
	/* Chains that were found good: the same peers come back again and again. */
	CHAINS_KEPT = 64,
	ISSUERS_MAX = 64,
	NAMESAKES_MAX = 4, /* roots of one name that are tried */
};

struct root {
	struct str der, key;
	uint8_t subject[X509_HASH_BYTES];
};

/* Roots and a set of verified intermediates, as wolfSSL wants them for checking a leaf. */
struct path {
	uint8_t hash[WC_SHA256_DIGEST_SIZE];
	WOLFSSL_CERT_MANAGER *cm;
	unsigned users;
	uint64_t used; /* larger is later */
};

struct tls_trust {
	struct root *root;
	size_t roots;
	WOLFSSL_CERT_MANAGER *cm; /* roots only */
	pthread_mutex_t lock;	  /* of what follows */
	struct path path[PATHS_KEPT];
	uint64_t clock;
	uint8_t good[CHAINS_KEPT][WC_SHA256_DIGEST_SIZE]; /* ring */
	unsigned goods;
};

static WOLFSSL_CERT_MANAGER *manager_new(const struct root *root, size_t roots)
{
	WOLFSSL_CERT_MANAGER *cm = wolfSSL_CertManagerNew();

	/* A root is trusted because it was configured; its dates do not matter. */
	for (size_t i = 0; cm && i < roots; i++) {
		if (wolfSSL_CertManagerLoadCABuffer_ex(cm, (const byte *)root[i].der.p,
						       (long)root[i].der.n, WOLFSSL_FILETYPE_ASN1,
						       0, WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) !=
		    WOLFSSL_SUCCESS) {
			wolfSSL_CertManagerFree(cm);
			cm = NULL;
		}
	}
	return cm;
}

/* Takes der. */
static int add_root(struct tls_trust *t, struct str der)
{
	struct root *more = realloc(t->root, (t->roots + 1) * sizeof(*more));
	struct root r = {.der = der};
	struct x509 x;
	int rc = ERR_NOMEM;

	if (more) {
		t->root = more;
		rc = x509_parse(der, &x);
	}
	if (rc == 0) {
		memcpy(r.subject, x.subject, X509_HASH_BYTES);
		x509_fini(&x);
		rc = x509_public_key(der, &r.key);
	}
	if (rc != 0) {
		free((char *)der.p);
		return rc;
	}
	t->root[t->roots++] = r;
	return 0;
}

int tls_trust_new(struct str roots_pem, struct tls_trust **out, const char **why)
{
	struct tls_trust *t = calloc(1, sizeof(*t));
	struct str der;
	int rc = 0;

	if (!t)
		return ERR_NOMEM;
	pthread_mutex_init(&t->lock, NULL);
	while (t->roots < ROOTS_MAX && (rc = x509_pem_next(&roots_pem, X509_BLOCK_CERT, &der)) == 0)
		if ((rc = add_root(t, der)) != 0)
			break;
	if (rc == 0 || rc == ERR_NOT_FOUND)
		rc = t->roots > 0 ? 0 : ERR_TLS_CONFIG;
	if (rc == 0 && !(t->cm = manager_new(t->root, t->roots)))
		rc = ERR_TLS_CONFIG;
	if (rc != 0) {
		tls_trust_free(t);
		*why = "no usable root certificate";
		return rc == ERR_NOMEM ? rc : ERR_TLS_CONFIG;
	}
	*out = t;
	return 0;
}

void tls_trust_free(struct tls_trust *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->roots; i++) {
		free((char *)t->root[i].der.p);
		free((char *)t->root[i].key.p);
	}
	free(t->root);
	for (size_t i = 0; i < PATHS_KEPT; i++)
		if (t->path[i].cm)
			wolfSSL_CertManagerFree(t->path[i].cm);
	if (t->cm)
		wolfSSL_CertManagerFree(t->cm);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- intermediates ---- */

/* Each is exactly one DER value (x509_parse), which says its own length: no two chains are the same bytes. */
static bool hash_chain(const struct x509 *chain, size_t n, uint8_t out[WC_SHA256_DIGEST_SIZE])
{
	wc_Sha256 sha;
	bool ok = wc_InitSha256(&sha) == 0;

	for (size_t i = 0; ok && i < n; i++)
		ok = wc_Sha256Update(&sha, (const byte *)chain[i].der.p, (word32)chain[i].der.n) ==
		     0;
	return ok && wc_Sha256Final(&sha, out) == 0;
}

static WOLFSSL_CERT_MANAGER *path_find(struct tls_trust *t, const uint8_t *hash)
{
	WOLFSSL_CERT_MANAGER *cm = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < PATHS_KEPT; i++) {
		struct path *p = &t->path[i];
		if (p->cm && memcmp(p->hash, hash, sizeof(p->hash)) == 0) {
			p->users++;
			p->used = ++t->clock;
			cm = p->cm;
			break;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return cm;
}

/* Lets go of what path_find gave. False: it was not from there. */
static bool path_release(struct tls_trust *t, const WOLFSSL_CERT_MANAGER *cm)
{
	bool found = false;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < PATHS_KEPT && !found; i++) {
		if (t->path[i].cm == cm) {
			t->path[i].users--;
			found = true;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* Keeps cm in place of the least recently used set that nobody uses, or frees it. */
static void path_keep(struct tls_trust *t, const uint8_t *hash, WOLFSSL_CERT_MANAGER *cm)
{
	struct path *place = NULL;
	WOLFSSL_CERT_MANAGER *old = cm;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < PATHS_KEPT; i++) {
		struct path *p = &t->path[i];
		if (p->users == 0 && (!place || p->used < place->used))
			place = p;
	}
	if (place) {
		old = place->cm;
		memcpy(place->hash, hash, sizeof(place->hash));
		place->cm = cm;
		place->used = ++t->clock;
	}
	pthread_mutex_unlock(&t->lock);
	if (old)
		wolfSSL_CertManagerFree(old);
}

/*
 * Roots, and those intermediates that lead to them: the last one first, since each vouches for those before it. What leads
 * nowhere is left out, so *all tells whether the set is worth keeping.
 */
static WOLFSSL_CERT_MANAGER *path_build(const struct root *root, size_t roots,
					const struct x509 *chain, size_t n, bool *all)
{
	WOLFSSL_CERT_MANAGER *cm = manager_new(root, roots);

	*all = true;
	for (size_t i = n; cm && i-- > 1;) {
		const byte *der = (const byte *)chain[i].der.p;
		long len = (long)chain[i].der.n;
		if (!chain[i].may_sign ||
		    wolfSSL_CertManagerVerifyBuffer(cm, der, len, WOLFSSL_FILETYPE_ASN1) !=
			    WOLFSSL_SUCCESS ||
		    wolfSSL_CertManagerLoadCABuffer_ex(cm, der, len, WOLFSSL_FILETYPE_ASN1, 0, 0) !=
			    WOLFSSL_SUCCESS)
			*all = false;
	}
	return cm;
}

static int check_path(struct tls_trust *t, const struct x509 *chain, size_t n)
{
	const byte *leaf = (const byte *)chain[0].der.p;
	long leaf_len = (long)chain[0].der.n;
	uint8_t hash[WC_SHA256_DIGEST_SIZE];
	bool all = false;

	if (n == 1)
		return wolfSSL_CertManagerVerifyBuffer(t->cm, leaf, leaf_len,
						       WOLFSSL_FILETYPE_ASN1);
	if (!hash_chain(chain + 1, n - 1, hash))
		return MEMORY_E;
	WOLFSSL_CERT_MANAGER *cm = path_find(t, hash);
	if (!cm)
		cm = path_build(t->root, t->roots, chain, n, &all);
	if (!cm)
		return MEMORY_E;
	int ret = wolfSSL_CertManagerVerifyBuffer(cm, leaf, leaf_len, WOLFSSL_FILETYPE_ASN1);
	if (path_release(t, cm))
		return ret;
	/* Only what a good leaf came with is kept: a stranger cannot fill the places. */
	if (ret == WOLFSSL_SUCCESS && all)
		path_keep(t, hash, cm);
	else
		wolfSSL_CertManagerFree(cm);
	return ret;
}

/* Whether the root has the name of an issuer in the chain. */
static bool is_named(const struct root *r, const struct x509 *chain, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(r->subject, chain[i].issuer, X509_HASH_BYTES) == 0)
			return true;
	return false;
}

/*
 * While a root is replaced, two may bear one name, and a certificate that names no key of its issuer fits either;
 * wolfSSL tries one. So each of them is asked alone. Returns `ret` when there is nothing to choose from.
 */
static int check_each_root(const struct tls_trust *t, const struct x509 *chain, size_t n, int ret)
{
	size_t named = 0, tried = 0;
	bool all;

	for (size_t i = 0; i < t->roots; i++)
		named += is_named(&t->root[i], chain, n);
	for (size_t i = 0; named > 1 && i < t->roots && tried < NAMESAKES_MAX; i++) {
		if (!is_named(&t->root[i], chain, n))
			continue;
		WOLFSSL_CERT_MANAGER *cm = path_build(&t->root[i], 1, chain, n, &all);
		if (!cm)
			return MEMORY_E;
		int one = wolfSSL_CertManagerVerifyBuffer(cm, (const byte *)chain[0].der.p,
							  (long)chain[0].der.n,
							  WOLFSSL_FILETYPE_ASN1);
		wolfSSL_CertManagerFree(cm);
		if (one == WOLFSSL_SUCCESS)
			return one;
		tried++;
	}
	return ret;
}

static bool known_good(struct tls_trust *t, const uint8_t *hash)
{
	bool found = false;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < MIN(t->goods, (unsigned)CHAINS_KEPT) && !found; i++)
		found = memcmp(t->good[i], hash, WC_SHA256_DIGEST_SIZE) == 0;
	pthread_mutex_unlock(&t->lock);
	return found;
}

static void remember_good(struct tls_trust *t, const uint8_t *hash)
{
	pthread_mutex_lock(&t->lock);
	memcpy(t->good[t->goods++ % CHAINS_KEPT], hash, WC_SHA256_DIGEST_SIZE);
	pthread_mutex_unlock(&t->lock);
}

/* Signatures of a chain, byte for byte the same, need to be checked once; the time has to be looked at each time. */
static int check_signatures(struct tls_trust *t, const struct x509 *chain, size_t n, int64_t now)
{
	uint8_t hash[WC_SHA256_DIGEST_SIZE];

	if (now < chain[0].not_before)
		return ASN_BEFORE_DATE_E;
	if (now > chain[0].not_after)
		return ASN_AFTER_DATE_E;
	if (!hash_chain(chain, n, hash))
		return MEMORY_E;
	if (known_good(t, hash))
		return WOLFSSL_SUCCESS;
	int ret = check_path(t, chain, n);
	if (ret == ASN_SIG_CONFIRM_E || ret == ASN_NO_SIGNER_E)
		ret = check_each_root(t, chain, n, ret);
	if (ret == WOLFSSL_SUCCESS)
		remember_good(t, hash);
	return ret;
}

/* ---- verdicts ---- */

static int refuse(struct tls_verify *v, int rc, uint8_t alert, const char *why)
{
	v->alert = alert;
	snprintf(v->why, sizeof(v->why), "%s", why);
	return rc;
}

static int refuse_chain(struct tls_verify *v, int wolf_error)
{
	switch (wolf_error) {
	case MEMORY_E: return refuse(v, ERR_NOMEM, TLS_INTERNAL_ERROR, "out of memory");
	case ASN_NO_SIGNER_E:
	case ASN_SELF_SIGNED_E:
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_UNKNOWN_CA,
			      "invalid peer certificate: unknown issuer");
	case ASN_AFTER_DATE_E:
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_CERTIFICATE_EXPIRED,
			      "invalid peer certificate: expired");
	case ASN_BEFORE_DATE_E:
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_CERTIFICATE_EXPIRED,
			      "invalid peer certificate: not valid yet");
	case ASN_SIG_CONFIRM_E:
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_UNKNOWN_CA,
			      "invalid peer certificate: not signed by its issuer");
	default: break;
	}
	v->alert = TLS_BAD_CERTIFICATE;
	snprintf(v->why, sizeof(v->why), "invalid peer certificate: %s",
		 wc_GetErrorString(wolf_error));
	return ERR_TLS_HANDSHAKE;
}

static void add_text(char *out, size_t cap, size_t *at, struct str s)
{
	size_t n = MIN(s.n, cap - 1 - *at);

	memcpy(out + *at, s.p, n);
	*at += n;
	out[*at] = '\0';
}

/* "a", or "[a, b]"; cut when too long. */
static void add_list(char *out, size_t cap, size_t *at, const struct str *s, size_t n)
{
	if (n != 1)
		add_text(out, cap, at, STR("["));
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			add_text(out, cap, at, STR(", "));
		add_text(out, cap, at, s[i]);
	}
	if (n != 1)
		add_text(out, cap, at, STR("]"));
}

static int refuse_identity(struct tls_verify *v, const struct x509 *leaf)
{
	struct str got[X509_URIS_MAX];
	size_t n = 0, at = 0;
	const size_t half = sizeof(v->why) / 2;

	while (n < X509_URIS_MAX && (got[n] = x509_identity(leaf, n)).n > 0)
		n++;
	add_text(v->why, half, &at,
		 STR("identity verification error: peer did not present the expected "));
	if (v->peer_serves) {
		add_text(v->why, half, &at, STR("SAN ("));
		add_list(v->why, half, &at, v->want, v->wants);
	} else {
		add_text(v->why, half, &at, STR("trustdomain ("));
		add_text(v->why, half, &at, v->trust_domain);
	}
	add_text(v->why, sizeof(v->why), &at, STR("), got "));
	add_list(v->why, sizeof(v->why), &at, got, n);
	v->alert = TLS_ACCESS_DENIED;
	return ERR_PEER_IDENTITY;
}

static bool wanted(const struct tls_verify *v, struct str uri)
{
	struct spiffe id;

	if (spiffe_parse(uri, &id) != 0)
		return false;
	if (!v->peer_serves)
		return str_eq(id.trust_domain, v->trust_domain);
	for (size_t i = 0; i < v->wants; i++)
		if (str_eq(uri, v->want[i]))
			return true;
	return false;
}

static bool has_wanted_identity(const struct tls_verify *v, const struct x509 *leaf)
{
	struct str uri;

	for (size_t i = 0; (uri = x509_identity(leaf, i)).n > 0; i++)
		if (wanted(v, uri))
			return true;
	return false;
}

/* ---- what later revocation checks need ---- */

struct issuers {
	struct {
		size_t of; /* index in the chain */
		struct str key;
		bool owned;
	} v[ISSUERS_MAX];
	size_t count;
};

/* A chain with more candidates than fit is refused: leaving one out might miss a revocation. */
static int issuers_add(struct issuers *is, size_t of, struct str key, bool owned)
{
	if (is->count == ISSUERS_MAX) {
		if (owned)
			free((char *)key.p);
		return ERR_LIMIT;
	}
	is->v[is->count].of = of;
	is->v[is->count].key = key;
	is->v[is->count++].owned = owned;
	return 0;
}

/* Every key that may stand behind the issuer's name of each certificate, among roots and the chain itself. */
static int find_issuers(const struct tls_trust *t, const struct x509 *chain, size_t n,
			struct issuers *is)
{
	struct str key;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		for (size_t r = 0; rc == 0 && r < t->roots; r++)
			if (memcmp(t->root[r].subject, chain[i].issuer, X509_HASH_BYTES) == 0)
				rc = issuers_add(is, i, t->root[r].key, false);
		for (size_t k = 1; rc == 0 && k < n; k++) {
			if (k == i ||
			    memcmp(chain[k].subject, chain[i].issuer, X509_HASH_BYTES) != 0)
				continue;
			rc = x509_public_key(chain[k].der, &key);
			if (rc == 0)
				rc = issuers_add(is, i, key, true);
		}
	}
	return rc;
}

static size_t put_chain(uint8_t *blob, const struct x509 *chain, const struct issuers *is)
{
	size_t at = 0;

	for (size_t i = 0; i < is->count; i++) {
		const struct x509 *x = &chain[is->v[i].of];
		struct crl_subject s = {.serial = {(const char *)x->serial, x->serial_len},
					.issuer = x->issuer,
					.issuer_key = is->v[i].key};
		crl_chain_put(blob, &at, &s);
	}
	return at;
}

static int make_peer(const struct tls_trust *t, struct tls_verify *v, const struct x509 *chain,
		     size_t n)
{
	struct issuers is = {.count = 0};
	struct str id = x509_identity(&chain[0], 0);
	int rc = v->crl ? find_issuers(t, chain, n, &is) : 0;

	if (rc == 0) {
		size_t blob = put_chain(NULL, chain, &is);
		struct tls_peer *p = malloc(sizeof(*p) + blob + id.n + 1);
		if (p) {
			uint8_t *bytes = (uint8_t *)(p + 1);
			put_chain(bytes, chain, &is);
			memcpy(bytes + blob, id.p, id.n);
			bytes[blob + id.n] = '\0';
			*p = (struct tls_peer){(const char *)bytes + blob, bytes, blob};
			v->peer = p;
		} else {
			rc = ERR_NOMEM;
		}
	}
	for (size_t i = 0; i < is.count; i++)
		if (is.v[i].owned)
			free((char *)is.v[i].key.p);
	if (rc == ERR_NOMEM)
		return refuse(v, rc, TLS_INTERNAL_ERROR, "out of memory");
	/* wolfSSL found its issuer by name, and so do we: else a revocation could be missed. */
	if (rc == 0 && v->crl && is.count == 0) {
		free(v->peer);
		v->peer = NULL;
		rc = ERR_NOT_FOUND;
	}
	if (rc != 0)
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_BAD_CERTIFICATE,
			      "invalid peer certificate: no issuer, or too many of one name");
	return 0;
}

static int check_chain(struct tls_trust *t, struct tls_verify *v, const struct x509 *chain,
		       size_t n)
{
	int64_t now = (int64_t)time(NULL);

	int ret = check_signatures(t, chain, n, now);
	if (ret != WOLFSSL_SUCCESS)
		return refuse_chain(v, ret);
	/* A kept set of intermediates was in date when it was built. */
	for (size_t i = 1; i < n; i++)
		if (chain[i].may_sign && !chain[i].self_issued &&
		    (now < chain[i].not_before || now > chain[i].not_after))
			return refuse_chain(v, ASN_AFTER_DATE_E);
	if (v->peer_serves ? !chain[0].serves : !chain[0].calls)
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_UNSUPPORTED_CERTIFICATE,
			      "invalid peer certificate: its extended key usage forbids this use");
	if (!has_wanted_identity(v, &chain[0]))
		return refuse_identity(v, &chain[0]);
	int rc = make_peer(t, v, chain, n);
	if (rc != 0 || !v->crl)
		return rc;
	struct crl_set *set = crl_store_current(v->crl);
	if (crl_revokes(set, v->peer)) {
		free(v->peer);
		v->peer = NULL;
		rc = refuse(v, ERR_REVOKED, TLS_CERTIFICATE_REVOKED,
			    "invalid peer certificate: revoked");
	}
	crl_set_put(set);
	return rc;
}

int tls_verify_peer(struct tls_trust *t, struct tls_verify *v, const struct str *der, size_t n)
{
	struct x509 chain[TLS_CHAIN_MAX];
	size_t parsed = 0;
	int rc = 0;

	v->peer = NULL;
	v->why[0] = '\0';
	if (n == 0)
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_CERTIFICATE_REQUIRED,
			      "peer sent no certificate");
	if (n > TLS_CHAIN_MAX)
		return refuse(v, ERR_TLS_HANDSHAKE, TLS_BAD_CERTIFICATE,
			      "invalid peer certificate: chain too long");
	while (parsed < n && (rc = x509_parse(der[parsed], &chain[parsed])) == 0)
		parsed++;
	if (rc == ERR_NOMEM)
		rc = refuse(v, rc, TLS_INTERNAL_ERROR, "out of memory");
	else if (rc != 0)
		rc = refuse(v, ERR_TLS_HANDSHAKE, TLS_BAD_CERTIFICATE,
			    "invalid peer certificate: malformed");
	else
		rc = check_chain(t, v, chain, n);
	while (parsed > 0)
		x509_fini(&chain[--parsed]);
	return rc;
}
