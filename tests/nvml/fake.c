/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"
#include "nvml/call.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 1024
#define DEVICES 64
#define MIGS 8
#define EXPORT __attribute__((visibility("default")))

static const char *const names[] = {
#define F(name) #name,
#include "nvml/functions.def"
#undef F
};

/* ---- the capture: indented "key : value" lines ---- */

static struct line {
	int indent;
	char key[96], value[80]; /* "MIG 2c.3g.71gb  Device  1: (UUID: ...)" is 72 bytes */
} lines[LINES];
static int line_count;
static unsigned gpu_count = 1;

static void take_line(const char *text)
{
	struct line *l = &lines[line_count];
	const char *sep = strstr(text, " : ");
	size_t n = sep ? (size_t)(sep - text) : strlen(text);

	if (line_count == LINES || *text == '#' || *text == '\n')
		return;
	l->indent = (int)strspn(text, " ");
	snprintf(l->key, sizeof(l->key), "%.*s", (int)n - l->indent, text + l->indent);
	snprintf(l->value, sizeof(l->value), "%s", sep ? sep + 3 : "");
	l->value[strcspn(l->value, "\n")] = 0;
	for (n = strcspn(l->key, "\n"); n && l->key[n - 1] == ' '; n--)
		;
	l->key[n] = 0;
	line_count++;
}

/* The nth line of this key that is deeper than line `in` and follows it at once; -1: none. */
static int find(int in, const char *key, int nth)
{
	for (int i = in + 1; i < line_count && (in < 0 || lines[i].indent > lines[in].indent); i++)
		if (!strcmp(lines[i].key, key) && nth-- == 0)
			return i;
	return -1;
}

/* The value under section (NULL: none) of key; NULL: not there, or not told. */
static const char *value(const char *section, const char *key)
{
	int in = section ? find(-1, section, 0) : -1, at = section && in < 0 ? -1 : find(in, key, 0);
	const char *v = at < 0 ? NULL : lines[at].value;

	return v && strcmp(v, "N/A") && strncmp(v, "Requested", 9) ? v : NULL;
}

static double number(const char *v)
{
	return v ? strtod(v, NULL) * (strstr(v, " MiB") ? 1 << 20 : 1) : 0;
}

/* ---- faults ---- */

static struct {
	int fn; /* -1: none */
	unsigned nth, calls[NV_FUNCTIONS];
	char how[16];
	unsigned arg;
	bool lying;
} fault = {.fn = -1};
static char control_was[128];
static unsigned xid;

/* The GPU that is gone, so that those behind it are counted one less; one that answers no more is counted still. */
#define NONE (-1)
#define ALL (-2)
static int without = NONE, dead = NONE;

EXPORT void fake_nvml_fault(const char *text)
{
	char fn[64] = "", how[32] = "";

	memset(&fault, 0, sizeof(fault));
	fault.fn = -1;
	without = dead = NONE;
	if (!text || sscanf(text, "%63[^:]:%u:%31s", fn, &fault.nth, how) != 3)
		return;
	fault.arg = (unsigned)strtoul(how + strcspn(how, "=") + (strchr(how, '=') != NULL), NULL, !strncmp(how, "lie", 3) ? 16 : 10);
	snprintf(fault.how, sizeof(fault.how), "%.*s", (int)strcspn(how, "="), how);
	for (int i = 0; i < NV_FUNCTIONS; i++)
		if (!strcmp(names[i], fn))
			fault.fn = i;
	if (!strcmp(fault.how, "xid"))
		xid = fault.arg;
	if (!strcmp(fault.how, "gone"))
		without = strchr(how, '=') ? (int)fault.arg : ALL;
	if (!strcmp(fault.how, "lost"))
		dead = (int)fault.arg;
}

EXPORT unsigned fake_nvml_calls(const char *function)
{
	for (int i = 0; i < NV_FUNCTIONS; i++)
		if (!strcmp(names[i], function))
			return fault.calls[i];
	return 0;
}

