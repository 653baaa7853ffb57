/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/control/http_server.h"
#include "shared/control/readiness.h"
#include "shared/io/socket.h"
#include "shared/obs/metrics.h"
#include "ztunnel/admin.h"

enum { READINESS, STATS, ADMIN, SERVERS, BACKLOG = 128 };

struct servers {
	struct app *app;
	struct http_server *http[SERVERS]; /* NULL once drained */
	struct task drained[SERVERS];
	uint32_t left;
	struct task *done;
};

static void readiness_page(void *arg, struct http_exchange *x, const struct http_request *r)
{
	struct app *app = arg;
	char text[1024];
	struct sbuf sb;
	struct http_response response = {.status = 200, .body = STR("ready\n")};
	if (!str_eq(r->path, STR("/healthz/ready"))) {
		response = (struct http_response){.status = 404};
	} else if (!str_eq(r->method, STR("GET"))) {
		response = (struct http_response){.status = 405, .header = "allow: GET"};
	} else if (!readiness_done(app->readiness)) {
		sbuf_init_fixed(&sb, text, sizeof(text));
		sbuf_putz(&sb, "not ready, pending: ");
		readiness_pending(app->readiness, &sb);
		sbuf_putz(&sb, "\n");
		response.status = 500;
		response.body = sbuf_str(&sb);
	}
	http_respond(x, &response);
}

static void stats_page(void *arg, struct http_exchange *x, const struct http_request *r)
{
	struct sbuf sb;
	(void)arg;
	if (!str_eq(r->path, STR("/metrics")) && !str_eq(r->path, STR("/stats/prometheus"))) {
		http_respond(x, &(struct http_response){.status = 404});
		return;
	}
	sbuf_init(&sb, LIMIT_METRICS_TEXT_BYTES);
	int rc = metrics_render(&sb);
	if (rc)
		http_respond(x,
			     &(struct http_response){.status = 503, .body = str_of(err_text(rc))});
	else
		http_respond(
			x, &(struct http_response){.status = 200,
						   .content_type = metrics_content_type(r->accept),
						   .body = sbuf_str(&sb)});
	sbuf_fini(&sb);
}

static int listen_at(struct http_server *http, int family, struct ip ip, uint16_t port)
{
	struct socket_listen_options o = {
		.family = family, .bind = {.ip = ip, .port = port}, .backlog = BACKLOG};
	bool transparent;
	int fd = socket_listen(NULL, &o, &transparent);
	return fd < 0 ? fd : http_server_listen(http, fd);
}

static int listen_wildcard(struct app *app, struct http_server *http, uint16_t port)
{
	int rc = app->config->ipv6 ? listen_at(http, AF_INET6, (struct ip){0}, port)
				   : -EAFNOSUPPORT;
	return rc == -EAFNOSUPPORT ? listen_at(http, AF_INET, (struct ip){0}, port) : rc;
}

static int listen_localhost(struct app *app, struct http_server *http, uint16_t port)
{
	static const struct ip v4 = {4, {127, 0, 0, 1}}, v6 = {16, {[15] = 1}};
	int rc = listen_at(http, AF_INET, v4, port);
	if (rc || !app->config->ipv6_localhost)
		return rc;
	rc = listen_at(http, AF_INET6, v6, port);
	/* A host without IPv6 on its loopback still has an admin page. */
	return rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT ? 0 : rc;
}

static void on_drained(struct servers *s, int which)
{
	s->http[which] = NULL;
	if (--s->left == 0 && s->done)
		task_ready(&s->app->control->run, s->done);
}

#define DRAINED(name, which)                                                           \
	static void name(struct task *task)                                            \
	{                                                                              \
		on_drained(container_of(task, struct servers, drained[which]), which); \
	}
DRAINED(readiness_drained, READINESS)
DRAINED(stats_drained, STATS)
DRAINED(admin_drained, ADMIN)

int servers_start(struct app *app, struct servers **out, char error[SERVERS_ERROR_MAX])
{
	const struct {
		http_handler_fn handler;
		const char *name;
		uint16_t port;
		int (*listen)(struct app *app, struct http_server *http, uint16_t port);
		void (*drained)(struct task *task);
	} list[SERVERS] = {
		{readiness_page, "readiness", CONFIG_PORT_READINESS, listen_wildcard,
		 readiness_drained},
		{stats_page, "stats", app->config->stats_port, listen_wildcard, stats_drained},
		{admin_page, "admin", app->config->admin_port, listen_localhost, admin_drained},
	};
	struct servers *s = calloc(1, sizeof(*s));
	int rc = s ? 0 : ERR_NOMEM;
	for (int i = 0; i < SERVERS && !rc; i++) {
		s->app = app;
		task_init(&s->drained[i], list[i].drained);
		s->http[i] = http_server_new(app->control, list[i].handler, app);
		rc = s->http[i] ? list[i].listen(app, s->http[i], list[i].port) : ERR_NOMEM;
		if (rc)
			snprintf(error, SERVERS_ERROR_MAX, "%s port %u: %s", list[i].name,
				 list[i].port, err_text(rc));
	}
	if (rc) {
		servers_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void servers_drain(struct servers *s, struct task *done)
{
	s->done = done;
	for (int i = 0; i < SERVERS; i++)
		s->left += s->http[i] != NULL;
	for (int i = 0; i < SERVERS; i++)
		if (s->http[i])
			http_server_drain(s->http[i], &s->drained[i]);
}

void servers_kill(struct servers *s)
{
	for (int i = 0; i < SERVERS; i++)
		if (s->http[i])
			http_server_kill(s->http[i]);
}

void servers_free(struct servers *s)
{
	free(s);
}
