/* SPDX-License-Identifier: Apache-2.0 */
/* cvt: conversions as chains of the interpreter's own. */
#include "softcuda/engine_build.h"

static struct insn *op2(struct build *b, uint32_t op, uint32_t d, uint32_t s)
{
	struct insn *e = b_emit(b, op);
	e->o[0] = d;
	e->o[1] = s;
	return e;
}

static bool is_float(enum ptx_type t)
{
	return t == PTX_F32 || t == PTX_F64 || t == PTX_F16 || t == PTX_BF16;
}

/* Reads the low bits of a register as type t, extends to another width. */
static void integer(struct build *b, uint32_t d, uint32_t dw, uint32_t s, uint32_t sw, enum ptx_type t)
{
	static const struct { uint8_t sw, size, sign, dw; uint16_t op; } table[] = {
		{ 2, 1, 1, 2, OP_C16S8_16 }, { 2, 1, 0, 2, OP_C16U8_16 }, { 2, 1, 1, 4, OP_C16S8_32 },
		{ 2, 1, 0, 4, OP_C16U8_32 }, { 2, 1, 1, 8, OP_C16S8_64 }, { 2, 1, 0, 8, OP_C16U8_64 },
		{ 2, 2, 1, 2, OP_C16U16_16 }, { 2, 2, 0, 2, OP_C16U16_16 }, { 2, 2, 1, 4, OP_C16S16_32 },
		{ 2, 2, 0, 4, OP_C16U16_32 }, { 2, 2, 1, 8, OP_C16S16_64 }, { 2, 2, 0, 8, OP_C16U16_64 },
		{ 4, 1, 1, 2, OP_C32S8_16 }, { 4, 1, 0, 2, OP_C32U8_16 }, { 4, 1, 1, 4, OP_C32S8_32 },
		{ 4, 1, 0, 4, OP_C32U8_32 }, { 4, 1, 1, 8, OP_C32S8_64 }, { 4, 1, 0, 8, OP_C32U8_64 },
		{ 4, 2, 1, 2, OP_C32U16_16 }, { 4, 2, 0, 2, OP_C32U16_16 }, { 4, 2, 1, 4, OP_C32S16_32 },
		{ 4, 2, 0, 4, OP_C32U16_32 }, { 4, 2, 1, 8, OP_C32S16_64 }, { 4, 2, 0, 8, OP_C32U16_64 },
		{ 4, 4, 1, 4, OP_C32U32_32 }, { 4, 4, 0, 4, OP_C32U32_32 }, { 4, 4, 1, 8, OP_C32S32_64 },
		{ 4, 4, 0, 8, OP_C32U32_64 },
		{ 8, 1, 1, 2, OP_C64S8_16 }, { 8, 1, 0, 2, OP_C64U8_16 }, { 8, 1, 1, 4, OP_C64S8_32 },
		{ 8, 1, 0, 4, OP_C64U8_32 }, { 8, 1, 1, 8, OP_C64S8_64 }, { 8, 1, 0, 8, OP_C64U8_64 },
		{ 8, 2, 1, 2, OP_C64U16_16 }, { 8, 2, 0, 2, OP_C64U16_16 }, { 8, 2, 1, 4, OP_C64S16_32 },
		{ 8, 2, 0, 4, OP_C64U16_32 }, { 8, 2, 1, 8, OP_C64S16_64 }, { 8, 2, 0, 8, OP_C64U16_64 },
		{ 8, 4, 1, 4, OP_C64U32_32 }, { 8, 4, 0, 4, OP_C64U32_32 }, { 8, 4, 1, 8, OP_C64S32_64 },
		{ 8, 4, 0, 8, OP_C64U32_64 }, { 8, 8, 1, 8, OP_C64U64_64 }, { 8, 8, 0, 8, OP_C64U64_64 },
	};
	uint32_t size = ptx_type_size(t);
	for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (table[i].sw == sw && table[i].size == size && table[i].sign == b_signed(t) && table[i].dw == dw) {
			op2(b, table[i].op, d, s);
			return;
		}
	}
	b_fail(b, SC_NOT_SUPPORTED, "cvt between registers of %u and %u bytes", sw, dw);
}

