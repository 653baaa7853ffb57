/* SPDX-License-Identifier: Apache-2.0 */
#include "failalloc.h"

#include <stddef.h>

/* The linker leads malloc to __wrap_malloc and __real_malloc to malloc, and so on. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static bool armed, failed;
static uint32_t left;

void failalloc_begin(uint32_t n)
{
	armed = true;
	failed = false;
	left = n;
}

bool failalloc_end(void)
{
	armed = false;
	return failed;
}

static bool fails(void)
{
	if (!armed || failed || left-- > 0)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
	return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}
