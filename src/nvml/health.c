/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/health.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct gpu_value_def gpu_values[GPU_VALUES] = {
#define V(name, key, unit, most, what) [GPU_##name] = {key, unit, most, what},
#include "nvml/values.def"
#undef V
};

#define PROGRAMS_ASKED 512 /* with more of them their number is absent */
#define EVENTS_AT_ONCE 64 /* of one read; more of them wait for the next */

struct watched {
	void *dev;
	bool seen;    /* by this read */
	bool asked;   /* its name and the like are known */
	bool watched; /* its events are registered */
	uint64_t xids, hardware_xids, last_xid, last_hardware_xid;
};

struct gpu_reader {
	struct nv nv;
	bool open;
	void *events;
	struct watched watched[NV_GPUS_MAX];
	unsigned joined; /* so many GPUs were asked who NVLink joins to them */
	struct gpu_sample s;
};

struct gpu_reader *gpu_reader_new(void)
{
	return calloc(1, sizeof(struct gpu_reader));
}

void gpu_reader_free(struct gpu_reader *r)
{
	if (r && r->open)
		nv_close(&r->nv);
	free(r);
}

/* ---- one value: absent unless it can be ---- */

static void put(struct gpu *g, enum gpu_value v, uint64_t n)
{
	g->value[v] = n <= (uint64_t)gpu_values[v].most ? (int64_t)n : -1;
}

static int64_t bounded(uint64_t n, int64_t most)
{
	return n <= (uint64_t)most ? (int64_t)n : -1;
}

/* The calls that answer one number about a device. */
static const struct {
	enum gpu_value value;
	enum nv_fn fn;
	int which; /* second argument; -1: none */
	bool wide; /* 64 bits */
} numbers[] = {
	{GPU_TEMPERATURE, NV_DeviceGetTemperature, 0, false},
	{GPU_POWER, NV_DeviceGetPowerUsage, -1, false},
	{GPU_POWER_LIMIT, NV_DeviceGetEnforcedPowerLimit, -1, false},
	{GPU_ENERGY, NV_DeviceGetTotalEnergyConsumption, -1, true},
	{GPU_SM_CLOCK, NV_DeviceGetClockInfo, 1, false},
	{GPU_MEMORY_CLOCK, NV_DeviceGetClockInfo, 2, false},
	{GPU_PCIE_REPLAYS, NV_DeviceGetPcieReplayCounter, -1, false},
	{GPU_PCIE_GENERATION, NV_DeviceGetCurrPcieLinkGeneration, -1, false},
	{GPU_PCIE_WIDTH, NV_DeviceGetCurrPcieLinkWidth, -1, false},
};

static void read_numbers(struct nv *nv, void *dev, struct gpu *g)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		unsigned long long wide = 0;
		unsigned n = 0;
		bool ok = numbers[i].wide	? nv_u64(nv, numbers[i].fn, dev, &wide)
			  : numbers[i].which < 0 ? nv_u32(nv, numbers[i].fn, dev, &n)
						 : nv_at(nv, numbers[i].fn, dev, (unsigned)numbers[i].which, &n);

		if (ok)
			put(g, numbers[i].value, numbers[i].wide ? wide : n);
	}
}

/* nvmlClocksEventReasons */
static const struct {
	enum gpu_value value;
	unsigned bit;
} reasons[] = {
	{GPU_HELD_BY_POWER_CAP, 0x04}, {GPU_HELD_BY_HARDWARE, 0x08}, {GPU_HELD_BY_SYNC_BOOST, 0x10},
	{GPU_HELD_BY_DRIVER_HEAT, 0x20}, {GPU_HELD_BY_HEAT, 0x40}, {GPU_HELD_BY_POWER_BRAKE, 0x80},
};

static void read_reasons(struct nv *nv, void *dev, struct gpu *g)
{
	unsigned long long v;

	if (!nv_u64(nv, NV_DeviceGetCurrentClocksEventReasons, dev, &v) &&
	    !nv_u64(nv, NV_DeviceGetCurrentClocksThrottleReasons, dev, &v))
		return;
	if (v >> 16) /* nine are known; a blank value has them all */
		return;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		g->value[reasons[i].value] = !!(v & reasons[i].bit);
}

