/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic, logic, comparisons and moves: PTX instruction to the interpreter's. */
#include "softcuda/engine_build.h"
#include "softcuda/engine_half.h"

static void put(struct build *b, uint32_t op, const struct ptx_insn *in, uint32_t dw, uint32_t sw, int first,
		int nsrc)
{
	uint32_t s[4];
	for (int k = 0; k < nsrc; k++)
		s[k] = b_src(b, &in->o[first + k], sw);
	struct insn *e = b_emit(b, op);
	e->o[0] = b_dst(b, &in->o[0], dw);
	for (int k = 0; k < nsrc; k++)
		e->o[k + 1] = s[k];
}

static void three(struct build *b, uint32_t op, uint32_t d, uint32_t a, uint32_t c)
{
	struct insn *e = b_emit(b, op);
	e->o[0] = d;
	e->o[1] = a;
	e->o[2] = c;
}

/* Shift amounts and the like are 32-bit whatever the type. */
static void put_mixed(struct build *b, uint32_t op, const struct ptx_insn *in, uint32_t width, int wide, int narrow)
{
	uint32_t s[4];
	for (int k = 0; k < wide + narrow; k++)
		s[k] = b_src(b, &in->o[1 + k], k < wide ? width : 4);
	struct insn *e = b_emit(b, op);
	e->o[0] = b_dst(b, &in->o[0], width);
	for (int k = 0; k < wide + narrow; k++)
		e->o[k + 1] = s[k];
}

/* Floating point: inputs flushed, rounding set, output flushed and clamped, as the instruction asks. */
static void put_float(struct build *b, uint32_t op32, const struct ptx_insn *in, int nsrc)
{
	bool single = in->type == PTX_F32;
	uint32_t width = single ? 4 : 8, s[3];
	for (int k = 0; k < nsrc; k++) {
		s[k] = b_src(b, &in->o[1 + k], width);
		if (in->ftz && single) {
			uint32_t t = b_temp(b, 4);
			three(b, OP_FTZ, t, s[k], 0);
			s[k] = t;
		}
	}
	if (in->round == PTX_RZ || in->round == PTX_RM || in->round == PTX_RP)
		b_emit(b, OP_ROUNDMODE)->sub = (uint8_t)in->round;
	uint32_t d = b_dst(b, &in->o[0], width);
	struct insn *e = b_emit(b, op32 + !single);
	e->o[0] = d;
	for (int k = 0; k < nsrc; k++)
		e->o[k + 1] = s[k];
	if (in->ftz && single)
		three(b, OP_FTZ, d, d, 0);
	if (in->sat)
		three(b, OP_SATF32 + !single, d, d, 0);
}

static bool is_half(enum ptx_type t)
{
	return t >= PTX_F16 && t <= PTX_BF16X2;
}

static void put_half(struct build *b, const struct ptx_insn *in, int nsrc)
{
	bool pair = in->type == PTX_F16X2 || in->type == PTX_BF16X2;
	bool bf16 = in->type == PTX_BF16 || in->type == PTX_BF16X2;
	uint32_t width = pair ? 4 : 2, s[3] = { 0 };
	for (int k = 0; k < nsrc; k++)
		s[k] = b_src(b, &in->o[1 + k], width);
	struct insn *e = b_emit(b, OP_HALF);
	e->o[0] = b_dst(b, &in->o[0], width);
	for (int k = 0; k < nsrc; k++)
		e->o[k + 1] = s[k];
	e->sub = pair;
	e->n = (uint8_t)nsrc;
	e->imm = SC_HALF_IMM(in->op, bf16, in->sat, in->ftz, in->relu, in->nan, in->xorsign);
}

static void put_logic(struct build *b, const struct ptx_insn *in)
{
	static const uint16_t pred[] = { OP_PAND, OP_POR, OP_PXOR };
	static const uint16_t bits[] = { OP_AND16, OP_OR16, OP_XOR16 };
	int k = in->op == PTX_OP_AND ? 0 : in->op == PTX_OP_OR ? 1 : 2;
	if (in->type != PTX_PRED) {
		uint32_t size = b_width(in->type);
		put(b, b_by_width(bits[k], size), in, size, size, 1, 2);
		return;
	}
	uint32_t x = b_pred_src(b, &in->o[1]), y = b_pred_src(b, &in->o[2]);
	three(b, pred[k], b_dst(b, &in->o[0], 0), x, y);
}

/* add.cc, addc, sub.cc, subc */
static void put_carry(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	put(b, size == 8 ? OP_CARRY64 : OP_CARRY32, in, size, size, 1, 2);
	uint8_t sub = (in->op == PTX_OP_ADDC || in->op == PTX_OP_SUBC ? 1 : 0) | (in->cc ? 2 : 0) |
		      (in->op == PTX_OP_SUB || in->op == PTX_OP_SUBC ? 4 : 0);
	b->out->v[b->out->n - 1].sub = sub;
}

