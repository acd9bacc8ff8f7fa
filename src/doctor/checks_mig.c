/* SPDX-License-Identifier: Apache-2.0 */
/* Groups MIG and FABRIC: partitioned GPUs, NVSwitch and Fabric Manager. */
#include "host.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* 1 on, 0 off, -1 unknown (noted): from NVML, or the instances the driver shows. */
static int mig_on(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	const struct ev_item *caps = ev_get(a->ev, EV_LIST, "/proc/driver/nvidia/capabilities");

	note_nvml(a);
	if (n->valid) {
		for (size_t i = 0; i < n->n; i++)
			if (n->gpu[i].mig == 1)
				return 1;
		return 0;
	}
	aud_note(a, caps, caps->err && caps->err != ENOENT ? strerror(caps->err) : NULL);
	if (caps->err == ENOENT && !aud_anchor(a, "/proc"))
		return -1;
	for (const char *p = ev_name(caps, NULL); p; p = ev_name(caps, p)) {
		const struct ev_item *mig;

		if (strncmp(p, "gpu", 3))
			continue;
		mig = ev_getf(a->ev, EV_LIST, "/proc/driver/nvidia/capabilities/%s/mig", p);
		aud_note(a, mig, mig->err && mig->err != ENOENT ? strerror(mig->err) : NULL);
		if (!mig->err && mig->len)
			return 1;
		if (mig->err && mig->err != ENOENT)
			return -1;
	}
	return caps->err && caps->err != ENOENT ? -1 : 0;
}

static void mig_pending(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;

	if (need_nvml(a) <= 0)
		return;
	aud_common(a);
	for (size_t i = 0; i < n->n; i++) {
		const struct nvml_gpu *g = &n->gpu[i];

		if (g->mig < 0 || g->mig_pending < 0)
			emit(a, ST_NA, g->bdf, "the GPU has no MIG");
		else if (g->mig != g->mig_pending)
			emit(a, ST_BAD, g->bdf, "MIG is %s now and %s after a reset", g->mig ? "on" : "off", g->mig_pending ? "on" : "off");
		else
			emit(a, ST_PASS, g->bdf, "MIG is %s", g->mig ? "on" : "off");
	}
	if (!n->n)
		emit(a, ST_NA, "host", "NVML sees no GPU");
}

static void mig_instances(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;

	if (need_nvml(a) <= 0)
		return;
	aud_common(a);
	for (size_t i = 0; i < n->n; i++) {
		const struct ev_item *list;
		bool gi = false;

		if (n->gpu[i].mig != 1) {
			emit(a, ST_NA, n->gpu[i].bdf, "MIG is off");
			continue;
		}
		if (aud_list(a, &list, "/proc/driver/nvidia/capabilities/gpu%zu/mig", i) == GOT_NOTHING) {
			emit(a, ST_UNKNOWN, n->gpu[i].bdf, "instances not visible");
			continue;
		}
		for (const char *p = ev_name(list, NULL); p; p = ev_name(list, p))
			gi |= !strncmp(p, "gi", 2);
		if (gi)
			emit(a, ST_PASS, n->gpu[i].bdf, "MIG is on and has instances");
		else
			emit(a, ST_BAD, n->gpu[i].bdf, "MIG is on without any instance: nothing can run");
	}
	if (!n->n)
		emit(a, ST_NA, "host", "NVML sees no GPU");
}

/* Profiles by model, without attributes such as "+me": NVIDIA's MIG user guide and mig-parted. */
static const struct {
	uint16_t device;
	const char *profiles;
} models[] = {
	{0x2335, " 1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb "}, {0x233b, " 1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb "},
	{0x2330, " 1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb "}, {0x2331, " 1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb "},
	{0x20b0, " 1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb "}, {0x20b2, " 1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb "},
	{0x20b5, " 1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb "},
};

static const char *profiles_of(const struct host *h)
{
	for (size_t i = 0; i < h->ngpu; i++)
		for (size_t k = 0; k < sizeof(models) / sizeof(*models); k++)
			if (h->gpu[i]->device == models[k].device)
				return models[k].profiles;
	return NULL;
}

