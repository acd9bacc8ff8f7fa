/* SPDX-License-Identifier: Apache-2.0 */
/* Groups VGPU and CC: NVIDIA vGPU on the host, migration, confidential computing. */
#include "host.h"
#include "models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void supported_one(struct audit *a, const struct pci_dev *d)
{
	const struct gpu_model *m = gpu_model(d);

	if (m && m->vgpu)
		emit(a, ST_PASS, d->bdf, "%s has vGPU types%s", m->name, m->vgpu);
	else
		emit(a, ST_BAD, d->bdf, "%04x:%04x is not in the table of models with vGPU", d->vendor, d->device);
}

static void supported(struct audit *a)
{
	each_gpu(a, supported_one);
}

static void stack(struct audit *a)
{
	int d = unit_enabled(a, "nvidia-vgpud.service"), m = unit_enabled(a, "nvidia-vgpu-mgr.service"), k = aud_module(a, "nvidia_vgpu_vfio");

	if (d == 0 || m == 0 || k == 0)
		emit(a, ST_BAD, "host", "vGPU manager incomplete: nvidia-vgpud %s, nvidia-vgpu-mgr %s, nvidia_vgpu_vfio %s", d > 0 ? "yes" : "no",
		     m > 0 ? "yes" : "no", k > 0 ? "yes" : "no");
	else
		emit(a, d < 0 || m < 0 || k < 0 ? ST_UNKNOWN : ST_PASS, "host", "vGPU manager's services and module are there");
}

static void framework(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *list;
	enum got g = aud_list(a, &list, "/sys/class/mdev_bus");

	if (!need_gpus(a))
		return;
	note_vfs(a);
	if (g == GOT_VALUE && list->len) {
		emit(a, ST_INFO, "host", "mediated devices (mdev)");
		return;
	}
	for (size_t i = 0; i < h->nvf; i++) {
		const struct ev_item *types;

		if (aud_text(a, &types, "/sys/bus/pci/devices/%s/nvidia/creatable_vgpu_types", h->vf[i]->bdf) == GOT_VALUE) {
			emit(a, ST_INFO, "host", "vendor VFIO on virtual functions");
			return;
		}
	}
	emit(a, ST_BAD, "host", "neither mediated devices nor virtual functions with vGPU types");
}

static void vfs_persist(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *list;
	bool script = false, hidden = false;

	if (!need_gpus(a))
		return;
	if (aud_list(a, &list, "/etc/systemd/system") == GOT_ABSENT) {
		aud_anchor(a, "/etc");
	} else {
		for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
			const struct ev_item *it;

			enum got g;

			if (strlen(n) <= 8 || strcmp(n + strlen(n) - 8, ".service"))
				continue;
			g = aud_text(a, &it, "/etc/systemd/system/%s", n);
			hidden |= g == GOT_NOTHING;
			script |= g == GOT_VALUE && (strstr(it->data, "sriov-manage") || strstr(it->data, "sriov_numvfs"));
		}
	}
	note_vfs(a);
	if (h->nvf && script)
		emit(a, ST_PASS, "host", "%zu virtual functions, enabled by a unit at boot", h->nvf);
	else if (h->nvf)
		emit(a, hidden ? ST_UNKNOWN : ST_BAD, "host", "%zu virtual functions now; nothing enables them after a reboot", h->nvf);
	else
		emit(a, ST_BAD, "host", "no virtual function is enabled");
}

/* In a guest: is a licence server or a token configured? */
static void guest_licence(struct audit *a)
{
	const struct ev_item *it;
	enum got g = aud_text(a, &it, "/etc/nvidia/gridd.conf");

	if (g == GOT_VALUE && (strstr(it->data, "\nServerAddress=") || strstr(it->data, "\nClientConfigTokenPath=")))
		emit(a, ST_PASS, "host", "a licence server or token is configured");
	else if (g == GOT_NOTHING || aud_list(a, &it, "/etc/nvidia/ClientConfigToken") == GOT_NOTHING || !aud_anchor(a, "/etc"))
		emit(a, ST_UNKNOWN, "host", "not visible");
	else
		emit(a, !it->err && it->len ? ST_PASS : ST_BAD, "host", "licence token %s", !it->err && it->len ? "present" : "absent: the vGPU slows down after minutes");
}

