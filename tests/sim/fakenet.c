/* SPDX-License-Identifier: Apache-2.0 */
#include "fakenet_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "shared/base/rng.h"

static struct {
	struct fake_socket *sockets;
	uint32_t open;
	uint16_t port; /* next ephemeral one */
	uint64_t now_ns;
	struct rng rng;
	struct fakenet_faults faults;
	struct {
		struct addr from, to;
	} redirects[16];
	unsigned redirect_count;
	struct {
		int ns;
		struct ip ip;
	} hosts[16];
	unsigned host_count;
} net;

/* ---- chance and time ---- */

uint32_t fake_random(uint32_t n)
{
	return (uint32_t)rng_below(&net.rng, n);
}

bool fake_chance(unsigned per_mille)
{
	return per_mille > 0 && fake_random(1000) < per_mille;
}

const struct fakenet_faults *fake_faults(void)
{
	return &net.faults;
}

uint64_t fakenet_now(void)
{
	return net.now_ns;
}

void fake_advance(uint64_t ns)
{
	net.now_ns += ns;
}

/* ---- beginning and end ---- */

void fakenet_start(uint64_t seed, const struct fakenet_faults *faults)
{
	memset(&net, 0, sizeof(net));
	net.sockets = calloc(FAKE_SOCKETS_MAX, sizeof(*net.sockets));
	CHECK(net.sockets);
	rng_init(&net.rng, seed);
	net.now_ns = 1000 * NS_PER_S;
	net.port = 32768;
	fakenet_faults(faults);
}

void fakenet_faults(const struct fakenet_faults *faults)
{
	net.faults = *faults;
	if (!net.faults.pipe_bytes)
		net.faults.pipe_bytes = 64 * 1024;
}

void fakenet_stop(void)
{
	CHECK(net.open == 0);
	free(net.sockets);
	net.sockets = NULL;
}

uint32_t fakenet_open(void)
{
	return net.open;
}

void fakenet_redirect(const struct addr *from, const struct addr *to)
{
	CHECK(net.redirect_count < ARRAY_SIZE(net.redirects));
	net.redirects[net.redirect_count].from = *from;
	net.redirects[net.redirect_count++].to = *to;
}

void fakenet_host(int ns, const struct addr *at)
{
	CHECK(net.host_count < ARRAY_SIZE(net.hosts));
	net.hosts[net.host_count].ns = ns;
	net.hosts[net.host_count++].ip = at->ip;
}

void fakenet_capture(int fd, const struct addr *to)
{
	fake_get(fd)->capture = *to;
}

/* ---- sockets ---- */

bool fake_is(int fd)
{
	return fd >= FAKE_FD_FIRST && fd < FAKE_FD_FIRST + FAKE_SOCKETS_MAX;
}

struct fake_socket *fake_get(int fd)
{
	CHECK(fake_is(fd));
	struct fake_socket *s = &net.sockets[fd - FAKE_FD_FIRST];

	CHECK(s->used);
	return s;
}

static int fd_of(const struct fake_socket *s)
{
	return FAKE_FD_FIRST + (int)(s - net.sockets);
}

static struct fake_socket *twin_of(const struct fake_socket *s)
{
	return s->twin < 0 ? NULL : fake_get(s->twin);
}

int fake_open(int ns, int family, uint32_t mark)
{
	for (int i = 0; i < FAKE_SOCKETS_MAX; i++) {
		if (net.sockets[i].used)
			continue;
		net.sockets[i] = (struct fake_socket){
			.used = true, .ns = ns, .family = family, .mark = mark, .twin = -1};
		net.open++;
		return FAKE_FD_FIRST + i;
	}
	return -EMFILE;
}

static void hear_reset(struct fake_socket *s)
{
	s->reset = true;
	s->twin = -1;
}

void fake_close(int fd, bool reset)
{
	struct fake_socket *s = fake_get(fd), *twin = twin_of(s);

	while (s->queued > 0)
		fake_close(s->queue[--s->queued], true);
	/* As TCP does it: what was not read makes the end a reset. */
	if (twin && (reset || s->inbox_len > 0))
		hear_reset(twin);
	else if (twin)
		twin->fin = true, twin->twin = -1;
	free(s->inbox);
	memset(s, 0, sizeof(*s));
	net.open--;
}

/* The namespace that an address leads to from that one; -2 when nobody has it. */
static int ns_of(int from, const struct ip *ip)
{
	if (net.host_count == 0 || ip_is_loopback(ip))
		return from;
	for (unsigned i = 0; i < net.host_count; i++)
		if (ip_eq(&net.hosts[i].ip, ip))
			return net.hosts[i].ns;
	return -2;
}

/* The namespace's own address of that length, else `other`. */
static struct ip ip_of(int ns, const struct ip *other)
{
	for (unsigned i = 0; i < net.host_count; i++)
		if (net.hosts[i].ns == ns && net.hosts[i].ip.len == other->len)
			return net.hosts[i].ip;
	return *other;
}

static struct fake_socket *find_listener(int from, const struct addr *to)
{
	int ns = ns_of(from, &to->ip);
	struct fake_socket *found = NULL;
	uint32_t n = 0;

