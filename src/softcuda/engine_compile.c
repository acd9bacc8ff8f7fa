/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a PTX function to the interpreter's program.
 *
 * Values that no block changes (parameters, thread index and what is computed from them alone, in
 * registers written once) are computed once per warp and launch, in the prologue c->pre.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_module.h"

void b_fail(struct build *b, int result, const char *fmt, ...)
{
	int n = snprintf(b->why, b->why_cap, "%s, line %d: ", b->f->name, b->line);
	if (n >= 0 && (size_t)n < b->why_cap) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(b->why + n, b->why_cap - (size_t)n, fmt, ap);
		va_end(ap);
	}
	b->result = result;
	longjmp(b->fail, 1);
}

/* Memory that lives as long as the function: a chain of chunks, newest first. */
void *b_alloc(struct build *b, size_t size)
{
	struct chunk *k = calloc(1, sizeof(struct chunk) + 8 + size);
	if (!k)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	k->next = b->c->arena;
	b->c->arena = k;
	return (char *)k + 16;
}

static void *grown(struct build *b, void *v, uint32_t *cap, size_t elem)
{
	uint32_t c = *cap ? *cap * 2 : 64;
	void *p = realloc(v, c * elem);
	if (!p)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	*cap = c;
	return p;
}

struct insn *b_emit(struct build *b, enum sc_op op)
{
	struct stream *s = b->out;
	if (s->n == s->cap)
		s->v = grown(b, s->v, &s->cap, sizeof(*s->v));
	struct insn *e = &s->v[s->n++];
	memset(e, 0, sizeof(*e));
	e->op = (uint16_t)op;
	e->line = b->line;
	return e;
}

uint32_t b_width(enum ptx_type t)
{
	if (t == PTX_PRED)
		return 0;
	uint32_t size = ptx_type_size(t);
	return size < 2 ? 2 : size;
}

static uint32_t room(struct build *b, uint32_t width)
{
	uint32_t at = b->cursor;
	b->cursor += width ? width * SC_LANES : 64;
	return at;
}

static int width_class(uint32_t width)
{
	return width == 0 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3;
}

uint32_t b_temp(struct build *b, uint32_t width)
{
	int c = width_class(width);
	if (b->used[c] == 16)
		b_fail(b, SC_NOT_SUPPORTED, "instruction too long");
	if (b->used[c] == b->ntemps[c])
		b->temps[c][b->ntemps[c]++] = room(b, width);
	return b->temps[c][b->used[c]++];
}

static uint32_t konst(struct build *b, uint32_t width, uint64_t bits, bool mask)
{
	struct cfunc *c = b->c;
	for (uint32_t i = 0; i < c->nkonst; i++)
		if (c->konst[i].width == width && c->konst[i].bits == bits && c->konst[i].mask == mask)
			return c->konst[i].offset;
	if (c->nkonst == b->ckonst)
		c->konst = grown(b, c->konst, &b->ckonst, sizeof(*c->konst));
	uint32_t at = room(b, mask ? 0 : width);
	c->konst[c->nkonst++] = (struct konst){ bits, at, width, mask };
	return at;
}

uint32_t b_const(struct build *b, uint32_t width, uint64_t bits)
{
	if (width < 8)
		bits &= (1ull << (8 * width)) - 1;
	return konst(b, width, bits, false);
}

uint32_t b_const_pred(struct build *b, bool set)
{
	return konst(b, 4, set ? UINT32_MAX : 0, true);
}

uint32_t b_reg(struct build *b, const struct ptx_operand *o)
{
	if (b->slot[o->reg] == UINT32_MAX)
		b->slot[o->reg] = room(b, b_width(b->f->regs[o->reg].type));
	return b->slot[o->reg];
}

uint32_t b_reg_width(const struct build *b, const struct ptx_operand *o)
{
	return b_width(b->f->regs[o->reg].type);
}

uint32_t b_src(struct build *b, const struct ptx_operand *o, uint32_t width)
{
	if (o->kind == PTX_O_IMM)
		return b_const(b, width, (uint64_t)o->imm);
	if (o->kind != PTX_O_REG)
		b_fail(b, SC_NOT_SUPPORTED, "operand that is neither register nor constant");
	if (b_reg_width(b, o) < width)
		b_fail(b, SC_INVALID_PTX, "register '%s' is too narrow", b->f->regs[o->reg].name);
	return b_reg(b, o);
}

uint32_t b_dst(struct build *b, const struct ptx_operand *o, uint32_t width)
{
	return o->kind == PTX_O_REG ? b_reg(b, o) : b_temp(b, width);
}

