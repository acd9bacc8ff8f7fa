/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health of every GPU of the machine as NVML tells it, read again and again. What NVML does not say, refuses, or says
 * in a number that cannot be is absent (-1, an empty text), never a number. A GPU is its UUID: NVML's indices change when
 * one is gone. One that was there and no longer answers stays in the list where it was, lost. What is known only over
 * more than one process that reads is history.h's.
 */
#ifndef VGPU_NVML_HEALTH_H
#define VGPU_NVML_HEALTH_H
#include "nvml/call.h"

enum gpu_value {
#define V(name, key, unit, most, what) GPU_##name,
#include "nvml/values.def"
#undef V
	GPU_VALUES
};

struct gpu_value_def {
	const char *key;
	double unit;
	int64_t most;
	const char *what;
};
extern const struct gpu_value_def gpu_values[GPU_VALUES];

#define GPU_INSTANCES 8u   /* MIG has at most 7 */
#define GPU_PROCESSES 32u /* that are listed; all are counted */

struct gpu_instance {
	char uuid[NV_TEXT], name[NV_TEXT];
	int64_t gpu_instance, compute_instance, memory, used; /* -1: absent */
};

struct gpu_process {
	int64_t pid, memory, gpu_instance, compute_instance; /* -1: absent */
};

struct gpu {
	char name[NV_TEXT], uuid[NV_TEXT], bus_id[32], serial[32];
	int64_t value[GPU_VALUES]; /* as NVML counts it; -1: absent */
	int64_t peers; /* bit n: NVLink joins GPU n to it, directly or through a switch; -1: absent */
	uint32_t instances, processes;
	struct gpu_instance instance[GPU_INSTANCES];
	struct gpu_process process[GPU_PROCESSES];
};

struct gpu_sample {
	int rc;		   /* 0; -ENOENT: no NVML here; > 0: NVML's error */
	uint32_t gpus;
	uint64_t failures; /* calls that failed since NVML was opened */
	char driver[64];
	struct gpu gpu[NV_GPUS_MAX];
};

struct gpu_reader;
/* NULL: out of memory. NVML is opened by the first read. */
struct gpu_reader *gpu_reader_new(void);
void gpu_reader_free(struct gpu_reader *r);
/* The sample is the reader's, valid until the next read. */
const struct gpu_sample *gpu_read(struct gpu_reader *r);

/* Nothing is known of it any more but who it is. */
void gpu_lose(struct gpu *g);
/* May a program's own mistake make the driver report this error, so that it says nothing of the GPU? */
bool gpu_xid_of_program(uint64_t xid);

/* Is it what gpu_read() could have made? For what another process has sent. */
bool gpu_plausible(const struct gpu *g);
/* "no libnvidia-ml.so.1", "NVML: the driver is not loaded", ...; for rc of a sample. */
const char *gpu_error_text(int rc);
/* The i-th thing that is wrong with this GPU, in words; NULL: no more. */
const char *gpu_problem(const struct gpu *g, unsigned i);
#endif
