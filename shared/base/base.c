/* SPDX-License-Identifier: Apache-2.0 */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>

static void (*crash_hook)(void);

void check_set_hook(void (*hook)(void))
{
	__atomic_store_n(&crash_hook, hook, __ATOMIC_RELEASE);
}

noreturn_fn void check_failed(const char *cond, const char *file, int line, const char *func)
{
	/* Taken out first: a CHECK that fails inside the hook must not come back here for ever. */
	void (*hook)(void) = __atomic_exchange_n(&crash_hook, NULL, __ATOMIC_ACQ_REL);
	if (hook)
		hook();
	fprintf(stderr, "CHECK failed: %s at %s:%d in %s\n", cond, file, line, func);
	abort();
}

void wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}
