/* SPDX-License-Identifier: Apache-2.0 */
/* Group PCI: resources, links, resets, firmware. */
#include "checks_machine.h"
#include "models.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GIB ((uint64_t)1 << 30)

/* A GPU's BARs, noted. False: not readable (noted as such). */
static bool bars(struct audit *a, const struct pci_dev *d, struct pci_bar bar[6])
{
	const struct ev_item *res;

	if (aud_text(a, &res, "/sys/bus/pci/devices/%s/resource", d->bdf) == GOT_VALUE && pci_resources(res->data, bar))
		return true;
	aud_note(a, res, res->err ? strerror(res->err) : "no list of resources");
	memset(bar, 0, 6 * sizeof(*bar));
	return false;
}

static void assigned_one(struct audit *a, const struct pci_dev *d)
{
	struct pci_bar bar[6];
	unsigned n = 0;

	if (!bars(a, d, bar)) {
		emit(a, ST_UNKNOWN, d->bdf, "BARs not visible");
		return;
	}
	for (int i = 0; i < 6; i++) {
		n += bar[i].size > 0;
		if (bar[i].size && (!bar[i].start || bar[i].flags & PCI_RES_UNSET)) {
			emit(a, ST_BAD, d->bdf, "BAR%d (%" PRIu64 " MiB) has no address", i, bar[i].size >> 20);
			return;
		}
	}
	if (n)
		emit(a, ST_PASS, d->bdf, "all %u BARs have addresses", n);
	else
		emit(a, ST_BAD, d->bdf, "the GPU has no memory BAR at all");
}

static void bar_assigned(struct audit *a)
{
	each_gpu(a, assigned_one);
}

/* Data-centre GPUs map all of their memory. */
static unsigned memory_gib(const struct pci_dev *d)
{
	const struct gpu_model *m = gpu_model(d);

	return m ? m->gib : 0;
}

static void bar1_one(struct audit *a, const struct pci_dev *d)
{
	const struct nvml_gpu *g = nvml_find(&a->host->nvml, d->bdf);
	uint64_t memory = memory_gib(d) * GIB, largest = 0;
	struct pci_bar bar[6];

	note_nvml(a);
	if (g && g->memory > 0)
		memory = (uint64_t)g->memory;
	if (!memory) {
		emit(a, ST_NA, d->bdf, "no data-centre GPU whose memory is known here");
		return;
	}
	bars(a, d, bar);
	for (int i = 0; i < 6; i++)
		largest = bar[i].size > largest ? bar[i].size : largest;
	if (largest >= memory)
		emit(a, ST_PASS, d->bdf, "BAR1 of %" PRIu64 " GiB covers %" PRIu64 " GiB of memory", largest / GIB, memory / GIB);
	else if (largest)
		emit(a, ST_BAD, d->bdf, "BAR1 of %" PRIu64 " MiB does not cover %" PRIu64 " GiB of memory", largest >> 20, memory / GIB);
	else
		emit(a, ST_UNKNOWN, d->bdf, "BARs not visible");
}

static void bar1_size(struct audit *a)
{
	each_gpu(a, bar1_one);
}

static void above4g_one(struct audit *a, const struct pci_dev *d)
{
	struct pci_bar bar[6];
	bool below = false, big = false;

	if (!bars(a, d, bar)) {
		emit(a, ST_UNKNOWN, d->bdf, "BARs not visible");
		return;
	}
	for (int i = 0; i < 6; i++)
		if (bar[i].size >= 256u << 20 && bar[i].start) { /* PCI-001 speaks of those without */
			big = true;
			below |= bar[i].start < 4 * GIB;
		}
	if (!big)
		emit(a, ST_NA, d->bdf, "no BAR of 256 MiB or more");
	else if (below)
		emit(a, ST_BAD, d->bdf, "a large BAR lies below 4 GiB: Above 4G Decoding is off");
	else
		emit(a, ST_PASS, d->bdf, "large BARs lie above 4 GiB");
}

static void above4g(struct audit *a)
{
	each_gpu(a, above4g_one);
}

