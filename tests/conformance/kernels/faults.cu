// SPDX-License-Identifier: Apache-2.0
// Kernels that go wrong, each in one way.
#include "cuda_min.h"

KERNEL good(u32 *out) { out[GLOBAL_X] = 1; }
KERNEL store_at(u64 address, u32 value) { *(volatile u32 *)address = value; }
KERNEL load_at(u64 address, u32 *out) { *out = *(volatile u32 *)address; }
KERNEL trap_at(u32 thread)
{
	if (GLOBAL_X == thread)
		__builtin_trap();
}
KERNEL beyond_shared(u32 *out, u32 index)
{
	__shared__ u32 words[32];
	words[TID_X & 31] = TID_X;
	barrier();
	out[TID_X] = ((volatile u32 *)words)[index];
}
