/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/control/http_server.h"

#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/base/sbuf.h"
#include "shared/io/conn.h"
#include "shared/io/listen.h"
#include "shared/obs/metrics.h"

enum {
	SERVER_MAGIC = 0x68737276,
	CONN_MAGIC = 0x68636f6e,
	LISTENERS_MAX = 4,
	IDLE_MS = 60 * 1000, /* between requests; scrapers come every 15 to 60 seconds */
	BODY_MAX = 64 * 1024,
	TARGET_MAX = 2048,
	FIELD_MAX = 32,
	VALUE_MAX = 512,
};

struct server_listener {
	struct http_server *server;
	struct listener *listener;
	struct task stopped;
};

struct http_server {
	uint32_t magic;
	struct worker *w;
	http_handler_fn handler;
	void *arg;
	struct list connections;
	uint32_t count;
	struct server_listener listeners[LISTENERS_MAX];
	uint32_t listening;
	bool draining;
	struct task *done, end;
	llhttp_settings_t settings;
};

/* A connection, which is also its one exchange. */
struct http_exchange {
	uint32_t magic;
	struct http_server *s;
	struct list link;
	struct endpoint *ep; /* NULL once closed; then only an answer is awaited */
	struct task task, expired;
	struct timer timer;
	llhttp_t parser;
	bool begun;	 /* a byte of this request has come */
	bool complete;	 /* the request is read, its answer is not given */
	bool dispatched; /* the handler has it */
	bool last;	 /* close after the answer */
	uint32_t head_bytes, body_bytes;
	char target[TARGET_MAX], field[FIELD_MAX], accept[VALUE_MAX], accept_encoding[VALUE_MAX];
	size_t target_n, field_n, accept_n, accept_encoding_n;
	bool in_value;
};

static struct http_exchange *exchange_of(llhttp_t *p)
{
	return p->data;
}

/* ---- what the parser tells ---- */

static bool append(char *to, size_t cap, size_t *n, const char *at, size_t len)
{
	if (len > cap - *n)
		return false;
	memcpy(to + *n, at, len);
	*n += len;
	return true;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(p);
	return append(x->target, sizeof(x->target), &x->target_n, at, len) ? 0 : HPE_USER;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(p);
	if (x->in_value)
		x->field_n = 0;
	x->in_value = false;
	/* A name that does not fit is none that we read; it stays at a length that matches nothing. */
	if (!append(x->field, sizeof(x->field), &x->field_n, at, len))
		x->field_n = sizeof(x->field);
	return 0;
}

static void take_value(struct http_exchange *x, const char *name, char *to, size_t *n,
		       const char *at, size_t len)
{
	if (x->field_n != strlen(name) || strncasecmp(x->field, name, x->field_n) != 0)
		return;
	if (!x->in_value && *n)
		(void)append(to, VALUE_MAX, n, ", ", 2);
	(void)append(to, VALUE_MAX, n, at, len);
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(p);
	take_value(x, "accept", x->accept, &x->accept_n, at, len);
	take_value(x, "accept-encoding", x->accept_encoding, &x->accept_encoding_n, at, len);
	x->in_value = true;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(p);
	(void)at;
	x->body_bytes += (uint32_t)len;
	return x->body_bytes > BODY_MAX ? HPE_USER : 0;
}

static int on_complete(llhttp_t *p)
{
	struct http_exchange *x = exchange_of(p);
	x->complete = true;
	x->last = x->last || !llhttp_should_keep_alive(p);
	/* The next one waits until this one is answered. */
	return HPE_PAUSED;
}

/* ---- the end of things ---- */

static void server_free(struct task *task)
{
	struct http_server *s = container_of(task, struct http_server, end);
	MAGIC_CHECK(s, SERVER_MAGIC);
	CHECK(s->count == 0 && s->listening == 0);
	if (s->done)
		task_ready(&s->w->run, s->done);
	s->magic = 0;
	free(s);
}

static void server_maybe_end(struct http_server *s)
{
	if (s->draining && s->count == 0 && s->listening == 0)
		task_ready(&s->w->run, &s->end);
}

static void detach(struct http_exchange *x, int reason)
{
	if (!x->ep)
		return;
	x->ep->user = NULL;
	x->ep->ops->close(x->ep, reason);
	x->ep = NULL;
	timer_disarm(&x->s->w->timers, &x->timer);
	task_cancel(&x->task);
	task_cancel(&x->expired);
}

/* Closes the connection; its memory goes when no answer is owed. */
static void drop(struct http_exchange *x, int reason)
{
	struct http_server *s = x->s;
	detach(x, reason);
	if (x->complete)
		return;
	list_del(&x->link);
	s->count--;
	x->magic = 0;
	free(x);
	server_maybe_end(s);
}

/* ---- answers ---- */

static const char *reason_phrase(uint16_t status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 503: return "Service Unavailable";
	default: return "Unknown";
	}
}

