/* SPDX-License-Identifier: Apache-2.0 */
/* The server of our own ports (contract section 9), over loopback, worker and client in one thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/base/limits.h"
#include "shared/control/http_server.h"

static struct worker *w;
static struct http_server *server;
static struct sockaddr_in at = {.sin_family = AF_INET};
static struct http_exchange *held;
static int handled;

static void handler(void *arg, struct http_exchange *x, const struct http_request *r)
{
	char text[512];
	(void)arg;
	handled++;
	if (str_eq(r->path, STR("/later"))) {
		held = x;
		return;
	}
	if (str_eq(r->path, STR("/big"))) {
		char *big = calloc(1, 3000000);
		memset(big, 'b', 3000000);
		http_respond(x, &(struct http_response){.status = 200, .body = {big, 3000000}});
		free(big);
		return;
	}
	snprintf(text, sizeof(text), "[" STR_FMT " " STR_FMT " q=" STR_FMT " a=" STR_FMT "]",
		 STR_ARG(r->method), STR_ARG(r->path), STR_ARG(r->query), STR_ARG(r->accept));
	http_respond(x, &(struct http_response){
				.status = 200, .content_type = "text/plain", .body = str_of(text)});
}

static int setup(void **state)
{
	struct worker_config config = {
		.name = "test",
		.io_backend = *state,
		.buf_limits = {.slots_max = 64, .bytes_max = 64 << 20, .slabs_cached = 1}};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = 0;
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(worker_new(&config, &w), 0);
	server = http_server_new(w, handler, NULL);
	assert_non_null(server);
	assert_int_equal(http_server_listen(server, fd), 0);
	handled = 0;
	held = NULL;
	return 0;
}

static bool drained;
static void on_drained(struct task *task)
{
	(void)task;
	drained = true;
}

static int teardown(void **state)
{
	static struct task done;
	(void)state;
	if (server) {
		drained = false;
		task_init(&done, on_drained);
		http_server_drain(server, &done);
		http_server_kill(server);
		for (int i = 0; i < 200 && !drained; i++)
			worker_turn(w, 5 * NS_PER_MS);
		assert_true(drained);
	}
	server = NULL;
	for (int i = 0; i < 5; i++)
		worker_turn(w, 0);
	worker_free(w);
	return 0;
}

static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Turns the worker until the text shows up, the peer closes, or a second has passed. */
static char got[4096];
static bool get(int fd, const char *until)
{
	size_t n = 0;
	got[0] = 0;
	for (int i = 0; i < 200; i++) {
		worker_turn(w, 5 * NS_PER_MS);
		ssize_t r = recv(fd, got + n, sizeof(got) - 1 - n, 0);
		if (r == 0 || (r < 0 && errno != EAGAIN))
			return !until;
		if (r > 0)
			n += (size_t)r;
		got[n] = 0;
		if (until && strstr(got, until))
			return true;
	}
	return false;
}

