/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, whole. */
#ifndef GAUZE_CONTROL_READ_FILE_H
#define GAUZE_CONTROL_READ_FILE_H

#include "shared/base/base.h"

/*
 * The contents, malloc'ed and terminated behind its n bytes. dir: a folder's descriptor or AT_FDCWD. 0, -errno,
 * ERR_TOO_LARGE beyond max bytes, ERR_NOMEM.
 */
int must_check read_file_at(int dir, const char *name, size_t max, struct str *out);

#endif