static void wide_one(struct audit *a, const struct pci_dev *d)
{
	struct pci_bar bar[6];
	bool narrow = false;

	if (!bars(a, d, bar)) {
		emit(a, ST_UNKNOWN, d->bdf, "BARs not visible");
		return;
	}
	for (int i = 0; i < 6; i++)
		narrow |= bar[i].size >= 256u << 20 && !(bar[i].flags & PCI_RES_64);
	if (narrow)
		emit(a, ST_BAD, d->bdf, "a large BAR is only 32 bits wide");
	else
		emit(a, ST_PASS, d->bdf, "large BARs are 64 bits wide");
}

static void bar_64(struct audit *a)
{
	each_gpu(a, wide_one);
}

static void log_absent(struct audit *a, const char *const *rule, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++) {
		const struct klog_hit *hit = log_hit(a, rule[i], NULL);

		if (hit) {
			emit(a, ST_BAD, "host", "%s", hit->text);
			return;
		}
	}
	emit(a, note_log(a) ? ST_PASS : ST_UNKNOWN, "host", "no %s in what the kernel log still holds", what);
}

static void bar_log(struct audit *a)
{
	static const char *const rule[] = {"nvrm-bar", "nvrm-region", "bar-space"};

	log_absent(a, rule, 3, "resource failure");
}

static void rebar_one(struct audit *a, const struct pci_dev *d)
{
	note_config(a, d);
	if (memory_gib(d))
		emit(a, ST_PASS, d->bdf, "a data-centre GPU: its large BAR is fixed and needed; \"disable Resizable BAR\" does not apply");
	else if (d->cfg.rebar)
		emit(a, ST_BAD, d->bdf, "Resizable BAR%u at %" PRIu64 " MiB; QEMU before 8.1 with Windows guests needs it small",
		     d->cfg.rebar_bar, (uint64_t)1 << d->cfg.rebar_size);
	else
		emit(a, ST_PASS, d->bdf, "no Resizable BAR capability");
}

static void rebar(struct audit *a)
{
	each_gpu(a, rebar_one);
}

static uint64_t bar_sum(struct audit *a, const struct domain *d)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < d->nhostdev; i++) {
		const struct pci_dev *p = pci_find(&a->host->pci, d->hostdev[i]);
		struct pci_bar bar[6];

		if (!p || !pci_is_gpu(p))
			continue;
		bars(a, p, bar);
		for (int k = 0; k < 6; k++)
			sum += bar[k].size;
	}
	return sum;
}

/* Domains with a GPU; without any the check does not apply. */
static bool gpu_domain(struct audit *a, const struct domain *d)
{
	for (unsigned i = 0; i < d->nhostdev; i++) {
		const struct pci_dev *p = pci_find(&a->host->pci, d->hostdev[i]);

		if (p && pci_is_gpu(p))
			return true;
	}
	return false;
}

static void vm_window(struct audit *a)
{
	const struct domains *ds = &a->host->dom;
	bool any = false;

	note_domains(a);
	aud_common(a);
	for (size_t i = 0; i < ds->n; i++) {
		const struct domain *d = &ds->d[i];
		uint64_t need;

		if (!gpu_domain(a, d))
			continue;
		any = true;
		aud_note(a, d->src, NULL);
		need = 2 * bar_sum(a, d) >> 20;
		if (!strstr(d->machine, "q35") && strncmp(d->machine, "virt", 4))
			emit(a, ST_BAD, d->name, "machine %s has no PCIe: use q35", *d->machine ? d->machine : "(default)");
		else if (!d->ovmf && need > 2048)
			emit(a, ST_BAD, d->name, "large BARs need OVMF; the domain starts a legacy BIOS");
		else if (d->mmio64_mb && d->mmio64_mb < need)
			emit(a, ST_BAD, d->name, "X-PciMmio64Mb=%" PRIu64 " is less than twice the BARs (%" PRIu64 ")", d->mmio64_mb, need);
		else if (!d->host_phys_bits)
			emit(a, ST_BAD, d->name, "the guest's address width is not the host's: OVMF may find no room for the BARs");
		else
			emit(a, ST_PASS, d->name, "q35, OVMF and address width fit the GPU's BARs");
	}
	if (!any)
		emit(a, ST_NA, "host", "no libvirt domain with a GPU");
}

