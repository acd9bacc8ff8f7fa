// SPDX-License-Identifier: Apache-2.0
// Texture objects, sampled at coordinates the host gives.
#include "cuda_min.h"
typedef float f4 __attribute__((ext_vector_type(4)));
typedef u32 u4 __attribute__((ext_vector_type(4)));

#define FETCH_2D_F(r, t, u, v)                                                                      \
	asm volatile("tex.2d.v4.f32.f32 {%0,%1,%2,%3}, [%4,{%5,%6}];"                              \
		     : "=f"(r.x), "=f"(r.y), "=f"(r.z), "=f"(r.w) : "l"(t), "f"(u), "f"(v))
#define FETCH_2D_U(r, t, u, v)                                                                      \
	asm volatile("tex.2d.v4.u32.f32 {%0,%1,%2,%3}, [%4,{%5,%6}];"                              \
		     : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "l"(t), "f"(u), "f"(v))

KERNEL sample_float(u64 texture, const float *xy, f4 *out, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	f4 r;
	FETCH_2D_F(r, texture, xy[2 * i], xy[2 * i + 1]);
	out[i] = r;
}

KERNEL sample_uint(u64 texture, const float *xy, u4 *out, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	u4 r;
	FETCH_2D_U(r, texture, xy[2 * i], xy[2 * i + 1]);
	out[i] = r;
}

/* Linear memory by integer index. */
KERNEL fetch_linear(u64 texture, const u32 *index, u4 *out, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	u4 r;
	asm volatile("tex.1d.v4.u32.s32 {%0,%1,%2,%3}, [%4,{%5}];"
		     : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "l"(texture), "r"(index[i]));
	out[i] = r;
}