uint32_t b_pred_src(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_IMM)
		return b_const_pred(b, (o->imm != 0) != o->neg);
	uint32_t p = b_reg(b, o);
	if (!o->neg)
		return p;
	uint32_t t = b_temp(b, 0);
	struct insn *e = b_emit(b, OP_PNOT);
	e->o[0] = t;
	e->o[1] = e->o[2] = p;
	return t;
}

void b_branch(struct build *b, struct insn *in, uint32_t label)
{
	if (b->nfix == b->cfix)
		b->fix = grown(b, b->fix, &b->cfix, sizeof(*b->fix));
	b->fix[b->nfix++] = (struct fix){ (uint32_t)(in - b->main.v), label };
}

uint64_t b_shared_offset(struct build *b, const struct ptx_var *v)
{
	uint64_t at = v->engine_addr;
	if (at < b->tree->module->nvars_shared)
		at = b->tree->shared_at[at];
	else
		b_fail(b, SC_NOT_SUPPORTED, "shared variable '%s' has no place", v->name);
	return at;
}

/* ---- what the prologue may hold */

static void count_def(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		b->defs[o->reg]++;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		count_def(b, &o->vec[k]);
	for (uint32_t k = 0; o->kind == PTX_O_LIST && k < o->nlist; k++)
		count_def(b, &o->vec[k]);
}

static void count_defs(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		const struct ptx_insn *in = &b->insn[i];
		count_def(b, &in->o[0]);
		if (ptx_writes_pair(in->op))
			count_def(b, &in->o[1]);
	}
}

static bool impure(enum ptx_op op)
{
	switch (op) {
	case PTX_OP_ACTIVEMASK: case PTX_OP_ATOM: case PTX_OP_BAR: case PTX_OP_BARRIER: case PTX_OP_BRA:
	case PTX_OP_BRKPT: case PTX_OP_BRX: case PTX_OP_CALL: case PTX_OP_ELECT: case PTX_OP_EXIT:
	case PTX_OP_FENCE: case PTX_OP_MATCH: case PTX_OP_MEMBAR: case PTX_OP_NANOSLEEP:
	case PTX_OP_PREFETCH: case PTX_OP_PREFETCHU: case PTX_OP_RED: case PTX_OP_REDUX: case PTX_OP_RET:
	case PTX_OP_SHFL: case PTX_OP_ST: case PTX_OP_SULD: case PTX_OP_SUQ: case PTX_OP_SURED:
	case PTX_OP_SUST: case PTX_OP_TEX: case PTX_OP_TLD4: case PTX_OP_TRAP: case PTX_OP_TXQ:
	case PTX_OP_VOTE: case PTX_OP_ADDC: case PTX_OP_SUBC: case PTX_OP_MADC:
		return true;
	default:
		return false;
	}
}

static bool same_every_block(struct build *b, const struct ptx_operand *o)
{
	switch (o->kind) {
	case PTX_O_REG: return b->stable[o->reg];
	case PTX_O_SREG:
		return !(o->sreg >= PTX_SREG_CTAID_X && o->sreg <= PTX_SREG_CTAID_Z) &&
		       !(o->sreg >= PTX_SREG_CLOCK && o->sreg <= PTX_SREG_GLOBALTIMER_HI);
	case PTX_O_VEC:
		for (uint32_t k = 0; k < o->n; k++)
			if (!same_every_block(b, &o->vec[k]))
				return false;
		return true;
	default: return true;
	}
}

static bool single_def(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		return b->defs[o->reg] == 1;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		if (!single_def(b, &o->vec[k]))
			return false;
	return true;
}

static bool for_prologue(struct build *b, const struct ptx_insn *in)
{
	if (!b->f->is_entry || in->pred >= 0 || in->cc || impure(in->op))
		return false;
	if ((in->op == PTX_OP_LD || in->op == PTX_OP_LDU) &&
	    !(in->space == PTX_SPACE_PARAM && in->o[1].var && !in->o[1].base_is_reg &&
	      (in->o[1].var->engine_addr & SC_KERNEL_PARAM)))
		return false;
	int first = ptx_writes_pair(in->op) ? 2 : 1;
	for (int k = 0; k < first; k++)
		if (!single_def(b, &in->o[k]))
			return false;
	for (int k = first; k < 6; k++)
		if (!same_every_block(b, &in->o[k]))
			return false;
	return true;
}

static void mark_stable(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		b->stable[o->reg] = true;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		mark_stable(b, &o->vec[k]);
}