/* Runs judge for every vGPU in use; without any, or without NVML, the result is emitted. */
static void each_vgpu(struct audit *a, void (*judge)(struct audit *, const struct nvml_vgpu *, const char *))
{
	const struct nvml *n = &a->host->nvml;
	char who[64];

	if (need_nvml(a) <= 0)
		return;
	if (!n->nvgpu) {
		emit(a, ST_NA, "host", "no vGPU is in use");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < n->nvgpu; i++) {
		snprintf(who, sizeof(who), "%s vGPU %u", n->gpu[n->vgpu[i].gpu].bdf, n->vgpu[i].id);
		judge(a, &n->vgpu[i], who);
	}
}

static void licence_one(struct audit *a, const struct nvml_vgpu *v, const char *who)
{
	if (v->licensed < 0)
		aud_note(a, a->host->nvml.src, "does not say whether the vGPU is licensed");
	emit(a, v->licensed > 0 ? ST_PASS : v->licensed < 0 ? ST_UNKNOWN : ST_BAD, who, v->licensed ? "licensed" : "not licensed: it slows down");
}

static void licence(struct audit *a)
{
	aud_note(a, a->host->cpuinfo, a->host->cpu == CPU_UNKNOWN ? "processor unknown" : NULL);
	if (a->host->in_guest)
		guest_licence(a);
	else
		each_vgpu(a, licence_one);
}

/* Branches that have a vGPU release, in order. Guests may be of the host's, of the one before, or of an
 * older long-term one: NVIDIA vGPU 19 release notes. */
static const struct {
	unsigned major;
	bool long_term;
} branches[] = {{535, true}, {550, false}, {570, false}, {580, true}};
#define BRANCHES (sizeof(branches) / sizeof(*branches))

static size_t branch_of(const char *version)
{
	size_t i = 0;

	while (i < BRANCHES && branches[i].major != strtoul(version, NULL, 10))
		i++;
	return i;
}

static void pairing_one(struct audit *a, const struct nvml_vgpu *v, const char *who)
{
	const char *host = a->host->nvml.driver;
	size_t hb = branch_of(host), gb = branch_of(v->driver);

	if (!*v->driver) {
		emit(a, ST_NA, who, "no driver runs in the guest");
	} else if (!strncmp(host, v->driver, 4)) {
		emit(a, ST_PASS, who, "guest %s, host %s: one branch", v->driver, host);
	} else if (hb == BRANCHES || gb == BRANCHES) {
		aud_note(a, a->host->nvml.src, "names a driver branch that is not in this program's table; see the vGPU release notes");
		emit(a, ST_UNKNOWN, who, "guest %s, host %s", v->driver, host);
	} else if (gb < hb && (gb + 1 == hb || branches[gb].long_term)) {
		emit(a, ST_PASS, who, "guest %s may run on host %s", v->driver, host);
	} else {
		emit(a, ST_BAD, who, "guest %s does not run on host %s: %s", v->driver, host, gb > hb ? "newer than the host" : "more than one branch older");
	}
}

static void pairing(struct audit *a)
{
	each_vgpu(a, pairing_one);
}

static void migration(struct audit *a)
{
	const struct host *h = a->host;
	bool any = false;
	unsigned n;

	note_domains(a);
	if (!h->dom.n && !aud_anchor(a, "/etc")) {
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->dom.n; i++) {
		const struct domain *d = &h->dom.d[i];
		bool physical = false;

		if (!domain_gpus(h, d, &n) && !d->nmdev)
			continue;
		any = true;
		aud_note(a, d->src, NULL);
		for (unsigned k = 0; k < d->nhostdev; k++) {
			const struct pci_dev *p = pci_find(&h->pci, d->hostdev[k]);

			physical |= p && pci_is_gpu(p) && !p->is_vf;
		}
		if (physical)
			emit(a, ST_BAD, d->name, "a whole GPU: cannot be migrated or suspended; plan redundancy above");
		else
			emit(a, ST_PASS, d->name, "vGPU: can migrate to a host with the same type, driver branch and link layout");
	}
	if (!any)
		emit(a, ST_NA, "host", "no libvirt domain with a GPU");
}

/* "1414 : NVIDIA H200X-1-18C": a type with "-N-" before the size is backed by a MIG instance. */
static bool mig_backed(const char *types, long long id)
{
	for (const char *p = types; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		long long n;
		char name[64];
		const char *d;

		if (sscanf(p, "%lld : NVIDIA %63[^\n]", &n, name) == 2 && n == id)
			return (d = strchr(name, '-')) && d[1] >= '1' && d[1] <= '7' && d[2] == '-';
	}
	return false;
}

