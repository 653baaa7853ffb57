/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/obs/log_out.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "shared/base/limits.h"
#include "shared/obs/log_ring.h"

enum {
	/* After writing, the writer looks again this much later without being woken: a burst costs its threads no
	 * system calls. */
	NAP_MS = 3,
	/* A thread that waits for room looks again at least this often. */
	ROOM_MS = 10,
	CRASH_WAIT_MS = 200,
};

static struct {
	int fd;
	bool running;	  /* atomic: a writer thread empties the rings */
	bool stop;	  /* atomic */
	bool asleep;	  /* atomic: the writer wants to be woken */
	uint32_t lines;	  /* atomic: that wait in rings */
	uint32_t waiting; /* atomic: threads that wait for room */
	uint64_t waits;	  /* atomic */
	struct log_ring
		*ring[LIMIT_THREADS]; /* atomic; set once, freed never: a thread may come late */
	pthread_t thread;
	pthread_key_t key;
	pthread_mutex_t output; /* who writes to fd, and who takes from rings */
	pthread_mutex_t sleep;
	pthread_cond_t wake, room;
} out = {
	.fd = STDOUT_FILENO,
	.output = PTHREAD_MUTEX_INITIALIZER,
	.sleep = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
	.room = PTHREAD_COND_INITIALIZER,
};

static __thread struct log_ring *mine;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static struct timespec in_ms(uint32_t ms)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += (long)ms * (long)NS_PER_MS;
	t.tv_sec += t.tv_nsec / (long)NS_PER_S;
	t.tv_nsec %= (long)NS_PER_S;
	return t;
}

/* What cannot be written (nobody reads any more) is gone: there is nobody to tell. */
static void write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		} else if (done < 0 && errno == EAGAIN) {
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};
			poll(&pfd, 1, -1);
		} else if (done == 0 || errno != EINTR) {
			return;
		}
	}
}

static uint32_t count_lines(const char *p, size_t n)
{
	uint32_t lines = 0;
	const char *end = p + n;
	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		lines++;
		p++;
	}
	return lines;
}

/* Holds out.output. Each ring is written up to a line's end, so lines of two threads never mix. */
static bool drain(void)
{
	bool any = false;
	for (size_t i = 0; i < LIMIT_THREADS; i++) {
		/* Acquire: the ring was made before it was put here. */
		struct log_ring *r = __atomic_load_n(&out.ring[i], __ATOMIC_ACQUIRE);
		if (!r)
			break;
		struct iovec v[2];
		int pieces = log_ring_peek(r, v);
		size_t taken = 0;
		uint32_t lines = 0;
		for (int k = 0; k < pieces; k++) {
			write_all(out.fd, v[k].iov_base, v[k].iov_len);
			lines += count_lines(v[k].iov_base, v[k].iov_len);
			taken += v[k].iov_len;
		}
		if (taken == 0)
			continue;
		any = true;
		log_ring_take(r, taken);
		/* Relaxed: a bound, not an order. */
		__atomic_fetch_sub(&out.lines, lines, __ATOMIC_RELAXED);
	}
	if (any && __atomic_load_n(&out.waiting, __ATOMIC_SEQ_CST) > 0) {
		pthread_mutex_lock(&out.sleep);
		pthread_cond_broadcast(&out.room);
		pthread_mutex_unlock(&out.sleep);
	}
	return any;
}

static bool drain_locked(void)
{
	pthread_mutex_lock(&out.output);
	bool any = drain();
	pthread_mutex_unlock(&out.output);
	return any;
}

static void sleep_until_woken(void)
{
	pthread_mutex_lock(&out.sleep);
	/*
	 * Sequentially consistent, as the look at the rings below and as what wake_writer() does: either we see
	 * the line or its thread sees us asleep.
	 */
	__atomic_store_n(&out.asleep, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&out.asleep, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&out.lines, __ATOMIC_SEQ_CST) == 0 &&
	       !__atomic_load_n(&out.stop, __ATOMIC_SEQ_CST))
		pthread_cond_wait(&out.wake, &out.sleep);
	__atomic_store_n(&out.asleep, false, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&out.sleep);
}

static void *writer(void *arg)
{
	(void)arg;
	const struct timespec nap = {.tv_nsec = NAP_MS * (long)NS_PER_MS};
	while (!__atomic_load_n(&out.stop, __ATOMIC_SEQ_CST)) {
		if (!drain_locked())
			sleep_until_woken();
		else if (__atomic_load_n(&out.waiting, __ATOMIC_SEQ_CST) == 0)
			nanosleep(&nap, NULL);
	}
	drain_locked();
	return NULL;
}