static void int_to_int(struct build *b, const struct ptx_insn *in, uint32_t d, uint32_t dw, uint32_t s, uint32_t sw)
{
	if (in->sat) {
		struct insn *e = op2(b, OP_CVTSAT, d, s);
		e->sub = (uint8_t)in->type2;
		e->n = (uint8_t)in->type;
		e->o[2] = sw;
		e->o[3] = dw;
		return;
	}
	uint32_t ds = ptx_type_size(in->type), ss = ptx_type_size(in->type2);
	/* Through the narrower type; then, in a register wider than the type, extended by it. */
	enum ptx_type via = ds <= ss ? in->type : in->type2;
	integer(b, d, dw, s, sw, via);
	if (ds > ss && dw > ds)
		integer(b, d, dw, d, dw, in->type);
}

static void directed(struct build *b, enum ptx_round r)
{
	if (r == PTX_RZ || r == PTX_RM || r == PTX_RP)
		b_emit(b, OP_ROUNDMODE)->sub = (uint8_t)r;
}

static void int_to_float(struct build *b, const struct ptx_insn *in, uint32_t d, uint32_t s, uint32_t sw)
{
	bool wide = ptx_type_size(in->type2) == 8, sign = b_signed(in->type2);
	uint32_t x = s;
	if (!wide) {
		x = b_temp(b, 4);
		integer(b, x, 4, s, sw, in->type2);
	}
	bool half = in->type == PTX_F16 || in->type == PTX_BF16;
	bool to64 = in->type == PTX_F64 || half;
	static const uint16_t op[2][2][2] = { { { OP_U32TOF32, OP_S32TOF32 }, { OP_U64TOF32, OP_S64TOF32 } },
					      { { OP_U32TOF64, OP_S32TOF64 }, { OP_U64TOF64, OP_S64TOF64 } } };
	uint32_t y = half ? b_temp(b, 8) : d;
	if (!half)
		directed(b, in->round);
	op2(b, op[to64][wide][sign], y, x);
	if (in->type == PTX_BF16)
		b_fail(b, SC_NOT_SUPPORTED, "cvt of integers to bf16");
	if (half && in->sat)
		op2(b, OP_SATF64, y, y);
	if (half)
		op2(b, OP_F64TOF16, d, y)->sub = (uint8_t)in->round;
	else if (in->sat)
		op2(b, in->type == PTX_F64 ? OP_SATF64 : OP_SATF32, d, d);
}

static uint32_t round_to_integer(struct build *b, enum ptx_round r, bool wide, uint32_t s)
{
	static const uint16_t op[] = { [PTX_RNI] = OP_RINTF32, [PTX_RZI] = OP_RTRUNCF32, [PTX_RMI] = OP_RFLOORF32,
				       [PTX_RPI] = OP_RCEILF32, [PTX_RNA] = OP_RAWAYF32 };
	if (r > PTX_RNA || !op[r])
		return s;
	uint32_t t = b_temp(b, wide ? 8 : 4);
	op2(b, op[r] + wide, t, s);
	return t;
}

/* Halves become singles; flushes if asked. */
static uint32_t float_source(struct build *b, const struct ptx_insn *in, uint32_t s)
{
	if (in->type2 == PTX_F64)
		return s;
	if (in->type2 == PTX_F32 && !in->ftz)
		return s;
	uint32_t t = b_temp(b, 4);
	op2(b, in->type2 == PTX_F32 ? OP_FTZ : in->type2 == PTX_F16 ? OP_F16TOF32 : OP_BF16TOF32, t, s);
	return t;
}