static void look_at_control(void)
{
	const char *path = getenv("FAKE_NVML_CONTROL");
	char text[128] = "";
	FILE *f = path ? fopen(path, "re") : NULL;

	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	if (strcmp(text, control_was)) {
		strcpy(control_was, text);
		fake_nvml_fault(text);
	}
}

__attribute__((constructor)) static void load(void)
{
	const char *path = getenv("FAKE_NVML_CAPTURE"), *n = getenv("FAKE_NVML_GPUS");
	FILE *f = path ? fopen(path, "re") : NULL;
	char text[256];

	while (f && fgets(text, sizeof(text), f))
		take_line(text);
	if (f)
		fclose(f);
	gpu_count = n ? (unsigned)atoi(n) : 1;
	fake_nvml_fault(getenv("FAKE_NVML"));
}

/* > 0: what to answer at once; otherwise go on. */
static int enter(enum nv_fn fn)
{
	unsigned call;

	if (fn == NV_DeviceGetCount_v2)
		look_at_control();
	call = ++fault.calls[fn];
	fault.lying = false;
	if (fault.fn != (int)fn || (fault.nth && fault.nth != call))
		return line_count ? 0 : 9; /* no capture: the driver is not loaded */
	if (!strcmp(fault.how, "error"))
		return (int)fault.arg;
	fault.lying = !strcmp(fault.how, "lie");
	if (!strcmp(fault.how, "crash"))
		abort();
	while (!strcmp(fault.how, "hang"))
		pause();
	return 0;
}

/* True: the output is a lie already. */
static bool lie(void *out, size_t size)
{
	static const unsigned long long blank = 0x7ffffffffffffff2ull; /* "not supported" of those who print NVML */

	if (!fault.lying)
		return false;
	memset(out, (int)fault.arg, size);
	for (size_t i = 0; fault.arg == 0x7f && i + 8 <= size; i += 8)
		memcpy((char *)out + i, &blank, 8);
	return true;
}

