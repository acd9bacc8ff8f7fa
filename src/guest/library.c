/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries: an image that belongs to no context; each context that uses it gets a module of it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* lock held */
static int module_in(struct gobj *lib, struct gobj *ctx, struct gobj **out)
{
	int rc;

	for (struct gobj **at = &lib->library.modules; *at;) {
		struct gobj *m = *at;

		if (!g_handle(m)) { /* went with its context */
			*at = m->next;
			continue;
		}
		if (m->ctx == ctx) {
			*out = m;
			return CUDA_SUCCESS;
		}
		at = &m->next;
	}
	rc = module_load(ctx, lib->library.image, lib->library.len, 0, NULL, NULL, out);
	if (rc)
		return rc;
	(*out)->next = lib->library.modules;
	lib->library.modules = *out;
	return CUDA_SUCCESS;
}

static int library_module(struct gobj *lib, struct gobj *ctx, struct gobj **out)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = module_in(lib, ctx, out);
	pthread_mutex_unlock(&lock);
	return rc;
}

static int load(CUlibrary *library, const void *image, size_t len)
{
	struct gobj *ctx, *lib, *m;
	int rc = CUDA_SUCCESS;

	lib = g_new(G_LIBRARY, NULL, 0);
	if (!lib)
		return CUDA_ERROR_OUT_OF_MEMORY;
	lib->library.image = malloc(len);
	lib->library.len = len;
	if (!lib->library.image) {
		g_drop(lib);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memcpy(lib->library.image, image, len);
	ctx = ctx_current();
	if (ctx) /* errors of the image show at once where they can */
		rc = library_module(lib, ctx, &m);
	if (rc)
		g_drop(lib);
	else
		*library = g_handle(lib);
	return rc;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit, void **jit_values, unsigned int njit,
			   CUlibraryOption *options, void **values, unsigned int n)
{
	size_t len;
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!library || !code)
		return CUDA_ERROR_INVALID_VALUE;
	rc = image_length(code, &code, &len);
	return rc ? rc : load(library, code, len);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, CUjit_option *jit, void **jit_values, unsigned int njit,
			       CUlibraryOption *options, void **values, unsigned int n)
{
	struct stat st;
	char *text = NULL;
	int fd, rc = guest_ready();

	if (rc)
		return rc;
	if (!library || !path)
		return CUDA_ERROR_INVALID_VALUE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return CUDA_ERROR_FILE_NOT_FOUND;
	if (!fstat(fd, &st) && st.st_size > 0)
		text = calloc(1, (size_t)st.st_size + 1);
	rc = text && read(fd, text, (size_t)st.st_size) == st.st_size ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
	close(fd);
	if (!rc)
		rc = load(library, text, (size_t)st.st_size + 1);
	free(text);
	return rc;
}

CUresult cuLibraryUnload(CUlibrary h)
{
	struct gobj *lib = g_get(G_LIBRARY, h);
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!lib)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&lock);
	for (struct gobj *m = lib->library.modules, *next; m; m = next) {
		next = m->next;
		if (g_handle(m))
			rc = module_unload(m);
	}
	for (struct gobj *k = lib->library.kernels, *next; k; k = next) {
		next = k->next;
		g_drop(k);
	}
	g_drop(lib);
	pthread_mutex_unlock(&lock);
	return rc;
}

static int enter(CUlibrary h, struct gobj **lib, struct gobj **ctx)
{
	int rc = ctx_enter(ctx);

	*lib = g_get(G_LIBRARY, h);
	return rc ? rc : *lib ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary h)
{
	struct gobj *lib, *ctx, *m;
	int rc = enter(h, &lib, &ctx);

	if (rc || !module)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	rc = library_module(lib, ctx, &m);
	if (!rc)
		*module = g_handle(m);
	return rc;
}

static struct gobj *known_kernel(struct gobj *lib, const char *name)
{
	struct gobj *k = lib->library.kernels;

