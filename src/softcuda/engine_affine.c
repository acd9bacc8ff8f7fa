/* SPDX-License-Identifier: Apache-2.0 */
/* Finding what a warp computes once: see engine_head.h. */
#include <stdlib.h>
#include "softcuda/engine_build.h"

struct value {
	uint32_t number;
	int64_t stride;
	uint8_t width; /* 4, 8; 0: a predicate, its place is the register's; 255: none */
	uint8_t kind;  /* enum head_kind */
	bool fixed;    /* a constant: bits */
	uint64_t bits;
};
enum { NOTHING = 255 };

struct affine {
	struct value *reg;   /* by PTX register */
	uint8_t *def;	     /* by PTX instruction: in the head */
	uint8_t *lanes;	     /* by PTX register: somebody reads it lane by lane */
	uint8_t *root;	     /* by value: wanted outside the sums */
	struct head_op *op[HEAD_KINDS];
	uint32_t n[HEAD_KINDS], cap[HEAD_KINDS], nvalues;
	bool checks, full;
};

static void add_op(struct build *b, uint8_t kind, struct head_op op)
{
	struct affine *a = b->affine;
	if (a->n[kind] == a->cap[kind])
		a->op[kind] = b_grown(b, a->op[kind], &a->cap[kind], sizeof(op));
	a->op[kind][a->n[kind]++] = op;
}

/* A new value; the last of all when the head is full, which nobody then uses. */
static struct value new_value(struct affine *a, uint8_t width, uint8_t kind, int64_t stride)
{
	struct value v = { .number = a->nvalues, .stride = stride, .width = width, .kind = kind };
	if (a->nvalues + 1 < SC_MAX_HEAD)
		a->nvalues++;
	else
		a->full = true;
	return v;
}

static const struct value none = { .width = NOTHING };

static bool is_none(struct value v)
{
	return v.width == NOTHING;
}

static struct value leaf(struct build *b, enum head_code code, uint8_t width, uint8_t kind, int64_t stride, int64_t imm)
{
	struct value v = new_value(b->affine, width, kind, stride);
	if (code == HEAD_CONST) {
		v.fixed = true;
		v.bits = width == 4 ? (uint32_t)imm : (uint64_t)imm;
	}
	add_op(b, kind, (struct head_op){ .code = (uint8_t)code, .width = width, .d = v.number, .imm = imm });
	return v;
}

static uint8_t later(uint8_t a, uint8_t b)
{
	return a > b ? a : b;
}

/* Whether op of a sum over the block's index and a number of the launch, or another sum, is such a sum. */
static uint8_t kind_of(enum head_code code, uint8_t x, uint8_t y)
{
	uint8_t kind = later(x, y);
	switch (code) {
	case HEAD_ADD: case HEAD_SUB: case HEAD_SHL: case HEAD_WIDEN: case HEAD_NARROW: return kind;
	case HEAD_MUL: return x == HEAD_LINEAR && y == HEAD_LINEAR ? HEAD_BLOCK : kind;
	default: return kind == HEAD_LINEAR ? HEAD_BLOCK : kind;
	}
}

static struct value combine(struct build *b, enum head_code code, struct value x, struct value y, int64_t stride, bool sign, int64_t imm)
{
	if (stride > SC_MAX_STRIDE || stride < -SC_MAX_STRIDE)
		return none;
	struct value v = new_value(b->affine, x.width, kind_of(code, x.kind, y.kind), stride);
	add_op(b, v.kind, (struct head_op){ .code = (uint8_t)code, .width = x.width, .sign = sign, .d = v.number, .a = x.number,
					    .b = y.number, .imm = imm });
	return v;
}

/* ---- operands */

static struct value source(struct build *b, const struct ptx_operand *o, uint8_t width)
{
	if (o->kind == PTX_O_IMM)
		return leaf(b, HEAD_CONST, width, HEAD_LAUNCH, 0, width == 4 ? (int32_t)o->imm : o->imm);
	if (o->kind != PTX_O_REG || b->affine->reg[o->reg].width != width)
		return none;
	return b->affine->reg[o->reg];
}

static struct value widened(struct build *b, struct value v, bool sign)
{
	if (v.fixed)
		return leaf(b, HEAD_CONST, 8, HEAD_LAUNCH, 0, sign ? (int64_t)(int32_t)v.bits : (int64_t)v.bits);
	struct value d = new_value(b->affine, 8, v.kind, v.stride);
	b->affine->checks |= v.stride != 0 || v.kind != HEAD_LAUNCH;
	add_op(b, v.kind, (struct head_op){ .code = HEAD_WIDEN, .width = 8, .sign = sign, .d = d.number, .a = v.number, .stride = v.stride });
	return d;
}

