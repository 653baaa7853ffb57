/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the kernel lets us do what the data path needs, asked before anything starts (contract section 1.3). */
#ifndef GAUZE_ZTUNNEL_CAPABILITY_H
#define GAUZE_ZTUNNEL_CAPABILITY_H

#include "ztunnel/config.h"

enum { CAPABILITY_ERROR_MAX = 256 };

/* 0, or a negative code and a sentence that names the capability that is missing. */
int must_check capability_check(const struct config *c, char error[CAPABILITY_ERROR_MAX]);
/* Soft limit of descriptors, raised to the hard one (contract section 12). */
uint64_t capability_raise_nofile(void);

#endif
