/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a module: parse, place variables, list kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_module.h"

/* Function "addresses": no memory lies there, so a stray load or store faults. */
#define FUNC_BASE 0x100000000000ull
#define FUNC_STEP 16

static void complain(struct ptx_log *log, const char *fmt, const char *name)
{
	if (!log || !log->cap)
		return;
	int n = snprintf(log->buf + log->len, log->cap - log->len, fmt, name);
	if (n > 0)
		log->len = log->len + (size_t)n < log->cap ? log->len + (size_t)n : log->cap - 1;
}

static bool is_texture(const struct ptx_var *v)
{
	return v->type == PTX_TEXREF || v->type == PTX_SAMPLERREF || v->type == PTX_SURFREF;
}

static bool in_memory(const struct ptx_var *v)
{
	return (v->space == PTX_SPACE_GLOBAL || v->space == PTX_SPACE_CONST) && !is_texture(v);
}

static int place_var(struct sc_module *m, struct ptx_var *v, struct ptx_log *log)
{
	if (is_texture(v)) {
		m->texvar[m->ntex] = v;
		v->engine_addr = m->ntex++;
		return SC_OK;
	}
	if (v->space == PTX_SPACE_SHARED) {
		v->engine_addr = m->nvars_shared++;
		return SC_OK;
	}
	if (!in_memory(v)) {
		complain(log, "error: variable '%s': this state space is not supported at module scope\n", v->name);
		return SC_NOT_SUPPORTED;
	}
	if (v->is_extern) {
		complain(log, "error: unresolved external variable '%s'\n", v->name);
		return SC_INVALID_PTX;
	}
	uint64_t va;
	int rc = sc_mem_alloc(m->device, v->size ? v->size : 1, v->align ? v->align : 1, &va);
	if (rc)
		return rc;
	m->placed[m->nplaced++] = va;
	v->engine_addr = va;
	if (v->init)
		memcpy((void *)(uintptr_t)va, v->init, v->size);
	return SC_OK;
}

static int relocate(struct sc_module *m, const struct ptx_var *v, struct ptx_log *log)
{
	for (uint32_t i = 0; i < v->nreloc; i++) {
		uint64_t to = 0;
		uint32_t width = v->reloc[i].width;
		if (v->reloc[i].func)
			to = sc_module_function_address(m, v->reloc[i].func);
		else if (v->reloc[i].var && in_memory(v->reloc[i].var))
			to = v->reloc[i].var->engine_addr;
		else {
			complain(log, "error: initialiser of '%s' needs an address that is known only at run time\n", v->name);
			return SC_NOT_SUPPORTED;
		}
		to += (uint64_t)v->reloc[i].addend;
		if (width <= 8 && v->reloc[i].at + width <= v->size)
			memcpy((void *)(uintptr_t)(v->engine_addr + v->reloc[i].at), &to, width);
	}
	return SC_OK;
}

static int place_all(struct sc_module *m, struct ptx_log *log)
{
	struct ptx_module *p = m->ptx;
	m->placed = calloc(p->nvars + 1, sizeof(*m->placed));
	m->texslot = calloc(p->nvars + 1, sizeof(*m->texslot));
	m->texvar = calloc(p->nvars + 1, sizeof(*m->texvar));
	if (!m->placed || !m->texslot || !m->texvar)
		return SC_OUT_OF_MEMORY;
	for (uint32_t i = 0; i < p->nfuncs; i++) {
		struct ptx_func *f = p->funcs[i];
		f->engine = (void *)(uintptr_t)(i + 1);
		for (uint32_t k = 0; k < f->nvars; k++)
			if (f->vars[k]->space == PTX_SPACE_SHARED)
				f->vars[k]->engine_addr = m->nvars_shared++;
			else if (in_memory(f->vars[k])) {
				complain(log, "error: variable '%s': global or constant inside a function\n", f->vars[k]->name);
				return SC_NOT_SUPPORTED;
			}
	}
	for (uint32_t i = 0; i < p->nvars; i++) {
		int rc = place_var(m, p->vars[i], log);
		if (rc)
			return rc;
	}
	for (uint32_t i = 0; i < p->nvars; i++) {
		int rc = p->vars[i]->nreloc ? relocate(m, p->vars[i], log) : SC_OK;
		if (rc)
			return rc;
	}
	return SC_OK;
}

static uint32_t registers(const struct ptx_func *f)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < f->nregs && n < 255; i++)
		n += f->regs[i].type == PTX_PRED ? 0 : ptx_type_size(f->regs[i].type) == 8 ? 2 : 1;
	return n < 16 ? 16 : n > 255 ? 255 : n;
}

static bool describe(struct sc_module *m, struct sc_kernel *k, const struct ptx_func *f)
{
	k->module = m;
	k->func = f;
	k->params = calloc(f->nparams + 1, sizeof(*k->params));
	if (!k->params)
		return false;
	for (uint32_t i = 0; i < f->nparams; i++)
		k->params[i] = (struct sc_param){ f->params[i].offset, (uint32_t)f->params[i].var->size };
	uint32_t max = SC_MAX_THREADS;
	if (f->maxntid[0]) {
		uint64_t n = (uint64_t)f->maxntid[0] * (f->maxntid[1] ? f->maxntid[1] : 1) * (f->maxntid[2] ? f->maxntid[2] : 1);
		max = n < max ? (uint32_t)n : max;
	}
	uint64_t consts = 0;
	for (uint32_t i = 0; i < m->ptx->nvars; i++)
		if (m->ptx->vars[i]->space == PTX_SPACE_CONST)
			consts += m->ptx->vars[i]->size;
	uint32_t locals = 0;
	for (uint32_t i = 0; i < f->nvars; i++)
		if (f->vars[i]->space == PTX_SPACE_LOCAL)
			locals += (uint32_t)f->vars[i]->size;
	k->info = (struct sc_kernel_info){
		.name = f->name, .nparams = f->nparams, .params = k->params, .param_bytes = f->param_bytes,
		.regs = registers(f), .local_bytes = locals, .const_bytes = (uint32_t)consts, .max_threads = max,
		.reqntid = { f->reqntid[0], f->reqntid[1], f->reqntid[2] },
		.ptx_version = m->ptx->version_major * 10 + m->ptx->version_minor, .binary_version = m->ptx->sm };
	return true;
}

