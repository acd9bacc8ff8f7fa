/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that hold GPUs: virtual machine monitors and NVIDIA's services. */
#ifndef DOCTOR_PROC_H
#define DOCTOR_PROC_H

#include "evidence.h"
#include "numset.h"

#define PROC_GROUPS 64

struct proc {
	unsigned pid;
	char comm[32];
	/* fds: the listing, or the first descriptor that is hidden */
	const struct ev_item *comm_item, *status, *limits, *fds, *label;
	bool qemu;
	int uid;               /* -1 unknown */
	uint64_t memlock;      /* bytes; UINT64_MAX unlimited; 0 unknown */
	struct numset cpus;    /* Cpus_allowed_list */
	bool cpus_known;
	char vfio[PROC_GROUPS][16]; /* group numbers or "devices/vfioN" */
	unsigned nvfio;
	bool nvidia; /* holds a /dev/nvidia* node */
	bool fds_known;
};

struct procs {
	const struct ev_item *list;
	struct proc *p;
	size_t n;
};

void procs_collect(struct procs *p, struct ev *ev);
void procs_free(struct procs *p);

#endif