/* Quoted "3g.71gb" keys of a mig-parted configuration. */
static void mig_profiles(struct audit *a)
{
	const struct ev_item *it;
	const char *known;
	unsigned fits = 0, all = 0;
	char wrong[32] = "";
	enum got g;

	if (!need_gpus(a))
		return;
	known = profiles_of(a->host);
	g = aud_text(a, &it, "/etc/nvidia-mig-manager/config.yaml");
	if (g == GOT_NOTHING || (g == GOT_ABSENT && !aud_anchor(a, "/etc"))) {
		emit(a, ST_UNKNOWN, "host", "layout not visible");
		return;
	}
	for (const char *p = g == GOT_VALUE ? it->data : ""; *p; p++) {
		unsigned s, m;
		int used = 0;
		char name[32];

		if (*p != '"' || sscanf(p, "\"%1ug.%3ugb%n", &s, &m, &used) != 2 || !used)
			continue;
		snprintf(name, sizeof(name), " %ug.%ugb ", s, m);
		all++;
		if (known && strstr(known, name))
			fits++;
		else
			snprintf(wrong, sizeof(wrong), "%ug.%ugb", s, m);
	}
	if (!all || !known)
		emit(a, ST_NA, "host", known ? "no MIG layout is configured" : "no GPU whose profiles are known here");
	else if (!fits)
		emit(a, ST_BAD, it->path, "profile %s does not exist on this GPU; it has%s", wrong, known);
	else
		emit(a, ST_PASS, it->path, "%u of %u profiles named are this GPU's", fits, all);
}

static void mig_persist(struct audit *a)
{
	int on = mig_on(a), unit;

	if (on <= 0) {
		emit(a, on ? ST_UNKNOWN : ST_NA, "host", "MIG is off");
		return;
	}
	unit = unit_enabled(a, "nvidia-mig-manager.service");
	if (unit > 0)
		emit(a, ST_PASS, "host", "nvidia-mig-manager restores the layout at boot");
	else
		emit(a, unit ? ST_UNKNOWN : ST_BAD, "host", "nothing restores MIG instances after a reboot");
}

static void mig_p2p(struct audit *a)
{
	int on = mig_on(a);

	if (!aud_anchor(a, "/sys/bus/pci/devices"))
		emit(a, ST_UNKNOWN, "host", "devices not visible");
	else if (on > 0 && a->host->ngpu > 1)
		emit(a, ST_BAD, "host", "MIG instances have no peer-to-peer: jobs over several GPUs copy through the host (links stay up on H100 and later)");
	else
		emit(a, on < 0 ? ST_UNKNOWN : ST_NA, "host", "no MIG on several GPUs");
}

/* "DeviceFileMode: 256" is decimal for 0400. */
static void mig_perms(struct audit *a)
{
	static const char *const name[] = {"config", "monitor"};
	char v[32];

	for (int i = 0; i < 2; i++) {
		const struct ev_item *it;
		enum got g = aud_text(a, &it, "/proc/driver/nvidia/capabilities/mig/%s", name[i]);

		if (g == GOT_ABSENT) {
			emit(a, aud_anchor(a, "/proc") ? ST_NA : ST_UNKNOWN, "host", "no MIG capabilities");
			return;
		}
		if (g == GOT_VALUE && !config_value(it->data, "DeviceFileMode", v, sizeof(v)))
			aud_note(a, it, "no mode in it");
		else if (g == GOT_VALUE && strtoul(v, NULL, 10) & 0077) {
			emit(a, ST_BAD, it->path, "mode %04lo: more than root may change MIG", strtoul(v, NULL, 10));
			return;
		}
	}
	emit(a, ST_PASS, "host", "only root may configure and monitor MIG");
}

static bool fm_config(struct audit *a, const char *key, char *v, size_t size)
{
	const struct ev_item *it;
	enum got g = aud_text(a, &it, "/usr/share/nvidia/nvswitch/fabricmanager.cfg");

	*v = 0;
	if (g == GOT_ABSENT)
		aud_note(a, it, "not there");
	return g == GOT_VALUE && config_value(it->data, key, v, size);
}