static void read_utilization(struct nv *nv, void *dev, struct gpu *g)
{
	struct nv_utilization u[4] = {0}; /* one is filled in; room for a library that has more to say */

	if (!nv_struct(nv, NV_DeviceGetUtilizationRates, dev, u))
		return;
	put(g, GPU_UTILIZATION, u->gpu);
	put(g, GPU_MEMORY_UTILIZATION, u->memory);
}

/* -1, or what can be of that much memory. */
static bool read_memory_of(struct nv *nv, void *dev, int64_t *total, int64_t *reserved, int64_t *used)
{
	struct nv_memory m = {.version = sizeof(m) | 2u << 24};

	if (!nv_struct(nv, NV_DeviceGetMemoryInfo_v2, dev, &m))
		return false;
	*total = bounded(m.total, gpu_values[GPU_MEMORY].most);
	*reserved = bounded(m.reserved, *total);
	*used = bounded(m.used, *total);
	if (*total < 0)
		*reserved = *used = -1;
	return true;
}

static void read_memory(struct nv *nv, void *dev, struct gpu *g)
{
	read_memory_of(nv, dev, &g->value[GPU_MEMORY], &g->value[GPU_MEMORY_RESERVED], &g->value[GPU_MEMORY_USED]);
}

static void read_errors(struct nv *nv, void *dev, struct gpu *g)
{
	static const enum gpu_value of[] = {GPU_ECC_CORRECTED, GPU_ECC_UNCORRECTED, GPU_ECC_CORRECTED_EVER, GPU_ECC_UNCORRECTED_EVER};
	unsigned row[4] = {0};
	unsigned long long n;

	for (unsigned i = 0; i < 4; i++)
		if (nv_ecc(nv, dev, i & 1, i >> 1, &n))
			put(g, of[i], n);
	if (!nv_rows(nv, dev, row))
		return;
	for (unsigned i = 0; i < 4; i++)
		put(g, (enum gpu_value)(GPU_ROWS_CORRECTED + i), row[i]);
}

/* NVML_FI_DEV_... */
static const struct {
	enum gpu_value value;
	unsigned id;
} fields[] = {
	{GPU_MEMORY_TEMPERATURE, 82}, {GPU_LINK_CRC, 38}, {GPU_LINK_REPLAYS, 52}, {GPU_LINK_RECOVERIES, 59},
};
#define FIELDS (sizeof(fields) / sizeof(*fields))

/* False: not a number that can be. */
static bool field_value(const struct nv_field *f, uint64_t *n)
{
	switch (f->kind) {
	case NV_UINT: *n = f->v.ui; return true;
	case NV_ULONG: *n = f->v.ul; return true;
	case NV_ULONGLONG: *n = f->v.ull; return true;
	case NV_USHORT: *n = f->v.us; return true;
	case NV_INT: *n = (uint64_t)f->v.si; return f->v.si >= 0;
	case NV_LONGLONG: *n = (uint64_t)f->v.sll; return f->v.sll >= 0;
	case NV_DOUBLE: *n = f->v.d >= 0 && f->v.d < 1e18 ? (uint64_t)f->v.d : 0; return f->v.d >= 0 && f->v.d < 1e18;
	default: return false;
	}
}

static void read_fields(struct nv *nv, void *dev, struct gpu *g)
{
	struct nv_field f[FIELDS] = {0};
	uint64_t n;

	for (size_t i = 0; i < FIELDS; i++)
		f[i] = (struct nv_field){.id = fields[i].id, .rc = NV_UNKNOWN};
	if (!nv_fields(nv, dev, f, FIELDS))
		return;
	for (size_t i = 0; i < FIELDS; i++)
		if (!f[i].rc && field_value(&f[i], &n))
			put(g, fields[i].value, n);
}

