/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells when a file may have changed. The file's directory is watched, not the file: files are replaced by renaming, and
 * mounted ones by exchanging a symbolic link beside them.
 */
#ifndef GAUZE_CONTROL_FILE_WATCH_H
#define GAUZE_CONTROL_FILE_WATCH_H

#include "shared/base/task.h"

struct file_watch;
struct worker;

/*
 * Readies task on w's run queue debounce_ms after the last of a burst of changes in the directory of path (which may be
 * one itself: then what is in it). 0 or a negative code. Worker's thread only.
 */
int must_check file_watch_new(struct worker *w, const char *path, uint32_t debounce_ms,
			      struct task *task, struct file_watch **out);
/* NULL is allowed. The task is not readied any more. */
void file_watch_free(struct file_watch *f);

#endif
