/* SPDX-License-Identifier: Apache-2.0 */
/* The few lines that io/ says about itself, at start. */
#ifndef GAUZE_IO_NOTE_H
#define GAUZE_IO_NOTE_H

#include <stdio.h>

#define io_info(fmt, ...) fprintf(stderr, "io: " fmt "\n", ##__VA_ARGS__)
#define io_warn(fmt, ...) fprintf(stderr, "io: warning: " fmt "\n", ##__VA_ARGS__)

#endif
