/* SPDX-License-Identifier: Apache-2.0 */
/* Our sessions against the openssl program, over loopback. It is not optional: without the program this fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testca.h"
#include "tls_pair.h"

#define CLIENT "spiffe://td/ns/default/sa/client"
#define SERVER "spiffe://td/ns/default/sa/server"

enum { PATIENCE_MS = 10000, LOOK_MS = 20 };

static const struct str want = {SERVER, sizeof(SERVER) - 1};
static struct testca root;
static struct testcert client_cert, server_cert;
static char dir[64];

static const char *path(const char *name)
{
	static char text[8][128];
	static unsigned i;
	char *p = text[i++ % ARRAY_SIZE(text)];

	snprintf(p, sizeof(text[0]), "%s/%s", dir, name);
	return p;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(path(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static pid_t spawn(int in, const char *const *argv)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
		dup2(in >= 0 ? in : null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int set_up(void **state)
{
	const char *rsa[] = {"openssl",	 "req",	   "-x509",   "-newkey",
			     "rsa:2048", "-nodes", "-days",   "1",
			     "-subj",	 "/O=rsa", "-addext", "subjectAltName=critical,URI:" SERVER,
			     "-keyout",	 NULL,	   "-out",    NULL,
			     NULL};
	int status;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/gauze-test-interop-XXXXXX");
	assert_non_null(mkdtemp(dir));
	root = testca_new("root", NULL, 0);
	client_cert = testca_leaf(&root, CLIENT, 3600, 0);
	server_cert = testca_leaf(&root, SERVER, 3600, 0);
	put("root.pem", root.pem);
	put("client.pem", client_cert.pem);
	put("client.key", client_cert.key_pem);
	put("server.pem", server_cert.pem);
	put("server.key", server_cert.key_pem);
	rsa[13] = path("rsa.key");
	rsa[15] = path("rsa.pem");
	pid_t pid = spawn(-1, rsa);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg(
			"the openssl program is missing or failed (deploy/deps --tests installs it)");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"root.pem",	  "client.pem", "client.key", "server.pem",
					    "server.key", "rsa.key",	"rsa.pem"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(path(names[i]));
	testcert_free(&client_cert);
	testcert_free(&server_cert);
	testca_free(&root);
	return rmdir(dir);
}

/* A listening socket of loopback and its port. */
static int listener(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static int connect_when_there(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons(port)};

	for (int ms = 0; ms < PATIENCE_MS; ms += LOOK_MS) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		close(fd);
		usleep(LOOK_MS * 1000);
	}
	fail_msg("openssl does not listen");
	return -1;
}

/* ---- one session over a socket ---- */

struct session {
	struct bufpool *pool;
	struct tls *t;
	int fd;
	struct bufq out, got;
	int rc;
};

static void flush_out(struct session *s)
{
	uint8_t bytes[65536];
	uint32_t n = bufq_peek(&s->out, bytes, sizeof(bytes));

	if (n > 0)
		assert_int_equal(send(s->fd, bytes, n, MSG_NOSIGNAL), n);
	bufq_fini(&s->out);
}

/* Takes what comes within a moment. False at the end of the stream or of the session. */
static bool turn(struct session *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	struct bufq in = {0};
	uint8_t bytes[20000];
	bool more = true, open = true;

	if (tls_wants_step(s->t))
		s->rc = tls_step(s->t, s->pool, &s->out);
	flush_out(s);
	if (s->rc == 0 && poll(&p, 1, LOOK_MS) == 1) {
		ssize_t n = recv(s->fd, bytes, sizeof(bytes), 0);
		open = n > 0;
		if (n > 0)
			assert_int_equal(bufq_copy(&in, s->pool, bytes, (size_t)n), 0);
		assert_int_equal(tls_feed(s->t, &in), 0);
		if (tls_wants_step(s->t))
			s->rc = tls_step(s->t, s->pool, &s->out);
	}
	while (s->rc == 0 && more)
		s->rc = tls_open(s->t, s->pool, &s->got, &more);
	flush_out(s);
	return s->rc == 0 && open;
}

static void say(struct session *s, const void *text, size_t n)
{
	uint8_t *room = malloc(TLS_ROOM_HEAD + n + TLS_ROOM_TAIL), *rec;
	size_t len;

	memcpy(room + TLS_ROOM_HEAD, text, n);
	assert_int_equal(tls_seal(s->t, room + TLS_ROOM_HEAD, n, &rec, &len), 0);
	assert_int_equal(bufq_copy(&s->out, s->pool, rec, len), 0);
	free(room);
	flush_out(s);
}

static void expect(struct session *s, const char *text)
{
	char got[256] = {0};

	for (int ms = 0; ms < PATIENCE_MS && s->got.bytes < strlen(text); ms += LOOK_MS)
		if (!turn(s))
			break;
	bufq_peek(&s->got, got, sizeof(got) - 1);
	assert_string_equal(got, text);
	bufq_fini(&s->got);
}

static void shake(struct session *s)
{
	for (int ms = 0; ms < PATIENCE_MS && !tls_established(s->t); ms += LOOK_MS)
		if (!turn(s))
			break;
}

static void session_end(struct session *s)
{
	tls_free(s->t);
	bufq_fini(&s->out);
	bufq_fini(&s->got);
	bufpool_free(s->pool);
	close(s->fd);
}

/* ---- our client ---- */

