// SPDX-License-Identifier: Apache-2.0
/* Modules, JIT options, linking, functions and their attributes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cuda/fatbin.h"
#include "softcuda/drv.h"

#define IMAGE_MAX (512u << 20)

/* ---- JIT options */

int drv_jit_options(unsigned n, const CUjit_option *options, void **values, struct drv_jit *jit)
{
	memset(jit, 0, sizeof *jit);
	if (n && (!options || !values))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < n; i++) {
		switch (options[i]) {
		case CU_JIT_INFO_LOG_BUFFER:
			jit->info = values[i];
			break;
		case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
			jit->info_cap = (unsigned)(uintptr_t)values[i];
			jit->info_size = &values[i];
			break;
		case CU_JIT_ERROR_LOG_BUFFER:
			jit->error = values[i];
			break;
		case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			jit->error_cap = (unsigned)(uintptr_t)values[i];
			jit->error_size = &values[i];
			break;
		case CU_JIT_WALL_TIME:
			jit->wall_time = &values[i];
			break;
		default: /* the others steer a compiler we do not have; numbers of newer CUDA are refused */
			if (options[i] < 0 || options[i] >= CU_JIT_NUM_OPTIONS)
				return CUDA_ERROR_INVALID_VALUE;
		}
	}
	return 0;
}

static void answer(char *buf, size_t cap, void **size, const char *text, size_t len)
{
	if (buf && cap) {
		len = len < cap - 1 ? len : cap - 1;
		memmove(buf, text, len);
		buf[len] = 0;
	}
	if (size)
		*size = (void *)(uintptr_t)(buf && cap ? len : 0);
}

void drv_jit_done(struct drv_jit *jit, const char *error, size_t error_len, const char *info, uint64_t started)
{
	float ms = (float)((drv_now_ns() - started) / 1e6);
	if (!jit)
		return;
	answer(jit->error, jit->error_cap, jit->error_size, error, error_len);
	answer(jit->info, jit->info_cap, jit->info_size, info, strlen(info));
	if (jit->wall_time) {
		*jit->wall_time = NULL;
		memcpy(jit->wall_time, &ms, sizeof ms);
	}
}

/* ---- images */

int drv_image_of_pointer(const void *image, struct drv_jit *jit, const void **data, size_t *len)
{
	struct cuda_image found;
	char err[256] = "";
	int r = cuda_image_measure(image, &found, err, sizeof err);
	if (r) {
		drv_jit_done(jit, err, strlen(err), "", drv_now_ns());
		return r;
	}
	*data = found.data;
	*len = found.len;
	return 0;
}

static int read_all(int fd, char *to, size_t size)
{
	for (size_t n = 0; n < size;) {
		ssize_t got = read(fd, to + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return CUDA_ERROR_OPERATING_SYSTEM;
		n += got;
	}
	return 0;
}

int drv_image_of_file(const char *path, void **data, size_t *len)
{
	struct stat st;
	int r = CUDA_ERROR_FILE_NOT_FOUND, fd = open(path, O_RDONLY | O_CLOEXEC);
	char *buf = NULL;
	if (fd < 0)
		return r;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= IMAGE_MAX) {
		buf = malloc(st.st_size + 1);
		r = buf ? read_all(fd, buf, st.st_size) : CUDA_ERROR_OUT_OF_MEMORY;
	}
	close(fd);
	if (r) {
		free(buf);
		return r;
	}
	buf[st.st_size] = 0;
	*data = buf;
	*len = st.st_size;
	return 0;
}

/* ---- modules */

static int make_funcs(struct drv_module *m)
{
	unsigned n = sc_module_kernel_count(m->sc);
	m->funcs = calloc(n ? n : 1, sizeof *m->funcs);
	if (!m->funcs)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (unsigned i = 0; i < n; i++) {
		struct drv_func *f = drv_obj_new(KIND_FUNC, sizeof *f);
		if (!f)
			return CUDA_ERROR_OUT_OF_MEMORY;
		f->module = m;
		f->kernel = sc_module_kernel_at(m->sc, i);
		f->info = sc_kernel_info(f->kernel);
		f->dynamic_shared_max = f->info->shared_bytes < DRV_SHARED_MAX ? DRV_SHARED_MAX - f->info->shared_bytes : 0;
		f->carveout = -1;
		m->funcs[m->nfuncs++] = f;
	}
	return 0;
}

