/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/proxy.h"

#include <stdlib.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/conn.h"
#include "shared/io/worker.h"
#include "shared/obs/metrics.h"
#include "shared/state/world.h"
#include "shared/wire/crl.h"
#include "ztunnel/flow.h"
#include "ztunnel/inbound.h"

enum {
	PROXY_WINDOW_START = 256 * 1024, /* per stream; grows with measured need (wire/h2.h) */
	PROXY_CONN_WINDOW_START = 1024 * 1024,
	PROXY_PING_EVERY_MS = 10 * 1000, /* contract 5.3 */
	PROXY_PING_TIMEOUT_MS = 20 * 1000,
};

struct workload *proxy_own_workload(struct pod_worker *pw)
{
	const struct pod *pod = pw->pod;

	return world_local_workload(pw->aw->app->world, rstr_str(pod->ns), rstr_str(pod->name),
				    rstr_str(pod->sa));
}

const struct link_config *proxy_link_config(const struct pod_worker *pw)
{
	return &proxy_of(pw)->client_config;
}

const struct link_config *proxy_server_config(const struct pod_worker *pw)
{
	return &proxy_of(pw)->server_config;
}

static int pod_socket(struct pod_worker *pw, const struct addr *dst)
{
	int family = dst->ip.len == 4 ? AF_INET : AF_INET6;
	int fd = socket_open(&pw->pod->netns, family, SOCK_STREAM, pw->pod->mark);
	int err;

	if (fd < 0)
		return fd;
	err = socket_nodelay(fd);
	if (!err)
		err = socket_set_keepalive(fd, &pw->aw->app->config->keepalive);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int tunnel_socket(void *scope, const struct addr *dst)
{
	return pod_socket(scope, dst);
}

int proxy_connect(struct pod_worker *pw, const struct addr *dst, const struct ip *source,
		  bool transparent, struct conn **out)
{
	int family = dst->ip.len == 4 ? AF_INET : AF_INET6;
	int fd = pod_socket(pw, dst);
	int err = 0;
	struct conn *conn;

	if (fd < 0)
		return fd;
	/* an address of the other family cannot be shown; the connection itself is still right */
	if (source && source->len == dst->ip.len) {
		struct addr local = {*source, 0};

		err = transparent ? socket_bind_transparent(fd, family, source)
				  : socket_bind(fd, family, &local);
	}
	if (err) {
		/* contract 1.4: connect unbound, on a socket without half-set options */
		metric_add(pw->aw->w->metrics, METRIC_SOURCE_LOST, 1);
		close(fd);
		fd = pod_socket(pw, dst);
		if (fd < 0)
			return fd;
	}
	conn = conn_connect(pw->aw->w, fd, dst, LIMIT_CONNECT_MS);
	if (!conn)
		return ERR_LIMIT;
	*out = conn;
	return 0;
}

struct conn *proxy_accept(struct pod_worker *pw, int fd, const struct addr *peer,
			  const struct addr *local, bool keepalive)
{
	struct conn *conn = NULL;
	int err = socket_nodelay(fd);

	if (!err && keepalive)
		err = socket_set_keepalive(fd, &pw->aw->app->config->keepalive);
	if (err)
		close(fd); /* the client is gone already */
	else
		conn = conn_accept(pw->aw->w, fd, peer, local);
	if (!conn)
		pod_release(pw);
	return conn;
}

void proxy_count_revoked(struct pod_worker *pw, bool inbound)
{
	struct str reporter = inbound ? STR("destination") : STR("source");

	metric_add_labels(pw->aw->w->metrics, METRIC_CRL_REJECTIONS, &reporter, 1, 1);
}

static void tunnel_connected(void *scope, uint64_t connect_ns, uint64_t handshake_ns, int error)
{
	struct pod_worker *pw = scope;
	struct proxy_meters *m = &proxy_of(pw)->meters;
	struct str reason;

	if (connect_ns)
		series_observe_ns(m->connect[0], connect_ns);
	if (handshake_ns)
		series_observe_ns(m->handshake[0], handshake_ns);
	if (error == ERR_REVOKED)
		proxy_count_revoked(pw, false);
	if (!error || !connect_ns)
		return;
	reason = str_of(err_name(error));
	metric_add_labels(pw->aw->w->metrics, METRIC_HANDSHAKE_FAILURES, &reason, 1, 1);
}

static void meters_get(struct proxy_meters *m, struct metrics_shard *shard)
{
	static const struct str reporter[2] = {{"source", 6}, {"destination", 11}};

	for (int i = 0; i < 2; i++) {
		m->connect[i] = series_get(shard, METRIC_CONNECT_DURATION, &reporter[i], 1);
		m->handshake[i] = series_get(shard, METRIC_HANDSHAKE_DURATION, &reporter[i], 1);
		m->tunnels[i] = series_get(shard, METRIC_TUNNELS, &reporter[i], 1);
		m->sockets[i] = series_get(shard, METRIC_TCP_SOCKETS, &reporter[i], 1);
	}
	m->handshakes = series_get(shard, METRIC_HANDSHAKES, &reporter[1], 1);
}

static void meters_put(struct proxy_meters *m)
{
	for (int i = 0; i < 2; i++) {
		series_put(m->connect[i]);
		series_put(m->handshake[i]);
		series_put(m->tunnels[i]);
		series_put(m->sockets[i]);
	}
	series_put(m->handshakes);
}

static struct link_config link_config_of(const struct config *c, bool server)
{
	return (struct link_config){
		.h2 =
			{
				.server = server,
				.window_start =
					MIN((uint32_t)PROXY_WINDOW_START, c->h2_stream_window),
				.window_max = c->h2_stream_window,
				.conn_window_start = MIN((uint32_t)PROXY_CONN_WINDOW_START,
							 c->h2_connection_window),
				.conn_window_max = c->h2_connection_window,
				.frame_max = c->h2_frame_size,
				.streams_max = LIMIT_H2_STREAMS_SERVER,
				.header_list_max = server ? LIMIT_H2_HEADER_BYTES_SERVER
							  : LIMIT_H2_HEADER_BYTES_CLIENT,
				.buffered_max = LIMIT_TUNNEL_BUFFERED,
				.resets_per_s = LIMIT_H2_RESETS_PER_S,
				.resets_burst = LIMIT_H2_RESETS_PER_S,
				.controls_per_s = LIMIT_H2_CONTROL_FRAMES_PER_S,
				.controls_burst = LIMIT_H2_CONTROL_FRAMES_PER_S,
			},
		.handshake_ms = LIMIT_HANDSHAKE_MS,
		.ping_every_ms = PROXY_PING_EVERY_MS,
		.ping_timeout_ms = PROXY_PING_TIMEOUT_MS,
	};
}

static int start(struct app_worker *aw)
{
	const struct config *c = aw->app->config;
	struct proxy_worker *p = calloc(1, sizeof(*p));
	struct tunnels_config tunnels = {
		.streams_max = c->pool_max_streams,
		.unused_ms = c->pool_unused_ms,
		.connect_ms = LIMIT_CONNECT_MS,
		.open_socket = tunnel_socket,
		.connected = tunnel_connected,
	};

	if (!p)
		return ERR_NOMEM;
	p->aw = aw;
	list_init(&p->flows);
	list_init(&p->socks);
	list_init(&p->hbone);
	rng_init_random(&p->rng);
	p->client_config = link_config_of(c, false);
	p->server_config = link_config_of(c, true);
	p->illegal_ports[p->illegal_ports_count++] = CONFIG_PORT_INBOUND_HBONE;
	p->illegal_ports[p->illegal_ports_count++] = CONFIG_PORT_INBOUND_PLAINTEXT;
	p->illegal_ports[p->illegal_ports_count++] = CONFIG_PORT_OUTBOUND;
	if (c->socks5)
		p->illegal_ports[p->illegal_ports_count++] = CONFIG_PORT_SOCKS5;
	meters_get(&p->meters, aw->w->metrics);
	tunnels.link = p->client_config;
	tunnels.up = p->meters.tunnels[0];
	p->tunnels = tunnels_new(aw->w, &tunnels);
	if (!p->tunnels) {
		meters_put(&p->meters);
		free(p);
		return ERR_NOMEM;
	}
	aw->proxy = p;
	return 0;
}

static void stop(struct app_worker *aw)
{
	struct proxy_worker *p = aw->proxy;

	CHECK(list_empty(&p->flows) && list_empty(&p->socks) && list_empty(&p->hbone));
	tunnels_free(p->tunnels);
	meters_put(&p->meters);
	free(p);
	aw->proxy = NULL;
}

static int pod_start(struct pod_worker *pw)
{
	pw->proxy = NULL;
	return 0;
}

static void pod_stop(struct pod_worker *pw)
{
	tunnels_kill(proxy_of(pw)->tunnels, pw, ERR_CLOSED);
}

static void pod_drain(struct pod_worker *pw)
{
	struct proxy_worker *p = proxy_of(pw);

	list_for_each_safe(node, tmp, &p->hbone) {
		struct hbone_server *s = list_entry(node, struct hbone_server, link);

		if (s->pw == pw && s->tls_link)
			link_drain(s->tls_link);
	}
	tunnels_drain(p->tunnels, pw);
}

static void pod_kill(struct pod_worker *pw, int reason)
{
	struct proxy_worker *p = proxy_of(pw);

	/* an abort may end other flows of the same link, so look from the start each time */
	for (bool found = true; found;) {
		found = false;
		list_for_each(node, &p->flows) {
			struct flow *f = list_entry(node, struct flow, link);

			if (f->pw != pw)
				continue;
			f->abort(f, reason);
			found = true;
			break;
		}
	}
	socks_kill(pw, reason);
	list_for_each_safe(node, tmp, &p->hbone) {
		struct hbone_server *s = list_entry(node, struct hbone_server, link);

		if (s->pw == pw)
			hbone_server_kill(s, reason);
	}
	tunnels_kill(p->tunnels, pw, reason);
}

static void recheck(struct app_worker *aw)
{
	struct proxy_worker *p = aw->proxy;

	list_for_each_safe(node, tmp, &p->flows) {
		struct flow *f = list_entry(node, struct flow, link);

		if (f->denied && f->denied(f))
			f->abort(f, ERR_POLICY_CHANGED);
	}
}

static bool is_revoked(void *set, const struct tls_peer *peer)
{
	return crl_revokes(set, peer);
}

static void apply_crl(struct app_worker *aw)
{
	struct proxy_worker *p = aw->proxy;
	struct crl_set *set = aw->app->crl ? crl_store_current(aw->app->crl) : NULL;

	if (!set)
		return;
	list_for_each_safe(node, tmp, &p->hbone) {
		struct hbone_server *s = list_entry(node, struct hbone_server, link);
		const struct tls_peer *peer = s->tls_link ? link_peer(s->tls_link) : NULL;

		if (peer && crl_revokes(set, peer))
			hbone_server_kill(s, ERR_REVOKED);
	}
	tunnels_judge(p->tunnels, is_revoked, set, ERR_REVOKED);
	crl_set_put(set);
}

const struct proxy_ops proxy_ops = {
	.worker_start = start,
	.worker_stop = stop,
	.pod_start = pod_start,
	.pod_stop = pod_stop,
	.outbound = outbound_accepted,
	.inbound_plaintext = inbound_plain_accepted,
	.inbound_hbone = inbound_hbone_accepted,
	.socks5 = socks_accepted,
	.pod_drain = pod_drain,
	.pod_kill = pod_kill,
	.recheck = recheck,
	.revoke = apply_crl,
};