static void wake_writer(void)
{
	if (!__atomic_load_n(&out.asleep, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&out.sleep);
	__atomic_store_n(&out.asleep, false, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&out.wake);
	pthread_mutex_unlock(&out.sleep);
}

/* A thread ends: whoever comes next goes on with its ring, after what is still in it. */
static void thread_ends(void *ring)
{
	struct log_ring *r = ring;
	mine = NULL; /* other ends of the thread may still log, and then claim anew */
	__atomic_store_n(&r->owned, false, __ATOMIC_RELEASE);
}

static void make_key(void)
{
	CHECK(pthread_key_create(&out.key, thread_ends) == 0);
}

/* A ring for this thread, or NULL. */
static struct log_ring *claim(void)
{
	struct log_ring *fresh = NULL;
	for (size_t i = 0; i < LIMIT_THREADS; i++) {
		struct log_ring *r = __atomic_load_n(&out.ring[i], __ATOMIC_ACQUIRE);
		bool owned = false;
		/* Acquire: what the thread before us put comes before what we put. */
		if (r && __atomic_compare_exchange_n(&r->owned, &owned, true, false,
						     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			log_ring_free(fresh);
			return r;
		}
		if (r)
			continue;
		if (!fresh && !(fresh = log_ring_new()))
			return NULL;
		fresh->owned = true;
		if (__atomic_compare_exchange_n(&out.ring[i], &r, fresh, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return fresh;
	}
	log_ring_free(fresh);
	return NULL;
}

static struct log_ring *my_ring(void)
{
	if (mine)
		return mine;
	pthread_once(&key_once, make_key);
	struct log_ring *r = claim();
	if (r && pthread_setspecific(out.key, r) != 0) {
		thread_ends(r);
		return NULL;
	}
	mine = r;
	return r;
}

static void write_now(struct str line)
{
	pthread_mutex_lock(&out.output);
	drain();
	write_all(out.fd, line.p, line.n);
	pthread_mutex_unlock(&out.output);
}

static bool try_put(struct log_ring *r, struct str line)
{
	if (__atomic_fetch_add(&out.lines, 1, __ATOMIC_SEQ_CST) < LIMIT_LOG_LINES &&
	    log_ring_put(r, line))
		return true;
	__atomic_fetch_sub(&out.lines, 1, __ATOMIC_SEQ_CST);
	return false;
}

static void wait_for_room(void)
{
	__atomic_fetch_add(&out.waiting, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&out.waits, 1, __ATOMIC_RELAXED);
	wake_writer();
	struct timespec until = in_ms(ROOM_MS);
	pthread_mutex_lock(&out.sleep);
	/* May miss its wake-up, and then looks again a little later. */
	pthread_cond_timedwait(&out.room, &out.sleep, &until);
	pthread_mutex_unlock(&out.sleep);
	__atomic_fetch_sub(&out.waiting, 1, __ATOMIC_SEQ_CST);
}

void log_out_put(struct str line)
{
	/* Acquire: pairs with log_out_start(), which set everything up. */
	while (__atomic_load_n(&out.running, __ATOMIC_ACQUIRE)) {
		struct log_ring *r = my_ring();
		if (!r)
			break;
		if (try_put(r, line)) {
			wake_writer();
			return;
		}
		wait_for_room();
	}
	write_now(line);
}

void log_out_fd(int fd)
{
	pthread_mutex_lock(&out.output);
	out.fd = fd;
	pthread_mutex_unlock(&out.output);
}

int log_out_start(void)
{
	CHECK(!__atomic_load_n(&out.running, __ATOMIC_RELAXED));
	__atomic_store_n(&out.stop, false, __ATOMIC_SEQ_CST);
	int rc = pthread_create(&out.thread, NULL, writer, NULL);
	if (rc)
		return -rc;
	pthread_setname_np(out.thread, "log");
	__atomic_store_n(&out.running, true, __ATOMIC_RELEASE);
	return 0;
}

void log_out_stop(void)
{
	if (!__atomic_exchange_n(&out.running, false, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&out.sleep);
	__atomic_store_n(&out.stop, true, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&out.wake);
	pthread_mutex_unlock(&out.sleep);
	pthread_join(out.thread, NULL);
	/* A thread that was just putting a line may have been too late for the writer. */
	drain_locked();
}

void log_out_crash(void)
{
	/* The writer may hold the lock for as long as the output is stuck; a crash does not wait for that. */
	struct timespec until = in_ms(CRASH_WAIT_MS);
	if (pthread_mutex_timedlock(&out.output, &until) != 0)
		return;
	drain();
	pthread_mutex_unlock(&out.output);
}

uint64_t log_out_waits(void)
{
	return __atomic_load_n(&out.waits, __ATOMIC_RELAXED);
}