static void put_addsub(struct build *b, const struct ptx_insn *in)
{
	bool add = in->op == PTX_OP_ADD || in->op == PTX_OP_ADDC;
	uint32_t size = b_width(in->type);
	if (is_half(in->type))
		put_half(b, in, 2);
	else if (in->type == PTX_F32 || in->type == PTX_F64)
		put_float(b, add ? OP_ADDF32 : OP_SUBF32, in, 2);
	else if (in->cc || in->op == PTX_OP_ADDC || in->op == PTX_OP_SUBC)
		put_carry(b, in);
	else if (in->sat)
		put(b, add ? OP_ADDSAT : OP_SUBSAT, in, 4, 4, 1, 2);
	else
		put(b, b_by_width(add ? OP_ADD16 : OP_SUB16, size), in, size, size, 1, 2);
}

/* A 64-bit product with a constant of 32 bits: see ops_int.c. */
static void note_constant(struct build *b, const struct ptx_insn *in, uint32_t size)
{
	struct insn *e = &b->out->v[b->out->n - 1];
	if (size == 8 && in->o[2].kind == PTX_O_IMM && (uint64_t)in->o[2].imm <= UINT32_MAX) {
		e->n = 1;
		e->imm = in->o[2].imm;
	}
}

static void put_mul(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	if (is_half(in->type)) {
		put_half(b, in, 2);
	} else if (in->type == PTX_F32 || in->type == PTX_F64) {
		put_float(b, OP_MULF32, in, 2);
	} else if (in->sub == PTX_MUL_WIDE) {
		uint32_t op = OP_MULWIDES16 + (size == 4 ? 2 : 0) + !b_signed(in->type);
		put(b, op, in, size * 2, size, 1, 2);
	} else if (in->sub == PTX_MUL_HI) {
		put(b, b_by_type(OP_MULHIS16, in->type), in, size, size, 1, 2);
	} else {
		put(b, b_by_width(OP_MULLO16, size), in, size, size, 1, 2);
		note_constant(b, in, size);
	}
}

static void put_madc(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	put(b, size == 8 ? OP_MADC64 : OP_MADC32, in, size, size, 1, 3);
	b->out->v[b->out->n - 1].sub = (in->op == PTX_OP_MADC ? 1 : 0) | (in->cc ? 2 : 0) |
				       (in->sub == PTX_MUL_HI ? 8 : 0) | (b_signed(in->type) ? 16 : 0);
}

static void put_mad(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	if (in->type == PTX_F32 || in->type == PTX_F64) {
		put_float(b, OP_FMAF32, in, 3);
	} else if (in->op == PTX_OP_MADC || in->cc) {
		put_madc(b, in);
	} else if (in->sub == PTX_MUL_WIDE) {
		uint32_t s0 = b_src(b, &in->o[1], size), s1 = b_src(b, &in->o[2], size);
		uint32_t s2 = b_src(b, &in->o[3], size * 2);
		struct insn *e = b_emit(b, OP_MADWIDES16 + (size == 4 ? 2 : 0) + !b_signed(in->type));
		e->o[0] = b_dst(b, &in->o[0], size * 2);
		e->o[1] = s0;
		e->o[2] = s1;
		e->o[3] = s2;
	} else if (in->sub == PTX_MUL_HI) {
		uint32_t t = b_temp(b, size), s2 = b_src(b, &in->o[3], size);
		uint32_t s0 = b_src(b, &in->o[1], size), s1 = b_src(b, &in->o[2], size);
		three(b, b_by_type(OP_MULHIS16, in->type), t, s0, s1);
		three(b, in->sat ? OP_ADDSAT : b_by_width(OP_ADD16, size), b_dst(b, &in->o[0], size), t, s2);
	} else {
		put(b, b_by_width(OP_MADLO16, size), in, size, size, 1, 3);
		note_constant(b, in, size);
	}
}

static void put_mul24(struct build *b, const struct ptx_insn *in)
{
	bool mad = in->op == PTX_OP_MAD24;
	uint32_t s0 = b_src(b, &in->o[1], 4), s1 = b_src(b, &in->o[2], 4), s2 = mad ? b_src(b, &in->o[3], 4) : 0;
	uint32_t d = b_dst(b, &in->o[0], 4), t = mad ? b_temp(b, 4) : d;
	three(b, in->sub == PTX_MUL_HI ? OP_MUL24HI : OP_MUL24LO, t, s0, s1);
	b->out->v[b->out->n - 1].sub = b_signed(in->type);
	if (mad)
		three(b, in->sat ? OP_ADDSAT : OP_ADD32, d, t, s2);
}

static void select(struct build *b, uint32_t width, uint32_t d, uint32_t yes, uint32_t no, uint32_t p)
{
	struct insn *e = b_emit(b, b_by_width(OP_SELP16, width));
	e->o[0] = d;
	e->o[1] = yes;
	e->o[2] = no;
	e->o[3] = p;
}

