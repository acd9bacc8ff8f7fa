/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NVIDIA's management library says, asked in a child process with a deadline: the library may
 * be absent, of the wrong version, or hang in a driver that hangs. The child's answer is one JSON
 * text, kept as derived evidence "nvml:", so bundles carry it.
 */
#ifndef DOCTOR_NVML_H
#define DOCTOR_NVML_H

#include "evidence.h"

#define NVML_GPUS  32
#define NVML_VGPUS 256 /* of all GPUs together */

struct nvml_vgpu {
	unsigned id;
	int gpu;	  /* index */
	int licensed;	  /* 1, 0, -1 unknown */
	char driver[32];  /* the guest's, "" unknown or not loaded */
};

struct nvml_gpu {
	char bdf[32]; /* as sysfs spells it */
	char name[96], uuid[64], vbios[32], serial[32], part[32], inforom[32];
	int64_t memory;  /* bytes, -1 unknown */
	int64_t reserved, used;
	int64_t bar1;    /* bytes, -1 unknown */
	int mig, mig_pending; /* 1 on, 0 off, -1 unknown or not supported */
	int instances;   /* GPU instances, -1 unknown */
	int ecc, persistence, virt_mode, links_up, links;
	int fabric_state; /* nvmlGpuFabricInfo: 0 not supported, 1 not started, 2 in progress, 3 done; -1 */
	int fabric_status; /* nvmlReturn_t, -1 unknown */
	int module;	   /* number on the baseboard, which Fabric Manager calls its physical id; -1 unknown */
};

struct nvml {
	const struct ev_item *src;
	bool valid;
	char driver[64], library[64];
	int cc_feature; /* 1 on, 0 off, -1 unknown */
	struct nvml_gpu gpu[NVML_GPUS];
	size_t n;
	struct nvml_vgpu vgpu[NVML_VGPUS];
	size_t nvgpu;
};

void nvml_collect(struct nvml *n, struct ev *ev);
void nvml_free(struct nvml *n);
/* Reads the child's answer; false when it is none. */
bool nvml_parse(struct nvml *n, const char *json, size_t len);
/* NULL: NVML says nothing about this function. */
const struct nvml_gpu *nvml_find(const struct nvml *n, const char *bdf);

#endif
