/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/obs/log.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "shared/base/err.h"
#include "shared/obs/log_filter.h"
#include "shared/obs/log_out.h"

enum {
	/* Kept free while a line is built, for what ends it. */
	TAIL_BYTES = 32,
	MESSAGE_BYTES_MAX = 2048,
};

static const char prefix[] = "ztunnel::";
/* Prints as the original's; the scope of its DNS library is not ours and costs nothing. */
static const char always[] = "hickory_server::server=off";

static struct {
	pthread_mutex_t lock; /* filters and the list of scopes */
	struct log_filter filter, initial;
	struct log_scope *scopes;
	bool json;	     /* set before threads start */
	uint64_t suppressed; /* atomic */
} log_state = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.filter = {.rule = {{.level = LOG_INFO}}, .count = 1},
	.initial = {.rule = {{.level = LOG_INFO}}, .count = 1},
};

/* ---- filter ---- */

static void apply_filter(void)
{
	for (struct log_scope *s = log_state.scopes; s; s = s->next) {
		enum log_level level = log_filter_level(&log_state.filter, str_of(s->target));
		__atomic_store_n(&s->level, (int)level, __ATOMIC_RELAXED);
	}
}

void log_scope_register(struct log_scope *scope)
{
	pthread_mutex_lock(&log_state.lock);
	scope->next = log_state.scopes;
	log_state.scopes = scope;
	pthread_mutex_unlock(&log_state.lock);
}

int log_init(const char *filter, bool json, int fd)
{
	struct log_filter f = {.count = 0};
	int rc = log_filter_add(&f, STR(always));
	if (rc == 0)
		rc = log_filter_add(&f, str_of(filter ? filter : "info"));
	if (rc)
		return rc;
	pthread_mutex_lock(&log_state.lock);
	log_state.filter = log_state.initial = f;
	log_state.json = json;
	apply_filter();
	pthread_mutex_unlock(&log_state.lock);
	log_out_fd(fd);
	check_set_hook(log_crash_flush);
	return 0;
}

int log_start(void)
{
	return log_out_start();
}

void log_stop(void)
{
	log_out_stop();
}

void log_crash_flush(void)
{
	log_out_crash();
}

int log_filter_set(struct str directives, bool reset)
{
	pthread_mutex_lock(&log_state.lock);
	struct log_filter next = reset ? log_state.initial : log_state.filter;
	int rc = log_filter_add(&next, directives);
	if (rc == 0) {
		log_state.filter = next;
		apply_filter();
	}
	pthread_mutex_unlock(&log_state.lock);
	return rc;
}

void log_filter_text(struct sbuf *out)
{
	pthread_mutex_lock(&log_state.lock);
	log_filter_format(&log_state.filter, out);
	pthread_mutex_unlock(&log_state.lock);
}

/* ---- building a line ---- */

/* RFC 3339, UTC, microseconds. The calendar is worked out once a second and thread. */
static void put_time(struct sbuf *sb)
{
	static __thread time_t second = -1;
	static __thread char date[64];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second) {
		struct tm tm;
		gmtime_r(&now.tv_sec, &tm);
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		second = now.tv_sec;
	}
	sbuf_printf(sb, "%s.%06ldZ", date, now.tv_nsec / 1000);
}

/* Undoes what was written since `start` when it did not fit. */
static void keep_or_cut(struct log_line *l, size_t start)
{
	if (!sbuf_error(&l->text))
		return;
	l->text.error = 0;
	l->text.n = start;
	l->cut = true;
}

/* A message that does not fit is halved until it does. */
static void put_message(struct log_line *l, struct str message)
{
	size_t start = l->text.n;
	for (;;) {
		if (l->json)
			sbuf_json(&l->text, message);
		else
			sbuf_bare(&l->text, message);
		if (!sbuf_error(&l->text))
			return;
		keep_or_cut(l, start);
		message.n /= 2;
	}
}

static void begin_json(struct log_line *l, const struct log_scope *scope, enum log_level level)
{
	sbuf_printf(&l->text, "{\"level\":\"%s\",\"time\":\"", log_level_name(level));
	put_time(&l->text);
	sbuf_printf(&l->text, "\",\"scope\":\"%s\",\"message\":", scope->target);
}

static void begin_plain(struct log_line *l, const struct log_scope *scope, enum log_level level)
{
	const char *target = scope->target;
	if (strncmp(target, prefix, sizeof(prefix) - 1) == 0)
		target += sizeof(prefix) - 1;
	put_time(&l->text);
	sbuf_printf(&l->text, "\t%s\t%s", log_level_name(level), target);
	if (l->span.n > 0)
		sbuf_printf(&l->text, ":" STR_FMT "{" STR_FMT "=" STR_FMT "}", STR_ARG(l->span),
			    STR_ARG(l->span_key), STR_ARG(l->span_value));
	sbuf_putc(&l->text, '\t');
}

