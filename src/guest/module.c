/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: images are sent in pieces and loaded by the executor; functions are looked up once and
 * carry their parameter layout from then on. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define FATBIN_WRAPPER 0x466243b1u
#define FATBIN_CONTAINER 0xba55ed50u
#define LOG_MAX 32768u
#define META_MAX 57344u
#define PIECE VGPU_BLOCK_SIZE

static pthread_mutex_t functions_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- how long an image is: the API is not told ---- */

static uint64_t elf_length(const unsigned char *p)
{
	Elf64_Ehdr h;
	uint64_t end;

	memcpy(&h, p, sizeof(h));
	end = h.e_shoff + (uint64_t)h.e_shnum * h.e_shentsize;
	for (unsigned i = 0; i < h.e_shnum && h.e_shentsize == sizeof(Elf64_Shdr); i++) {
		Elf64_Shdr s;

		memcpy(&s, p + h.e_shoff + i * sizeof(s), sizeof(s));
		if (s.sh_type != SHT_NOBITS && s.sh_offset + s.sh_size > end)
			end = s.sh_offset + s.sh_size;
	}
	return end;
}

static uint64_t container_length(const unsigned char *p)
{
	uint16_t header;
	uint64_t size;

	memcpy(&header, p + 6, sizeof(header));
	memcpy(&size, p + 8, sizeof(size));
	return size ? header + size : 0;
}

