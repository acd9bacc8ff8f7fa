/* SPDX-License-Identifier: Apache-2.0 */
/* Loads, stores, atomics, barriers and warp operations. */
#include "softcuda/engine_build.h"
#include "softcuda/engine_half.h"

/* Space, mode, address register, offset and range slot of a memory instruction. */
static bool address(struct build *b, struct insn *e, const struct ptx_insn *in, const struct ptx_operand *a)
{
	enum ptx_space space = in->space;
	enum sc_mode mode = MODE_CONST;
	e->imm = a->imm;
	if (a->base_is_reg) {
		uint32_t at;
		bool same, by_warp = b_affine_address(b, a, ptx_type_size(in->type), &at, &same) && !b_affine_lanes(b, a->reg);
		mode = b_reg_width(b, a) == 8 ? MODE_REG64 : MODE_REG32;
		e->o[1] = by_warp ? at : b_reg(b, a);
		if (space == PTX_SPACE_PARAM && !b->f->is_entry)
			space = PTX_SPACE_LOCAL;
	} else if (a->var && a->var->space == PTX_SPACE_PARAM) {
		bool kernel = a->var->engine_addr & SC_KERNEL_PARAM;
		space = kernel ? PTX_SPACE_PARAM : PTX_SPACE_LOCAL;
		e->imm += (int64_t)(a->var->engine_addr & ~SC_KERNEL_PARAM);
	} else if (a->var && a->var->space == PTX_SPACE_SHARED) {
		e->imm += (int64_t)b_shared_offset(b, a->var);
	} else if (a->var) {
		e->imm += (int64_t)a->var->engine_addr;
	}
	e->sub = (uint8_t)(space | mode << MEM_MODE_SHIFT);
	e->o[5] = b->nmem++ % SC_RANGES;
	return mode == MODE_REG64 && (space == PTX_SPACE_GENERIC || space == PTX_SPACE_GLOBAL || space == PTX_SPACE_CONST);
}

static uint32_t load_op(uint32_t size, bool sign, uint32_t width)
{
	static const uint8_t index[4][2][4] = { /* size 1 2 4 8; sign; width 2 4 8 */
		{ { 0, 2, 4 }, { 1, 3, 5 } },
		{ { 6, 7, 9 }, { 6, 8, 10 } },
		{ { 255, 11, 12 }, { 255, 11, 13 } },
		{ { 255, 255, 14 }, { 255, 255, 14 } },
	};
	return index[__builtin_ctz(size)][sign][__builtin_ctz(width) - 1];
}

static uint32_t store_op(uint32_t size, uint32_t width)
{
	static const uint8_t index[4][3] = { { 0, 1, 2 }, { 3, 4, 5 }, { 255, 6, 7 }, { 255, 255, 8 } };
	return index[__builtin_ctz(size)][__builtin_ctz(width) - 1];
}

static const uint8_t vec_operand[4] = { 0, 2, 3, 4 };

static void vector(struct build *b, const struct ptx_insn *in, const struct ptx_operand *v,
		   const struct ptx_operand *a, bool load)
{
	uint32_t size = ptx_type_size(in->type), width = 0, at[4];
	for (uint32_t k = 0; k < v->n; k++) {
		const struct ptx_operand *e = &v->vec[k];
		uint32_t w = e->kind == PTX_O_REG ? b_reg_width(b, e) : 0;
		if (w && width && w != width)
			b_fail(b, SC_NOT_SUPPORTED, "vector of registers of different widths");
		width = w ? w : width;
	}
	if (!width)
		width = size < 2 ? 2 : size;
	for (uint32_t k = 0; k < v->n; k++)
		at[k] = v->vec[k].kind == PTX_O_SINK ? UINT32_MAX : b_src(b, &v->vec[k], width);
	static const uint16_t op[2][4] = { { OP_STV8, OP_STV16, OP_STV32, OP_STV64 },
					   { OP_LDV8, OP_LDV16, OP_LDV32, OP_LDV64 } };
	struct insn *e = b_emit(b, op[load][__builtin_ctz(size)]);
	address(b, e, in, a);
	for (uint32_t k = 0; k < v->n; k++) {
		if (at[k] == UINT32_MAX && !load)
			at[k] = b_const(b, width, 0);
		e = &b->out->v[b->out->n - 1];
		e->o[vec_operand[k]] = at[k];
	}
	e->n = (uint8_t)(v->n | (uint32_t)__builtin_ctz(width) << 4 | (b_signed(in->type) ? 0x80 : 0));
}