	while (k && strcmp(k->kernel.name, name))
		k = k->next;
	return k;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary h, const char *name)
{
	struct gobj *lib, *ctx, *m, *f, *k;
	int rc = enter(h, &lib, &ctx);

	if (rc || !kernel || !name)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	rc = library_module(lib, ctx, &m);
	if (!rc)
		rc = module_function(m, name, &f);
	if (rc)
		return rc;
	pthread_mutex_lock(&lock);
	k = known_kernel(lib, name);
	if (!k && (k = g_new(G_KERNEL, NULL, 0))) {
		k->kernel.library = lib;
		k->kernel.name = strdup(name);
		k->next = lib->library.kernels;
		lib->library.kernels = k;
	}
	pthread_mutex_unlock(&lock);
	if (!k)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*kernel = g_handle(k);
	return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary h, const char *name)
{
	struct gobj *lib, *ctx, *m;
	int rc = enter(h, &lib, &ctx);

	if (!rc)
		rc = library_module(lib, ctx, &m);
	return rc ? rc : cuModuleGetGlobal_v2(dptr, bytes, g_handle(m), name);
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary h)
{
	struct gobj *lib, *ctx, *m;
	int rc = enter(h, &lib, &ctx);

	if (!rc)
		rc = library_module(lib, ctx, &m);
	return rc ? rc : cuModuleGetFunctionCount(count, g_handle(m));
}

struct enumerate {
	CUlibrary library;
	CUkernel *out;
	unsigned n;
};

static int take_kernel(void *arg, unsigned i, const char *name)
{
	struct enumerate *e = arg;

	return i < e->n ? (int)cuLibraryGetKernel(&e->out[i], e->library, name) : CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int n, CUlibrary h)
{
	struct enumerate e = { h, kernels, n };
	struct gobj *lib, *ctx, *m;
	unsigned total;
	int rc = enter(h, &lib, &ctx);

	if (rc || !kernels || !n)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	rc = library_module(lib, ctx, &m);
	return rc ? rc : module_each_name(m, take_kernel, &e, &total);
}

/* PTX has neither: what a library could hold of them only NVIDIA's own tools write. */
static int none_such(CUlibrary h, const void *out, const char *name)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!g_get(G_LIBRARY, h))
		return CUDA_ERROR_INVALID_HANDLE;
	return out && name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary h, const char *name)
{
	return none_such(h, name, name); /* either may be left out */
}

CUresult cuLibraryGetUnifiedFunction(void **fptr, CUlibrary h, const char *symbol)
{
	return none_such(h, fptr, symbol);
}

int kernel_function(struct gobj *k, struct gobj *ctx, struct gobj **out)
{
	struct gobj *m;
	int rc = library_module(k->kernel.library, ctx, &m);

	return rc ? rc : module_function(m, k->kernel.name, out);
}

/* The function of a kernel in the current context. */
static int function_of(CUkernel h, struct gobj **k, struct gobj **f)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	*k = g_get(G_KERNEL, h);
	return *k ? kernel_function(*k, ctx, f) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuKernelGetFunction(CUfunction *func, CUkernel h)
{
	struct gobj *k, *f;
	int rc = function_of(h, &k, &f);

	if (rc || !func)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*func = g_handle(f);
	return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel h)
{
	struct gobj *k = g_get(G_KERNEL, h);

	if (!k || !library)
		return k ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
	*library = g_handle(k->kernel.library);
	return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char **name, CUkernel h)
{
	struct gobj *k = g_get(G_KERNEL, h);

	if (!k || !name)
		return k ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
	*name = k->kernel.name;
	return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel h, size_t index, size_t *offset, size_t *size)
{
	struct gobj *k, *f;
	int rc = function_of(h, &k, &f);

	return rc ? rc : cuFuncGetParamInfo(g_handle(f), index, offset, size);
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attr, CUkernel h, CUdevice dev)
{
	struct gobj *k, *f;
	int rc = function_of(h, &k, &f);

	return rc ? rc : dev ? CUDA_ERROR_INVALID_DEVICE : cuFuncGetAttribute(value, attr, g_handle(f));
}

CUresult cuKernelSetAttribute(CUfunction_attribute attr, int value, CUkernel h, CUdevice dev)
{
	struct gobj *k, *f;
	int rc = function_of(h, &k, &f);

	return rc ? rc : dev ? CUDA_ERROR_INVALID_DEVICE : cuFuncSetAttribute(g_handle(f), attr, value);
}

CUresult cuKernelSetCacheConfig(CUkernel h, CUfunc_cache config, CUdevice dev)
{
	struct gobj *k, *f;
	int rc = function_of(h, &k, &f);

	return rc ? rc : dev ? CUDA_ERROR_INVALID_DEVICE : cuFuncSetCacheConfig(g_handle(f), config);
}
