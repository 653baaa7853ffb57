/* SPDX-License-Identifier: Apache-2.0 */
/* The `forwarded` header (RFC 7239) as tunnels use it (contract section 5.2): who calls, and for which service. */
#ifndef GAUZE_WIRE_FORWARDED_H
#define GAUZE_WIRE_FORWARDED_H

#include "shared/base/addr.h"
#include "shared/base/sbuf.h"

/* Appends for="<address>", and ;host=<host> unless host is empty. */
void forwarded_format(const struct addr *from, struct str host, struct sbuf *out);
/*
 * What follows `host=` in the first part that begins so, without quotes; a view into value. Empty when there is
 * none, or when the value has characters outside ASCII. Names a service for metrics only.
 */
struct str forwarded_host(struct str value);

#endif