static struct value plus(struct build *b, struct value x, struct value y)
{
	return is_none(x) || is_none(y) ? none : combine(b, HEAD_ADD, x, y, x.stride + y.stride, false, 0);
}

/* A stride must be known when compiling: only constants multiply it. */
static struct value times(struct build *b, struct value x, struct value y)
{
	if (is_none(x) || is_none(y) || (x.stride && !y.fixed) || (y.stride && !x.fixed))
		return none;
	struct value k = x.stride ? y : x, v = x.stride ? x : y;
	int64_t by = k.width == 4 ? (int32_t)k.bits : (int64_t)k.bits;
	if (v.stride && (by > SC_MAX_STRIDE || by < -SC_MAX_STRIDE))
		return none;
	return combine(b, HEAD_MUL, x, y, v.stride ? v.stride * by : 0, false, 0);
}

/* ---- instructions */

static struct value of_mul(struct build *b, const struct ptx_insn *in)
{
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	struct value x = source(b, &in->o[1], width), y = source(b, &in->o[2], width);
	if (is_none(x) || is_none(y) || in->sat || in->sub == PTX_MUL_HI)
		return none;
	if (in->sub == PTX_MUL_WIDE) {
		if (width != 4 || (x.stride && !y.fixed) || (y.stride && !x.fixed))
			return none;
		x = widened(b, x, b_signed(in->type));
		y = widened(b, y, b_signed(in->type));
	}
	struct value p = times(b, x, y);
	if (in->op == PTX_OP_MUL)
		return p;
	return is_none(p) ? none : plus(b, p, source(b, &in->o[3], p.width));
}

static struct value of_addsub(struct build *b, const struct ptx_insn *in)
{
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	struct value x = source(b, &in->o[1], width), y = source(b, &in->o[2], width);
	if (in->sat || is_none(x) || is_none(y))
		return none;
	return in->op == PTX_OP_ADD ? plus(b, x, y) : combine(b, HEAD_SUB, x, y, x.stride - y.stride, false, 0);
}

static struct value of_shift(struct build *b, const struct ptx_insn *in)
{
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	struct value x = source(b, &in->o[1], width);
	bool left = in->op == PTX_OP_SHL;
	if (is_none(x) || in->o[2].kind != PTX_O_IMM || (uint64_t)in->o[2].imm >= 8u * width || (!left && x.stride) ||
	    (x.stride && in->o[2].imm > 20))
		return none;
	int64_t stride = x.stride ? x.stride * ((int64_t)1 << in->o[2].imm) : 0;
	return combine(b, left ? HEAD_SHL : HEAD_SHR, x, x, stride, b_signed(in->type), in->o[2].imm);
}

/* What keeps no stride: all lanes have the same, or nothing. */
static struct value of_uniform(struct build *b, const struct ptx_insn *in)
{
	static const uint8_t code[PTX_OP_COUNT] = { [PTX_OP_AND] = HEAD_AND, [PTX_OP_OR] = HEAD_OR, [PTX_OP_XOR] = HEAD_XOR,
						    [PTX_OP_MIN] = HEAD_MIN, [PTX_OP_MAX] = HEAD_MAX, [PTX_OP_NOT] = HEAD_NOT };
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	struct value x = source(b, &in->o[1], width), y = in->op == PTX_OP_NOT ? x : source(b, &in->o[2], width);
	if (is_none(x) || is_none(y) || x.stride || y.stride || in->relu)
		return none;
	return combine(b, code[in->op], x, y, 0, b_signed(in->type), 0);
}

static struct value of_cvt(struct build *b, const struct ptx_insn *in)
{
	uint32_t to = ptx_type_size(in->type), from = ptx_type_size(in->type2);
	if (in->type2 >= PTX_F16 || in->sat || in->o[1].kind != PTX_O_REG || to < 4 || from < 4)
		return none;
	struct value x = source(b, &in->o[1], (uint8_t)from);
	if (is_none(x) || to == from)
		return x;
	if (to == 8)
		return widened(b, x, b_signed(in->type2));
	struct value v = new_value(b->affine, 4, x.kind, x.stride);
	add_op(b, x.kind, (struct head_op){ .code = HEAD_NARROW, .width = 4, .d = v.number, .a = x.number });
	return v;
}

static struct value of_sreg(struct build *b, uint32_t id)
{
	bool by_block = id >= PTX_SREG_CTAID_X && id <= PTX_SREG_CTAID_Z;
	if (id > PTX_SREG_WARPID)
		return none;
	return leaf(b, HEAD_SREG, 4, by_block ? HEAD_LINEAR : HEAD_LAUNCH, id == PTX_SREG_TID_X || id == PTX_SREG_LANEID, id);
}

