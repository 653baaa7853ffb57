/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates from files (GAUZE_CERT_DIR), for meshes whose certificates other software makes:
 *
 *	<dir>/<trust domain>/<namespace>/<service account>/cert-chain.pem   leaf, then intermediates
 *	                                                   key.pem          its key, PKCS#8 or SEC1
 *	                                                   root-cert.pem    roots; or once for all as <dir>/root-cert.pem
 *
 * Files in use are looked at once a second, and read again when one changed. Replace the chain and the key in any order:
 * while they do not fit, the old certificate stays in use.
 */
#ifndef GAUZE_CONTROL_CERT_FILES_H
#define GAUZE_CONTROL_CERT_FILES_H

#include "certs_source.h"

struct worker;

enum { CERT_FILES_WHY_MAX = 256, CERT_FILES_LOOK_MS = 1000, CERT_FILES_BYTES_MAX = 256 * 1024 };

/* w: the control thread. 0 or a negative code and a sentence in why: dir must be a folder that can be read. */
int must_check cert_files_new(struct worker *w, const char *dir, struct certs_source **out,
			      char why[CERT_FILES_WHY_MAX]);

#endif