static void read_links(struct nv *nv, void *dev, struct gpu *g)
{
	unsigned links = 0, up = 0, on;

	for (unsigned i = 0; i < NV_LINKS_MAX; i++) {
		if (!nv_at(nv, NV_DeviceGetNvLinkState, dev, i, &on)) {
			if (nv->rc == NV_NOT_SUPPORTED || nv->rc == NV_FUNCTION_NOT_FOUND)
				break;
			continue;
		}
		if (on > 1)
			return;
		links++;
		up += on;
	}
	if (links) {
		put(g, GPU_LINKS, links);
		put(g, GPU_LINKS_UP, up);
	}
}

static void read_processes(struct nv *nv, void *dev, struct gpu *g)
{
	struct nv_process p[PROGRAMS_ASKED];
	unsigned n = PROGRAMS_ASKED;

	memset(p, 0, sizeof(p));
	if (!nv_list(nv, NV_DeviceGetComputeRunningProcesses_v3, dev, &n, p))
		return;
	put(g, GPU_PROGRAMS, n);
	for (unsigned i = 0; i < n && g->processes < GPU_PROCESSES; i++) {
		struct gpu_process *to = &g->process[g->processes];

		if (!p[i].pid || p[i].pid > INT32_MAX)
			continue;
		*to = (struct gpu_process){p[i].pid, bounded(p[i].memory, gpu_values[GPU_MEMORY].most),
					   bounded(p[i].gpu_instance, 255), bounded(p[i].compute_instance, 255)};
		g->processes++;
	}
}

static void read_instance(struct nv *nv, void *mig, struct gpu *g)
{
	struct gpu_instance *to = &g->instance[g->instances++];
	int64_t reserved;
	unsigned n;

	*to = (struct gpu_instance){.gpu_instance = -1, .compute_instance = -1, .memory = -1, .used = -1};
	nv_text(nv, NV_DeviceGetUUID, mig, to->uuid, sizeof(to->uuid));
	nv_text(nv, NV_DeviceGetName, mig, to->name, sizeof(to->name));
	if (nv_u32(nv, NV_DeviceGetGpuInstanceId, mig, &n))
		to->gpu_instance = bounded(n, 255);
	if (nv_u32(nv, NV_DeviceGetComputeInstanceId, mig, &n))
		to->compute_instance = bounded(n, 255);
	read_memory_of(nv, mig, &to->memory, &reserved, &to->used);
}

static void read_mig(struct nv *nv, void *dev, struct gpu *g)
{
	unsigned now, pending, most = 0;
	void *mig;

	if (!nv_pair(nv, NV_DeviceGetMigMode, dev, &now, &pending))
		return;
	put(g, GPU_MIG, now);
	if (g->value[GPU_MIG] != 1 || !nv_u32(nv, NV_DeviceGetMaxMigDeviceCount, dev, &most))
		return;
	for (unsigned i = 0; i < most && i < GPU_INSTANCES; i++)
		if (nv_mig_handle(nv, dev, i, &mig))
			read_instance(nv, mig, g);
	put(g, GPU_MIG_DEVICES, g->instances);
}

/* ---- a device ---- */

static void forget_values(struct gpu *g)
{
	for (unsigned i = 0; i < GPU_VALUES; i++)
		g->value[i] = -1;
	g->instances = g->processes = 0;
}

void gpu_lose(struct gpu *g)
{
	forget_values(g);
	g->value[GPU_LOST] = 1;
}

/* What does not change: asked until it is known. */
static void introduce(struct gpu_reader *r, struct watched *w, struct gpu *g)
{
	struct {
		struct nv_pci pci;
		char slack[64];
	} p = {0};
	bool named = nv_text(&r->nv, NV_DeviceGetName, w->dev, g->name, sizeof(g->name));

	nv_text(&r->nv, NV_DeviceGetSerial, w->dev, g->serial, sizeof(g->serial));
	if (nv_struct(&r->nv, NV_DeviceGetPciInfo_v3, w->dev, &p)) {
		p.pci.bus_id[sizeof(p.pci.bus_id) - 1] = 0;
		if (strspn(p.pci.bus_id, "0123456789abcdefABCDEF:.") == strlen(p.pci.bus_id))
			memcpy(g->bus_id, p.pci.bus_id, sizeof(g->bus_id));
	}
	if (r->events && !w->watched)
		w->watched = nv_register(&r->nv, w->dev, r->events);
	w->asked = named && g->uuid[0];
}

