/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: bench_path [--null] serve            answers commands from standard input
 *        bench_path gpu LAUNCHES | steps STEPS | pingpong CALLS     one whole program
 *        bench_path first NS                  ms from CLOCK_MONOTONIC = NS to the first kernel's result
 *        bench_path spawn N                   starts `first` N times, one after the other
 */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include "path.h"

extern char **environ;

/* sm_50: what every device of ours takes. work: `loops` steps of a linear congruence from the thread's number. */
static const char ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry empty(.param .u64 p)\n{\nret;\n}\n"
	".visible .entry work(.param .u64 out, .param .u32 loops)\n{\n"
	".reg .u32 %r<8>;\n.reg .u64 %rd<5>;\n.reg .pred %p<2>;\n"
	"ld.param.u64 %rd1, [out];\nld.param.u32 %r1, [loops];\ncvta.to.global.u64 %rd2, %rd1;\n"
	"mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.u32 %r5, %r2, %r3, %r4;\n"
	"mul.wide.u32 %rd3, %r5, 4;\nadd.u64 %rd4, %rd2, %rd3;\nmov.u32 %r6, 0;\n"
	"again:\nmad.lo.u32 %r5, %r5, 1664525, 1013904223;\nadd.u32 %r6, %r6, 1;\n"
	"setp.lt.u32 %p1, %r6, %r1;\n@%p1 bra again;\n"
	"st.global.u32 [%rd4], %r5;\nret;\n}\n";
static const char null_module[] = "empty 8\nwork 8 4\n";

void must(int rc, const char *what)
{
	const char *name = NULL;

	if (!rc)
		return;
	cuGetErrorName((CUresult)rc, &name);
	fprintf(stderr, "bench_path: %s: %s (%d)\n", what, name ? name : "?", rc);
	exit(1);
}

double now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double at_share(const double *sorted, size_t n, double share)
{
	size_t i = (size_t)(share * (double)n);

	return sorted[i < n ? i : n - 1];
}

double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return at_share(v, n, 0.5);
}

void bench_open(struct bench *b)
{
	CUdevice dev;

	must(cuInit(0), "cuInit");
	must(cuDeviceGet(&dev, 0), "cuDeviceGet");
	must(cuDevicePrimaryCtxRetain(&b->ctx, dev), "cuDevicePrimaryCtxRetain");
	must(cuCtxSetCurrent(b->ctx), "cuCtxSetCurrent");
	must(cuModuleLoadData(&b->module, b->null_driver ? null_module : ptx), "cuModuleLoadData");
	must(cuModuleGetFunction(&b->empty, b->module, "empty"), "cuModuleGetFunction");
	must(cuModuleGetFunction(&b->work, b->module, "work"), "cuModuleGetFunction");
	must(cuMemAlloc_v2(&b->out, WORK_THREADS * 4), "cuMemAlloc");
}

void bench_check(struct bench *b)
{
	uint32_t loops = 3, got[WORK_THREADS];
	void *args[] = { &b->out, &loops };

	must(cuLaunchKernel(b->work, WORK_BLOCKS, 1, 1, WORK_BLOCK, 1, 1, 0, NULL, args, NULL), "cuLaunchKernel");
	must(cuMemcpyDtoH_v2(got, b->out, sizeof(got)), "cuMemcpyDtoH");
	for (uint32_t i = 0; i < WORK_THREADS && !b->null_driver; i++) {
		uint32_t want = i;

		for (uint32_t k = 0; k < loops; k++)
			want = want * 1664525u + 1013904223u;
		if (got[i] != want) {
			fprintf(stderr, "bench_path: thread %u: %u instead of %u\n", i, got[i], want);
			exit(1);
		}
	}
}

static void first(struct bench *b, double since)
{
	bench_open(b);
	bench_check(b);
	printf("ok %.3f\n", (now_ns(CLOCK_MONOTONIC) - since) / 1e6);
}

static void spawn(char *self, int n)
{
	for (int i = 0; i < n; i++) {
		char word[] = "first", since[32], *argv[] = { self, word, since, NULL };
		int status;
		pid_t pid;

		snprintf(since, sizeof(since), "%.0f", now_ns(CLOCK_MONOTONIC));
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) || waitpid(pid, &status, 0) < 0 || status) {
			fprintf(stderr, "bench_path: a started program failed\n");
			exit(1);
		}
	}
}

static const struct command {
	const char *name;
	int args;
	void (*run)(struct bench *b, const long *a);
} commands[] = {
	{ "sync", 1, cmd_sync },	     /* CALLS -> p50 us, p99 us, growth of the executor's counter */
	{ "sync_sleep", 2, cmd_sync_sleep }, /* CALLS PAUSE_US -> p50 us */
	{ "eventfd", 2, cmd_eventfd },	     /* TRIPS PAUSE_US -> p50 us */
	{ "launch_cpu", 1, cmd_launch_cpu }, /* BATCHES -> ns */
	{ "launch_rate", 1, cmd_launch_rate }, /* MS -> launches per second */
	{ "copy", 4, cmd_copy },	     /* TO_DEVICE PINNED BYTES TIMES -> share of memcpy, GB/s, GB/s of memcpy */
	{ "latency", 2, cmd_latency },	     /* BYTES TIMES -> p50 us up, p50 us down */
	{ "gpu", 1, cmd_gpu },		     /* LAUNCHES -> ms */
	{ "units", 1, cmd_units },	     /* LAUNCHES -> ms */
	{ "steps", 1, cmd_steps },	     /* STEPS -> ms */
	{ "pingpong", 1, cmd_pingpong },     /* CALLS -> ms */
};

static bool run_command(struct bench *b, const char *name, char **words, int n)
{
	long a[4] = { 0 };

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name) && n == commands[i].args) {
			for (int k = 0; k < n; k++)
				a[k] = strtol(words[k], NULL, 0);
			commands[i].run(b, a);
			fflush(stdout);
			return true;
		}
	return false;
}

static void serve(struct bench *b)
{
	char line[256], *word[8];

	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		int n = 0;

		for (char *w = strtok(line, " \n"); w && n < 8; w = strtok(NULL, " \n"))
			word[n++] = w;
		if (!n || !run_command(b, word[0], word + 1, n - 1)) {
			fprintf(stderr, "bench_path: no such command: %s\n", n ? word[0] : "");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static struct bench b;

	b.null_driver = argc > 1 && !strcmp(argv[1], "--null");
	argv += b.null_driver;
	argc -= b.null_driver;
	if (argc == 2 && !strcmp(argv[1], "serve")) {
		peer_start(&b);
		bench_open(&b);
		bench_check(&b);
		serve(&b);
	} else if (argc == 3 && !strcmp(argv[1], "first")) {
		first(&b, strtod(argv[2], NULL));
	} else if (argc == 3 && !strcmp(argv[1], "spawn")) {
		spawn(argv[0], atoi(argv[2]));
	} else if (argc == 3) {
		bench_open(&b);
		bench_check(&b);
		if (!run_command(&b, argv[1], argv + 2, 1))
			return 2;
	} else {
		fputs("usage: bench_path [--null] serve | COMMAND NUMBER\n", stderr);
		return 2;
	}
	return 0;
}
