/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random program of driver-API calls, the same for the same seed: valid and invalid arguments, live
 * and destroyed handles. One line per call: number, name, result, and what it returned that does not
 * depend on where things lie. Run directly and remoted, the lines must be equal (compare.py).
 *
 * usage: calls FIRST COUNT CALLS [SKIP,SKIP...]   programs FIRST.., of so many calls each; the calls
 * numbered SKIP are left out, and the rest stays what it was, so that a difference can be narrowed down
 *
 * Left out, as nothing is promised: memory addresses; a freed address once something else was
 * allocated, as it may lie there; which error comes first where there is no context either.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/cuda.h"

#define SLOTS 8u
#define BYTES (64u << 10)

static const char ptx[] =
	".version 6.3\n.target sm_30\n.address_size 64\n.visible .global .align 8 .b8 counter[64];\n.visible .const .align 4 .u32 three = 3;\n"
	".visible .entry fill(.param .u64 to, .param .u32 value, .param .u32 n) .maxntid 256, 1, 1 {\n"
	".reg .b64 %l<3>; .reg .b32 %r<6>; .reg .pred %p;\n"
	"ld.param.u64 %l0, [to]; ld.param.u32 %r0, [value]; ld.param.u32 %r1, [n];\n"
	"mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r2, %r2, %r3, %r4;\n"
	"setp.ge.u32 %p, %r2, %r1; @%p ret; mul.wide.u32 %l1, %r2, 4; add.u64 %l0, %l0, %l1; add.u32 %r0, %r0, %r2; st.global.u32 [%l0], %r0; ret; }\n"
	".visible .entry none() { ret; }\n"
	".visible .entry count(.param .u64 to) { .reg .b64 %l0; .reg .b32 %r<2>; .shared .align 4 .b8 room[128];\n"
	"ld.param.u64 %l0, [to]; mov.u32 %r0, 1; atom.global.add.u32 %r1, [%l0], %r0; ret; }\n";

static uint64_t state;
static unsigned number, *skips, n_skips;
static bool skipped;

static uint32_t roll(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % n;
}

/* ---- objects: a slot keeps its handle after its end ---- */

enum kind { CTX, MEM, HOST, STREAM, EVENT, MODULE, FUNC, ARRAY, KINDS };
static struct slot {
	union {
		void *p;
		CUdeviceptr d;
	};
	bool used, dead;
	size_t bytes;
	unsigned ctx; /* slot of the context it was made in */
	unsigned born; /* of memory: count of allocations when it died */
} slots[KINDS][SLOTS];
static unsigned allocations;
static unsigned char host[BYTES];

static struct slot *pick(enum kind k)
{
	return &slots[k][roll(SLOTS)];
}

/* Mostly one that is there. */
static struct slot *pick_live(enum kind k)
{
	struct slot *s = pick(k);

	for (unsigned i = 0; i < SLOTS && (!s->used || s->dead); i++)
		s = &slots[k][i];
	return s;
}

static void made(struct slot *s, void *p, size_t bytes)
{
	*s = (struct slot){ .p = p, .used = true, .bytes = bytes };
}

static uint64_t sum(const void *p, size_t n)
{
	const unsigned char *c = p;
	uint64_t h = 1469598103934665603u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ c[i]) * 1099511628211u;
	return h;
}

static unsigned current; /* slot of the current context; SLOTS: none */

/* Without a live context every call that wants one fails; which of its other mistakes is told first is open. */
static const char *result(CUresult rc)
{
	static char text[16];

	if ((current == SLOTS || slots[CTX][current].dead) && rc)
		return "error";
	sprintf(text, "%d", (int)rc);
	return text;
}

#define SAY(name, rc, ...) (printf("%u %s %s", number, name, result(rc)), printf(" " __VA_ARGS__), printf("\n"))

static size_t some_size(void)
{
	static const size_t sizes[] = { 0, 1, 4, 100, 4096, 65536, 1 << 20, (size_t)1 << 45, SIZE_MAX };

	return roll(3) ? 4 * (1 + roll(16384)) : sizes[roll(sizeof(sizes) / sizeof(*sizes))];
}

