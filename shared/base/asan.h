/* SPDX-License-Identifier: Apache-2.0 */
/* ASAN_POISON_MEMORY_REGION and its opposite, which do nothing in builds without AddressSanitizer. */
#ifndef GAUZE_BASE_ASAN_H
#define GAUZE_BASE_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define GAUZE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GAUZE_ASAN 1
#endif
#endif

#ifdef GAUZE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#endif