#define ENTER(name) \
	do { \
		int rc_ = enter(NV_##name); \
		if (rc_) \
			return rc_; \
	} while (0)

/* ---- handles: places in this array ---- */

static struct device {
	char gpu[DEVICES], mig[DEVICES][MIGS], events;
} handles;

static int gpu_of(void *dev)
{
	char *p = dev;

	return p >= handles.gpu && p < handles.gpu + gpu_count ? (int)(p - handles.gpu) : -1;
}

static int mig_of(void *dev)
{
	char *p = dev, *first = &handles.mig[0][0];

	return p >= first && p < first + sizeof(handles.mig) ? (int)(p - first) % MIGS : -1;
}

/* ---- shapes ---- */

static int text_out(const char *v, char *out, unsigned size)
{
	if (lie(out, size))
		return 0;
	if (!v)
		return NV_NOT_SUPPORTED;
	if (strlen(v) >= size)
		return NV_INSUFFICIENT_SIZE;
	strcpy(out, v);
	return 0;
}

static int u32_out(const char *v, double unit, unsigned *out)
{
	if (lie(out, sizeof(*out)))
		return 0;
	*out = (unsigned)(number(v) * unit + 0.5);
	return v ? 0 : NV_NOT_SUPPORTED;
}

static int flag_out(const char *v, const char *yes, unsigned *out)
{
	if (lie(out, sizeof(*out)))
		return 0;
	*out = v && !strcmp(v, yes);
	return v ? 0 : NV_NOT_SUPPORTED;
}

/* A function of a GPU. */
#define GPU_TEXT(name, section, key) \
	EXPORT int nvml##name(void *dev, char *out, unsigned size); \
	EXPORT int nvml##name(void *dev, char *out, unsigned size) \
	{ \
		ENTER(name); \
		return gpu_of(dev) < 0 ? 2 : text_out(value(section, key), out, size); \
	}
#define GPU_NUMBER(name, section, key, unit) \
	EXPORT int nvml##name(void *dev, unsigned *out); \
	EXPORT int nvml##name(void *dev, unsigned *out) \
	{ \
		ENTER(name); \
		return gpu_of(dev) < 0 ? 2 : u32_out(value(section, key), unit, out); \
	}
#define GPU_FLAG(name, section, key, yes) \
	EXPORT int nvml##name(void *dev, unsigned *out); \
	EXPORT int nvml##name(void *dev, unsigned *out) \
	{ \
		ENTER(name); \
		return gpu_of(dev) < 0 ? 2 : flag_out(value(section, key), yes, out); \
	}
#define GPU_MODES(name, section) \
	EXPORT int nvml##name(void *dev, unsigned *now, unsigned *next); \
	EXPORT int nvml##name(void *dev, unsigned *now, unsigned *next) \
	{ \
		ENTER(name); \
		if (gpu_of(dev) < 0) \
			return 2; \
		flag_out(value(section, "Pending"), "Enabled", next); \
		return flag_out(value(section, "Current"), "Enabled", now); \
	}

GPU_TEXT(DeviceGetSerial, NULL, "Serial Number")
GPU_TEXT(DeviceGetVbiosVersion, NULL, "VBIOS Version")
GPU_TEXT(DeviceGetBoardPartNumber, NULL, "Board Part Number")
GPU_TEXT(DeviceGetInforomImageVersion, "Inforom Version", "Image Version")
GPU_NUMBER(DeviceGetModuleId, "Platform Info", "Module Id", 1)
GPU_NUMBER(DeviceGetPowerUsage, "GPU Power Readings", "Average Power Draw", 1000)
GPU_NUMBER(DeviceGetEnforcedPowerLimit, "GPU Power Readings", "Current Power Limit", 1000)
GPU_NUMBER(DeviceGetPcieReplayCounter, "PCI", "Replays Since Reset", 1)
GPU_NUMBER(DeviceGetCurrPcieLinkGeneration, "PCIe Generation", "Current", 1)
GPU_NUMBER(DeviceGetCurrPcieLinkWidth, "Link Width", "Current", 1)
GPU_FLAG(DeviceGetPersistenceMode, NULL, "Persistence Mode", "Enabled")
GPU_FLAG(DeviceGetVirtualizationMode, "GPU Virtualization Mode", "Virtualization Mode", "Pass-Through")
GPU_MODES(DeviceGetMigMode, "MIG Mode")
GPU_MODES(DeviceGetEccMode, "ECC Mode")

/* ---- the system ---- */

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlInit_v2(void)
{
	return enter(NV_Init_v2);
}

EXPORT int nvmlShutdown(void);
EXPORT int nvmlShutdown(void)
{
	return enter(NV_Shutdown);
}

EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned size);
EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
	ENTER(SystemGetDriverVersion);
	return text_out(value(NULL, "Driver Version"), out, size);
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *n);
EXPORT int nvmlDeviceGetCount_v2(unsigned *n)
{
	ENTER(DeviceGetCount_v2);
	if (!lie(n, sizeof(*n)))
		*n = without == ALL ? 0 : gpu_count - (without >= 0);
	return 0;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **dev);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **dev)
{
	ENTER(DeviceGetHandleByIndex_v2);
	i += without >= 0 && i >= (unsigned)without;
	if (i >= gpu_count || i >= DEVICES)
		return 2;
	if ((int)i == dead)
		return NV_GPU_IS_LOST;
	if (!lie(dev, sizeof(*dev)))
		*dev = &handles.gpu[i];
	return 0;
}

/* ---- a GPU, or a MIG device ---- */

/* "MIG 1g.18gb     Device  3: (UUID: MIG-...)"; the line's number, -1: none. */
static int listed(int mig)
{
	int list = find(-1, "-L", 0), seen = 0;

	for (int i = list + 1; list >= 0 && i < line_count; i++)
		if (!strncmp(lines[i].key, "MIG ", 4) && seen++ == mig)
			return i;
	return -1;
}

