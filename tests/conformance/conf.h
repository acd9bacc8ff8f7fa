/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance programs' small harness. A program is a table of cases; each case prints one line,
 * "ok N - name" or "not ok N - name", with the reasons as "#" lines before it. Exit status 0 when all
 * are ok, 1 otherwise.
 *
 * The programs are ordinary CUDA driver-API programs: linked to libcuda.so.1 by name, found at run
 * time, knowing nothing of how the device is reached. So the same file runs directly on softcuda,
 * through vgpu-run and in a virtual machine.
 */
#ifndef CONF_H
#define CONF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/cuda.h"

struct conf_case {
	const char *name;
	void (*run)(void);
	/* Runs in a child forked before this process touched CUDA: for cases that need an uninitialised
	 * process or leave a broken context. Such cases come first in the table. */
	bool own_process;
};
int conf_run(const struct conf_case *cases, size_t n);
#define CONF_MAIN(cases) int main(void) { return conf_run(cases, sizeof(cases) / sizeof((cases)[0])); }

/* IS: expr, a CUresult, must be `want`; noted, the case goes on. OK: must be CUDA_SUCCESS, else the
 * case ends here (main thread only). */
#define IS(want, expr) conf_is((expr), (want), #expr, __FILE__, __LINE__)
#define OK(expr) conf_ok((expr), #expr, __FILE__, __LINE__)
/* Some errors may be told in more than one way; both are listed. */
#define IS_EITHER(a, b, expr) conf_is_either((expr), (a), (b), #expr, __FILE__, __LINE__)
#define TRUE(cond) conf_true((cond), #cond, __FILE__, __LINE__)
#define EQ(got, want) conf_eq((uint64_t)(got), (uint64_t)(want), #got, __FILE__, __LINE__)
#define SAME(got, want, bytes) conf_same((got), (want), (bytes), #got, __FILE__, __LINE__)

bool conf_is(CUresult got, CUresult want, const char *expr, const char *file, int line);
bool conf_is_either(CUresult got, CUresult a, CUresult b, const char *expr, const char *file, int line);
void conf_ok(CUresult got, const char *expr, const char *file, int line);
bool conf_true(bool cond, const char *expr, const char *file, int line);
bool conf_eq(uint64_t got, uint64_t want, const char *expr, const char *file, int line);
bool conf_same(const void *got, const void *want, size_t bytes, const char *expr, const char *file, int line);
void conf_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* End the case, passed so far: it asks for what this device says it has not. Prints why. */
void conf_not_here(const char *why);

/* Device 0, its primary context retained once per process and current in this thread. */
CUdevice conf_device(void);
CUcontext conf_context(void);
CUmodule conf_module(const char *ptx);
CUfunction conf_function(CUmodule m, const char *name);
CUdeviceptr conf_alloc(size_t bytes);
CUdeviceptr conf_upload(const void *data, size_t bytes);

/* One-dimensional launch on the default stream; arguments are addresses of parameters. */
#define LAUNCH(f, grid, block, shared, ...)                                                         \
	OK(cuLaunchKernel((f), (grid), 1, 1, (block), 1, 1, (shared), NULL, (void *[]){__VA_ARGS__}, NULL))

/* A reproducible generator: the same inputs on every machine. */
uint64_t conf_random(uint64_t *state);

/* Kernels, compiled to PTX by clang at build time; NUL-terminated. */
extern const char ptx_basic[], ptx_faults[], ptx_semantic[], ptx_texture[];
extern const size_t ptx_basic_size; /* without the NUL */
#endif
