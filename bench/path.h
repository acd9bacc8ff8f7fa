/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_path: one CUDA driver-API program that measures, on the same binary, the path through an
 * executor and the direct one. Which of the two it is, LD_LIBRARY_PATH decides (vgpu-run [--direct]).
 *
 * It sets up once, then answers commands, one line in, one line "ok NUMBER..." out, so that a runner
 * can hold one process of each kind and alternate between them within microseconds.
 */
#ifndef BENCH_PATH_H
#define BENCH_PATH_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cuda/cuda.h"

struct bench {
	bool null_driver; /* modules are the null driver's text, kernels compute nothing */
	CUcontext ctx;
	CUmodule module;
	CUfunction empty, work; /* empty(u64), work(u64 out, u32 loops) */
	CUdeviceptr out;	/* WORK_THREADS u32 */
	int peer_to, peer_from; /* eventfds of the process that echoes, see peer_start() */
};

#define WORK_BLOCKS 32u
#define WORK_BLOCK 128u
#define WORK_THREADS (WORK_BLOCKS * WORK_BLOCK)

/* Ends the program with what failed; a benchmark with an error has no figures. */
void must(int rc, const char *what);
double now_ns(clockid_t clock);
double median(double *v, size_t n); /* sorts v */
double at_share(const double *sorted, size_t n, double share);

void bench_open(struct bench *b);
/* One launch of work(), the result compared with the same computed here. */
void bench_check(struct bench *b);

/* Entries this process's executor says it has executed; 0 where there is no executor. */
uint64_t executor_calls(void);

/* Each reads its arguments from a[] and prints one line. */
void cmd_sync(struct bench *b, const long *a);
void cmd_sync_sleep(struct bench *b, const long *a);
void cmd_eventfd(struct bench *b, const long *a);
void cmd_launch_cpu(struct bench *b, const long *a);
void cmd_launch_rate(struct bench *b, const long *a);
void cmd_copy(struct bench *b, const long *a);
void cmd_latency(struct bench *b, const long *a);
void cmd_gpu(struct bench *b, const long *a);
void cmd_units(struct bench *b, const long *a);
void cmd_steps(struct bench *b, const long *a);
void cmd_pingpong(struct bench *b, const long *a);

/* Forks the process that answers cmd_eventfd(); before any CUDA call. */
void peer_start(struct bench *b);
#endif