/* ---- one call each ---- */

static void name_ctx(CUcontext c, char *to)
{
	strcpy(to, c ? "other" : "none");
	for (unsigned i = 0; i < SLOTS; i++)
		if (c && slots[CTX][i].used && slots[CTX][i].p == c)
			sprintf(to, "%u", i);
}

static void look_current(void)
{
	CUcontext c = NULL;
	char name[16];
	CUresult rc = cuCtxGetCurrent(&c);

	name_ctx(c, name);
	SAY("cuCtxGetCurrent", rc, "%s", name);
	current = name[0] >= '0' && name[0] <= '9' ? (unsigned)atoi(name) : SLOTS;
}

static void ctx_create(void)
{
	struct slot *s = pick(CTX);
	CUcontext c = NULL;
	unsigned flags = roll(4) ? roll(9) : 1u << roll(12);
	CUresult rc;

	if (s->used && !s->dead)
		return;
	rc = cuCtxCreate(&c, flags, (int)(roll(8) == 7));
	if (!rc)
		made(s, c, 0);
	SAY("cuCtxCreate", rc, "%#x", flags);
	look_current();
}

/* What lived in it is over; those slots are not used again. */
static void ctx_destroy(void)
{
	struct slot *s = pick(CTX);
	CUresult rc;

	if (!s->used || s == &slots[CTX][0] || (s->dead && roll(2)))
		return;
	rc = cuCtxDestroy(s->p);
	s->dead |= !rc;
	SAY("cuCtxDestroy", rc, "%d", (int)(s - slots[CTX]));
	if (!rc)
		for (unsigned k = MEM; k < KINDS; k++)
			for (unsigned i = 0; i < SLOTS; i++)
				if (slots[k][i].used && slots[k][i].ctx == (unsigned)(s - slots[CTX]))
					slots[k][i].used = false;
	look_current();
}

static unsigned current;

static void ctx_current(void)
{
	struct slot *s = roll(4) ? &slots[CTX][0] : pick(CTX);
	CUcontext c = NULL;
	char name[16];
	unsigned how = roll(8);
	CUresult rc;

	if (!s->used || s->dead)
		return;
	if (how < 4) {
		rc = cuCtxSetCurrent(s->p);
		SAY("cuCtxSetCurrent", rc, "%d", (int)(s - slots[CTX]));
	} else if (how < 6) {
		rc = cuCtxPushCurrent(s->p);
		SAY("cuCtxPushCurrent", rc, "%d", (int)(s - slots[CTX]));
	} else {
		rc = cuCtxPopCurrent(&c);
		name_ctx(rc ? NULL : c, name);
		SAY("cuCtxPopCurrent", rc, "%s", name);
	}
	look_current();
}

static void ctx_ask(void)
{
	size_t v = 0;
	unsigned u = 0;
	int a = 0, d = 0;
	CUresult rc;

	switch (roll(6)) {
	case 0:
		rc = cuCtxSynchronize();
		SAY("cuCtxSynchronize", rc, "");
		break;
	case 1:
		u = roll(9);
		rc = cuCtxGetLimit(&v, u);
		SAY("cuCtxGetLimit", rc, "%u %zu", u, rc ? 0 : v);
		break;
	case 2:
		u = roll(4);
		v = roll(2) ? 1024u << roll(8) : some_size();
		if (u == CU_LIMIT_MALLOC_HEAP_SIZE || u == CU_LIMIT_STACK_SIZE)
			v %= 1 << 16; /* what they take of the quota is the executor's own affair */
		if (u == CU_LIMIT_PRINTF_FIFO_SIZE)
			v %= 1 << 20;
		rc = cuCtxSetLimit(u, v);
		SAY("cuCtxSetLimit", rc, "%u %zu", u, v);
		break;
	case 3:
		rc = cuCtxGetStreamPriorityRange(&a, &d);
		SAY("cuCtxGetStreamPriorityRange", rc, "%d %d", rc ? 0 : a, rc ? 0 : d);
		break;
	case 4:
		rc = cuCtxGetDevice(&d);
		SAY("cuCtxGetDevice", rc, "%d", rc ? 0 : d);
		break;
	default:
		rc = cuCtxGetFlags(&u);
		SAY("cuCtxGetFlags", rc, "%#x", rc ? 0 : u);
	}
}