static int write_response(struct http_exchange *x, const struct http_response *r)
{
	struct bufq q = {0};
	char head[512], date[40];
	struct sbuf sb;
	time_t now = time(NULL);
	struct tm tm;
	int rc;
	/* RFC 9110 section 5.6.7 */
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	sbuf_init_fixed(&sb, head, sizeof(head));
	sbuf_printf(&sb, "HTTP/1.1 %u %s\r\n", r->status, reason_phrase(r->status));
	if (r->content_type)
		sbuf_printf(&sb, "content-type: %s\r\n", r->content_type);
	if (r->header)
		sbuf_printf(&sb, "%s\r\n", r->header);
	if (x->last)
		sbuf_putz(&sb, "connection: close\r\n");
	sbuf_printf(&sb, "content-length: %zu\r\ndate: %s\r\n\r\n", r->body.n, date);
	rc = sbuf_error(&sb);
	if (!rc)
		rc = bufq_copy(&q, x->s->w->bufs, head, sb.n);
	if (!rc && r->body.n && x->parser.method != HTTP_HEAD)
		rc = bufq_copy(&q, x->s->w->bufs, r->body.p, r->body.n);
	if (!rc)
		x->ep->ops->send(x->ep, &q);
	bufq_fini(&q);
	return rc;
}

static void begin_request(struct http_exchange *x)
{
	x->begun = x->complete = x->dispatched = x->in_value = false;
	x->head_bytes = x->body_bytes = 0;
	x->target_n = x->field_n = x->accept_n = x->accept_encoding_n = 0;
}

void http_respond(struct http_exchange *x, const struct http_response *r)
{
	MAGIC_CHECK(x, CONN_MAGIC);
	CHECK(x->complete);
	x->complete = false;
	if (!x->ep) {
		drop(x, 0);
		return;
	}
	x->last |= x->s->draining;
	int rc = write_response(x, r);
	if (rc || x->last) {
		drop(x, rc);
		return;
	}
	begin_request(x);
	llhttp_resume(&x->parser);
	timer_arm(&x->s->w->timers, &x->timer, IDLE_MS);
	/* More may wait in the receive queue. */
	task_ready(&x->s->w->run, &x->task);
}

/* The request itself is at fault; nothing after it can be trusted. */
static void refuse(struct http_exchange *x, uint16_t status)
{
	x->last = x->complete = true;
	http_respond(x, &(struct http_response){.status = status});
}

/* ---- requests ---- */

static void dispatch(struct http_exchange *x)
{
	struct str target = {x->target, x->target_n};
	const char *method = llhttp_method_name((llhttp_method_t)x->parser.method);
	struct http_request r = {
		.method = str_of(method),
		.accept = {x->accept, x->accept_n},
		.accept_encoding = {x->accept_encoding, x->accept_encoding_n},
	};
	x->dispatched = true;
	timer_disarm(&x->s->w->timers, &x->timer);
	/* The absolute form (RFC 9112 section 3.2.2) names a host, which we do not look at. */
	if (str_starts(target, STR("http://"))) {
		const char *slash = memchr(target.p + 7, '/', target.n - 7);
		target = slash ? (struct str){slash, (size_t)(target.p + target.n - slash)}
			       : STR("/");
	}
	const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
	r.path = target;
	if (mark) {
		r.path.n = (size_t)(mark - target.p);
		r.query = (struct str){mark + 1, target.n - r.path.n - 1};
	}
	x->s->handler(x->s->arg, x, &r);
}

/* Feeds one slice; *used is what belongs to this request. 0, or the status to refuse with. */
static uint16_t feed(struct http_exchange *x, const char *bytes, size_t n, size_t *used)
{
	llhttp_errno_t rc = llhttp_execute(&x->parser, bytes, n);
	*used = n;
	if (rc == HPE_PAUSED) {
		*used = (size_t)(llhttp_get_error_pos(&x->parser) - bytes);
		return 0;
	}
	if (rc == HPE_USER)
		return x->body_bytes > BODY_MAX ? 413 : 431;
	if (rc != HPE_OK)
		return 400;
	return 0;
}

/* Reads until a request is complete or nothing is left. False when x is gone. */
static bool read_request(struct http_exchange *x)
{
	while (!x->complete && x->ep->rx.bytes) {
		struct bslice *slice = bufq_at(&x->ep->rx, 0);
		size_t used = 0;
		if (!x->begun) {
			x->begun = true;
			timer_arm(&x->s->w->timers, &x->timer, LIMIT_ADMIN_HEAD_MS);
		}
		uint16_t status =
			feed(x, (const char *)slice->buf->data + slice->off, slice->len, &used);
		x->head_bytes += (uint32_t)used;
		bufq_pop(&x->ep->rx, (uint32_t)used);
		x->ep->ops->credit(x->ep, (uint32_t)used);
		if (!status && !x->complete &&
		    x->head_bytes - x->body_bytes > LIMIT_ADMIN_HEAD_BYTES)
			status = 431;
		if (status) {
			refuse(x, status);
			return false;
		}
	}
	return true;
}

