/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tenant that always has work queued, and whose kernels write down when they ran: %globaltimer at the begin and at
 * the end of each block. On softcuda that is CLOCK_MONOTONIC; on a GPU it is the device's, the same for all tenants.
 *
 * usage: turns FILE BLOCKS LOOPS
 *   Prints "started", "ready" after the first results; SIGTERM ends it. FILE then holds {begin, end} in ns, 8 bytes
 *   each, of each launch in their order: the first begin and the last end of its blocks.
 */
#include <string.h>
#include "../tests/vgpud/load.h"

#define WINDOW 256u	    /* launches kept queued, so that the queue is never empty however late the host lets us run */
#define LAUNCHES_MAX 2000000u /* what is beyond is not written down */
#define BLOCKS_MAX 8u
#define CHUNK 4096u /* launches whose stamps lie on the device at once; a multiple of WINDOW */
#define THREADS 32u

struct stamp {
	unsigned long long begin, end;
};

static const char ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry turn(.param .u64 stamps, .param .u32 loops)\n{\n"
	".reg .u32 %r<8>;\n.reg .u64 %rd<8>;\n.reg .pred %p<4>;\n"
	"mov.u64 %rd3, %globaltimer;\n"
	"ld.param.u64 %rd1, [stamps];\nld.param.u32 %r1, [loops];\ncvta.to.global.u64 %rd2, %rd1;\n"
	"mov.u32 %r4, %ctaid.x;\nmul.wide.u32 %rd4, %r4, 16;\nadd.u64 %rd2, %rd2, %rd4;\n"
	"mov.u32 %r5, %tid.x;\nmov.u32 %r2, 0;\nmov.u32 %r3, %r5;\n"
	"again:\nmad.lo.u32 %r3, %r3, 1664525, 1013904223;\nadd.u32 %r2, %r2, 1;\n"
	"setp.lt.u32 %p1, %r2, %r1;\n@%p1 bra again;\n"
	"setp.eq.u32 %p2, %r3, 77;\nsetp.ne.u32 %p3, %r5, 0;\n@%p3 bra done;\n"
	"mov.u64 %rd5, %globaltimer;\n@%p2 add.u64 %rd5, %rd5, 1;\n" /* the loop's result is used */
	"st.global.u64 [%rd2], %rd3;\nst.global.u64 [%rd2+8], %rd5;\n"
	"done:\nret;\n}\n";

static struct stamp seen[CHUNK * BLOCKS_MAX];

/* Of launches that are complete. */
static void save(FILE *f, CUdeviceptr stamps, unsigned blocks, unsigned from, unsigned n)
{
	CALL(cuMemcpyDtoH_v2, seen, stamps + (CUdeviceptr)from * blocks * sizeof(*seen), n * blocks * sizeof(*seen));
	for (unsigned i = 0; i < n; i++) {
		struct stamp s = seen[i * blocks];

		for (unsigned k = 1; k < blocks; k++) {
			const struct stamp *o = &seen[i * blocks + k];

			s.begin = o->begin < s.begin ? o->begin : s.begin;
			s.end = o->end > s.end ? o->end : s.end;
		}
		fwrite(&s, sizeof(s), 1, f);
	}
}

int main(int argc, char **argv)
{
	unsigned blocks = argc > 2 ? (unsigned)atoi(argv[2]) : 0, loops = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	FILE *f = argc > 1 ? fopen(argv[1], "wb") : NULL;
	unsigned long n = 0;
	CUmodule mod;
	CUfunction fn;
	CUdeviceptr stamps;
	CUevent ev[WINDOW];

	if (!f || !blocks || blocks > BLOCKS_MAX || !loops) {
		puts("usage: turns FILE BLOCKS LOOPS");
		return 1;
	}
	load_open();
	CALL(cuModuleLoadData, &mod, ptx);
	CALL(cuModuleGetFunction, &fn, mod, "turn");
	CALL(cuMemAlloc_v2, &stamps, (size_t)LAUNCHES_MAX * blocks * sizeof(struct stamp));
	for (unsigned i = 0; i < WINDOW; i++)
		CALL(cuEventCreate, &ev[i], CU_EVENT_DISABLE_TIMING);
	puts("started");
	for (; !load_stop && n < LAUNCHES_MAX; n++) {
		CUdeviceptr at = stamps + n * blocks * sizeof(struct stamp);
		void *args[] = {&at, &loops};

		if (n >= WINDOW)
			CALL(cuEventSynchronize, ev[n % WINDOW]);
		if (n == WINDOW)
			puts("ready");
		CALL(cuLaunchKernel, fn, blocks, 1, 1, THREADS, 1, 1, 0, NULL, args, NULL);
		CALL(cuEventRecord, ev[n % WINDOW], NULL);
	}
	CALL(cuCtxSynchronize);
	for (unsigned long i = 0; i < n; i += CHUNK)
		save(f, stamps, blocks, (unsigned)i, (unsigned)(n - i < CHUNK ? n - i : CHUNK));
	return fclose(f) ? 1 : 0;
}
