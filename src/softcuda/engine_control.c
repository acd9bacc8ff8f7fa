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

static void lower_one(struct build *b, uint32_t i)
{
	const struct ptx_insn *in = &b->insn[i];
	if (b->drop[i])
		return;
	b->line = in->line;
	b->at = i;
	memset(b->used, 0, sizeof(b->used));
	b->out = b->early[i] ? &b->pre : &b->main;
	if (in->pred >= 0)
		lower_guarded(b, in);
	else if (!lower_plain(b, in))
		unsupported(b, in);
	b->out = &b->main;
}

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