static void (*const readers[])(struct nv *nv, void *dev, struct gpu *g) = {
	read_numbers, read_reasons, read_utilization, read_memory, read_errors,
	read_fields,  read_links,   read_processes,   read_mig,
};

static void read_gpu(struct gpu_reader *r, struct watched *w, struct gpu *g)
{
	forget_values(g);
	if (!w->asked)
		introduce(r, w, g);
	g->value[GPU_LOST] = 0;
	for (size_t k = 0; k < sizeof(readers) / sizeof(*readers) && !r->nv.lost; k++)
		readers[k](&r->nv, w->dev, g);
	if (r->nv.lost)
		gpu_lose(g);
}

static void put_events(struct watched *w, struct gpu *g)
{
	if (!w->watched)
		return;
	put(g, GPU_XIDS, w->xids);
	put(g, GPU_HARDWARE_XIDS, w->hardware_xids);
	put(g, GPU_LAST_XID, w->last_xid);
	put(g, GPU_LAST_HARDWARE_XID, w->last_hardware_xid);
}

/* ---- which of them it is ---- */

static bool is_uuid(const char *s)
{
	return !strncmp(s, "GPU-", 4) && s[4] && !s[4 + strspn(s + 4, "0123456789abcdefABCDEF-")];
}

/* 0: it is another. A handle tells only where a UUID does not; whoever never had a name may be anybody. */
static int likeness(const struct watched *w, const struct gpu *g, void *dev, const char *uuid)
{
	if (w->seen)
		return 0;
	if (uuid[0] && g->uuid[0])
		return strcmp(uuid, g->uuid) ? 0 : 3;
	return w->dev == dev ? 2 : !g->uuid[0];
}

/* A place that was never used: `index`, where it can be. NV_GPUS_MAX: there is none. */
static unsigned new_place(struct gpu_reader *r, unsigned index)
{
	unsigned i = index < r->s.gpus ? r->s.gpus : index;

	for (unsigned k = 0; i >= NV_GPUS_MAX && k < r->s.gpus; k++)
		if (!r->watched[k].seen && r->s.gpu[k].value[GPU_LOST] == 1)
			i = k; /* full of those that are gone */
	if (i >= NV_GPUS_MAX)
		return NV_GPUS_MAX;
	for (unsigned k = i < r->s.gpus ? i : r->s.gpus; k <= i; k++) { /* those left out before it are nobody, lost */
		r->watched[k] = (struct watched){0};
		memset(&r->s.gpu[k], 0, sizeof(r->s.gpu[k]));
	}
	r->s.gpus = i < r->s.gpus ? r->s.gpus : i + 1;
	return i;
}

static unsigned place_of(struct gpu_reader *r, unsigned index, void *dev, const char *uuid)
{
	unsigned best = NV_GPUS_MAX;
	int like = 0;

	for (unsigned i = 0; i < r->s.gpus; i++) {
		int l = likeness(&r->watched[i], &r->s.gpu[i], dev, uuid);

		if (l > like) {
			like = l;
			best = i;
		}
	}
	return like ? best : new_place(r, index);
}

static void read_index(struct gpu_reader *r, unsigned index)
{
	char uuid[NV_TEXT] = "";
	struct watched *w;
	unsigned i;
	void *dev;

	r->nv.lost = false;
	if (!nv_handle(&r->nv, index, &dev))
		return; /* whoever is not seen is lost */
	if (!nv_text(&r->nv, NV_DeviceGetUUID, dev, uuid, sizeof(uuid)) || !is_uuid(uuid))
		uuid[0] = 0;
	i = place_of(r, index, dev, uuid);
	if (i == NV_GPUS_MAX)
		return;
	w = &r->watched[i];
	if (w->dev != dev)
		w->watched = w->asked = false;
	w->dev = dev;
	w->seen = true;
	if (uuid[0])
		memcpy(r->s.gpu[i].uuid, uuid, sizeof(uuid));
	read_gpu(r, w, &r->s.gpu[i]);
}

