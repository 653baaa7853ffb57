/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small immutable values that workloads and services share: a reference to a waypoint or network gateway, and a
 * map from service port to target port (contract section 3.4). Both are content-addressed or counted, so copying
 * an object that holds them costs a reference.
 */
#ifndef GAUZE_STATE_GATEWAY_H
#define GAUZE_STATE_GATEWAY_H

#include "shared/base/addr.h"
#include "shared/base/rstr.h"

enum gateway_kind { GATEWAY_ADDRESS, GATEWAY_HOSTNAME };

struct gateway {
	uint32_t refs; /* atomic */
	uint8_t kind;
	uint16_t hbone_port;
	struct ip ip;	   /* GATEWAY_ADDRESS */
	struct rstr *name; /* GATEWAY_ADDRESS: network; GATEWAY_HOSTNAME: "namespace/hostname" */
};

/* What a decoder knows about a gateway; views are borrowed. */
struct gateway_spec {
	enum gateway_kind kind;
	struct ip ip;
	uint16_t hbone_port;
	struct str network;	 /* GATEWAY_ADDRESS */
	struct str ns, hostname; /* GATEWAY_HOSTNAME */
};

/* Control thread. 0 or ERR_NOMEM, ERR_SYNTAX (no address; no hostname), ERR_TOO_LARGE. */
int must_check gateway_new(const struct gateway_spec *spec, struct gateway **out);
/* Any thread; NULL is allowed. */
void gateway_put(struct gateway *g);
bool gateway_eq(const struct gateway *a, const struct gateway *b);

/* "ns/name" as one interned string. Control thread. 0, ERR_NOMEM, ERR_TOO_LARGE (above 1,023 bytes). */
int must_check key_intern(struct str ns, struct str name, struct rstr **out);

struct port_pair {
	uint16_t service; /* the port clients dial */
	uint16_t target;  /* 0: each endpoint's own (a named port) */
};

/* Pairs sorted by service port; the bytes of an interned string, so equal maps are one object. NULL is empty. */
struct portmap;

/* Control thread. Later pairs of one service port win. 0 or ERR_NOMEM. */
int must_check portmap_new(const struct port_pair *pairs, size_t count, struct portmap **out);
struct portmap *portmap_get(struct portmap *m);
void portmap_put(struct portmap *m);
size_t portmap_count(const struct portmap *m);
const struct port_pair *portmap_at(const struct portmap *m, size_t i);
/* NULL when that service port is not in the map. */
const struct port_pair *portmap_find(const struct portmap *m, uint16_t service_port);

#endif