static struct value of_mov(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *s = &in->o[1];
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	switch (s->kind) {
	case PTX_O_SREG: return width == 4 ? of_sreg(b, s->sreg) : none;
	case PTX_O_VAR:
		if (s->var->space != PTX_SPACE_GLOBAL && s->var->space != PTX_SPACE_CONST)
			return none;
		return leaf(b, HEAD_CONST, width, HEAD_LAUNCH, 0, (int64_t)s->var->engine_addr + s->imm);
	default: return source(b, s, width);
	}
}

/* Of a pointer to or from global or constant memory, where both are the same. */
static struct value of_cvta(struct build *b, const struct ptx_insn *in)
{
	bool same = in->space == PTX_SPACE_GLOBAL || in->space == PTX_SPACE_CONST ||
		    (in->space == PTX_SPACE_PARAM && b->f->is_entry);
	return same && in->o[1].kind == PTX_O_REG ? source(b, &in->o[1], 8) : none;
}

static struct value of_param(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *a = &in->o[1];
	uint32_t size = ptx_type_size(in->type);
	if (in->o[0].kind != PTX_O_REG || size != b_reg_width(b, &in->o[0]) || !b_whole_param(b, in, a))
		return none;
	return leaf(b, HEAD_PARAM, (uint8_t)size, HEAD_LAUNCH, 0, (int64_t)(a->var->engine_addr & ~SC_KERNEL_PARAM) + a->imm);
}

/* ---- predicates */

static struct value put_pred(struct build *b, enum head_code code, uint32_t d, struct value x, struct value y)
{
	struct value v = { .number = d, .kind = later(x.kind, y.kind) };
	add_op(b, v.kind, (struct head_op){ .code = (uint8_t)code, .d = d, .a = x.number, .b = y.number });
	return v;
}

static uint32_t pred_place(struct build *b, const struct ptx_operand *o)
{
	return o ? b_reg(b, o) : b_room(b, 0);
}

static struct value pred_source(struct build *b, const struct ptx_operand *o)
{
	struct value v = { 0 };
	if (o->kind == PTX_O_IMM) {
		v.number = b_room(b, 0);
		add_op(b, HEAD_LAUNCH, (struct head_op){ .code = HEAD_PCONST, .d = v.number, .imm = o->imm != 0 });
		return v;
	}
	if (o->kind != PTX_O_REG || b->affine->reg[o->reg].width != 0)
		return none;
	v = b->affine->reg[o->reg];
	return o->neg ? put_pred(b, HEAD_PNOT, pred_place(b, NULL), v, v) : v;
}

static struct value of_setp(struct build *b, const struct ptx_insn *in)
{
	static const uint8_t code[] = { [PTX_BOOL_AND] = HEAD_PAND, [PTX_BOOL_OR] = HEAD_POR, [PTX_BOOL_XOR] = HEAD_PXOR };
	uint8_t width = (uint8_t)ptx_type_size(in->type);
	if (in->o[1].kind == PTX_O_REG || in->type >= PTX_F16 || width < 4 || in->cmp < PTX_EQ || in->cmp > PTX_HS)
		return none;
	struct value x = source(b, &in->o[2], width), y = source(b, &in->o[3], width), c = { 0 };
	if (is_none(x) || is_none(y))
		return none;
	if (in->boolop)
		c = pred_source(b, &in->o[4]);
	if (is_none(c))
		return none;
	enum ptx_cmp cmp = in->cmp >= PTX_LO ? (enum ptx_cmp)(in->cmp - PTX_LO + PTX_LT) : in->cmp; /* lo ls hi hs: unsigned */
	bool order = width == 4 && cmp >= PTX_LT, other = cmp == PTX_GT || cmp == PTX_GE;
	bool equal_too = order && (cmp == PTX_LE || cmp == PTX_GT);
	uint8_t kind = later(x.kind, y.kind) == HEAD_LAUNCH ? HEAD_LAUNCH : HEAD_BLOCK;
	uint32_t d = pred_place(b, in->boolop ? NULL : &in->o[0]);
	add_op(b, kind, (struct head_op){ .code = order ? HEAD_ORDER : HEAD_COMPARE, .width = width, .cmp = order ? other : (uint8_t)cmp,
					 .sign = in->cmp < PTX_LO && b_signed(in->type), .d = d, .a = x.number, .b = y.number,
					 .imm = equal_too, .stride = x.stride, .stride_b = y.stride });
	struct value v = { .number = d, .kind = kind };
	return in->boolop ? put_pred(b, code[in->boolop], pred_place(b, &in->o[0]), v, c) : v;
}

