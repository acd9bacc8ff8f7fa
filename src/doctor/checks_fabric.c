/* SPDX-License-Identifier: Apache-2.0 */
/* Group FABRIC: NVSwitch and Fabric Manager. */
#include "fabric.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* Whether a directory's files, or one file, call the tool that blocks NVLinks. First: its path. */
static const struct ev_item *calls_blocker(struct audit *a, const char *dir, const char *suffix)
{
	const struct ev_item *list, *it, *found = NULL;
	enum got g = aud_list(a, &list, "%s", dir);

	if (g != GOT_VALUE)
		return NULL;
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		size_t len = strlen(n), tail = strlen(suffix);

		if (len < tail || strcmp(n + len - tail, suffix) || !strcmp(n, "qemu.d"))
			continue;
		if (aud_text(a, &it, "%s/%s", dir, n) == GOT_VALUE && (strstr(it->data, "block-all-nvlinks") || strstr(it->data, "block-nvlink")))
			found = it;
	}
	return found;
}

/* Whether links are blocked shows only in the GPU's registers; what blocks them shows on the host. The
 * block ends with the reset that comes before each start of a VM. */
static void blocked_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	const struct ev_item *hook = NULL, *unit;

	if (n != 1 || (mode && mode != '0')) {
		emit(a, ST_NA, d->name, "links are partitioned by Fabric Manager or all belong to the VM");
		return;
	}
	static const char *const hooks[] = {"/etc/libvirt/hooks", "/etc/libvirt/hooks/qemu.d", "/var/lib/vz/snippets"};

	for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks) && !hook; i++)
		hook = calls_blocker(a, hooks[i], "");
	if (hook) {
		emit(a, ST_PASS, d->name, "%s blocks its NVLinks at each start; nvidia_gpu_tools shows that they are", hook->path);
		return;
	}
	unit = calls_blocker(a, "/etc/systemd/system", ".service");
	if (unit)
		emit_sev(a, 'M', d->name, "%s blocks NVLinks at boot only: the reset before the VM's start opens them again", unit->path);
	else if (aud_hidden(a))
		emit(a, ST_UNKNOWN, d->name, "start hooks not visible");
	else
		emit(a, ST_BAD, d->name, "no start hook of this host blocks its NVLinks: the tenant reaches the fabric");
}

static void links_blocked(struct audit *a)
{
	each_vm(a, blocked_one);
}

struct held {
	unsigned switches, others; /* of a VM's devices: NVSwitches, and what is neither GPU nor switch */
};

static struct held held_by(const struct host *h, const struct domain *d)
{
	struct held r = {0};

	for (unsigned i = 0; i < d->nhostdev; i++) {
		const struct pci_dev *p = pci_find(&h->pci, d->hostdev[i]);

		r.switches += p && pci_is_nvswitch(p);
		r.others += p && !pci_is_nvswitch(p) && !pci_is_gpu(p) && !pci_is_bridge(p);
	}
	return r;
}

static void duties_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	const struct host *h = a->host;
	struct held v = held_by(h, d);

	if (v.switches && (mode != '0' || n < h->ngpu))
		emit_sev(a, 'C', d->name, "holds %u NVSwitch(es) that carry other guests' links: it can reprogram them", v.switches);
	else if (v.switches)
		emit(a, ST_BAD, d->name, "holds all GPUs and %u of %zu NVSwitches: QEMU filters neither the switches' registers nor what GPUs%s send them",
		     v.switches, h->nnvswitch, v.others ? " and its other devices" : "");
	else if (mode == '0' && n > 1)
		emit_sev(a, 'M', d->name, "%u GPUs without NVSwitches in full passthrough: no Fabric Manager serves their links", n);
	else
		emit(a, ST_PASS, d->name, "no NVSwitch is in the guest");
}

static void duties(struct audit *a)
{
	each_vm(a, duties_one);
}

#define PARTITIONS_FILE "/var/lib/vgpu-doctor/fabric-partitions.json"

