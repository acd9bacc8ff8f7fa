/* SPDX-License-Identifier: Apache-2.0 */
/* Every command and option there is; see admin.h. */
#include "admin/admin.h"
#include "base/units.h"
#include <pwd.h>
#include <stdint.h>
#include <string.h>

static struct vgpu_err *text(json_t *q, const char *key, const char *v)
{
	json_object_set_new(q, key, json_string(v));
	return NULL;
}

static struct vgpu_err *number(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_number(v, 0, INT64_MAX, &n))
		return err_new("\"%s\" is not a number", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

static struct vgpu_err *size(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_size(v, &n) || n > INT64_MAX)
		return err_new("\"%s\" is not a size such as 512M or 2G", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

static struct vgpu_err *duration(json_t *q, const char *key, const char *v)
{
	uint64_t n;

	if (units_duration(v, &n) || n > INT64_MAX)
		return err_new("\"%s\" is not a duration such as 30s or 5min", v);
	json_object_set_new(q, key, json_integer((json_int_t)n));
	return NULL;
}

/* vgpud takes the largest number for "any": what a VM has that was registered without. */
static struct vgpu_err *number_or_any(json_t *q, const char *key, const char *v)
{
	if (strcmp(v, "any"))
		return number(q, key, v);
	json_object_set_new(q, key, json_integer(UINT32_MAX));
	return NULL;
}

static struct vgpu_err *user(json_t *q, const char *key, const char *v)
{
	struct passwd *p = getpwnam(v);

	if (!p)
		return number_or_any(q, key, v);
	json_object_set_new(q, key, json_integer(p->pw_uid));
	return NULL;
}

static struct vgpu_err *yes(json_t *q, const char *key, const char *v)
{
	json_object_set_new(q, key, json_true());
	return NULL;
}

/* Of a new VM and of one that is there. */
#define SETTINGS \
	{"--priority", "high|medium|low", "priority", "4, 2 or 1 shares; default medium", text, "high medium low"}, \
	{"--weight", "1..100", "weight", "multiplies the shares; default 50", number, NULL}, \
	{"--quota", "SIZE", "quota", "device memory", size, NULL}, \
	{"--cap", "PERCENT", "cap", "of device time, never exceeded; 0: none", number, NULL}, \
	{"--reservation", "PERCENT", "reservation", "of device time, whenever it has work; 0: none", number, NULL}, \
	{"--max-launches-per-second", "N", "max_launches_per_second", "of kernels, more wait; 0: no limit", number, NULL}, \
	{"--max-bytes-per-second", "SIZE", "max_bytes_per_second", "copied or set, more wait; 0: no limit", size, NULL}, \
	{"--queue-depth", "N", "queue_depth", "kernels of a program on the device at once; 0: no limit", number, NULL}, \
	{"--numa-node", "NODE", "numa_node", "of the host, where its memory is; or any", number_or_any, "any"}, \
	{"--bar-size", "SIZE", "bar_size", "shared memory, a power of two", size, NULL}, \
	{"--job-timeout", "TIME", "job_timeout_ns", "for one unit of work while others wait; 0: vgpud.conf's", duration, NULL}, \
	{"--hard-timeout", "TIME", "hard_timeout_ns", "the same with nobody waiting; 0: vgpud.conf's", duration, NULL}, \
	{"--fault-limit", "N", "fault_limit", "so many faults are quarantine; 0: vgpud.conf's", number, NULL}, \
	{"--fault-window", "TIME", "fault_window_ns", "so long a fault counts; 0: vgpud.conf's", duration, NULL}, \
	{"--user", "USER", "uid", "who besides root may use it over guest.sock; or any", user, "any"},

const struct option settings[] = {SETTINGS {NULL}};

static const struct option register_options[] = {
	{"--pool", "POOL", "pool", "a device of it; default: default", text, "@pools"}, SETTINGS {NULL}};
static const struct option pool_options[] = {
	{"--policy", "exclusive|concurrent", "policy", "shares, or all at once; default exclusive", text, "exclusive concurrent"}, {NULL}};
static const struct option drain_options[] = {
	{"--reason", "TEXT", "reason", "shown with the device", text, NULL},
	{"--end", NULL, "end", "end what runs on it, too", yes, NULL}, {NULL}};
static const struct option list_options[] = {
	{"--pool", "POOL", "pool", "of this pool only", text, "@pools"},
	{"--priority", "high|medium|low", "priority", "of this priority only", text, "high medium low"}, {NULL}};
static const struct option event_options[] = {{"--follow", NULL, "follow", "also what happens, until interrupted", yes, NULL}, {NULL}};
static const struct option check_options[] = {
	{"--reason", "TEXT", "reason", "why it is doubted, for the log", text, NULL}, {NULL}};
#define SYS {"--sys", "DIR", "sys", "where sysfs is; default /sys", text, NULL},
static const struct option assign_options[] = {
	{"--name", "NAME", "name", "of the device; default gpu0, gpu1 ...", text, NULL},
	{"--pool", "POOL", "pool", "to be in; default: default", text, "@pools"},
	SYS {NULL}};
static const struct option scan_options[] = {SYS {NULL}};
static const struct option metrics_options[] = {
	{"--prometheus", NULL, "prometheus", "Prometheus' text format", yes, NULL}, {NULL}};

#define VM {"NAME", "name", text, "@vms"}
#define POOL_OF(key) {"POOL", key, text, "@pools"}
#define DEVICE_OF(key) {"DEVICE", key, text, "@devices"}
#define KNOWN_VM .operand = {VM}

const struct command commands[] = {
	{"register-vm", "register a VM or local tenant, open its socket", "register-vm", {{"NAME", "name", text, NULL}}, register_options,
	 view_settings},
	{"remove-vm", "forget a VM that is not connected", "remove-vm", KNOWN_VM,
	 .confirm = "its registration, limits and faults are forgotten."},
	{"set-vm", "change settings, at once", "set-vm", KNOWN_VM, .options = settings, .view = view_settings},
	{"update-vm", "the same as set-vm", "set-vm", KNOWN_VM, .options = settings, .view = view_settings},
	{"set-priority", "high, medium or low", "set-vm", {VM, {"PRIORITY", "priority", text, "high medium low"}}, .view = view_settings},
	{"set-weight", "1 to 100", "set-vm", {VM, {"WEIGHT", "weight", number, NULL}}, .view = view_settings},
	{"set-quota", "device memory, not below what is in use", "set-vm", {VM, {"SIZE", "quota", size, NULL}}, .view = view_settings},
	{"set-cap", "percent of device time it never exceeds", "set-vm", {VM, {"PERCENT", "cap", number, NULL}}, .view = view_settings},
	{"set-reservation", "percent of device time it always gets", "set-vm", {VM, {"PERCENT", "reservation", number, NULL}},
	 .view = view_settings},
	{"set-rate-limit", "launches per second, 0: no limit", "set-vm",
	 {VM, {"RATE", "max_launches_per_second", number, NULL}}, .options = settings, .view = view_settings},
	{"set-vm-id", "another number, while not connected", "set-vm-id", {VM, {"ID", "id", number, NULL}}, .view = view_settings},
	{"list-vms", "one line per VM", "list-vms", .options = list_options, .view = view_vms},
	{"show-vm", "everything about one", "show-vm", KNOWN_VM, .view = view_vm},
	{"show-weights", "shares, caps and reservations", "list-vms", .view = view_weights},
	{"show-quotas", "memory of each VM", "list-vms", .view = view_quotas},
	{"show-rate-limits", "limits of each VM", "list-vms", .view = view_limits},
	{"set-pool", "to another pool; while connected: at its next connection", "set-pool", {VM, POOL_OF("pool")}, .view = view_settings},
	{"move-vm", "to another device of its pool, likewise", "move-vm", {VM, DEVICE_OF("device")}, .view = view_settings},
	{"list-pools", "sets of devices", "list-pools", .view = view_pools},
	{"show-pool", "one of them", "show-pool", {POOL_OF("name")}, .view = view_pool},
	{"create-pool", "an empty one", "create-pool", {{"POOL", "name", text, NULL}}, .options = pool_options, .view = view_pool},
	{"remove-pool", "one without VMs; its devices go to pool default", "remove-pool", {POOL_OF("name")}},
	{"set-policy", "exclusive promises shares, concurrent does not", "set-policy",
	 {POOL_OF("name"), {"POLICY", "policy", text, "exclusive concurrent"}}, .view = view_pool},
	{"add-to-pool", "a device nobody has claimed", "add-to-pool", {POOL_OF("name"), DEVICE_OF("device")}, .view = view_pool},
	{"remove-from-pool", "back to pool default", "remove-from-pool", {POOL_OF("name"), DEVICE_OF("device")}, .view = view_pool},
	{"list-devices", "what computes", "list-devices", .view = view_devices},
	{"show-device", "everything about one", "show-device", {DEVICE_OF("name")}, .view = view_device},
	{"drain-device", "let nothing new start on it", "drain-device", {DEVICE_OF("name")}, .options = drain_options, .view = view_device,
	 .confirm = "programs of its VMs will find no device."},
	{"check-device", "see whether it works; if not, it goes out of service", "check-device", {DEVICE_OF("name")}, .options = check_options,
	 .view = view_device},
	{"undrain-device", "back into service, if it passes a check", "undrain-device", {DEVICE_OF("name")}, .view = view_device},
	{"scan-gpus", "the machine's GPUs and MIG devices, assigned or not", "list-devices", .options = scan_options, .view = view_gpus,
	 .run = scan_gpus_run},
	{"assign-gpu", "let vgpud use a GPU or MIG device", "assign-gpu", {{"GPU", "uuid", text, "@gpus"}}, .options = assign_options,
	 .view = view_device, .run = assign_gpu_run},
	{"unassign-gpu", "one no VM is on", "unassign-gpu", {DEVICE_OF("name")}},
	{"scan-vms", "libvirt's machines, registered or not", "list-vms", .view = view_scan, .run = scan_vms_run},
	{"quarantine-vm", "stop its programs and let it in no more", "quarantine-vm", KNOWN_VM, .view = view_settings,
	 .confirm = "its running programs are ended."},
	{"clear-quarantine", "let it in again, its faults forgotten", "clear-quarantine", KNOWN_VM, .view = view_settings},
	{"reload-config", "read vgpud.conf anew; what is wrong changes nothing", "reload-config"},
	{"upgrade", "become the vgpud that is installed now, ending nothing", "upgrade", .run = upgrade_run},
	{"status", "device, memory, hand-overs", "status", .view = view_status},
	{"show-health", "what is wrong; exit status 5 if anything is", "health", .view = view_health, .run = health_run},
	{"show-connections", "who is connected", "connections", .view = view_connections},
	{"show-metrics", "counters of each VM", "list-vms", .options = metrics_options, .view = view_counters},
	{"show-latency", "waiting, execution, end to end: quantiles of each VM", "list-vms", .view = view_latency},
	{"top", "who uses the device, live, full screen", NULL, .run = top_run},
	{"events", "what happened; --follow: what happens", "events", .options = event_options, .view = view_events, .run = events_run},
	{"faults", "timeouts, crashes, protocol violations", "faults", KNOWN_VM, .view = view_faults, .optional = true},
	{"audit", "who changed what", "audit", KNOWN_VM, .view = view_audit, .optional = true},
	{"timeline", "device time of each VM in buckets, as JSON", "timeline"},
	{"completion", "of bash or zsh, to be sourced", NULL, {{"SHELL", "shell", text, "bash zsh"}}, .run = completion_run},
	{"help", "this text, or what a command takes", NULL, {{"COMMAND", "topic", text, "@commands"}}, .run = help_run, .optional = true},
	{NULL},
};
