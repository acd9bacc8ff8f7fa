/* SPDX-License-Identifier: Apache-2.0 */
/* A vgpud of our own, for one run, in a temporary directory. */
#ifndef VGPU_RUN_PRIVATE_H
#define VGPU_RUN_PRIVATE_H
#include <sys/types.h>
#include "base/err.h"

struct private_vgpud {
	pid_t pid;
	char dir[64], run_dir[80];
};

/* Started, ready and with the tenant registered; on error nothing is left behind. */
struct vgpu_err *private_start(struct private_vgpud *p, const char *tenant);
/* Ended, reaped, directory removed. */
void private_end(struct private_vgpud *p);
#endif
