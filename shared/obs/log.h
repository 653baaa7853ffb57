/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines (contract section 10). A line is built on the caller's stack and put into a ring of its thread, from
 * which one writer thread writes to the output. When LIMIT_LOG_LINES wait, whoever logs waits too: lines are not
 * dropped. Before log_start(), after log_stop() and on threads beyond LIMIT_THREADS a line is written at once.
 *
 *	LOG_SCOPE(scope, "ztunnel::proxy::outbound");
 *
 *	log_info(&scope, "listening on port %u", port);
 *
 *	struct log_line line;
 *	if (log_begin(&line, &scope, LOG_DEBUG, "connection opened")) {
 *		log_addr(&line, "src.addr", &from);
 *		log_end(&line);
 *	}
 *
 * Scopes carry the names that operators know from the original (ztunnel::...), since filters name them.
 */
#ifndef GAUZE_OBS_LOG_H
#define GAUZE_OBS_LOG_H

#include "shared/base/addr.h"
#include "shared/base/limits.h"
#include "shared/base/sbuf.h"

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* A named source of lines; static, one per file that logs. */
struct log_scope {
	const char *target;
	struct log_scope *next;
	int level; /* atomic; the least important level that passes */
};

#define LOG_SCOPE(name, target_name)                                   \
	static struct log_scope name = {target_name, NULL, LOG_INFO};  \
	__attribute__((constructor)) static void name##_register(void) \
	{                                                              \
		log_scope_register(&name);                             \
	}                                                              \
	_Static_assert(sizeof(target_name) > 1, "a scope has a name")

/* For LOG_SCOPE only, before main(). */
void log_scope_register(struct log_scope *scope);

static inline bool log_on(const struct log_scope *scope, enum log_level level)
{
	/* Relaxed: a line more or less while the filter changes does no harm. */
	return (int)level <= __atomic_load_n(&scope->level, __ATOMIC_RELAXED);
}

/* ---- set-up: main thread ---- */

/*
 * filter: as RUST_LOG, NULL for the default; an invalid one gives ERR_SYNTAX, and nothing changes. fd is where
 * lines go (1: standard output).
 */
int must_check log_init(const char *filter, bool json, int fd);
/* Starts the writer thread. 0 or -errno. */
int must_check log_start(void);
/* Writes everything and ends the writer; lines are written at once from here on. */
void log_stop(void);
/* Writes what waits, if that is possible without waiting long. For crashes; CHECK calls it. */
void log_crash_flush(void);

/* ---- filter: any thread ---- */

/*
 * Adds directives ("debug", "ztunnel::proxy=trace,access=off") to the filter, after going back to that of
 * log_init() when reset. 0, or ERR_SYNTAX and nothing changes.
 */
int must_check log_filter_set(struct str directives, bool reset);
/* The filter as text: most specific first, the default level last: "hickory_server::server=off,info". */
void log_filter_text(struct sbuf *out);

/* ---- lines: any thread ---- */

struct log_line {
	struct sbuf text;
	bool json;
	bool fields; /* at least one was written */
	bool cut;    /* something did not fit */
	struct str span, span_key, span_value;
	char mem[LIMIT_LOG_LINE_BYTES];
};

/* False when the level is off; the line is then not to be touched. `message` is written as it is. */
bool log_begin(struct log_line *l, const struct log_scope *scope, enum log_level level,
	       const char *message);
/* The same in a span with one field: "outbound" {id=<trace id>}. The strings must live until log_end(). */
bool log_begin_span(struct log_line *l, const struct log_scope *scope, enum log_level level,
		    struct str span, struct str key, struct str value, const char *message);
/* Fields, in order. A field that no longer fits is left out and the line says cut=true. */
void log_str(struct log_line *l, const char *key, struct str value); /* quoted */
void log_bare(struct log_line *l, const char *key,
	      struct str value); /* not quoted: addresses, durations */
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_i64(struct log_line *l, const char *key, int64_t value);
void log_bool(struct log_line *l, const char *key, bool value);
void log_addr(struct log_line *l, const char *key, const struct addr *value);
/* The error's text from err.def, quoted, under the key `error`. */
void log_err(struct log_line *l, int error);
void log_end(struct log_line *l);

/* One line without fields. Use the macros: they evaluate nothing when the level is off. */
void log_printf(const struct log_scope *scope, enum log_level level, const char *fmt, ...)
	printf_like(3, 4);
#define log_at(scope, level, ...)                                  \
	do {                                                       \
		if (log_on((scope), (level)))                      \
			log_printf((scope), (level), __VA_ARGS__); \
	} while (0)
#define log_error(scope, ...) log_at(scope, LOG_ERROR, __VA_ARGS__)
#define log_warn(scope, ...) log_at(scope, LOG_WARN, __VA_ARGS__)
#define log_info(scope, ...) log_at(scope, LOG_INFO, __VA_ARGS__)
#define log_debug(scope, ...) log_at(scope, LOG_DEBUG, __VA_ARGS__)
#define log_trace(scope, ...) log_at(scope, LOG_TRACE, __VA_ARGS__)

/* ---- lines that peers provoke ---- */

/* Static, one per kind of line; zero-initialised. Shared by all threads. */
struct log_limit {
	uint64_t second;     /* atomic */
	uint32_t count;	     /* atomic; in that second */
	uint32_t suppressed; /* atomic; since the last line that passed */
};

/*
 * Whether a line of this kind may be written now: LIMIT_LOG_PEER_LINES_PER_S. *suppressed is how many were not
 * since the last one that was; write it as the field `suppressed` when it is not 0.
 */
bool log_allowed(struct log_limit *limit, uint64_t *suppressed);

struct log_stats {
	uint64_t waits;	     /* times a thread waited for the writer */
	uint64_t suppressed; /* lines that log_allowed() refused */
};
struct log_stats log_stats(void);

#endif
