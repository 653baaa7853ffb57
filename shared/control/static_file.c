/* SPDX-License-Identifier: Apache-2.0 */
#include "static_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "static_decode.h"

enum { READ_BYTES_MIN = 64 * 1024 };

/* Reads to the end: a file may be a pipe, and what stat said may have changed. */
static int read_all(int fd, char **out, size_t *n)
{
	size_t cap = READ_BYTES_MIN, used = 0;
	char *p = malloc(cap);

	while (p) {
		ssize_t got = read(fd, p + used, cap - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			int err = got < 0 ? -errno : 0;
			if (err) {
				free(p);
				return err;
			}
			*out = p;
			*n = used;
			return 0;
		}
		used += (size_t)got;
		if (used > LIMIT_STATIC_BYTES) {
			free(p);
			return ERR_TOO_LARGE;
		}
		if (used < cap)
			continue;
		char *bigger = realloc(p, cap *= 2);
		if (!bigger)
			free(p);
		p = bigger;
	}
	return ERR_NOMEM;
}

static int read_file(const char *path, char **out, size_t *n, struct static_report *report)
{
	struct schema s = {.file = path, .report = report};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : read_all(fd, out, n);

	if (fd >= 0)
		close(fd);
	if (err)
		schema_error(&s, NULL, "cannot be read: %s", err_text(err));
	return err;
}

int static_load_text(struct world *w, struct str text, const char *name,
		     struct batch_result *result, struct static_report *report)
{
	struct batch *b = batch_new(w, WORLD_STATIC);

	*report = (struct static_report){0};
	if (!b)
		return ERR_NOMEM;
	int err = static_decode(text, name, b, report);
	if (err) {
		batch_free(b);
		return err;
	}
	batch_is_whole(b);
	return batch_apply(b, result);
}

int static_load_file(struct world *w, const char *path, struct batch_result *result,
		     struct static_report *report)
{
	char *text;
	size_t n;

	*report = (struct static_report){0};
	int err = read_file(path, &text, &n, report);
	if (err)
		return err;
	err = static_load_text(w, (struct str){text, n}, path, result, report);
	free(text);
	return err;
}

/* A world of its own, so that a check says exactly what a load would. */
static int load_aside(const char *path, struct batch_result *result, struct static_report *report)
{
	const struct world_config config = {0};
	struct epoch *epoch = epoch_new(1);
	struct world *w = epoch ? world_new(&config, epoch) : NULL;
	int err = w ? static_load_file(w, path, result, report) : ERR_NOMEM;

	world_free(w);
	if (epoch)
		epoch_free(epoch);
	return err;
}

bool static_check(const char *path, FILE *out)
{
	struct batch_result result = {0};
	struct static_report report = {0};
	int err = load_aside(path, &result, &report);

	for (uint32_t i = 0; i < static_report_lines(&report); i++)
		fprintf(out, "%s\n", report.line[i]);
	if (report.errors > LIMIT_STATIC_ERRORS)
		fprintf(out, "%s: %u more errors\n", path, report.errors - LIMIT_STATIC_ERRORS);
	else if (err && report.errors == 0)
		fprintf(out, "%s: %s\n", path, err_text(err));
	if (!err)
		fprintf(out, "%s: good: %u objects\n", path, result.added);
	static_report_fini(&report);
	return !err;
}
