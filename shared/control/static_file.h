/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The static source of state (contract section 3.8): LOCAL_XDS_PATH or LOCAL_XDS. Loading again publishes only what
 * differs; a text that is wrong publishes nothing and leaves what is there.
 */
#ifndef GAUZE_CONTROL_STATIC_FILE_H
#define GAUZE_CONTROL_STATIC_FILE_H

#include <stdio.h>

#include "shared/state/world.h"
#include "static_schema.h"

/*
 * Control thread. Makes the text all that the static source has. `name` stands before the line in errors. 0; ERR_SYNTAX
 * with the report saying why, nothing changed; ERR_NOMEM. The report is the caller's to fini, whatever happens.
 */
int must_check static_load_text(struct world *w, struct str text, const char *name,
				struct batch_result *result, struct static_report *report);
/* The same from a file; also -errno when it cannot be read, and ERR_TOO_LARGE; the report says that too. Never waits: regular files only. */
int must_check static_load_file(struct world *w, const char *path, struct batch_result *result,
				struct static_report *report);
/*
 * `ztunnel check FILE`: writes every error to `out`, a line each, and a last line that sums up. Returns whether the file is
 * good.
 */
bool static_check(const char *path, FILE *out);

#endif