static void mem_alloc(void)
{
	struct slot *s = pick(MEM);
	size_t n = some_size(), pitch = 0;
	CUdeviceptr d = 0;
	CUresult rc;

	if (s->used && !s->dead)
		return;
	if (roll(5)) {
		rc = cuMemAlloc(&d, n);
		SAY("cuMemAlloc", rc, "%zu", n);
	} else {
		size_t height = roll(64), width = n;

		rc = cuMemAllocPitch(&d, &pitch, width, height, 1u << roll(6));
		n = rc ? 0 : pitch * height;
		SAY("cuMemAllocPitch", rc, "%zu x %zu: %zu", width, height, rc ? 0 : pitch);
	}
	allocations++;
	if (rc)
		return;
	made(s, NULL, n);
	s->d = d;
	s->ctx = current;
}

static bool usable(const struct slot *s)
{
	return s->used && (!s->dead || s->born == allocations);
}

static void mem_free(void)
{
	struct slot *s = pick(MEM);
	CUdeviceptr off = roll(8) ? 0 : roll(2) ? 4 : s->bytes;
	CUresult rc;

	if (!usable(s))
		return;
	rc = cuMemFree(s->d + off);
	SAY("cuMemFree", rc, "%d+%zu", (int)(s - slots[MEM]), (size_t)off);
	if (!rc && !off) {
		s->dead = true;
		s->born = allocations;
	}
}

static void host_memory(void)
{
	struct slot *s = pick(HOST);
	void *p = NULL;
	CUdeviceptr d = 0;
	unsigned flags = roll(4) ? roll(8) : roll(64);
	size_t n = some_size() % (1 << 22);
	CUresult rc;

	if (!s->used || s->dead) {
		allocations++;
		rc = roll(2) ? cuMemAllocHost(&p, n) : cuMemHostAlloc(&p, n, flags);
		SAY("cuMemHostAlloc", rc, "%zu %#x", n, flags);
		if (!rc) {
			made(s, p, n);
			s->ctx = current;
			memset(p, 7, n);
		}
	} else if (roll(2)) {
		rc = cuMemHostGetDevicePointer(&d, s->p, roll(8) == 7);
		SAY("cuMemHostGetDevicePointer", rc, "%d", (int)(!rc && d != 0));
	} else {
		rc = cuMemFreeHost(s->p);
		SAY("cuMemFreeHost", rc, "%d", (int)(s - slots[HOST]));
		s->used = rc != 0;
	}
}

static CUstream some_stream(void)
{
	struct slot *s = pick(STREAM);

	return roll(3) && s->used && !s->dead && s->ctx == current ? s->p : NULL;
}

/* Inside a live allocation, or a little out of it. */
static CUdeviceptr place(struct slot *s, size_t *n, bool exact)
{
	size_t at = s->bytes ? roll((uint32_t)(s->bytes < BYTES ? s->bytes : BYTES)) & ~3u : 0;

	*n = s->bytes > at ? 1 + roll((uint32_t)(s->bytes - at < BYTES ? s->bytes - at : BYTES)) : 0;
	if (!exact && roll(12) == 0)
		*n = s->bytes + 1; /* reaches out of it */
	if (*n > BYTES)
		*n = BYTES;
	return s->d + at;
}