static void slow_start_one(struct audit *a, const struct pci_dev *d)
{
	struct pci_bar bar[6];
	uint64_t largest = 0;

	if (!bars(a, d, bar)) {
		emit(a, ST_UNKNOWN, d->bdf, "BARs not visible");
		return;
	}
	for (int i = 0; i < 6; i++)
		largest = bar[i].size > largest ? bar[i].size : largest;
	aud_note(a, a->host->release_item, a->host->kver ? NULL : "kernel release unknown");
	if (largest >= 128 * GIB && a->host->kver && a->host->kver < 6012)
		emit(a, ST_BAD, d->bdf, "BAR of %" PRIu64 " GiB on kernel %s: mapping it page by page takes minutes at VM start",
		     largest / GIB, a->host->release);
	else
		emit(a, ST_PASS, d->bdf, "BARs are small enough or the kernel maps them in large pieces");
}

static void slow_start(struct audit *a)
{
	each_gpu(a, slow_start_one);
}

/* "16.0 GT/s PCIe" → 160 (tenths of GT/s); 0 for anything else. */
static unsigned speed_of(const char *s)
{
	char *end;
	double v = strtod(s, &end);

	return v > 0 && v < 1000 && !strncmp(end, " GT/s", 5) ? (unsigned)(v * 10 + 0.5) : 0;
}

static void link_one(struct audit *a, const struct pci_dev *gpu)
{
	const struct pci_dev *slow = NULL, *narrow = NULL;
	long long w = 0, wm = 0;
	char what[96] = "";

	for (const struct pci_dev *d = gpu; d; d = d->parent) {
		const char *s, *sm;
		enum got g = aud_line(a, &s, "/sys/bus/pci/devices/%s/current_link_speed", d->bdf);
		enum got gm = aud_line(a, &sm, "/sys/bus/pci/devices/%s/max_link_speed", d->bdf);

		if (g == GOT_ABSENT && d != gpu)
			continue;
		if (!speed_of(s) || !speed_of(sm)) {
			if (g == GOT_ABSENT && gm == GOT_ABSENT && d == gpu) {
				emit(a, ST_NA, gpu->bdf, "no PCIe link shown");
				return;
			}
			aud_note(a, ev_getf(a->ev, EV_READ, "/sys/bus/pci/devices/%s/current_link_speed", d->bdf), "no link speed");
			continue;
		}
		aud_long(a, &w, "/sys/bus/pci/devices/%s/current_link_width", d->bdf);
		aud_long(a, &wm, "/sys/bus/pci/devices/%s/max_link_width", d->bdf);
		/* A port wider than the card below it is no defect: only the card counts for width. */
		if (d == gpu && w < wm) {
			narrow = d;
			snprintf(what, sizeof(what), "x%lld of x%lld", w, wm);
		}
		if (d == gpu && speed_of(s) < speed_of(sm)) {
			slow = d;
			snprintf(what, sizeof(what), "%.20s of %.20s", s, sm);
		}
	}
	if (narrow)
		emit(a, ST_BAD, gpu->bdf, "link runs %s lanes", what);
	else if (slow)
		emit_sev(a, 'L', gpu->bdf, "link runs at %s; an idle GPU slows its link, look again under load", what);
	else
		emit(a, ST_PASS, gpu->bdf, "full link width and speed");
}

static void links(struct audit *a)
{
	each_gpu(a, link_one);
}