bool log_begin_span(struct log_line *l, const struct log_scope *scope, enum log_level level,
		    struct str span, struct str key, struct str value, const char *message)
{
	if (!log_on(scope, level))
		return false;
	sbuf_init_fixed(&l->text, l->mem, sizeof(l->mem) - TAIL_BYTES);
	l->json = log_state.json;
	l->fields = l->cut = false;
	l->span = span;
	l->span_key = key;
	l->span_value = value;
	if (l->json)
		begin_json(l, scope, level);
	else
		begin_plain(l, scope, level);
	put_message(l, str_of(message));
	if (!l->json)
		sbuf_putc(&l->text, '\t');
	return true;
}

bool log_begin(struct log_line *l, const struct log_scope *scope, enum log_level level,
	       const char *message)
{
	return log_begin_span(l, scope, level, STR(""), STR(""), STR(""), message);
}

static size_t begin_field(struct log_line *l, const char *key)
{
	size_t start = l->text.n;
	if (l->json)
		sbuf_printf(&l->text, ",\"%s\":", key);
	else
		sbuf_printf(&l->text, "%s%s=", l->fields ? " " : "", key);
	return start;
}

static void end_field(struct log_line *l, size_t start)
{
	keep_or_cut(l, start);
	l->fields |= l->text.n > start;
}

void log_str(struct log_line *l, const char *key, struct str value)
{
	size_t start = begin_field(l, key);
	if (l->json)
		sbuf_json(&l->text, value);
	else
		sbuf_quoted(&l->text, value);
	end_field(l, start);
}

void log_bare(struct log_line *l, const char *key, struct str value)
{
	size_t start = begin_field(l, key);
	if (l->json)
		sbuf_json(&l->text, value);
	else
		sbuf_bare(&l->text, value);
	end_field(l, start);
}

void log_u64(struct log_line *l, const char *key, uint64_t value)
{
	size_t start = begin_field(l, key);
	sbuf_u64(&l->text, value);
	end_field(l, start);
}

void log_i64(struct log_line *l, const char *key, int64_t value)
{
	size_t start = begin_field(l, key);
	if (value < 0)
		sbuf_putc(&l->text, '-');
	sbuf_u64(&l->text, value < 0 ? -(uint64_t)value : (uint64_t)value);
	end_field(l, start);
}

void log_bool(struct log_line *l, const char *key, bool value)
{
	size_t start = begin_field(l, key);
	sbuf_putz(&l->text, value ? "true" : "false");
	end_field(l, start);
}

void log_addr(struct log_line *l, const char *key, const struct addr *value)
{
	char text[ADDR_TEXT_MAX];
	log_bare(l, key, str_of(addr_text(value, text)));
}

void log_err(struct log_line *l, int error)
{
	log_str(l, "error", str_of(err_text(error)));
}

static void put_span_json(struct log_line *l)
{
	size_t start = l->text.n;
	sbuf_printf(&l->text, ",\"" STR_FMT "\":{\"" STR_FMT "\":", STR_ARG(l->span),
		    STR_ARG(l->span_key));
	sbuf_json(&l->text, l->span_value);
	sbuf_putc(&l->text, '}');
	keep_or_cut(l, start);
}

void log_end(struct log_line *l)
{
	if (l->json && l->span.n > 0)
		put_span_json(l);
	l->text.max += TAIL_BYTES;
	l->text.cap += TAIL_BYTES;
	if (l->cut)
		log_bool(l, "cut", true);
	sbuf_putz(&l->text, l->json ? "}\n" : "\n");
	CHECK(!sbuf_error(&l->text));
	log_out_put(sbuf_str(&l->text));
}

void log_printf(const struct log_scope *scope, enum log_level level, const char *fmt, ...)
{
	char message[MESSAGE_BYTES_MAX];
	struct log_line line;
	va_list args;
	if (!log_on(scope, level))
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	if (log_begin(&line, scope, level, message))
		log_end(&line);
}

/* ---- limits ---- */

bool log_allowed(struct log_limit *limit, uint64_t *suppressed)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	/* Relaxed throughout: when two threads meet at the turn of a second, a line more or less passes. */
	uint64_t second = (uint64_t)now.tv_sec + 1;
	if (__atomic_load_n(&limit->second, __ATOMIC_RELAXED) != second) {
		__atomic_store_n(&limit->second, second, __ATOMIC_RELAXED);
		__atomic_store_n(&limit->count, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_fetch_add(&limit->count, 1, __ATOMIC_RELAXED) >= LIMIT_LOG_PEER_LINES_PER_S) {
		__atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&log_state.suppressed, 1, __ATOMIC_RELAXED);
		return false;
	}
	*suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
	return true;
}

struct log_stats log_stats(void)
{
	return (struct log_stats){
		.waits = log_out_waits(),
		.suppressed = __atomic_load_n(&log_state.suppressed, __ATOMIC_RELAXED),
	};
}
