/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic written once and compiled twice: by clang to PTX, by the host's compiler to x86. Only
 * operations that both define exactly; each line of output is one result as bits.
 */
#ifndef CONFORMANCE_SEMANTIC_OPS_H
#define CONFORMANCE_SEMANTIC_OPS_H
#ifdef __CUDA_ARCH__
#define OP static __attribute__((device)) inline
#else
#define OP static inline
#endif

typedef unsigned int op_u32;
typedef int op_s32;
typedef unsigned long long op_u64;
typedef long long op_s64;

enum { INT32_OPS = 24, INT64_OPS = 22, F32_OPS = 20, F64_OPS = 20, NARROW_OPS = 12 };

OP op_u32 op_f32_bits(float f) { op_u32 u; __builtin_memcpy(&u, &f, 4); return u; }
OP op_u64 op_f64_bits(double f) { op_u64 u; __builtin_memcpy(&u, &f, 8); return u; }

/* b must not be 0, nor a / b overflow: division by zero is where C and PTX part. */
OP void op_int32(op_u32 a, op_u32 b, op_u32 *o)
{
	op_s32 sa = (op_s32)a, sb = (op_s32)b;
	o[0] = a + b; o[1] = a - b; o[2] = a * b; o[3] = a / b; o[4] = a % b;
	o[5] = (op_u32)(sb == -1 ? 0 : sa / sb); o[6] = (op_u32)(sb == -1 ? 0 : sa % sb);
	o[7] = a & b; o[8] = a | b; o[9] = a ^ b; o[10] = ~a; o[11] = a << (b & 31);
	o[12] = a >> (b & 31); o[13] = (op_u32)(sa >> (b & 31)); o[14] = a < b ? a : b;
	o[15] = (op_u32)(sa < sb ? sb : sa);
	o[16] = (op_u32)__builtin_popcount(a); o[17] = (op_u32)__builtin_clz(a | 1);
	o[18] = (op_u32)(((op_u64)a * b) >> 32); o[19] = (op_u32)(((op_s64)sa * sb) >> 32);
	o[20] = (a << (b & 31)) | (a >> ((32 - b) & 31)); o[21] = (sa < 0) + 2 * (a == b) + 4 * (sa > sb);
	o[22] = a * 3 + b * 5 + (a ^ (b >> 3)); o[23] = (op_u32)__builtin_ctz(b | 0x80000000u);
}

OP void op_int64(op_u64 a, op_u64 b, op_u64 *o)
{
	op_s64 sa = (op_s64)a, sb = (op_s64)b;
	o[0] = a + b; o[1] = a - b; o[2] = a * b; o[3] = a / b; o[4] = a % b;
	o[5] = (op_u64)(sb == -1 ? 0 : sa / sb); o[6] = (op_u64)(sb == -1 ? 0 : sa % sb);
	o[7] = a & b; o[8] = a | b; o[9] = a ^ b; o[10] = ~a; o[11] = a << (b & 63);
	o[12] = a >> (b & 63); o[13] = (op_u64)(sa >> (b & 63)); o[14] = a < b ? a : b;
	o[15] = (op_u64)(sa < sb ? sb : sa);
	o[16] = (op_u64)__builtin_popcountll(a); o[17] = (op_u64)__builtin_clzll(a | 1);
	o[18] = (op_u64)(op_s64)(op_s32)a; o[19] = (op_u32)b; o[20] = (op_u64)(sa > sb) | (op_u64)(a > b) << 1;
	o[21] = (op_u64)((op_s64)(op_s32)a * (op_s32)b);
}

/* Casts to and from 8 and 16 bits. */
OP void op_narrow(op_u32 a, op_u32 b, op_u32 *o)
{
	unsigned char ua = (unsigned char)a, ub = (unsigned char)b;
	signed char sa = (signed char)a;
	unsigned short ha = (unsigned short)a, hb = (unsigned short)b;
	short ga = (short)a;
	o[0] = (unsigned char)(ua + ub); o[1] = (unsigned char)(ua * ub); o[2] = (op_u32)(op_s32)sa;
	o[3] = (op_u32)(sa >> 2); o[4] = (unsigned short)(ha + hb); o[5] = (unsigned short)(ha * hb);
	o[6] = (op_u32)(op_s32)ga; o[7] = (op_u32)(ga >> 3); o[8] = (op_u32)ha * hb;
	o[9] = ha > hb; o[10] = (op_u32)(sa < (signed char)b); o[11] = (op_u32)((ua << 4) | (ub >> 4));
}

/* Divisions, roots and fused operations are correctly rounded on both sides. */
OP void op_f32(float a, float b, float c, op_u32 *o)
{
	o[0] = op_f32_bits(a + b); o[1] = op_f32_bits(a - b); o[2] = op_f32_bits(a * b);
	o[3] = op_f32_bits(a / b); o[4] = op_f32_bits(__builtin_fmaf(a, b, c));
	o[5] = op_f32_bits(a < b ? a : b); o[6] = a < b; o[7] = a == b; o[8] = a <= b; o[9] = a != b;
	o[10] = !(a < b); o[11] = op_f32_bits(-a); o[12] = op_f32_bits(__builtin_fabsf(a));
	o[13] = op_f32_bits(a * b + c); o[14] = op_f32_bits((float)(double)a);
	o[15] = op_f32_bits((float)((double)a * (double)b)); o[16] = op_f32_bits((float)(op_s32)op_f32_bits(a));
	o[17] = op_f32_bits((float)op_f32_bits(b)); o[18] = op_f32_bits((float)((op_u64)op_f32_bits(a) << 20 | 1));
	o[19] = __builtin_isunordered(a, b) ? 1u : 0u;
}

OP void op_f64(double a, double b, double c, op_u64 *o)
{
	o[0] = op_f64_bits(a + b); o[1] = op_f64_bits(a - b); o[2] = op_f64_bits(a * b);
	o[3] = op_f64_bits(a / b); o[4] = op_f64_bits(__builtin_fma(a, b, c));
	o[5] = op_f64_bits(a < b ? a : b); o[6] = a < b; o[7] = a == b; o[8] = a <= b; o[9] = a != b;
	o[10] = !(a < b); o[11] = op_f64_bits(-a); o[12] = op_f64_bits(__builtin_fabs(a));
	o[13] = op_f64_bits(a * b + c); o[14] = op_f32_bits((float)a);
	o[15] = op_f64_bits((double)(op_s64)op_f64_bits(a)); o[16] = op_f64_bits((double)op_f64_bits(b));
	o[17] = op_f64_bits((double)(op_s32)op_f64_bits(c)); o[18] = op_f64_bits((double)(float)b);
	o[19] = __builtin_isunordered(a, b) ? 1u : 0u;
}
#endif