/* The check does not apply without NVSwitch (emitted). */
static bool need_switch(struct audit *a)
{
	if (!need_gpus(a))
		return false;
	if (a->host->nnvswitch)
		return true;
	emit(a, ST_NA, "host", "no NVSwitch on PCI");
	return false;
}

static void mig_fabric(struct audit *a)
{
	char mode[16];
	int on;

	if (!need_switch(a))
		return;
	on = mig_on(a);
	if (!on) {
		emit(a, ST_NA, "host", "MIG is off");
		return;
	}
	if (!fm_config(a, "FABRIC_MODE", mode, sizeof(mode)) || on < 0)
		emit(a, ST_UNKNOWN, "host", "fabric mode not visible");
	else if (*mode != '0')
		emit(a, ST_BAD, "host", "FABRIC_MODE=%s with MIG: partitions vanish when MIG is on before Fabric Manager starts; undoing needs a reboot", mode);
	else
		emit(a, ST_PASS, "host", "the fabric is not partitioned");
}

static void mig_cost(struct audit *a)
{
	int on = mig_on(a);

	if (on > 0)
		emit(a, ST_INFO, "host", "seven 1g instances use 112 of 132 SMs and an eighth of the memory each");
	else
		emit(a, on < 0 ? ST_UNKNOWN : ST_NA, "host", "MIG is off");
}

static void mig_lint(struct audit *a)
{
	static const char *const dir[] = {"/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly"};

	if (!aud_anchor(a, "/etc")) {
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
		return;
	}
	for (int i = 0; i < 3; i++) {
		const struct ev_item *list;

		if (aud_list(a, &list, "%s", dir[i]) != GOT_VALUE)
			continue;
		for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
			const struct ev_item *it;

			if (aud_text(a, &it, "%s/%s", dir[i], n) == GOT_VALUE && strstr(it->data, "nvidia-smi -mig ")) {
				emit(a, ST_BAD, it->path, "runs nvidia-smi -mig, which changes the mode; --query-gpu=mig.mode.current,mig.mode.pending looks");
				return;
			}
		}
	}
	emit(a, ST_PASS, "host", "no periodic job changes MIG");
}

static const struct check mig_checks[] = {
	{"MIG-001", "G01", "MIG mode is not waiting for a reset", "-MM-M", 2, 3, mig_pending, "A pending change takes effect at a moment nobody chose.", "NVML",
	 "Reset the GPU while idle, or reboot.", ""},
	{"MIG-002", "G02", "MIG GPUs have instances", "-HH-H", 3, 3, mig_instances, "Without instances no CUDA program finds a device.", "NVML, /proc/driver/nvidia/capabilities",
	 "Create them (mig-parted apply).", ""},
	{"MIG-003", "G03", "Configured profiles exist on the model", "-MM--", 2, 3, mig_profiles, "Profiles differ between models: H200 has 1g.18gb, not 1g.20gb.",
	 "/etc/nvidia-mig-manager/config.yaml, PCI id", "Use the model's profiles: nvidia-smi mig -lgip.", "NVIDIA MIG user guide"},
	{"MIG-004", "G04", "The MIG layout survives a reboot", "-MM-M", 3, 4, mig_persist, "Instances are volatile.", "systemd units", "Enable nvidia-mig-manager.", ""},
	{"MIG-005", "G05", "No multi-GPU work on MIG", "-M---", 2, 2, mig_p2p, "Instances of different GPUs cannot exchange data directly.", "NVML, PCI", "Whole GPUs for such jobs.", ""},
	{"MIG-006", "G06", "Only root configures MIG", "-HH-H", 4, 1, mig_perms, "Whoever may open the capability can destroy other tenants' instances.",
	 "/proc/driver/nvidia/capabilities/mig", "Restore mode 0400.", ""},
	{"MIG-007", "G07", "MIG and fabric mode agree", "-MM--", 3, 2, mig_fabric, "MIG on before Fabric Manager starts removes partitions.", "fabricmanager.cfg, NVML",
	 "Start Fabric Manager first.", "NVIDIA Fabric Manager guide"},
	{"MIG-008", "G08", "What MIG costs", "-III-", 1, 5, mig_cost, "Not all SMs can be divided.", "NVML", "Count with it.", ""},
	{"MIG-009", "G09", "No job changes MIG under the name of looking", "LLLLL", 3, 2, mig_lint, "nvidia-smi -mig 1 is not a query.", "/etc/cron.*", "Use --query-gpu.", ""},
};

