/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's view of device memory, beyond what engine.h offers the driver API.
 *
 * One table of live ranges per process, sorted by address: device allocations and registered host
 * memory. Pages of freed device memory keep their bytes only while a launch runs (a kernel may
 * still hold the range in its cache); they are zeroed when the last launch ends, before the range
 * can be given out again.
 */
#ifndef SOFTCUDA_MEM_H
#define SOFTCUDA_MEM_H
#include <stdbool.h>
#include <stdint.h>

struct sc_mem_account { /* one per device; guarded by mem.c's lock */
	uint64_t total, used;
};

/* Reserves the address space on first use. 0 or CUDA_ERROR_OUT_OF_MEMORY. */
int sc_mem_start(void);
int sc_mem_alloc_account(struct sc_mem_account *a, uint64_t bytes, uint64_t align, uint64_t *va);
int sc_mem_free_account(struct sc_mem_account *a, uint64_t va);
void sc_mem_account_info(const struct sc_mem_account *a, uint64_t *free_bytes, uint64_t *total);
/* Frees whatever the account still holds. */
void sc_mem_account_close(struct sc_mem_account *a);
/* The live range holding va, as [base, base + size); host says registered host memory. */
bool sc_mem_lookup(uint64_t va, uint64_t *base, uint64_t *size, bool *host);
/* Bracket a launch: between them no freed page loses its bytes or changes hands. */
void sc_mem_launch_begin(void);
void sc_mem_launch_end(void);
#endif