EXPORT int nvmlDeviceGetUUID(void *dev, char *out, unsigned size);
EXPORT int nvmlDeviceGetUUID(void *dev, char *out, unsigned size)
{
	int mig = mig_of(dev), at = mig < 0 ? -1 : listed(mig);
	const char *from = at < 0 ? NULL : strstr(lines[at].key, "MIG-");
	char uuid[64] = "";

	ENTER(DeviceGetUUID);
	if (mig < 0 && gpu_of(dev) < 0)
		return 2;
	if (mig < 0)
		snprintf(uuid, sizeof(uuid), "%s", value(NULL, "GPU UUID"));
	if (mig < 0 && gpu_of(dev) > 0)
		uuid[strlen(uuid) - 1] = "0123456789abcdef"[gpu_of(dev) % 16];
	if (from)
		snprintf(uuid, sizeof(uuid), "%.*s", (int)strcspn(from, ")"), from);
	return text_out(uuid, out, size);
}

EXPORT int nvmlDeviceGetName(void *dev, char *out, unsigned size);
EXPORT int nvmlDeviceGetName(void *dev, char *out, unsigned size)
{
	int mig = mig_of(dev), at = mig < 0 ? -1 : listed(mig);
	char name[96];

	ENTER(DeviceGetName);
	if (mig < 0)
		return gpu_of(dev) < 0 ? 2 : text_out(value(NULL, "Product Name"), out, size);
	snprintf(name, sizeof(name), "%s MIG %.*s", value(NULL, "Product Name"), at < 0 ? 0 : (int)strcspn(lines[at].key + 4, " "),
		 at < 0 ? "" : lines[at].key + 4);
	return text_out(name, out, size);
}

EXPORT int nvmlDeviceGetPciInfo_v3(void *dev, struct nv_pci *p);
EXPORT int nvmlDeviceGetPciInfo_v3(void *dev, struct nv_pci *p)
{
	const char *v = value("PCI", "Bus Id");
	unsigned bus;

	ENTER(DeviceGetPciInfo_v3);
	if (gpu_of(dev) < 0)
		return 2;
	if (lie(p, sizeof(*p)))
		return 0;
	memset(p, 0, sizeof(*p));
	if (!v || sscanf(v, "%x:%x:", &p->domain, &bus) != 2)
		return NV_NOT_SUPPORTED;
	p->bus = bus + (unsigned)gpu_of(dev);
	snprintf(p->bus_id, sizeof(p->bus_id), "%08X:%02X:00.0", p->domain, p->bus);
	return 0;
}

/* The nth of a MIG device's own sections, or the GPU's. */
static int memory_section(void *dev)
{
	int mig = mig_of(dev);

	return mig < 0 ? find(-1, "FB Memory Usage", 0) : find(find(-1, "MIG Device", mig), "Shared FB Memory Usage", 0);
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *dev, struct nv_memory *m);
EXPORT int nvmlDeviceGetMemoryInfo_v2(void *dev, struct nv_memory *m)
{
	static const char *const keys[] = {"Total", "Reserved", "Free", "Used"};
	unsigned long long *const to[] = {&m->total, &m->reserved, &m->free, &m->used};
	int in = memory_section(dev);

	ENTER(DeviceGetMemoryInfo_v2);
	if (m->version != (sizeof(*m) | 2u << 24))
		return 25;
	if (gpu_of(dev) < 0 && mig_of(dev) < 0)
		return 2;
	if (lie(m, sizeof(*m)))
		return 0;
	for (int i = 0; i < 4; i++) {
		int at = find(in, keys[i], 0);

		if (in < 0 || at < 0)
			return NV_NOT_SUPPORTED;
		*to[i] = (unsigned long long)number(lines[at].value);
	}
	return 0;
}

