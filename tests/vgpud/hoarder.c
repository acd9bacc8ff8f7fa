/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes device memory by one call again and again until it is refused, then gives all back. Prints "refused N"
 * (how often it was granted before) when what is free is what was free before, else what is wrong.
 *
 * usage: hoarder CALL      one of the table below, or "list"
 */
#include <string.h>
#include "load.h"

#define MOST 5000 /* grants; with the quotas of the test none needs as many */

static CUcontext ctx;

#define F(f) ((__typeof__(&f))dlsym(load_lib, #f))
#define HEAD ".version 7.0\n.target sm_50\n.address_size 64\n"
static const char with_variable[] = HEAD ".visible .global .align 4 .b8 big[65536];\n";
static const char with_expression[] = HEAD ".visible .global .align 4 .b8 big[64 * 1024];\n";
static const char with_constant[] = HEAD ".visible .const .align 4 .b8 big[16384];\n";
static const char with_local[] =
	HEAD ".visible .entry k(.param .u64 out)\n{\n.local .align 4 .b8 l[4096];\n.reg .u32 %r<4>;\n.reg .u64 %rd<5>;\n"
	     "ld.param.u64 %rd1, [out];\ncvta.to.global.u64 %rd2, %rd1;\nmov.u32 %r1, %tid.x;\n"
	     "cvt.u64.u32 %rd4, %r1;\nmov.u64 %rd3, l;\nadd.u64 %rd3, %rd3, %rd4;\nst.local.u32 [%rd3], %r1;\n"
	     "ld.local.u32 %r2, [%rd3];\nst.global.u32 [%rd2], %r2;\nret;\n}\n";

static int linear(void **p)
{
	return F(cuMemAlloc_v2)((CUdeviceptr *)p, 1);
}

static int pitched(void **p)
{
	size_t pitch;

	return F(cuMemAllocPitch_v2)((CUdeviceptr *)p, &pitch, 1, 64, 4);
}

static int ordered(void **p)
{
	return F(cuMemAllocAsync)((CUdeviceptr *)p, 1000, NULL);
}

static int give_linear(void *p)
{
	return F(cuMemFree_v2)((CUdeviceptr)(size_t)p);
}

static int array(void **p)
{
	CUDA_ARRAY_DESCRIPTOR d = {1, 1, CU_AD_FORMAT_UNSIGNED_INT8, 1};

	return F(cuArrayCreate_v2)((CUarray *)p, &d);
}

static int give_array(void *p)
{
	return F(cuArrayDestroy)(p);
}

static int variable(void **p)
{
	return F(cuModuleLoadData)((CUmodule *)p, with_variable);
}

static int expression(void **p)
{
	return F(cuModuleLoadData)((CUmodule *)p, with_expression);
}

static int constant(void **p)
{
	return F(cuModuleLoadData)((CUmodule *)p, with_constant);
}

static int code(void **p)
{
	return F(cuModuleLoadData)((CUmodule *)p, with_local);
}

static int give_module(void *p)
{
	return F(cuModuleUnload)(p);
}

static int context(void **p)
{
	int rc = F(cuCtxCreate_v2)((CUcontext *)p, 0, 0);

	return rc ? rc : (int)F(cuCtxSetCurrent)(ctx);
}

static int give_context(void *p)
{
	return F(cuCtxDestroy_v2)(p);
}

static int limit(CUlimit which, void **p)
{
	size_t now = 0;
	int rc = F(cuCtxGetLimit)(&now, which);

	*p = (void *)(size_t)which;
	return rc ? rc : (int)F(cuCtxSetLimit)(which, 2 * now);
}

static int heap(void **p)
{
	return limit(CU_LIMIT_MALLOC_HEAP_SIZE, p);
}

static int printing(void **p)
{
	return limit(CU_LIMIT_PRINTF_FIFO_SIZE, p);
}

static int stack(void **p)
{
	return limit(CU_LIMIT_STACK_SIZE, p);
}

static int give_limit(void *p)
{
	size_t now = 0;
	int rc = F(cuCtxGetLimit)(&now, (CUlimit)(size_t)p);

	return rc ? rc : (int)F(cuCtxSetLimit)((CUlimit)(size_t)p, now / 2);
}

static const struct {
	const char *name;
	int (*take)(void **p);
	int (*give)(void *p);
} calls[] = {
	{"linear", linear, give_linear},	 {"pitched", pitched, give_linear},
	{"ordered", ordered, give_linear},	 {"array", array, give_array},
	{"variable", variable, give_module},	 {"expression", expression, give_module},
	{"constant", constant, give_module},	 {"code", code, give_module},
	{"context", context, give_context},	 {"heap", heap, give_limit},
	{"printing", printing, give_limit},	 {"stack", stack, give_limit},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* Local memory of every thread that could be resident is part of the context: nothing to give back by hand. */
static int launch(void)
{
	CUdeviceptr out = 0;
	void *args[] = {&out};
	CUfunction f;
	CUmodule m;

	CALL(cuModuleLoadData, &m, with_local);
	CALL(cuModuleGetFunction, &f, m, "k");
	CALL(cuMemAlloc_v2, &out, 4);
	int rc = F(cuLaunchKernel)(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL);

	if (!rc)
		rc = F(cuCtxSynchronize)();
	printf("launch %d\n", rc);
	return 0;
}

static int hoard(unsigned k)
{
	static void *held[MOST];
	size_t before, after, total;
	unsigned n = 0;
	int rc = 0;

	CALL(cuMemGetInfo_v2, &before, &total);
	while (n < MOST && !(rc = calls[k].take(&held[n])))
		n++;
	if (n == MOST)
		return puts("never refused"), 1;
	if (rc != CUDA_ERROR_OUT_OF_MEMORY)
		return printf("refused with %d\n", rc), 1;
	for (unsigned i = n; i-- > 0;)
		if ((rc = calls[k].give(held[i])))
			return printf("giving back: %d\n", rc), 1;
	CALL(cuMemGetInfo_v2, &after, &total);
	if (after != before)
		return printf("%zu bytes free before, %zu after\n", before, after), 1;
	printf("refused %u\n", n);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "list";

	if (!strcmp(name, "list")) {
		for (unsigned k = 0; k < CALLS; k++)
			puts(calls[k].name);
		return 0;
	}
	ctx = load_open();
	if (!strcmp(name, "launch"))
		return launch();
	for (unsigned k = 0; k < CALLS; k++)
		if (!strcmp(name, calls[k].name))
			return hoard(k);
	return puts("no such call"), 2;
}