/* ---- control flow */

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
			b->brx = grown(b, b->brx, &b->cbrx, sizeof(*b->brx));
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
		b->arm_save = room(b, 0);
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

static void lower_all(struct build *b)
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

/* ---- places of registers */

static bool droppable(const struct ptx_insn *in)
{
	return !impure(in->op) && !in->cc && in->op != PTX_OP_LD && in->op != PTX_OP_LDU;
}

static bool is_wide_product(const struct build *b, const struct ptx_insn *m, uint32_t reg)
{
	return m->op == PTX_OP_MUL && m->sub == PTX_MUL_WIDE && ptx_type_size(m->type) == 4 && m->pred < 0 &&
	       m->o[0].kind == PTX_O_REG && m->o[0].reg == reg && b->defs[reg] == 1 && m->o[1].kind == PTX_O_REG &&
	       m->o[2].kind == PTX_O_IMM && b->defs[m->o[1].reg] == 1;
}

/* base + index * size, as addresses are made, in one instruction where the parts are near. The
 * product itself goes when nobody else wants it. */
static void fuse_addresses(struct build *b)
{
	enum { NEAR = 24 };
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (in->op != PTX_OP_ADD || ptx_type_size(in->type) != 8 || in->type == PTX_F64 || in->pred >= 0 || in->cc ||
		    in->o[1].kind != PTX_O_REG || in->o[2].kind != PTX_O_REG)
			continue;
		uint32_t first = b->flow->block[b->flow->block_of[i]].first;
		for (uint32_t j = i; j-- > first && i - j < NEAR;) {
			const struct ptx_insn *m = &b->insn[j];
			bool left = is_wide_product(b, m, in->o[1].reg), right = is_wide_product(b, m, in->o[2].reg);
			if (left == right)
				continue;
			struct ptx_operand base = in->o[left ? 2 : 1];
			in->op = PTX_OP_MAD;
			in->sub = PTX_MUL_WIDE;
			in->type = m->type;
			in->o[1] = m->o[1];
			in->o[2] = m->o[2];
			in->o[3] = base;
			in->nop = 4;
			break;
		}
	}
}

static const struct ptx_insn *defined_before(const struct build *b, uint32_t i, uint32_t reg)
{
	uint32_t first = b->flow->block[b->flow->block_of[i]].first;
	for (uint32_t j = i; b->defs[reg] == 1 && j-- > first;)
		if (b->insn[j].o[0].kind == PTX_O_REG && b->insn[j].o[0].reg == reg && b->insn[j].pred < 0)
			return &b->insn[j];
	return NULL;
}

/* Branches on the negation of a predicate branch on the predicate itself, the other way. */
static void fold_negations(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (in->op != PTX_OP_BRA || in->pred < 0)
			continue;
		const struct ptx_insn *d = defined_before(b, i, (uint32_t)in->pred);
		if (!d || d->op != PTX_OP_NOT || d->o[1].kind != PTX_O_REG || d->o[1].neg || b->defs[d->o[1].reg] != 1)
			continue;
		in->pred = (int32_t)d->o[1].reg;
		in->pred_neg = !in->pred_neg;
	}
}

static void find_early(struct build *b)
{
	for (uint32_t i = 0; i < b->flow->norder; i++) {
		const struct flow_block *k = &b->flow->block[b->flow->order[i]];
		for (uint32_t j = k->first; j < k->end; j++) {
			const struct ptx_insn *in = &b->insn[j];
			if (b->drop[j] || !for_prologue(b, in))
				continue;
			b->early[j] = 1;
			mark_stable(b, &in->o[0]);
			if (ptx_writes_pair(in->op))
				mark_stable(b, &in->o[1]);
		}
	}
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
	return a < c ? -1 : a > c;
}

/* Registers that are never alive together share a place: the fewer bytes a frame has, the more of
 * a block's frames stay in the nearest cache. What the prologue writes, or callers do, keeps its own. */