static void time_sliced(struct audit *a)
{
	const struct host *h = a->host;
	bool any = false;

	if (!need_gpus(a))
		return;
	note_vfs(a);
	aud_common(a);
	for (size_t i = 0; i < h->nvf; i++) {
		const struct ev_item *types;
		long long cur;
		enum got g = aud_long(a, &cur, "/sys/bus/pci/devices/%s/nvidia/current_vgpu_type", h->vf[i]->bdf);

		if (g == GOT_NOTHING) {
			any = true;
			emit(a, ST_UNKNOWN, h->vf[i]->bdf, "type not visible");
		}
		if (g != GOT_VALUE || !cur)
			continue;
		any = true;
		if (aud_text(a, &types, "/sys/bus/pci/devices/%s/nvidia/creatable_vgpu_types", h->vf[i]->bdf) != GOT_VALUE) {
			aud_note(a, types, "no types");
			emit(a, ST_UNKNOWN, h->vf[i]->bdf, "types not visible");
		} else if (mig_backed(types->data, cur)) {
			emit(a, ST_PASS, h->vf[i]->bdf, "type %lld is backed by a MIG instance", cur);
		} else {
			emit(a, ST_BAD, h->vf[i]->bdf, "type %lld shares the engines in time: caches and timing are visible between tenants", cur);
		}
	}
	if (!any)
		emit(a, ST_NA, "host", "no vGPU in use");
}

static void versions(struct audit *a)
{
	char qemu[64] = "unknown", libvirt[64] = "unknown";
	enum got q = package_version(a, qemu, sizeof(qemu), "qemu-system-x86", "pve-qemu-kvm", "qemu-kvm-core", "qemu-kvm", "qemu-x86", "qemu-base", "qemu-full", NULL);
	enum got l = package_version(a, libvirt, sizeof(libvirt), "libvirt-daemon", "libvirt", NULL);

	if (q == GOT_NOTHING && l == GOT_NOTHING)
		emit(a, ST_UNKNOWN, "host", "versions not visible");
	else
		emit(a, ST_INFO, "host", "QEMU %s, libvirt %s", q == GOT_VALUE ? qemu : "not installed", l == GOT_VALUE ? libvirt : "not installed");
}

static const struct check vgpu_checks[] = {
	{"VGPU-001", "I01", "The model has vGPU", "--H--", 3, 2, supported, "H200 has had vGPU types since release 18.0; older documents say otherwise.", "PCI ids against a dated table",
	 "A supported model, licence and vGPU manager.", "NVIDIA vGPU release notes", "pfnu"},
	{"VGPU-002", "I02", "The vGPU manager is installed and started", "--H--", 3, 2, stack, "Types cannot be created without it.", "systemd units, /sys/module", "Install the vGPU manager package; enable its units.", "", "pfu"},
	{"VGPU-003", "I03", "Framework", "--I--", 1, 2, framework, "mdev is gone on Ada and later: types are on the virtual functions.", "/sys/class/mdev_bus, VF's nvidia/ directory", "Use vendor VFIO tools.", "", "inu"},
	{"VGPU-004", "I04", "Virtual functions survive a reboot", "--M--", 2, 4, vfs_persist, "sriov_numvfs is volatile.", "systemd units, physfn links", "A unit that runs sriov-manage -e ALL.", "", "pwnu"},
	{"VGPU-005", "I05", "vGPUs are licensed", "--M--", 2, 2, licence, "Unlicensed vGPUs slow down.", "NVML on the host, /etc/nvidia/gridd.conf in a guest", "Configure the licence token in the guest.", "", "pwnu"},
	{"VGPU-006", "I06", "Host and guest drivers pair", "--H--", 3, 3, pairing, "A guest's driver is of the host's branch, the one before, or an older long-term one.", "NVML: driver of the host and of each vGPU's guest",
	 "Upgrade the older side; hold the packages.", "NVIDIA vGPU release notes", "pfnu"},
	{"VGPU-007", "I07", "Migration posture of each VM", "I-MI-", 3, 4, migration, "A whole GPU cannot migrate; a vGPU can, under conditions.", "libvirt XML", "Redundancy in the application, vGPU, checkpoints.", "", "pwinu"},
	{"VGPU-008", "I08", "Tenants do not share engines in time", "--M--", 3, 3, time_sliced, "Only MIG-backed types divide caches and engines.", "VF's nvidia/ directory", "MIG-backed types.", "", "pwnu"},
	{"VGPU-009", "I09", "Hypervisor versions", "IIIII", 1, 1, versions, "Large BARs profit from QEMU 9.2.", "package database", "Upgrade.", "", "iu"},
};

