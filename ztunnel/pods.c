/* SPDX-License-Identifier: Apache-2.0 */
/* The control side of pods: make, find, end. What happens on the workers is in pod_worker.c. */
#include "ztunnel/pods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/obs/log.h"
#include "ztunnel/pod_worker.h"

LOG_SCOPE(scope, "ztunnel::inpod");

enum { LISTEN_BACKLOG = 128 };

struct pods {
	struct app *app;
	struct list all; /* running and ending */
	uint32_t live, active;
	uint64_t started, stopped;
	bool draining;
	bool migrate_failed; /* and said so */
	struct task *on_empty;
};

struct pods *pods_new(struct app *app)
{
	struct pods *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->app = app;
	list_init(&p->all);
	return p;
}

void pods_free(struct pods *p)
{
	if (!p)
		return;
	CHECK(p->live == 0);
	free(p);
}

static struct pod *find_running(struct pods *p, struct str uid)
{
	list_for_each(pos, &p->all) {
		struct pod *pod = list_entry(pos, struct pod, link);
		if (!pod->ending && str_eq(rstr_str(pod->uid), uid))
			return pod;
	}
	return NULL;
}

static void pod_free(struct pod *pod)
{
	MAGIC_CHECK(pod, POD_MAGIC);
	pod->magic = 0;
	for (uint32_t i = 0; pod->workers && i < pod->app->workers_count; i++)
		pod_worker_fini(&pod->workers[i]);
	if (pod->netns.fd >= 0)
		close(pod->netns.fd);
	rstr_put(pod->uid);
	rstr_put(pod->name);
	rstr_put(pod->ns);
	rstr_put(pod->sa);
	free(pod->workers);
	free(pod);
}

static struct pod *pod_new(struct app *app, const struct pod_spec *spec)
{
	struct pod *pod = calloc(1, sizeof(*pod));
	if (!pod)
		return NULL;
	pod->magic = POD_MAGIC;
	pod->app = app;
	pod->kind = spec->kind;
	/* Owned once the pod has started: until then a failure leaves it to the caller. */
	pod->netns.fd = -1;
	pod->uid = rstr_intern(spec->uid);
	pod->name = rstr_intern(spec->name);
	pod->ns = rstr_intern(spec->ns);
	pod->sa = rstr_intern(spec->sa);
	pod->mark = spec->kind == POD_SELF ? 0 : app->config->packet_mark;
	pod->workers = calloc(app->workers_count, sizeof(*pod->workers));
	for (uint32_t i = 0; pod->workers && i < app->workers_count; i++)
		pod_worker_init(&pod->workers[i], pod, &app->workers[i]);
	if (!pod->uid || !pod->name || !pod->ns || !pod->sa || !pod->workers) {
		pod_free(pod);
		return NULL;
	}
	return pod;
}

static const uint16_t port_numbers[POD_PORTS] = {
	[POD_OUTBOUND] = CONFIG_PORT_OUTBOUND,
	[POD_INBOUND_PLAINTEXT] = CONFIG_PORT_INBOUND_PLAINTEXT,
	[POD_INBOUND_HBONE] = CONFIG_PORT_INBOUND_HBONE,
	[POD_SOCKS5] = CONFIG_PORT_SOCKS5,
};

static bool has_port(const struct config *c, enum pod_kind kind, enum pod_port port)
{
	if (kind == POD_SELF)
		return port == POD_INBOUND_HBONE;
	return port != POD_SOCKS5 || c->socks5;
}