static void share_places(struct build *b, const struct flow_live *l)
{
	uint32_t nregs = b->f->nregs, n = 0, ended = 0, nfree[4] = { 0 };
	uint64_t *begin = b_alloc(b, sizeof(uint64_t) * 2 * ((size_t)nregs + 1)), *end = begin + nregs + 1;
	uint32_t *freed = b_alloc(b, sizeof(uint32_t) * 4 * ((size_t)nregs + 1));
	for (uint32_t r = 0; r < nregs; r++) {
		if (l->from[r] == 0 || b->stable[r] || b->slot[r] != UINT32_MAX)
			continue;
		begin[n] = (uint64_t)l->from[r] << 32 | r;
		end[n++] = (uint64_t)l->to[r] << 32 | r;
	}
	qsort(begin, n, sizeof(*begin), by_value);
	qsort(end, n, sizeof(*end), by_value);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t r = (uint32_t)begin[i], width = b_width(b->f->regs[r].type);
		int c = width_class(width);
		for (; end[ended] >> 32 < begin[i] >> 32; ended++) {
			uint32_t dead = (uint32_t)end[ended];
			int k = width_class(b_width(b->f->regs[dead].type));
			freed[(size_t)k * (nregs + 1) + nfree[k]++] = b->slot[dead];
		}
		b->slot[r] = nfree[c] ? freed[(size_t)c * (nregs + 1) + --nfree[c]] : room(b, width);
	}
}

/* ---- layout of a function's own memory */

static uint32_t place(uint32_t *at, const struct ptx_var *v)
{
	uint32_t align = v->align ? v->align : 1;
	*at = (*at + align - 1) & ~(align - 1);
	uint32_t here = *at;
	*at += (uint32_t)v->size;
	return here;
}

static void params_in(struct build *b, const struct ptx_param *p, uint32_t n, uint32_t *at_local, uint32_t **at,
		      uint32_t **width, uint32_t **size)
{
	*at = b_alloc(b, sizeof(uint32_t) * (n + 1));
	*width = b_alloc(b, sizeof(uint32_t) * (n + 1));
	*size = b_alloc(b, sizeof(uint32_t) * (n + 1));
	for (uint32_t k = 0; k < n; k++) {
		if (p[k].reg != UINT32_MAX) {
			struct ptx_operand o = { .kind = PTX_O_REG, .reg = p[k].reg };
			(*at)[k] = b_reg(b, &o);
			(*width)[k] = b_reg_width(b, &o);
			(*size)[k] = (*width)[k];
			b->defs[p[k].reg] += 2;
			continue;
		}
		struct ptx_var *v = (struct ptx_var *)p[k].var;
		v->engine_addr = place(at_local, v);
		(*at)[k] = (uint32_t)v->engine_addr;
		(*size)[k] = (uint32_t)v->size;
	}
}

static void layout(struct build *b)
{
	const struct ptx_func *f = b->f;
	struct cfunc *c = b->c;
	uint64_t total = 0;
	uint32_t at = 0;
	for (uint32_t i = 0; i < f->nvars; i++)
		total += f->vars[i]->space == PTX_SPACE_SHARED ? 0 : f->vars[i]->size + f->vars[i]->align;
	if (total > SC_MAX_LOCAL)
		b_fail(b, SC_OUT_OF_RESOURCES, "%llu bytes of local memory", (unsigned long long)total);
	for (uint32_t i = 0; i < f->nvars; i++)
		if (f->vars[i]->space == PTX_SPACE_LOCAL || f->vars[i]->space == PTX_SPACE_PARAM)
			f->vars[i]->engine_addr = place(&at, f->vars[i]);
	if (f->is_entry) {
		for (uint32_t i = 0; i < f->nparams; i++)
			((struct ptx_var *)f->params[i].var)->engine_addr = f->params[i].offset | SC_KERNEL_PARAM;
	} else {
		c->nparams = f->nparams;
		c->nresults = f->nresults;
		params_in(b, f->params, f->nparams, &at, &c->param_at, &c->param_width, &c->param_size);
		params_in(b, f->results, f->nresults, &at, &c->result_at, &c->result_width, &c->result_size);
	}
	c->local_bytes = (at + 15) & ~15u;
}

/* ---- finishing */

static struct insn *freeze(struct build *b, const struct stream *s)
{
	struct insn *v = b_alloc(b, sizeof(*v) * s->n + 64);
	v = (struct insn *)(((uintptr_t)v + 63) & ~(uintptr_t)63);
	memcpy(v, s->v, sizeof(*v) * s->n);
	const struct sc_op_fn *ops = sc_ops();
	for (uint32_t i = 0; i < s->n; i++) {
		v[i].fn[0] = ops[v[i].op].full;
		v[i].fn[1] = ops[v[i].op].partial;
	}
	return v;
}

