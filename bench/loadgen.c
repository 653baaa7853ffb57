/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of bench/l4, whose other end is loadserve: as little CPU as the kernel's TCP allows, so that what is measured
 * is the proxies.
 *
 *	loadgen bulk  HOST PORT STREAMS SECONDS   sends all it can; the sink must have got every byte
 *	loadgen trip  HOST PORT CONNS SECONDS RATE  1 KiB there and back; RATE 0: as many as go, one under way per connection
 *	loadgen conns HOST PORT PARALLEL SECONDS  connect, 64 bytes each way, close
 *	loadgen cold  HOST PORT PARALLEL SOURCE COUNT  the same once from each of COUNT addresses beginning with SOURCE
 *	loadgen hold  HOST PORT COUNT             opens COUNT connections, keeps them until standard input ends
 *
 * LOADGEN_WATCH=PID,PID,...: the CPU time that those processes spent in the measured window is reported, too. The result
 * is one line of JSON. Times are in seconds unless the name says otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	TRIP_BYTES = 1024,
	SHORT_BYTES = 64,
	BLOCK_BYTES = 256 * 1024,
	FDS_MAX = 65536,
	CONNS_MAX = 1024,
	SAMPLES_MAX = 4 << 20,
	WATCHED_MAX = 8,
	GRACE_S = 30, /* how long a run may take beyond its window before it is given up */
};

#define NS 1000000000ull

static const uint64_t warm_up_ns = NS / 2;
static char block[BLOCK_BYTES];

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	must(clock_gettime(clock, &ts) == 0, "clock");
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- the proxies' CPU time ---- */

struct cpu {
	pid_t pid;
	uint64_t total_ns;
	unsigned long user_ticks, system_ticks;
};

static struct cpu watched[WATCHED_MAX], before[WATCHED_MAX];
static int watched_count;

static void watch_list(const char *list)
{
	while (list && *list && watched_count < WATCHED_MAX) {
		char *end;

		watched[watched_count++].pid = (pid_t)strtol(list, &end, 10);
		list = *end == ',' ? end + 1 : NULL;
	}
}

static void watch_read(struct cpu *c)
{
	char path[64], text[1024], *p = NULL;
	clockid_t clock;
	FILE *f;

	must(clock_getcpuclockid(c->pid, &clock) == 0, "process to watch");
	c->total_ns = clock_ns(clock);
	snprintf(path, sizeof(path), "/proc/%d/stat", c->pid);
	must((f = fopen(path, "r")) != NULL, path);
	must(fgets(text, sizeof(text), f) && (p = strrchr(text, ')')), path);
	fclose(f);
	/* after the name: state and ten numbers, then user and system time */
	must(sscanf(p + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &c->user_ticks,
		    &c->system_ticks) == 2,
	     path);
}

static void window_begin(void)
{
	for (int i = 0; i < watched_count; i++) {
		watch_read(&watched[i]);
		before[i] = watched[i];
	}
}

static void window_end(void)
{
	for (int i = 0; i < watched_count; i++)
		watch_read(&watched[i]);
}

static void print_cpu(void)
{
	double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);

	printf("\"cpu\": [");
	for (int i = 0; i < watched_count; i++)
		printf("%s{\"pid\": %d, \"total\": %.6f, \"user\": %.2f, \"system\": %.2f}",
		       i ? ", " : "", watched[i].pid,
		       (double)(watched[i].total_ns - before[i].total_ns) / 1e9,
		       (double)(watched[i].user_ticks - before[i].user_ticks) * tick,
		       (double)(watched[i].system_ticks - before[i].system_ticks) * tick);
	printf("]}\n");
}

/* ---- sockets ---- */

static struct sockaddr_in target;

static void set_target(const char *host, const char *port)
{
	target.sin_family = AF_INET;
	target.sin_port = htons((uint16_t)atoi(port));
	must(inet_pton(AF_INET, host, &target.sin_addr) == 1, "address");
}

static int new_socket(int flags)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	must(fd >= 0 && fd < FDS_MAX, "socket");
	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0, "nodelay");
	return fd;
}