/* min, max .xorsign.abs.f32: of the magnitudes, with the signs' product; a NaN has no sign. */
static void put_xorsign(struct build *b, const struct ptx_insn *in)
{
	uint32_t x[2], sign = b_temp(b, 4), m = b_temp(b, 4), p = b_temp(b, 0), d = b_dst(b, &in->o[0], 4);
	uint32_t s[2] = { b_src(b, &in->o[1], 4), b_src(b, &in->o[2], 4) };
	bool min = in->op == PTX_OP_MIN;
	three(b, OP_XOR32, sign, s[0], s[1]);
	for (int k = 0; k < 2; k++) {
		x[k] = b_temp(b, 4);
		three(b, OP_ABSF32, x[k], s[k], 0);
		if (in->ftz)
			three(b, OP_FTZ, x[k], x[k], 0);
	}
	three(b, in->nan ? (min ? OP_MINNANF32 : OP_MAXNANF32) : min ? OP_MINF32 : OP_MAXF32, m, x[0], x[1]);
	three(b, OP_COPYSIGNF32, sign, sign, m);
	three(b, OP_SNUMF32, p, m, m);
	select(b, 4, d, sign, m, p);
}

static void put_minmax(struct build *b, const struct ptx_insn *in)
{
	bool min = in->op == PTX_OP_MIN;
	uint32_t size = b_width(in->type);
	if (is_half(in->type)) {
		put_half(b, in, 2);
		return;
	}
	if (in->type == PTX_F32 || in->type == PTX_F64) {
		if (in->xorsign) {
			put_xorsign(b, in);
			return;
		}
		put_float(b, in->nan ? (min ? OP_MINNANF32 : OP_MAXNANF32) : min ? OP_MINF32 : OP_MAXF32, in, 2);
		return;
	}
	put(b, b_by_type(min ? OP_MINS16 : OP_MAXS16, in->type), in, size, size, 1, 2);
	if (in->relu) {
		uint32_t d = b_dst(b, &in->o[0], size);
		three(b, OP_MAXS32, d, d, b_const(b, 4, 0));
	}
}

static void put_sign(struct build *b, const struct ptx_insn *in)
{
	bool neg = in->op == PTX_OP_NEG;
	uint32_t size = b_width(in->type);
	if (is_half(in->type))
		put_half(b, in, 1);
	else if (in->type == PTX_F32 || in->type == PTX_F64)
		put_float(b, neg ? OP_NEGF32 : OP_ABSF32, in, 1);
	else
		put(b, b_by_width(neg ? OP_NEG16 : OP_ABS16, size), in, size, size, 1, 1);
}

static void put_not(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	if (in->type == PTX_PRED)
		three(b, OP_PNOT, b_dst(b, &in->o[0], 0), b_pred_src(b, &in->o[1]), 0);
	else
		put(b, b_by_width(in->op == PTX_OP_NOT ? OP_NOT16 : OP_CNOT16, size), in, size, size, 1, 1);
	if (in->type == PTX_PRED)
		b->out->v[b->out->n - 1].o[2] = b->out->v[b->out->n - 1].o[1];
}

/* Compare op for a type; 0 if the pair does not exist. */
static uint32_t compare_op(enum ptx_type t, enum ptx_cmp c)
{
	static const uint8_t ordered[] = { [PTX_LT] = 0, [PTX_LE] = 1, [PTX_GT] = 2, [PTX_GE] = 3,
					   [PTX_LO] = 0, [PTX_LS] = 1, [PTX_HI] = 2, [PTX_HS] = 3 };
	static const uint16_t base[] = { OP_SLTS16, OP_SLES16, OP_SGTS16, OP_SGES16 };
	static const uint16_t f32[] = { [PTX_EQ] = OP_SEQF32, [PTX_NE] = OP_SNEF32, [PTX_LT] = OP_SLTF32,
					[PTX_LE] = OP_SLEF32, [PTX_GT] = OP_SGTF32, [PTX_GE] = OP_SGEF32,
					[PTX_EQU] = OP_SEQUF32, [PTX_NEU] = OP_SNEUF32, [PTX_LTU] = OP_SLTUF32,
					[PTX_LEU] = OP_SLEUF32, [PTX_GTU] = OP_SGTUF32, [PTX_GEU] = OP_SGEUF32,
					[PTX_NUM] = OP_SNUMF32, [PTX_NAN_] = OP_SNANF32 };
	if (t == PTX_F32)
		return f32[c];
	if (t == PTX_F64)
		return f32[c] ? f32[c] + (OP_SEQF64 - OP_SEQF32) : 0;
	uint32_t size = b_width(t);
	if (c == PTX_EQ || c == PTX_NE)
		return b_by_width(c == PTX_EQ ? OP_SEQ16 : OP_SNE16, size);
	if (c > PTX_HS)
		return 0;
	bool unsign = c >= PTX_LO || !b_signed(t);
	return base[ordered[c]] + (size <= 2 ? 0 : size == 4 ? 2 : 4) + unsign;
}

