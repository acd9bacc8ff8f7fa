// SPDX-License-Identifier: Apache-2.0
/*
 * Libraries and kernels: device code without a context, loaded into each context that uses it.
 *
 * A library keeps its PTX. Which kernels it has is read from the PTX when it is loaded, so errors
 * are found there; a module per context is made on first use.
 */
#include <stdlib.h>
#include <string.h>
#include "cuda/fatbin.h"
#include "softcuda/drv.h"

struct drv_lib;
struct drv_kernel {
	struct drv_obj obj;
	struct drv_lib *lib;
	char *name;
	unsigned nparams;
	struct sc_param *params;
};
struct loaded {
	CUcontext ctx; /* a handle: a destroyed context took its module along */
	CUmodule module;
	struct loaded *next;
};
struct drv_lib {
	struct drv_obj obj;
	pthread_mutex_t lock;
	char *ptx;
	size_t len;
	unsigned nkernels;
	struct drv_kernel **kernels;
	struct loaded *loaded;
};

static void lib_free(struct drv_lib *l)
{
	for (unsigned i = 0; i < l->nkernels; i++) {
		free(l->kernels[i]->name);
		free(l->kernels[i]->params);
		drv_obj_free(l->kernels[i]);
	}
	free(l->kernels);
	free(l->ptx);
	drv_obj_free(l);
}

static int add_kernel(struct drv_lib *l, const struct ptx_func *f)
{
	struct drv_kernel *k = drv_obj_new(KIND_KERNEL, sizeof *k);
	if (!k)
		return CUDA_ERROR_OUT_OF_MEMORY;
	l->kernels[l->nkernels++] = k;
	k->lib = l;
	k->name = strdup(f->name);
	k->params = calloc(f->nparams ? f->nparams : 1, sizeof *k->params);
	if (!k->name || !k->params)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (k->nparams = 0; k->nparams < f->nparams; k->nparams++)
		k->params[k->nparams] = (struct sc_param){ .offset = f->params[k->nparams].offset, .size = f->params[k->nparams].var->size };
	return 0;
}

static int read_kernels(struct drv_lib *l, const struct ptx_module *m)
{
	int r = 0;
	l->kernels = calloc(m->nfuncs ? m->nfuncs : 1, sizeof *l->kernels);
	if (!l->kernels)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (unsigned i = 0; i < m->nfuncs && !r; i++) {
		if (m->funcs[i]->is_entry)
			r = add_kernel(l, m->funcs[i]);
	}
	return r;
}

static void say(struct drv_jit *jit, const char *text)
{
	size_t n = strlen(text);
	if (jit->error && jit->error_cap) {
		n = n < jit->error_cap - 1 ? n : jit->error_cap - 1;
		memcpy(jit->error, text, n);
		jit->error[n] = 0;
	}
	if (jit->error_size)
		*jit->error_size = (void *)(uintptr_t)n;
}

static int parse(struct drv_lib *l, struct drv_jit *jit)
{
	static const int error[] = { [PTX_OK] = 0, [PTX_ERR_SYNTAX] = CUDA_ERROR_INVALID_PTX, [PTX_ERR_VERSION] = CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
				     [PTX_ERR_UNSUPPORTED] = CUDA_ERROR_INVALID_PTX, [PTX_ERR_MEMORY] = CUDA_ERROR_OUT_OF_MEMORY };
	char text[4096] = "";
	struct ptx_log log = { .buf = text, .cap = sizeof text };
	struct ptx_module *m = NULL;
	int r = error[ptx_parse(l->ptx, l->len, &log, &m)];
	say(jit, text);
	if (r)
		return r;
	r = read_kernels(l, m);
	ptx_free(m);
	return r;
}

static CUresult lib_new(CUlibrary *library, const void *data, size_t len, struct drv_jit *jit)
{
	char err[256] = "";
	struct cuda_ptx ptx;
	int r = cuda_image_ptx(data, len, DRV_SM, &ptx, err, sizeof err);
	if (r) {
		say(jit, err);
		return r;
	}
	struct drv_lib *l = drv_obj_new(KIND_LIB, sizeof *l);
	if (l) {
		pthread_mutex_init(&l->lock, NULL);
		l->ptx = strndup(ptx.text, ptx.len);
		l->len = ptx.len;
	}
	cuda_ptx_free(&ptx);
	r = !l || !l->ptx ? CUDA_ERROR_OUT_OF_MEMORY : parse(l, jit);
	if (r) {
		if (l)
			lib_free(l);
		return r;
	}
	*library = drv_obj_handle(l);
	return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions, void **jitOptionsValues, unsigned int numJitOptions, CUlibraryOption *libraryOptions, void **libraryOptionValues, unsigned int numLibraryOptions)
{
	struct drv_jit jit;
	const void *data;
	size_t len;
	DRV_TRY(drv_ready());
	if (!library || !code || (numLibraryOptions && !libraryOptions))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_jit_options(numJitOptions, jitOptions, jitOptionsValues, &jit));
	DRV_TRY(drv_image_of_pointer(code, &jit, &data, &len));
	return lib_new(library, data, len, &jit);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *fileName, CUjit_option *jitOptions, void **jitOptionsValues, unsigned int numJitOptions, CUlibraryOption *libraryOptions, void **libraryOptionValues, unsigned int numLibraryOptions)
{
	struct drv_jit jit;
	void *data;
	size_t len;
	DRV_TRY(drv_ready());
	if (!library || !fileName || (numLibraryOptions && !libraryOptions))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_jit_options(numJitOptions, jitOptions, jitOptionsValues, &jit));
	DRV_TRY(drv_image_of_file(fileName, &data, &len));
	CUresult r = lib_new(library, data, len, &jit);
	free(data);
	return r;
}