/* A whole kernel parameter needs no address check. */
bool b_whole_param(const struct build *b, const struct ptx_insn *in, const struct ptx_operand *a)
{
	return a->var && !a->base_is_reg && a->var->space == PTX_SPACE_PARAM && (a->var->engine_addr & SC_KERNEL_PARAM) &&
	       b_reg_width(b, &in->o[0]) == ptx_type_size(in->type) && a->imm >= 0 &&
	       (uint64_t)a->imm + ptx_type_size(in->type) <= a->var->size;
}

/* An address that the warp's head knows: o[1] is where its base lies, n whether all lanes have the same. */
static bool by_base(struct build *b, struct insn *e, const struct ptx_operand *a, uint32_t size)
{
	uint32_t at;
	bool same;
	if (!b_affine_address(b, a, size, &at, &same))
		return false;
	e->o[1] = at;
	e->n = same;
	return true;
}

static void load(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *a = &in->o[1];
	if (ptx_type_size(in->type) > 8)
		b_fail(b, SC_NOT_SUPPORTED, "128-bit load");
	if (in->o[0].kind == PTX_O_VEC) {
		vector(b, in, &in->o[0], a, true);
		return;
	}
	uint32_t size = ptx_type_size(in->type), width = b_reg_width(b, &in->o[0]);
	uint32_t d = b_dst(b, &in->o[0], width);
	if (b_whole_param(b, in, a)) {
		struct insn *e = b_emit(b, b_by_width(OP_LDPARAM16, size));
		e->o[0] = d;
		e->imm = (int64_t)(a->var->engine_addr & ~SC_KERNEL_PARAM) + a->imm;
		return;
	}
	struct insn *e = b_emit(b, OP_NONE);
	bool global = address(b, e, in, a);
	uint32_t k = load_op(size, b_signed(in->type), width);
	if (k == 255)
		b_fail(b, SC_INVALID_PTX, "load of %u bytes into a narrower register", size);
	bool by_warp = global && by_base(b, e, a, size);
	e->op = (uint16_t)((by_warp ? OP_LDAU8_16 : global ? OP_LDGU8_16 : OP_LDXU8_16) + k);
	e->o[0] = d;
}

static void store(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *v = &in->o[1];
	if (ptx_type_size(in->type) > 8)
		b_fail(b, SC_NOT_SUPPORTED, "128-bit store");
	if (v->kind == PTX_O_VEC) {
		vector(b, in, v, &in->o[0], false);
		return;
	}
	uint32_t size = ptx_type_size(in->type);
	uint32_t width = v->kind == PTX_O_REG ? b_reg_width(b, v) : size < 2 ? 2 : size;
	uint32_t s = b_src(b, v, width);
	struct insn *e = b_emit(b, OP_NONE);
	bool global = address(b, e, in, &in->o[0]);
	uint32_t k = store_op(size, width);
	if (k == 255)
		b_fail(b, SC_INVALID_PTX, "store of %u bytes from a narrower register", size);
	bool by_warp = global && by_base(b, e, &in->o[0], size);
	e->op = (uint16_t)((by_warp ? OP_STA16_8 : global ? OP_STG16_8 : OP_STX16_8) + k);
	e->o[0] = s;
}

