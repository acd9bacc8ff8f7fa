/* SPDX-License-Identifier: Apache-2.0 */
/* The first fault of a launch, and the search for the memory an address lies in. */
#include <stdarg.h>
#include <stdio.h>
#include "softcuda/engine_prog.h"
#include "softcuda/mem.h"

const struct insn *sc_fault_at(struct warp *w, const struct insn *in, int result, int lane, uint64_t address,
			       uint32_t size, bool write, const char *fmt, ...)
{
	struct run *run = w->k->run;
	w->status = WARP_FAULT;
	while (atomic_flag_test_and_set_explicit(&run->fault_lock, memory_order_acquire))
		;
	if (atomic_load(&run->result) == 0) {
		struct sc_fault *f = run->fault;
		f->address = address;
		f->size = size;
		f->write = write;
		f->line = in->line;
		f->kernel = run->f->func->name;
		for (int i = 0; i < 3; i++) {
			f->block[i] = w->b->id[i];
			f->thread[i] = w->tid[i][lane];
		}
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(f->what, sizeof(f->what), fmt, ap);
		va_end(ap);
		atomic_store(&run->result, result);
	}
	atomic_flag_clear_explicit(&run->fault_lock, memory_order_release);
	return NULL;
}

const struct insn *sc_mem_fault(struct warp *w, const struct insn *in, int lane, uint64_t address, uint32_t size,
				bool write)
{
	const char *what = write ? "store" : "load";
	if (address & (size - 1))
		return sc_fault_at(w, in, SC_MISALIGNED_ADDRESS, lane, address, size, write,
				   "misaligned %s of %u bytes at %#llx", what, size, (unsigned long long)address);
	return sc_fault_at(w, in, SC_ILLEGAL_ADDRESS, lane, address, size, write, "%s of %u bytes at %#llx", what,
			   size, (unsigned long long)address);
}

static bool inside(uint64_t va, uint32_t size, uint64_t base, uint64_t bytes)
{
	uint64_t x = va - base;
	return x < bytes && size <= bytes - x;
}

bool sc_find_range(struct warp *w, unsigned slot, uint64_t va, uint32_t size, int lane)
{
	const struct run *run = w->k->run;
	uint64_t base, bytes, shared = (uint64_t)(uintptr_t)w->b->shared;
	bool host;
	if (inside(va, size, shared, run->shared_bytes)) {
		w->k->range[slot] = (struct sc_range){ shared, run->shared_bytes };
		return true;
	}
	if (inside(va, size, w->local_base + (uint64_t)lane * run->local_stride, run->local_stride))
		return true;
	if (inside(va, size, (uint64_t)(uintptr_t)run->params, run->f->func->param_bytes))
		return true;
	if (!sc_mem_lookup(va, &base, &bytes, &host) || size > bytes - (va - base))
		return false;
	w->k->range[slot] = (struct sc_range){ base, bytes };
	return true;
}
