/* SPDX-License-Identifier: Apache-2.0 */
/* What a program sees when its context fails or its executor dies: one error, at once, for ever;
 * never a hang. Each case runs in a process of its own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "cuda/cuda.h"
#include "harness.h"

static pid_t server;

#define MUST(call, want)                                                              \
	do {                                                                          \
		int rc_ = (call);                                                     \
		if (rc_ != (want)) {                                                  \
			fprintf(stderr, "%s: %d, want %d\n", #call, rc_, (int)(want)); \
			_exit(1);                                                     \
		}                                                                     \
	} while (0)

static CUfunction begin(const char *name)
{
	CUcontext ctx;
	CUmodule mod;
	CUfunction f;

	alarm(20);
	MUST(cuInit(0), 0);
	MUST(cuCtxCreate_v2(&ctx, 0, 0), 0);
	MUST(cuModuleLoadData(&mod, "fault\nbusy 8\nnone\n"), 0);
	MUST(cuModuleGetFunction(&f, mod, name), 0);
	return f;
}

static void faulting(void)
{
	CUfunction f = begin("fault");
	CUdeviceptr p;
	char b[8] = "";
	int n;

	MUST(cuMemAlloc_v2(&p, 64), 0);
	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), 0);
	MUST(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	MUST(cuMemAlloc_v2(&p, 64), CUDA_ERROR_ILLEGAL_ADDRESS);
	MUST(cuMemcpyDtoH_v2(b, p, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
	MUST(cuDeviceGetCount(&n), 0); /* questions still have answers */
}

static pid_t executor_of(pid_t monitor_parent)
{
	char path[64], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)monitor_parent, (int)monitor_parent);
	f = fopen(path, "r");
	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	return (pid_t)atoi(text);
}

static void killed(void)
{
	CUfunction f = begin("busy");
	uint64_t ns = 10000000000ull;
	void *args[] = { &ns };
	CUdeviceptr p;

	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), 0);
	kill(executor_of(executor_of(server)), SIGKILL);
	MUST(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
	MUST(cuMemAlloc_v2(&p, 64), CUDA_ERROR_LAUNCH_FAILED);
	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), CUDA_ERROR_LAUNCH_FAILED);
}

static void killed_under_load(void)
{
	CUfunction f = begin("none");
	int rc = 0;

	kill(executor_of(executor_of(server)), SIGKILL);
	while (!rc) /* fills the ring nobody empties any more */
		rc = cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
	MUST(rc, CUDA_ERROR_LAUNCH_FAILED);
}

static void host_gone(void)
{
	CUfunction f = begin("busy");
	uint64_t ns = 10000000000ull;
	void *args[] = { &ns };

	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), 0);
	kill(executor_of(server), SIGKILL);
	MUST(cuCtxSynchronize(), CUDA_ERROR_DEVICE_UNAVAILABLE);
}

static void nobody_there(void)
{
	setenv("VGPU_SOCKET", "/nonexistent/vgpu.sock", 1);
	MUST(cuInit(0), CUDA_ERROR_NO_DEVICE);
}

static void in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	/* A server of its own, so that its one connection is ours. */
	server = harness_serve(getenv("VGPU_SOCKET"), getenv("VGPU_TEST_DRIVER"));
	assert_true(server > 0);
	pid = fork();
	if (pid == 0) {
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	assert_int_equal(status, 0);
}

#define CASE(name)                          \
	static void test_##name(void **state) \
	{                                   \
		in_child(name);             \
	}
CASE(faulting)
CASE(killed)
CASE(killed_under_load)
CASE(host_gone)
CASE(nobody_there)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faulting),  cmocka_unit_test(test_killed),	 cmocka_unit_test(test_killed_under_load),
		cmocka_unit_test(test_host_gone), cmocka_unit_test(test_nobody_there),
	};
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/tmp/vgpu-death-%d.sock", (int)getpid());
	setenv("VGPU_SOCKET", path, 1);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