static int dial(void)
{
	int fd = new_socket(0);
	struct timeval limit = {.tv_sec = 10};

	must(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0, "timeout");
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "timeout");
	must(connect(fd, (struct sockaddr *)&target, sizeof(target)) == 0, "connect");
	return fd;
}

static void epoll_set(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	must(epoll_ctl(ep, op, fd, &ev) == 0, "epoll_ctl");
}

static void exchange(int fd, size_t bytes)
{
	char answer[TRIP_BYTES];

	must(send(fd, block, bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
	must(recv(fd, answer, bytes, MSG_WAITALL) == (ssize_t)bytes, "answer");
}

/* ---- bulk ---- */

static uint64_t bulk_bytes; /* atomic */
static bool bulk_over;	    /* atomic */

static void *bulk_stream(void *arg)
{
	uint64_t sent = 0, arrived = 0;
	int fd = dial();

	while (!__atomic_load_n(&bulk_over, __ATOMIC_RELAXED)) {
		ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);

		must(n > 0, "send");
		sent += (uint64_t)n;
		__atomic_fetch_add(&bulk_bytes, (uint64_t)n, __ATOMIC_RELAXED);
	}
	must(shutdown(fd, SHUT_WR) == 0, "shutdown");
	must(recv(fd, &arrived, sizeof(arrived), MSG_WAITALL) == sizeof(arrived),
	     "the sink's count");
	if (arrived != sent) {
		fprintf(stderr, "loadgen: %llu bytes sent, %llu arrived\n",
			(unsigned long long)sent, (unsigned long long)arrived);
		exit(1);
	}
	close(fd);
	return arg;
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(at_ns / NS), .tv_nsec = (long)(at_ns % NS)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int bulk(int streams, double seconds)
{
	pthread_t threads[CONNS_MAX];

	must(streams > 0 && streams <= CONNS_MAX, "streams");
	for (int i = 0; i < streams; i++)
		must(pthread_create(&threads[i], NULL, bulk_stream, NULL) == 0, "thread");
	sleep_until(now_ns() + 2 * warm_up_ns);
	window_begin();
	uint64_t t0 = now_ns(), n0 = __atomic_load_n(&bulk_bytes, __ATOMIC_RELAXED);

	sleep_until(t0 + (uint64_t)(seconds * 1e9));
	window_end();
	uint64_t t = now_ns() - t0, n = __atomic_load_n(&bulk_bytes, __ATOMIC_RELAXED) - n0;

	__atomic_store_n(&bulk_over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < streams; i++)
		pthread_join(threads[i], NULL);
	printf("{\"seconds\": %.6f, \"bytes\": %llu, ", (double)t / 1e9, (unsigned long long)n);
	print_cpu();
	return 0;
}

/* ---- times of single things ---- */

static uint32_t *samples; /* ns */
static size_t samples_count;
static uint64_t window_from, window_to;

static void sample(uint64_t start, uint64_t end)
{
	if (end < window_from || end >= window_to || samples_count == SAMPLES_MAX)
		return;
	samples[samples_count++] = end - start > UINT32_MAX ? UINT32_MAX : (uint32_t)(end - start);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double quantile_us(double q)
{
	if (!samples_count)
		return 0;
	return samples[(size_t)(q * (double)(samples_count - 1))] / 1e3;
}

static void print_samples(double seconds)
{
	qsort(samples, samples_count, sizeof(*samples), by_value);
	printf("{\"seconds\": %.6f, \"count\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, ",
	       seconds, samples_count, quantile_us(0.5), quantile_us(0.9), quantile_us(0.99));
	print_cpu();
}

/* Begins and ends the window at its time; false when all is over. */
static bool window_turn(uint64_t now)
{
	static bool begun;

	if (!begun && now >= window_from) {
		begun = true;
		window_begin();
		/* reading took time that is not the proxies' */
		window_to += now_ns() - now;
		window_from = now_ns();
	}
	if (now < window_to)
		return true;
	window_end();
	window_to = now;
	return false;
}

static void window_plan(double seconds)
{
	window_from = now_ns() + warm_up_ns;
	window_to = window_from + (uint64_t)(seconds * 1e9);
}

static int wait_events(int ep, struct epoll_event *evs, uint64_t until)
{
	uint64_t now = now_ns(), ns = until > now ? until - now : 0;
	struct timespec ts = {.tv_sec = (time_t)(ns / NS), .tv_nsec = (long)(ns % NS)};
	int n = epoll_pwait2(ep, evs, CONNS_MAX, &ts, NULL);

	must(n >= 0 || errno == EINTR, "epoll_pwait2");
	return n < 0 ? 0 : n;
}

/* ---- trip ---- */

static struct tripper {
	uint64_t start;
	uint32_t got;
} trippers[FDS_MAX];

struct pace {
	uint64_t period; /* 0: as fast as it goes */
	uint64_t due;	 /* when the next one is to be sent */
	bool blocked;	 /* it is late because no connection was free */
	int idle[CONNS_MAX], idle_count;
};

static void trip_send(int fd, uint64_t start)
{
	trippers[fd] = (struct tripper){.start = start};
	must(send(fd, block, TRIP_BYTES, MSG_NOSIGNAL) == TRIP_BYTES, "send");
}

/* Sends what is due. What waited for a free connection is timed from when it should have gone. */
static void pace_run(struct pace *p)
{
	uint64_t now = now_ns();

	while (p->due <= now && p->idle_count) {
		int fd = p->idle[--p->idle_count];

		trip_send(fd, p->blocked ? p->due : now);
		p->due += p->period;
		now = now_ns();
	}
	p->blocked = p->due <= now;
}

static void trip_answer(struct pace *p, int fd)
{
	char buf[TRIP_BYTES];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	must(n > 0, "connection lost");
	trippers[fd].got += (uint32_t)n;
	if (trippers[fd].got < TRIP_BYTES)
		return;
	uint64_t now = now_ns();

	sample(trippers[fd].start, now);
	if (p->period)
		p->idle[p->idle_count++] = fd;
	else
		trip_send(fd, now);
}

static int trip(int conns, double seconds, double rate)
{
	static struct pace p;
	struct epoll_event evs[CONNS_MAX];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t now;

	must(conns > 0 && conns <= CONNS_MAX, "connections");
	p.period = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
	for (int i = 0; i < conns; i++) {
		int fd = dial();

		exchange(fd, TRIP_BYTES);
		epoll_set(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
		p.idle[p.idle_count++] = fd;
	}
	window_plan(seconds);
	p.due = now_ns();
	if (!p.period)
		while (p.idle_count)
			trip_send(p.idle[--p.idle_count], now_ns());
	while (window_turn(now = now_ns())) {
		uint64_t until = now < window_from ? window_from : window_to;

		if (p.period) {
			pace_run(&p);
			if (!p.blocked && p.due < until)
				until = p.due;
		}
		int n = wait_events(ep, evs, until);

		for (int i = 0; i < n; i++)
			trip_answer(&p, evs[i].data.fd);
	}
	print_samples((double)(window_to - window_from) / 1e9);
	return 0;
}

/* ---- conns, cold ---- */

struct dialer {
	int ep;
	uint32_t source, sources; /* 0: any */
	uint32_t begun, failed, under_way;
};

static void short_begin(struct dialer *d)
{
	int one = 1, fd;

	if (d->sources && d->begun == d->sources)
		return;
	fd = new_socket(SOCK_NONBLOCK);
	if (d->sources) {
		struct sockaddr_in from = {.sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(d->source + d->begun)};

		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		must(bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0, "bind");
	}
	d->begun++;
	d->under_way++;
	trippers[fd] = (struct tripper){.start = now_ns()};
	must(connect(fd, (struct sockaddr *)&target, sizeof(target)) == 0 || errno == EINPROGRESS,
	     "connect");
	epoll_set(d->ep, EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void short_end(struct dialer *d, int fd, bool good)
{
	close(fd);
	d->under_way--;
	if (good)
		sample(trippers[fd].start, now_ns());
	else
		d->failed++;
	short_begin(d);
}

static void short_event(struct dialer *d, int fd, uint32_t events)
{
	char buf[SHORT_BYTES + 1];

	if (events & EPOLLOUT) {
		if (send(fd, block, SHORT_BYTES, MSG_NOSIGNAL) != SHORT_BYTES)
			short_end(d, fd, false);
		else
			epoll_set(d->ep, EPOLL_CTL_MOD, fd, EPOLLIN);
		return;
	}
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n > 0)
		trippers[fd].got += (uint32_t)n;
	else if (n == 0 || errno != EAGAIN)
		short_end(d, fd, n == 0 && trippers[fd].got == SHORT_BYTES);
}

static int conns(int parallel, double seconds, uint32_t source, uint32_t sources)
{
	struct epoll_event evs[CONNS_MAX];
	struct dialer d = {
		.ep = epoll_create1(EPOLL_CLOEXEC), .source = source, .sources = sources};

	must(parallel > 0 && parallel <= CONNS_MAX, "connections at once");
	window_plan(seconds);
	if (sources)
		window_from = now_ns();
	window_turn(now_ns());
	for (int i = 0; i < parallel; i++)
		short_begin(&d);
	for (;;) {
		uint64_t now = now_ns();

		if (sources && !d.under_way)
			window_to = now;
		if (!window_turn(now))
			break;
		int n = wait_events(d.ep, evs, now < window_from ? window_from : window_to);

		for (int i = 0; i < n; i++)
			short_event(&d, evs[i].data.fd, evs[i].events);
	}
	if (d.failed || (sources && samples_count != sources)) {
		fprintf(stderr, "loadgen: %u of %u connections failed\n", d.failed, d.begun);
		return 1;
	}
	print_samples((double)(window_to - window_from) / 1e9);
	return 0;
}

/* ---- hold ---- */

static int hold(int count)
{
	char end;
	int *fds = calloc((size_t)count, sizeof(*fds));

	must(fds != NULL, "memory");
	for (int i = 0; i < count; i++) {
		fds[i] = dial();
		exchange(fds[i], SHORT_BYTES);
	}
	printf("{\"held\": %d}\n", count);
	fflush(stdout);
	(void)!read(STDIN_FILENO, &end, 1);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	free(fds);
	return 0;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: loadgen bulk HOST PORT STREAMS SECONDS | trip HOST PORT CONNS SECONDS RATE\n"
		"       | conns HOST PORT PARALLEL SECONDS | cold HOST PORT PARALLEL SOURCE COUNT"
		" | hold HOST PORT COUNT\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	struct rlimit files;
	struct in_addr source;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	prctl(PR_SET_TIMERSLACK, 1000);
	watch_list(getenv("LOADGEN_WATCH"));
	samples = malloc(SAMPLES_MAX * sizeof(*samples));
	must(samples != NULL, "memory");
	if (argc < 5)
		return usage();
	set_target(argv[2], argv[3]);
	if (argc == 5 && !strcmp(mode, "hold"))
		return hold(atoi(argv[4]));
	if (argc < 6)
		return usage();
	alarm(GRACE_S + (unsigned)atoi(argv[5]) % 3600);
	if (argc == 6 && !strcmp(mode, "bulk"))
		return bulk(atoi(argv[4]), atof(argv[5]));
	if (argc == 7 && !strcmp(mode, "trip"))
		return trip(atoi(argv[4]), atof(argv[5]), atof(argv[6]));
	if (argc == 6 && !strcmp(mode, "conns"))
		return conns(atoi(argv[4]), atof(argv[5]), 0, 0);
	if (argc == 7 && !strcmp(mode, "cold") && inet_pton(AF_INET, argv[5], &source) == 1)
		return conns(atoi(argv[4]), GRACE_S, ntohl(source.s_addr), (uint32_t)atoi(argv[6]));
	return usage();
}