static void run(struct task *task)
{
	struct http_exchange *x = container_of(task, struct http_exchange, task);
	MAGIC_CHECK(x, CONN_MAGIC);
	if (!x->ep->error && !x->complete && !read_request(x))
		return;
	if (x->ep->error) {
		drop(x, x->ep->error);
		return;
	}
	if (x->complete) {
		if (!x->dispatched)
			dispatch(x);
		return;
	}
	if (x->ep->eof || (x->s->draining && !x->begun))
		drop(x, 0);
}

static void expired(struct task *task)
{
	struct http_exchange *x = container_of(task, struct http_exchange, expired);
	MAGIC_CHECK(x, CONN_MAGIC);
	if (x->begun)
		refuse(x, 408);
	else
		drop(x, 0);
}

int http_server_serve(struct http_server *s, struct endpoint *ep)
{
	struct http_exchange *x = s->count < LIMIT_ADMIN_CONNECTIONS ? calloc(1, sizeof(*x)) : NULL;
	if (!x) {
		ep->ops->close(ep, ERR_LIMIT);
		return ERR_LIMIT;
	}
	x->magic = CONN_MAGIC;
	x->s = s;
	x->ep = ep;
	task_init(&x->task, run);
	task_init(&x->expired, expired);
	timer_init(&x->timer, &x->expired);
	llhttp_init(&x->parser, HTTP_REQUEST, &s->settings);
	x->parser.data = x;
	list_add_tail(&s->connections, &x->link);
	s->count++;
	timer_arm(&s->w->timers, &x->timer, LIMIT_ADMIN_HEAD_MS);
	endpoint_attach(x->ep, &s->w->run, &x->task);
	return 0;
}

static void accepted(void *arg, int fd, const struct addr *peer)
{
	struct http_server *s = arg;
	const struct addr nowhere = {0}; /* saves the look-up of what nobody reads */
	const struct str limit = STR("limit_admin_connections");
	struct conn *conn = conn_accept(s->w, fd, peer, &nowhere);
	if (conn && http_server_serve(s, &conn->ep) && s->w->metrics)
		metric_add_labels(s->w->metrics, METRIC_LIMIT_HITS, &limit, 1, 1);
}

struct http_server *http_server_new(struct worker *w, http_handler_fn handler, void *arg)
{
	struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->magic = SERVER_MAGIC;
	s->w = w;
	s->handler = handler;
	s->arg = arg;
	list_init(&s->connections);
	task_init(&s->end, server_free);
	llhttp_settings_init(&s->settings);
	s->settings.on_url = on_url;
	s->settings.on_header_field = on_field;
	s->settings.on_header_value = on_value;
	s->settings.on_body = on_body;
	s->settings.on_message_complete = on_complete;
	return s;
}

static void listener_stopped(struct task *task)
{
	struct server_listener *l = container_of(task, struct server_listener, stopped);
	l->server->listening--;
	server_maybe_end(l->server);
}

int http_server_listen(struct http_server *s, int fd)
{
	CHECK(s->listening < LISTENERS_MAX);
	int rc = listener_start(s->w, fd, accepted, s, &s->listeners[s->listening].listener);
	if (rc)
		return rc;
	s->listeners[s->listening].server = s;
	task_init(&s->listeners[s->listening].stopped, listener_stopped);
	s->listening++;
	return 0;
}

void http_server_drain(struct http_server *s, struct task *done)
{
	uint32_t n = s->listening;
	MAGIC_CHECK(s, SERVER_MAGIC);
	CHECK(!s->draining);
	s->draining = true;
	s->done = done;
	for (uint32_t i = 0; i < n; i++)
		listener_stop(s->listeners[i].listener, &s->listeners[i].stopped);
	list_for_each_safe(pos, tmp, &s->connections) {
		struct http_exchange *x = list_entry(pos, struct http_exchange, link);
		if (!x->begun)
			drop(x, 0);
	}
	server_maybe_end(s);
}

uint32_t http_server_connections(const struct http_server *s)
{
	return s->count;
}

void http_server_kill(struct http_server *s)
{
	list_for_each_safe(pos, tmp, &s->connections)
		drop(list_entry(pos, struct http_exchange, link), ERR_DRAINED);
}

struct str http_query_get(struct str query, struct str key)
{
	const char *p = query.p, *end = query.p ? query.p + query.n : NULL;
	while (p < end) {
		const char *amp = memchr(p, '&', (size_t)(end - p));
		struct str part = {p, (size_t)((amp ? amp : end) - p)};
		if (str_starts(part, key)) {
			if (part.n == key.n)
				return (struct str){part.p + part.n, 0};
			if (part.p[key.n] == '=')
				return (struct str){part.p + key.n + 1, part.n - key.n - 1};
		}
		p = amp ? amp + 1 : end;
	}
	return (struct str){NULL, 0};
}
