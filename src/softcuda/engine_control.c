/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control flow of a function: the order its blocks are emitted in, branches, arms under a mask,
 * guards and calls.
 */
#include <stdio.h>
#include "softcuda/engine_module.h"

static void emit_bra(struct build *b, uint32_t to)
{
	struct insn *e = b_emit(b, OP_BRA);
	b_branch(b, e, b->flow->block[to].first);
}

static void emit_brac(struct build *b, const struct ptx_insn *in, uint32_t to, bool negate)
{
	struct ptx_operand p = { .kind = PTX_O_REG, .reg = (uint32_t)in->pred };
	struct insn *e = b_emit(b, OP_BRAC);
	e->o[0] = b_reg(b, &p);
	e->sub = in->pred_neg != negate;
	b_branch(b, e, b->flow->block[to].first);
}

static void lower_brx(struct build *b, const struct ptx_insn *in)
{
	const struct ptx_operand *list = &in->o[1];
	struct brx_info *info = b_alloc(b, sizeof(*info));
	info->n = list->nlist;
	info->target = b_alloc(b, sizeof(*info->target) * list->nlist);
	for (uint32_t k = 0; k < list->nlist; k++) {
		if (b->nbrx == b->cbrx)
			b->brx = b_grown(b, b->brx, &b->cbrx, sizeof(*b->brx));
		b->brx[b->nbrx++] = (struct brxfix){ info, k, list->vec[k].label };
	}
	uint32_t index = b_src(b, &in->o[0], 4);
	struct insn *e = b_emit(b, OP_BRX);
	e->o[0] = index;
	e->aux = info;
}

static enum sc_builtin builtin_of(const struct ptx_func *f)
{
	if (f->ninsns || !f->is_extern)
		return BUILTIN_NONE;
	if (strcmp(f->name, "vprintf") == 0)
		return BUILTIN_VPRINTF;
	if (strcmp(f->name, "__assertfail") == 0)
		return BUILTIN_ASSERTFAIL;
	if (strcmp(f->name, "malloc") == 0)
		return BUILTIN_MALLOC;
	return strcmp(f->name, "free") == 0 ? BUILTIN_FREE : BUILTIN_UNKNOWN;
}

static struct call_arg call_arg(struct build *b, const struct ptx_operand *o, bool result)
{
	struct call_arg a = { 0 };
	if (o->kind == PTX_O_VAR) {
		a.from = (uint32_t)o->var->engine_addr;
		a.size = (uint32_t)o->var->size;
		return a;
	}
	a.from_reg = true;
	if (o->kind == PTX_O_REG) {
		a.from = b_reg(b, o);
		a.from_width = b_reg_width(b, o);
	} else {
		a.from_width = 8;
		a.from = result ? b_temp(b, 8) : b_const(b, 8, (uint64_t)o->imm);
	}
	if (a.from_width == 0)
		b_fail(b, SC_NOT_SUPPORTED, "predicate as a call's argument");
	a.size = a.from_width;
	return a;
}

static void lower_call(struct build *b, const struct ptx_insn *in)
{
	struct call_info *c = b_alloc(b, sizeof(*c));
	const struct ptx_operand *res = &in->o[0], *to = &in->o[1], *args = &in->o[2];
	c->nresults = res->kind == PTX_O_LIST ? res->nlist : 0;
	c->nargs = args->kind == PTX_O_LIST ? args->nlist : 0;
	c->result = b_alloc(b, sizeof(*c->result) * (c->nresults + 1));
	c->arg = b_alloc(b, sizeof(*c->arg) * (c->nargs + 1));
	for (uint32_t k = 0; k < c->nresults; k++)
		c->result[k] = call_arg(b, &res->vec[k], true);
	for (uint32_t k = 0; k < c->nargs; k++)
		c->arg[k] = call_arg(b, &args->vec[k], false);
	uint32_t address = to->kind == PTX_O_REG ? b_src(b, to, 8) : 0;
	enum sc_op op = OP_CALLR;
	if (to->kind == PTX_O_FUNC) {
		c->func = to->func;
		c->builtin = builtin_of(to->func);
		snprintf(c->name, sizeof(c->name), "%s", to->func->name);
		if (c->builtin == BUILTIN_MALLOC || c->builtin == BUILTIN_FREE)
			b_fail(b, SC_NOT_SUPPORTED, "%s in a kernel is not supported: allocate before the launch", c->name);
		if (c->builtin == BUILTIN_UNKNOWN)
			b_fail(b, SC_NOT_SUPPORTED, "external function '%s' has no body", c->name);
		op = c->builtin ? OP_BUILTIN : OP_CALL;
	}
	struct insn *e = b_emit(b, op);
	e->o[0] = address;
	e->aux = c;
}

