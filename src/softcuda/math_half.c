/* SPDX-License-Identifier: Apache-2.0 */
/* 16-bit floats from double, exactly rounded: integers only, so no double rounding. */
#include <string.h>
#include "softcuda/leaf.h"

/* Magnitude's bits plus how much was cut off decide. frac: kept bits, rest: what lies below, half: half a unit. */
static bool rounds_up(enum ptx_round r, bool negative, bool odd, uint64_t rest, uint64_t half)
{
	switch (r) {
	case PTX_RZ: return false;
	case PTX_RM: return rest && negative;
	case PTX_RP: return rest && !negative;
	default: return rest > half || (rest == half && odd);
	}
}

/* To a format of 1 + ebits + mbits. Overflow gives infinity, or the largest number where the rounding points to zero. */
static uint16_t narrow(double d, enum ptx_round r, unsigned ebits, unsigned mbits)
{
	uint64_t u;
	memcpy(&u, &d, 8);
	bool negative = u >> 63;
	int bias = (1 << (ebits - 1)) - 1, e = (int)(u >> 52 & 0x7ff) - 1023;
	uint64_t m = u & ((1ull << 52) - 1);
	uint32_t sign = negative ? 0x8000 : 0, inf = ((1u << ebits) - 1) << mbits;
	if (e == 1024)
		return m ? 0x7fff : (uint16_t)(sign | inf);
	if (e == -1023 && !m)
		return (uint16_t)sign;
	if (e == -1023)
		e = -1022; /* far below any 16-bit number: only whether something is left counts */
	else
		m |= 1ull << 52;
	unsigned cut = 52 - mbits;
	int lowest = 1 - bias;
	if (e < lowest)
		cut = lowest - e > 60 ? 63 : (cut + (unsigned)(lowest - e) > 63 ? 63 : cut + (unsigned)(lowest - e));
	uint64_t kept = m >> cut, rest = m & ((1ull << cut) - 1);
	/* Normal numbers carry their hidden bit into the exponent; rounding up may carry once more, rightly. */
	uint64_t bits = e < lowest ? kept : kept + ((uint64_t)(e - lowest) << mbits);
	bits += rounds_up(r, negative, kept & 1, rest, 1ull << (cut - 1));
	if (bits >= inf) {
		bool to_max = (r == PTX_RZ) || (r == PTX_RM && !negative) || (r == PTX_RP && negative);
		bits = to_max ? inf - 1 : inf;
	}
	return (uint16_t)(sign | bits);
}

uint16_t leaf_f64_to_f16(double d, enum ptx_round r) { return narrow(d, r, 5, 10); }
uint16_t leaf_f64_to_bf16(double d, enum ptx_round r) { return narrow(d, r, 8, 7); }

float leaf_f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;
	if (e == 31)
		return m ? leaf_f32(0x7fffffffu) : leaf_f32(sign | 0x7f800000u);
	if (e)
		return leaf_f32(sign | (e + 112) << 23 | m << 13);
	return leaf_f32(sign | leaf_u32((float)m * 0x1p-24f));
}