	/* Listeners that share a port get their share by chance. */
	for (int i = 0; i < FAKE_SOCKETS_MAX; i++) {
		struct fake_socket *s = &net.sockets[i];
		static const uint8_t any[16];

		if (!s->used || !s->listening || s->ns != ns || s->local.port != to->port)
			continue;
		if (!ip_eq(&s->local.ip, &to->ip) && memcmp(s->local.ip.b, any, s->local.ip.len))
			continue;
		if (fake_random(++n) == 0)
			found = s;
	}
	return found;
}

static struct addr original(const struct addr *at)
{
	for (unsigned i = 0; i < net.redirect_count; i++)
		if (addr_eq(&net.redirects[i].from, at))
			return net.redirects[i].to;
	return (struct addr){0};
}

int fake_connect(int fd, const struct addr *to)
{
	struct fake_socket *s = fake_get(fd), *l = find_listener(s->ns, to);

	if (!l || fake_chance(net.faults.refuse))
		return -ECONNREFUSED;
	if (l->queued >= MIN(l->backlog + 1, (unsigned)FAKE_QUEUE_MAX) ||
	    fake_chance(net.faults.blackhole))
		return -EAGAIN;
	int other = fake_open(l->ns, l->family, l->mark);

	if (other < 0)
		return -EAGAIN;
	struct fake_socket *t = fake_get(other);

	if (s->local.ip.len == 0)
		s->local.ip = ip_is_loopback(&to->ip) ? to->ip : ip_of(s->ns, &to->ip);
	if (s->local.port == 0)
		s->local.port = net.port++;
	s->peer = t->local = *to;
	t->peer = s->local;
	t->original = s->capture.ip.len ? s->capture : original(to);
	s->connected = t->connected = true;
	s->twin = other;
	t->twin = fd_of(s);
	l->queue[l->queued++] = other;
	return 0;
}

int fake_accept(int fd)
{
	struct fake_socket *l = fake_get(fd);

	if (l->queued == 0)
		return -EAGAIN;
	int got = l->queue[0];

	l->queued--;
	memmove(l->queue, l->queue + 1, l->queued * sizeof(l->queue[0]));
	return got;
}

void fake_shutdown(int fd)
{
	struct fake_socket *s = fake_get(fd), *twin = twin_of(s);

	s->shut = true;
	if (twin)
		twin->fin = true;
}

/* ---- bytes ---- */

bool fake_readable(int fd)
{
	const struct fake_socket *s = fake_get(fd);

	if (s->stalled_until_ns > net.now_ns)
		return false;
	return s->inbox_len > 0 || s->fin || s->reset;
}

int fake_recv(int fd, void *out, uint32_t max)
{
	struct fake_socket *s = fake_get(fd);
	uint32_t n = (uint32_t)MIN((size_t)max, s->inbox_len);

	if (n > 0) {
		memcpy(out, s->inbox + s->inbox_head, n);
		s->inbox_head += n;
		s->inbox_len -= n;
		return (int)n;
	}
	/* A reset is reported once, by whichever call comes first; then it looks like an end. */
	if (s->reset && !s->error_read) {
		s->error_read = true;
		return -ECONNRESET;
	}
	return s->fin || s->reset ? 0 : -EAGAIN;
}

uint32_t fake_room(int fd)
{
	const struct fake_socket *s = fake_get(fd), *twin = twin_of(s);

	/* An error needs no room. */
	if (!twin || s->reset)
		return UINT32_MAX;
	if (s->stalled_until_ns > net.now_ns)
		return 0;
	return twin->inbox_len < net.faults.pipe_bytes
		       ? (uint32_t)(net.faults.pipe_bytes - twin->inbox_len)
		       : 0;
}

static void put(struct fake_socket *s, const void *bytes, uint32_t n)
{
	if (s->inbox_head + s->inbox_len + n > s->inbox_cap) {
		if (s->inbox_len > 0)
			memmove(s->inbox, s->inbox + s->inbox_head, s->inbox_len);
		s->inbox_head = 0;
		if (s->inbox_len + n > s->inbox_cap) {
			size_t cap = (s->inbox_len + n) * 2;
			uint8_t *inbox = realloc(s->inbox, cap);

			/* an allocation that a test makes fail was not meant for us */
			if (!inbox)
				inbox = realloc(s->inbox, cap);
			CHECK(inbox);
			s->inbox_cap = cap;
			s->inbox = inbox;
		}
	}
	memcpy(s->inbox + s->inbox_head + s->inbox_len, bytes, n);
	s->inbox_len += n;
}

int fake_send(int fd, const void *bytes, uint32_t n)
{
	struct fake_socket *s = fake_get(fd), *twin = twin_of(s);

	CHECK(!s->shut);
	if (twin && fake_chance(net.faults.reset)) {
		hear_reset(twin);
		hear_reset(s);
	} else if (!twin && !s->reset) {
		/* Closed in peace, but to bytes it answers with a reset. */
		s->reset = true;
		return (int)n;
	}
	if (s->reset) {
		bool first = !s->error_read;

		s->error_read = true;
		return first ? -ECONNRESET : -EPIPE;
	}
	CHECK(twin->inbox_len + n <= net.faults.pipe_bytes);
	if (fake_chance(net.faults.stall))
		s->stalled_until_ns = twin->stalled_until_ns =
			net.now_ns + fake_random(60000) * NS_PER_MS;
	put(twin, bytes, n);
	return (int)n;
}