const struct check_group mig_group = {
	"MIG", "Partitioned GPUs", mig_checks, sizeof(mig_checks) / sizeof(*mig_checks), "CM-2 CM-6 SC-4 AC-4", "2.2 A1.1", "164.308(a)(1)", "A.8.9 A.8.22", "Art. 32"};

/* ---- fabric ---- */

/* 1 runs, 0 does not, -1 unknown. */
static int fm_running(struct audit *a)
{
	const struct procs *p = &a->host->procs;

	if (!aud_anchor(a, "/proc"))
		return -1;
	for (size_t i = 0; i < p->n; i++)
		if (!strncmp(p->p[i].comm, "nv-fabricmanage", 15)) {
			aud_quote(a, p->p[i].comm_item, p->p[i].comm);
			return 1;
		}
	return 0;
}

static void fabric_ready(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	int run;

	if (!need_switch(a))
		return;
	run = fm_running(a);
	note_nvml(a);
	for (size_t i = 0; i < n->n; i++)
		if (n->gpu[i].fabric_state > 0 && (n->gpu[i].fabric_state != 3 || n->gpu[i].fabric_status > 0)) {
			emit(a, ST_BAD, n->gpu[i].bdf, "fabric state %d, status %d: CUDA fails with 802", n->gpu[i].fabric_state, n->gpu[i].fabric_status);
			return;
		}
	if (!run)
		emit(a, ST_BAD, "host", "NVSwitches without a running Fabric Manager: CUDA fails with 802");
	else
		emit(a, run > 0 ? ST_PASS : ST_UNKNOWN, "host", "Fabric Manager runs");
}

static void fabric_mode(struct audit *a)
{
	/* Allowed FABRIC_MODE by mode of the host: 0 whole or bare, 1 shared NVSwitch, 2 vGPU. */
	static const char *const fit[MODES] = {"01", "0", "2", "0", "0"};
	char mode[16];

	if (!need_switch(a))
		return;
	if (!fm_config(a, "FABRIC_MODE", mode, sizeof(mode)) || !isdigit((uint8_t)*mode))
		emit(a, ST_UNKNOWN, "host", "fabric mode not visible");
	else if (strchr(fit[a->mode], *mode))
		emit(a, ST_PASS, "host", "FABRIC_MODE=%s", mode);
	else
		emit(a, ST_BAD, "host", "FABRIC_MODE=%s; mode %s needs %s", mode, mode_name[a->mode], fit[a->mode]);
}

/* Runs judge for every domain with GPUs on an NVSwitch host. mode: FABRIC_MODE's digit, 0 unknown. */
static void each_vm(struct audit *a, void (*judge)(struct audit *, const struct domain *, unsigned, char))
{
	const struct host *h = a->host;
	char mode[16];
	bool any = false;
	unsigned n;

	if (!need_switch(a))
		return;
	note_domains(a);
	fm_config(a, "FABRIC_MODE", mode, sizeof(mode));
	aud_common(a);
	for (size_t i = 0; i < h->dom.n; i++)
		if (domain_gpus(h, &h->dom.d[i], &n)) {
			any = true;
			aud_note(a, h->dom.d[i].src, NULL);
			judge(a, &h->dom.d[i], n, *mode);
		}
	if (!any)
		emit(a, ST_NA, "host", "no libvirt domain with a GPU");
}

static void size_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	bool shared = mode == '1';
	bool ok = shared ? n == 1 || n == 2 || n == 4 || n == 8 : n == 1 || n == 8;

	if (ok)
		emit(a, ST_PASS, d->name, "%u GPU(s) is a supported size", n);
	else
		emit(a, ST_BAD, d->name, "%u GPUs is no supported size%s", n, shared ? "" : "; shared-NVSwitch mode (FABRIC_MODE=1) gives 1, 2, 4 or 8 with full bandwidth");
}