/* aer_dev_*: "Name count" lines; the sum of the counts, or -1. */
static long long aer_sum(struct audit *a, const char *bdf, const char *kind)
{
	const struct ev_item *it;
	long long sum = 0;
	enum got g = aud_text(a, &it, "/sys/bus/pci/devices/%s/aer_dev_%s", bdf, kind);

	if (g != GOT_VALUE)
		return g == GOT_ABSENT ? -2 : -1;
	for (const char *p = it->data; *p;) {
		size_t n = strcspn(p, "\n");
		const char *sp = memrchr(p, ' ', n);

		if (!sp || !isdigit((uint8_t)sp[1])) {
			aud_note(a, it, "no counters");
			return -1;
		}
		if (strncmp(p, "TOTAL_", 6))
			sum += strtoll(sp + 1, NULL, 10);
		p += n + (p[n] == '\n');
	}
	if (!it->len)
		aud_note(a, it, "empty");
	return it->len ? sum : -1;
}

static void aer_one(struct audit *a, const struct pci_dev *gpu)
{
	long long fatal = 0, nonfatal = 0, ok = 0;
	bool any = false;

	for (const struct pci_dev *d = gpu; d; d = d->parent) {
		long long f = aer_sum(a, d->bdf, "fatal"), n = aer_sum(a, d->bdf, "nonfatal"), c = aer_sum(a, d->bdf, "correctable");

		any |= f >= 0 || n >= 0 || c >= 0;
		fatal += f > 0 ? f : 0;
		nonfatal += n > 0 ? n : 0;
		ok += c > 0 ? c : 0;
	}
	if (fatal || nonfatal)
		emit_sev(a, 'H', gpu->bdf, "%lld fatal and %lld other uncorrected PCIe errors on the path", fatal, nonfatal);
	else if (ok)
		emit(a, ST_BAD, gpu->bdf, "%lld corrected PCIe errors on the path since boot", ok);
	else
		emit(a, any ? ST_PASS : ST_NA, gpu->bdf, any ? "no PCIe errors counted" : "no error counters");
}

static void aer(struct audit *a)
{
	each_gpu(a, aer_one);
}

static void reset_one(struct audit *a, const struct pci_dev *d)
{
	const char *v;
	enum got g = aud_line(a, &v, "/sys/bus/pci/devices/%s/reset_method", d->bdf);

	if (g == GOT_VALUE && *v) {
		emit(a, ST_PASS, d->bdf, "can be reset by: %s", v);
		return;
	}
	if (g == GOT_VALUE) {
		emit(a, ST_BAD, d->bdf, "the kernel knows no way to reset it between guests");
		return;
	}
	if (g == GOT_NOTHING || !note_config(a, d))
		emit(a, ST_UNKNOWN, d->bdf, "reset method not visible");
	else if (d->cfg.flr)
		emit(a, ST_PASS, d->bdf, "can be reset (function level reset)");
	else
		emit(a, ST_BAD, d->bdf, "no reset method and no function level reset");
}

static void reset(struct audit *a)
{
	each_gpu(a, reset_one);
}

static void boot_fb_one(struct audit *a, const struct pci_dev *d)
{
	const char *v;
	enum got g;

	if (d->class >> 8 == 0x0302) {
		emit(a, ST_NA, d->bdf, "3D controller without display");
		return;
	}
	g = aud_line(a, &v, "/sys/bus/pci/devices/%s/boot_vga", d->bdf);
	if (g == GOT_VALUE && !strcmp(v, "1"))
		emit(a, ST_BAD, d->bdf, "the host boots its console on this GPU");
	else if (g == GOT_VALUE && !strcmp(v, "0"))
		emit(a, ST_PASS, d->bdf, "not the boot display");
	else if (g == GOT_ABSENT)
		emit(a, ST_NA, d->bdf, "no VGA device");
	else {
		aud_note(a, ev_getf(a->ev, EV_READ, "/sys/bus/pci/devices/%s/boot_vga", d->bdf), "neither 0 nor 1");
		emit(a, ST_UNKNOWN, d->bdf, "boot display not visible");
	}
}

static void boot_fb(struct audit *a)
{
	each_gpu(a, boot_fb_one);
}