/* Calls and the like cannot run under a guard: the guard becomes a branch over them. */
static bool lower_plain(struct build *b, const struct ptx_insn *in)
{
	switch (in->op) {
	case PTX_OP_BRX: lower_brx(b, in); return true;
	case PTX_OP_CALL: lower_call(b, in); return true;
	default:
		return b_lower_alu(b, in) || b_lower_cvt(b, in) || b_lower_mem(b, in) || b_lower_warp(b, in) ||
		       b_lower_tex(b, in);
	}
}

static void unsupported(struct build *b, const struct ptx_insn *in)
{
	b_fail(b, SC_NOT_SUPPORTED, "instruction '%s' is not supported", ptx_op_name[in->op]);
}

static bool may_be_guarded(uint16_t op)
{
	return op < OP_LEADER && op != OP_ROUNDMODE;
}

static void lower_guarded(struct build *b, const struct ptx_insn *in)
{
	struct ptx_operand p = { .kind = PTX_O_REG, .reg = (uint32_t)in->pred };
	uint32_t at = b->main.n, pred = b_reg(b, &p);
	b_emit(b, OP_GUARD);
	if (!lower_plain(b, in))
		unsupported(b, in);
	struct insn *g = &b->main.v[at];
	g->o[0] = pred;
	if (b->main.n == at + 2 && may_be_guarded(b->main.v[at + 1].op)) {
		g->sub = in->pred_neg;
		return;
	}
	b_emit(b, OP_LEADER);
	g = &b->main.v[at];
	g->op = OP_BRAC;
	g->sub = !in->pred_neg;
	g->imm = b->main.n; /* resolved with the others; imm > 0 marks it */
}

static void lower_as(struct build *b, uint32_t i, const struct ptx_insn *in)
{
	b->line = in->line;
	b->at = i;
	memset(b->used, 0, sizeof(b->used));
	b->out = b->early[i] ? &b->pre : &b->main;
	if (b_affine_def(b, i))
		b_lower_affine(b, i);
	else if (in->pred >= 0)
		lower_guarded(b, in);
	else if (!lower_plain(b, in))
		unsupported(b, in);
	b->out = &b->main;
}

static void lower_one(struct build *b, uint32_t i)
{
	if (!b->drop[i])
		lower_as(b, i, &b->insn[i]);
}

/* ---- arms computed by all lanes, each then selecting its own */

enum { MAX_ONE_ARM = 2, MAX_TWO_ARMS = 5 }; /* instructions; masking and unmasking cost about as much */

struct renamed {
	uint32_t reg, at; /* what stands in for it, in this arm */
};
struct arm {
	uint32_t n;
	struct renamed v[MAX_TWO_ARMS];
};

/* What every lane may compute, wanted or not, at no more than an ordinary instruction's cost. */
static bool is_cheap(const struct build *b, const struct ptx_insn *in)
{
	bool half = in->type >= PTX_F16 && in->type <= PTX_BF16X2;
	if (in->pred >= 0 || in->cc || in->sat || half || in->o[0].kind != PTX_O_REG || b_reg_width(b, &in->o[0]) == 0 ||
	    in->round > PTX_RN)
		return false;
	switch (in->op) {
	case PTX_OP_MUL: case PTX_OP_MAD: return in->sub != PTX_MUL_HI;
	case PTX_OP_MOV: return in->o[1].kind == PTX_O_REG || in->o[1].kind == PTX_O_IMM;
	case PTX_OP_ADD: case PTX_OP_SUB: case PTX_OP_AND: case PTX_OP_OR: case PTX_OP_XOR: case PTX_OP_NOT: case PTX_OP_NEG:
	case PTX_OP_ABS: case PTX_OP_MIN: case PTX_OP_MAX: case PTX_OP_SHL: case PTX_OP_SHR: case PTX_OP_FMA:
		return true;
	default: return false;
	}
}

static bool in_arm(const struct build *b, uint32_t i)
{
	return !b->drop[i] && b->insn[i].op != PTX_OP_BRA;
}

