/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a device busy: launches of one compute kernel, a window of them always in flight, until SIGTERM or
 * for the given number. Each launch goes on computing with what the one before left, so that the result is right only
 * if all of them ran, once each and one after the other. Prints "ready" after the first ones and "launches N" at the
 * end; exit status 3 if the result is wrong.
 *
 * usage: spinner LOOPS [LAUNCHES [WINDOW]]
 *   LOOPS: iterations within one launch, 0 = for ever; LAUNCHES: 0 = until SIGTERM; WINDOW: 1 to 256, 16 unless told
 */
#include "load.h"

#define WRONG 3
#define WINDOW 16u
#define WINDOW_MAX 256u

static const char ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry spin(.param .u64 out, .param .u32 loops)\n{\n"
	".reg .u32 %r<5>;\n.reg .u64 %rd<3>;\n.reg .pred %p<3>;\n"
	"ld.param.u64 %rd1, [out];\nld.param.u32 %r1, [loops];\ncvta.to.global.u64 %rd2, %rd1;\n"
	"mov.u32 %r2, 0;\nld.global.u32 %r3, [%rd2];\nsetp.eq.u32 %p2, %r1, 0;\n"
	"again:\nmad.lo.u32 %r3, %r3, 1664525, 1013904223;\nadd.u32 %r2, %r2, 1;\n"
	"@%p2 bra again;\nsetp.lt.u32 %p1, %r2, %r1;\n@%p1 bra again;\n"
	"st.global.u32 [%rd2], %r3;\nret;\n}\n";

/* x -> a x + c, n times, modulo 2^32, from FIRST. */
#define FIRST 1u
static unsigned chain(unsigned a, unsigned c, unsigned long n)
{
	unsigned x = FIRST;

	for (; n; n /= 2) {
		x = n % 2 ? a * x + c : x;
		c = a * c + c;
		a = a * a;
	}
	return x;
}

int main(int argc, char **argv)
{
	unsigned loops = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	unsigned long limit = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, n = 0;
	unsigned got = 0, window = argc > 3 ? (unsigned)atoi(argv[3]) : WINDOW;
	CUmodule mod;
	CUfunction fn;
	CUdeviceptr out;
	CUevent ev[WINDOW_MAX];
	void *args[] = {&out, &loops};

	if (!window || window > WINDOW_MAX) {
		puts("WINDOW is 1 to 256");
		return 1;
	}
	load_open();
	CALL(cuModuleLoadData, &mod, ptx);
	CALL(cuModuleGetFunction, &fn, mod, "spin");
	CALL(cuMemAlloc_v2, &out, 4);
	CALL(cuMemsetD32_v2, out, FIRST, 1);
	for (unsigned i = 0; i < window; i++)
		CALL(cuEventCreate, &ev[i], CU_EVENT_DISABLE_TIMING);
	puts("started");
	while (!load_stop && (!limit || n < limit)) {
		if (n >= window)
			CALL(cuEventSynchronize, ev[n % window]);
		if (n == window)
			puts("ready");
		CALL(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL);
		CALL(cuEventRecord, ev[n % window], NULL);
		n++;
	}
	CALL(cuMemcpyDtoH_v2, &got, out, 4);
	if (loops && got != chain(1664525, 1013904223, loops * n)) {
		printf("%lu launches of %u: %#x\n", n, loops, got);
		return WRONG;
	}
	printf("launches %lu\n", n);
	return 0;
}