static struct value of_logic(struct build *b, const struct ptx_insn *in)
{
	static const uint8_t code[PTX_OP_COUNT] = { [PTX_OP_AND] = HEAD_PAND, [PTX_OP_OR] = HEAD_POR, [PTX_OP_XOR] = HEAD_PXOR,
						    [PTX_OP_NOT] = HEAD_PNOT, [PTX_OP_MOV] = HEAD_PAND };
	struct value x = pred_source(b, &in->o[1]), y = in->op == PTX_OP_NOT || in->op == PTX_OP_MOV ? x : pred_source(b, &in->o[2]);
	return !code[in->op] || is_none(x) || is_none(y) ? none : put_pred(b, code[in->op], pred_place(b, &in->o[0]), x, y);
}

/* ---- finding */

static struct value value_of(struct build *b, const struct ptx_insn *in)
{
	typedef struct value (*finder)(struct build *, const struct ptx_insn *);
	static const finder table[PTX_OP_COUNT] = {
		[PTX_OP_ADD] = of_addsub, [PTX_OP_SUB] = of_addsub, [PTX_OP_MUL] = of_mul, [PTX_OP_MAD] = of_mul,
		[PTX_OP_SHL] = of_shift, [PTX_OP_SHR] = of_shift, [PTX_OP_AND] = of_uniform, [PTX_OP_OR] = of_uniform,
		[PTX_OP_XOR] = of_uniform, [PTX_OP_NOT] = of_uniform, [PTX_OP_MIN] = of_uniform, [PTX_OP_MAX] = of_uniform,
		[PTX_OP_CVT] = of_cvt, [PTX_OP_MOV] = of_mov, [PTX_OP_CVTA] = of_cvta,
	};
	const struct ptx_operand *d = &in->o[0];
	if (in->pred >= 0 || in->cc || d->kind != PTX_O_REG || b->defs[d->reg] != 1)
		return none;
	if (in->op == PTX_OP_SETP)
		return of_setp(b, in);
	if (in->op == PTX_OP_LD || in->op == PTX_OP_LDU)
		return of_param(b, in);
	if (in->type == PTX_PRED)
		return of_logic(b, in);
	bool bits = in->op == PTX_OP_MOV && (in->type == PTX_F32 || in->type == PTX_F64);
	if (!table[in->op] || ptx_type_size(in->type) < 4 || (in->type >= PTX_F16 && !bits) || in->type == PTX_B128)
		return none;
	struct value v = table[in->op](b, in);
	return v.width == b_reg_width(b, d) ? v : none;
}

static void read_by_lane(void *ctx, uint32_t reg)
{
	struct affine *a = ctx;
	a->lanes[reg] = 1;
}

/* A memory access that takes base and stride as they are. */
static const struct ptx_operand *taken_address(const struct build *b, const struct ptx_insn *in)
{
	bool load = in->op == PTX_OP_LD || in->op == PTX_OP_LDU;
	uint32_t at;
	bool same;
	if ((!load && in->op != PTX_OP_ST) || in->o[load ? 0 : 1].kind == PTX_O_VEC)
		return NULL;
	const struct ptx_operand *a = &in->o[load ? 1 : 0];
	bool plain = in->space == PTX_SPACE_GENERIC || in->space == PTX_SPACE_GLOBAL || in->space == PTX_SPACE_CONST;
	return plain && b_affine_address(b, a, ptx_type_size(in->type), &at, &same) ? a : NULL;
}

static void find_readers(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn in = b->insn[i];
		if (b->drop[i] || b->affine->def[i])
			continue;
		const struct ptx_operand *a = taken_address(b, &in);
		if (a)
			in.o[a - in.o].kind = PTX_O_NONE;
		flow_each_source(&in, read_by_lane, b->affine);
	}
}

static void place_values(struct build *b)
{
	struct head *h = &b->c->head;
	b->cursor = (b->cursor + 63) & ~63u;
	h->at = b->cursor;
	h->nvalues = b->affine->nvalues;
	b->cursor += (h->nvalues * 8 + 63) & ~63u;
}

static void note(struct build *b, uint32_t i, struct value v)
{
	uint32_t reg = b->insn[i].o[0].reg;
	b->affine->reg[reg] = v;
	b->affine->def[i] = 1;
	if (v.kind == HEAD_LAUNCH)
		b->stable[reg] = true;
}