EXPORT int nvmlDeviceGetBAR1MemoryInfo(void *dev, struct nv_bar1 *b);
EXPORT int nvmlDeviceGetBAR1MemoryInfo(void *dev, struct nv_bar1 *b)
{
	ENTER(DeviceGetBAR1MemoryInfo);
	if (!lie(b, sizeof(*b)))
		*b = (struct nv_bar1){(unsigned long long)number(value("BAR1 Memory Usage", "Total")),
				      (unsigned long long)number(value("BAR1 Memory Usage", "Free")),
				      (unsigned long long)number(value("BAR1 Memory Usage", "Used"))};
	return gpu_of(dev) < 0 ? 2 : 0;
}

EXPORT int nvmlDeviceGetTemperature(void *dev, unsigned sensor, unsigned *t);
EXPORT int nvmlDeviceGetTemperature(void *dev, unsigned sensor, unsigned *t)
{
	ENTER(DeviceGetTemperature);
	return gpu_of(dev) < 0 || sensor ? 2 : u32_out(value("Temperature", "GPU Current Temp"), 1, t);
}

EXPORT int nvmlDeviceGetClockInfo(void *dev, unsigned which, unsigned *mhz);
EXPORT int nvmlDeviceGetClockInfo(void *dev, unsigned which, unsigned *mhz)
{
	static const char *const keys[] = {"Graphics", "SM", "Memory", "Video"};

	ENTER(DeviceGetClockInfo);
	return gpu_of(dev) < 0 || which > 3 ? 2 : u32_out(value("Clocks", keys[which]), 1, mhz);
}

EXPORT int nvmlDeviceGetCurrentClocksEventReasons(void *dev, unsigned long long *v);
EXPORT int nvmlDeviceGetCurrentClocksEventReasons(void *dev, unsigned long long *v)
{
	static const char *const keys[] = {"Idle", "Applications Clocks Setting", "SW Power Cap", "HW Slowdown", "Sync Boost",
					   "SW Thermal Slowdown", "HW Thermal Slowdown", "HW Power Brake Slowdown"};

	ENTER(DeviceGetCurrentClocksEventReasons);
	if (gpu_of(dev) < 0)
		return 2;
	if (lie(v, sizeof(*v)))
		return 0;
	*v = 0;
	for (unsigned i = 0; i < 8; i++) {
		const char *is = value("Clocks Event Reasons", keys[i]);

		*v |= is && !strcmp(is, "Active") ? 1ull << i : 0;
	}
	return 0;
}

EXPORT int nvmlDeviceGetUtilizationRates(void *dev, struct nv_utilization *u);
EXPORT int nvmlDeviceGetUtilizationRates(void *dev, struct nv_utilization *u)
{
	const char *gpu = value("Utilization", "GPU"), *memory = value("Utilization", "Memory");

	ENTER(DeviceGetUtilizationRates);
	if (!lie(u, sizeof(*u)))
		*u = (struct nv_utilization){(unsigned)number(gpu), (unsigned)number(memory)};
	return gpu_of(dev) < 0 ? 2 : gpu ? 0 : NV_NOT_SUPPORTED;
}

EXPORT int nvmlDeviceGetTotalEccErrors(void *dev, unsigned uncorrected, unsigned ever, unsigned long long *n);
EXPORT int nvmlDeviceGetTotalEccErrors(void *dev, unsigned uncorrected, unsigned ever, unsigned long long *n)
{
	int in = -1, nth = 0;
	static const char *const of[2][3] = {{"SRAM Correctable", "DRAM Correctable", NULL},
					     {"SRAM Uncorrectable Parity", "SRAM Uncorrectable SEC-DED", "DRAM Uncorrectable"}};

	ENTER(DeviceGetTotalEccErrors);
	if (gpu_of(dev) < 0 || uncorrected > 1 || ever > 1)
		return 2;
	if (lie(n, sizeof(*n)))
		return 0;
	while ((in = find(-1, "ECC Errors", nth++)) >= 0 && lines[in].indent > 4)
		; /* a MIG device's own */
	in = in < 0 ? -1 : find(in, ever ? "Aggregate" : "Volatile", 0);
	*n = 0;
	for (int i = 0; i < 3 && of[uncorrected][i]; i++) {
		int at = find(in, of[uncorrected][i], 0);

		if (in < 0 || at < 0)
			return NV_NOT_SUPPORTED;
		*n += (unsigned long long)number(lines[at].value);
	}
	return 0;
}

