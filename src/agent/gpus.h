/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's GPUs as NVML tells it, once a second. A thread waits for what a child process reads (nvml/child.h);
 * pages show the last sample. So a driver that hangs costs its metrics and nothing else.
 */
#ifndef VGPU_AGENT_GPUS_H
#define VGPU_AGENT_GPUS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define GPUS_CHILD_OPTION "sample-gpus" /* the program started again with this is the child */

int gpus_start(void);
void gpus_stop(void);
/* The child: never returns. */
_Noreturn void gpus_child(void);

/* Metrics of NVML itself and of each GPU; the families of what no GPU has are left out. */
void gpus_metrics(FILE *out, bool open);
/* Why the GPU of this UUID, or that of the MIG device, is to be doubted: an error of the hardware since gpus_believed().
 * False: none, or not known. */
bool gpus_doubted(const char *uuid, char *why, size_t size);
/* What made it doubtful has been looked into. */
void gpus_believed(const char *uuid);
/* As NVML said it last; "" if it has not. */
void gpus_driver(char *version, size_t size);
/* {nvml: {answers, error, ...}, gpus: [...]}: a new reference. */
json_t *gpus_page(void);
/* What is wrong with GPUs, appended to an array of {what, text}. No NVML, or no driver loaded, is nothing wrong. */
void gpus_add_problems(json_t *problems);
#endif