static bool is_pair(enum ptx_type t)
{
	return t == PTX_F16X2 || t == PTX_BF16X2;
}

static uint32_t flushed_halves(struct build *b, uint32_t s, bool pair, bool bf16)
{
	uint32_t t = b_temp(b, pair ? 4 : 2);
	three(b, OP_HALF, t, s, 0);
	struct insn *e = &b->out->v[b->out->n - 1];
	e->sub = pair;
	e->n = 1;
	e->imm = SC_HALF_IMM(PTX_OP_MOV, bf16, false, true, false, false, false);
	return t;
}

/* The two halves of a register. */
static void split_pair(struct build *b, uint32_t from, uint32_t to[2])
{
	to[0] = b_temp(b, 2);
	to[1] = b_temp(b, 2);
	three(b, OP_UNPACK32_16, from, to[0], to[1]);
}

/* p[0], p[1] = the low and the high halves' comparison. */
static void compare_pairs(struct build *b, const struct ptx_insn *in, enum ptx_type t, const uint32_t p[2], int first)
{
	bool bf16 = t == PTX_BF16X2;
	uint32_t h[2][2];
	for (int k = 0; k < 2; k++) {
		uint32_t s = b_src(b, &in->o[first + k], 4);
		split_pair(b, in->ftz ? flushed_halves(b, s, true, bf16) : s, h[k]);
	}
	for (int half = 0; half < 2; half++) {
		uint32_t x = b_temp(b, 4), y = b_temp(b, 4), op = compare_op(PTX_F32, in->cmp);
		three(b, bf16 ? OP_BF16TOF32 : OP_F16TOF32, x, h[0][half], 0);
		three(b, bf16 ? OP_BF16TOF32 : OP_F16TOF32, y, h[1][half], 0);
		if (!op)
			b_fail(b, SC_INVALID_PTX, "comparison does not fit its type");
		three(b, op, p[half], x, y);
	}
}

/* p = a cmp c, halves by way of single precision. */
static void compare(struct build *b, const struct ptx_insn *in, enum ptx_type t, uint32_t p, int first)
{
	uint32_t s[2];
	for (int k = 0; k < 2; k++) {
		s[k] = b_src(b, &in->o[first + k], b_width(t));
		if (is_half(t)) {
			uint32_t x = b_temp(b, 4);
			if (in->ftz)
				s[k] = flushed_halves(b, s[k], false, t == PTX_BF16);
			three(b, t == PTX_F16 ? OP_F16TOF32 : OP_BF16TOF32, x, s[k], 0);
			s[k] = x;
		} else if (in->ftz && t == PTX_F32) {
			uint32_t x = b_temp(b, 4);
			three(b, OP_FTZ, x, s[k], 0);
			s[k] = x;
		}
	}
	uint32_t op = compare_op(is_half(t) ? PTX_F32 : t, in->cmp);
	if (!op)
		b_fail(b, SC_INVALID_PTX, "comparison does not fit its type");
	three(b, op, p, s[0], s[1]);
}

static void combine(struct build *b, enum ptx_boolop how, uint32_t d, uint32_t x, uint32_t c)
{
	static const uint16_t op[] = { [PTX_BOOL_NONE] = OP_PMOV, [PTX_BOOL_AND] = OP_PAND, [PTX_BOOL_OR] = OP_POR,
				       [PTX_BOOL_XOR] = OP_PXOR };
	three(b, op[how], d, x, how ? c : x);
}

/* setp of pairs: one predicate for each half. */
static void put_setp_pairs(struct build *b, const struct ptx_insn *in)
{
	uint32_t t[2] = { b_temp(b, 0), b_temp(b, 0) }, c = in->boolop ? b_pred_src(b, &in->o[4]) : 0, c2 = b_temp(b, 0);
	compare_pairs(b, in, in->type, t, 2);
	if (in->boolop)
		three(b, OP_PMOV, c2, c, c); /* a result may be c */
	combine(b, in->boolop, b_dst(b, &in->o[0], 0), t[0], c2);
	combine(b, in->boolop, b_dst(b, &in->o[1], 0), t[1], c2);
}

static void put_setp(struct build *b, const struct ptx_insn *in)
{
	if (is_pair(in->type)) {
		put_setp_pairs(b, in);
		return;
	}
	bool two = in->o[1].kind == PTX_O_REG;
	uint32_t p = b_dst(b, &in->o[0], 0);
	if (!two && !in->boolop) {
		compare(b, in, in->type, p, 2);
		return;
	}
	uint32_t t = b_temp(b, 0), c = in->boolop ? b_pred_src(b, &in->o[4]) : 0;
	compare(b, in, in->type, t, 2);
	if (two) {
		uint32_t n = b_temp(b, 0), c2 = b_temp(b, 0);
		three(b, OP_PNOT, n, t, t);
		if (in->boolop)
			three(b, OP_PMOV, c2, c, c); /* p may be c */
		combine(b, in->boolop, p, t, c);
		combine(b, in->boolop, b_dst(b, &in->o[1], 0), n, c2);
		return;
	}
	combine(b, in->boolop, p, t, c);
}