static void answers_and_keeps_alive(void **state)
{
	(void)state;
	int fd = client();
	put(fd, "GET /a?x=1 HTTP/1.1\r\nHost: h\r\nAccept: text/a\r\nAccept: text/b\r\n\r\n");
	assert_true(get(fd, "[GET /a q=x=1 a=text/a, text/b]"));
	assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(got, "content-length: 31\r\n"));
	assert_null(strstr(got, "connection: close"));
	put(fd, "POST http://h:1/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
	assert_true(get(fd, "[POST /b q= a=]"));
	put(fd, "GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_true(get(fd, NULL));
	assert_non_null(strstr(got, "connection: close"));
	close(fd);
}

static void pipelined_and_split(void **state)
{
	(void)state;
	int fd = client();
	put(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHo");
	assert_true(get(fd, "/1"));
	put(fd, "st: h\r\n\r\n");
	assert_true(get(fd, "/2"));
	put(fd, "GET /3 HTTP/1.0\r\n\r\n");
	assert_true(get(fd, NULL));
	assert_int_equal(handled, 3);
	close(fd);
}

static void head_has_no_body(void **state)
{
	(void)state;
	int fd = client();
	put(fd, "HEAD /h HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_true(get(fd, NULL));
	assert_null(strstr(got, "[HEAD"));
	assert_non_null(strstr(got, "content-length: 15"));
	close(fd);
}

static void later_answer_and_client_gone(void **state)
{
	(void)state;
	int fd = client();
	put(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_false(get(fd, "nothing"));
	assert_non_null(held);
	http_respond(held, &(struct http_response){.status = 500, .body = STR("late")});
	assert_true(get(fd, "late"));
	put(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
	struct http_exchange *before = held;
	held = NULL;
	for (int i = 0; i < 100 && !held; i++)
		worker_turn(w, 5 * NS_PER_MS);
	assert_ptr_equal(held, before);
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	for (int i = 0; i < 10; i++)
		worker_turn(w, 5 * NS_PER_MS);
	assert_int_equal(http_server_connections(server), 1);
	http_respond(held, &(struct http_response){.status = 200});
	assert_int_equal(http_server_connections(server), 0);
}

static void big_body(void **state)
{
	(void)state;
	size_t n = 0;
	int fd = client();
	put(fd, "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	for (int i = 0; i < 2000; i++) {
		char bytes[65536];
		worker_turn(w, NS_PER_MS);
		ssize_t r = recv(fd, bytes, sizeof(bytes), 0);
		if (r == 0)
			break;
		n += r > 0 ? (size_t)r : 0;
	}
	assert_in_range(n, 3000000, 3001000);
	close(fd);
}

static void bad_requests(void **state)
{
	(void)state;
	static const struct {
		const char *request, *want;
	} cases[] = {
		{"BAD\r\n\r\n", "HTTP/1.1 400"},
		{"GET /\x01 HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
		{"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		 "HTTP/1.1 400"},
		{"\x16\x03\x01\x02\x00\x01\x00", "HTTP/1.1 400"},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = client();
		put(fd, cases[i].request);
		(void)get(fd, cases[i].want);
		if (strncmp(got, cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("case %zu: got \"%s\"", i, got);
		close(fd);
	}
	assert_int_equal(handled, 0);
}

static void head_too_large(void **state)
{
	(void)state;
	char line[1024];
	int fd = client();
	put(fd, "GET / HTTP/1.1\r\n");
	memset(line, 'v', sizeof(line));
	memcpy(line, "x: ", 3);
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	for (int i = 0; i < LIMIT_ADMIN_HEAD_BYTES / 1000; i++) {
		put(fd, line);
		for (int k = 0; k < 3; k++)
			worker_turn(w, NS_PER_MS);
	}
	(void)get(fd, "HTTP/1.1 431");
	assert_non_null(strstr(got, "HTTP/1.1 431"));
	assert_int_equal(handled, 0);
	close(fd);
}

static void slow_head_times_out(void **state)
{
	(void)state;
	int fd = client(), silent = client();
	put(fd, "GET / HTTP/1.1\r\nHos");
	bool ended = false;
	for (int i = 0; i < 4 && !ended; i++)
		ended = get(fd, "HTTP/1.1 408");
	assert_true(ended);
	for (int i = 0; i < 100 && http_server_connections(server); i++)
		worker_turn(w, 10 * NS_PER_MS);
	/* The one that never said anything went, too. */
	assert_int_equal(http_server_connections(server), 0);
	close(fd);
	close(silent);
}

static void drain_finishes_what_is_under_way(void **state)
{
	(void)state;
	static struct task done;
	int fd = client(), idle = client();
	put(fd, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_false(get(fd, "nothing"));
	assert_non_null(held);
	drained = false;
	task_init(&done, on_drained);
	http_server_drain(server, &done);
	server = NULL;
	assert_true(get(idle, NULL));
	assert_false(drained);
	http_respond(held, &(struct http_response){.status = 200, .body = STR("last")});
	assert_true(get(fd, NULL));
	assert_non_null(strstr(got, "last"));
	assert_non_null(strstr(got, "connection: close"));
	for (int i = 0; i < 10; i++)
		worker_turn(w, NS_PER_MS);
	assert_true(drained);
	int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(late, (struct sockaddr *)&at, sizeof(at)), -1);
	close(late);
	close(idle);
	close(fd);
}

static void query(void **state)
{
	(void)state;
	struct str q = STR("level=a=b&reset&levels=x&empty=");
	assert_true(str_eq(http_query_get(q, STR("level")), STR("a=b")));
	assert_non_null(http_query_get(q, STR("reset")).p);
	assert_true(str_eq(http_query_get(q, STR("levels")), STR("x")));
	assert_int_equal(http_query_get(q, STR("empty")).n, 0);
	assert_null(http_query_get(q, STR("lev")).p);
	assert_null(http_query_get((struct str){NULL, 0}, STR("a")).p);
}

int main(void)
{
#define CASE(fn)                                                                  \
	{#fn " on io_uring", fn, setup, teardown, (void *)(uintptr_t) "uring"},   \
	{                                                                         \
#fn " on epoll", fn, setup, teardown, (void *)(uintptr_t) "epoll" \
	}
	const struct CMUnitTest tests[] = {
		CASE(answers_and_keeps_alive),
		CASE(pipelined_and_split),
		CASE(head_has_no_body),
		CASE(later_answer_and_client_gone),
		CASE(big_body),
		CASE(bad_requests),
		CASE(head_too_large),
		CASE(slow_head_times_out),
		CASE(drain_finishes_what_is_under_way),
		cmocka_unit_test(query),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
