/* SPDX-License-Identifier: Apache-2.0 */
/* Our own ports: readiness 15021, metrics 15020, admin 15000 (contract sections 1.1 and 9). Control thread. */
#ifndef GAUZE_ZTUNNEL_SERVERS_H
#define GAUZE_ZTUNNEL_SERVERS_H

#include "ztunnel/app.h"

struct servers;

enum { SERVERS_ERROR_MAX = 128 };

/* Binds and serves all three, or none and says which port failed. */
int must_check servers_start(struct app *app, struct servers **out, char error[SERVERS_ERROR_MAX]);
/* Stops accepting; `done` is readied when the last answer went out. */
void servers_drain(struct servers *s, struct task *done);
/* Drops what is left of the connections. */
void servers_kill(struct servers *s);
/* After `done`. NULL is allowed. */
void servers_free(struct servers *s);

#endif