static int list_kernels(struct sc_module *m)
{
	struct ptx_module *p = m->ptx;
	for (uint32_t i = 0; i < p->nfuncs; i++)
		m->nkernels += p->funcs[i]->is_entry;
	m->kernel = calloc(m->nkernels + 1, sizeof(*m->kernel));
	if (!m->kernel)
		return SC_OUT_OF_MEMORY;
	for (uint32_t i = 0, n = 0; i < p->nfuncs; i++)
		if (p->funcs[i]->is_entry && !describe(m, &m->kernel[n++], p->funcs[i]))
			return SC_OUT_OF_MEMORY;
	return SC_OK;
}

static int parse_result(enum ptx_status s)
{
	static const int result[] = { [PTX_OK] = SC_OK, [PTX_ERR_SYNTAX] = SC_INVALID_PTX,
				      [PTX_ERR_VERSION] = SC_UNSUPPORTED_PTX_VERSION,
				      [PTX_ERR_UNSUPPORTED] = SC_NOT_SUPPORTED, [PTX_ERR_MEMORY] = SC_OUT_OF_MEMORY };
	return result[s];
}

int sc_module_load(struct sc_device *d, const char *ptx, size_t len, struct ptx_log *log, struct sc_module **out)
{
	struct ptx_module *p = NULL;
	char none[1];
	struct ptx_log silent = { none, 0, 0 };
	int rc = parse_result(ptx_parse(ptx, len, log ? log : &silent, &p));
	if (rc)
		return rc;
	struct sc_module *m = calloc(1, sizeof(*m));
	if (!m) {
		ptx_free(p);
		return SC_OUT_OF_MEMORY;
	}
	m->device = d;
	m->ptx = p;
	pthread_mutex_init(&m->lock, NULL);
	rc = place_all(m, log);
	if (!rc)
		rc = list_kernels(m);
	if (rc) {
		sc_module_unload(m);
		return rc;
	}
	*out = m;
	return SC_OK;
}

void sc_module_unload(struct sc_module *m)
{
	if (!m)
		return;
	for (unsigned i = 0; m->kernel && i < m->nkernels; i++) {
		struct kernel_tree *t = &m->kernel[i].tree;
		for (uint32_t k = 0; t->func && k < t->nfuncs; k++)
			sc_cfunc_free(t->func[k]);
		sc_cfunc_free(m->kernel[i].by_warp);
		free(t->func);
		free(t->shared_at);
		free(m->kernel[i].params);
	}
	for (uint32_t i = 0; i < m->nplaced; i++)
		sc_mem_free(m->device, m->placed[i]);
	free(m->kernel);
	free(m->placed);
	free(m->texslot);
	free(m->texvar);
	ptx_free(m->ptx);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct sc_kernel *sc_module_kernel(struct sc_module *m, const char *name)
{
	for (unsigned i = 0; i < m->nkernels; i++)
		if (strcmp(m->kernel[i].info.name, name) == 0)
			return &m->kernel[i];
	return NULL;
}

unsigned sc_module_kernel_count(const struct sc_module *m)
{
	return m->nkernels;
}

struct sc_kernel *sc_module_kernel_at(struct sc_module *m, unsigned i)
{
	return i < m->nkernels ? &m->kernel[i] : NULL;
}

bool sc_module_var(struct sc_module *m, const char *name, uint64_t *va, uint64_t *size)
{
	for (uint32_t i = 0; i < m->ptx->nvars; i++) {
		const struct ptx_var *v = m->ptx->vars[i];
		if (!in_memory(v) || strcmp(v->name, name) != 0)
			continue;
		if (va)
			*va = v->engine_addr;
		if (size)
			*size = v->size;
		return true;
	}
	return false;
}

bool sc_module_texref(struct sc_module *m, const char *name, uint64_t **slot)
{
	for (uint32_t i = 0; i < m->ntex; i++) {
		if (strcmp(m->texvar[i]->name, name) == 0) {
			*slot = &m->texslot[i];
			return true;
		}
	}
	return false;
}

uint64_t *sc_module_texslot(struct sc_module *m, const struct ptx_var *v)
{
	return v->engine_addr < m->ntex ? &m->texslot[v->engine_addr] : NULL;
}

uint64_t sc_module_function_address(const struct sc_module *m, const struct ptx_func *f)
{
	return FUNC_BASE + (uint64_t)(uintptr_t)f->engine * FUNC_STEP;
}

struct cfunc *sc_kernel_function_at(const struct sc_kernel *k, uint64_t address)
{
	uint64_t i = (address - FUNC_BASE) / FUNC_STEP - 1;
	if ((address - FUNC_BASE) % FUNC_STEP || i >= k->tree.nfuncs)
		return NULL;
	return k->tree.func[i];
}

bool sc_module_is_const(const struct sc_module *m, uint64_t va)
{
	for (uint32_t i = 0; i < m->ptx->nvars; i++) {
		const struct ptx_var *v = m->ptx->vars[i];
		if (v->space == PTX_SPACE_CONST && !is_texture(v) && va - v->engine_addr < v->size)
			return true;
	}
	return false;
}
