/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of GPU models by their PCI id: data of 2025, from NVIDIA's MIG guide, Fabric Manager guide,
 * driver and vGPU release notes. A model that is not here is judged by what the host shows of it. */
#ifndef DOCTOR_MODELS_H
#define DOCTOR_MODELS_H

#include "pci.h"

struct gpu_model {
	uint16_t device; /* of vendor 10de */
	const char *name;
	unsigned gib; /* of memory that BAR1 maps; 0: not all of it is mapped, or not known */
	unsigned driver_major, driver_minor; /* the first driver that will do; 0: not known */
	const char *driver_why;
	const char *mig;  /* profiles without attributes such as "+me", each between blanks; NULL: not known, or no MIG */
	const char *vgpu; /* since when it has vGPU types, "" long since; NULL: none known */
};

/* NULL: not in the table. */
const struct gpu_model *gpu_model(const struct pci_dev *d);

#endif