static int load(struct drv_ctx *ctx, const struct cuda_ptx *ptx, struct ptx_log *log, struct drv_module **out)
{
	struct drv_module *m = drv_obj_new(KIND_MODULE, sizeof *m);
	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	m->ctx = ctx;
	int r = sc_module_load(ctx->sc, ptx->text, ptx->len, log, &m->sc);
	if (r) {
		drv_obj_free(m);
		return r;
	}
	pthread_mutex_lock(&drv.lock);
	m->next = ctx->modules;
	ctx->modules = m;
	pthread_mutex_unlock(&drv.lock);
	r = make_funcs(m);
	if (r)
		drv_module_drop(m);
	else
		*out = m;
	return r;
}

int drv_module_make(struct drv_ctx *ctx, const void *image, size_t len, struct drv_jit *jit, struct drv_module **out)
{
	uint64_t started = drv_now_ns();
	char text[4096] = "", info[128] = "";
	struct ptx_log log = { .buf = text, .cap = sizeof text };
	struct cuda_ptx ptx;
	int r = cuda_image_ptx(image, len, DRV_SM, &ptx, text, sizeof text);
	if (!r) {
		r = load(ctx, &ptx, &log, out);
		cuda_ptx_free(&ptx);
	} else {
		log.len = strlen(text);
	}
	if (!r)
		snprintf(info, sizeof info, "softcuda: %u kernels\n", (*out)->nfuncs);
	else if (getenv("VGPU_LOG") && !strcmp(getenv("VGPU_LOG"), "debug"))
		fprintf(stderr, "softcuda: module refused (%d): %s\n", r, text);
	drv_jit_done(jit, text, log.len, info, started);
	return r;
}

void drv_module_drop(struct drv_module *m)
{
	pthread_mutex_lock(&drv.lock);
	for (struct drv_module **p = &m->ctx->modules; *p; p = &(*p)->next) {
		if (*p == m) {
			*p = m->next;
			break;
		}
	}
	pthread_mutex_unlock(&drv.lock);
	for (unsigned i = 0; i < m->nfuncs; i++) {
		free(m->funcs[i]->old_params);
		drv_obj_free(m->funcs[i]);
	}
	free(m->funcs);
	for (unsigned i = 0; i < m->nglobals; i++)
		drv_mem_release(m->globals[i], MEM_GLOBAL);
	free(m->globals);
	drv_texrefs_drop(m);
	sc_module_unload(m->sc);
	drv_obj_free(m);
}

struct drv_func *drv_module_func(struct drv_module *m, const char *name)
{
	struct sc_kernel *k = sc_module_kernel(m->sc, name);
	for (unsigned i = 0; k && i < m->nfuncs; i++) {
		if (m->funcs[i]->kernel == k)
			return m->funcs[i];
	}
	return NULL;
}

static CUresult module_new(CUmodule *module, const void *data, size_t len, struct drv_jit *jit)
{
	struct drv_ctx *ctx;
	struct drv_module *m;
	DRV_TRY(drv_current(&ctx));
	DRV_TRY(drv_module_make(ctx, data, len, jit, &m));
	*module = drv_obj_handle(m);
	return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions, CUjit_option *options, void **optionValues)
{
	struct drv_ctx *ctx;
	struct drv_jit jit;
	const void *data;
	size_t len;
	DRV_TRY(drv_current(&ctx));
	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_jit_options(numOptions, options, optionValues, &jit));
	DRV_TRY(drv_image_of_pointer(image, &jit, &data, &len));
	return module_new(module, data, len, &jit);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
	return cuModuleLoadDataEx(module, fatCubin, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
	struct drv_ctx *ctx;
	void *data;
	size_t len;
	DRV_TRY(drv_current(&ctx));
	if (!module || !fname)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_image_of_file(fname, &data, &len));
	CUresult r = module_new(module, data, len, NULL);
	free(data);
	return r;
}

