/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate revocation list of CRL_PATH (contract section 5.6): loaded at start, reloaded when its directory changes,
 * and applied to live tunnels. Control thread.
 */
#ifndef GAUZE_ZTUNNEL_REVOCATION_H
#define GAUZE_ZTUNNEL_REVOCATION_H

struct app;
struct revocation;

/*
 * Fills app->crl with what the file holds now. A missing file is an empty list; one that does not parse switches CRL off with
 * a warning. 0 or a negative code (out of memory). *out is NULL when CRL is off.
 */
int __attribute__((warn_unused_result)) revocation_start(struct app *app, struct revocation **out);
/* After the workers, which read app->crl. NULL is allowed. */
void revocation_stop(struct revocation *r);

#endif