/* set of pairs: 1 or 0 in each half. */
static void put_set_pairs(struct build *b, const struct ptx_insn *in)
{
	uint32_t p[2] = { b_temp(b, 0), b_temp(b, 0) }, h[2] = { b_temp(b, 2), b_temp(b, 2) };
	if (in->type != in->type2)
		b_fail(b, SC_NOT_SUPPORTED, "set of packed halves into another type");
	uint32_t one = b_const(b, 2, in->type == PTX_F16X2 ? 0x3c00u : 0x3f80u), zero = b_const(b, 2, 0);
	compare_pairs(b, in, in->type2, p, 1);
	uint32_t c = in->boolop ? b_pred_src(b, &in->o[3]) : 0;
	for (int half = 0; half < 2; half++) {
		if (in->boolop)
			combine(b, in->boolop, p[half], p[half], c);
		select(b, 2, h[half], one, zero, p[half]);
	}
	three(b, OP_PACK32_16, b_dst(b, &in->o[0], 4), h[0], h[1]);
}

static void put_set(struct build *b, const struct ptx_insn *in)
{
	if (is_pair(in->type2)) {
		put_set_pairs(b, in);
		return;
	}
	uint32_t t = b_temp(b, 0), width = b_width(in->type);
	compare(b, in, in->type2, t, 1);
	if (in->boolop)
		combine(b, in->boolop, t, t, b_pred_src(b, &in->o[3]));
	uint64_t yes = in->type == PTX_F32 ? 0x3f800000u : in->type == PTX_F16 ? 0x3c00u : in->type == PTX_BF16 ? 0x3f80u : UINT64_MAX;
	select(b, width, b_dst(b, &in->o[0], width), b_const(b, width, yes), b_const(b, width, 0), t);
}

static void put_selp(struct build *b, const struct ptx_insn *in)
{
	uint32_t width = b_width(in->type);
	uint32_t x = b_src(b, &in->o[1], width), y = b_src(b, &in->o[2], width), p = b_pred_src(b, &in->o[3]);
	select(b, width, b_dst(b, &in->o[0], width), x, y, p);
}

/* a where c >= 0, else b; -0 counts as 0, NaN as negative */
static void put_slct(struct build *b, const struct ptx_insn *in)
{
	uint32_t width = b_width(in->type), t = b_temp(b, 0), c = b_src(b, &in->o[3], 4);
	if (in->type2 == PTX_F32 && in->ftz) {
		uint32_t x = b_temp(b, 4);
		three(b, OP_FTZ, x, c, 0);
		c = x;
	}
	three(b, in->type2 == PTX_F32 ? OP_SGEF32 : OP_SGES32, t, c, b_const(b, 4, 0));
	uint32_t x = b_src(b, &in->o[1], width), y = b_src(b, &in->o[2], width);
	select(b, width, b_dst(b, &in->o[0], width), x, y, t);
}

static void put_div(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	if (in->type == PTX_F32 && in->round == PTX_APPROX)
		put_float(b, OP_DIVAPPROX, in, 2);
	else if (in->type == PTX_F32 || in->type == PTX_F64)
		put_float(b, OP_DIVF32, in, 2);
	else
		put(b, b_by_type(in->op == PTX_OP_DIV ? OP_DIVS16 : OP_REMS16, in->type), in, size, size, 1, 2);
}

static void put_approx(struct build *b, const struct ptx_insn *in)
{
	static const uint16_t op[PTX_OP_COUNT] = { [PTX_OP_SIN] = OP_SINAPPROX, [PTX_OP_COS] = OP_COSAPPROX,
						   [PTX_OP_EX2] = OP_EX2APPROX, [PTX_OP_LG2] = OP_LG2APPROX,
						   [PTX_OP_TANH] = OP_TANHAPPROX };
	if (is_half(in->type))
		put_half(b, in, 1);
	else
		put_float(b, op[in->op], in, 1);
}

static void put_sreg(struct build *b, const struct ptx_insn *in)
{
	uint32_t id = in->o[1].sreg, width = b_reg_width(b, &in->o[0]);
	enum sc_op op;
	if (id <= PTX_SREG_TID_Z || id == PTX_SREG_LANEID || (id >= PTX_SREG_LANEMASK_EQ && id <= PTX_SREG_LANEMASK_GT))
		op = OP_SREGLANE;
	else if (id >= PTX_SREG_CLOCK && id <= PTX_SREG_GLOBALTIMER_HI)
		op = OP_CLOCK;
	else
		op = width == 8 ? OP_SREGU64 : OP_SREGU32;
	if (width == 2)
		b_fail(b, SC_NOT_SUPPORTED, "special register read into 16 bits");
	uint32_t d = b_dst(b, &in->o[0], width), to = d;
	if (op == OP_SREGLANE && width == 8)
		to = b_temp(b, 4);
	struct insn *e = b_emit(b, op);
	e->o[0] = to;
	e->sub = (uint8_t)id;
	e->n = (uint8_t)width;
	if (to != d)
		three(b, OP_C32U32_64, d, to, 0);
}

