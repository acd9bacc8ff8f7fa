/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and launches: what each costs its caller, awake and asleep. */
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "path.h"
#include "wire/geometry.h"

#define BATCH 500 /* launches that fit into the work ring, so the caller never waits for room */

/* The channel is mapped in this process; its first page is the executor's, with the counter. */
static const struct vgpu_ch_host *find_channel(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long long from, to, off;
	char line[512], how[8], *found = NULL;

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx %7s %llx", &from, &to, how, &off) == 4 && how[1] == 'w' && how[3] == 's' &&
		    strstr(line, "memfd:") && off <= VGPU_CHANNEL_OFF &&
		    off + (to - from) >= VGPU_CHANNEL_OFF + VGPU_CHANNEL_STRIDE)
			found = (char *)(uintptr_t)from + (VGPU_CHANNEL_OFF - off);
	if (f)
		fclose(f);
	return (const struct vgpu_ch_host *)(void *)found;
}

uint64_t executor_calls(void)
{
	static const struct vgpu_ch_host *host;

	if (!host)
		host = find_channel();
	return host ? __atomic_load_n(&host->calls, __ATOMIC_ACQUIRE) : 0;
}

/* The counter moves just after the answer: given a moment, has it grown by n? */
static uint64_t growth(uint64_t before, uint64_t n)
{
	double until = now_ns(CLOCK_MONOTONIC) + 1e8;

	while (executor_calls() - before < n && now_ns(CLOCK_MONOTONIC) < until)
		usleep(100);
	return executor_calls() - before;
}

static void pause_us(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

static double one_call(void)
{
	size_t f, total;
	double t = now_ns(CLOCK_MONOTONIC);

	must(cuMemGetInfo_v2(&f, &total), "cuMemGetInfo");
	return now_ns(CLOCK_MONOTONIC) - t;
}

static double *room(size_t n)
{
	double *v = calloc(n, sizeof(*v));

	must(v ? 0 : CUDA_ERROR_OUT_OF_MEMORY, "memory for the samples");
	return v;
}

void cmd_sync(struct bench *b, const long *a)
{
	double *t = room((size_t)a[0]), p50;
	uint64_t before;

	for (int i = 0; i < 200; i++)
		one_call();
	growth(executor_calls(), 0);
	usleep(2000);
	before = executor_calls();
	for (long i = 0; i < a[0]; i++)
		t[i] = one_call();
	p50 = median(t, (size_t)a[0]) / 1e3;
	printf("ok %.3f %.3f %llu\n", p50, at_share(t, (size_t)a[0], 0.99) / 1e3,
	       (unsigned long long)growth(before, (uint64_t)a[0]));
	free(t);
}

void cmd_sync_sleep(struct bench *b, const long *a)
{
	double *t = room((size_t)a[0]);

	for (long i = 0; i < a[0]; i++) {
		pause_us(a[1]);
		t[i] = one_call();
	}
	printf("ok %.3f\n", median(t, (size_t)a[0]) / 1e3);
	free(t);
}

/* ---- the yardstick: two processes, two eventfds, nothing else */

static void echo(int from, int to)
{
	uint64_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(from, &n, sizeof(n)) == sizeof(n))
		if (write(to, &n, sizeof(n)) < 0)
			break;
	_exit(0);
}

void peer_start(struct bench *b)
{
	b->peer_to = eventfd(0, EFD_CLOEXEC);
	b->peer_from = eventfd(0, EFD_CLOEXEC);
	if (b->peer_to < 0 || b->peer_from < 0) {
		perror("eventfd");
		exit(1);
	}
	if (fork() == 0)
		echo(b->peer_to, b->peer_from);
}

void cmd_eventfd(struct bench *b, const long *a)
{
	double *t = room((size_t)a[0]);
	uint64_t n = 1;

	for (long i = 0; i < a[0]; i++) {
		pause_us(a[1]);
		t[i] = now_ns(CLOCK_MONOTONIC);
		if (write(b->peer_to, &n, sizeof(n)) < 0 || read(b->peer_from, &n, sizeof(n)) < 0)
			must(CUDA_ERROR_OPERATING_SYSTEM, "eventfd");
		t[i] = now_ns(CLOCK_MONOTONIC) - t[i];
	}
	printf("ok %.3f\n", median(t, (size_t)a[0]) / 1e3);
	free(t);
}

/* ---- launches */

static void launch(struct bench *b, CUfunction f, unsigned grid, unsigned block, void **args)
{
	must(cuLaunchKernel(f, grid, 1, 1, block, 1, 1, 0, NULL, args, NULL), "cuLaunchKernel");
}

void cmd_launch_cpu(struct bench *b, const long *a)
{
	double *t = room((size_t)a[0]);
	void *args[] = { &b->out };

	for (long i = 0; i < a[0]; i++) {
		double cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);

		for (int k = 0; k < BATCH; k++)
			launch(b, b->empty, 1, 1, args);
		t[i] = (now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / BATCH;
		must(cuCtxSynchronize(), "cuCtxSynchronize");
	}
	printf("ok %.1f\n", median(t, (size_t)a[0]));
	free(t);
}

void cmd_launch_rate(struct bench *b, const long *a)
{
	double start = now_ns(CLOCK_MONOTONIC), until = start + (double)a[0] * 1e6;
	void *args[] = { &b->out };
	double n = 0;

	while (now_ns(CLOCK_MONOTONIC) < until) {
		for (int k = 0; k < BATCH; k++)
			launch(b, b->empty, 1, 1, args);
		n += BATCH;
	}
	must(cuCtxSynchronize(), "cuCtxSynchronize");
	printf("ok %.0f\n", n / (now_ns(CLOCK_MONOTONIC) - start) * 1e9);
}
