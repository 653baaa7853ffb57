/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few words every file of gauze uses: attributes, CHECK, sizes, string views.
 */
#ifndef GAUZE_BASE_BASE_H
#define GAUZE_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define must_check __attribute__((warn_unused_result))
/* Says that the result of a must_check function does not matter here; a comment says why. */
#define ignore_result(expr)                   \
	do {                                  \
		__typeof__(expr) r_ = (expr); \
		(void)r_;                     \
	} while (0)
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define maybe_unused __attribute__((unused))
#define noreturn_fn __attribute__((noreturn))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* The counter makes the names unique, so that these may be nested. Some library headers have their own. */
#undef MIN
#undef MAX
#define MIN(a, b) BASE_PICK(a, b, <, __COUNTER__)
#define MAX(a, b) BASE_PICK(a, b, >, __COUNTER__)
#define BASE_PICK(a, b, op, n) BASE_PICK_AS(a, b, op, n)
#define BASE_PICK_AS(a, b, op, n)               \
	({                                      \
		__typeof__(a) a_##n = (a);      \
		__typeof__(b) b_##n = (b);      \
		a_##n op b_##n ? a_##n : b_##n; \
	})

/*
 * A broken invariant of our own: prints where and what, then aborts. On in every build, since going on might
 * hand one pod's bytes to another. Nothing that a peer can provoke may be a CHECK.
 */
#define CHECK(cond)                                                        \
	do {                                                               \
		if (unlikely(!(cond)))                                     \
			check_failed(#cond, __FILE__, __LINE__, __func__); \
	} while (0)

noreturn_fn void check_failed(const char *cond, const char *file, int line, const char *func);
/* Runs once when a CHECK fails, before its own line is printed: the log saves what it still holds. */
void check_set_hook(void (*hook)(void));

/* Magic numbers of objects: set when born, cleared when dead, checked on entry. */
#define MAGIC_CHECK(obj, want) CHECK((obj) != NULL && (obj)->magic == (want))

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_S 1000000000ULL

/* A borrowed view of bytes; not terminated. */
struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
/* The same for the initializers of static objects. */
#define STR_INIT(literal)                      \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z)
{
	return (struct str){z, z ? strlen(z) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n &&
	       (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* Overwrites memory in a way that the compiler may not remove; for keys. */
void wipe(void *p, size_t n);

#endif
