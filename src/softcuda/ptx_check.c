/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules cannot say: choices that depend on each other. Also gives in->sub its final value. */
#include "softcuda/ptx_int.h"

struct place { int line, col; };
static bool is_float(enum ptx_type t) { return t >= PTX_F16 && t <= PTX_F64; }
static bool is_signed(enum ptx_type t) { return t >= PTX_S8 && t <= PTX_S64; }
static bool is_bits(enum ptx_type t) { return t >= PTX_B8 && t <= PTX_B128; }

#define FAIL(...) error_at(pp, at.line, at.col, __VA_ARGS__)

static bool check_cvt(struct parser *pp, const struct ptx_insn *in, uint64_t mods, struct place at)
{
	bool to = is_float(in->type), from = is_float(in->type2);
	uint32_t ts = ptx_type_size(in->type), fs = ptx_type_size(in->type2);
	bool narrows = to && (!from || ts < fs || (ts == fs && in->type != in->type2));
	if (narrows && !(mods & M_RND))
		return FAIL("cvt%s%s needs .rn, .rz, .rm or .rp", type_name(in->type), type_name(in->type2));
	if (!to && from && !(mods & M_IRND))
		return FAIL("cvt%s%s needs .rni, .rzi, .rmi or .rpi", type_name(in->type), type_name(in->type2));
	if (!to && !from && in->round)
		return FAIL("cvt between integers does not round");
	if (to && from && !narrows && (mods & M_RND))
		return FAIL("cvt%s%s does not round to a float", type_name(in->type), type_name(in->type2));
	if (in->ftz && in->type != PTX_F32 && in->type2 != PTX_F32 && in->type != PTX_F16X2 && in->type != PTX_BF16X2)
		return FAIL(".ftz needs .f32");
	return true;
}

static bool check_round(struct parser *pp, const struct ptx_insn *in, uint64_t mods, struct place at)
{
	bool half = in->type == PTX_F16 || in->type == PTX_F16X2 || in->type == PTX_BF16 || in->type == PTX_BF16X2;
	if (half && in->op != PTX_OP_CVT && (mods & M_RND) && in->round != PTX_RN)
		return FAIL("%s%s rounds with .rn only", ptx_op_name[in->op], type_name(in->type));
	uint64_t r = mods & (M_RND | M_IRND | M_APPROX | M_FULL);
	if (r & (r - 1))
		return FAIL("two roundings contradict each other");
	return true;
}

static bool check_div(struct parser *pp, const struct ptx_insn *in, struct place at)
{
	if (in->type == PTX_F32 && !in->round) /* PTX 1.x default is .full; since 1.4 it must be written */
		return FAIL("%s.f32 needs .approx%s or a rounding", ptx_op_name[in->op], in->op == PTX_OP_DIV ? ", .full" : "");
	if (in->type == PTX_F64 && !in->round)
		return FAIL("%s.f64 needs a rounding", ptx_op_name[in->op]);
	if (in->type == PTX_F64 && in->op == PTX_OP_RCP && in->round == PTX_APPROX && !in->ftz)
		return FAIL("rcp.approx.f64 needs .ftz");
	return true;
}

static bool check_cmp(struct parser *pp, const struct ptx_insn *in, struct place at)
{
	enum ptx_type t = in->op == PTX_OP_SET ? in->type2 : in->type;
	bool unsigned_only = in->cmp >= PTX_LO && in->cmp <= PTX_HS, float_only = in->cmp >= PTX_EQU;
	if (is_float(t) ? unsigned_only : float_only)
		return FAIL("this comparison does not apply to %s", type_name(t));
	if (is_signed(t) && unsigned_only)
		return FAIL("an unsigned comparison does not apply to %s", type_name(t));
	if (is_bits(t) && in->cmp != PTX_EQ && in->cmp != PTX_NE)
		return FAIL("%s compares for .eq and .ne only", type_name(t));
	bool third = in->op == PTX_OP_SET ? in->nop == 4 : in->nop == 5;
	if (third != (in->boolop != PTX_BOOL_NONE))
		return FAIL("a boolean operation and a third source go together");
	return true;
}

#define T(x) (1u << PTX_##x)
static bool check_atom(struct parser *pp, const struct ptx_insn *in, struct place at)
{
	static const uint32_t types[] = {
		[PTX_ATOM_AND] = T(B32) | T(B64) | T(U32) | T(S32) | T(U64) | T(S64), [PTX_ATOM_OR] = T(B32) | T(B64) | T(U32) | T(S32) | T(U64) | T(S64),
		[PTX_ATOM_XOR] = T(B32) | T(B64) | T(U32) | T(S32) | T(U64) | T(S64),
		[PTX_ATOM_CAS] = T(B16) | T(B32) | T(B64) | T(U32) | T(S32) | T(U64) | T(S64),
		[PTX_ATOM_EXCH] = T(B32) | T(B64) | T(U32) | T(S32) | T(U64) | T(S64) | T(F32) | T(F64),
		[PTX_ATOM_ADD] = T(U32) | T(S32) | T(U64) | T(S64) | T(F32) | T(F64) | T(F16) | T(F16X2) | T(BF16) | T(BF16X2),
		[PTX_ATOM_INC] = T(U32), [PTX_ATOM_DEC] = T(U32),
		[PTX_ATOM_MIN] = T(U32) | T(S32) | T(U64) | T(S64), [PTX_ATOM_MAX] = T(U32) | T(S32) | T(U64) | T(S64),
	};
	if (!(types[in->atom] >> in->type & 1))
		return FAIL("this atomic operation does not take %s", type_name(in->type));
	if (in->space != PTX_SPACE_GENERIC && in->space != PTX_SPACE_GLOBAL && in->space != PTX_SPACE_SHARED)
		return FAIL("atomics work on generic, .global and .shared addresses");
	if (in->op == PTX_OP_ATOM && (in->nop == 4) != (in->atom == PTX_ATOM_CAS))
		return FAIL("atom%s takes %s", in->atom == PTX_ATOM_CAS ? ".cas" : "", in->atom == PTX_ATOM_CAS ? "two values" : "one value");
	if (in->op == PTX_OP_RED && (in->atom == PTX_ATOM_CAS || in->atom == PTX_ATOM_EXCH))
		return FAIL("red does not take .cas or .exch");
	return true;
}

