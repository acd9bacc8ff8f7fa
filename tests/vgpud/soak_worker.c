/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that computes and checks, over and over, until SIGTERM: data up, a kernel over it, data down.
 * Says at its end how long the longest step of a round took since SIGUSR1, or since it began to compute.
 * Exit status 0 at SIGTERM, 1 when a call fails (its executor was killed, say), 3 when a result is wrong.
 */
#include <stdint.h>
#include <time.h>
#include "load.h"

#define N 4096
#define WRONG 3

static const char ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry mix(.param .u64 data, .param .u32 seed)\n{\n"
	".reg .u32 %r<6>;\n.reg .u64 %rd<4>;\n"
	"ld.param.u64 %rd1, [data];\nld.param.u32 %r1, [seed];\ncvta.to.global.u64 %rd2, %rd1;\n"
	"mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.u32 %r2, %r2, %r3, %r4;\n"
	"mul.wide.u32 %rd3, %r2, 4;\nadd.u64 %rd2, %rd2, %rd3;\n"
	"ld.global.u32 %r5, [%rd2];\nmad.lo.u32 %r5, %r5, 1664525, %r1;\nst.global.u32 [%rd2], %r5;\nret;\n}\n";

static volatile sig_atomic_t forget;
static double longest, last; /* s */

static void on_forget(int sig)
{
	forget = 1;
}

/* A step ended: some calls, and checking what they did, which is microseconds. */
static void step(void)
{
	struct timespec t;
	double now;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	if (forget)
		longest = forget = 0;
	else if (last != 0 && now - last > longest)
		longest = now - last;
	last = now;
}

int main(void)
{
	static uint32_t host[N];
	CUmodule mod;
	CUfunction fn;
	CUdeviceptr data;
	uint32_t seed = (uint32_t)(uintptr_t)&data;
	void *args[] = {&data, &seed};

	load_open();
	signal(SIGUSR1, on_forget);
	CALL(cuModuleLoadData, &mod, ptx);
	CALL(cuModuleGetFunction, &fn, mod, "mix");
	for (uint64_t round = 0; !load_stop; round++) {
		CALL(cuMemAlloc_v2, &data, sizeof(host));
		for (uint32_t i = 0; i < N; i++)
			host[i] = i ^ seed;
		CALL(cuMemcpyHtoD_v2, data, host, sizeof(host));
		step();
		for (int k = 0; k < 20; k++)
			CALL(cuLaunchKernel, fn, N / 256, 1, 1, 256, 1, 1, 0, NULL, args, NULL);
		step();
		CALL(cuMemcpyDtoH_v2, host, data, sizeof(host));
		CALL(cuMemFree_v2, data);
		step();
		for (uint32_t i = 0; i < N; i++) {
			uint32_t want = i ^ seed;

			for (int k = 0; k < 20; k++)
				want = want * 1664525 + seed;
			if (host[i] == want)
				continue;
			printf("round %llu: [%u] is %#x, not %#x\n", (unsigned long long)round, i, host[i], want);
			return WRONG;
		}
		if (round % 64 == 0)
			printf("round %llu\n", (unsigned long long)round);
		seed = seed * 22695477 + 1;
	}
	printf("longest pause %.1f ms\n", longest * 1e3);
	return 0;
}