/* Fabric Manager's own tool writes them: fmpm -l. NULL: not recorded, or no such list (noted). */
static json_t *recorded_partitions(struct audit *a)
{
	const struct ev_item *it;
	enum got g = aud_text(a, &it, PARTITIONS_FILE);
	json_t *o, *list;

	if (g != GOT_VALUE) {
		aud_note(a, it, "not recorded: fmpm -l > " PARTITIONS_FILE);
		return NULL;
	}
	o = json_loadb(it->data, it->len, 0, NULL);
	list = json_incref(json_object_get(o, "partitionInfo"));
	json_decref(o);
	if (json_is_array(list))
		return list;
	aud_note(a, it, "no list of partitions");
	json_decref(list);
	return NULL;
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Active partitions of n GPUs. On Hopper the list names GPUs by module, not by PCI address, and a module's
 * number is hidden while VFIO has the GPU; sizes must do. */
static unsigned active_of(const json_t *list, unsigned n)
{
	unsigned active = 0;
	json_t *p;
	size_t i;

	json_array_foreach((json_t *)list, i, p)
		active += number(p, "isActive") && number(p, "numGpus") == (json_int_t)n;
	return active;
}

static unsigned running_of(const struct host *h, unsigned n)
{
	unsigned vms = 0, k;

	for (size_t i = 0; i < h->dom.n; i++)
		vms += h->dom.d[i].live && domain_gpus(h, &h->dom.d[i], &k) && k == n;
	return vms;
}

static void partition_one(struct audit *a, const struct domain *d, unsigned n, char mode)
{
	unsigned active, vms = running_of(a->host, n);
	json_t *list;

	if (mode != '1' || !d->live) {
		emit(a, ST_NA, d->name, d->live ? "the fabric is not partitioned" : "not running");
		return;
	}
	list = recorded_partitions(a);
	active = list ? active_of(list, n) : 0;
	if (!list)
		emit(a, ST_UNKNOWN, d->name, "partitions not visible");
	else if (active < vms)
		emit(a, ST_BAD, d->name, "%u running VM(s) of %u GPU(s), but %u such partition(s) active: its links are not its own", vms, n, active);
	else if (active > vms)
		emit_sev(a, 'M', d->name, "%u active partition(s) of %u GPU(s) for %u running VM(s): one was not taken down", active, n, vms);
	else
		emit(a, ST_PASS, d->name, "as many active partitions of %u GPU(s) as running VMs (%u)", n, vms);
	json_decref(list);
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
	 "Enable nvidia-fabricmanager of exactly the driver's version.", "NVIDIA Fabric Manager guide", "pfnu"},
	{"FABRIC-002", "H02", "FABRIC_MODE fits the plan", "HHHHH", 3, 2, fabric_mode, "0 whole hosts and full passthrough, 1 shared NVSwitch, 2 vGPU.", "fabricmanager.cfg", "Set it; restart Fabric Manager.", "", "pfnu"},
	{"FABRIC-003", "H03", "VMs have supported sizes", "M-M--", 3, 2, vm_size, "Full passthrough of Hopper supports 8 GPUs or 1; shared mode 1, 2, 4, 8.", "libvirt XML, fabricmanager.cfg",
	 "Shared-NVSwitch mode, NVIDIA's recommendation.", "NVIDIA Fabric Manager guide", "pwnu"},
	{"FABRIC-004", "H04", "NVLinks of single-GPU VMs are blocked", "H----", 4, 3, links_blocked,
	 "An open link lets a tenant reach the fabric. The block ends with each reset, so it belongs into the VM's start hook.",
	 "/etc/libvirt/hooks, Proxmox snippets, systemd units", "A libvirt hook (prepare/begin) that runs nvidia_gpu_tools --block-all-nvlinks on the GPU.",
	 "NVIDIA Fabric Manager guide; gpu-admin-tools", "pfwnu"},
	{"FABRIC-005", "H05", "Full passthrough is guarded by the hypervisor", "H----", 4, 3, duties, "A guest that has switches can reprogram them: the hypervisor must filter their registers, or keep them.", "libvirt XML, fabricmanager.cfg",
	 "Shared-NVSwitch mode: the switches stay with the host or a service VM.", "NVIDIA Fabric Manager guide", "pfwnu"},
	{"FABRIC-006", "H06", "Partitions match the VMs", "H-H--", 4, 2, partitions, "A GPU of another partition reaches the VM's memory.", "fmpm -l, recorded in " PARTITIONS_FILE ", running domains",
	 "Activate the partition before the VM starts, deactivate it after its end.", "NVIDIA Fabric Manager guide", "pfwnu"},
	{"FABRIC-007", "H07", "NVLinks are up", "-MMMM", 3, 2, nvlinks, "A dead link slows every collective.", "NVML, kernel log", "Reset; diagnose; replace.", "", "pwnu"},
	{"FABRIC-008", "H08", "Fabric Manager is not exposed", "HHHHH", 4, 2, fm_exposed, "Its interface has no authentication.", "fabricmanager.cfg", "Unix socket or 127.0.0.1; STATE_FILE_NAME below /var.", "", "pfwnu"},
	{"FABRIC-009", "H09", "A VM's GPUs are close together", "M-M--", 2, 3, locality, "Peers across sockets are slow.", "libvirt XML, numa_node", "Choose GPUs of one socket.", "", "pwnu"},
	{"FABRIC-010", "H10", "Blackwell's fabric functions", "IIIII", 1, 1, blackwell, "They are not on PCI as before.", "PCI ids", "Follow the platform's guide.", "", "inu"},
};

const struct check_group fabric_group = {
	"FABRIC", "NVSwitch and Fabric Manager", fabric_checks, sizeof(fabric_checks) / sizeof(*fabric_checks), "SC-2 SC-3 SC-4 SC-7 SC-39 AC-4",
	"A1.1 2.2.1", "164.312(a)(1)", "A.8.22 A.8.31", "Art. 32"};