static void copy(void)
{
	struct slot *s = pick_live(MEM), *t = roll(4) ? pick_live(MEM) : pick(MEM);
	size_t n, m;
	unsigned how = roll(6);
	CUdeviceptr a, b;
	CUstream st = some_stream();
	CUresult rc;

	if (!usable(s) || !usable(t) || s->ctx != current || t->ctx != current)
		return;
	a = place(s, &n, how == 4 || how == 5);
	b = place(t, &m, how == 4 || how == 5);
	switch (how) {
	case 0:
	case 1:
		for (size_t i = 0; i < n; i++)
			host[i] = (unsigned char)(number + i);
		rc = how ? cuMemcpyHtoDAsync(a, host, n, st) : cuMemcpyHtoD(a, host, n);
		SAY("cuMemcpyHtoD", rc, "%d %zu", how, n);
		if (how && !rc)
			rc = cuStreamSynchronize(st);
		break;
	case 2:
	case 3:
		memset(host, 0xee, sizeof(host));
		rc = how == 3 ? cuMemcpyDtoHAsync(host, a, n, st) : cuMemcpyDtoH(host, a, n);
		if (how == 3 && !rc)
			rc = cuStreamSynchronize(st);
		SAY("cuMemcpyDtoH", rc, "%d %zu %llx", how, n, rc ? 0 : (unsigned long long)sum(host, n));
		break;
	default:
		n = n < m ? n : m;
		rc = how == 4 ? cuMemcpyDtoDAsync(b, a, s == t ? 0 : n, st) : cuMemcpyDtoD(b, a, s == t ? 0 : n);
		SAY("cuMemcpyDtoD", rc, "%d %zu", how, n);
	}
}

static void set(void)
{
	struct slot *s = pick(MEM);
	size_t n;
	CUdeviceptr a;
	unsigned how = roll(5), v = roll(256);
	CUresult rc;

	if (!usable(s) || s->ctx != current)
		return;
	a = place(s, &n, false);
	if (how == 0)
		rc = cuMemsetD8(a, (unsigned char)v, n);
	else if (how == 1)
		rc = cuMemsetD16(a + (roll(8) == 7), (unsigned short)v, n / 2);
	else if (how == 2)
		rc = cuMemsetD32(a + (roll(8) == 7), v, n / 4);
	else if (how == 3)
		rc = cuMemsetD32Async(a, v, n / 4, some_stream());
	else
		rc = cuMemsetD2D8(a, 64, (unsigned char)v, roll(80), n / 64);
	SAY("cuMemset", rc, "%u %zu", how, n);
	if (!rc) /* asynchronous: what a stream that waits for nobody reads next would be either */
		cuCtxSynchronize();
}

static void range(void)
{
	struct slot *s = pick(MEM);
	CUdeviceptr base = 0;
	size_t n = 0, off = roll(2) ? roll(1 << 17) : 0;
	unsigned type = 0;
	CUresult rc;

	if (!s->used || s->dead || s->ctx != current || off > s->bytes)
		return;
	rc = cuMemGetAddressRange(&base, &n, s->d + off);
	SAY("cuMemGetAddressRange", rc, "%zu: %lld %zu", off, rc ? 0 : (long long)(base - s->d), rc ? 0 : n);
	if (off < s->bytes) {
		rc = cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, s->d + off);
		SAY("cuPointerGetAttribute", rc, "%u", rc ? 0 : type);
	}
}

static void stream_life(void)
{
	struct slot *s = pick(STREAM);
	CUstream st = NULL;
	unsigned flags = roll(6) == 5 ? 2 : roll(2);
	int priority = (int)roll(12) - 8;
	CUresult rc;

	if (!s->used) {
		bool plain = roll(2);

		rc = plain ? cuStreamCreate(&st, flags) : cuStreamCreateWithPriority(&st, flags, priority);
		SAY("cuStreamCreate", rc, "%u %d", flags, plain ? 0 : priority);
		if (!rc) {
			made(s, st, 0);
			s->ctx = current;
		}
	} else if (s->ctx == current && roll(3) == 0) {
		rc = cuStreamDestroy(s->p);
		SAY("cuStreamDestroy", rc, "%d", (int)(s - slots[STREAM]));
		s->used = rc != 0;
	} else if (s->ctx == current) {
		unsigned f = 0;
		int p = 0;

		rc = cuStreamGetFlags(s->p, &f);
		SAY("cuStreamGetFlags", rc, "%u", rc ? 0 : f);
		rc = cuStreamGetPriority(s->p, &p);
		SAY("cuStreamGetPriority", rc, "%d", rc ? 0 : p);
	}
}

