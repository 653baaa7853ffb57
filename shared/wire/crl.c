/* SPDX-License-Identifier: Apache-2.0 */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "crl.h"

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "x509.h"

/* Keys whose relation to a list is remembered, so that a handshake does not verify the list's signature each time. */
enum { KEYS_REMEMBERED = 8 };

struct serial {
	uint8_t len;
	uint8_t b[X509_SERIAL_MAX];
};

struct key_verdict {
	uint8_t hash[WC_SHA256_DIGEST_SIZE];
	bool signed_it;
};

struct list {
	uint8_t issuer[X509_HASH_BYTES];
	struct serial *serials; /* sorted */
	size_t count;
	struct str signed_part, signature; /* into the list's own bytes */
	uint32_t sig_oid;
	uint8_t *der;
	struct key_verdict key[KEYS_REMEMBERED];
	unsigned keys;
};

struct crl_set {
	atomic_uint refs;
	pthread_mutex_t lock; /* of all lists' remembered keys; the rest is immutable */
	struct list *list;
	size_t count;
};

static int serial_cmp(const void *a, const void *b)
{
	const struct serial *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->b, y->b, x->len);
}

static bool serial_from(const uint8_t *b, size_t n, struct serial *out)
{
	while (n > 0 && *b == 0) {
		b++;
		n--;
	}
	if (n > X509_SERIAL_MAX)
		return false;
	out->len = (uint8_t)n;
	memcpy(out->b, b, n);
	return true;
}

static int list_fill(struct list *l, const struct DecodedCRL *d)
{
	size_t n = 0;

	if (d->sigIndex < d->certBegin || !d->signature)
		return ERR_SYNTAX;
	for (const RevokedCert *r = d->certs; r; r = r->next)
		n++;
	l->serials = calloc(n ? n : 1, sizeof(*l->serials));
	if (!l->serials)
		return ERR_NOMEM;
	for (const RevokedCert *r = d->certs; r; r = r->next) {
		if (r->serialSz < 0 ||
		    !serial_from(r->serialNumber, (size_t)r->serialSz, &l->serials[l->count]))
			return ERR_SYNTAX;
		l->count++;
	}
	qsort(l->serials, l->count, sizeof(*l->serials), serial_cmp);
	memcpy(l->issuer, d->issuerHash, X509_HASH_BYTES);
	l->signed_part =
		(struct str){(const char *)l->der + d->certBegin, d->sigIndex - d->certBegin};
	l->signature = (struct str){(const char *)d->signature, d->sigLength};
	l->sig_oid = d->signatureOID;
	return 0;
}

static void list_fini(struct list *l)
{
	free(l->serials);
	free(l->der);
	memset(l, 0, sizeof(*l));
}

/* Takes der (malloc'ed) also on failure. */
static int list_parse(struct str der, struct list *l)
{
	struct DecodedCRL d;
	int rc = ERR_SYNTAX;

	*l = (struct list){.der = (uint8_t *)der.p};
	InitDecodedCRL(&d, NULL);
	/* Without a certificate manager the parser cannot know the signer, and says so after all else is read. */
	int err = ParseCRL(NULL, &d, (const byte *)der.p, (word32)der.n, NO_VERIFY, NULL);
	if (err == 0 || err == ASN_CRL_NO_SIGNER_E)
		rc = list_fill(l, &d);
	else if (err == MEMORY_E)
		rc = ERR_NOMEM;
	FreeDecodedCRL(&d);
	if (rc != 0)
		list_fini(l);
	return rc;
}

static struct crl_set *set_new(void)
{
	struct crl_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static bool blank(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!strchr(" \t\r\n", s.p[i]) || s.p[i] == '\0')
			return false;
	return true;
}

/* Takes der (malloc'ed) also on failure. */
static int set_add(struct crl_set *s, struct str der)
{
	struct list *more = NULL;

	if (s->count < CRL_LISTS_MAX)
		more = realloc(s->list, (s->count + 1) * sizeof(*more));
	if (!more) {
		free((char *)der.p);
		return s->count < CRL_LISTS_MAX ? ERR_NOMEM : ERR_TOO_LARGE;
	}
	s->list = more;
	int rc = list_parse(der, &s->list[s->count]);
	if (rc == 0)
		s->count++;
	return rc;
}

static int parse_der(struct str bytes, struct crl_set *s)
{
	uint8_t *copy = malloc(bytes.n);

	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, bytes.p, bytes.n);
	return set_add(s, (struct str){(char *)copy, bytes.n});
}