static int lib_get(CUlibrary handle, struct drv_lib **l)
{
	DRV_TRY(drv_ready());
	*l = drv_obj_get(KIND_LIB, handle);
	return *l ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

static int kernel_get(const void *handle, struct drv_kernel **k)
{
	DRV_TRY(drv_ready());
	*k = drv_obj_get(KIND_KERNEL, handle);
	return *k ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuLibraryUnload(CUlibrary library)
{
	struct drv_lib *l;
	struct loaded *e;
	DRV_TRY(lib_get(library, &l));
	while ((e = l->loaded)) {
		struct drv_module *m = drv_obj_get(KIND_MODULE, e->module);
		if (m) {
			drv_ctx_sync(m->ctx);
			drv_module_drop(m);
		}
		l->loaded = e->next;
		free(e);
	}
	lib_free(l);
	return CUDA_SUCCESS;
}

/* The library's module in a context, loaded now if it is not yet. */
static int lib_module(struct drv_lib *l, struct drv_ctx *ctx, struct drv_module **out)
{
	CUcontext handle = drv_obj_handle(ctx);
	struct loaded *e;
	int r = 0;
	pthread_mutex_lock(&l->lock);
	for (e = l->loaded; e && e->ctx != handle; e = e->next)
		;
	*out = e ? drv_obj_get(KIND_MODULE, e->module) : NULL;
	if (!*out && !e && !(e = calloc(1, sizeof *e)))
		r = CUDA_ERROR_OUT_OF_MEMORY;
	if (!*out && !r && !(r = drv_module_make(ctx, l->ptx, l->len, NULL, out))) {
		(*out)->of_library = true;
		e->ctx = handle;
		e->module = drv_obj_handle(*out);
		e->next = l->loaded;
		l->loaded = e;
	} else if (r) {
		free(e);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
	struct drv_lib *l;
	DRV_TRY(lib_get(library, &l));
	if (!kernel || !name)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < l->nkernels; i++) {
		if (!strcmp(l->kernels[i]->name, name)) {
			*kernel = drv_obj_handle(l->kernels[i]);
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_NOT_FOUND;
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary library)
{
	struct drv_lib *l;
	DRV_TRY(lib_get(library, &l));
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = l->nkernels;
	return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary library)
{
	struct drv_lib *l;
	DRV_TRY(lib_get(library, &l));
	if (!kernels || !numKernels)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < numKernels && i < l->nkernels; i++)
		kernels[i] = drv_obj_handle(l->kernels[i]);
	return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
	struct drv_ctx *ctx;
	struct drv_lib *l;
	struct drv_module *m;
	DRV_TRY(drv_current(&ctx));
	DRV_TRY(lib_get(library, &l));
	if (!module)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(lib_module(l, ctx, &m));
	*module = drv_obj_handle(m);
	return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
	CUmodule m;
	DRV_TRY(cuLibraryGetModule(&m, library));
	return cuModuleGetGlobal_v2(dptr, bytes, m, name);
}

/* PTX of CUDA programs marks managed variables for the runtime only: there are none to find here. */
CUresult cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
	struct drv_lib *l;
	DRV_TRY(lib_get(library, &l));
	return name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLibraryGetUnifiedFunction(void **fptr, CUlibrary library, const char *symbol)
{
	struct drv_lib *l;
	DRV_TRY(lib_get(library, &l));
	return fptr && symbol ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

int drv_kernel_func(const void *handle, struct drv_func **out)
{
	struct drv_ctx *ctx;
	struct drv_kernel *k;
	struct drv_module *m;
	DRV_TRY(kernel_get(handle, &k));
	DRV_TRY(drv_current(&ctx));
	DRV_TRY(lib_module(k->lib, ctx, &m));
	*out = drv_module_func(m, k->name);
	return *out ? 0 : CUDA_ERROR_NOT_FOUND;
}

CUresult cuKernelGetFunction(CUfunction *func, CUkernel kernel)
{
	struct drv_func *f;
	if (!func)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_kernel_func(kernel, &f));
	*func = drv_obj_handle(f);
	return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
	struct drv_kernel *k;
	DRV_TRY(kernel_get(kernel, &k));
	if (!library)
		return CUDA_ERROR_INVALID_VALUE;
	*library = drv_obj_handle(k->lib);
	return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
	struct drv_kernel *k;
	DRV_TRY(kernel_get(kernel, &k));
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = k->name;
	return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
	struct drv_kernel *k;
	DRV_TRY(kernel_get(kernel, &k));
	if (!offset || index >= k->nparams)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = k->params[index].offset;
	if (size)
		*size = k->params[index].size;
	return CUDA_SUCCESS;
}

/* Attributes are those of the function in the current context; the device must be its device. */
static int kernel_on(CUkernel kernel, CUdevice dev, CUfunction *f)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (dev < 0 || (unsigned)dev >= drv.ndevices || dev != ctx->device)
		return CUDA_ERROR_INVALID_DEVICE;
	return cuKernelGetFunction(f, kernel);
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev)
{
	CUfunction f;
	DRV_TRY(kernel_on(kernel, dev, &f));
	return cuFuncGetAttribute(value, attrib, f);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int value, CUkernel kernel, CUdevice dev)
{
	CUfunction f;
	DRV_TRY(kernel_on(kernel, dev, &f));
	return cuFuncSetAttribute(f, attrib, value);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
	CUfunction f;
	DRV_TRY(kernel_on(kernel, dev, &f));
	return cuFuncSetCacheConfig(f, config);
}