static void put_address(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *s = &in->o[1];
	uint32_t width = b_reg_width(b, &in->o[0]), d = b_dst(b, &in->o[0], width);
	const struct ptx_var *v = s->var;
	if (s->kind == PTX_O_FUNC) {
		three(b, b_by_width(OP_MOV16, width), d,
		      b_const(b, width, sc_module_function_address(b->tree->module, s->func)), 0);
		return;
	}
	struct insn *e;
	switch (v->space) {
	case PTX_SPACE_SHARED:
		e = b_emit(b, OP_MOVSHARED);
		e->imm = (int64_t)b_shared_offset(b, v) + s->imm;
		break;
	case PTX_SPACE_PARAM:
		if (v->engine_addr & SC_KERNEL_PARAM) {
			e = b_emit(b, OP_MOVPARAM);
			e->imm = (int64_t)(v->engine_addr & ~SC_KERNEL_PARAM) + s->imm;
			break;
		}
		/* fallthrough */
	case PTX_SPACE_LOCAL:
		e = b_emit(b, OP_MOVLOCAL);
		e->imm = (int64_t)v->engine_addr + s->imm;
		break;
	default:
		three(b, b_by_width(OP_MOV16, width), d, b_const(b, width, v->engine_addr + (uint64_t)s->imm), 0);
		return;
	}
	e->o[0] = d;
	e->n = (uint8_t)width;
}

/* mov with one side in braces */
static void put_packed(struct build *b, const struct ptx_insn *in)
{
	bool unpack = in->o[0].kind == PTX_O_VEC;
	const struct ptx_operand *vec = unpack ? &in->o[0] : &in->o[1], *whole = unpack ? &in->o[1] : &in->o[0];
	uint32_t size = ptx_type_size(in->type), part = size / vec->n, s[5], skip = 0;
	if (part < 2 || size > 8)
		b_fail(b, SC_NOT_SUPPORTED, "mov of %u-byte parts of %u bytes", part, size);
	s[0] = unpack ? b_src(b, whole, size) : b_dst(b, whole, size);
	for (uint32_t k = 0; k < vec->n; k++) {
		bool sink = vec->vec[k].kind == PTX_O_SINK;
		s[k + 1] = sink ? 0 : b_src(b, &vec->vec[k], part);
		skip |= (uint32_t)sink << k;
	}
	uint32_t op = size == 4 ? OP_PACK32_16 : part == 4 ? OP_PACK64_32 : OP_PACK64_16;
	struct insn *e = b_emit(b, unpack ? op + (OP_UNPACK32_16 - OP_PACK32_16) : op);
	e->sub = (uint8_t)skip;
	for (uint32_t k = 0; k <= vec->n; k++)
		e->o[k] = s[k];
}

static void put_mov(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *s = &in->o[1];
	uint32_t width = b_width(in->type);
	if (in->o[0].kind == PTX_O_VEC || s->kind == PTX_O_VEC) {
		put_packed(b, in);
	} else if (s->kind == PTX_O_SREG) {
		put_sreg(b, in);
	} else if (s->kind == PTX_O_VAR || s->kind == PTX_O_FUNC) {
		put_address(b, in);
	} else if (in->type == PTX_PRED) {
		uint32_t p = s->kind == PTX_O_IMM ? b_const_pred(b, s->imm != 0) : b_pred_src(b, s);
		three(b, OP_PMOV, b_dst(b, &in->o[0], 0), p, p);
	} else {
		put(b, b_by_width(OP_MOV16, width), in, width, width, 1, 1);
	}
}

