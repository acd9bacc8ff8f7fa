// SPDX-License-Identifier: Apache-2.0
/*
 * Linking. PTX resolves .extern by name within one module, so pieces are linked by putting their texts
 * one behind the other under one .version, the highest. Each keeps its own .target. Names that are not
 * .visible share that one space too: two pieces that use one for different things are refused, where a
 * linker of objects would keep them apart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/fatbin.h"
#include "softcuda/drv.h"
#include "softcuda/ptx.h"

#define HEADER 32 /* bytes: ".version M.m" and a newline, padded */

struct drv_link {
	struct drv_obj obj;
	struct drv_jit jit;
	char *text; /* HEADER bytes left free, then the pieces */
	size_t len;
	unsigned version; /* 10 * major + minor: the highest so far */
};

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues, CUlinkState *state)
{
	struct drv_ctx *ctx;
	struct drv_jit jit;
	DRV_TRY(drv_current(&ctx));
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_jit_options(numOptions, options, optionValues, &jit));
	struct drv_link *l = drv_obj_new(KIND_LINK, sizeof *l);
	if (!l)
		return CUDA_ERROR_OUT_OF_MEMORY;
	l->jit = jit;
	*state = drv_obj_handle(l);
	return CUDA_SUCCESS;
}

static int link_get(CUlinkState state, struct drv_ctx **ctx, struct drv_link **l)
{
	DRV_TRY(drv_current(ctx));
	*l = drv_obj_get(KIND_LINK, state);
	return *l ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult refuse(struct drv_link *l, int error, const char *why)
{
	drv_jit_done(&l->jit, why, strlen(why), "", drv_now_ns());
	return error;
}

/* Each piece must be PTX by itself: its errors are told when it is added, by its own line numbers. */
static CUresult check(struct drv_link *l, const struct cuda_ptx *ptx)
{
	static const int error[] = { [PTX_ERR_SYNTAX] = CUDA_ERROR_INVALID_PTX, [PTX_ERR_VERSION] = CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
				     [PTX_ERR_UNSUPPORTED] = CUDA_ERROR_INVALID_PTX, [PTX_ERR_MEMORY] = CUDA_ERROR_OUT_OF_MEMORY };
	char text[4096] = "";
	struct ptx_log log = { .buf = text, .cap = sizeof text };
	struct ptx_module *m;
	enum ptx_status st = ptx_parse(ptx->text, ptx->len, &log, &m);
	if (st != PTX_OK)
		return refuse(l, error[st], text);
	ptx_free(m);
	return CUDA_SUCCESS;
}

/* Where the first word of PTX begins: behind blanks and comments. */
static char *first_word(char *p)
{
	for (;;) {
		p += strspn(p, " \t\r\n\f\v");
		if (!strncmp(p, "//", 2))
			p += strcspn(p, "\n");
		else if (!strncmp(p, "/*", 2) && strstr(p + 2, "*/"))
			p = strstr(p + 2, "*/") + 2;
		else
			return p;
	}
}

/* Appends a piece and blanks out its .version, which a module has once. The piece has been parsed. */
static CUresult append(struct drv_link *l, const struct cuda_ptx *ptx)
{
	size_t at = l->text ? l->len : HEADER, n = strnlen(ptx->text, ptx->len);
	char *text = realloc(l->text, at + n + 2), *v;
	unsigned major = 0, minor = 0;
	int taken = 0;
	if (!text)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(text + at, ptx->text, n);
	memcpy(text + at + n, "\n", 2);
	l->text = text;
	l->len = at + n + 1;
	v = first_word(text + at);
	if (sscanf(v, ".version %u.%u%n", &major, &minor, &taken) == 2)
		memset(v, ' ', (size_t)taken);
	if (10 * major + minor > l->version)
		l->version = 10 * major + minor;
	memset(text, ' ', HEADER - 1);
	text[HEADER - 1] = '\n';
	taken = snprintf(text, HEADER, ".version %u.%u", l->version / 10, l->version % 10);
	text[taken] = ' ';
	return CUDA_SUCCESS;
}

static CUresult add(struct drv_link *l, CUjitInputType type, const void *data, size_t size)
{
	char err[256] = "";
	struct cuda_ptx ptx;
	if (type != CU_JIT_INPUT_PTX && type != CU_JIT_INPUT_FATBINARY)
		return refuse(l, CUDA_ERROR_NOT_SUPPORTED, "softcuda links PTX only: no cubin, object, library or NVVM");
	int r = cuda_image_ptx(data, size, DRV_SM, &ptx, err, sizeof err);
	if (r)
		return refuse(l, r, err);
	r = check(l, &ptx);
	if (!r)
		r = append(l, &ptx);
	cuda_ptx_free(&ptx);
	return r;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size, const char *name, unsigned int numOptions, CUjit_option *options, void **optionValues)
{
	struct drv_ctx *ctx;
	struct drv_link *l;
	struct drv_jit ignored;
	DRV_TRY(link_get(state, &ctx, &l));
	DRV_TRY(drv_jit_options(numOptions, options, optionValues, &ignored));
	return data && size ? add(l, type, data, size) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int numOptions, CUjit_option *options, void **optionValues)
{
	struct drv_ctx *ctx;
	struct drv_link *l;
	struct drv_jit ignored;
	void *data;
	size_t len;
	DRV_TRY(link_get(state, &ctx, &l));
	DRV_TRY(drv_jit_options(numOptions, options, optionValues, &ignored));
	if (!path)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_image_of_file(path, &data, &len));
	CUresult r = add(l, type, data, len);
	free(data);
	return r;
}

/* Loaded once to find what does not resolve, then thrown away. */
static CUresult resolve(struct drv_link *l, struct drv_ctx *ctx)
{
	char text[4096] = "";
	struct ptx_log log = { .buf = text, .cap = sizeof text };
	struct sc_module *m;
	int r = sc_module_load(ctx->sc, l->text, l->len, &log, &m);
	if (r)
		return refuse(l, r, text);
	sc_module_unload(m);
	return CUDA_SUCCESS;
}

/* The "cubin" is the PTX: what cuModuleLoadData of this library takes. */
CUresult cuLinkComplete(CUlinkState state, void **cubin, size_t *size)
{
	struct drv_ctx *ctx;
	struct drv_link *l;
	DRV_TRY(link_get(state, &ctx, &l));
	if (!cubin || !l->text)
		return CUDA_ERROR_INVALID_VALUE;
	uint64_t started = drv_now_ns();
	DRV_TRY(resolve(l, ctx));
	*cubin = l->text;
	if (size)
		*size = l->len + 1;
	drv_jit_done(&l->jit, "", 0, "softcuda: linked\n", started);
	return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state)
{
	struct drv_ctx *ctx;
	struct drv_link *l;
	DRV_TRY(link_get(state, &ctx, &l));
	free(l->text);
	drv_obj_free(l);
	return CUDA_SUCCESS;
}
