/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between integers: register width read, type the low bits are, width written. */
#include "softcuda/engine_lanes.h"

#define CVT(sw, st, ST, dw, DT) \
	OP1(C##sw##st##_##dw, uint##dw##_t, uint##sw##_t, (uint##dw##_t)(DT)(ST)a)
CVT(16, S8, int8_t, 16, int16_t) CVT(16, U8, uint8_t, 16, uint16_t)
CVT(16, S8, int8_t, 32, int32_t) CVT(16, U8, uint8_t, 32, uint32_t)
CVT(16, S8, int8_t, 64, int64_t) CVT(16, U8, uint8_t, 64, uint64_t)
CVT(16, S16, int16_t, 32, int32_t) CVT(16, U16, uint16_t, 32, uint32_t)
CVT(16, S16, int16_t, 64, int64_t) CVT(16, U16, uint16_t, 64, uint64_t)
CVT(16, U16, uint16_t, 16, uint16_t)
CVT(32, S8, int8_t, 16, int16_t) CVT(32, U8, uint8_t, 16, uint16_t)
CVT(32, S8, int8_t, 32, int32_t) CVT(32, U8, uint8_t, 32, uint32_t)
CVT(32, S8, int8_t, 64, int64_t) CVT(32, U8, uint8_t, 64, uint64_t)
CVT(32, U16, uint16_t, 16, uint16_t)
CVT(32, S16, int16_t, 32, int32_t) CVT(32, U16, uint16_t, 32, uint32_t)
CVT(32, S16, int16_t, 64, int64_t) CVT(32, U16, uint16_t, 64, uint64_t)
CVT(32, U32, uint32_t, 32, uint32_t) CVT(32, S32, int32_t, 64, int64_t)
CVT(32, U32, uint32_t, 64, uint64_t)
CVT(64, S8, int8_t, 16, int16_t) CVT(64, U8, uint8_t, 16, uint16_t)
CVT(64, S8, int8_t, 32, int32_t) CVT(64, U8, uint8_t, 32, uint32_t)
CVT(64, S8, int8_t, 64, int64_t) CVT(64, U8, uint8_t, 64, uint64_t)
CVT(64, U16, uint16_t, 16, uint16_t)
CVT(64, S16, int16_t, 32, int32_t) CVT(64, U16, uint16_t, 32, uint32_t)
CVT(64, S16, int16_t, 64, int64_t) CVT(64, U16, uint16_t, 64, uint64_t)
CVT(64, U32, uint32_t, 32, uint32_t) CVT(64, S32, int32_t, 64, int64_t)
CVT(64, U32, uint32_t, 64, uint64_t) CVT(64, U64, uint64_t, 64, uint64_t)

/* Saturating, any types: sub = source type, n = destination type, o[2] = source register width,
 * o[3] = destination register width. */
static bool is_signed(int t)
{
	return t >= PTX_S8 && t <= PTX_S64;
}
static __int128 read_as(uint64_t v, int t)
{
	switch (t) {
	case PTX_S8: return (int8_t)v;
	case PTX_S16: return (int16_t)v;
	case PTX_S32: return (int32_t)v;
	case PTX_S64: return (int64_t)v;
	case PTX_U8: return (uint8_t)v;
	case PTX_U16: return (uint16_t)v;
	case PTX_U32: return (uint32_t)v;
	default: return v;
	}
}
static uint64_t saturate(__int128 v, int t)
{
	uint32_t bits = 8 * ptx_type_size((enum ptx_type)t);
	__int128 hi = is_signed(t) ? ((__int128)1 << (bits - 1)) - 1 : ((__int128)1 << bits) - 1;
	__int128 lo = is_signed(t) ? -((__int128)1 << (bits - 1)) : 0;
	return (uint64_t)(v < lo ? lo : v > hi ? hi : v);
}
HANDLER(CVTSAT_f)
{
	ACTIVE(w, i)
	{
		uint64_t v = in->o[2] == 2 ? REG(uint16_t, 1)[i] :
			     in->o[2] == 4 ? REG(uint32_t, 1)[i] : REG(uint64_t, 1)[i];
		v = saturate(read_as(v, in->sub), in->n);
		if (in->o[3] == 2)
			REG(uint16_t, 0)[i] = (uint16_t)v;
		else if (in->o[3] == 4)
			REG(uint32_t, 0)[i] = (uint32_t)v;
		else
			REG(uint64_t, 0)[i] = v;
	}
	return in + 1;
}
static const sc_handler CVTSAT_p = CVTSAT_f;

void SC_INSTALL(cvt)(struct sc_op_fn *t);
void SC_INSTALL(cvt)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_CVTI(X)
#undef X
}