static void put_cvta(struct build *b, const struct ptx_insn *in)
{
	uint32_t dw = b_reg_width(b, &in->o[0]);
	const struct ptx_operand *s = &in->o[1];
	struct ptx_insn mov = { .op = PTX_OP_MOV, .type = dw == 8 ? PTX_B64 : PTX_B32, .line = in->line, .o = { in->o[0], in->o[1] } };
	uint32_t from;
	uint32_t sw = dw;
	if (s->kind == PTX_O_VAR) { /* cvta of a name: its address first */
		mov.o[1] = *s;
		put_address(b, &mov);
		from = b_dst(b, &in->o[0], dw);
	} else {
		sw = s->kind == PTX_O_REG ? b_reg_width(b, s) : dw;
		from = b_src(b, s, sw);
	}
	enum sc_op op = OP_NONE;
	if (in->space == PTX_SPACE_SHARED)
		op = in->sub == PTX_CVTA_TO ? OP_CVTATOSHARED : OP_CVTASHARED;
	else if (in->space == PTX_SPACE_LOCAL || (in->space == PTX_SPACE_PARAM && !b->f->is_entry))
		op = in->sub == PTX_CVTA_TO ? OP_CVTATOLOCAL : OP_CVTALOCAL;
	uint32_t d = b_dst(b, &in->o[0], dw);
	if (op == OP_NONE) {
		if (from != d)
			three(b, sw == dw ? b_by_width(OP_MOV16, dw) : OP_C32U32_64, d, from, 0);
		return;
	}
	three(b, op, d, from, 0);
	b->out->v[b->out->n - 1].n = (uint8_t)dw;
	b->out->v[b->out->n - 1].sub = (uint8_t)sw;
}

static void put_isspacep(struct build *b, const struct ptx_insn *in)
{
	uint32_t w = in->o[1].kind == PTX_O_REG ? b_reg_width(b, &in->o[1]) : 8;
	three(b, OP_ISSPACEP, b_dst(b, &in->o[0], 0), b_src(b, &in->o[1], w), 0);
	b->out->v[b->out->n - 1].n = (uint8_t)in->space;
	b->out->v[b->out->n - 1].sub = (uint8_t)w;
}

static void put_bits(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	bool wide = size == 8, sign = b_signed(in->type);
	struct insn *e;
	switch (in->op) {
	case PTX_OP_POPC: put(b, wide ? OP_POPC64 : OP_POPC32, in, 4, size, 1, 1); break;
	case PTX_OP_CLZ: put(b, wide ? OP_CLZ64 : OP_CLZ32, in, 4, size, 1, 1); break;
	case PTX_OP_BREV: put(b, wide ? OP_BREV64 : OP_BREV32, in, size, size, 1, 1); break;
	case PTX_OP_BFE: put_mixed(b, (wide ? OP_BFES64 : OP_BFES32) + !sign, in, size, 1, 2); break;
	case PTX_OP_BFI: put_mixed(b, wide ? OP_BFI64 : OP_BFI32, in, size, 2, 2); break;
	case PTX_OP_BFIND: put(b, (wide ? OP_BFINDS64 : OP_BFINDS32) + !sign, in, 4, size, 1, 1); break;
	case PTX_OP_SHL: case PTX_OP_SHR: {
		uint32_t op = in->op == PTX_OP_SHL ? b_by_width(OP_SHL16, size) : b_by_type(OP_SHRS16, in->type);
		bool fixed = in->o[2].kind == PTX_O_IMM && (uint64_t)in->o[2].imm < 8 * size;
		put_mixed(b, op, in, size, 1, 1);
		b->out->v[b->out->n - 1].n = fixed;
		b->out->v[b->out->n - 1].imm = fixed ? in->o[2].imm : 0;
		break;
	}
	case PTX_OP_SHF: put(b, OP_SHF, in, 4, 4, 1, 3); break;
	case PTX_OP_LOP3: put(b, OP_LOP3, in, 4, 4, 1, 3); break;
	case PTX_OP_PRMT: put(b, OP_PRMT, in, 4, 4, 1, 3); break;
	case PTX_OP_DP4A: put(b, OP_DP4A, in, 4, 4, 1, 3); break;
	case PTX_OP_DP2A: put(b, OP_DP2A, in, 4, 4, 1, 3); break;
	case PTX_OP_FNS: put(b, OP_FNS, in, 4, 4, 1, 3); break;
	case PTX_OP_BMSK: put(b, OP_BMSK, in, 4, 4, 1, 2); break;
	case PTX_OP_SZEXT: put(b, OP_SZEXT, in, 4, 4, 1, 2); break;
	case PTX_OP_VABSDIFF4: put(b, OP_VABSDIFF4, in, 4, 4, 1, 3); break;
	default: return;
	}
	e = &b->out->v[b->out->n - 1];
	bool sa = b_signed(in->type), sb = b_signed(in->type2);
	switch (in->op) {
	case PTX_OP_BFIND: e->sub = in->sub == PTX_BFIND_SHIFTAMT; break;
	case PTX_OP_LOP3: e->imm = in->lut; break;
	case PTX_OP_BMSK: e->sub = in->sub == PTX_BMSK_WRAP; break;
	case PTX_OP_SZEXT: e->sub = (uint8_t)(sa | (in->sub == PTX_BMSK_WRAP ? 2 : 0)); break;
	case PTX_OP_DP4A: e->sub = (uint8_t)(sa | sb << 1); break;
	case PTX_OP_DP2A: e->sub = (uint8_t)(sa | sb << 1 | (in->sub == PTX_MUL_HI ? 4 : 0)); break;
	case PTX_OP_VABSDIFF4:
		if (in->sat)
			b_fail(b, SC_NOT_SUPPORTED, "vabsdiff4.sat");
		e->sub = (uint8_t)(b_signed(in->type2) | b_signed(in->type3) << 1 | (in->atom == PTX_ATOM_ADD ? 4 : 0));
		break;
	default: e->sub = (uint8_t)in->sub; break;
	}
}