/* Contract section 1.1: the wildcard of the wider family; SOCKS5 on loopback only. */
static int listen_one(struct pod *pod, const struct netns *ns, enum pod_port port,
		      struct pod_listener *pl)
{
	const struct config *c = pod->app->config;
	bool v6 = c->ipv6 && port != POD_SOCKS5;
	struct socket_listen_options o = {
		.family = v6 ? AF_INET6 : AF_INET,
		.bind.port = port_numbers[port],
		.mark = pod->mark,
		.reuse_port = c->inpod_port_reuse,
		.want_transparent = pod->kind != POD_SELF && port != POD_SOCKS5 &&
				    c->orig_src != CONFIG_ORIG_SRC_OFF,
		.backlog = LISTEN_BACKLOG,
	};
	if (port == POD_SOCKS5)
		o.bind.ip = (struct ip){4, {127, 0, 0, 1}};
	int fd = socket_listen(ns, &o, &pl->transparent);
	if (fd == -EAFNOSUPPORT && v6) {
		/* A kernel without IPv6 is no reason to refuse the pod. */
		o.family = AF_INET;
		fd = socket_listen(ns, &o, &pl->transparent);
	}
	if (fd < 0)
		return fd;
	pl->fd = fd;
	pod->sockets[port]++;
	return 0;
}

static int listen_all(struct pod *pod, const struct netns *ns, char error[POD_ERROR_MAX])
{
	const struct config *c = pod->app->config;
	/* Without SO_REUSEPORT a port has one socket, so one worker serves the whole pod. */
	uint32_t only = (uint32_t)(hash_str(rstr_str(pod->uid)) % pod->app->workers_count);
	for (uint32_t i = 0; i < pod->app->workers_count; i++) {
		if (!c->inpod_port_reuse && i != only)
			continue;
		for (enum pod_port port = 0; port < POD_PORTS; port++) {
			struct pod_listener *pl = &pod->workers[i].listeners[port];
			if (!has_port(c, pod->kind, port))
				continue;
			int rc = listen_one(pod, ns, port, pl);
			if (!rc && c->orig_src == CONFIG_ORIG_SRC_ON && pod->kind != POD_SELF &&
			    port != POD_SOCKS5 && !pl->transparent) {
				snprintf(
					error, POD_ERROR_MAX,
					"port %u: IP_TRANSPARENT refused (missing capability: CAP_NET_ADMIN), and ENABLE_ORIG_SRC=true",
					port_numbers[port]);
				return -EPERM;
			}
			if (rc) {
				snprintf(error, POD_ERROR_MAX, "listen on port %u: %s",
					 port_numbers[port], err_text(rc));
				return rc;
			}
		}
	}
	return 0;
}

/* Ours are no pods of the node: they are not counted among them. */
static bool is_announced(const struct pod *pod)
{
	return pod->kind == POD_ANNOUNCED;
}

static void end(struct pods *p, struct pod *pod, bool kill, int reason)
{
	if (!pod->ending) {
		pod->ending = true;
		p->active -= is_announced(pod);
		p->stopped += is_announced(pod);
	}
	if (kill && pod->killed)
		return;
	pod->killed |= kill;
	pod->kill_reason = reason;
	for (uint32_t i = 0; i < pod->app->workers_count; i++) {
		struct pod_worker *pw = &pod->workers[i];
		pod->kills_out += kill;
		worker_post(pw->aw->w, kill ? &pw->mail_kill : &pw->mail_drain);
	}
	if (kill)
		pod_close_sockets(pod);
}

/* Needs a /proc/sys that can be written to; without it only slow handshakes are at risk when we hand over. */
static void enable_migrate(struct pods *p, const struct netns *ns)
{
	int rc = socket_enable_migrate(ns);
	if (rc && !p->migrate_failed)
		log_warn(&scope, "net.ipv4.tcp_migrate_req cannot be set in the pods: %s",
			 err_text(rc));
	p->migrate_failed |= rc != 0;
}

static bool same_netns(const struct pod *pod, int netns_fd)
{
	uint64_t ino, dev;
	if (netns_fd < 0)
		return pod->netns.fd < 0;
	return socket_netns_id(netns_fd, &ino, &dev) == 0 && pod->netns_ino == ino &&
	       pod->netns_dev == dev;
}