static void vm_size(struct audit *a)
{
	each_vm(a, size_one);
}

static void blocked_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	if (n != 1 || mode != '0')
		emit(a, ST_NA, d->name, "links are partitioned by Fabric Manager or all belong to the VM");
	else {
		aud_note(a, d->src, "whether a VFIO GPU's NVLinks are blocked shows only out of band (nvidia_gpu_tools --query)");
		emit(a, ST_UNKNOWN, d->name, "link state not visible");
	}
}

static void links_blocked(struct audit *a)
{
	each_vm(a, blocked_one);
}

static void duties_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	if (mode == '0' && n == 8)
		emit(a, ST_BAD, d->name, "full passthrough: the hypervisor must filter NVSwitch registers and keep GPUs from reaching the switches");
	else
		emit(a, ST_PASS, d->name, "switches stay with the host or a service VM");
}

static void duties(struct audit *a)
{
	each_vm(a, duties_one);
}

static void partition_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	if (mode != '1' || n < 2)
		emit(a, ST_NA, d->name, "no partition of several GPUs");
	else {
		aud_note(a, d->src, "the active partitions show only through Fabric Manager's library");
		emit(a, ST_UNKNOWN, d->name, "partitions not visible");
	}
}

static void partitions(struct audit *a)
{
	each_vm(a, partition_one);
}

static void nvlinks(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;

	if (need_nvml(a) <= 0)
		return;
	aud_common(a);
	for (size_t i = 0; i < n->n; i++) {
		const struct nvml_gpu *g = &n->gpu[i];
		const struct klog_hit *sx = log_hit(a, "sxid", NULL);

		if (sx)
			emit(a, ST_BAD, g->bdf, "%s", sx->text);
		else if (g->links > 0 && g->links_up < g->links)
			emit(a, ST_BAD, g->bdf, "%d of %d NVLinks up", g->links_up, g->links);
		else
			emit(a, g->links > 0 ? ST_PASS : ST_NA, g->bdf, g->links > 0 ? "%d NVLinks up" : "no NVLinks", g->links_up);
	}
	if (!n->n)
		emit(a, ST_NA, "host", "NVML sees no GPU");
}

static void fm_exposed(struct audit *a)
{
	char v[256];

	if (!need_switch(a))
		return;
	if (ev_text_problem(ev_get(a->ev, EV_READ, "/usr/share/nvidia/nvswitch/fabricmanager.cfg"))) {
		fm_config(a, "FABRIC_MODE", v, sizeof(v));
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
		return;
	}
	if (fm_config(a, "FM_CMD_BIND_INTERFACE", v, sizeof(v)) && strcmp(v, "127.0.0.1") && strcmp(v, "localhost") && *v)
		emit(a, ST_BAD, "host", "Fabric Manager's command interface listens on %s, without authentication", v);
	else if (!fm_config(a, "STATE_FILE_NAME", v, sizeof(v)) || !strncmp(v, "/tmp/", 5))
		emit_sev(a, 'L', "host", "Fabric Manager's state file is %s, where every user writes", *v ? v : "/tmp/fabricmanager.state (default)");
	else
		emit(a, ST_PASS, "host", "command interface local, state file %s", v);
}

/* How two GPUs of a VM reach each other, from their paths. */
static void locality(struct audit *a)
{
	const struct host *h = a->host;
	bool any = false;
	unsigned n;

	if (!need_gpus(a))
		return;
	note_domains(a);
	aud_common(a);
	for (size_t i = 0; i < h->dom.n; i++) {
		const struct domain *d = &h->dom.d[i];
		long long first = -2, node;
		bool apart = false;

		if (!domain_gpus(h, d, &n) || n < 2)
			continue;
		any = true;
		aud_note(a, d->src, NULL);
		for (unsigned k = 0; k < d->nhostdev; k++) {
			if (aud_long(a, &node, "/sys/bus/pci/devices/%s/numa_node", d->hostdev[k]) != GOT_VALUE)
				continue;
			apart |= first != -2 && node != first;
			first = node;
		}
		if (apart && n < h->ngpu)
			emit(a, ST_BAD, d->name, "its GPUs are on different sockets");
		else
			emit(a, ST_PASS, d->name, apart ? "has all GPUs" : "its GPUs are on one socket");
	}
	if (!any)
		emit(a, ST_NA, "host", "no VM with several GPUs");
}

