/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one kernel reaches: the functions it calls, its shared variables, its need of local memory.
 * Functions are compiled once per kernel, because where a shared variable lies depends on it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_module.h"

struct scan {
	struct sc_module *m;
	bool *reached;
	bool *shared; /* by shared variable index */
	const struct ptx_var **var;
	bool indirect;
	uint32_t *todo, ntodo;
};

static void reach(struct scan *s, const struct ptx_func *f)
{
	uint32_t i = (uint32_t)(uintptr_t)f->engine - 1;
	if (s->reached[i])
		return;
	s->reached[i] = true;
	s->todo[s->ntodo++] = i;
}

static void scan_operand(struct scan *s, const struct ptx_operand *o)
{
	if (o->var && o->var->space == PTX_SPACE_SHARED) {
		s->shared[o->var->engine_addr] = true;
		s->var[o->var->engine_addr] = o->var;
	}
	if (o->kind == PTX_O_FUNC && o->func->engine)
		reach(s, o->func);
	uint32_t n = o->kind == PTX_O_VEC ? o->n : o->kind == PTX_O_LIST ? o->nlist : 0;
	for (uint32_t k = 0; k < n; k++)
		scan_operand(s, &o->vec[k]);
}

static void scan_function(struct scan *s, const struct ptx_func *f)
{
	for (uint32_t i = 0; i < f->ninsns; i++) {
		const struct ptx_insn *in = &f->insns[i];
		if (in->op == PTX_OP_CALL && in->o[1].kind == PTX_O_REG)
			s->indirect = true;
		for (int k = 0; k < 6; k++)
			if (in->o[k].kind != PTX_O_NONE && in->o[k].kind != PTX_O_LABEL)
				scan_operand(s, &in->o[k]);
	}
}

/* Everything reachable; where calls are indirect, every function of the module. */
static void scan_all(struct scan *s, const struct ptx_func *entry)
{
	const struct ptx_module *p = s->m->ptx;
	bool widened = false;
	reach(s, entry);
	while (s->ntodo || (s->indirect && !widened)) {
		if (!s->ntodo) {
			widened = true;
			for (uint32_t i = 0; i < p->nfuncs; i++)
				if (!p->funcs[i]->is_entry && p->funcs[i]->ninsns)
					reach(s, p->funcs[i]);
			continue;
		}
		scan_function(s, p->funcs[s->todo[--s->ntodo]]);
	}
}

static void lay_out_shared(struct scan *s, struct kernel_tree *t)
{
	uint64_t at = 0, dynamic_align = 16;
	for (uint32_t i = 0; i < s->m->nvars_shared; i++) {
		t->shared_at[i] = UINT64_MAX;
		if (!s->shared[i])
			continue;
		uint64_t align = s->var[i]->align ? s->var[i]->align : 1;
		if (s->var[i]->size == 0) {
			dynamic_align = align > dynamic_align ? align : dynamic_align;
			continue;
		}
		at = (at + align - 1) & ~(align - 1);
		t->shared_at[i] = at;
		at += s->var[i]->size;
	}
	t->shared_bytes = at > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)at;
	uint64_t dynamic = (at + dynamic_align - 1) & ~(dynamic_align - 1);
	bool any = false;
	for (uint32_t i = 0; i < s->m->nvars_shared; i++) {
		if (s->shared[i] && s->var[i]->size == 0) {
			t->shared_at[i] = dynamic;
			any = true;
		}
	}
	if (any && dynamic < UINT32_MAX / 2)
		t->shared_bytes = (uint32_t)dynamic;
}

/* Fills k->tree but its code. Called with the module's lock. */
static int scan_kernel(struct sc_kernel *k, bool **reached)
{
	struct sc_module *m = k->module;
	uint32_t nf = m->ptx->nfuncs, ns = m->nvars_shared;
	struct scan s = { .m = m, .reached = calloc(nf, 1), .shared = calloc(ns + 1, 1),
			  .var = calloc(ns + 1, sizeof(*s.var)), .todo = calloc(nf, sizeof(*s.todo)) };
	struct kernel_tree *t = &k->tree;
	int rc = SC_OUT_OF_MEMORY;
	if (!t->shared_at)
		t->shared_at = calloc(ns + 1, sizeof(*t->shared_at));
	if (s.reached && s.shared && s.var && s.todo && t->shared_at) {
		scan_all(&s, k->func);
		lay_out_shared(&s, t);
		t->module = m;
		t->nfuncs = nf;
		t->indirect = s.indirect;
		k->info.shared_bytes = t->shared_bytes;
		k->scanned = true;
		rc = SC_OK;
	}
	if (rc == SC_OK && reached)
		*reached = s.reached;
	else
		free(s.reached);
	free(s.shared);
	free(s.var);
	free(s.todo);
	return rc;
}