int pods_add(struct pods *p, const struct pod_spec *spec, char error[POD_ERROR_MAX])
{
	struct netns ns = {spec->netns_fd};
	struct pod *pod = find_running(p, spec->uid);
	int rc;
	if (p->draining) {
		snprintf(error, POD_ERROR_MAX, "shutting down");
		return ERR_DRAINED;
	}
	if (pod && same_netns(pod, spec->netns_fd)) {
		if (spec->netns_fd >= 0)
			close(spec->netns_fd);
		return 0;
	}
	if (pod)
		end(p, pod, true, ERR_CLOSED);
	pod = pod_new(p->app, spec);
	if (!pod) {
		snprintf(error, POD_ERROR_MAX, "%s", err_text(ERR_NOMEM));
		return ERR_NOMEM;
	}
	rc = ns.fd < 0 ? 0 : socket_netns_id(ns.fd, &pod->netns_ino, &pod->netns_dev);
	if (rc)
		snprintf(error, POD_ERROR_MAX, "network namespace: %s", err_text(rc));
	else
		rc = listen_all(pod, &ns, error);
	if (rc) {
		pod_free(pod);
		return rc;
	}
	enable_migrate(p, &ns);
	pod->netns.fd = ns.fd;
	pod->workers_live = p->app->workers_count;
	list_add_tail(&p->all, &pod->link);
	p->live++;
	p->active += is_announced(pod);
	p->started += is_announced(pod);
	for (uint32_t i = 0; i < p->app->workers_count; i++)
		worker_post(p->app->workers[i].w, &pod->workers[i].mail_start);
	return 0;
}

/* Gone when every worker is done and no message of ours is still on its way to one. */
void pods_reap(struct pod *pod)
{
	struct pods *p = pod->app->pods;
	if (pod->workers_live || pod->kills_out)
		return;
	list_del(&pod->link);
	p->live--;
	pod_free(pod);
	if (p->live == 0 && p->on_empty)
		task_ready(&p->app->control->run, p->on_empty);
}

void pods_del(struct pods *p, struct str uid)
{
	struct pod *pod = find_running(p, uid);
	if (pod)
		end(p, pod, true, ERR_CLOSED);
}

struct pod *pods_find(struct pods *p, struct str uid)
{
	return find_running(p, uid);
}

void pods_each(struct pods *p, void (*fn)(void *arg, struct pod *pod), void *arg)
{
	list_for_each_safe(pos, tmp, &p->all) {
		struct pod *pod = list_entry(pos, struct pod, link);
		if (!pod->ending)
			fn(arg, pod);
	}
}

void pods_drain(struct pods *p)
{
	p->draining = true;
	list_for_each(pos, &p->all) {
		struct pod *pod = list_entry(pos, struct pod, link);
		if (!pod->ending)
			end(p, pod, false, ERR_DRAINED);
	}
}

void pods_kill(struct pods *p, int reason)
{
	list_for_each(pos, &p->all)
		end(p, list_entry(pos, struct pod, link), true, reason);
}

uint32_t pods_live(const struct pods *p)
{
	return p->live;
}

void pods_on_empty(struct pods *p, struct task *task)
{
	p->on_empty = task;
}

struct pods_counts pods_counts(const struct pods *p)
{
	return (struct pods_counts){p->active, p->started, p->stopped};
}

void pod_sum(const struct pod *pod, uint64_t *connections, uint64_t *bytes_buffered)
{
	uint64_t c = 0, b = 0;
	for (uint32_t i = 0; i < pod->app->workers_count; i++) {
		c += __atomic_load_n(&pod->workers[i].connections, __ATOMIC_RELAXED);
		b += __atomic_load_n(&pod->workers[i].bytes_buffered, __ATOMIC_RELAXED);
	}
	*connections = c;
	*bytes_buffered = b;
}

uint64_t app_connections(const struct app *app)
{
	uint64_t c = 0;
	for (uint32_t i = 0; i < app->workers_count; i++)
		c += __atomic_load_n(&app->workers[i].connections, __ATOMIC_RELAXED);
	return c;
}
