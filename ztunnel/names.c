/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/names.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/base/list.h"
#include "shared/io/worker.h"
#include "shared/obs/metrics.h"

enum {
	NAMES_CACHED = 256,
	NAMES_GOOD_S = 30, /* the system's resolver tells no TTL */
	NAMES_BAD_S = 2,
	NAMES_IPS = 8, /* of each family */
};

struct name_query {
	struct mail mail;
	struct list link;
	struct worker *w;
	struct name_wait *wait; /* NULL: withdrawn. Worker's thread only */
	uint8_t prefer_len;
	uint32_t pick; /* random */
	int error;
	struct ip ip;
	char host[256];
};

struct name_answer {
	char host[256];
	time_t expires;
	int error;
	uint32_t count[2];
	struct ip ips[2][NAMES_IPS]; /* IPv4, IPv6 */
};

struct names {
	pthread_t thread;
	pthread_mutex_t lock; /* guards queue, waiting and stop */
	pthread_cond_t wake;
	struct list queue;
	uint32_t waiting, asked;
	bool stop, ipv6;
	struct name_answer cache[NAMES_CACHED]; /* the thread's own */
};

static void deliver(struct mail *mail, struct worker *at)
{
	struct name_query *q = container_of(mail, struct name_query, mail);
	struct name_wait *wait = q->wait;

	if (wait) {
		wait->query = NULL;
		wait->answered = true;
		wait->error = q->error;
		wait->ip = q->ip;
		task_ready(&at->run, wait->done);
	}
	free(q);
}

static void ask(struct names *n, struct name_answer *a, const char *host, time_t now)
{
	struct addrinfo hints = {.ai_family = n->ipv6 ? AF_UNSPEC : AF_INET,
				 .ai_socktype = SOCK_STREAM},
			*all, *ai;

	*a = (struct name_answer){.error = ERR_NOT_FOUND, .expires = now + NAMES_BAD_S};
	memcpy(a->host, host, sizeof(a->host));
	if (getaddrinfo(host, NULL, &hints, &all))
		return;
	for (ai = all; ai; ai = ai->ai_next) {
		struct sockaddr_storage sa = {0};
		struct addr addr;
		int family;

		memcpy(&sa, ai->ai_addr, MIN((size_t)ai->ai_addrlen, sizeof(sa)));
		if (addr_from_sockaddr(&sa, &addr))
			continue;
		family = addr.ip.len == 4 ? 0 : 1;
		if (a->count[family] < NAMES_IPS)
			a->ips[family][a->count[family]++] = addr.ip;
	}
	freeaddrinfo(all);
	if (a->count[0] + a->count[1] == 0)
		return;
	a->error = 0;
	a->expires = now + NAMES_GOOD_S;
}

static void answer(struct names *n, struct name_query *q)
{
	uint32_t hash = 5381;
	struct name_answer *a;
	struct timespec now;
	int family = q->prefer_len == 4 ? 0 : 1;

	for (const char *p = q->host; *p; p++)
		hash = hash * 33 + (uint8_t)*p;
	a = &n->cache[hash % NAMES_CACHED];
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (strcmp(a->host, q->host) != 0 || a->expires <= now.tv_sec)
		ask(n, a, q->host, now.tv_sec);
	q->error = a->error;
	if (a->error)
		return;
	if (a->count[family] == 0)
		family = !family;
	q->ip = a->ips[family][q->pick % a->count[family]];
}

static void *run(void *arg)
{
	struct names *n = arg;

	pthread_setname_np(pthread_self(), "names");
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct name_query *q;

		if (list_empty(&n->queue)) {
			pthread_cond_wait(&n->wake, &n->lock);
			continue;
		}
		q = list_first(&n->queue, struct name_query, link);
		list_del(&q->link);
		n->waiting--;
		pthread_mutex_unlock(&n->lock);
		answer(n, q);
		worker_post(q->w, &q->mail);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

struct names *names_start(bool ipv6)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->ipv6 = ipv6;
	list_init(&n->queue);
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->wake, NULL);
	if (pthread_create(&n->thread, NULL, run, n)) {
		free(n);
		return NULL;
	}
	return n;
}

void names_stop(struct names *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	list_for_each_safe(node, tmp, &n->queue)
		free(list_entry(node, struct name_query, link));
	pthread_cond_destroy(&n->wake);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* Answers at once, without the thread. */
static void refuse(struct worker *w, struct name_wait *wait, int error)
{
	wait->answered = true;
	wait->error = error;
	task_ready(&w->run, wait->done);
}

void name_wait(struct names *n, struct worker *w, struct str host, uint8_t prefer_len,
	       struct name_wait *wait, struct task *done)
{
	struct name_query *q;
	bool full;

	*wait = (struct name_wait){.done = done};
	if (host.n == 0 || host.n >= sizeof(q->host) || memchr(host.p, 0, host.n)) {
		refuse(w, wait, ERR_NOT_FOUND);
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		refuse(w, wait, ERR_NOMEM);
		return;
	}
	q->w = w;
	q->wait = wait;
	q->prefer_len = prefer_len;
	q->mail.deliver = deliver;
	list_init(&q->link);
	memcpy(q->host, host.p, host.n);
	pthread_mutex_lock(&n->lock);
	full = n->waiting >= LIMIT_NAMES_WAITING;
	if (!full) {
		q->pick = n->asked++;
		n->waiting++;
		list_add_tail(&n->queue, &q->link);
		pthread_cond_signal(&n->wake);
	}
	pthread_mutex_unlock(&n->lock);
	if (full) {
		metric_add_labels(w->metrics, METRIC_LIMIT_HITS, &STR("limit_names_waiting"), 1, 1);
		free(q);
		refuse(w, wait, ERR_LIMIT);
		return;
	}
	wait->query = q;
}

void name_wait_cancel(struct name_wait *wait)
{
	if (wait->query)
		wait->query->wait = NULL;
	wait->query = NULL;
}