static void atomic(struct build *b, const struct ptx_insn *in)
{
	bool red = in->op == PTX_OP_RED, result = !red && in->o[0].kind == PTX_O_REG && !b->unused[b->at];
	uint32_t size = ptx_type_size(in->type);
	const struct ptx_operand *a = &in->o[red ? 0 : 1], *v = a + 1;
	bool real = in->type == PTX_F32 || in->type == PTX_F64;
	bool half = in->type >= PTX_F16 && in->type <= PTX_BF16X2, bf16 = in->type == PTX_BF16 || in->type == PTX_BF16X2;
	uint32_t s = b_src(b, v, size), c = in->atom == PTX_ATOM_CAS ? b_src(b, v + 1, size) : s;
	uint32_t d = result ? b_dst(b, &in->o[0], size) : 0;
	enum sc_op op = half ? (size == 2 ? OP_ATOMH16 : OP_ATOMH32) :
			real && in->atom == PTX_ATOM_ADD ? (size == 8 ? OP_ATOMF64 : OP_ATOMF32) :
			size == 2 ? OP_ATOM16 : size == 4 ? OP_ATOM32 : OP_ATOM64;
	struct insn *e = b_emit(b, op);
	address(b, e, in, a);
	e->o[0] = d;
	e->o[2] = s;
	e->o[3] = c;
	if (half) /* it adds, nothing else */
		e->aux = (const void *)(intptr_t)SC_HALF_IMM(PTX_OP_ADD, bf16, false, false, false, false, false);
	e->n = (uint8_t)(in->atom | (b_signed(in->type) ? 0x20 : 0) | (result ? 0x40 : 0));
}

bool b_lower_mem(struct build *b, const struct ptx_insn *in)
{
	switch (in->op) {
	case PTX_OP_LD: case PTX_OP_LDU: load(b, in); return true;
	case PTX_OP_ST: store(b, in); return true;
	case PTX_OP_ATOM: case PTX_OP_RED: atomic(b, in); return true;
	case PTX_OP_MEMBAR: case PTX_OP_FENCE: b_emit(b, OP_FENCE); return true;
	case PTX_OP_PREFETCH: case PTX_OP_PREFETCHU: b_emit(b, OP_PREFETCH); return true;
	default: return false;
	}
}

enum { HAS_PRED = 1, SYNC = 2, NEGATED = 4, WIDE_OR_SIGNED = 8 }; /* as ops_ctl.c */

static void members(struct build *b, struct insn *e, uint32_t at, bool sync)
{
	e->o[5] = at;
	e->n |= sync ? SYNC : 0;
}

static void shuffle(struct build *b, const struct ptx_insn *in)
{
	uint32_t s[3];
	for (int k = 0; k < 3; k++)
		s[k] = b_src(b, &in->o[2 + k], 4);
	uint32_t m = in->sync ? b_src(b, &in->o[5], 4) : 0, d = b_dst(b, &in->o[0], 4), p = b_dst(b, &in->o[1], 0);
	struct insn *e = b_emit(b, OP_SHFL);
	e->o[0] = d;
	e->o[1] = p;
	for (int k = 0; k < 3; k++)
		e->o[2 + k] = s[k];
	e->sub = (uint8_t)in->sub;
	e->n = HAS_PRED;
	members(b, e, m, in->sync);
}

static void vote(struct build *b, const struct ptx_insn *in)
{
	uint32_t p = b_reg(b, &in->o[1]), m = in->sync ? b_src(b, &in->o[2], 4) : 0;
	uint32_t d = b_dst(b, &in->o[0], in->sub == PTX_VOTE_BALLOT ? 4 : 0);
	struct insn *e = b_emit(b, OP_VOTE);
	e->o[0] = d;
	e->o[1] = p;
	e->sub = (uint8_t)in->sub;
	e->n = in->o[1].neg ? NEGATED : 0;
	members(b, e, m, in->sync);
}

