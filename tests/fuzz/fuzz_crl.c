/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation lists and certificates, PEM or DER. */
#include <stdint.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/wire/crl.h"
#include "shared/wire/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void certificate(struct str der)
{
	char text[X509_SERIAL_TEXT_MAX];
	struct x509 x;

	if (x509_parse(der, &x) != 0)
		return;
	for (size_t i = 0; x509_identity(&x, i).n > 0; i++)
		CHECK(i < X509_URIS_MAX);
	x509_serial_text(x.serial, x.serial_len, text);
	struct str key;
	if (x509_public_key(der, &key) == 0)
		free((char *)key.p);
	x509_fini(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, size}, der;
	struct crl_set *s;

	if (crl_set_parse(bytes, &s) == 0) {
		/* Looks for whatever the input begins with, below the first list's own name or another. */
		struct crl_subject c = {.serial = {bytes.p, MIN(size, (size_t)X509_SERIAL_MAX)},
					.issuer = size >= X509_HASH_BYTES
							  ? data
							  : (const uint8_t *)"01234567890123456789",
					.issuer_key = {bytes.p, MIN(size, (size_t)100)}};
		(void)crl_revokes_cert(s, &c);
		(void)crl_set_count(s);
		crl_set_put(s);
	}
	certificate(bytes);
	while (x509_pem_next(&bytes, X509_BLOCK_CERT, &der) == 0) {
		certificate(der);
		free((char *)der.p);
	}
	return 0;
}