void b_find_affine(struct build *b)
{
	struct affine *a = calloc(1, sizeof(*a));
	b->affine = a;
	if (!a)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	a->reg = calloc((size_t)b->f->nregs + 1, sizeof(*a->reg));
	a->def = calloc((size_t)b->f->ninsns + 1, 1);
	a->lanes = calloc((size_t)b->f->nregs + 1, 1);
	a->root = calloc(SC_MAX_HEAD, 1);
	if (!a->reg || !a->def || !a->lanes || !a->root)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	for (uint32_t r = 0; r < b->f->nregs; r++)
		a->reg[r] = none;
	for (uint32_t i = 0; i < b->flow->norder; i++) {
		const struct flow_block *k = &b->flow->block[b->flow->order[i]];
		for (uint32_t j = k->first; j < k->end && !a->full; j++) {
			struct value v = b->drop[j] ? none : value_of(b, &b->insn[j]);
			if (!is_none(v) && !a->full)
				note(b, j, v);
		}
	}
	find_readers(b);
	place_values(b);
}

/* Which sums blocks evaluate: what the code uses, noted while it was lowered, and what the rest of the
 * head does. */
static void find_roots(struct build *b)
{
	struct affine *a = b->affine;
	struct head *h = &b->c->head;
	for (uint32_t i = 0; i < a->n[HEAD_BLOCK]; i++) {
		const struct head_op *o = &a->op[HEAD_BLOCK][i];
		if (o->code <= HEAD_ORDER)
			a->root[o->a] = a->root[o->b] = 1;
	}
	h->root = b_alloc(b, sizeof(*h->root) * ((size_t)a->n[HEAD_LINEAR] + 1));
	for (uint32_t i = 0; i < a->n[HEAD_LINEAR]; i++) {
		const struct head_op *o = &a->op[HEAD_LINEAR][i];
		if (a->root[o->d])
			h->root[h->nroots++] = (struct head_root){ o->d, o->width == 4 ? UINT32_MAX : UINT64_MAX };
	}
	h->roots_at = b->cursor;
	b->cursor += (h->nroots * 32 + 63) & ~63u;
}

void b_finish_head(struct build *b)
{
	struct affine *a = b->affine;
	struct head *h = &b->c->head;
	uint32_t n = 0;
	if (!a)
		return;
	find_roots(b);
	h->op = b_alloc(b, sizeof(*h->op) * ((size_t)a->n[HEAD_LAUNCH] + a->n[HEAD_LINEAR] + a->n[HEAD_BLOCK] + 1));
	for (int k = 0; k < HEAD_KINDS; k++) {
		if (a->n[k])
			memcpy(h->op + n, a->op[k], sizeof(*h->op) * a->n[k]);
		n += h->n[k] = a->n[k];
	}
	h->checks = a->checks;
}

bool b_affine_def(const struct build *b, uint32_t i)
{
	return b->affine && b->affine->def[i];
}

bool b_affine_value(const struct build *b, uint32_t reg)
{
	return !is_none(b->affine->reg[reg]);
}

bool b_affine_lanes(const struct build *b, uint32_t reg)
{
	return b->affine && b_affine_value(b, reg) && b->affine->reg[reg].width != 0 && b->affine->lanes[reg];
}

void b_lower_affine(struct build *b, uint32_t i)
{
	const struct ptx_operand *d = &b->insn[i].o[0];
	const struct value *v = &b->affine->reg[d->reg];
	if (!b_affine_lanes(b, d->reg))
		return;
	uint32_t at = b_reg(b, d);
	b->affine->root[v->number] = 1;
	struct insn *e = b_emit(b, v->width == 8 ? OP_SPREAD64 : OP_SPREAD32);
	e->o[0] = at;
	e->o[1] = b->c->head.at + v->number * 8;
	e->imm = v->stride;
}

bool b_affine_address(const struct build *b, const struct ptx_operand *a, uint32_t size, uint32_t *at, bool *same)
{
	if (!b->affine || a->kind != PTX_O_ADDR || !a->base_is_reg || size > 8)
		return false;
	const struct value *v = &b->affine->reg[a->reg];
	if (v->width != 8 || (v->stride != 0 && v->stride != size))
		return false;
	b->affine->root[v->number] = 1;
	*at = b->c->head.at + v->number * 8;
	*same = v->stride == 0;
	return true;
}

void b_free_affine(struct build *b)
{
	struct affine *a = b->affine;
	if (!a)
		return;
	free(a->reg);
	free(a->def);
	free(a->lanes);
	free(a->root);
	for (int k = 0; k < HEAD_KINDS; k++)
		free(a->op[k]);
	free(a);
}
