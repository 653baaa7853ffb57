/* SPDX-License-Identifier: Apache-2.0 */
#include "static_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "read_file.h"
#include "shared/base/err.h"
#include "static_decode.h"

/* A regular file only: what never ends, or waits for a writer, would hold up all that the control thread does. */
static int read_file(const char *path, struct str *out, struct static_report *report)
{
	struct schema s = {.file = path, .report = report};
	int err = read_file_at(AT_FDCWD, path, LIMIT_STATIC_BYTES, out);

	if (err == -EINVAL)
		schema_error(&s, NULL, "cannot be read: not a regular file");
	else if (err)
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
	struct str text;

	*report = (struct static_report){0};
	int err = read_file(path, &text, report);
	if (err)
		return err;
	err = static_load_text(w, text, path, result, report);
	free((char *)text.p);
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