static void float_to_int(struct build *b, const struct ptx_insn *in, uint32_t d, uint32_t dw, uint32_t s)
{
	bool wide = in->type2 == PTX_F64, sign = b_signed(in->type);
	uint32_t size = ptx_type_size(in->type);
	s = round_to_integer(b, in->round == PTX_RZI ? PTX_RND_NONE : in->round, wide, float_source(b, in, s));
	static const uint16_t op[2][2][2] = { { { OP_F32TOU32, OP_F32TOS32 }, { OP_F32TOU64, OP_F32TOS64 } },
					      { { OP_F64TOU32, OP_F64TOS32 }, { OP_F64TOU64, OP_F64TOS64 } } };
	if (size >= 4) {
		uint32_t x = dw == size ? d : b_temp(b, size);
		op2(b, op[wide][size == 8][sign], x, s);
		if (x != d)
			integer(b, d, dw, x, size, in->type);
		return;
	}
	int32_t bits = (int32_t)size * 8;
	int32_t lo = sign ? -(1 << (bits - 1)) : 0, hi = sign ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
	uint32_t t = b_temp(b, wide ? 8 : 4), x = b_temp(b, 4);
	op2(b, wide ? OP_F64CLAMP : OP_F32CLAMP, t, s)->imm = (int64_t)((uint64_t)(uint32_t)hi << 32 | (uint32_t)lo);
	op2(b, wide ? OP_F64TOS32 : OP_F32TOS32, x, t);
	integer(b, d, dw, x, 4, in->type);
}

static void float_to_float(struct build *b, const struct ptx_insn *in, uint32_t d, uint32_t s)
{
	bool from64 = in->type2 == PTX_F64, to64 = in->type == PTX_F64;
	uint32_t x = float_source(b, in, s);
	x = round_to_integer(b, in->round, from64, x);
	if (in->type == PTX_F16 || in->type == PTX_BF16) {
		if (in->sat) {
			uint32_t t = b_temp(b, from64 ? 8 : 4);
			op2(b, from64 ? OP_SATF64 : OP_SATF32, t, x);
			x = t;
		}
		if (from64 && in->type == PTX_BF16)
			b_fail(b, SC_NOT_SUPPORTED, "cvt.bf16.f64");
		if (in->relu)
			b_fail(b, SC_NOT_SUPPORTED, "cvt.relu");
		op2(b, from64 ? OP_F64TOF16 : in->type == PTX_F16 ? OP_F32TOF16 : OP_F32TOBF16, d, x)->sub =
			(uint8_t)(in->round ? in->round : PTX_RN);
		return;
	}
	if (from64 == to64) {
		op2(b, to64 ? OP_MOV64 : OP_MOV32, d, x);
	} else {
		directed(b, in->round);
		op2(b, from64 ? OP_F64TOF32 : OP_F32TOF64, d, x);
	}
	if (in->ftz && !to64)
		op2(b, OP_FTZ, d, d);
	if (in->sat)
		op2(b, to64 ? OP_SATF64 : OP_SATF32, d, d);
}

/* Two singles into one pair of halves: the first is the upper. */
static void pack_halves(struct build *b, const struct ptx_insn *in)
{
	if (in->relu)
		b_fail(b, SC_NOT_SUPPORTED, "cvt.relu");
	uint32_t part[2];
	for (int k = 0; k < 2; k++) {
		part[k] = b_temp(b, 2);
		uint32_t s = b_src(b, &in->o[1 + k], 4);
		op2(b, in->type == PTX_F16X2 ? OP_F32TOF16 : OP_F32TOBF16, part[k], s)->sub = (uint8_t)in->round;
	}
	struct insn *e = b_emit(b, OP_PACK32_16);
	e->o[0] = b_dst(b, &in->o[0], 4);
	e->o[1] = part[1];
	e->o[2] = part[0];
}

bool b_lower_cvt(struct build *b, const struct ptx_insn *in)
{
	if (in->op != PTX_OP_CVT)
		return false;
	if (in->type == PTX_F16X2 || in->type == PTX_BF16X2) {
		pack_halves(b, in);
		return true;
	}
	bool fs = is_float(in->type2), fd = is_float(in->type);
	uint32_t dw = b_reg_width(b, &in->o[0]);
	uint32_t sw = in->o[1].kind == PTX_O_REG ? b_reg_width(b, &in->o[1]) : b_width(in->type2);
	uint32_t s = b_src(b, &in->o[1], sw), d = b_dst(b, &in->o[0], dw);
	if (!fs && !fd)
		int_to_int(b, in, d, dw, s, sw);
	else if (!fs)
		int_to_float(b, in, d, s, sw);
	else if (!fd)
		float_to_int(b, in, d, dw, s);
	else
		float_to_float(b, in, d, s);
	return true;
}
