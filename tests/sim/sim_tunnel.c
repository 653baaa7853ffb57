/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole data path over a network with faults: applications on two nodes talk through the mesh while things go wrong.
 * Whatever happens, bytes arrive in order or the end is told as an error, every connection ends once the faults stop,
 * memory stays within bounds, and nothing is left at the end.
 *
 *	sim_tunnel            the fixed seeds
 *	sim_tunnel KIND SEED  one of them again: KIND is a name of the table below
 */
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/io/backend.h"
#include "shared/obs/log.h"
#include "tests/sim/mesh.h"
#include "tests/sim/tales.h"
#include "ztunnel/proxy.h"

enum { TURNS_FAULTY = 3000, TURNS_MAX = 100 * 1000, BYTES_MAX = 300 * 1000, NAP_MAX_MS = 30 };

struct kind {
	const char *name;
	uint32_t seeds, tales;
	uint32_t bytes_max, nap_max_ms; /* of a tale; 0: the usual */
	bool whole;			/* nothing that happens may cost a byte */
	bool resets, policy, pods, certs, drain;
	struct fakenet_faults faults;
	struct mesh_limits limits;
};

static const struct kind kinds[] = {
	{.name = "calm", .seeds = 4, .tales = 24, .whole = true},
	{.name = "ragged",
	 .seeds = 10,
	 .tales = 24,
	 .resets = true,
	 .faults = {.split = 300,
		    .short_send = 300,
		    .delay = 200,
		    .no_room = 100,
		    .pipe_bytes = 20000}},
	{.name = "broken",
	 .seeds = 10,
	 .tales = 24,
	 .resets = true,
	 .faults = {.split = 100,
		    .short_send = 100,
		    .delay = 100,
		    .reset = 3,
		    .refuse = 50,
		    .blackhole = 20,
		    .jump = 2}},
	{.name = "starved",
	 .seeds = 10,
	 .tales = 24,
	 .resets = true,
	 .faults = {.split = 100, .delay = 100, .starve = 100},
	 .limits.bufs = {.slots_max = 6, .bytes_max = 600 * 1024}},
	{.name = "slow",
	 .whole = true,
	 .seeds = 4,
	 .tales = 40,
	 .bytes_max = 4 * 1000 * 1000,
	 .nap_max_ms = 400,
	 .faults = {.split = 20, .short_send = 20}},
	{.name = "slow and starved",
	 .whole = true,
	 .seeds = 4,
	 .tales = 40,
	 .bytes_max = 3 * 1000 * 1000,
	 .nap_max_ms = 400,
	 .limits.bufs = {.slots_max = 16, .bytes_max = 2 << 20}},
	{.name = "out of memory",
	 .seeds = 10,
	 .tales = 24,
	 .resets = true,
	 .faults = {.split = 50, .delay = 50},
	 .limits.alloc_failures = 30},
	{.name = "operated",
	 .seeds = 10,
	 .tales = 32,
	 .resets = true,
	 .policy = true,
	 .pods = true,
	 .certs = true,
	 .faults = {.split = 100, .short_send = 100, .delay = 100, .pipe_bytes = 30000}},
	{.name = "drained",
	 .seeds = 6,
	 .tales = 24,
	 .drain = true,
	 .faults = {.split = 100, .delay = 100}},
	{.name = "everything",
	 .seeds = 12,
	 .tales = 40,
	 .resets = true,
	 .policy = true,
	 .pods = true,
	 .certs = true,
	 .drain = true,
	 .faults = {.split = 150,
		    .short_send = 150,
		    .delay = 100,
		    .starve = 20,
		    .no_room = 50,
		    .reset = 1,
		    .refuse = 20,
		    .blackhole = 5,
		    .jump = 1,
		    .pipe_bytes = 40000},
	 .limits = {.bufs = {.slots_max = 32, .bytes_max = 8 << 20},
		    .cert_failures = 100,
		    .alloc_failures = 5}},
};

static struct mesh mesh;
static struct tales tales;
static uint64_t peak_bytes;

static uint32_t length(const struct list *head)
{
	uint32_t n = 0;

	list_for_each(node, head)
		n++;
	return n;
}

/*
 * What a data worker may hold. A socket: its window, and what the last receive brought beyond it. A stream: its window. A
 * tunnel: what one turn seals, what the kernel has not taken of it, and what was received and is being opened.
 */
static void check_memory(struct mesh *m, struct mesh_node *n)
{
	const struct proxy_worker *p = n->aw.proxy;
	uint64_t bytes = bufpool_bytes(n->aw.w->bufs, BUF_KINDS);
	uint64_t socket = CONN_WINDOW_BYTES + BUF_SLAB_BYTES + BUF_SLOT_BYTES;
	uint64_t tunnel = 4 * BUF_SLAB_BYTES;

	(void)m;
	peak_bytes = MAX(peak_bytes, bytes);
	CHECK(bytes <= n->aw.w->io->conns * socket + length(&p->flows) * MESH_WINDOW_BYTES +
			       (tunnels_count(p->tunnels) + length(&p->hbone)) * tunnel);
}