static void blackwell(struct audit *a)
{
	const struct host *h = a->host;

	if (!need_gpus(a))
		return;
	for (size_t i = 0; i < h->ngpu; i++)
		if (h->gpu[i]->vendor == 0x10de && (h->gpu[i]->device & 0xff00) == 0x2900) {
			note_dev(a, h->gpu[i]);
			emit(a, ST_INFO, h->gpu[i]->bdf, "Blackwell: the NVSwitch is reached through ConnectX-7 functions, which go to the guest or a service VM");
			return;
		}
	emit(a, ST_NA, "host", "no Blackwell GPU");
}

static const struct check fabric_checks[] = {
	{"FABRIC-001", "H01", "The NVSwitch fabric is ready", "-CCCC", 4, 2, fabric_ready, "CUDA does not start without it (error 802).", "processes, NVML",
	 "Enable nvidia-fabricmanager of exactly the driver's version.", "NVIDIA Fabric Manager guide"},
	{"FABRIC-002", "H02", "FABRIC_MODE fits the plan", "HHHHH", 3, 2, fabric_mode, "0 whole hosts and full passthrough, 1 shared NVSwitch, 2 vGPU.", "fabricmanager.cfg", "Set it; restart Fabric Manager.", ""},
	{"FABRIC-003", "H03", "VMs have supported sizes", "M-M--", 3, 2, vm_size, "Full passthrough of Hopper supports 8 GPUs or 1; shared mode 1, 2, 4, 8.", "libvirt XML, fabricmanager.cfg",
	 "Shared-NVSwitch mode, NVIDIA's recommendation.", "NVIDIA Fabric Manager guide"},
	{"FABRIC-004", "H04", "NVLinks of single-GPU VMs are blocked", "H----", 4, 3, links_blocked, "An open link lets a tenant reach the fabric.", "out of band only",
	 "nvidia_gpu_tools --block-all-nvlinks before each start and after each reset.", ""},
	{"FABRIC-005", "H05", "Full passthrough is guarded by the hypervisor", "H----", 4, 3, duties, "A guest with all switches can reprogram them.", "libvirt XML, fabricmanager.cfg", "Shared mode, if the hypervisor cannot filter.", ""},
	{"FABRIC-006", "H06", "Partitions match the VMs", "H-H--", 4, 2, partitions, "A GPU of another partition reaches the VM's memory.", "Fabric Manager's library", "Activate the partition before the VM starts.", ""},
	{"FABRIC-007", "H07", "NVLinks are up", "-MMMM", 3, 2, nvlinks, "A dead link slows every collective.", "NVML, kernel log", "Reset; diagnose; replace.", ""},
	{"FABRIC-008", "H08", "Fabric Manager is not exposed", "HHHHH", 4, 2, fm_exposed, "Its interface has no authentication.", "fabricmanager.cfg", "Unix socket or 127.0.0.1; STATE_FILE_NAME below /var.", ""},
	{"FABRIC-009", "H09", "A VM's GPUs are close together", "M-M--", 2, 3, locality, "Peers across sockets are slow.", "libvirt XML, numa_node", "Choose GPUs of one socket.", ""},
	{"FABRIC-010", "H10", "Blackwell's fabric functions", "IIIII", 1, 1, blackwell, "They are not on PCI as before.", "PCI ids", "Follow the platform's guide.", ""},
};

const struct check_group fabric_group = {
	"FABRIC", "NVSwitch and Fabric Manager", fabric_checks, sizeof(fabric_checks) / sizeof(*fabric_checks), "SC-2 SC-3 SC-4 SC-7 SC-39 AC-4",
	"A1.1 2.2.1", "164.312(a)(1)", "A.8.22 A.8.31", "Art. 32"};