/* All that NVML counts, and those it counted before. */
static void read_gpus(struct gpu_reader *r, unsigned n)
{
	for (unsigned i = 0; i < r->s.gpus; i++)
		r->watched[i].seen = false;
	for (unsigned i = 0; i < n; i++)
		read_index(r, i);
	while (r->s.gpus < n && new_place(r, r->s.gpus) < NV_GPUS_MAX)
		;
	while (r->s.gpus > n && !r->watched[r->s.gpus - 1].seen && !r->s.gpu[r->s.gpus - 1].uuid[0])
		r->s.gpus--;
	for (unsigned i = 0; i < r->s.gpus; i++) {
		if (!r->watched[i].seen)
			gpu_lose(&r->s.gpu[i]);
		put_events(&r->watched[i], &r->s.gpu[i]);
	}
}

/* True unless NVML does not tell. */
static bool join(struct nv *nv, struct watched *a, struct watched *b, bool *joined)
{
	unsigned status;

	if (!a->dev || !b->dev || !nv_p2p(nv, a->dev, b->dev, NV_P2P_NVLINK, &status) || status > NV_P2P_STATUS_MAX)
		return false;
	*joined = status == 0;
	return true;
}

/* Cables and switches stay as they are while the driver is loaded: asked once. */
static void read_peers(struct gpu_reader *r, unsigned n)
{
	if (n == r->joined)
		return;
	r->joined = n;
	for (unsigned i = 0; i < n; i++)
		r->s.gpu[i].peers = 0;
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < i; k++) {
			struct gpu *a = &r->s.gpu[i], *b = &r->s.gpu[k];
			bool joined = false, known = join(&r->nv, &r->watched[i], &r->watched[k], &joined);

			a->peers = !known || a->peers < 0 ? -1 : a->peers | (int64_t)joined << k;
			b->peers = !known || b->peers < 0 ? -1 : b->peers | (int64_t)joined << i;
		}
}

/* As NVIDIA's Kubernetes device plug-in sorts them, and 69: engine, memory and class errors by what a program asks for,
 * its forced end, a video engine's, a context that does not yield. */
bool gpu_xid_of_program(uint64_t xid)
{
	static const uint8_t of_programs[] = {13, 31, 43, 45, 68, 69, 109};

	return xid <= UINT8_MAX && memchr(of_programs, (int)xid, sizeof(of_programs)) != NULL;
}

static void count_xid(struct watched *w, uint64_t xid)
{
	uint64_t number = xid <= (uint64_t)gpu_values[GPU_LAST_XID].most ? xid : 0;

	w->xids++;
	w->last_xid = number;
	if (gpu_xid_of_program(xid))
		return;
	w->hardware_xids++;
	w->last_hardware_xid = number;
}

static void take_events(struct gpu_reader *r)
{
	for (unsigned n = 0; r->events && n < EVENTS_AT_ONCE; n++) {
		struct nv_event e = {0};

		if (!nv_event(&r->nv, r->events, &e))
			return;
		for (unsigned i = 0; i < r->s.gpus; i++)
			if (e.type == NV_EVENT_XID && r->watched[i].dev == e.device && r->watched[i].watched)
				count_xid(&r->watched[i], e.data);
	}
}