/* openssl reverses each line. */
static void our_client(const char *cert, const char *key, const char *roots, const char *version,
		       const char *more, const char *value, int rc, uint16_t got_version)
{
	uint16_t port;
	char at[32];
	struct tls_options o = {.tls12 = true};
	struct session s = {.pool = pair_pool()};

	close(listener(&port));
	snprintf(at, sizeof(at), "127.0.0.1:%u", port);
	const char *const argv[] = {"openssl",
				    "s_server",
				    "-accept",
				    at,
				    "-cert",
				    path(cert),
				    "-key",
				    path(key),
				    "-CAfile",
				    path("root.pem"),
				    "-Verify",
				    "2",
				    "-verify_return_error",
				    "-alpn",
				    "h2",
				    "-rev",
				    version,
				    more,
				    value,
				    NULL};
	pid_t pid = spawn(-1, argv);
	s.fd = connect_when_there(port);
	struct tls_ctx *ctx = testca_ctx(&client_cert, NULL, roots, NULL, &o);
	s.t = tls_client_new(ctx, &want, 1);
	tls_ctx_put(ctx);
	shake(&s);
	assert_int_equal(s.rc, rc);
	if (rc == 0) {
		assert_true(tls_established(s.t));
		assert_int_equal(tls_version(s.t), got_version);
		assert_string_equal(tls_peer(s.t)->identity, SERVER);
		say(&s, "hello\n", 6);
		expect(&s, "olleh\n");
		say(&s, "again\n", 6);
		expect(&s, "niaga\n");
	}
	session_end(&s);
	reap(pid);
}

static void client_to_openssl(void **state)
{
	char *both = NULL, rsa[8192] = {0};

	(void)state;
	our_client("server.pem", "server.key", root.pem, "-tls1_3", "-curves", "X25519", 0, 0x0304);
	our_client("server.pem", "server.key", root.pem, "-tls1_3", "-curves", "P-384", 0, 0x0304);
	our_client("server.pem", "server.key", root.pem, "-tls1_3", "-ciphersuites",
		   "TLS_AES_128_GCM_SHA256", 0, 0x0304);
	our_client("server.pem", "server.key", root.pem, "-tls1_2", "-cipher",
		   "ECDHE-ECDSA-AES128-GCM-SHA256", 0, 0x0303);
	/* RSA, from a root of its own. */
	FILE *f = fopen(path("rsa.pem"), "r");
	assert_non_null(f);
	assert_true(fread(rsa, 1, sizeof(rsa) - 1, f) > 0);
	fclose(f);
	assert_true(asprintf(&both, "%s%s", root.pem, rsa) > 0);
	our_client("rsa.pem", "rsa.key", both, "-tls1_3", "-curves", "P-256", 0, 0x0304);
	our_client("rsa.pem", "rsa.key", both, "-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384",
		   0, 0x0303);
	our_client("rsa.pem", "rsa.key", root.pem, "-tls1_3", "-curves", "P-256", ERR_TLS_HANDSHAKE,
		   0);
	free(both);
	/* A suite that we do not have. */
	our_client("server.pem", "server.key", root.pem, "-tls1_3", "-ciphersuites",
		   "TLS_CHACHA20_POLY1305_SHA256", ERR_TLS_ALERT, 0);
}

/* ---- our server ---- */

static void our_server(const char *cert, const char *key, const char *version, const char *more,
		       const char *value, int rc)
{
	uint16_t port;
	char at[32];
	struct tls_options o = {.tls12 = true};
	struct session s = {.pool = pair_pool()};
	int in[2], fd = listener(&port);

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	snprintf(at, sizeof(at), "127.0.0.1:%u", port);
	const char *const argv[] = {"openssl",
				    "s_client",
				    "-connect",
				    at,
				    cert ? "-cert" : "-quiet",
				    cert ? path(cert) : "-quiet",
				    cert ? "-key" : "-quiet",
				    cert ? path(key) : "-quiet",
				    "-CAfile",
				    path("root.pem"),
				    "-quiet",
				    "-verify_return_error",
				    "-servername",
				    "ignored.example",
				    version,
				    more,
				    value,
				    NULL};
	pid_t pid = spawn(in[0], argv);
	close(in[0]);
	s.fd = accept(fd, NULL, NULL);
	assert_true(s.fd >= 0);
	close(fd);
	struct tls_ctx *ctx = testca_ctx(&server_cert, NULL, root.pem, NULL, &o);
	s.t = tls_server_new(ctx);
	tls_ctx_put(ctx);
	shake(&s);
	assert_int_equal(s.rc, rc);
	if (rc == 0) {
		assert_true(tls_established(s.t));
		assert_string_equal(tls_peer(s.t)->identity, CLIENT);
		assert_int_equal(write(in[1], "from openssl\n", 13), 13);
		expect(&s, "from openssl\n");
		say(&s, "to openssl\n", 11);
		assert_int_equal(write(in[1], "bye\n", 4), 4);
		expect(&s, "bye\n");
	}
	close(in[1]);
	session_end(&s);
	reap(pid);
}

static void openssl_to_server(void **state)
{
	(void)state;
	our_server("client.pem", "client.key", "-tls1_3", "-alpn", "h2", 0);
	our_server("client.pem", "client.key", "-tls1_3", "-curves", "P-256", 0);
	our_server("client.pem", "client.key", "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256",
		   0);
	our_server("client.pem", "client.key", "-tls1_2", "-alpn", "h2", 0);
	our_server("client.pem", "client.key", "-tls1_3", "-alpn", "http/1.1", ERR_H2_HANDSHAKE);
	our_server(NULL, NULL, "-tls1_3", "-alpn", "h2", ERR_TLS_HANDSHAKE);
	our_server("rsa.pem", "rsa.key", "-tls1_3", "-alpn", "h2", ERR_TLS_HANDSHAKE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_to_openssl),
		cmocka_unit_test(openssl_to_server),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