const struct check_group vgpu_group = {
	"VGPU", "vGPU and migration", vgpu_checks, sizeof(vgpu_checks) / sizeof(*vgpu_checks), "SC-4 CP-2 CP-10", "12.10 A1.1", "164.308(a)(7)(ii)(B)", "A.8.14 A.8.22", "Art. 32"};

/* ---- confidential computing ---- */

static int tee(struct audit *a, const char **which)
{
	const char *v;

	*which = "none";
	if (aud_param(a, &v, "kvm_intel", "tdx") == GOT_VALUE && is_on(v)) {
		*which = "TDX";
		return 1;
	}
	if (aud_param(a, &v, "kvm_amd", "sev_snp") == GOT_VALUE && is_on(v)) {
		*which = "SEV-SNP";
		return 1;
	}
	return aud_anchor(a, "/sys/module") ? 0 : -1;
}

static void cc_mode(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	const char *which;
	int on = tee(a, &which);

	if (on <= 0) {
		emit(a, on ? ST_UNKNOWN : ST_NA, "host", "no confidential computing on the processor, hence none on the GPU");
		return;
	}
	if (!n->valid || n->cc_feature < 0) {
		aud_note(a, n->src, "NVML says nothing; on VFIO-bound GPUs ask nvidia_gpu_tools --query-cc-mode");
		emit(a, ST_UNKNOWN, "host", "GPU mode not visible");
		return;
	}
	aud_note(a, n->src, NULL);
	if (n->cc_feature)
		emit(a, ST_PASS, "host", "%s and the GPU's confidential mode are on", which);
	else
		emit(a, ST_BAD, "host", "%s is on, the GPU's confidential mode is off", which);
}

static void cc_tee(struct audit *a)
{
	const char *which;
	int on = tee(a, &which);

	emit(a, on < 0 ? ST_UNKNOWN : ST_INFO, "host", "processor: %s", which);
}

static void cc_multi(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	unsigned hopper = 0;

	if (!need_gpus(a))
		return;
	for (size_t i = 0; i < a->host->ngpu; i++)
		hopper += a->host->gpu[i]->vendor == 0x10de && (a->host->gpu[i]->device & 0xff00) == 0x2300;
	if (hopper < 2) {
		emit(a, ST_NA, "host", "fewer than two Hopper GPUs");
		return;
	}
	if (need_nvml(a) <= 0)
		return;
	if (n->cc_feature == 1)
		emit(a, ST_BAD, "host", "several Hopper GPUs in confidential mode: only PPCIE, with all GPUs and switches in one VM, is supported; NVLink is not encrypted");
	else
		emit(a, n->cc_feature < 0 ? ST_NA : ST_PASS, "host", "confidential mode is off");
}

static const struct check cc_checks[] = {
	{"CC-001", "J01", "CPU and GPU agree on confidential computing", "MMMM-", 4, 1, cc_mode, "One without the other protects nothing. nvidia-smi -c is the compute mode, not this.", "KVM parameters, NVML",
	 "nvidia_gpu_tools --set-cc-mode=on --reset-after-cc-mode-switch.", "", "pwnu"},
	{"CC-002", "J02", "Processor's trusted execution", "IIII-", 1, 1, cc_tee, "TDX or SEV-SNP.", "/sys/module/kvm_*/parameters", "Firmware and kernel settings.", "", "iu"},
	{"CC-003", "J03", "Several Hopper GPUs use protected PCIe", "HHHH-", 4, 1, cc_multi, "Hopper's memory is firewalled, not encrypted, and NVLink is in the clear.", "NVML, PCI ids", "PPCIE with all GPUs and switches in one VM.", "", "pfnu"},
};

const struct check_group cc_group = {
	"CC", "Confidential computing", cc_checks, sizeof(cc_checks) / sizeof(*cc_checks), "SC-2 SC-3 SC-4 SC-39", "A1.1", "164.312(a)(1)", "A.8.22 A.8.31", "Art. 32"};
