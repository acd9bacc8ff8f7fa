/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/views.h"
#include <stddef.h>

const struct view_column view_vms[] = {
	{"id", "ID", VIEW_COUNT},	      {"name", "NAME", VIEW_TEXT},
	{"pool", "POOL", VIEW_TEXT},	      {"device", "DEVICE", VIEW_TEXT},
	{"priority", "PRIORITY", VIEW_TEXT},  {"weight", "WEIGHT", VIEW_COUNT},
	{"share", "SHARE", VIEW_PERCENT},     {"quota", "QUOTA", VIEW_BYTES},
	{"quota_used", "USED", VIEW_BYTES},   {"device_seconds", "DEVICE TIME", VIEW_SECONDS},
	{"connections", "CONNECTIONS", VIEW_COUNT}, {"status", "STATUS", VIEW_TEXT},
	{NULL}};

const struct view_column view_weights[] = {
	{"name", "NAME", VIEW_TEXT},	  {"priority", "PRIORITY", VIEW_TEXT}, {"weight", "WEIGHT", VIEW_COUNT},
	{"share", "SHARE", VIEW_PERCENT}, {"cap", "CAP", VIEW_OF_100},	       {"reservation", "RESERVED", VIEW_OF_100},
	{NULL}};

const struct view_column view_quotas[] = {
	{"name", "NAME", VIEW_TEXT}, {"quota", "QUOTA", VIEW_BYTES}, {"quota_used", "USED", VIEW_BYTES},
	{"bar_size", "BAR2", VIEW_BYTES}, {NULL}};

const struct view_column view_limits[] = {
	{"name", "NAME", VIEW_TEXT},
	{"cap", "CAP", VIEW_OF_100},
	{"reservation", "RESERVED", VIEW_OF_100},
	{"max_launches_per_second", "LAUNCHES/S", VIEW_LIMIT},
	{"max_bytes_per_second", "BYTES/S", VIEW_LIMIT_BYTES},
	{"queue_depth", "QUEUE DEPTH", VIEW_LIMIT},
	{"job_timeout_ns", "JOB TIMEOUT", VIEW_LIMIT_NS},
	{"hard_timeout_ns", "HARD TIMEOUT", VIEW_LIMIT_NS},
	{"fault_limit", "FAULT LIMIT", VIEW_LIMIT},
	{"fault_window_ns", "FAULT WINDOW", VIEW_LIMIT_NS},
	{NULL}};

/* After a change. */
const struct view_column view_settings[] = {
	{"id", "Id", VIEW_COUNT},
	{"name", "Name", VIEW_TEXT},
	{"status", "Status", VIEW_TEXT},
	{"pool", "Pool", VIEW_TEXT},
	{"device", "Device", VIEW_TEXT},
	{"placed", "Why this device", VIEW_TEXT},
	{"next_device", "At its next connection", VIEW_TEXT},
	{"priority", "Priority", VIEW_TEXT},
	{"weight", "Weight", VIEW_COUNT},
	{"share", "Share of the device", VIEW_PERCENT},
	{"cap", "Cap", VIEW_OF_100},
	{"reservation", "Reservation", VIEW_OF_100},
	{"quota", "Memory quota", VIEW_BYTES},
	{"numa_node", "NUMA node", VIEW_COUNT},
	{"bar_size", "BAR2", VIEW_BYTES},
	{"max_launches_per_second", "Launches per second", VIEW_LIMIT},
	{"max_bytes_per_second", "Bytes copied per second", VIEW_LIMIT_BYTES},
	{"queue_depth", "Kernels in flight", VIEW_LIMIT},
	{"job_timeout_ns", "Job timeout", VIEW_LIMIT_NS},
	{"hard_timeout_ns", "Hard timeout", VIEW_LIMIT_NS},
	{"fault_limit", "Faults before quarantine", VIEW_LIMIT},
	{"fault_window_ns", "Faults count for", VIEW_LIMIT_NS},
	{"uid", "Local user", VIEW_COUNT},
	{NULL}};

static const struct view_column channels[] = {
	{"connection", "CONNECTION", VIEW_COUNT}, {"channel", "CHANNEL", VIEW_COUNT}, {"state", "STATE", VIEW_TEXT},
	{"generation", "GENERATION", VIEW_COUNT}, {"error", "ERROR", VIEW_COUNT},     {"pid", "EXECUTOR", VIEW_COUNT},
	{NULL}};

