/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML in a process of its own, because a driver that hangs takes its caller with it, into a state where not even
 * SIGKILL ends it. The child reads at every period and sends each sample; the parent waits with a deadline. A child
 * that is stuck is given up; no other is started before it has been reaped, so that at most one process is ever stuck.
 */
#ifndef VGPU_NVML_CHILD_H
#define VGPU_NVML_CHILD_H
#include "nvml/health.h"
#include <sys/types.h>

struct gpu_child {
	pid_t pid; /* 0: none */
	int fd;	   /* -1: given up */
};

/* argv: the program to start, with the socket as its standard input, which then calls gpu_child_main(). NULL: a fork
 * does it, for a caller without threads, period 0. -errno. */
int gpu_child_start(struct gpu_child *c, char *const argv[]);
/* The next sample. 0; -ETIMEDOUT; -EPIPE: it has ended; -EPROTO: not what a child sends. */
int gpu_child_read(struct gpu_child *c, int timeout_ms, struct gpu_sample *s);
/* Kills it. false: it cannot be reaped yet; call again. */
bool gpu_child_end(struct gpu_child *c);
/* Reads and sends until the other end of fd closes; period 0: once. The exit status. */
int gpu_child_main(int fd, int period_ms);
/* One sample by a forked child, within the time. */
void gpu_sample_once(struct gpu_sample *s, int timeout_ms);
#endif