static void wait_for(void)
{
	CUstream st = some_stream();
	CUresult rc = cuStreamSynchronize(st);

	SAY("cuStreamSynchronize", rc, "");
	rc = cuStreamQuery(st);
	SAY("cuStreamQuery", rc, "");
}

static void event_life(void)
{
	struct slot *s = pick(EVENT);
	CUevent e = NULL;
	unsigned flags = roll(8) == 7 ? 16 : roll(4);
	CUresult rc;

	if (!s->used) {
		rc = cuEventCreate(&e, flags);
		SAY("cuEventCreate", rc, "%u", flags);
		if (!rc) {
			made(s, e, flags & CU_EVENT_DISABLE_TIMING);
			s->ctx = current;
		}
		return;
	}
	if (s->ctx != current)
		return;
	switch (roll(6)) {
	case 0:
		rc = cuEventDestroy(s->p);
		SAY("cuEventDestroy", rc, "%d", (int)(s - slots[EVENT]));
		s->used = rc != 0;
		break;
	case 1:
	case 2:
		rc = cuEventRecord(s->p, some_stream());
		SAY("cuEventRecord", rc, "%d", (int)(s - slots[EVENT]));
		s->born = 1;
		break;
	case 3:
		rc = cuStreamWaitEvent(some_stream(), s->p, roll(8) == 7 ? 4 : 0);
		SAY("cuStreamWaitEvent", rc, "%d", (int)(s - slots[EVENT]));
		break;
	case 4: {
		struct slot *t = pick(EVENT);
		float ms = -1;

		if (!t->used || t->ctx != current)
			return;
		cuEventSynchronize(s->p);
		cuEventSynchronize(t->p);
		rc = cuEventElapsedTime(&ms, s->p, t->p);
		SAY("cuEventElapsedTime", rc, "%d", !rc && ms != ms);
		break;
	}
	default:
		rc = cuEventSynchronize(s->p);
		SAY("cuEventSynchronize", rc, "");
		rc = cuEventQuery(s->p);
		SAY("cuEventQuery", rc, "");
	}
}

static void module_life(void)
{
	static const char *const names[] = { "fill", "none", "count", "absent", "" }, *const vars[] = { "counter", "three", "fill", "absent" };
	static const char *const bad[] = { "", ".version 6.3\n", ".version 6.3\n.target sm_30\n.address_size 64\n.entry x() { bad; }", "noise" };
	struct slot *s = pick(MODULE), *f = pick(FUNC);
	CUmodule m = NULL;
	CUfunction fn = NULL;
	CUdeviceptr d = 0;
	size_t n = 0;
	CUresult rc;
	unsigned which;

	if (!s->used) {
		which = roll(8);
		allocations++;
		rc = cuModuleLoadData(&m, which < 4 && roll(2) ? bad[which] : ptx);
		SAY("cuModuleLoadData", rc, "%u", which);
		if (!rc) {
			made(s, m, 0);
			s->ctx = current;
		}
	} else if (s->ctx != current) {
		return;
	} else if (roll(8) == 0) {
		rc = cuModuleUnload(s->p);
		SAY("cuModuleUnload", rc, "%d", (int)(s - slots[MODULE]));
		for (unsigned i = 0; !rc && i < SLOTS; i++)
			slots[FUNC][i].used &= slots[FUNC][i].born != (unsigned)(s - slots[MODULE]);
		s->used = rc != 0;
	} else if (roll(3) == 0) {
		which = roll(4);
		rc = cuModuleGetGlobal(&d, &n, s->p, vars[which]);
		SAY("cuModuleGetGlobal", rc, "%s %zu", vars[which], rc ? 0 : n);
		if (!rc && n >= 4) {
			unsigned v = 0;

			rc = cuMemcpyDtoH(&v, d, 4);
			SAY("cuMemcpyDtoH", rc, "%u", v);
		}
	} else {
		which = roll(5);
		rc = cuModuleGetFunction(&fn, s->p, names[which]);
		SAY("cuModuleGetFunction", rc, "%s", names[which]);
		if (!rc) {
			made(f, fn, which);
			f->ctx = current;
			f->born = (unsigned)(s - slots[MODULE]);
		}
	}
}