const struct view_column view_vm[] = {
	{"id", "Id", VIEW_COUNT},
	{"name", "Name", VIEW_TEXT},
	{"status", "Status", VIEW_TEXT},
	{"pool", "Pool", VIEW_TEXT},
	{"device", "Device", VIEW_TEXT},
	{"placed", "Why this device", VIEW_TEXT},
	{"next_device", "At its next connection", VIEW_TEXT},
	{"numa_node", "NUMA node", VIEW_COUNT},
	{"priority", "Priority", VIEW_TEXT},
	{"weight", "Weight", VIEW_COUNT},
	{"share", "Share of the device", VIEW_PERCENT},
	{"cap", "Cap", VIEW_OF_100},
	{"reservation", "Reservation", VIEW_OF_100},
	{"max_launches_per_second", "Launches per second", VIEW_LIMIT},
	{"max_bytes_per_second", "Bytes copied per second", VIEW_LIMIT_BYTES},
	{"queue_depth", "Kernels in flight", VIEW_LIMIT},
	{"quota", "Memory quota", VIEW_BYTES},
	{"quota_used", "Memory in use", VIEW_BYTES},
	{"bar_size", "BAR2", VIEW_BYTES},
	{"job_timeout_ns", "Job timeout", VIEW_LIMIT_NS},
	{"hard_timeout_ns", "Hard timeout", VIEW_LIMIT_NS},
	{"fault_limit", "Faults before quarantine", VIEW_LIMIT},
	{"fault_window_ns", "Faults count for", VIEW_LIMIT_NS},
	{"uid", "Local user", VIEW_COUNT},
	{"device_seconds", "Device time", VIEW_SECONDS},
	{"wait_seconds", "Waited for it", VIEW_SECONDS},
	{"leases", "Leases", VIEW_COUNT},
	{"units", "Units of work", VIEW_COUNT},
	{"launches", "Kernel launches", VIEW_COUNT},
	{"bytes", "Bytes copied", VIEW_BYTES},
	{"unsupported_calls", "Unsupported calls", VIEW_COUNT},
	{"faults", "Faults", VIEW_COUNT},
	{"executors_started", "Executors started", VIEW_COUNT},
	{"queue_wait_p50_seconds", "Wait for the device, median", VIEW_DURATION},
	{"queue_wait_p99_seconds", "Of 99 % at most", VIEW_DURATION},
	{"execution_p50_seconds", "Execution, median (claimed)", VIEW_DURATION},
	{"execution_p99_seconds", "Of 99 % at most", VIEW_DURATION},
	{"latency_p50_seconds", "End to end, median (claimed)", VIEW_DURATION},
	{"latency_p99_seconds", "Of 99 % at most", VIEW_DURATION},
	{"channels", "Channels", VIEW_TABLE, channels},
	{NULL}};

const struct view_column view_counters[] = {
	{"name", "NAME", VIEW_TEXT},		  {"device_seconds", "DEVICE TIME", VIEW_SECONDS}, {"wait_seconds", "WAITED", VIEW_SECONDS},
	{"leases", "LEASES", VIEW_COUNT},	  {"units", "UNITS", VIEW_COUNT},	    {"launches", "LAUNCHES", VIEW_COUNT},
	{"bytes", "COPIED", VIEW_BYTES},	  {"quota_used", "MEMORY", VIEW_BYTES},	    {"quota", "OF", VIEW_BYTES},
	{"faults", "FAULTS", VIEW_COUNT},	  {"unsupported_calls", "UNSUPPORTED", VIEW_COUNT}, {"executors_started", "EXECUTORS", VIEW_COUNT},
	{"connections", "CONNECTIONS", VIEW_COUNT}, {"channels_used", "CHANNELS", VIEW_COUNT}, {"retired_channels", "RETIRED", VIEW_COUNT},
	{"status", "STATUS", VIEW_TEXT},	  {NULL}};