static void something_happens(const struct kind *k, bool pod_gone[MESH_PODS])
{
	int pod = (int)rng_below(&mesh.rng, MESH_PODS);

	if (k->certs && rng_below(&mesh.rng, 60) == 0)
		mesh_renew(&mesh, pod);
	if (k->policy && rng_below(&mesh.rng, 300) == 0) {
		tales_excuse(&tales);
		mesh_publish(&mesh, !mesh.denied);
	}
	if (k->pods && rng_below(&mesh.rng, 300) == 0) {
		tales_excuse(&tales);
		if (pod_gone[pod])
			mesh_pod_add(&mesh, pod);
		else
			mesh_pod_del(&mesh, pod);
		pod_gone[pod] = !pod_gone[pod];
	}
}

static void finish(const struct kind *k)
{
	struct fakenet_faults none = {.pipe_bytes = k->faults.pipe_bytes};
	uint64_t end_ns;
	uint32_t turns = 0;

	fakenet_faults(&none);
	mesh.limits.alloc_failures = mesh.limits.cert_failures = 0;
	/* connects, handshakes and pings that were lost have their timeouts behind them after that */
	end_ns = fakenet_now() + 300 * NS_PER_S;
	while (tales_running(&tales) && turns++ < TURNS_MAX && fakenet_now() < end_ns)
		mesh_turn(&mesh);
	if (tales_running(&tales)) {
		tales_print(&tales);
		mesh_print(&mesh);
	}
	CHECK(tales_running(&tales) == 0);
}

static void run_seed(const struct kind *k, uint64_t seed)
{
	struct mesh_limits limits = k->limits;
	bool pod_gone[MESH_PODS] = {0};
	uint32_t whole;
	int drain_at;

	if (!limits.bufs.bytes_max)
		limits.bufs = (struct bufpool_limits){
			.slots_max = 256, .bytes_max = 64 << 20, .slabs_cached = 2};
	memset(&mesh, 0, sizeof(mesh));
	fakenet_start(seed, &(struct fakenet_faults){0});
	mesh.check = check_memory;
	mesh_start(&mesh, seed, &limits);
	tales_start(&tales, mesh.apps, &mesh.rng, k->bytes_max ? k->bytes_max : BYTES_MAX,
		    k->nap_max_ms ? k->nap_max_ms : NAP_MAX_MS);
	for (int i = 2; i <= MESH_PODS; i++)
		tales_listen(&tales, mesh_hosts[i].ns);
	for (int i = 0; i < 50; i++)
		mesh_turn(&mesh);
	fakenet_faults(&k->faults);
	drain_at = 100 + (int)rng_below(&mesh.rng, 300);
	for (int i = 0; i < TURNS_FAULTY; i++) {
		if (tales.count < k->tales && rng_below(&mesh.rng, 15) == 0)
			tales_open(&tales, (enum tale_way)rng_below(&mesh.rng, TALE_WAYS),
				   k->resets);
		something_happens(k, pod_gone);
		if (k->drain && i == drain_at)
			pods_drain(mesh.nodes[1].app.pods);
		if (k->drain && i == 2 * drain_at) {
			tales_excuse(&tales);
			pods_kill(mesh.nodes[1].app.pods, ERR_DRAINED);
		}
		mesh_turn(&mesh);
		if (tales.count == k->tales && !tales_running(&tales))
			break;
	}
	finish(k);
	whole = tales_check(&tales, k->whole);
	tales_stop(&tales);
	mesh_stop(&mesh);
	fakenet_stop();
	printf("ok %s %lu: %u of %u tales whole, peak %lu KiB, %lu turns, %lu s\n", k->name,
	       (unsigned long)seed, whole, tales.count, (unsigned long)(peak_bytes >> 10),
	       (unsigned long)mesh.turns, (unsigned long)(fakenet_now() / NS_PER_S - 1000));
	fflush(stdout);
	peak_bytes = 0;
}

int main(int argc, char **argv)
{
	bool found = false;

	CHECK(log_init("off", false, 2) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];

		if (argc > 1 && strcmp(argv[1], k->name) != 0)
			continue;
		found = true;
		if (argc > 2) {
			if (argc > 3)
				CHECK(log_init(argv[3], false, 2) == 0);
			run_seed(k, strtoull(argv[2], NULL, 0));
			continue;
		}
		for (uint32_t seed = 1; seed <= k->seeds; seed++)
			run_seed(k, seed);
	}
	return found ? 0 : 2;
}
