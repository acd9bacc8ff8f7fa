/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PTX front end against arbitrary text.
 * Beyond "does not crash": a module that is handed out must be one an engine can walk without checks.
 */
#include "softcuda/ptx.h"
#include "fuzz.h"

static void walk_operand(const struct ptx_func *f, const struct ptx_operand *o, unsigned depth)
{
	MUST(depth < 3);
	switch (o->kind) {
	case PTX_O_REG: MUST(o->reg < f->nregs); break;
	case PTX_O_ADDR: MUST(!o->base_is_reg || o->reg < f->nregs); break;
	case PTX_O_VAR: MUST(o->var && o->var->name); break;
	case PTX_O_FUNC: MUST(o->func && o->func->name); break;
	case PTX_O_LABEL: MUST(o->func || o->label < f->ninsns); break;
	case PTX_O_VEC:
		MUST(o->n > 0 && o->n <= 8);
		for (unsigned i = 0; i < o->n; i++)
			walk_operand(f, &o->vec[i], depth + 1);
		break;
	case PTX_O_LIST:
		for (unsigned i = 0; i < o->nlist; i++)
			walk_operand(f, &o->vec[i], depth + 1);
		break;
	default: break;
	}
}

static void walk_call(const struct ptx_insn *in)
{
	const struct ptx_operand *p = &in->o[3];
	const struct ptx_func *f = in->o[1].kind == PTX_O_FUNC ? in->o[1].func : p->kind == PTX_O_LABEL ? p->func : p->vec[0].func;
	MUST(in->o[0].nlist == f->nresults && in->o[2].nlist == f->nparams);
}

static void walk_func(const struct ptx_func *f)
{
	if (f->is_extern)
		return;
	MUST(f->ninsns > 0 && f->insns[f->ninsns - 1].op == PTX_OP_RET);
	for (uint32_t i = 0; i < f->nparams; i++)
		MUST(f->params[i].var && (!f->is_entry || f->params[i].offset + f->params[i].var->size <= f->param_bytes));
	for (uint32_t i = 0; i < f->ninsns; i++) {
		const struct ptx_insn *in = &f->insns[i];
		MUST(in->op < PTX_OP_COUNT && in->nop <= 6 && in->pred < (int64_t)f->nregs);
		MUST(in->pred < 0 || f->regs[in->pred].type == PTX_PRED);
		for (unsigned k = 0; k < in->nop; k++)
			walk_operand(f, &in->o[k], 0);
		if (in->op == PTX_OP_CALL)
			walk_call(in);
	}
}

static void walk_var(const struct ptx_var *v)
{
	MUST(v->align && !(v->align & (v->align - 1)));
	uint8_t sum = 0;
	if (v->init && v->size)
		sum = v->init[0] ^ v->init[v->size - 1];
	(void)*(volatile uint8_t *)&sum;
	for (uint32_t i = 0; i < v->nreloc; i++)
		MUST(v->reloc[i].at + v->reloc[i].width <= v->size && !v->reloc[i].var != !v->reloc[i].func);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char buf[1024];
	struct ptx_log log = { buf, sizeof buf, 0 };
	struct ptx_module *m = NULL;
	enum ptx_status s = ptx_parse((const char *)data, len, &log, &m);
	MUST((s == PTX_OK) == (m != NULL) && log.len < sizeof buf);
	if (!m)
		return 0;
	for (uint32_t i = 0; i < m->nvars; i++)
		walk_var(m->vars[i]);
	for (uint32_t i = 0; i < m->nfuncs; i++)
		walk_func(m->funcs[i]);
	ptx_free(m);
	return 0;
}