static bool check_barrier(struct parser *pp, struct ptx_insn *in, uint64_t mods, struct place at)
{
	bool warp = in->sub == PTX_BAR_WARP;
	if (in->sub == PTX_SUB_NONE)
		in->sub = PTX_BAR_SYNC;
	if (!(mods & (M_SYNC | M_BAR)) || (in->sub == PTX_BAR_ARRIVE && (mods & M_SYNC)))
		return FAIL("%s needs .sync, .arrive or .red", ptx_op_name[in->op]);
	if (in->sub == PTX_BAR_ARRIVE && in->nop != 2)
		return FAIL("%s.arrive needs the number of threads", ptx_op_name[in->op]);
	bool red = (mods & M_BARRED) != 0;
	if (red && (in->sub == PTX_BAR_RED_POPC) != (in->type == PTX_U32))
		return FAIL(".red.popc gives .u32, .red.and and .red.or give .pred");
	unsigned first = red;
	if (in->op == PTX_OP_BARRIER || in->op == PTX_OP_BAR)
		if (!warp && in->o[first].kind == PTX_O_IMM && (uint64_t)in->o[first].imm > 15)
			return FAIL("barriers are numbered 0 to 15");
	return true;
}

static bool check_memory(struct parser *pp, struct ptx_insn *in, struct place at)
{
	if (in->vec * ptx_type_size(in->type) > 16)
		return FAIL("a vector .v%u%s is wider than 16 bytes", in->vec, type_name(in->type));
	if (in->op == PTX_OP_ST && in->space == PTX_SPACE_CONST)
		return FAIL("st cannot write .const");
	return true;
}

static bool check_arith(struct parser *pp, const struct ptx_insn *in, struct place at)
{
	bool s64 = in->type == PTX_U16 || in->type == PTX_S16;
	if (in->cc && s64)
		return FAIL(".cc needs 32 or 64 bits");
	if (in->op == PTX_OP_MAD && in->sat && is_signed(in->type) && (in->type != PTX_S32 || in->sub != PTX_MUL_HI))
		return FAIL(".sat goes with mad.hi.s32 only");
	if (in->op == PTX_OP_MAD && in->sat && !is_float(in->type) && !is_signed(in->type))
		return FAIL(".sat goes with mad.hi.s32 only");
	if (in->sat && in->cc)
		return FAIL(".sat and .cc contradict each other");
	if (in->xorsign != in->to_abs)
		return FAIL(".xorsign and .abs go together");
	return true;
}

static bool check_surface(struct parser *pp, struct ptx_insn *in, struct place at)
{
	if (in->vec * ptx_type_size(in->type) > 16)
		return FAIL("a vector .v%u%s is wider than 16 bytes", in->vec, type_name(in->type));
	return true;
}

bool check_insn(struct parser *pp, struct ptx_insn *in, uint64_t mods, int line, int col)
{
	struct place at = { line, col };
	if (!check_round(pp, in, mods, at))
		return false;
	switch (in->op) {
	case PTX_OP_CVT: return check_cvt(pp, in, mods, at);
	case PTX_OP_DIV: return in->type < PTX_F16 || check_div(pp, in, at);
	case PTX_OP_RCP: case PTX_OP_SQRT: return check_div(pp, in, at);
	case PTX_OP_MAD: case PTX_OP_ADD: case PTX_OP_SUB: case PTX_OP_MIN: case PTX_OP_MAX:
		return check_arith(pp, in, at);
	case PTX_OP_SET: case PTX_OP_SETP: return check_cmp(pp, in, at);
	case PTX_OP_ATOM: case PTX_OP_RED: return check_atom(pp, in, at);
	case PTX_OP_BAR: case PTX_OP_BARRIER: return check_barrier(pp, in, mods, at);
	case PTX_OP_LD: case PTX_OP_ST: case PTX_OP_LDU: return check_memory(pp, in, at);
	case PTX_OP_SULD: case PTX_OP_SUST: return check_surface(pp, in, at);
	case PTX_OP_CVTA: in->sub = mods & M_TO ? PTX_CVTA_TO : PTX_CVTA_FROM; return true;
	case PTX_OP_SHF: in->sub += in->clamp; in->clamp = 0; return true;
	case PTX_OP_BMSK: case PTX_OP_SZEXT: in->sub = in->clamp ? PTX_BMSK_WRAP : PTX_BMSK_CLAMP; in->clamp = 0; return true;
	case PTX_OP_PRMT: if (!in->sub) in->sub = PTX_PRMT_DEFAULT; return true;
	case PTX_OP_SHFL: case PTX_OP_VOTE: return true;
	case PTX_OP_LOP3:
		if ((uint64_t)in->o[4].imm > 255)
			return FAIL("lop3's table is 0 to 255");
		in->lut = (uint8_t)in->o[4].imm;
		in->o[4] = (struct ptx_operand){ 0 };
		in->nop = 4;
		return true;
	default: return true;
	}
}
