/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of checks, one per file checks_*.c, and named selections of checks. */
#ifndef DOCTOR_GROUPS_H
#define DOCTOR_GROUPS_H

#include "check.h"

extern const struct check_group iommu_group, acs_group, pci_group, kparam_group, bind_group;
extern const struct check_group numa_group, mig_group, fabric_group, vgpu_group, cc_group, expo_group;

struct profile {
	const char *name, *what, *only;
};

/* NULL when there is none of this name. */
const struct profile *profile_find(const char *name);

#endif