const struct view_column view_metrics[] = {
	{"name", "VM", VIEW_TEXT},
	{"device_seconds", "Device time by vgpud's clock", VIEW_SECONDS, NULL, "vm_device_seconds_total"},
	{"wait_seconds", "Time its programs waited for the device", VIEW_SECONDS, NULL, "vm_wait_seconds_total"},
	{"leases", "Leases granted", VIEW_COUNT} /* as a metric: vm_queue_wait_seconds_count */,
	{"share", "Share asked of the device, when all have work", VIEW_PERCENT, NULL, "vm_share_ratio"},
	{"units", "Units of work ended", VIEW_COUNT} /* vm_latency_seconds_count */,
	{"launches", "Kernel launches", VIEW_COUNT, NULL, "vm_launches_total"},
	{"bytes", "Bytes copied", VIEW_BYTES, NULL, "vm_copied_bytes_total"},
	{"quota", "Device memory it may use", VIEW_BYTES, NULL, "vm_quota_bytes"},
	{"quota_used", "Device memory it uses", VIEW_BYTES, NULL, "vm_memory_used_bytes"},
	{"faults", "Timeouts, crashes and protocol violations", VIEW_COUNT, NULL, "vm_faults_total"},
	{"unsupported_calls", "Calls answered NOT_SUPPORTED", VIEW_COUNT, NULL, "vm_unsupported_calls_total"},
	{"executors_started", "Executors started", VIEW_COUNT, NULL, "vm_executors_started_total"},
	{"connections", "Connections", VIEW_COUNT, NULL, "vm_connections"},
	{"quarantined", "1: it is kept out after too many faults", VIEW_YES, NULL, "vm_quarantined"},
	{"channels_used", "Channels in use", VIEW_COUNT, NULL, "vm_channels_used"},
	{"retired_channels", "Channels given up, their memory could not be zeroed", VIEW_COUNT, NULL, "vm_channels_retired_total"},
	{NULL}};

static const struct view_column vm_labels[] = {
	{"name", "VM", VIEW_TEXT, NULL, "vm"},		 {"device", "Device", VIEW_TEXT, NULL, "device"},
	{"pool", "Pool", VIEW_TEXT, NULL, "pool"},	 {"priority", "Priority", VIEW_TEXT, NULL, "priority"},
	{NULL}};

const struct view_info view_vm_info = {"vm", "The device it is placed on, its pool and priority", vm_labels};

/* uuid and pci_bus_id as NVML's, so as the labels of openvgpu_gpu_... and of NVIDIA's own exporter. */
static const struct view_column device_labels[] = {
	{"name", "Device", VIEW_TEXT, NULL, "device"},	 {"uuid", "UUID", VIEW_TEXT, NULL, "uuid"},
	{"pci", "PCI address", VIEW_TEXT, NULL, "pci_bus_id"}, {"model", "Model", VIEW_TEXT, NULL, "model"},
	{"backend", "What computes", VIEW_TEXT, NULL, "backend"}, {"driver_version", "Driver", VIEW_TEXT, NULL, "driver_version"},
	{"pool", "Pool", VIEW_TEXT, NULL, "pool"},	 {"policy", "Policy", VIEW_TEXT, NULL, "policy"},
	{"numa_node", "NUMA node", VIEW_COUNT, NULL, "numa_node"},
	{NULL}};

const struct view_info view_device_info = {"device", "What device it is, by the names others have for it", device_labels};

static const struct view_column build_labels[] = {
	{"program", "Program", VIEW_TEXT, NULL, "program"}, {"version", "Version", VIEW_TEXT, NULL, "version"}, {NULL}};

const struct view_info view_build_info = {"build", "Versions of what runs: they differ until an upgrade is complete", build_labels};

const struct view_column view_latency[] = {
	{"name", "NAME", VIEW_TEXT},
	{"queue_wait_p50_seconds", "WAIT P50", VIEW_DURATION},
	{"queue_wait_p95_seconds", "P95", VIEW_DURATION},
	{"queue_wait_p99_seconds", "P99", VIEW_DURATION},
	{"execution_p50_seconds", "EXECUTION P50", VIEW_DURATION},
	{"execution_p95_seconds", "P95", VIEW_DURATION},
	{"execution_p99_seconds", "P99", VIEW_DURATION},
	{"latency_p50_seconds", "END TO END P50", VIEW_DURATION},
	{"latency_p95_seconds", "P95", VIEW_DURATION},
	{"latency_p99_seconds", "P99", VIEW_DURATION},
	{NULL}};

const struct view_column view_devices[] = {
	{"name", "NAME", VIEW_TEXT},	       {"pool", "POOL", VIEW_TEXT},   {"policy", "POLICY", VIEW_TEXT},
	{"state", "STATE", VIEW_TEXT},	       {"memory", "MEMORY", VIEW_BYTES}, {"memory_reserved", "RESERVED", VIEW_BYTES},
	{"reservation", "TIME RESERVED", VIEW_OF_100}, {"vms", "VMS", VIEW_COUNT}, {"executors", "EXECUTORS", VIEW_COUNT},
	{"numa_node", "NUMA", VIEW_COUNT}, {"uuid", "UUID", VIEW_TEXT},   {"model", "MODEL", VIEW_TEXT}, {"reason", "WHY", VIEW_TEXT},
	{NULL}};