static void put_float1(struct build *b, const struct ptx_insn *in)
{
	static const uint16_t op[PTX_OP_COUNT] = { [PTX_OP_RCP] = OP_RCPF32, [PTX_OP_SQRT] = OP_SQRTF32,
						   [PTX_OP_RSQRT] = OP_RSQRTF32 };
	bool approx = in->type == PTX_F64 && (in->op == PTX_OP_RSQRT || (in->op == PTX_OP_RCP && in->round == PTX_APPROX));
	if (!approx) {
		put_float(b, op[in->op], in, 1);
		return;
	}
	put(b, in->op == PTX_OP_RCP ? OP_RCPAPPROXF64 : OP_RSQRTAPPROXF64, in, 8, 8, 1, 1);
	b->out->v[b->out->n - 1].sub = in->ftz;
}

static void put_fma(struct build *b, const struct ptx_insn *in)
{
	if (is_half(in->type))
		put_half(b, in, 3);
	else
		put_float(b, OP_FMAF32, in, 3);
}

static void put_copysign(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	put(b, size == 8 ? OP_COPYSIGNF64 : OP_COPYSIGNF32, in, size, size, 1, 2);
}

static void put_testp(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	put(b, size == 8 ? OP_TESTP64 : OP_TESTP32, in, 0, size, 1, 1);
	b->out->v[b->out->n - 1].sub = (uint8_t)in->sub;
}

static void put_sad(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = b_width(in->type);
	put(b, b_by_type(OP_SADS16, in->type), in, size, size, 1, 3);
}

bool b_lower_alu(struct build *b, const struct ptx_insn *in)
{
	typedef void (*lower)(struct build *, const struct ptx_insn *);
	static const lower table[PTX_OP_COUNT] = {
		[PTX_OP_ADD] = put_addsub, [PTX_OP_ADDC] = put_addsub, [PTX_OP_SUB] = put_addsub,
		[PTX_OP_SUBC] = put_addsub, [PTX_OP_MUL] = put_mul, [PTX_OP_MAD] = put_mad,
		[PTX_OP_MADC] = put_mad, [PTX_OP_MUL24] = put_mul24, [PTX_OP_MAD24] = put_mul24,
		[PTX_OP_MIN] = put_minmax, [PTX_OP_MAX] = put_minmax, [PTX_OP_ABS] = put_sign,
		[PTX_OP_NEG] = put_sign, [PTX_OP_NOT] = put_not, [PTX_OP_CNOT] = put_not,
		[PTX_OP_AND] = put_logic, [PTX_OP_OR] = put_logic, [PTX_OP_XOR] = put_logic,
		[PTX_OP_DIV] = put_div, [PTX_OP_REM] = put_div, [PTX_OP_FMA] = put_fma,
		[PTX_OP_RCP] = put_float1, [PTX_OP_SQRT] = put_float1, [PTX_OP_RSQRT] = put_float1,
		[PTX_OP_SIN] = put_approx, [PTX_OP_COS] = put_approx, [PTX_OP_EX2] = put_approx,
		[PTX_OP_LG2] = put_approx, [PTX_OP_TANH] = put_approx, [PTX_OP_COPYSIGN] = put_copysign,
		[PTX_OP_SETP] = put_setp, [PTX_OP_SET] = put_set, [PTX_OP_SELP] = put_selp,
		[PTX_OP_SLCT] = put_slct, [PTX_OP_MOV] = put_mov, [PTX_OP_CVTA] = put_cvta,
		[PTX_OP_ISSPACEP] = put_isspacep, [PTX_OP_TESTP] = put_testp, [PTX_OP_SAD] = put_sad,
		[PTX_OP_POPC] = put_bits, [PTX_OP_CLZ] = put_bits, [PTX_OP_BREV] = put_bits,
		[PTX_OP_BFE] = put_bits, [PTX_OP_BFI] = put_bits, [PTX_OP_BFIND] = put_bits,
		[PTX_OP_SHL] = put_bits, [PTX_OP_SHR] = put_bits, [PTX_OP_SHF] = put_bits,
		[PTX_OP_LOP3] = put_bits, [PTX_OP_PRMT] = put_bits, [PTX_OP_DP4A] = put_bits,
		[PTX_OP_DP2A] = put_bits, [PTX_OP_FNS] = put_bits, [PTX_OP_BMSK] = put_bits,
		[PTX_OP_SZEXT] = put_bits, [PTX_OP_VABSDIFF4] = put_bits,
	};
	if (!table[in->op])
		return false;
	table[in->op](b, in);
	return true;
}
