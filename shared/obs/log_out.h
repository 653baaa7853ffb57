/* SPDX-License-Identifier: Apache-2.0 */
/* From finished lines to the output: rings, the writer thread, waiting when full. Used by log.c alone. */
#ifndef GAUZE_OBS_LOG_OUT_H
#define GAUZE_OBS_LOG_OUT_H

#include "shared/base/base.h"

/* Where lines go from now on. */
void log_out_fd(int fd);
/* A whole line with its newline. Waits when the queue is full; writes at once when no writer runs. */
void log_out_put(struct str line);
int must_check log_out_start(void);
void log_out_stop(void);
void log_out_crash(void);
/* Times a thread had to wait. */
uint64_t log_out_waits(void);

#endif