EXPORT int nvmlDeviceGetRemappedRows(void *dev, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed);
EXPORT int nvmlDeviceGetRemappedRows(void *dev, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
	ENTER(DeviceGetRemappedRows);
	if (gpu_of(dev) < 0)
		return 2;
	u32_out(value("Remapped Rows", "Uncorrectable Error"), 1, uncorrected);
	flag_out(value("Remapped Rows", "Pending"), "Yes", pending);
	flag_out(value("Remapped Rows", "Remapping Failure Occurred"), "Yes", failed);
	return u32_out(value("Remapped Rows", "Correctable Error"), 1, corrected);
}

EXPORT int nvmlDeviceGetFieldValues(void *dev, int n, struct nv_field *f);
EXPORT int nvmlDeviceGetFieldValues(void *dev, int n, struct nv_field *f)
{
	const char *t = value("Temperature", "Memory Current Temp");

	ENTER(DeviceGetFieldValues);
	if (gpu_of(dev) < 0)
		return 2;
	if (lie(f, (size_t)n * sizeof(*f)))
		for (int i = 0; i < n; i++) { /* the fields' own return codes say all is well */
			f[i].rc = 0;
			f[i].kind = i & 1 ? NV_ULONGLONG : NV_UINT;
		}
	for (int i = 0; i < n && !fault.lying; i++) {
		f[i].rc = f[i].id == 82 && t ? 0 : NV_NOT_SUPPORTED;
		f[i].kind = NV_UINT;
		f[i].v.ui = (unsigned)number(t);
	}
	return 0;
}

EXPORT int nvmlDeviceGetNvLinkState(void *dev, unsigned link, unsigned *on);
EXPORT int nvmlDeviceGetNvLinkState(void *dev, unsigned link, unsigned *on)
{
	char key[32];

	ENTER(DeviceGetNvLinkState);
	if (gpu_of(dev) < 0 || link >= NV_LINKS_MAX)
		return 2;
	snprintf(key, sizeof(key), "Link %u:", link);
	for (int i = find(-1, "nvlink -s", 0) + 1; i > 0 && i < line_count; i++)
		if (!strncmp(lines[i].key, key, strlen(key))) {
			if (!lie(on, sizeof(*on)))
				*on = strstr(lines[i].key, "GB/s") != NULL;
			return 0;
		}
	return NV_NOT_SUPPORTED;
}

static bool linked(int a, int b)
{
	const char *at = getenv("FAKE_NVML_LINKED");
	int x, y, n = 0;

	for (; sscanf(at, "%d-%d%n", &x, &y, &n) == 2; at += n)
		if ((a == x && b == y) || (a == y && b == x))
			return true;
	return false;
}

EXPORT int nvmlDeviceGetP2PStatus(void *dev, void *peer, unsigned what, unsigned *status);
EXPORT int nvmlDeviceGetP2PStatus(void *dev, void *peer, unsigned what, unsigned *status)
{
	ENTER(DeviceGetP2PStatus);
	if (gpu_of(dev) < 0 || gpu_of(peer) < 0 || dev == peer || what != NV_P2P_NVLINK)
		return 2;
	if (!getenv("FAKE_NVML_LINKED"))
		return NV_NOT_SUPPORTED;
	if (!lie(status, sizeof(*status)))
		*status = linked(gpu_of(dev), gpu_of(peer)) ? 0 : 5;
	return 0;
}