static void match(struct build *b, const struct ptx_insn *in)
{
	uint32_t size = ptx_type_size(in->type), d = b_dst(b, &in->o[0], 4), p = b_dst(b, &in->o[1], 0);
	uint32_t s = b_src(b, &in->o[2], size), m = b_src(b, &in->o[3], 4);
	struct insn *e = b_emit(b, OP_MATCH);
	e->o[0] = d;
	e->o[1] = p;
	e->o[2] = s;
	e->sub = (uint8_t)in->sub;
	e->n = HAS_PRED | (size == 8 ? WIDE_OR_SIGNED : 0);
	members(b, e, m, true);
}

static void redux(struct build *b, const struct ptx_insn *in)
{
	uint32_t d = b_dst(b, &in->o[0], 4), s = b_src(b, &in->o[1], 4), m = b_src(b, &in->o[2], 4);
	struct insn *e = b_emit(b, OP_REDUX);
	e->o[0] = d;
	e->o[1] = s;
	e->sub = (uint8_t)in->sub;
	e->n = b_signed(in->type) ? WIDE_OR_SIGNED : 0;
	members(b, e, m, true);
}

static void elect(struct build *b, const struct ptx_insn *in)
{
	uint32_t d = b_dst(b, &in->o[0], 4), p = b_dst(b, &in->o[1], 0), m = b_src(b, &in->o[2], 4);
	struct insn *e = b_emit(b, OP_ELECT);
	e->o[0] = d;
	e->o[1] = p;
	e->n = HAS_PRED;
	members(b, e, m, true);
}

static void barrier(struct build *b, const struct ptx_insn *in)
{
	bool red = in->sub >= PTX_BAR_RED_POPC && in->sub <= PTX_BAR_RED_OR;
	if (in->sub == PTX_BAR_WARP) {
		uint32_t m = b_src(b, &in->o[0], 4);
		b_emit(b, OP_BARWARP)->o[5] = m;
		return;
	}
	const struct ptx_operand *o = red ? &in->o[1] : &in->o[0];
	uint32_t id = b_src(b, &o[0], 4), count = o[1].kind != PTX_O_NONE ? b_src(b, &o[1], 4) : 0;
	uint32_t p = red ? b_reg(b, &in->o[3]) : 0;
	uint32_t d = red ? b_dst(b, &in->o[0], in->sub == PTX_BAR_RED_POPC ? 4 : 0) : 0;
	struct insn *e = b_emit(b, in->sub == PTX_BAR_ARRIVE ? OP_BARARRIVE : OP_BAR);
	e->o[0] = id;
	e->o[1] = count;
	e->o[2] = p;
	e->o[3] = d;
	e->sub = (uint8_t)(in->sub ? in->sub : PTX_BAR_SYNC);
	e->n = (uint8_t)((o[1].kind != PTX_O_NONE ? BAR_HAS_COUNT : 0) | (red && in->o[3].neg ? BAR_NEG : 0));
}

bool b_lower_warp(struct build *b, const struct ptx_insn *in)
{
	switch (in->op) {
	case PTX_OP_SHFL: shuffle(b, in); return true;
	case PTX_OP_VOTE: vote(b, in); return true;
	case PTX_OP_MATCH: match(b, in); return true;
	case PTX_OP_REDUX: redux(b, in); return true;
	case PTX_OP_ELECT: elect(b, in); return true;
	case PTX_OP_ACTIVEMASK: {
		uint32_t d = b_dst(b, &in->o[0], 4);
		b_emit(b, OP_ACTIVEMASK)->o[0] = d;
		return true;
	}
	case PTX_OP_BAR: case PTX_OP_BARRIER: barrier(b, in); return true;
	case PTX_OP_NANOSLEEP: b_emit(b, OP_NANOSLEEP); return true;
	case PTX_OP_BRKPT: b_emit(b, OP_BRKPT); return true;
	case PTX_OP_EXIT: b_emit(b, OP_EXIT); return true;
	case PTX_OP_RET: b_emit(b, OP_RET); return true;
	case PTX_OP_TRAP: b_emit(b, OP_TRAP); return true;
	default: return false;
	}
}