static void function(void)
{
	struct slot *f = pick_live(FUNC);
	unsigned attr = roll(18), how = roll(3);
	int v = (int)roll(70000) - 100;
	CUresult rc;

	if (!f->used || f->ctx != current)
		return;
	if (how == 0) {
		rc = cuFuncSetAttribute(f->p, attr, v);
		SAY("cuFuncSetAttribute", rc, "%u %d", attr, v);
	} else if (how == 1) {
		rc = cuFuncGetAttribute(&v, attr, f->p);
		SAY("cuFuncGetAttribute", rc, "%u %d", attr, rc ? 0 : v);
	} else {
		rc = cuOccupancyMaxActiveBlocksPerMultiprocessor(&v, f->p, (int)roll(1200) - 20, roll(60000));
		SAY("cuOccupancyMaxActiveBlocksPerMultiprocessor", rc, "%d", rc ? 0 : v);
	}
}

static void launch(void)
{
	struct slot *f = pick_live(FUNC), *s = pick_live(MEM);
	unsigned grid[3] = { 1 + roll(4), 1, 1 }, block[3] = { 1 + roll(256), 1, 1 }, shared = 0;
	CUdeviceptr to = s->d;
	uint32_t value = roll(1000), n = (uint32_t)(s->bytes / 4);
	void *params[] = { &to, &value, &n };
	CUresult rc;

	if (!f->used || f->ctx != current || !s->used || s->dead || s->ctx != current || s->bytes < 4)
		return;
	switch (roll(16)) {
	case 0: block[roll(3)] = roll(2) ? 0 : 1025; break;
	case 1: grid[roll(3)] = roll(2) ? 0 : 70000; break;
	case 2: block[1] = 1 + roll(64); break;
	case 3: shared = roll(2) ? roll(49152) : 1u << (10 + roll(10)); break;
	case 4: block[2] = 1 + roll(80); break;
	default: break;
	}
	if (grid[0] > 65536 || grid[1] > 65536 || grid[2] > 65536)
		grid[0] = grid[1] = 1;
	rc = cuLaunchKernel(f->p, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, some_stream(), params, NULL);
	SAY("cuLaunchKernel", rc, "%zu %u,%u,%u %u,%u,%u %u", f->bytes, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared);
	rc = cuCtxSynchronize(); /* what other streams do to the same memory is nobody's to foresee */
	SAY("cuCtxSynchronize", rc, "");
}

static void device(void)
{
	static CUdevice_attribute attrs[] = { CU_DEVICE_ATTRIBUTE_WARP_SIZE, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0, 9999,
					      CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_MAX_PITCH };
	unsigned a = roll(6);
	int v = 0, dev = roll(8) == 7;
	CUresult rc = cuDeviceGetAttribute(&v, attrs[a], dev);

	SAY("cuDeviceGetAttribute", rc, "%u %d", a, rc ? 0 : v);
	rc = cuDeviceGet(&v, (int)roll(3) - 1);
	SAY("cuDeviceGet", rc, "");
}