const struct view_column view_device[] = {
	{"name", "Name", VIEW_TEXT},
	{"model", "Model", VIEW_TEXT},
	{"pool", "Pool", VIEW_TEXT},
	{"policy", "Policy", VIEW_TEXT},
	{"state", "State", VIEW_TEXT},
	{"reason", "Why", VIEW_TEXT},
	{"uuid", "UUID", VIEW_TEXT},
	{"pci", "PCI address", VIEW_TEXT},
	{"numa_node", "NUMA node", VIEW_COUNT},
	{"peers", "NVLink joins it to", VIEW_LIST},
	{"memory", "Memory", VIEW_BYTES},
	{"memory_reserved", "Reserved for VMs", VIEW_BYTES},
	{"reservation", "Time reserved", VIEW_OF_100},
	{"vms", "VMs", VIEW_COUNT},
	{"executors", "Executors", VIEW_COUNT},
	{"busy_seconds", "Busy", VIEW_SECONDS},
	{"handovers", "Lease hand-overs", VIEW_COUNT},
	{"handover_mean_us", "Mean wait for a hand-over", VIEW_MICROSECONDS},
	{NULL}};

const struct view_column view_device_metrics[] = {
	{"name", "Device", VIEW_TEXT},
	{"memory", "Memory of the device", VIEW_BYTES, NULL, "device_memory_bytes"},
	{"memory_reserved", "Its memory reserved for VMs", VIEW_BYTES, NULL, "device_memory_reserved_bytes"},
	{"vms", "VMs on the device", VIEW_COUNT, NULL, "device_vms"},
	{"executors", "Executors on the device", VIEW_COUNT, NULL, "device_executors"},
	{"busy_seconds", "Time somebody held the device", VIEW_SECONDS, NULL, "device_busy_seconds_total"},
	{"handovers", "Lease hand-overs", VIEW_COUNT, NULL, "device_handovers_total"},
	{"serves", "Is it in service", VIEW_YES, NULL, "device_in_service"},
	{"losses", "Times it was found broken", VIEW_COUNT, NULL, "device_losses_total"},
	{"waiting_vms", "VMs that wait for the device now", VIEW_COUNT, NULL, "scheduler_waiting_vms"},
	{"lease_holders", "Programs that hold it now: more than one when a unit overruns", VIEW_COUNT, NULL, "scheduler_holders"},
	{"handover_wait_seconds", "Time from asking to giving, of all hand-overs", VIEW_SECONDS, NULL, "device_handover_wait_seconds_total"},
	{"units_in_flight", "Units of work taken from rings and not ended, as executors claim", VIEW_COUNT, NULL, "device_units_in_flight"},
	{NULL}};

const struct view_column view_pools[] = {
	{"name", "NAME", VIEW_TEXT}, {"policy", "POLICY", VIEW_TEXT}, {"memory", "MEMORY", VIEW_BYTES},
	{"memory_reserved", "RESERVED", VIEW_BYTES}, {"devices", "DEVICES", VIEW_LIST}, {"vms", "VMS", VIEW_LIST}, {NULL}};

const struct view_column view_pool[] = {
	{"name", "Name", VIEW_TEXT}, {"policy", "Policy", VIEW_TEXT}, {"memory", "Memory", VIEW_BYTES},
	{"memory_reserved", "Reserved for VMs", VIEW_BYTES}, {"devices", "Devices", VIEW_LIST}, {"vms", "VMs", VIEW_LIST}, {NULL}};

const struct view_column view_status[] = {
	{"version", "Version", VIEW_TEXT},
	{"device_memory", "Device memory", VIEW_BYTES},
	{"device_memory_reserved", "Reserved for VMs", VIEW_BYTES},
	{"bar_budget", "BAR2 budget", VIEW_BYTES},
	{"bar_reserved", "BAR2 reserved", VIEW_BYTES},
	{"use", "Computes on", VIEW_TEXT},
	{"next", "What next", VIEW_TEXT},
	{"vms", "VMs", VIEW_COUNT},
	{"executors", "Executors", VIEW_COUNT},
	{"spare", "Spare executor", VIEW_TEXT},
	{"handovers", "Lease hand-overs", VIEW_COUNT},
	{"handover_mean_us", "Mean wait for a hand-over", VIEW_MICROSECONDS},
	{"queue_wait_p50_seconds", "Wait for the device, median", VIEW_DURATION},
	{"queue_wait_p95_seconds", "Of 95 % at most", VIEW_DURATION},
	{"queue_wait_p99_seconds", "Of 99 % at most", VIEW_DURATION},
	{"state", "State", VIEW_TEXT},
	{"upgrades", "Upgrades since its start", VIEW_COUNT},
	{"devices", "Devices", VIEW_TABLE, view_devices},
	{NULL}};

