/* SPDX-License-Identifier: Apache-2.0 */
#include "conf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

static jmp_buf case_end;
static int case_failures;
static const char *case_skipped;

static const char *result_name(CUresult r)
{
	const char *name = NULL;
	return cuGetErrorName(r, &name) == CUDA_SUCCESS && name ? name : "?";
}

void conf_note(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	printf("# ");
	vprintf(format, ap);
	printf("\n");
	va_end(ap);
}

bool conf_is(CUresult got, CUresult want, const char *expr, const char *file, int line)
{
	if (got == want)
		return true;
	__atomic_fetch_add(&case_failures, 1, __ATOMIC_RELAXED);
	conf_note("%s:%d: %s gave %d %s, not %d %s", file, line, expr, got, result_name(got), want,
		  result_name(want));
	return false;
}

bool conf_is_either(CUresult got, CUresult a, CUresult b, const char *expr, const char *file, int line)
{
	return got == b || conf_is(got, a, expr, file, line);
}

void conf_ok(CUresult got, const char *expr, const char *file, int line)
{
	if (!conf_is(got, CUDA_SUCCESS, expr, file, line))
		longjmp(case_end, 1);
}

bool conf_true(bool cond, const char *expr, const char *file, int line)
{
	if (!cond) {
		__atomic_fetch_add(&case_failures, 1, __ATOMIC_RELAXED);
		conf_note("%s:%d: not so: %s", file, line, expr);
	}
	return cond;
}

bool conf_eq(uint64_t got, uint64_t want, const char *expr, const char *file, int line)
{
	if (got == want)
		return true;
	__atomic_fetch_add(&case_failures, 1, __ATOMIC_RELAXED);
	conf_note("%s:%d: %s is %llu (0x%llx), not %llu (0x%llx)", file, line, expr, (unsigned long long)got,
		  (unsigned long long)got, (unsigned long long)want, (unsigned long long)want);
	return false;
}

bool conf_same(const void *got, const void *want, size_t bytes, const char *expr, const char *file, int line)
{
	const uint8_t *g = got, *w = want;
	size_t first = bytes, differ = 0;
	for (size_t i = 0; i < bytes; i++)
		if (g[i] != w[i]) {
			first = first == bytes ? i : first;
			differ++;
		}
	if (!differ)
		return true;
	__atomic_fetch_add(&case_failures, 1, __ATOMIC_RELAXED);
	conf_note("%s:%d: %s: %zu of %zu bytes differ, the first at %zu: %02x, not %02x", file, line, expr, differ,
		  bytes, first, g[first], w[first]);
	return false;
}

void conf_not_here(const char *why)
{
	case_skipped = why;
	longjmp(case_end, 1);
}

static int run_here(const struct conf_case *c)
{
	case_failures = 0;
	case_skipped = NULL;
	if (setjmp(case_end) == 0)
		c->run();
	if (case_skipped && !case_failures)
		conf_note("%s: not run further: %s", c->name, case_skipped);
	return case_failures;
}

static int run_in_child(const struct conf_case *c)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	if (pid == 0) {
		int failures = run_here(c);
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	int status;
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFSIGNALED(status))
		conf_note("%s: killed by signal %d", c->name, WTERMSIG(status));
	return status != 0;
}

int conf_run(const struct conf_case *cases, size_t n)
{
	int failed = 0;
	setvbuf(stdout, NULL, _IOLBF, 0); /* what was seen so far must survive a crash */
	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++) {
		int bad = cases[i].own_process ? run_in_child(&cases[i]) : run_here(&cases[i]);
		printf("%sok %zu - %s\n", bad ? "not " : "", i + 1, cases[i].name);
		failed += bad != 0;
	}
	printf("# %zu of %zu ok\n", n - failed, n);
	return failed ? 1 : 0;
}

CUdevice conf_device(void)
{
	CUdevice d = -1;
	OK(cuInit(0));
	OK(cuDeviceGet(&d, 0));
	return d;
}

CUcontext conf_context(void)
{
	static CUcontext context;
	if (!context) {
		CUdevice d = conf_device();
		OK(cuDevicePrimaryCtxRetain(&context, d));
	}
	OK(cuCtxSetCurrent(context));
	return context;
}

CUmodule conf_module(const char *ptx)
{
	CUmodule m = NULL;
	char log[2048] = "";
	CUjit_option keys[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)sizeof(log)};
	conf_context();
	CUresult r = cuModuleLoadDataEx(&m, ptx, 2, keys, values);
	if (r != CUDA_SUCCESS)
		conf_note("the module does not load: %s", log);
	OK(r);
	return m;
}

CUfunction conf_function(CUmodule m, const char *name)
{
	CUfunction f = NULL;
	CUresult r = cuModuleGetFunction(&f, m, name);
	if (r != CUDA_SUCCESS)
		conf_note("function %s", name);
	OK(r);
	return f;
}

CUdeviceptr conf_alloc(size_t bytes)
{
	CUdeviceptr p = 0;
	OK(cuMemAlloc(&p, bytes));
	return p;
}

CUdeviceptr conf_upload(const void *data, size_t bytes)
{
	CUdeviceptr p = conf_alloc(bytes);
	OK(cuMemcpyHtoD(p, data, bytes));
	return p;
}

uint64_t conf_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull); /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
