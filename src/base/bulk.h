/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of large pieces between ranges that do not overlap.
 *
 *   bulk_copy()    the copy is read soon, and so belongs into the cache: staging memory
 *   bulk_stream()  it is larger than a core's cache and not read soon: it goes past the cache, so that its old
 *                  content need not be read first. Out of staging memory that is two to eight times as fast.
 *
 * glibc's memcpy of 4 KiB to some MiB is `rep movsb`, which AMD's Zen 3 and 4 run some five times slower when the
 * destination lies a few bytes above the source modulo 4 KiB (glibc bug 30994): just the case of staging memory,
 * page-aligned, and a program's malloc()ed buffer, 16 bytes behind a page. Neither does that.
 */
#ifndef OPENVGPU_BASE_BULK_H
#define OPENVGPU_BASE_BULK_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#define BULK_STREAM_MIN (4u << 20) /* bytes: eight times a core's cache, a fraction of what cores share */
#define BULK_ALIAS 64u /* bytes above: slow */
#define BULK_PIECE 2048u /* below glibc's threshold for `rep movsb` */
#define BULK_AHEAD 512u /* bytes fetched before they are needed: past the end of a page no hardware does it */

static inline void bulk_copy(void *to, const void *from, size_t n)
{
	size_t above = ((uintptr_t)to - (uintptr_t)from) & 4095;
	char *t = to;
	const char *f = from;

	if (!above || above >= BULK_ALIAS) {
		memcpy(to, from, n);
		return;
	}
	for (; n > BULK_PIECE; n -= BULK_PIECE, t += BULK_PIECE, f += BULK_PIECE)
		memcpy(t, f, BULK_PIECE);
	memcpy(t, f, n);
}

#if defined(__x86_64__)
/* Ordered before every later store, as an ordinary copy is. */
static inline void bulk_stream(void *to, const void *from, size_t n)
{
	size_t head = -(uintptr_t)to & 63;
	char *t = to;
	const char *f = from;

	if (n < 128) {
		memcpy(to, from, n);
		return;
	}
	memcpy(t, f, head);
	for (t += head, f += head, n -= head; n >= 64; n -= 64, t += 64, f += 64) {
		__m128i v[4];

		_mm_prefetch(f + BULK_AHEAD, _MM_HINT_NTA); /* never faults */
		memcpy(v, f, sizeof(v));
		for (int i = 0; i < 4; i++)
			_mm_stream_si128((__m128i *)(void *)t + i, v[i]);
	}
	memcpy(t, f, n);
	_mm_sfence();
}
#else
static inline void bulk_stream(void *to, const void *from, size_t n)
{
	bulk_copy(to, from, n);
}
#endif
#endif
