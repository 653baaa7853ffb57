/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include <pthread.h>
#include <stdlib.h>

#include "tls_priv.h"

#include "crl.h"
#include "shared/base/err.h"
#include "shared/base/spiffe.h"
#include "tls_verify.h"
#include "x509.h"

static const char suites13[] = "TLS13-AES256-GCM-SHA384:TLS13-AES128-GCM-SHA256";
static const char suites12[] = "TLS13-AES256-GCM-SHA384:TLS13-AES128-GCM-SHA256:"
			       "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
			       "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256";

static void library_init(void)
{
	CHECK(wolfSSL_Init() == WOLFSSL_SUCCESS);
}

/* The chain as it is sent: leaf first, without roots. *leaf is its DER, malloc'ed. */
static int read_chain(struct str pem, char **chain, struct str *leaf)
{
	struct str der, first = {NULL, 0};
	size_t len = 0;
	char *text = NULL;
	int rc;

	while ((rc = x509_pem_next(&pem, X509_BLOCK_CERT, &der)) == 0) {
		struct x509 x;
		rc = x509_parse(der, &x);
		bool skip = rc == 0 && first.p && x.self_issued;
		if (rc == 0)
			x509_fini(&x);
		char *block = rc == 0 && !skip ? x509_to_pem(der) : NULL;
		char *more = block ? realloc(text, len + strlen(block) + 1) : NULL;
		if (more) {
			text = more;
			memcpy(text + len, block, strlen(block) + 1);
			len += strlen(block);
		}
		free(block);
		if (rc == 0 && !skip && !more)
			rc = ERR_NOMEM;
		if (rc == 0 && !first.p)
			first = der;
		else
			free((char *)der.p);
		if (rc != 0)
			break;
	}
	if (rc != ERR_NOT_FOUND || !first.p) {
		free(text);
		free((char *)first.p);
		return rc == ERR_NOMEM ? rc : ERR_TLS_CONFIG;
	}
	*chain = text;
	*leaf = first;
	return 0;
}

/* One role's half: wolfSSL has separate contexts for clients and servers. */
static WOLFSSL_CTX *half_new(WOLFSSL_METHOD *method, bool serves, const char *chain, struct str key,
			     const struct tls_options *o, const char **why)
{
	static int all[] = {WOLFSSL_X25519MLKEM768, WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1,
			    WOLFSSL_ECC_SECP384R1};
	WOLFSSL_CTX *c = method ? wolfSSL_CTX_new(method) : NULL;
	bool ok = c != NULL;

	*why = "TLS library refused the settings";
	ok = ok &&
	     (!o->tls12 || wolfSSL_CTX_SetMinVersion(c, WOLFSSL_TLSV1_2) == WOLFSSL_SUCCESS) &&
	     wolfSSL_CTX_set_cipher_list(c, o->tls12 ? suites12 : suites13) == WOLFSSL_SUCCESS &&
	     wolfSSL_CTX_set_groups(c, all, o->pqc_only ? 1 : ARRAY_SIZE(all)) == WOLFSSL_SUCCESS &&
	     (!serves || wolfSSL_CTX_no_ticket_TLSv13(c) == 0);
	if (ok) {
		wolfSSL_CTX_set_session_cache_mode(c, WOLFSSL_SESS_CACHE_OFF);
		*why = "certificate chain is not usable";
		ok = wolfSSL_CTX_use_certificate_chain_buffer(
			     c, (const byte *)chain, (long)strlen(chain)) == WOLFSSL_SUCCESS;
	}
	if (ok) {
		*why = "private key is not usable";
		ok = wolfSSL_CTX_use_PrivateKey_buffer(c, (const byte *)key.p, (long)key.n,
						       WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS;
	}
	if (ok) {
		*why = "private key and certificate do not belong together";
		ok = wolfSSL_CTX_check_private_key(c) == WOLFSSL_SUCCESS;
	}
	if (!ok && c) {
		wolfSSL_CTX_free(c);
		c = NULL;
	}
	return c;
}

static int read_leaf(struct tls_ctx *c, struct str der)
{
	struct spiffe id;
	struct x509 x;

	int rc = x509_parse(der, &x);
	if (rc != 0)
		return rc;
	struct str uri = x509_identity(&x, 0);
	c->not_before = x.not_before;
	c->not_after = x.not_after;
	c->identity = calloc(1, uri.n + 1);
	if (c->identity && uri.n > 0)
		memcpy(c->identity, uri.p, uri.n);
	x509_fini(&x);
	if (!c->identity)
		return ERR_NOMEM;
	if (spiffe_parse(str_of(c->identity), &id) != 0)
		return ERR_TLS_CONFIG;
	c->trust_domain = id.trust_domain;
	return 0;
}

static void ctx_free(struct tls_ctx *c)
{
	if (c->client)
		wolfSSL_CTX_free(c->client);
	if (c->server)
		wolfSSL_CTX_free(c->server);
	tls_trust_free(c->trust);
	crl_store_put(c->crl);
	free(c->identity);
	c->magic = 0;
	free(c);
}

int tls_ctx_new(struct str chain_pem, struct str key_pem, struct str roots_pem,
		const struct tls_options *options, struct crl_store *crl, struct tls_ctx **out,
		const char **why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct tls_ctx *c = calloc(1, sizeof(*c));
	char *chain = NULL;
	struct str leaf;

	if (!c)
		return ERR_NOMEM;
	pthread_once(&once, library_init);
	c->magic = TLS_CTX_MAGIC;
	c->refs = 1;
	c->options = *options;
	c->crl = crl ? crl_store_get(crl) : NULL;
	*why = "certificate chain is not readable";
	int rc = read_chain(chain_pem, &chain, &leaf);
	if (rc == 0) {
		*why = "certificate has no SPIFFE identity";
		rc = read_leaf(c, leaf);
		free((char *)leaf.p);
	}
	if (rc == 0)
		rc = tls_trust_new(roots_pem, &c->trust, why);
	if (rc == 0) {
		bool tls12 = options->tls12;
		c->client = half_new(tls12 ? wolfTLS_client_method() : wolfTLSv1_3_client_method(),
				     false, chain, key_pem, options, why);
		if (c->client)
			c->server = half_new(tls12 ? wolfTLS_server_method()
						   : wolfTLSv1_3_server_method(),
					     true, chain, key_pem, options, why);
		if (!c->client || !c->server)
			rc = ERR_TLS_CONFIG;
	}
	free(chain);
	if (rc != 0) {
		ctx_free(c);
		return rc == ERR_NOMEM ? rc : ERR_TLS_CONFIG;
	}
	*out = c;
	return 0;
}

struct tls_ctx *tls_ctx_get(struct tls_ctx *c)
{
	MAGIC_CHECK(c, TLS_CTX_MAGIC);
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void tls_ctx_put(struct tls_ctx *c)
{
	if (!c)
		return;
	MAGIC_CHECK(c, TLS_CTX_MAGIC);
	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0)
		ctx_free(c);
}

const char *tls_ctx_identity(const struct tls_ctx *c)
{
	return c->identity;
}

int64_t tls_ctx_not_before(const struct tls_ctx *c)
{
	return c->not_before;
}

int64_t tls_ctx_not_after(const struct tls_ctx *c)
{
	return c->not_after;
}