static void array_life(void)
{
	struct slot *s = pick(ARRAY), *t = pick(MEM);
	CUDA_ARRAY_DESCRIPTOR d = { roll(100), roll(40), roll(4) ? CU_AD_FORMAT_UNSIGNED_INT8 : roll(40), 1u << roll(4) };
	CUDA_MEMCPY2D c = { 0 };
	CUarray a = NULL;
	CUresult rc;

	if (!s->used) {
		rc = cuArrayCreate(&a, &d);
		allocations++;
		SAY("cuArrayCreate", rc, "%zu x %zu, %d, %u", (size_t)d.Width, (size_t)d.Height, (int)d.Format, d.NumChannels);
		if (!rc) {
			made(s, a, 0);
			s->ctx = current;
		}
		return;
	}
	if (s->ctx != current)
		return;
	if (roll(4) == 0) {
		rc = cuArrayDestroy(s->p);
		SAY("cuArrayDestroy", rc, "%d", (int)(s - slots[ARRAY]));
		s->used = rc != 0;
		return;
	}
	if (!t->used || t->dead || t->ctx != current)
		return;
	c.srcMemoryType = roll(2) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
	c.srcHost = host;
	c.srcDevice = t->d;
	c.srcPitch = roll(256);
	c.dstMemoryType = CU_MEMORYTYPE_ARRAY;
	c.dstArray = s->p;
	c.dstXInBytes = roll(8);
	c.dstY = roll(4);
	c.WidthInBytes = roll(64);
	c.Height = roll(20);
	memset(host, (int)number, sizeof(host));
	rc = cuMemcpy2D(&c);
	SAY("cuMemcpy2D", rc, "to array %zu x %zu", (size_t)c.WidthInBytes, (size_t)c.Height);
	c.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	c.srcArray = s->p;
	c.srcXInBytes = c.dstXInBytes;
	c.srcY = c.dstY;
	c.dstMemoryType = CU_MEMORYTYPE_HOST;
	c.dstHost = host;
	c.dstPitch = 256;
	c.dstXInBytes = c.dstY = 0;
	memset(host, 0xcc, sizeof(host));
	rc = cuMemcpy2D(&c);
	SAY("cuMemcpy2D", rc, "from array %llx", (unsigned long long)sum(host, sizeof(host)));
}

static void (*const calls[])(void) = { ctx_create, ctx_destroy, ctx_current, ctx_ask, mem_alloc, mem_alloc, mem_free, host_memory, copy, copy,
				       copy, set, set, range, stream_life, stream_life, wait_for, event_life, event_life, event_life,
				       module_life, module_life, function, launch, launch, launch, device, array_life };

static bool is_skipped(unsigned n)
{
	for (unsigned i = 0; i < n_skips; i++)
		if (skips[i] == n)
			return true;
	return false;
}

/* Contexts made here go at the end, and with them the rest; false: an error that stays. */
static bool program(uint64_t seed, unsigned length)
{
	CUcontext c = NULL;
	CUresult rc;

	memset(slots, 0, sizeof(slots));
	allocations = current = 0;
	number = 0;
	printf("program %llu\n", (unsigned long long)seed);
	rc = cuCtxCreate(&c, 0, 0);
	SAY("cuCtxCreate", rc, "");
	if (rc)
		return false;
	made(&slots[CTX][0], c, 0);
	for (number = 1; number <= length; number++) {
		state = seed * 1000003u + number; /* each call's choices are its own */
		roll(1);
		roll(1);
		skipped = is_skipped(number);
		if (!skipped)
			calls[roll(sizeof(calls) / sizeof(*calls))]();
	}
	rc = cuCtxSetCurrent(c);
	SAY("cuCtxSetCurrent", rc, "");
	if (!rc)
		rc = cuCtxSynchronize();
	SAY("cuCtxSynchronize", rc, "");
	for (unsigned i = 0; i < SLOTS; i++) {
		if (slots[HOST][i].used)
			cuMemFreeHost(slots[HOST][i].p);
	}
	for (unsigned i = SLOTS; i-- > 0;)
		if (slots[CTX][i].used && !slots[CTX][i].dead)
			cuCtxDestroy(slots[CTX][i].p);
	while (!cuCtxPopCurrent(&c) && c)
		;
	fflush(stdout);
	return !rc;
}

int main(int argc, char **argv)
{
	uint64_t first;
	CUresult rc = cuInit(0);

	if (argc < 4 || rc) {
		fprintf(stderr, rc ? "cuInit failed\n" : "usage: calls FIRST COUNT CALLS [SKIP,SKIP...]\n");
		return 2;
	}
	skips = calloc(argc > 4 ? strlen(argv[4]) + 1 : 1, sizeof(*skips));
	for (char *s = argc > 4 ? strtok(argv[4], ",") : NULL; s; s = strtok(NULL, ","))
		skips[n_skips++] = (unsigned)atoi(s);
	first = strtoull(argv[1], NULL, 0);
	for (uint64_t i = first; i < first + strtoull(argv[2], NULL, 0); i++)
		if (!program(i, (unsigned)atoi(argv[3])))
			return 3; /* the process is of no more use */
	free(skips);
	return 0;
}
