/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 server for our own ports: readiness, metrics, admin (contract section 9). Requests have a head of at
 * most LIMIT_ADMIN_HEAD_BYTES that must arrive within LIMIT_ADMIN_HEAD_MS; bodies are read and forgotten. One worker.
 */
#ifndef GAUZE_CONTROL_HTTP_SERVER_H
#define GAUZE_CONTROL_HTTP_SERVER_H

#include "shared/io/worker.h"

struct endpoint;
struct http_exchange;
struct http_server;

/* Borrowed for the call of the handler. */
struct http_request {
	struct str method;		    /* "GET" */
	struct str path;		    /* "/healthz/ready" */
	struct str query;		    /* behind the `?`; p NULL: there was none */
	struct str accept, accept_encoding; /* "" when absent; several are joined by commas */
};

struct http_response {
	uint16_t status;
	const char *content_type; /* NULL: none */
	const char *header;	  /* one more header, "allow: POST", or NULL */
	struct str body;	  /* copied */
};

/* Answers with http_respond(), now or in a later turn, exactly once. */
typedef void (*http_handler_fn)(void *arg, struct http_exchange *x, const struct http_request *r);

/* NULL: out of memory. */
struct http_server *http_server_new(struct worker *w, http_handler_fn handler, void *arg);
/* Accepts on fd, which listens already (consumed, also on failure); up to four. 0 or a negative code. */
int must_check http_server_listen(struct http_server *s, int fd);
/* Serves a stream that is open, as if it had been accepted; takes it over, also on failure (ERR_LIMIT). */
int must_check http_server_serve(struct http_server *s, struct endpoint *ep);
/*
 * Closes the listeners and idle connections, lets answers that are under way go out, then frees the server and readies
 * `done`, if not NULL. Exchanges not yet answered must still be answered.
 */
void http_server_drain(struct http_server *s, struct task *done);
/* Connections that have not ended. */
uint32_t http_server_connections(const struct http_server *s);
/* Drops all connections without an answer; exchanges not yet answered must still be answered. */
void http_server_kill(struct http_server *s);

/* The client may be gone; then nothing happens. Frees x. */
void http_respond(struct http_exchange *x, const struct http_response *response);
/* The value of that key in a query string ("a=b&c"); p NULL when absent, empty for a key without value. Not decoded. */
struct str http_query_get(struct str query, struct str key);

#endif