static void sriov_one(struct audit *a, const struct pci_dev *d)
{
	long long total;
	enum got g = aud_long(a, &total, "/sys/bus/pci/devices/%s/sriov_totalvfs", d->bdf);
	const char *rule[] = {"sriov-mmio", "sriov-bus"};

	for (int i = 0; i < 2; i++)
		if (log_hit(a, rule[i], NULL)) {
			emit(a, ST_BAD, d->bdf, "the kernel log says the firmware left no room for virtual functions");
			return;
		}
	if (g == GOT_VALUE && total > 0)
		emit(a, ST_PASS, d->bdf, "%lld virtual functions possible", total);
	else if (g == GOT_VALUE || g == GOT_ABSENT)
		emit(a, ST_BAD, d->bdf, "no virtual functions possible");
	else
		emit(a, ST_UNKNOWN, d->bdf, "not visible");
}

static void sriov(struct audit *a)
{
	each_gpu(a, sriov_one);
}

static void power_one(struct audit *a, const struct pci_dev *d)
{
	const char *control;
	long long cold;
	enum got g = aud_line(a, &control, "/sys/bus/pci/devices/%s/power/control", d->bdf);

	aud_long(a, &cold, "/sys/bus/pci/devices/%s/d3cold_allowed", d->bdf);
	if (g == GOT_VALUE && !strcmp(control, "auto") && cold)
		emit(a, ST_BAD, d->bdf, "may sleep down to D3cold when idle; some GPUs do not wake up");
	else if (g == GOT_VALUE && (!strcmp(control, "on") || !strcmp(control, "auto")))
		emit(a, ST_PASS, d->bdf, "power control \"%s\"", control);
	else if (g == GOT_ABSENT)
		emit(a, ST_NA, d->bdf, "no power control");
	else {
		aud_note(a, ev_getf(a->ev, EV_READ, "/sys/bus/pci/devices/%s/power/control", d->bdf), "neither on nor auto");
		emit(a, ST_UNKNOWN, d->bdf, "power control not visible");
	}
}

static void power(struct audit *a)
{
	each_gpu(a, power_one);
}

