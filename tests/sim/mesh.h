/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes of a mesh on one thread: each a whole data path (pods, data worker, control worker, world, certificates) over
 * the network in memory, and one more worker for the applications behind them.
 *
 *   node 0: pod a1 10.1.0.1, pod a2 10.1.0.2      node 1: pod b1 10.2.0.1, pod b2 10.2.0.2
 *   outside of the mesh: x 10.9.0.1; service 10.96.0.1:80 -> b1, b2 port 8080; 10.x.0.y is also fd00:x::y
 */
#ifndef TESTS_SIM_MESH_H
#define TESTS_SIM_MESH_H

#include "shared/base/rng.h"
#include "shared/control/certs_source.h"
#include "tests/sim/fakenet.h"
#include "tests/unit/testca.h"
#include "ztunnel/app.h"
#include "ztunnel/pods.h"

enum {
	MESH_NODES = 2,
	MESH_PODS = 4,
	MESH_CERTS_MAX = 16,
	MESH_APP_PORT = 8080,
	MESH_WINDOW_BYTES = 512 * 1024, /* largest window of a stream */
};

struct mesh;

struct mesh_host {
	const char *name;
	struct addr at, at6; /* port 0 */
	int ns;
};

/* Gives out certificates late, sometimes not at all. */
struct mesh_source {
	struct certs_source base;
	struct mesh *mesh;
	struct certs_fetch *waiting[MESH_CERTS_MAX];
	uint32_t count;
};

struct mesh_node {
	struct app app;
	struct app_worker aw;
	struct config *config;
	struct mesh_source *source; /* the certificate table's */
};

struct mesh_limits {
	struct bufpool_limits bufs; /* of each data worker */
	uint32_t cert_failures;	    /* per mille of fetches */
	uint32_t alloc_failures; /* per mille of a data worker's turns in which an allocation fails */
};

struct mesh {
	struct rng rng;
	struct testca ca;
	struct mesh_node nodes[MESH_NODES];
	struct worker *apps; /* where applications live */
	struct mesh_limits limits;
	uint64_t turns;
	bool denied; /* the policy text of now */
	/* Called after each turn of a data worker. */
	void (*check)(struct mesh *m, struct mesh_node *n);
};

extern struct mesh_host mesh_hosts[MESH_PODS + 1]; /* a1 a2 b1 b2 x */

/* fakenet_start() came before. */
void mesh_start(struct mesh *m, uint64_t seed, const struct mesh_limits *limits);
/* One turn of each worker, in some order. */
void mesh_turn(struct mesh *m);
/* Publishes the state with or without a policy that denies a1 on b1, and has live flows re-checked. */
void mesh_publish(struct mesh *m, bool deny);
/* A new certificate for that pod's identity on its node. */
void mesh_renew(struct mesh *m, int pod);
void mesh_pod_add(struct mesh *m, int pod);
void mesh_pod_del(struct mesh *m, int pod);
/* What the data workers hold, to stderr. */
void mesh_print(const struct mesh *m);
/* Ends everything; the applications must be gone. Checks that nothing is left of anything. */
void mesh_stop(struct mesh *m);

#endif