const struct view_column view_connections[] = {
	{"id", "ID", VIEW_COUNT}, {"vm", "VM", VIEW_TEXT}, {"transport", "TRANSPORT", VIEW_TEXT}, {"uid", "USER", VIEW_COUNT},
	{"channels_used", "CHANNELS IN USE", VIEW_COUNT}, {"channels", "OF", VIEW_COUNT}, {"bar_size", "BAR2", VIEW_BYTES},
	{NULL}};

const struct view_column view_events[] = {
	{"number", "NUMBER", VIEW_COUNT}, {"at_ms", "TIME", VIEW_TIME}, {"kind", "WHAT", VIEW_TEXT}, {"vm", "OF", VIEW_TEXT},
	{"text", "DETAILS", VIEW_TEXT}, {NULL}};

const struct view_column view_audit[] = {
	{"number", "NUMBER", VIEW_COUNT}, {"at_ms", "TIME", VIEW_TIME}, {"uid", "USER", VIEW_COUNT}, {"pid", "PROCESS", VIEW_COUNT},
	{"command", "COMMAND", VIEW_TEXT}, {"object", "OF", VIEW_TEXT}, {"change", "CHANGE", VIEW_TEXT}, {NULL}};

const struct view_column view_faults[] = {
	{"number", "NUMBER", VIEW_COUNT}, {"at_ms", "TIME", VIEW_TIME}, {"vm", "VM", VIEW_TEXT}, {"kind", "WHAT", VIEW_TEXT}, {NULL}};

static const struct view_column problems[] = {{"what", "WHAT", VIEW_TEXT}, {"text", "WHY", VIEW_TEXT}, {NULL}};

static const struct view_column gpus[] = {
	{"index", "GPU", VIEW_COUNT}, {"name", "NAME", VIEW_TEXT}, {"bus_id", "BUS", VIEW_TEXT}, {"temperature_celsius", "CELSIUS", VIEW_COUNT},
	{"power_watts", "WATTS", VIEW_COUNT}, {"utilization_ratio", "BUSY", VIEW_PERCENT}, {"memory_used_bytes", "MEMORY", VIEW_BYTES},
	{"memory_bytes", "OF", VIEW_BYTES}, {"ecc_uncorrected_errors_total", "ECC", VIEW_COUNT}, {"mig_devices", "MIG", VIEW_COUNT},
	{"processes", "PROGRAMS", VIEW_COUNT}, {NULL}};

const struct view_column view_health[] = {
	{"healthy", "Healthy", VIEW_YES}, {"problems", "Problems", VIEW_TABLE, problems},
	{"gpus", "GPUs", VIEW_TABLE, gpus}, {NULL}};

static const struct view_column scanned[] = {
	{"index", "INDEX", VIEW_TEXT}, {"uuid", "UUID", VIEW_TEXT}, {"model", "MODEL", VIEW_TEXT}, {"bus", "BUS", VIEW_TEXT},
	{"numa_node", "NUMA", VIEW_COUNT}, {"nvlink", "NVLINK", VIEW_LIST}, {"memory", "MEMORY", VIEW_BYTES}, {"driver", "DRIVER", VIEW_TEXT},
	{"assigned", "ASSIGNED", VIEW_TEXT}, {"note", "NOTE", VIEW_TEXT}, {NULL}};

const struct view_column view_gpus[] = {{"source", "Source", VIEW_TEXT}, {"gpus", "GPUs", VIEW_TABLE, scanned}, {NULL}};

const struct view_column view_scan[] = {
	{"name", "NAME", VIEW_TEXT}, {"uuid", "UUID", VIEW_TEXT}, {"running", "RUNNING", VIEW_YES},
	{"registered", "REGISTERED", VIEW_YES}, {"priority", "PRIORITY", VIEW_TEXT}, {NULL}};
