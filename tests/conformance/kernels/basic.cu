// SPDX-License-Identifier: Apache-2.0
// Kernels whose results say whether a launch, a copy or an ordering was right; each is trivial.
#include "cuda_min.h"

extern __shared__ u32 dynamic_words[];
__device__ u32 device_word = 41;
__device__ u32 device_table[256];
__constant__ u32 constant_table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};

KERNEL noop(void) {}

KERNEL vadd(const float *a, const float *b, float *c, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		c[i] = a[i] + b[i];
}

KERNEL fill(u32 *p, u32 value, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		p[i] = value;
}

/* p = p * mul + add: does not commute, so a wrong order of launches shows in the result. */
KERNEL affine(u32 *p, u32 mul, u32 add, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		p[i] = p[i] * mul + add;
}

/* Takes long enough for a race to show: `rounds` dependent steps per thread. */
KERNEL slow_affine(u32 *p, u32 mul, u32 add, u32 n, u32 rounds)
{
	u32 i = GLOBAL_X, x = 1;
	for (u32 r = 0; r < rounds; r++)
		x = x * 1664525u + 1013904223u + (x >> 7);
	if (i < n)
		p[i] = p[i] * mul + add + (x == 0x12345 ? 1 : 0);
}

/* Where am I: all twelve indices and sizes, one record per thread of a three-dimensional grid. */
KERNEL geometry(u32 *out)
{
	u32 block = (CTAID_Z * NCTAID_Y + CTAID_Y) * NCTAID_X + CTAID_X;
	u32 thread = (TID_Z * NTID_Y + TID_Y) * NTID_X + TID_X;
	u32 *o = out + 12 * (block * NTID_X * NTID_Y * NTID_Z + thread);
	o[0] = TID_X; o[1] = TID_Y; o[2] = TID_Z;
	o[3] = CTAID_X; o[4] = CTAID_Y; o[5] = CTAID_Z;
	o[6] = NTID_X; o[7] = NTID_Y; o[8] = NTID_Z;
	o[9] = NCTAID_X; o[10] = NCTAID_Y; o[11] = NCTAID_Z;
}

struct mixed { u8 a; u16 b; u32 c; u64 d; float e; double f; };
/* One parameter of every size and alignment; out gets each as 64 bits. */
KERNEL params(u64 *out, u8 a, u16 b, u32 c, u64 d, float e, double f, mixed g, u8 last)
{
	out[0] = a; out[1] = b; out[2] = c; out[3] = d;
	out[4] = (u64)(e * 1000); out[5] = (u64)(f * 1000);
	out[6] = g.a; out[7] = g.b; out[8] = g.c; out[9] = g.d;
	out[10] = (u64)(g.e * 1000); out[11] = (u64)(g.f * 1000);
	out[12] = last;
}

/* 8 + 4088 bytes: the 4 KiB every CUDA device takes. */
struct large { u32 word[1022]; };
KERNEL large_params(u64 *out, large v)
{
	u64 sum = 0;
	for (u32 i = 0; i < 1022; i++)
		sum += (u64)v.word[i] * (i + 1);
	*out = sum;
}

KERNEL dynamic_shared(u32 *out, u32 words)
{
	for (u32 i = TID_X; i < words; i += NTID_X)
		dynamic_words[i] = i * 7 + CTAID_X;
	barrier();
	u32 sum = 0;
	for (u32 i = 0; i < words; i++)
		sum += dynamic_words[(i + TID_X) % words];
	out[GLOBAL_X] = sum;
}

KERNEL globals(u32 *out)
{
	u32 i = GLOBAL_X;
	out[i] = device_word + constant_table[i & 15] + device_table[i & 255];
	if (i == 0)
		device_word = 1000;
}

KERNEL count_up(u32 *counter, u32 times)
{
	for (u32 i = 0; i < times; i++)
		__atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED);
}

KERNEL static_shared(u32 *out)
{
	__shared__ u32 words[1024];
	words[TID_X] = TID_X;
	barrier();
	out[TID_X] = words[NTID_X - 1 - TID_X];
}

__attribute__((launch_bounds(64))) KERNEL bounded(u32 *out) { out[GLOBAL_X] = NTID_X; }

/* Lets the host hold a stream: ends when *flag is not zero (pinned memory), or after `limit` looks. */
KERNEL wait_flag(volatile u32 *flag, u32 *out, u32 limit)
{
	u32 n = 0;
	while (!*flag && ++n < limit)
		;
	*out = *flag;
}