static bool computed_elsewhere(const struct build *b, uint32_t i)
{
	return b->early[i] || b_affine_def(b, i);
}

static bool may_select(const struct build *b, const struct flow_block *k)
{
	bool both = k->arm[0] != FLOW_NONE && k->arm[1] != FLOW_NONE;
	uint32_t n = 0;
	for (int a = 0; a < 2; a++) {
		const struct flow_block *arm = k->arm[a] == FLOW_NONE ? NULL : &b->flow->block[k->arm[a]];
		for (uint32_t i = arm ? arm->first : 0; arm && i < arm->end; i++) {
			if (!in_arm(b, i) || computed_elsewhere(b, i))
				continue;
			if (!is_cheap(b, &b->insn[i]))
				return false;
			n++;
		}
	}
	return b->live.known && n <= (both ? MAX_TWO_ARMS : MAX_ONE_ARM);
}

static uint32_t held_place(struct build *b, uint32_t k, uint32_t width)
{
	uint32_t *at = &b->held[b_width_class(width)][k];
	if (!*at) {
		b_mark_loose(b, b->cursor);
		*at = b_room(b, width) + 1;
	}
	return *at - 1;
}

/* Where the arm left reg: in what stands in for it, or in reg itself. */
static uint32_t place_of(const struct arm *a, uint32_t reg, uint32_t own)
{
	for (uint32_t i = a->n; i-- > 0;)
		if (a->v[i].reg == reg)
			return a->v[i].at;
	return own;
}

static void rename_sources(const struct build *b, const struct arm *a, struct ptx_insn *in)
{
	for (int k = 1; k < 6; k++)
		for (uint32_t i = a->n; i-- > 0 && in->o[k].kind == PTX_O_REG;)
			if (in->o[k].reg == a->v[i].reg) {
				for (uint32_t e = 0; e < B_EXTRA; e++)
					if (b->slot[b->f->nregs + e] == a->v[i].at)
						in->o[k].reg = b->f->nregs + e;
				break;
			}
}

/* extra: how many of the extra registers are taken already. */
static void lower_selected(struct build *b, uint32_t k, struct arm *a, uint32_t *extra)
{
	const struct flow_block *f = &b->flow->block[k];
	for (uint32_t i = f->first; i < f->end; i++) {
		if (!in_arm(b, i))
			continue;
		struct ptx_insn in = b->insn[i];
		uint32_t reg = in.o[0].reg, e = b->f->nregs + *extra;
		if (!computed_elsewhere(b, i))
			rename_sources(b, a, &in);
		if (!computed_elsewhere(b, i) && !b->brief[reg]) {
			b->regs[e] = b->regs[reg];
			b->slot[e] = held_place(b, *extra, b_width(b->regs[reg].type));
			a->v[a->n++] = (struct renamed){ reg, b->slot[e] };
			in.o[0].reg = e;
			++*extra;
		}
		lower_as(b, i, &in);
	}
}

static void emit_selects(struct build *b, const struct arm *from, const struct arm *yes, const struct arm *no, uint32_t pred)
{
	for (uint32_t i = 0; i < from->n; i++) {
		struct ptx_operand o = { .kind = PTX_O_REG, .reg = from->v[i].reg };
		uint32_t own = b_reg(b, &o);
		if (place_of(from, o.reg, own) != from->v[i].at || (from == no && place_of(yes, o.reg, own) != own))
			continue; /* written again, or selected already */
		struct insn *e = b_emit(b, b_by_width(OP_SELP16, b_reg_width(b, &o)));
		e->o[0] = own;
		e->o[1] = place_of(yes, o.reg, own);
		e->o[2] = place_of(no, o.reg, own);
		e->o[3] = pred;
	}
}

static void lower_by_selecting(struct build *b, const struct flow_block *k, const struct ptx_insn *bra)
{
	struct ptx_operand p = { .kind = PTX_O_REG, .reg = (uint32_t)bra->pred };
	struct arm arm[2] = { { 0 } };
	uint32_t pred = b_reg(b, &p), extra = 0;
	for (int a = 0; a < 2; a++)
		if (k->arm[a] != FLOW_NONE)
			lower_selected(b, k->arm[a], &arm[a], &extra);
	const struct arm *yes = &arm[!bra->pred_neg], *no = &arm[bra->pred_neg];
	emit_selects(b, yes, yes, no, pred);
	emit_selects(b, no, yes, no, pred);
}

