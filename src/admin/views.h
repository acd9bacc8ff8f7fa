/* SPDX-License-Identifier: Apache-2.0 */
/* Every view there is; see view.h. */
#ifndef VGPU_ADMIN_VIEWS_H
#define VGPU_ADMIN_VIEWS_H
#include "admin/view.h"

extern const struct view_column view_vms[], view_vm[], view_settings[], view_counters[], view_status[], view_weights[], view_quotas[], view_limits[],
	view_connections[], view_events[], view_audit[], view_faults[], view_health[], view_metrics[],
	view_latency[], view_scan[],
	view_devices[], view_device[], view_device_metrics[], view_pools[], view_pool[], view_gpus[];
extern const struct view_info view_vm_info, view_device_info, view_build_info;
#endif
