/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: device memory, loaded modules, and running a grid. Knows nothing of the driver API
 * (contexts, streams); the driver API in drv_*.c sits on top and knows nothing of warps.
 *
 * Errors: 0 or a CUresult-compatible positive number (see cuda/cuda.h), with text in *log where a
 * person reads it.
 */
#ifndef SOFTCUDA_ENGINE_H
#define SOFTCUDA_ENGINE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "softcuda/ptx.h"

/* ---- memory: one flat device address space per process, real pages at SC_VA_BASE.. so that
 * kernels use addresses directly. Every access a kernel makes is checked against the allocations;
 * redzones lie between allocations. Host memory registered or allocated pinned is accessible too. */
#define SC_VA_BASE 0x200000000000ull /* far from ASLR's mmap area and from PIE, so a guest can reserve it too */
#define SC_VA_SIZE (1ull << 40)

struct sc_device;
struct sc_device_config {
	const char *name;
	uint64_t memory;     /* bytes */
	unsigned threads;    /* worker threads; 0 = number of CPUs */
	unsigned ordinal;
};
struct sc_device *sc_device_open(const struct sc_device_config *cfg);
void sc_device_close(struct sc_device *d);

/* Memory comes back zeroed (never another context's bytes). 0, CUDA_ERROR_OUT_OF_MEMORY, INVALID_VALUE. */
int sc_mem_alloc(struct sc_device *d, uint64_t bytes, uint64_t align, uint64_t *va);
int sc_mem_free(struct sc_device *d, uint64_t va);
void sc_mem_info(struct sc_device *d, uint64_t *free_bytes, uint64_t *total);
int sc_mem_register_host(void *p, uint64_t bytes); /* kernels may access [p, p+bytes) */
int sc_mem_unregister_host(void *p);
/* Allocation that contains va: base and size. false if none. */
bool sc_mem_range(uint64_t va, uint64_t *base, uint64_t *size);
/* Whether [va, va+len) lies inside ONE live allocation (device or registered host). */
bool sc_mem_ok(uint64_t va, uint64_t len);

/* ---- textures: pitch-linear, array and linear resources; created by the driver API, sampled by tex. */
enum sc_tex_filter { SC_FILTER_POINT, SC_FILTER_LINEAR };
enum sc_tex_address { SC_ADDR_WRAP, SC_ADDR_CLAMP, SC_ADDR_MIRROR, SC_ADDR_BORDER };
enum sc_tex_format { SC_FMT_U8 = 1, SC_FMT_U16 = 2, SC_FMT_U32 = 3, SC_FMT_S8 = 8, SC_FMT_S16 = 9, SC_FMT_S32 = 10, SC_FMT_F16 = 16, SC_FMT_F32 = 32 }; /* = CUarray_format */
struct sc_texture {
	uint64_t base;		/* device address */
	uint64_t pitch;		/* bytes per row */
	uint64_t slice;		/* bytes per layer/plane, 0 for 2D */
	uint32_t width, height, depth; /* texels; height 0 = 1D (linear) */
	enum sc_tex_format format;
	uint32_t channels;	/* 1, 2, 4 */
	enum sc_tex_address address[3];
	enum sc_tex_filter filter;
	bool normalized_coords, read_as_integer, srgb, is_linear; /* is_linear: tex1Dfetch over linear memory */
	float border[4];
};
/* Handles: (generation << 32 | index + 1), the value a kernel carries. 0 on table full. */
uint64_t sc_tex_create(const struct sc_texture *t);
int sc_tex_destroy(uint64_t handle);
bool sc_tex_get(uint64_t handle, struct sc_texture *out);
/* A module's .texref global: bind a texture to it by name; see sc_module_var. */

/* ---- modules */
struct sc_module;
struct sc_param { uint32_t offset, size; };
struct sc_kernel_info {
	const char *name;
	uint32_t nparams; const struct sc_param *params; uint32_t param_bytes;
	uint32_t regs;		   /* an honest figure: 32-bit registers the PTX declares, capped 255 */
	uint32_t shared_bytes;	   /* static */
	uint32_t local_bytes, const_bytes;
	uint32_t max_threads;	   /* 1024 or .maxntid product */
	uint32_t reqntid[3];	   /* 0 = not required */
	uint32_t ptx_version, binary_version; /* 75 = 7.5-like encodings as CU_FUNC_ATTRIBUTE_* wants: 10*major+minor */
};
struct sc_kernel; /* of one module */

/* Parse, check, place globals in device memory, compile. log may be NULL. */
int sc_module_load(struct sc_device *d, const char *ptx, size_t len, struct ptx_log *error_log, struct sc_module **out);
void sc_module_unload(struct sc_module *m);
struct sc_kernel *sc_module_kernel(struct sc_module *m, const char *name); /* NULL if absent */
unsigned sc_module_kernel_count(const struct sc_module *m);
struct sc_kernel *sc_module_kernel_at(struct sc_module *m, unsigned i);
const struct sc_kernel_info *sc_kernel_info(const struct sc_kernel *k);
bool sc_module_var(struct sc_module *m, const char *name, uint64_t *va, uint64_t *size); /* globals, constants */
bool sc_module_texref(struct sc_module *m, const char *name, uint64_t **slot); /* slot holds a texture handle */

/* ---- launch: runs the whole grid and returns. Several launches on one device run one after the other. */
struct sc_launch {
	struct sc_kernel *kernel;
	uint32_t grid[3], block[3];
	uint32_t dynamic_shared; /* bytes */
	const void *params;	 /* param_bytes, laid out as info->params says */
	const atomic_int *cancel; /* may be NULL: stop early when it becomes non-zero (CUDA_ERROR_LAUNCH_TIMEOUT) */
	bool cooperative;	 /* all blocks resident */
	bool if_free;		 /* do not wait for another launch: SC_LAUNCH_BUSY */
};
struct sc_fault { /* where a kernel went wrong, for logs */
	uint64_t address; uint32_t size; bool write; int line; /* PTX line */
	const char *kernel; uint32_t block[3], thread[3]; char what[96];
};
/* 0; CUDA_ERROR_ILLEGAL_ADDRESS(700), MISALIGNED_ADDRESS(716), ILLEGAL_INSTRUCTION(715), LAUNCH_FAILED(719, trap),
 * LAUNCH_OUT_OF_RESOURCES(701, before anything ran), LAUNCH_TIMEOUT(702, cancelled). */
int sc_launch(struct sc_device *d, const struct sc_launch *l, struct sc_fault *fault);
#define SC_LAUNCH_BUSY (-1) /* another launch has the device; nothing ran */

/* Whether a launch surely ends within some microseconds: the kernel has been compiled before, goes only
 * forward, calls nothing and waits for nobody, and the grid is small. */
bool sc_kernel_brief(const struct sc_kernel *k, uint64_t blocks, uint32_t threads);
#endif