static void finish(struct build *b)
{
	struct cfunc *c = b->c;
	c->ncode = b->main.n;
	c->code = freeze(b, &b->main);
	for (uint32_t i = 0; i < c->ncode; i++)
		if ((c->code[i].op == OP_BRAC || c->code[i].op == OP_IF || c->code[i].op == OP_ELSE) && c->code[i].imm > 0)
			c->code[i].target = c->code + c->code[i].imm;
	for (uint32_t i = 0; i < b->nfix; i++)
		c->code[b->fix[i].at].target = c->code + b->label_at[b->fix[i].label];
	for (uint32_t i = 0; i < b->nbrx; i++)
		b->brx[i].info->target[b->brx[i].k] = c->code + b->label_at[b->brx[i].label];
	if (b->pre.n) {
		b->out = &b->pre;
		b_emit(b, OP_STOPPRE);
		c->npre = b->pre.n;
		c->pre = freeze(b, &b->pre);
	}
	c->frame_bytes = b->cursor;
}

static void *zeroed(struct build *b, size_t n, size_t elem)
{
	void *p = calloc(n + 1, elem);
	if (!p)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	return p;
}

static void analyse(struct build *b)
{
	const struct ptx_func *f = b->f;
	b->flow = flow_new(f->insns, f->ninsns);
	if (!b->flow)
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	if (f->ninsns)
		memcpy(b->insn, f->insns, sizeof(*b->insn) * f->ninsns);
	count_defs(b);
	fuse_addresses(b);
	fold_negations(b);
	if (!flow_liveness(b->flow, b->insn, f->nregs, b->slot, droppable, &b->live, b->drop, b->unused))
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	find_early(b);
	if (b->live.known)
		share_places(b, &b->live);
}

static void compile(struct build *b)
{
	const struct ptx_func *f = b->f;
	b->slot = zeroed(b, f->nregs, sizeof(*b->slot));
	memset(b->slot, 0xff, f->nregs * sizeof(*b->slot));
	b->stable = zeroed(b, f->nregs, sizeof(*b->stable));
	b->defs = zeroed(b, f->nregs, sizeof(*b->defs));
	b->insn = zeroed(b, f->ninsns, sizeof(*b->insn));
	b->label = zeroed(b, f->ninsns + 1, sizeof(*b->label));
	b->label_at = zeroed(b, f->ninsns, sizeof(*b->label_at));
	b->leader = zeroed(b, f->ninsns + 1, 1);
	b->drop = zeroed(b, f->ninsns, 1);
	b->unused = zeroed(b, f->ninsns, 1);
	b->early = zeroed(b, f->ninsns, 1);
	layout(b);
	analyse(b);
	lower_all(b);
	finish(b);
}

static void free_build(struct build *b)
{
	flow_free(b->flow);
	free(b->slot);
	free(b->stable);
	free(b->defs);
	free(b->insn);
	free(b->label);
	free(b->label_at);
	free(b->leader);
	free(b->drop);
	free(b->unused);
	free(b->early);
	free(b->live.from);
	free(b->live.to);
	free(b->fix);
	free(b->brx);
	free(b->main.v);
	free(b->pre.v);
	free(b);
}

struct cfunc *sc_compile(struct kernel_tree *tree, const struct ptx_func *f, char *why, size_t why_cap, int *result)
{
	static _Atomic uint64_t ids;
	struct build *b = calloc(1, sizeof(*b));
	struct cfunc *c = calloc(1, sizeof(*c));
	*result = SC_OUT_OF_MEMORY;
	if (!b || !c) {
		free(b);
		free(c);
		return NULL;
	}
	c->func = f;
	c->module = tree->module;
	c->id = ++ids;
	b->f = f;
	b->tree = tree;
	b->c = c;
	b->why = why;
	b->why_cap = why_cap;
	b->line = f->line;
	*result = 0;
	if (setjmp(b->fail) == 0) {
		compile(b);
	} else {
		*result = b->result;
		sc_cfunc_free(b->c);
		b->c = NULL;
	}
	c = b->c;
	free_build(b);
	return c;
}

void sc_cfunc_free(struct cfunc *c)
{
	if (!c)
		return;
	struct chunk *k = c->arena;
	while (k) {
		struct chunk *next = k->next;
		free(k);
		k = next;
	}
	free(c->konst);
	free(c);
}

void sc_frame_init(const struct cfunc *f, uint8_t *regs)
{
	for (uint32_t i = 0; i < f->nkonst; i++) {
		const struct konst *k = &f->konst[i];
		uint8_t *at = regs + k->offset;
		if (k->mask) {
			*(uint32_t *)at = (uint32_t)k->bits;
			continue;
		}
		for (int l = 0; l < SC_LANES; l++)
			memcpy(at + (uint32_t)l * k->width, &k->bits, k->width);
	}
}
