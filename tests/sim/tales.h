/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applications behind the mesh. A tale is one connection between two of them: the client says which tale it is and how much
 * it wants back, both send a pattern and finish, or reset half way. What each end saw is compared with what the other did.
 */
#ifndef TESTS_SIM_TALES_H
#define TESTS_SIM_TALES_H

#include "shared/base/rng.h"
#include "shared/io/conn.h"
#include "shared/io/listen.h"

enum { TALES_MAX = 64, TALE_HEAD_BYTES = 16 };

enum tale_way {
	TALE_TUNNEL,  /* from a pod to a pod's address */
	TALE_SERVICE, /* from a pod to the service's */
	TALE_OUTSIDE, /* from a pod to x */
	TALE_PLAIN,   /* from x to a pod, in the clear */
	TALE_SOCKS,   /* from a pod to a pod's address, asked for by SOCKS5 */
	TALE_WAYS
};

enum tale_end_state { END_NONE, END_RUNS, END_FIN, END_ERROR, END_RESET_BY_ITSELF };

struct tale;

struct tale_end {
	struct task task, wake;
	struct timer nap;
	struct conn *c;
	struct tale *tale; /* NULL: a server that has not read the head yet */
	struct list link;  /* of servers without a tale */
	enum tale_end_state state;
	uint8_t head[TALE_HEAD_BYTES];
	uint32_t head_have;
	uint32_t to_send, sent, want, got;
	uint32_t reset_at; /* of bytes sent; UINT32_MAX: never */
	uint32_t nap_ms;   /* between reads; 0: reads at once */
	uint32_t skip;	   /* bytes of the proxy's own before those of the tale */
	int error;
	bool client, finished, asleep;
};

struct tale {
	uint32_t id;
	enum tale_way way;
	struct tale_end client, server;
	bool excused; /* something outside ended it: an end may then look like a FIN (contract section 5.5) */
};

struct tales {
	struct worker *w;
	struct rng *rng;
	uint32_t bytes_max, nap_max_ms; /* of one tale */
	struct tale all[TALES_MAX];
	uint32_t count;
	struct listener *listeners[4];
	uint32_t listener_count;
	struct list strangers;
};

void tales_start(struct tales *t, struct worker *w, struct rng *rng, uint32_t bytes_max,
		 uint32_t nap_max_ms);
/* A server in that namespace. */
void tales_listen(struct tales *t, int ns);
/* Opens one more; `resets`: one end may reset half way. */
void tales_open(struct tales *t, enum tale_way way, bool resets);
uint32_t tales_running(const struct tales *t);
/* Everything that runs now may end by somebody else's doing. */
void tales_excuse(struct tales *t);
/* No end runs any more: checks what they saw. Returns how many tales were whole, which may have to be all. */
uint32_t tales_check(const struct tales *t, bool all);
/* Those that still run, to stderr. */
void tales_print(const struct tales *t);
/* Servers stop; with mercy NULL ends that still run are reset. */
void tales_stop(struct tales *t);

#endif
