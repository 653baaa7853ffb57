/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the n-th allocation fail. Tests that link failalloc_dep run a path again and again, with each of its
 * allocations failing once:
 *
 *	for (uint32_t n = 0; failalloc_begin(n), path_fails(), failalloc_end(); n++)
 *		...
 */
#ifndef GAUZE_TESTS_FAILALLOC_H
#define GAUZE_TESTS_FAILALLOC_H

#include <stdbool.h>
#include <stdint.h>

/* From now on n allocations succeed and the next one fails, once. */
void failalloc_begin(uint32_t n);
/* Back to normal. Whether one did fail: when not, the sweep is complete. */
bool failalloc_end(void);

#endif
