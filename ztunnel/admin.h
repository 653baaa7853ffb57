/* SPDX-License-Identifier: Apache-2.0 */
/* The admin pages (contract section 9). */
#ifndef GAUZE_ZTUNNEL_ADMIN_H
#define GAUZE_ZTUNNEL_ADMIN_H

#include "shared/control/http_server.h"

/* A handler of http_server; arg is the app. */
void admin_page(void *arg, struct http_exchange *x, const struct http_request *r);

#endif
