/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tenant of the demo's first phase: keeps its queue full of equal units of work and counts them.
 *
 * usage: loop ROUNDS            run until SIGTERM; starts at SIGUSR1
 *        loop --calibrate US    print the ROUNDS for which one unit takes about US microseconds here
 *
 * Prints "ready", then every 100 ms "COMPLETED EMPTY_MS ELAPSED_MS", then "done COMPLETED" once the
 * device's own count of units and every thread's value have been found right; exit 1 if they are not.
 *
 * BATCHES batches of BATCH units are queued at all times; when the oldest is done a new one is added.
 * If the newest was done as well by then, the queue had run empty somewhere in between, and the whole
 * time since the previous look counts as empty.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cuda/cuda.h"

#define THREADS 64
#define BLOCKS 4
#define BATCH 32
#define BATCHES 12
#define CALIBRATE_ROUNDS 2000u
#define CALIBRATE_UNITS 40u
#define CALIBRATE_GOES 10u
#define REPORT_NS 100000000ull

extern const char ptx_loop[];

#define OK(call) must((call), #call)

struct work {
	CUfunction unit;
	CUdeviceptr out, done;
	CUevent end[BATCHES];
	unsigned rounds;
	uint64_t launched, completed;
};

static void must(CUresult r, const char *call)
{
	const char *name = "?";

	if (r == CUDA_SUCCESS)
		return;
	cuGetErrorName(r, &name);
	fprintf(stderr, "loop: %s: %s\n", call, name);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void launch(struct work *w)
{
	void *args[] = {&w->out, &w->done, &w->rounds};

	OK(cuLaunchKernel(w->unit, BLOCKS, 1, 1, THREADS, 1, 1, 0, NULL, args, NULL));
	w->launched++;
}

static void launch_batch(struct work *w, unsigned slot)
{
	for (unsigned i = 0; i < BATCH; i++)
		launch(w);
	OK(cuEventRecord(w->end[slot], NULL));
}

static void start(struct work *w, unsigned rounds)
{
	CUdevice dev;
	CUcontext ctx;
	CUmodule mod;

	memset(w, 0, sizeof *w);
	w->rounds = rounds;
	OK(cuInit(0));
	OK(cuDeviceGet(&dev, 0));
	OK(cuCtxCreate(&ctx, 0, dev));
	OK(cuModuleLoadData(&mod, ptx_loop));
	OK(cuModuleGetFunction(&w->unit, mod, "unit"));
	OK(cuMemAlloc(&w->out, THREADS * BLOCKS * sizeof(uint32_t)));
	OK(cuMemAlloc(&w->done, sizeof(uint64_t)));
	OK(cuMemsetD8(w->out, 0, THREADS * BLOCKS * sizeof(uint32_t)));
	OK(cuMemsetD8(w->done, 0, sizeof(uint64_t)));
	for (unsigned i = 0; i < BATCHES; i++)
		OK(cuEventCreate(&w->end[i], CU_EVENT_DEFAULT));
	launch(w); /* the first launch compiles */
	OK(cuCtxSynchronize());
	w->completed = w->launched;
}

/* The n-fold step x -> a x + c is itself such a step. */
static uint32_t expected(uint64_t n)
{
	uint32_t a = 1664525, c = 1013904223, rc = 0;

	for (; n; n >>= 1) {
		if (n & 1)
			rc = a * rc + c;
		c = a * c + c;
		a *= a;
	}
	return rc; /* from 0 */
}

static int check(struct work *w)
{
	uint32_t out[THREADS * BLOCKS], want = expected(w->launched * w->rounds);
	uint64_t done;

	OK(cuCtxSynchronize());
	OK(cuMemcpyDtoH(&done, w->done, sizeof done));
	OK(cuMemcpyDtoH(out, w->out, sizeof out));
	for (unsigned i = 0; i < THREADS * BLOCKS; i++) {
		if (out[i] != want || done != w->launched) {
			fprintf(stderr, "loop: launched %llu units, the device counted %llu; thread %u has %u, not %u\n",
				(unsigned long long)w->launched, (unsigned long long)done, i, out[i], want);
			return 1;
		}
	}
	printf("done %llu\n", (unsigned long long)w->launched);
	return 0;
}

/* The best of several goes: what disturbs a go only ever makes it longer. */
static int calibrate(double us)
{
	struct work w;
	uint64_t best = UINT64_MAX;

	start(&w, CALIBRATE_ROUNDS);
	for (unsigned go = 0; go < CALIBRATE_GOES; go++) {
		uint64_t t0 = now_ns(), t;

		for (unsigned i = 0; i < CALIBRATE_UNITS; i++)
			launch(&w);
		OK(cuCtxSynchronize());
		t = now_ns() - t0;
		best = t < best ? t : best;
	}
	printf("%u\n", (unsigned)(CALIBRATE_ROUNDS * us * CALIBRATE_UNITS * 1e3 / (double)best) + 1);
	return check(&w) ? 1 : 0;
}

static int run(struct work *w, sigset_t *signals)
{
	uint64_t begin = now_ns(), looked = begin, reported = begin, empty = 0;
	struct timespec none = {0};
	unsigned oldest = 0;

	for (unsigned i = 0; i < BATCHES; i++)
		launch_batch(w, i);
	while (sigtimedwait(signals, NULL, &none) != SIGTERM) {
		unsigned newest = (oldest + BATCHES - 1) % BATCHES;
		uint64_t t;
		int ran_empty;

		OK(cuEventSynchronize(w->end[oldest]));
		ran_empty = cuEventQuery(w->end[newest]) == CUDA_SUCCESS;
		launch_batch(w, oldest);
		oldest = (oldest + 1) % BATCHES;
		w->completed += BATCH;
		t = now_ns();
		if (ran_empty)
			empty += t - looked;
		looked = t;
		if (t - reported >= REPORT_NS) {
			printf("%llu %.1f %.1f\n", (unsigned long long)w->completed, empty / 1e6, (t - begin) / 1e6);
			fflush(stdout);
			reported = t;
		}
	}
	return check(w);
}

int main(int argc, char **argv)
{
	sigset_t signals;
	struct work w;
	int sig;

	if (argc == 3 && strcmp(argv[1], "--calibrate") == 0)
		return calibrate(atof(argv[2]));
	if (argc != 2 || atoi(argv[1]) < 1) {
		fprintf(stderr, "usage: loop ROUNDS | loop --calibrate US\n");
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	start(&w, atoi(argv[1]));
	printf("ready\n");
	fflush(stdout);
	if (sigwait(&signals, &sig) || sig != SIGUSR1)
		return 1;
	return run(&w, &signals);
}
