/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/admin.h"

#include <stdio.h>
#include <strings.h>

#include "shared/base/err.h"
#include "shared/obs/log.h"
#include "ztunnel/app.h"
#include "ztunnel/config_parse.h"
#include "ztunnel/drain.h"
#include "ztunnel/dump.h"

enum { LEVEL_MAX = 1024, TEXT_MAX = 8192 };

static const char text_plain[] = "text/plain; charset=utf-8";

static void say(struct http_exchange *x, uint16_t status, const char *text)
{
	http_respond(x, &(struct http_response){.status = status,
						.content_type = text_plain,
						.body = str_of(text)});
}

/* ---- /logging ---- */

static const char logging_help[] =
	"usage: POST /logging\t\t\t\t\t\t(To list current level)\n"
	"usage: POST /logging?level=<level>\t\t\t\t(To change global levels)\n"
	"usage: POST /logging?level={mod1}={level1},{mod2}={level2}\t(To change specific mods' logging level)\n"
	"usage: POST /logging?reset\t\t\t\t\t(To go back to the levels of the start)\n"
	"hint: level is off, error, warn, info, debug or trace\n";

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* RFC 3986 section 2.1; what is not an encoding stays as it is. False when it does not fit. */
static bool decode(struct str in, char *out, size_t cap)
{
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		if (c == '%' && i + 2 < in.n && hex(in.p[i + 1]) >= 0 && hex(in.p[i + 2]) >= 0) {
			c = (char)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2]));
			i += 2;
		}
		if (n + 1 >= cap)
			return false;
		out[n++] = c;
	}
	out[n] = 0;
	return true;
}

static bool is_level(struct str s)
{
	static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (s.n == strlen(names[i]) && strncasecmp(s.p, names[i], s.n) == 0)
			return true;
	return false;
}

/* RUST_LOG takes a bare word for a target; here it can only be a mistyped level. */
static bool levels_are_valid(const char *levels)
{
	for (const char *p = levels; *p; p += *p == ',') {
		size_t n = strcspn(p, ",");
		const char *eq = memchr(p, '=', n);
		struct str level = eq ? (struct str){eq + 1, (size_t)(p + n - eq - 1)}
				      : (struct str){p, n};
		if (!is_level(level) || eq == p)
			return false;
		p += n;
	}
	return true;
}

static void logging(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	char level[LEVEL_MAX] = "", text[TEXT_MAX];
	struct str given = http_query_get(r->query, STR("level"));
	bool reset = http_query_get(r->query, STR("reset")).p != NULL;
	struct sbuf sb;
	(void)app;
	sbuf_init_fixed(&sb, text, sizeof(text));
	if (!str_eq(r->method, STR("POST"))) {
		sbuf_printf(&sb, "Invalid HTTP method\n%s", logging_help);
		http_respond(x, &(struct http_response){.status = 405,
							.content_type = text_plain,
							.header = "allow: POST",
							.body = sbuf_str(&sb)});
		return;
	}
	bool fits = decode(given, level, sizeof(level));
	bool valid = fits && levels_are_valid(level) && (*level || !given.p);
	if (!valid || ((given.p || reset) && log_filter_set(str_of(level), reset))) {
		sbuf_printf(&sb, "Invalid level provided: " STR_FMT "\n%s", STR_ARG(given),
			    logging_help);
		http_respond(x, &(struct http_response){.status = 400,
							.content_type = text_plain,
							.body = sbuf_str(&sb)});
		return;
	}
	sbuf_putz(&sb, "current log level is ");
	log_filter_text(&sb);
	sbuf_putz(&sb, "\n");
	http_respond(x, &(struct http_response){
				.status = 200, .content_type = text_plain, .body = sbuf_str(&sb)});
}

/* ---- /quitquitquit ---- */

static void quit(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	if (!str_eq(r->method, STR("POST"))) {
		http_respond(x, &(struct http_response){.status = 405,
							.content_type = text_plain,
							.header = "allow: POST",
							.body = STR("Invalid HTTP method\n")});
		return;
	}
	say(x, 200, "shutdown now\n");
	drain_begin(app->drain, "/quitquitquit");
}

/* ---- /debug/pprof: checked like the original's, and then honestly refused ---- */

static bool in_range(struct str query, struct str key, uint64_t least, uint64_t most)
{
	struct str v = http_query_get(query, key);
	char text[16];
	uint64_t number;
	if (!v.p)
		return true;
	if (v.n >= sizeof(text))
		return false;
	memcpy(text, v.p, v.n);
	text[v.n] = 0;
	return config_parse_uint(text, most, &number) == 0 && number >= least;
}

static void profile(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	(void)app;
	if (!in_range(r->query, STR("seconds"), 1, 300))
		say(x, 400, "seconds must be a number from 1 to 300\n");
	else if (!in_range(r->query, STR("frequency"), 1, 1000))
		say(x, 400, "frequency must be a number from 1 to 1000\n");
	else
		say(x, 500, "no profiler is built in; use perf on this process\n");
}

static void heap(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	(void)app;
	(void)r;
	say(x, 500, "heap profiling is not supported by this build\n");
}

static void dump(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	(void)r;
	dump_answer(app, x);
}

/* ---- / ---- */

static void index_page(struct app *app, struct http_exchange *x, const struct http_request *r);

static const struct {
	const char *path, *what;
	void (*answer)(struct app *app, struct http_exchange *x, const struct http_request *r);
} pages[] = {
	{"/", "this list", index_page},
	{"/config_dump", "what this proxy knows and carries, as JSON", dump},
	{"/logging", "log levels (POST)", logging},
	{"/quitquitquit", "drain and end (POST)", quit},
	{"/debug/pprof/profile", "CPU profile", profile},
	{"/debug/pprof/heap", "heap profile", heap},
	{"/debug/pprof/heap/profiling", "heap profiling on and off", heap},
};

static void index_page(struct app *app, struct http_exchange *x, const struct http_request *r)
{
	char text[TEXT_MAX];
	struct sbuf sb;
	(void)app;
	(void)r;
	sbuf_init_fixed(&sb, text, sizeof(text));
	sbuf_putz(&sb,
		  "<!DOCTYPE html>\n<html><head><title>ztunnel</title></head><body><h1>ztunnel</h1>"
		  "<table>\n");
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		sbuf_printf(&sb, "<tr><td><a href=\"%s\">%s</a></td><td>%s</td></tr>\n",
			    pages[i].path + 1, pages[i].path + 1, pages[i].what);
	sbuf_putz(&sb, "</table></body></html>\n");
	http_respond(x, &(struct http_response){.status = 200,
						.content_type = "text/html; charset=utf-8",
						.body = sbuf_str(&sb)});
}

void admin_page(void *arg, struct http_exchange *x, const struct http_request *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (str_eq(r->path, str_of(pages[i].path))) {
			pages[i].answer(arg, x, r);
			return;
		}
	}
	http_respond(x, &(struct http_response){.status = 404});
}
