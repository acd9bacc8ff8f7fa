/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a PTX function to the interpreter's program: the builder, the order of its passes, the layout
 * of the function's own memory, and freezing what was emitted.
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

void *b_grown(struct build *b, void *v, uint32_t *cap, size_t elem)
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
		s->v = b_grown(b, s->v, &s->cap, sizeof(*s->v));
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

uint32_t b_room(struct build *b, uint32_t width)
{
	uint32_t at = b->cursor;
	b->cursor += width ? width * SC_LANES : 64;
	return at;
}

/* Places whose lanes count only while they are active: see flow_brief. */
void b_mark_loose(struct build *b, uint32_t at)
{
	uint32_t k = at / 64;
	while (b->nloose <= k) {
		uint32_t old = b->nloose;
		b->loose = b_grown(b, b->loose, &b->nloose, 1);
		memset(b->loose + old, 0, b->nloose - old);
	}
	b->loose[k] = 1;
}

bool b_is_loose(const struct build *b, uint32_t at)
{
	return at / 64 < b->nloose && b->loose[at / 64];
}

int b_width_class(uint32_t width)
{
	return width == 0 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3;
}

uint32_t b_temp(struct build *b, uint32_t width)
{
	int c = b_width_class(width);
	if (b->used[c] == 16)
		b_fail(b, SC_NOT_SUPPORTED, "instruction too long");
	if (b->used[c] == b->ntemps[c]) {
		b_mark_loose(b, b->cursor);
		b->temps[c][b->ntemps[c]++] = b_room(b, width);
	}
	return b->temps[c][b->used[c]++];
}

static uint32_t konst(struct build *b, uint32_t width, uint64_t bits, bool mask)
{
	struct cfunc *c = b->c;
	for (uint32_t i = 0; i < c->nkonst; i++)
		if (c->konst[i].width == width && c->konst[i].bits == bits && c->konst[i].mask == mask)
			return c->konst[i].offset;
	if (c->nkonst == b->ckonst)
		c->konst = b_grown(b, c->konst, &b->ckonst, sizeof(*c->konst));
	uint32_t at = b_room(b, mask ? 0 : width);
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
		b->slot[o->reg] = b_room(b, b_width(b->regs[o->reg].type));
	return b->slot[o->reg];
}

uint32_t b_reg_width(const struct build *b, const struct ptx_operand *o)
{
	return b_width(b->regs[o->reg].type);
}

uint32_t b_src(struct build *b, const struct ptx_operand *o, uint32_t width)
{
	if (o->kind == PTX_O_IMM)
		return b_const(b, width, (uint64_t)o->imm);
	if (o->kind != PTX_O_REG)
		b_fail(b, SC_NOT_SUPPORTED, "operand that is neither register nor constant");
	if (b_reg_width(b, o) < width)
		b_fail(b, SC_INVALID_PTX, "register '%s' is too narrow", b->regs[o->reg].name);
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
		b->fix = b_grown(b, b->fix, &b->cfix, sizeof(*b->fix));
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

/* Whether an instruction does nothing but compute o[0], lane by lane. */
static bool only_computes(uint16_t op)
{
	static const uint16_t other[] = { OP_CARRY32, OP_CARRY64, OP_MADC32, OP_MADC64, OP_UNPACK32_16, OP_UNPACK64_32,
					  OP_UNPACK64_16, OP_CLOCK, OP_ROUNDMODE };
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++)
		if (op == other[i])
			return false;
	return (op >= OP_ADD16 && op < OP_SEQ16) || (op >= OP_ADDF32 && op < OP_LDGU8_16);
}

static struct insn *freeze(struct build *b, const struct stream *s)
{
	struct insn *v = b_alloc(b, sizeof(*v) * s->n + 64);
	v = (struct insn *)(((uintptr_t)v + 63) & ~(uintptr_t)63);
	memcpy(v, s->v, sizeof(*v) * s->n);
	const struct sc_op_fn *ops = sc_ops();
	for (uint32_t i = 0; i < s->n; i++) {
		v[i].fn[0] = ops[v[i].op].full;
		bool any = only_computes(v[i].op) || (v[i].op >= OP_LDAU8_16 && v[i].op <= OP_LDA64_64);
		v[i].fn[1] = any && b_is_loose(b, v[i].o[0]) ? ops[v[i].op].full : ops[v[i].op].partial;
	}
	return v;
}

/* Instructions to the end, where nothing leads back and nobody else is waited for. */
static uint32_t steps_forward(const struct cfunc *c)
{
	for (uint32_t i = 0; i < c->ncode; i++) {
		const struct insn *in = &c->code[i];
		switch (in->op) {
		case OP_BRA: case OP_BRAC:
			if (in->target <= in)
				return UINT32_MAX;
			break;
		case OP_BRX: case OP_CALL: case OP_CALLR: case OP_BUILTIN: case OP_BAR: case OP_BARARRIVE: case OP_NANOSLEEP:
			return UINT32_MAX;
		default: break;
		}
	}
	return c->ncode;
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
	c->steps = steps_forward(c);
	c->nranges = c->steps == UINT32_MAX || b->nmem > SC_RANGES ? SC_RANGES : b->nmem;
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
	b_count_defs(b);
	flow_count_reads(b->insn, f->ninsns, b->reads);
	b_fuse_products(b);
	b_fold_predicates(b);
	if (!flow_liveness(b->flow, b->insn, f->nregs, b->slot, b_droppable, &b->live, b->drop, b->unused))
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	if (b->tree->by_warp)
		b_find_affine(b);
	b_find_early(b);
	if (!b->live.known)
		return;
	if (!flow_brief(b->flow, b->insn, f->nregs, b->drop, b->brief))
		b_fail(b, SC_OUT_OF_MEMORY, "out of memory");
	b_share_places(b, &b->live);
}

static void compile(struct build *b)
{
	const struct ptx_func *f = b->f;
	b->slot = zeroed(b, f->nregs + B_EXTRA, sizeof(*b->slot));
	memset(b->slot, 0xff, (f->nregs + B_EXTRA) * sizeof(*b->slot));
	b->regs = zeroed(b, f->nregs + B_EXTRA, sizeof(*b->regs));
	if (f->nregs)
		memcpy(b->regs, f->regs, f->nregs * sizeof(*b->regs));
	b->brief = zeroed(b, f->nregs + B_EXTRA, 1);
	b->stable = zeroed(b, f->nregs, sizeof(*b->stable));
	b->defs = zeroed(b, f->nregs, sizeof(*b->defs));
	b->reads = zeroed(b, f->nregs, sizeof(*b->reads));
	b->known = zeroed(b, f->nregs, 1);
	b->insn = zeroed(b, f->ninsns, sizeof(*b->insn));
	b->label = zeroed(b, f->ninsns + 1, sizeof(*b->label));
	b->label_at = zeroed(b, f->ninsns, sizeof(*b->label_at));
	b->leader = zeroed(b, f->ninsns + 1, 1);
	b->drop = zeroed(b, f->ninsns, 1);
	b->unused = zeroed(b, f->ninsns, 1);
	b->early = zeroed(b, f->ninsns, 1);
	layout(b);
	analyse(b);
	b_lower_all(b);
	b_finish_head(b);
	finish(b);
}

static void free_build(struct build *b)
{
	flow_free(b->flow);
	b_free_affine(b);
	free(b->slot);
	free(b->regs);
	free(b->brief);
	free(b->loose);
	free(b->stable);
	free(b->defs);
	free(b->reads);
	free(b->known);
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
