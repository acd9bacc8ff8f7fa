/* SPDX-License-Identifier: Apache-2.0 */
#include "groups.h"

const struct check_group *const check_groups[] = {&iommu_group, &acs_group, &pci_group, &kparam_group, &bind_group,
						   &numa_group, &mig_group, &fabric_group, &vgpu_group, &cc_group, &expo_group};
const size_t check_ngroups = sizeof(check_groups) / sizeof(*check_groups);

/* The checklist operators know, with today's facts: where its points and ours differ (parameters,
 * Resizable BAR), the checks named explain why. */
static const struct profile profiles[] = {
	{"checklist", "the ten-point passthrough checklist",
	 "PCI-015,IOMMU-003,ACS-004,PCI-002,PCI-006,PCI-003,IOMMU-006,IOMMU-007,BIND-003,BIND-004,BIND-005,"
	 "BIND-006,BIND-008,ACS-001,PCI-012"},
	{"rule-m1", "the ACS override, as rule M1 looks for it", "ACS-006,ACS-007,ACS-008"},
};

const struct profile *profile_find(const char *name)
{
	for (size_t i = 0; i < sizeof(profiles) / sizeof(*profiles); i++)
		if (!__builtin_strcmp(profiles[i].name, name))
			return &profiles[i];
	return 0;
}
