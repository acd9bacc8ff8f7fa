/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half precision (f16, bf16) by way of double: every sum, product and fused product-sum of halves
 * rounds once, because the double that precedes the rounding is exact or lies on the same side of
 * every half-way point.
 */
#ifndef SOFTCUDA_ENGINE_HALF_H
#define SOFTCUDA_ENGINE_HALF_H
#include <stdint.h>

float sc_half_to_float(uint16_t h);
/* round: enum ptx_round (RN, RZ, RM, RP); NaN becomes 0x7fff. */
uint16_t sc_float_to_half(float x, int round);
uint16_t sc_double_to_half(double x, int round);
uint16_t sc_float_to_bf16(float x, int round);

/* imm of a HALF instruction */
#define SC_HALF_IMM(op, bf16, sat, ftz, relu, nan, xorsign) \
	((int64_t)(op) | (int64_t)(bf16) << 8 | (int64_t)(sat) << 9 | (int64_t)(ftz) << 10 | (int64_t)(relu) << 11 | (int64_t)(nan) << 12 | (int64_t)(xorsign) << 13)
uint16_t sc_half_op(int64_t imm, uint16_t a, uint16_t b, uint16_t c);
#endif