static const struct check checks[] = {
	{"PCI-001", "C01", "All GPU BARs have addresses", "CCCCC", 5, 2, bar_assigned,
	 "A BAR without address makes the GPU unusable, on the host or in the guest.", "/sys/bus/pci/devices/*/resource",
	 "Above 4G Decoding on, larger high MMIO window; pci=realloc as a last resort.", "", "pfnu"},
	{"PCI-002", "C02", "BAR1 covers the GPU's memory", "HHHHH", 4, 2, bar1_size,
	 "Hopper and later data-centre GPUs map all memory; peer access, GPUDirect and vGPU need it (H200: 256 GiB).",
	 "resource, NVML memory size or the PCI id's", "High MMIO window of at least 256 GiB per GPU and slack.", "", "pfnu"},
	{"PCI-003", "C03", "Large BARs lie above 4 GiB", "CCCCC", 4, 1, above4g, "Below 4 GiB there is no room for more than one.",
	 "resource", "Enable Above 4G Decoding (MMIOH base and granularity).", "", "pfnu"},
	{"PCI-004", "C04", "Large BARs are 64 bits wide", "HHHHH", 3, 1, bar_64, "A 32-bit BAR cannot move above 4 GiB.",
	 "resource flags", "None: hardware.", "", "pfnu"},
	{"PCI-005", "C05", "No resource failures in the log", "CCCCC", 5, 2, bar_log,
	 "Kernel and NVIDIA driver say when a BAR found no place.", "kernel log", "As PCI-001.", "", "pfu"},
	{"PCI-006", "C06", "Resizable BAR is as the guest needs it", "I---I", 2, 2, rebar,
	 "\"Disable Resizable BAR\" is advice for consumer cards with Windows guests and QEMU before 8.1. Data-centre GPUs need their large BAR.",
	 "configuration space, extended capability 0x15", "QEMU 8.1 or newer.", "", "pinu"},
	{"PCI-007", "C07", "Guests can map the GPU's BARs", "H----", 4, 3, vm_window,
	 "OVMF must find a 64-bit window of twice the sum of the BARs, and the guest enough address bits.",
	 "libvirt domain XML", "q35, OVMF, host-passthrough CPU or <maxphysaddr mode='passthrough'/>, X-PciMmio64Mb.", "", "pfnu"},
	{"PCI-008", "C08", "VM start does not crawl over huge BARs", "M----", 2, 4, slow_start,
	 "Before Linux 6.12 and QEMU 9.2 a BAR is mapped in 4 KiB pieces.", "kernel release, resource", "Newer kernel and QEMU.", "", "pwnu"},
	{"PCI-009", "C09", "PCIe links run at full width and speed", "MMMMM", 3, 3, links,
	 "A card not seated well, or a wrong slot, halves the bandwidth.", "current_link_*, max_link_*",
	 "Reseat; check slot, riser and firmware settings. Do not write link registers with setpci.", "", "pwnu"},
	{"PCI-010", "C10", "No PCIe errors counted", "MMMMM", 4, 2, aer, "Errors come before failures.", "aer_dev_* on the whole path",
	 "Reseat; check riser and slot; replace.", "", "pfwnu"},
	{"PCI-011", "C11", "The GPU can be reset between guests", "H-H--", 4, 2, reset,
	 "Without a reset the next guest finds the last one's state.", "reset_method, device capabilities",
	 "None: hardware; do not pass such a device from guest to guest.", "", "pfnu"},
	{"PCI-012", "C12", "The host's console is on another display", "M----", 3, 2, boot_fb,
	 "The boot framebuffer holds the BAR. video=efifb:off no longer suffices on recent kernels.", "boot_vga",
	 "BMC or processor graphics as primary display; initcall_blacklist=sysfb_init.", "", "pwnu"},
	{"PCI-013", "C13", "Virtual functions are possible", "--H--", 4, 2, sriov, "vGPU on Ampere and later hands out virtual functions.",
	 "sriov_totalvfs, kernel log", "SR-IOV and ARI in the firmware.", "", "pfnu"},
	{"PCI-014", "C14", "Secure boot is on", "MMMMM", 4, 2, machine_secure_boot, "It keeps altered kernels and modules out.",
	 "efivars SecureBoot, lockdown", "Enable it; sign the NVIDIA and other modules (MOK).", "", "pwu"},
	{"PCI-015", "C15", "Firmware is current", "LLLLL", 3, 3, machine_firmware, "IOMMU, MMIO and reset defects are cured by firmware.",
	 "/sys/class/dmi/id against the site list", "Update; write the wanted version into the site list.", "", "pwinu"},
	{"PCI-016", "C16", "The case was not opened", "IIIII", 3, 1, machine_chassis, "Who opens the case can swap cards and firmware.",
	 "hwmon intrusion alarms, SMBIOS type 3", "Compare with the site's records; clear the alarm.", "", "winu"},
	{"PCI-017", "C17", "Processor vulnerabilities are mitigated", "HHHHM", 4, 3, machine_cpu_vulns, "Guests on one core read each other otherwise.",
	 "/sys/devices/system/cpu/vulnerabilities", "Microcode, mitigations=auto, SMT policy.", "", "pfwu"},
	{"PCI-018", "C18", "GPUs do not sleep", "LLLLL", 2, 2, power, "Servers gain nothing from D3cold and lose devices that do not wake.",
	 "power/control, d3cold_allowed", "echo on > power/control; vfio-pci.disable_idle_d3=1.", "", "pwnu"},
	{"PCI-019", "C19", "Each GPU is the one of the inventory", "MMMMM", 4, 1, machine_identity, "A swapped or counterfeit card shows in its ids.",
	 "PCI ids, device serial number, NVML, against the site list", "Investigate; correct the list if the change was meant.", "", "pfwinu"},
};

const struct check_group pci_group = {
	"PCI", "PCIe resources, BARs, firmware", checks, sizeof(checks) / sizeof(*checks), "CM-2 CM-6 CM-8 SI-7 SI-16",
	"2.2 11.5.2", "164.308(a)(1) 164.312(c)(1)", "A.8.9 A.8.7", "Art. 32"};