int image_length(const void *image, const void **start, size_t *len)
{
	uint32_t magic = 0;
	uint64_t n;

	if (strnlen(image, sizeof(magic)) == sizeof(magic)) /* no magic holds a NUL: shorter is text */
		memcpy(&magic, image, sizeof(magic));
	if (magic == FATBIN_WRAPPER) { /* magic, version, pointer to the container */
		memcpy(&image, (const char *)image + 8, sizeof(image));
		if (!image)
			return CUDA_ERROR_INVALID_IMAGE;
		memcpy(&magic, image, sizeof(magic));
	}
	if (magic == FATBIN_CONTAINER)
		n = container_length(image);
	else if (magic && !memcmp(image, ELFMAG, SELFMAG))
		n = elf_length(image);
	else
		n = strlen(image) + 1;
	*start = image;
	*len = n;
	return n && n <= 0x10000000 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

int image_send(const void *image, size_t len, uint32_t *out)
{
	struct vgpu_in_image_new in = { .size = len };
	struct vgpu_out_image_new o;
	int rc = vgpu_call_image_new(guest_client, 0, &in, &o);

	for (size_t at = 0; !rc && at < len; at += PIECE) {
		struct vgpu_in_image_write w = { .at = at, .image = o.image };
		uint32_t n = len - at < PIECE ? (uint32_t)(len - at) : PIECE;

		rc = vgpu_call_image_write(guest_client, 0, &w, (const char *)image + at, n);
	}
	*out = o.image;
	return rc;
}

/* ---- JIT options: the logs cross the wire, other options have no effect on what we load ---- */

int jit_read_options(unsigned n, CUjit_option *opt, void **val, unsigned max, struct jit_logs *l)
{
	if (n && (!opt || !val))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < n; i++) {
		if ((unsigned)opt[i] >= CU_JIT_NUM_OPTIONS)
			return CUDA_ERROR_INVALID_VALUE;
		if (opt[i] == CU_JIT_INFO_LOG_BUFFER)
			l->info = val[i];
		else if (opt[i] == CU_JIT_ERROR_LOG_BUFFER)
			l->error = val[i];
		else if (opt[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
			l->info_size = &val[i];
		else if (opt[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
			l->error_size = &val[i];
	}
	l->info_cap = l->info && l->info_size ? (unsigned)(uintptr_t)*l->info_size : 0;
	l->error_cap = l->error && l->error_size ? (unsigned)(uintptr_t)*l->error_size : 0;
	if (l->info_cap > max)
		l->info_cap = max;
	if (l->error_cap > max)
		l->error_cap = max;
	return CUDA_SUCCESS;
}

/* What is left of a log, NUL-terminated; the size becomes what was written. */
static void give_log(char *to, void **size, unsigned cap, const char *from, uint32_t len)
{
	if (!cap)
		return;
	if (len > cap)
		len = cap;
	memcpy(to, from, len);
	to[len < cap ? len : cap - 1] = 0;
	*size = (void *)(uintptr_t)len;
}

void jit_give_logs(const struct jit_logs *l, const char *reply, uint32_t info_len, uint32_t error_len)
{
	give_log(l->info, l->info_size, l->info_cap, reply, info_len);
	give_log(l->error, l->error_size, l->error_cap, reply + l->info_cap, error_len);
}

int module_load(struct gobj *ctx, const void *image, size_t len, unsigned nopts, CUjit_option *opts, void **vals,
		struct gobj **out)
{
	struct vgpu_in_module_load in = { 0 };
	struct vgpu_out_module_load o = { 0 };
	struct jit_logs l = { 0 };
	char *reply = NULL;
	int rc = jit_read_options(nopts, opts, vals, LOG_MAX, &l);

	if (rc)
		return rc;
	if (l.info_cap + l.error_cap && !(reply = calloc(1, l.info_cap + l.error_cap)))
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = image_send(image, len, &in.image);
	in.info_cap = l.info_cap;
	in.error_cap = l.error_cap;
	if (!rc)
		rc = vgpu_call_module_load(guest_client, ctx->wire, &in, &o, reply, l.info_cap + l.error_cap, NULL);
	if (reply) {
		jit_give_logs(&l, reply, o.info_len, o.error_len);
		free(reply);
	}
	if (rc)
		return rc;
	*out = g_new(G_MODULE, ctx, o.module);
	return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static int load(CUmodule *module, const void *image, size_t len, unsigned n, CUjit_option *opt, void **val)
{
	struct gobj *ctx, *m;
	const void *start = image;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!module || !image)
		return CUDA_ERROR_INVALID_VALUE;
	if (!len)
		rc = image_length(image, &start, &len);
	if (!rc)
		rc = module_load(ctx, start, len, n, opt, val, &m);
	if (!rc)
		*module = g_handle(m);
	return rc;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n, CUjit_option *opt, void **val)
{
	return load(module, image, 0, n, opt, val);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	return load(module, image, 0, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image)
{
	return load(module, image, 0, 0, NULL, NULL);
}

int image_map(const char *path, void **image, size_t *size)
{
	struct stat st;
	void *p = MAP_FAILED;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return CUDA_ERROR_FILE_NOT_FOUND;
	if (!fstat(fd, &st) && st.st_size > 0)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return CUDA_ERROR_INVALID_IMAGE;
	*image = p;
	*size = (size_t)st.st_size;
	return CUDA_SUCCESS;
}

CUresult cuModuleLoad(CUmodule *module, const char *path)
{
	size_t size;
	void *p;
	int rc;

	if (!module || !path)
		return CUDA_ERROR_INVALID_VALUE;
	rc = image_map(path, &p, &size);
	if (rc)
		return rc;
	rc = load(module, p, size, 0, NULL, NULL);
	munmap(p, size);
	return rc;
}

int module_unload(struct gobj *m)
{
	struct vgpu_in_module_unload in = { .module = m->wire };
	int rc = vgpu_call_module_unload(guest_client, m->ctx->wire, work_position(guest_client), &in);

	for (struct gobj *f = m->module.functions, *next; f; f = next) {
		next = f->next;
		g_drop(f);
	}
	for (struct gobj *t = m->module.texrefs, *next; t; t = next) {
		next = t->next;
		g_drop(t);
	}
	g_drop(m);
	return rc;
}

CUresult cuModuleUnload(CUmodule h)
{
	struct gobj *ctx, *m = g_get(G_MODULE, h);
	int rc = ctx_enter(&ctx);

	return rc ? rc : m ? module_unload(m) : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- functions ---- */

static int32_t attr_or(const struct vgpu_func_meta *m, unsigned i, int32_t otherwise)
{
	return m->attr[i] == VGPU_ATTR_UNKNOWN ? otherwise : m->attr[i];
}

static int fetch_function(struct gobj *module, const char *name, struct gobj **out)
{
	struct vgpu_in_module_function in = { .module = module->wire };
	struct vgpu_out_module_function o;
	struct vgpu_func_meta *room = malloc(META_MAX), *meta = NULL;
	uint32_t len = 0;
	struct gobj *f;
	int rc;

	if (!room)
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = vgpu_call_module_function(guest_client, module->ctx->wire, &in, &o, name, (uint32_t)strlen(name), room, META_MAX,
				       &len);
	if (!rc && (len < sizeof(*meta) || len > META_MAX ||
		    len != sizeof(*meta) + (uint64_t)room->nparams * sizeof(struct vgpu_param)))
		rc = CUDA_ERROR_NOT_SUPPORTED; /* more parameters than fit into one reply */
	if (!rc && (meta = malloc(len)))
		memcpy(meta, room, len);
	free(room);
	if (!rc && !meta)
		rc = CUDA_ERROR_OUT_OF_MEMORY;
	f = rc ? NULL : g_new(G_FUNC, module->ctx, o.func);
	if (!f) {
		free(meta);
		return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
	}
	f->func.module = module;
	f->func.name = strdup(name);
	f->func.meta = meta;
	f->func.param = (const struct vgpu_param *)(f->func.meta + 1);
	f->func.static_shared = (uint32_t)attr_or(f->func.meta, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 0);
	f->func.max_threads = (uint32_t)attr_or(f->func.meta, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024);
	f->next = module->module.functions;
	module->module.functions = f;
	*out = f;
	return CUDA_SUCCESS;
}

int module_function(struct gobj *module, const char *name, struct gobj **out)
{
	int rc = CUDA_SUCCESS;

	if (!*name || strlen(name) > 4096)
		return CUDA_ERROR_NOT_FOUND;
	pthread_mutex_lock(&functions_lock);
	*out = NULL;
	for (struct gobj *f = module->module.functions; f && !*out; f = f->next)
		if (!strcmp(f->func.name, name))
			*out = f;
	if (!*out)
		rc = fetch_function(module, name, out);
	pthread_mutex_unlock(&functions_lock);
	return rc;
}

CUresult cuModuleGetFunction(CUfunction *func, CUmodule h, const char *name)
{
	struct gobj *ctx, *f, *m = g_get(G_MODULE, h);
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!func || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	rc = module_function(m, name, &f);
	if (!rc)
		*func = g_handle(f);
	return rc;
}

static int global_of(struct gobj *m, const char *name, CUdeviceptr *dptr, size_t *bytes)
{
	struct vgpu_in_module_global in = { .module = m->wire };
	struct vgpu_out_module_global out;
	struct gmem mem = { .kind = GM_GLOBAL, .ctx = m->ctx };
	int rc;

	if (!*name || strlen(name) > 4096)
		return CUDA_ERROR_NOT_FOUND;
	rc = vgpu_call_module_global(guest_client, m->ctx->wire, &in, &out, name, (uint32_t)strlen(name));
	if (rc)
		return rc;
	mem.base = out.dptr;
	mem.size = out.bytes;
	gmem_add(&mem); /* -EEXIST: asked before */
	if (dptr)
		*dptr = out.dptr;
	if (bytes)
		*bytes = out.bytes;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule h, const char *name)
{
	struct gobj *ctx, *m = g_get(G_MODULE, h);
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	return m ? global_of(m, name, dptr, bytes) : CUDA_ERROR_INVALID_HANDLE;
}

/* All function names, fetched as often as one reply is too small. */
int module_each_name(struct gobj *m, int (*fn)(void *arg, unsigned i, const char *name), void *arg, unsigned *total)
{
	char *names = malloc(META_MAX);
	unsigned i = 0;
	int rc = names ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	do {
		struct vgpu_in_module_names in = { .module = m->wire, .first = i };
		struct vgpu_out_module_names out = { 0 };
		uint32_t len = 0;

		if (!rc)
			rc = vgpu_call_module_names(guest_client, m->ctx->wire, &in, &out, names, META_MAX, &len);
		*total = out.total;
		if (!fn || rc || !len)
			break;
		for (uint32_t at = 0; at < len && !rc; at += (uint32_t)strnlen(names + at, len - at) + 1)
			rc = fn(arg, i++, names + at);
	} while (!rc && i < *total);
	free(names);
	return rc;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule h)
{
	struct gobj *ctx, *m = g_get(G_MODULE, h);
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	return m ? module_each_name(m, NULL, NULL, count) : CUDA_ERROR_INVALID_HANDLE;
}

struct enumerate {
	struct gobj *module;
	CUfunction *out;
	unsigned n;
};

static int take_function(void *arg, unsigned i, const char *name)
{
	struct enumerate *e = arg;
	struct gobj *f;
	int rc;

	if (i >= e->n)
		return CUDA_SUCCESS;
	rc = module_function(e->module, name, &f);
	if (!rc)
		e->out[i] = g_handle(f);
	return rc;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int n, CUmodule h)
{
	struct gobj *ctx, *m = g_get(G_MODULE, h);
	struct enumerate e = { m, functions, n };
	unsigned total;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!functions)
		return CUDA_ERROR_INVALID_VALUE;
	return m ? module_each_name(m, take_function, &e, &total) : CUDA_ERROR_INVALID_HANDLE;
}