static int module_get(CUmodule handle, struct drv_module **m)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	*m = drv_obj_get(KIND_MODULE, handle);
	return *m ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuModuleUnload(CUmodule module)
{
	struct drv_module *m;
	DRV_TRY(module_get(module, &m));
	if (m->of_library)
		return CUDA_ERROR_NOT_PERMITTED;
	DRV_TRY(drv_ctx_sync(m->ctx));
	drv_module_drop(m);
	return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	DRV_TRY(drv_ready());
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_EAGER_LOADING;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *func, CUmodule module, const char *name)
{
	struct drv_module *m;
	DRV_TRY(module_get(module, &m));
	if (!func || !name)
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_func *f = drv_module_func(m, name);
	if (!f)
		return CUDA_ERROR_NOT_FOUND;
	*func = drv_obj_handle(f);
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule module)
{
	struct drv_module *m;
	DRV_TRY(module_get(module, &m));
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = m->nfuncs;
	return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions, CUmodule module)
{
	struct drv_module *m;
	DRV_TRY(module_get(module, &m));
	if (!functions || !numFunctions)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < numFunctions && i < m->nfuncs; i++)
		functions[i] = drv_obj_handle(m->funcs[i]);
	return CUDA_SUCCESS;
}

static void note_global(struct drv_module *m, uint64_t va, uint64_t size)
{
	pthread_mutex_lock(&drv.lock);
	uint64_t *more = realloc(m->globals, (m->nglobals + 1) * sizeof *more);
	if (more) {
		m->globals = more;
		if (drv_mem_note_global(m->ctx, va, size))
			m->globals[m->nglobals++] = va;
	}
	pthread_mutex_unlock(&drv.lock);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule module, const char *name)
{
	struct drv_module *m;
	uint64_t va, size;
	DRV_TRY(module_get(module, &m));
	if (!name || (!dptr && !bytes))
		return CUDA_ERROR_INVALID_VALUE;
	if (!sc_module_var(m->sc, name, &va, &size))
		return CUDA_ERROR_NOT_FOUND;
	note_global(m, va, size);
	if (dptr)
		*dptr = va;
	if (bytes)
		*bytes = size;
	return CUDA_SUCCESS;
}

/* ---- functions */

int drv_func_get(CUfunction handle, struct drv_func **out)
{
	struct drv_ctx *ctx;
	*out = drv_obj_get(KIND_FUNC, handle);
	if (*out)
		return atomic_load_explicit(&(*out)->module->ctx->fault, memory_order_relaxed);
	DRV_TRY(drv_current(&ctx));
	return drv_kernel_func(handle, out);
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attrib, CUfunction func)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!value || attrib >= CU_FUNC_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	const int answers[CU_FUNC_ATTRIBUTE_MAX] = {
		[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = (int)f->info->max_threads,
		[CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES] = (int)f->info->shared_bytes,
		[CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES] = (int)f->info->const_bytes,
		[CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES] = (int)f->info->local_bytes,
		[CU_FUNC_ATTRIBUTE_NUM_REGS] = (int)f->info->regs,
		[CU_FUNC_ATTRIBUTE_PTX_VERSION] = (int)f->info->ptx_version,
		[CU_FUNC_ATTRIBUTE_BINARY_VERSION] = (int)f->info->binary_version,
		[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES] = (int)f->dynamic_shared_max,
		[CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT] = f->carveout,
	};
	*value = answers[attrib];
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction func, CUfunction_attribute attrib, int value)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
		if (value < 0 || (unsigned)value + f->info->shared_bytes > DRV_SHARED_OPTIN)
			return CUDA_ERROR_INVALID_VALUE;
		f->dynamic_shared_max = value;
		return CUDA_SUCCESS;
	}
	if (attrib == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT && value >= -1 && value <= 100) {
		f->carveout = value;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetCacheConfig(CUfunction func, CUfunc_cache config)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	return config > CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncSetSharedMemConfig(CUfunction func, CUsharedconfig config)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	return config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction func)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!module)
		return CUDA_ERROR_INVALID_VALUE;
	*module = drv_obj_handle(f->module);
	return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction func)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = f->info->name;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t index, size_t *offset, size_t *size)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!offset || index >= f->info->nparams)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = f->info->params[index].offset;
	if (size)
		*size = f->info->params[index].size;
	return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction func)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction func)
{
	struct drv_func *f;
	return drv_func_get(func, &f);
}