/* ---- arms under a mask */

static void lower_arm(struct build *b, uint32_t k)
{
	const struct flow_block *a = &b->flow->block[k];
	for (uint32_t i = a->first; i < a->end; i++)
		if (b->insn[i].op != PTX_OP_BRA)
			lower_one(b, i);
}

/* IF selects the lanes of the first arm, ELSE those of the second, ENDIF all again. */
static void lower_arms(struct build *b, const struct flow_block *k, const struct ptx_insn *bra)
{
	bool second = k->arm[0] != FLOW_NONE && k->arm[1] != FLOW_NONE, first_is_taken = k->arm[0] == FLOW_NONE;
	struct ptx_operand p = { .kind = PTX_O_REG, .reg = (uint32_t)bra->pred };
	uint32_t pred = b_reg(b, &p);
	if (!b->arm_save)
		b->arm_save = b_room(b, 0);
	uint32_t at = b->main.n, other;
	struct insn *e = b_emit(b, OP_IF);
	e->o[0] = pred;
	e->o[1] = b->arm_save;
	e->sub = bra->pred_neg != !first_is_taken;
	lower_arm(b, k->arm[first_is_taken]);
	other = b->main.n;
	if (second) {
		b_emit(b, OP_ELSE)->o[1] = b->arm_save;
		lower_arm(b, k->arm[1]);
		b->main.v[other].imm = b->main.n + 1;
	}
	b->main.v[at].imm = other + 1; /* resolved when the code has its place */
	b_emit(b, OP_ENDIF)->o[1] = b->arm_save;
}

static void lower_end(struct build *b, const struct flow_block *k, uint32_t next)
{
	const struct ptx_insn *last = k->end > k->first ? &b->insn[k->end - 1] : NULL;
	uint32_t to = k->taken != FLOW_NONE ? k->taken : k->fall;
	b->out = &b->main;
	if (last)
		b->line = last->line;
	if (k->join != FLOW_NONE) {
		if (may_select(b, k))
			lower_by_selecting(b, k, last);
		else
			lower_arms(b, k, last);
		to = k->join;
	} else if (k->taken != FLOW_NONE && k->fall != FLOW_NONE && k->taken != k->fall) {
		bool swap = k->taken == next;
		emit_brac(b, last, swap ? k->fall : k->taken, swap);
		to = swap ? FLOW_NONE : k->fall;
	}
	if (to != FLOW_NONE && to != next)
		emit_bra(b, to);
}

static uint32_t next_block(const struct flow *f, uint32_t i)
{
	do
		i++;
	while (i < f->norder && f->block[f->order[i]].is_arm);
	return i;
}

/* Blocks that lanes may wait at: some branch comes from further up, past other code. */
static void find_leaders(struct build *b)
{
	const struct flow *f = b->flow;
	uint32_t *pos = b->label; /* not yet used for labels */
	for (uint32_t i = 0; i < f->norder; i++)
		pos[f->order[i]] = i;
	for (uint32_t i = 0; i < f->norder; i = next_block(f, i)) {
		const struct flow_block *k = &f->block[f->order[i]];
		uint32_t next = next_block(f, i), n = k->join == FLOW_NONE ? k->nsucc : 1;
		for (uint32_t e = 0; e < n; e++) {
			uint32_t to = k->join == FLOW_NONE ? f->edge[k->succ + e] : k->join;
			bool brx = k->nsucc > 2 || (k->end > k->first && b->insn[k->end - 1].op == PTX_OP_BRX);
			if (pos[to] > i && (brx || next == f->norder || to != f->order[next]))
				b->leader[to] = 1;
		}
	}
}

void b_lower_all(struct build *b)
{
	const struct flow *f = b->flow;
	find_leaders(b);
	for (uint32_t i = 0; i < f->norder; i = next_block(f, i)) {
		uint32_t next = next_block(f, i);
		const struct flow_block *k = &f->block[f->order[i]];
		b->out = &b->main;
		if (b->leader[f->order[i]])
			b_emit(b, OP_LEADER);
		b->label_at[k->first] = b->main.n;
		for (uint32_t j = k->first; j < k->end; j++)
			if (b->insn[j].op != PTX_OP_BRA)
				lower_one(b, j);
		if (f->order[i] == f->n - 1)
			b_emit(b, OP_RET);
		else
			lower_end(b, k, next < f->norder ? f->order[next] : FLOW_NONE);
	}
}