static int parse_pem(struct str bytes, struct crl_set *s)
{
	struct str der;
	int rc;

	while ((rc = x509_pem_next(&bytes, X509_BLOCK_CRL, &der)) == 0)
		if ((rc = set_add(s, der)) != 0)
			return rc;
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

int crl_set_parse(struct str bytes, struct crl_set **out)
{
	struct crl_set *s;
	int rc = 0;

	if (bytes.n > CRL_FILE_MAX)
		return ERR_TOO_LARGE;
	s = set_new();
	if (!s)
		return ERR_NOMEM;
	if (bytes.n > 0 && memmem(bytes.p, bytes.n, "-----BEGIN ", 11))
		rc = parse_pem(bytes, s);
	else if (!blank(bytes))
		rc = parse_der(bytes, s);
	if (rc != 0) {
		crl_set_put(s);
		return rc;
	}
	*out = s;
	return 0;
}

struct crl_set *crl_set_get(struct crl_set *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void crl_set_put(struct crl_set *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < s->count; i++)
		list_fini(&s->list[i]);
	free(s->list);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

size_t crl_set_count(const struct crl_set *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += s->list[i].count;
	return n;
}

/* Two CAs may share a name; only the one whose key signed the list is meant. */
static bool signed_by(struct crl_set *s, struct list *l, struct str key)
{
	struct key_verdict v;

	if (wc_Sha256Hash((const byte *)key.p, (word32)key.n, v.hash) != 0)
		return false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < MIN(l->keys, (unsigned)KEYS_REMEMBERED); i++) {
		if (memcmp(l->key[i].hash, v.hash, sizeof(v.hash)) == 0) {
			v.signed_it = l->key[i].signed_it;
			pthread_mutex_unlock(&s->lock);
			return v.signed_it;
		}
	}
	pthread_mutex_unlock(&s->lock);
	v.signed_it = x509_signed_by(l->signed_part, l->signature, l->sig_oid, key);
	pthread_mutex_lock(&s->lock);
	l->key[l->keys++ % KEYS_REMEMBERED] = v;
	pthread_mutex_unlock(&s->lock);
	return v.signed_it;
}

bool crl_revokes_cert(struct crl_set *s, const struct crl_subject *c)
{
	struct serial serial;

	if (!serial_from((const uint8_t *)c->serial.p, c->serial.n, &serial))
		return false;
	for (size_t i = 0; i < s->count; i++) {
		struct list *l = &s->list[i];
		if (memcmp(l->issuer, c->issuer, X509_HASH_BYTES) != 0)
			continue;
		if (bsearch(&serial, l->serials, l->count, sizeof(serial), serial_cmp) &&
		    signed_by(s, l, c->issuer_key))
			return true;
	}
	return false;
}

/* Layout per certificate: issuer's hash, length and bytes of the serial, length (2) and bytes of the key. */
void crl_chain_put(uint8_t *blob, size_t *at, const struct crl_subject *c)
{
	size_t n = X509_HASH_BYTES + 1 + c->serial.n + 2 + c->issuer_key.n;

	CHECK(c->serial.n <= X509_SERIAL_MAX && c->issuer_key.n <= UINT16_MAX);
	if (blob) {
		struct cursor w = cursor_write(blob + *at, n);
		cursor_put(&w, c->issuer, X509_HASH_BYTES);
		cursor_put_u8(&w, (uint8_t)c->serial.n);
		cursor_put(&w, c->serial.p, c->serial.n);
		cursor_put_u16(&w, (uint16_t)c->issuer_key.n);
		cursor_put(&w, c->issuer_key.p, c->issuer_key.n);
		CHECK(cursor_error(&w) == 0);
	}
	*at += n;
}

bool crl_revokes(struct crl_set *s, const struct tls_peer *peer)
{
	struct cursor r = cursor_read(peer->chain_der, peer->chain_len);

	if (s->count == 0)
		return false;
	while (cursor_left(&r) > 0) {
		struct crl_subject c;
		c.issuer = (const uint8_t *)cursor_bytes(&r, X509_HASH_BYTES).p;
		c.serial = cursor_bytes(&r, cursor_u8(&r));
		c.issuer_key = cursor_bytes(&r, cursor_u16(&r));
		if (cursor_error(&r) != 0)
			break;
		if (crl_revokes_cert(s, &c))
			return true;
	}
	return false;
}

struct crl_store {
	atomic_uint refs;
	pthread_mutex_t lock; /* of `set` */
	struct crl_set *set;
};

struct crl_store *crl_store_new(void)
{
	struct crl_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->set = set_new();
	if (!s->set) {
		free(s);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

struct crl_store *crl_store_get(struct crl_store *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void crl_store_put(struct crl_store *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	crl_set_put(s->set);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct crl_set *crl_store_current(struct crl_store *s)
{
	pthread_mutex_lock(&s->lock);
	struct crl_set *set = crl_set_get(s->set);
	pthread_mutex_unlock(&s->lock);
	return set;
}

void crl_store_swap(struct crl_store *s, struct crl_set *set)
{
	pthread_mutex_lock(&s->lock);
	struct crl_set *old = s->set;
	s->set = crl_set_get(set);
	pthread_mutex_unlock(&s->lock);
	crl_set_put(old);
}