/* Of the GPU itself: in MIG mode too, where programs are listed with their instances. */
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *dev, unsigned *n, struct nv_process *p);
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *dev, unsigned *n, struct nv_process *p)
{
	unsigned room = *n, there = 0;
	int in = find(-1, "Processes", 0), at;

	ENTER(DeviceGetComputeRunningProcesses_v3);
	if (gpu_of(dev) < 0)
		return 2;
	if (lie(n, sizeof(*n)) && lie(p, room * sizeof(*p)))
		return 0;
	for (; in >= 0 && (at = find(in, "Process ID", (int)there)) >= 0 && there < room; there++) {
		int memory = find(at, "Used GPU Memory", 0), gi = find(in, "GPU instance ID", (int)there),
		    ci = find(in, "Compute instance ID", (int)there);

		p[there] = (struct nv_process){(unsigned)number(lines[at].value), (unsigned long long)number(lines[memory].value),
					       gi < 0 || !strcmp(lines[gi].value, "N/A") ? ~0u : (unsigned)number(lines[gi].value),
					       ci < 0 || !strcmp(lines[ci].value, "N/A") ? ~0u : (unsigned)number(lines[ci].value)};
	}
	*n = there;
	return 0;
}

/* ---- MIG ---- */

EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *dev, unsigned *n);
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *dev, unsigned *n)
{
	ENTER(DeviceGetMaxMigDeviceCount);
	if (!lie(n, sizeof(*n)))
		*n = 7;
	return gpu_of(dev) < 0 ? 2 : 0;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void *dev, unsigned i, void **mig);
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void *dev, unsigned i, void **mig)
{
	ENTER(DeviceGetMigDeviceHandleByIndex);
	if (gpu_of(dev) < 0 || i >= MIGS)
		return 2;
	if (find(-1, "MIG Device", (int)i) < 0)
		return NV_NOT_FOUND;
	if (!lie(mig, sizeof(*mig)))
		*mig = &handles.mig[gpu_of(dev)][i];
	return 0;
}

static int mig_number(void *dev, const char *key, unsigned *v)
{
	int mig = mig_of(dev), at = mig < 0 ? -1 : find(find(-1, "MIG Device", mig), key, 0);

	return at < 0 ? 2 : u32_out(lines[at].value, 1, v);
}

EXPORT int nvmlDeviceGetGpuInstanceId(void *dev, unsigned *v);
EXPORT int nvmlDeviceGetGpuInstanceId(void *dev, unsigned *v)
{
	ENTER(DeviceGetGpuInstanceId);
	return mig_number(dev, "GPU Instance ID", v);
}

EXPORT int nvmlDeviceGetComputeInstanceId(void *dev, unsigned *v);
EXPORT int nvmlDeviceGetComputeInstanceId(void *dev, unsigned *v)
{
	ENTER(DeviceGetComputeInstanceId);
	return mig_number(dev, "Compute Instance ID", v);
}

/* ---- events ---- */

EXPORT int nvmlEventSetCreate(void **set);
EXPORT int nvmlEventSetCreate(void **set)
{
	ENTER(EventSetCreate);
	if (!lie(set, sizeof(*set)))
		*set = &handles.events;
	return 0;
}

EXPORT int nvmlDeviceRegisterEvents(void *dev, unsigned long long types, void *set);
EXPORT int nvmlDeviceRegisterEvents(void *dev, unsigned long long types, void *set)
{
	ENTER(DeviceRegisterEvents);
	return gpu_of(dev) < 0 || set != &handles.events || types != NV_EVENT_XID ? 2 : 0;
}

EXPORT int nvmlEventSetWait_v2(void *set, struct nv_event *e, unsigned timeout_ms);
EXPORT int nvmlEventSetWait_v2(void *set, struct nv_event *e, unsigned timeout_ms)
{
	ENTER(EventSetWait_v2);
	if (set != &handles.events || timeout_ms)
		return 2;
	if (lie(e, sizeof(*e)))
		return 0;
	if (!xid)
		return NV_TIMEOUT;
	*e = (struct nv_event){.device = &handles.gpu[0], .type = NV_EVENT_XID, .data = xid};
	xid = 0;
	return 0;
}