const struct sc_kernel_info *sc_kernel_info(const struct sc_kernel *kernel)
{
	struct sc_kernel *k = (struct sc_kernel *)kernel;
	pthread_mutex_lock(&k->module->lock);
	if (!k->scanned)
		scan_kernel(k, NULL);
	pthread_mutex_unlock(&k->module->lock);
	return &k->info;
}

static void link_calls(struct kernel_tree *t, struct cfunc *f)
{
	for (uint32_t i = 0; i < f->ncode; i++) {
		if (f->code[i].op == OP_CALL) {
			struct call_info *c = (struct call_info *)f->code[i].aux;
			c->callee = t->func[(uint32_t)(uintptr_t)c->func->engine - 1];
		}
		f->calls_unknown |= f->code[i].op == OP_CALLR;
	}
}

enum { UNSEEN, OPEN, CLOSED };

/* Local memory of f and everything below it; recursion or unknown callees: UINT32_MAX. */
static uint32_t stack_need(struct cfunc *f)
{
	uint32_t below = 0;
	if (f->mark == OPEN || f->calls_unknown)
		return UINT32_MAX;
	if (f->mark == CLOSED)
		return f->stack_bytes;
	f->mark = OPEN;
	for (uint32_t i = 0; i < f->ncode; i++) {
		if (f->code[i].op != OP_CALL)
			continue;
		uint32_t n = stack_need(((const struct call_info *)f->code[i].aux)->callee);
		below = n > below ? n : below;
	}
	f->mark = CLOSED;
	f->stack_bytes = below == UINT32_MAX ? below : f->local_bytes + below;
	return f->stack_bytes;
}

/* The entry a second time, with what a warp computes once in its head. */
static int compile_by_warp(struct sc_kernel *k)
{
	struct kernel_tree *t = &k->tree;
	int rc = SC_OK;
	t->by_warp = true;
	struct cfunc *f = sc_compile(t, k->func, k->why, sizeof(k->why), &rc);
	t->by_warp = false;
	if (f && f->head.nvalues == 0) {
		sc_cfunc_free(f);
		f = NULL;
	}
	if (f)
		link_calls(t, f);
	k->by_warp = f;
	return rc;
}

static int compile_tree(struct sc_kernel *k, const bool *reached)
{
	struct kernel_tree *t = &k->tree;
	const struct ptx_module *p = k->module->ptx;
	t->func = calloc(t->nfuncs, sizeof(*t->func));
	if (!t->func)
		return SC_OUT_OF_MEMORY;
	for (uint32_t i = 0; i < t->nfuncs; i++) {
		int rc = SC_OK;
		if (!reached[i] || (p->funcs[i]->is_extern && !p->funcs[i]->ninsns))
			continue;
		t->func[i] = sc_compile(t, p->funcs[i], k->why, sizeof(k->why), &rc);
		if (!t->func[i])
			return rc;
	}
	for (uint32_t i = 0; i < t->nfuncs; i++)
		if (t->func[i])
			link_calls(t, t->func[i]);
	k->entry = t->func[(uint32_t)(uintptr_t)k->func->engine - 1];
	uint32_t need = stack_need(k->entry);
	if (need == UINT32_MAX)
		need = SC_STACK_RECURSIVE + k->entry->local_bytes;
	if (need > SC_MAX_LOCAL) {
		snprintf(k->why, sizeof(k->why), "%s needs %u bytes of local memory per thread, %d are allowed",
			 k->func->name, need, SC_MAX_LOCAL);
		return SC_OUT_OF_RESOURCES;
	}
	k->entry->stack_bytes = need;
	return compile_by_warp(k);
}

int sc_kernel_ready(struct sc_kernel *k)
{
	if (atomic_load_explicit(&k->compiled, memory_order_acquire))
		return k->result;
	pthread_mutex_lock(&k->module->lock);
	if (!k->compiled) {
		bool *reached = NULL;
		k->result = scan_kernel(k, &reached);
		if (!k->result)
			k->result = compile_tree(k, reached);
		free(reached);
		atomic_store_explicit(&k->compiled, true, memory_order_release);
	}
	pthread_mutex_unlock(&k->module->lock);
	return k->result;
}
