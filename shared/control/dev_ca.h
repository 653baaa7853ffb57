/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The development CA (FAKE_CA=true): a root and its key in a folder, which all proxies of one machine share, so that they
 * trust each other. For demonstrations and tests; who can read the folder can be anybody in the mesh.
 *
 *	<dir>/root-cert.pem   self-signed, ECDSA P-256, ten years
 *	<dir>/root-key.pem    PKCS#8, mode 0600
 *	<dir>/lock            held while the two are made
 *
 * The folder is made with mode 0700. A folder of ours that others could enter is closed to them; another's is refused.
 */
#ifndef GAUZE_CONTROL_DEV_CA_H
#define GAUZE_CONTROL_DEV_CA_H

#include "certs_source.h"

enum { DEV_CA_WHY_MAX = 256 };

/*
 * Reads the CA, or makes it when there is none; processes that do so at once end up with the same one. lifetime_s: of the
 * certificates it issues. 0 or a negative code, and a sentence in why that names the file.
 */
int must_check dev_ca_new(const char *dir, uint32_t lifetime_s, struct certs_source **out,
			  char why[DEV_CA_WHY_MAX]);

#endif
