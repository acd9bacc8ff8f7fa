/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the machine's GPUs over many samples, and over every process that made them: NVML's process is
 * replaced when the driver hangs, and a new one does not know who is gone, nor what the one before had counted. A GPU is
 * its UUID (its bus address, where no UUID is told) and keeps the place it had first.
 */
#ifndef VGPU_NVML_HISTORY_H
#define VGPU_NVML_HISTORY_H
#include "nvml/health.h"

#define GPU_XID_RECENT_MS (10 * 60 * 1000) /* an error of the hardware is a problem for so long; see values.def */

/* All zero at first. */
struct gpu_history {
	struct gpu_sample s; /* the last sample, completed; peers are not known */
	struct gpu_past {
		bool seen, watched; /* watched: its errors were counted, at some time */
		int64_t xids, hardware_xids, last_xid, last_hardware_xid, links;
		int64_t told_xids, told_hardware_xids; /* by this process */
		int64_t at_ms;			       /* of the last of the hardware; 0: none */
	} past[NV_GPUS_MAX];
	uint64_t told_failures;
};

/* Another process counts from 0. */
void gpu_history_restart(struct gpu_history *h);
/* A sample that succeeded, into h->s. now_ms: monotonic. */
void gpu_history_take(struct gpu_history *h, const struct gpu_sample *fresh, int64_t now_ms);
#endif