const struct gpu_sample *gpu_read(struct gpu_reader *r)
{
	unsigned n = 0;

	if (!r->open) {
		r->s.rc = nv_open(&r->nv);
		if (r->s.rc)
			return &r->s;
		r->open = true;
		nv_system_text(&r->nv, NV_SystemGetDriverVersion, r->s.driver, sizeof(r->s.driver));
		r->events = nv_events(&r->nv);
	}
	if (!nv_count(&r->nv, NV_DeviceGetCount_v2, &n) || n > NV_GPUS_MAX) {
		r->s.rc = r->nv.rc > 0 ? r->nv.rc : NV_UNKNOWN;
		return &r->s;
	}
	r->s.rc = 0;
	take_events(r);
	read_gpus(r, n);
	read_peers(r, r->s.gpus);
	r->s.failures = r->nv.failures;
	return &r->s;
}

/* ---- what is made of it ---- */

static bool ended(const char *s, size_t size)
{
	return memchr(s, 0, size) != NULL;
}

bool gpu_plausible(const struct gpu *g)
{
	if (!ended(g->name, sizeof(g->name)) || !ended(g->uuid, sizeof(g->uuid)) || !ended(g->bus_id, sizeof(g->bus_id)) ||
	    !ended(g->serial, sizeof(g->serial)) || g->instances > GPU_INSTANCES || g->processes > GPU_PROCESSES ||
	    g->peers < -1 || g->peers >> NV_GPUS_MAX > 0)
		return false;
	for (unsigned i = 0; i < GPU_VALUES; i++)
		if (g->value[i] < -1 || g->value[i] > gpu_values[i].most)
			return false;
	for (unsigned i = 0; i < g->instances; i++)
		if (!ended(g->instance[i].uuid, NV_TEXT) || !ended(g->instance[i].name, NV_TEXT))
			return false;
	return true;
}

const char *gpu_error_text(int rc)
{
	static const struct {
		int rc;
		const char *text;
	} texts[] = {
		{0, "NVML answers"},
		{-ENOENT, "no NVML: libnvidia-ml.so.1 is not installed"},
		{-ETIMEDOUT, "NVML does not answer: the driver hangs"},
		{-EPIPE, "NVML ended its process"},
		{-EPROTO, "NVML spoilt its process"},
		{NV_NO_PERMISSION, "NVML: no permission: /dev/nvidiactl and /dev/nvidia* must be readable and writable"},
		{NV_DRIVER_NOT_LOADED, "NVML: the driver is not loaded: modprobe nvidia"},
		{NV_FUNCTION_NOT_FOUND, "NVML: the library has no nvmlInit_v2"},
		{NV_GPU_IS_LOST, "NVML: a GPU is lost: reset it or the machine"},
		{18, "NVML: library and driver are of different versions: reboot, or reload the driver"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (texts[i].rc == rc)
			return texts[i].text;
	return "NVML: an error its library names by a number only: see nvidia-smi";
}

static const struct {
	enum gpu_value value;
	const char *text;
} problems[] = {
	{GPU_LOST, "it answers no more: reset it (nvidia-smi -r) or the machine"},
	{GPU_ROWS_FAILED, "a row of its memory could not be replaced: replace the GPU"},
	{GPU_ROWS_PENDING, "rows of its memory wait to be replaced: reset it"},
	{GPU_ECC_UNCORRECTED, "memory errors that were not corrected since the driver was loaded: see nvidia-smi -q"},
	{GPU_HELD_BY_HEAT, "the hardware holds its clocks down because of heat: cooling"},
	{GPU_HELD_BY_POWER_BRAKE, "the power supply holds its clocks down: power"},
	{GPU_RECENT_XID, "in the last ten minutes the driver reported an error (Xid) that no program makes: see the kernel's log"},
};

const char *gpu_problem(const struct gpu *g, unsigned i)
{
	for (size_t k = 0; k < sizeof(problems) / sizeof(*problems); k++)
		if (g->value[problems[k].value] > 0 && i-- == 0)
			return problems[k].text;
	/* Those that nothing is connected to never are up. */
	if (g->value[GPU_LINKS_UP] >= 0 && g->value[GPU_LINKS_UP] < g->value[GPU_LINKS_SEEN] && i-- == 0)
		return "some of its NVLinks that were up are down";
	return NULL;
}
