/* SPDX-License-Identifier: Apache-2.0 */
/* Group IOMMU: is every DMA and interrupt of a device checked by hardware? Judged by effect, the
 * command line only explains. */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The host is a guest: what its hypervisor does with IOMMUs cannot be seen from inside. */
static bool guest_na(struct audit *a)
{
	const struct host *h = a->host;

	if (!h->in_guest)
		return false;
	aud_quote(a, h->cpuinfo, "flags: hypervisor");
	if (h->groups->len)
		return false; /* a virtual IOMMU: judge it */
	emit(a, ST_NA, "host", "this host is itself a virtual machine without a virtual IOMMU");
	return true;
}

static bool need_cpu(struct audit *a)
{
	const struct host *h = a->host;

	aud_note(a, h->cpuinfo, h->cpuinfo->len ? ev_text_problem(h->cpuinfo)
				: h->cpuinfo->err ? strerror(h->cpuinfo->err) : "empty");
	if (h->cpu != CPU_UNKNOWN)
		return true;
	emit(a, ST_UNKNOWN, "host", "the processor cannot be told");
	return false;
}

static void cpu_virt(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *kvm;

	if (!need_cpu(a))
		return;
	if (h->cpu != CPU_INTEL && h->cpu != CPU_AMD) {
		emit(a, ST_NA, "host", "not an x86 processor");
		return;
	}
	kvm = ev_get(a->ev, EV_STAT, "/dev/kvm");
	aud_note(a, kvm, kvm->err && kvm->err != ENOENT ? strerror(kvm->err) : NULL);
	if (!h->cpu_virt)
		emit(a, ST_BAD, "host", "the processor shows neither vmx nor svm");
	else if (kvm->err == ENOENT)
		emit(a, ST_BAD, "host", "vmx/svm present but no /dev/kvm: the KVM module is not loaded");
	else
		emit(a, ST_PASS, "host", "hardware virtualisation present, /dev/kvm exists");
}

static bool absent(const struct ev_item *it)
{
	return it->err == ENOENT || it->err == ENOTDIR;
}

static void fw_table(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *list = h->acpi_list;

	if (guest_na(a))
		return;
	aud_note(a, list, list->err ? strerror(list->err) : NULL);
	if (!list->err && ev_has_name(list, "DMAR"))
		emit(a, ST_PASS, "host", "the firmware describes a VT-d IOMMU (DMAR)");
	else if (!list->err && ev_has_name(list, "IVRS"))
		emit(a, ST_PASS, "host", "the firmware describes an AMD IOMMU (IVRS)");
	else if (!list->err && ev_has_name(list, "IORT"))
		emit(a, ST_PASS, "host", "the firmware describes SMMUs (IORT)");
	else if (!list->err)
		emit(a, ST_BAD, "host", "no DMAR, IVRS or IORT table: the IOMMU is off in the firmware");
	else
		emit(a, ST_UNKNOWN, "host", "no ACPI tables visible");
}

static void active(struct audit *a)
{
	int on;

	if (guest_na(a))
		return;
	on = iommu_active(a);
	log_hit(a, "iommu-intel-on", NULL);
	if (on > 0)
		emit(a, ST_PASS, "host", "IOMMU translates: units and groups exist in sysfs");
	else if (!on)
		emit(a, ST_BAD, "host", "%s", a->host->groups->len
			     ? "IOMMU groups exist but no IOMMU unit"
			     : "no IOMMU group exists: the IOMMU is not in use");
	else
		emit(a, ST_UNKNOWN, "host", "IOMMU state not visible");
}

static void gpu_group_one(struct audit *a, const struct pci_dev *d)
{
	note_dev(a, d);
	aud_note(a, d->group_item, d->group || absent(d->group_item) ? NULL : strerror(d->group_item->err));
	if (d->group)
		emit(a, ST_PASS, d->bdf, "in IOMMU group %s", d->group);
	else
		emit(a, absent(d->group_item) ? ST_BAD : ST_UNKNOWN, d->bdf, "in no IOMMU group");
}

static void gpu_group(struct audit *a)
{
	each_gpu(a, gpu_group_one);
}

static void off_by_param(struct audit *a)
{
	static const struct {
		const char *name, *item;
	} bad[] = {{"intel_iommu", "off"}, {"amd_iommu", "off"}, {"iommu", "off"}, {"iommu", "soft"}};
	const char *v;
	bool hit = false;

	for (size_t i = 0; i < 4; i++)
		if (cmd_token(a, bad[i].name, &v) > 0 && cmdline_has_item(&a->host->cmd, bad[i].name, bad[i].item)) {
			emit(a, ST_BAD, "host", "%s=%s turns the IOMMU off", bad[i].name, bad[i].item);
			hit = true;
		}
	if (!hit)
		emit(a, ST_PASS, "host", "no parameter turns the IOMMU off");
}

static void intel_on(struct audit *a)
{
	const char *v;
	int given, on;
	char def;

	if (!need_cpu(a))
		return;
	if (a->host->cpu != CPU_INTEL) {
		emit(a, ST_NA, "host", "not an Intel host");
		return;
	}
	if (guest_na(a))
		return;
	on = iommu_active(a);
	given = cmd_token(a, "intel_iommu", &v);
	if (on > 0) {
		emit(a, ST_PASS, "host", "the IOMMU is on %s", given > 0 ? "(intel_iommu given)" : "by the kernel's default");
		return;
	}
	if (on < 0 || given < 0) {
		emit(a, ST_UNKNOWN, "host", "IOMMU state or command line not visible");
		return;
	}
	if (given > 0) {
		emit(a, ST_PASS, "host", "intel_iommu=%s is given; the cause lies elsewhere", v);
		return;
	}
	def = kernel_config(a, "INTEL_IOMMU_DEFAULT_ON");
	if (def == 'y')
		emit(a, ST_PASS, "host", "not needed: this kernel turns the IOMMU on by itself; the firmware is the cause");
	else if (def == 'n')
		emit(a, ST_BAD, "host", "this kernel leaves the IOMMU off unless intel_iommu=on is given");
	else
		emit(a, ST_UNKNOWN, "host", "the kernel's configuration is not visible");
}

static void amd_on(struct audit *a)
{
	const struct klog_hit *hit = log_hit(a, "amd-unknown-option", NULL);
	const char *v;

	cmd_token(a, "amd_iommu", &v);
	if (cmdline_has_item(&a->host->cmd, "amd_iommu", "on") || hit)
		emit(a, ST_BAD, "host", "amd_iommu=%s is no option of the AMD IOMMU driver and is ignored",
		     hit ? hit->match[0] : "on");
	else
		emit(a, ST_PASS, "host", "no meaningless amd_iommu option");
}

/* Chip names in /proc/interrupts: "IR-PCI-MSI", "IR-IO-APIC", "IR-PCI-MSIX-0000:01:00.0". */
static void ir_on(struct audit *a)
{
	const struct ev_item *irq;
	enum got g;
	const char *log[2] = {"ir-intel", "ir-amd"};

	if (!need_cpu(a))
		return;
	if (a->host->cpu != CPU_INTEL && a->host->cpu != CPU_AMD) {
		emit(a, ST_NA, "host", "interrupt remapping by ITS or SMMU is not a setting there");
		return;
	}
	if (guest_na(a))
		return;
	g = aud_text(a, &irq, "/proc/interrupts");
	if (g == GOT_VALUE && strstr(irq->data, " IR-")) {
		aud_quote(a, irq, "IR-");
		emit(a, ST_PASS, "host", "interrupts are remapped (IR- chips in /proc/interrupts)");
		return;
	}
	for (int i = 0; i < 2; i++)
		if (g != GOT_VALUE && log_hit(a, log[i], NULL)) {
			a->nref = 0;
			log_hit(a, log[i], NULL);
			emit(a, ST_PASS, "host", "the kernel log says interrupts are remapped");
			return;
		}
	if (g == GOT_VALUE && strstr(irq->data, "CPU0") && strstr(irq->data, ":")) {
		log_hit(a, "no-ir", NULL);
		emit(a, ST_BAD, "host", "no interrupt is remapped: a guest with a device could raise any interrupt of the host");
		return;
	}
	aud_note(a, irq, "no interrupt table");
	emit(a, ST_UNKNOWN, "host", "interrupt table not visible");
}

static void fw_ir(struct audit *a)
{
	const struct host *h = a->host;

	if (guest_na(a))
		return;
	if (!need_cpu(a))
		return;
	if (h->cpu != CPU_INTEL) {
		emit(a, ST_NA, "host", "no DMAR table on this processor");
		return;
	}
	if (h->dmar_item->err == ENOENT && !h->acpi_list->err && h->acpi_list->len) {
		aud_note(a, h->acpi_list, NULL);
		emit(a, ST_BAD, "host", "no DMAR table, so nothing is offered");
		return;
	}
	aud_note(a, h->dmar_item, h->dmar_item->err ? strerror(h->dmar_item->err) : h->dmar_problem);
	if (!h->dmar.valid)
		emit(a, ST_UNKNOWN, "host", "the DMAR table cannot be read");
	else if (!h->dmar.intr_remap)
		emit(a, ST_BAD, "host", "the firmware offers no interrupt remapping");
	else if (h->dmar.x2apic_opt_out)
		emit_sev(a, 'M', "host", "the firmware asks the kernel to keep off x2APIC");
	else
		emit(a, ST_PASS, "host", "interrupt remapping and x2APIC offered");
}

static void ir_param(struct audit *a)
{
	const struct cmdline *c = &a->host->cmd;
	const char *v, *found = NULL;

	cmd_token(a, "intremap", &v);
	if (cmdline_has_item(c, "intremap", "off"))
		found = "intremap=off";
	else if (cmdline_has_item(c, "intremap", "nosid"))
		found = "intremap=nosid";
	else if (cmdline_get(c, "nointremap"))
		found = "nointremap";
	else if (cmdline_get(c, "nox2apic"))
		found = "nox2apic";
	if (found)
		emit(a, ST_BAD, "host", "%s turns off or weakens interrupt remapping", found);
	else
		emit(a, ST_PASS, "host", "no parameter weakens interrupt remapping");
}

static bool option_on(struct audit *a, const char *module, const char *key)
{
	const struct mod_line *l = NULL;

	while ((l = modconf_find(&a->host->mod, MOD_OPTIONS, module, l))) {
		size_t n;
		const char *v = mod_option(l->rest, key, &n);

		if (v && n && strchr("Yy1", v[0])) {
			note_mod_line(a, l);
			return true;
		}
	}
	return false;
}

static void unsafe_irq(struct audit *a)
{
	static const char *const module[] = {"vfio_iommu_type1", "iommufd"};
	const char *v;
	bool hit = false;

	for (int i = 0; i < 2; i++) {
		char name[64];

		if (aud_param(a, &v, module[i], "allow_unsafe_interrupts") == GOT_VALUE) {
			if (is_on(v)) {
				emit(a, ST_BAD, module[i], "allow_unsafe_interrupts is on in the running kernel");
				hit = true;
				continue;
			}
			if (!strchr("Nn0", *v) || !*v)
				aud_note(a, ev_getf(a->ev, EV_READ, "/sys/module/%s/parameters/allow_unsafe_interrupts",
						    module[i]), "neither Y nor N");
		}
		snprintf(name, sizeof(name), "%s.allow_unsafe_interrupts", module[i]);
		if (cmd_token(a, name, &v) > 0 && (is_on(v) || !*v)) {
			emit(a, ST_BAD, module[i], "allow_unsafe_interrupts on the command line");
			hit = true;
		} else if (option_on(a, module[i], "allow_unsafe_interrupts")) {
			emit(a, ST_BAD, module[i], "allow_unsafe_interrupts set in modprobe.d");
			hit = true;
		}
	}
	note_modconf(a);
	if (!hit)
		emit(a, ST_PASS, "host", "unsafe interrupts are not allowed");
}

static void noiommu(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *dev;
	const char *v;
	enum got g = aud_param(a, &v, "vfio", "enable_unsafe_noiommu_mode");

	if (g == GOT_VALUE && is_on(v)) {
		emit(a, ST_BAD, "host", "VFIO runs devices without any IOMMU");
		return;
	}
	if (g == GOT_VALUE && (!*v || !strchr("Nn0", *v)))
		aud_note(a, ev_get(a->ev, EV_READ, "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"), "neither Y nor N");
	if (aud_list(a, &dev, "/dev/vfio") == GOT_VALUE)
		for (const char *n = ev_name(dev, NULL); n; n = ev_name(dev, n))
			if (!strncmp(n, "noiommu-", 8)) {
				emit(a, ST_BAD, n, "a device node without IOMMU exists");
				return;
			}
	for (const char *n = ev_name(h->groups, NULL); n; n = ev_name(h->groups, n))
		if (aud_line(a, &v, "/sys/kernel/iommu_groups/%s/name", n) == GOT_VALUE && !strcmp(v, "vfio-noiommu")) {
			emit(a, ST_BAD, n, "group %s is a no-IOMMU group", n);
			return;
		}
	if (option_on(a, "vfio", "enable_unsafe_noiommu_mode")) {
		emit(a, ST_BAD, "host", "enable_unsafe_noiommu_mode set in modprobe.d");
		return;
	}
	note_modconf(a);
	emit(a, ST_PASS, "host", "no-IOMMU mode is off");
}

static void identity(struct audit *a)
{
	const char *v;
	int pt = cmd_token(a, "iommu", &v) > 0 && cmdline_has_item(&a->host->cmd, "iommu", "pt");

	if (cmd_token(a, "iommu.passthrough", &v) > 0 && is_on(v))
		pt = 1;
	if (pt)
		emit(a, ST_BAD, "host", "iommu=pt: the host's own devices are not confined; a choice for speed that VFIO does not need");
	else
		emit(a, ST_PASS, "host", "the host's own devices are translated as the kernel's default has it");
}

static void lazy(struct audit *a)
{
	const struct host *h = a->host;
	unsigned fq = 0, strict = 0, other = 0;
	const char *v;

	if (iommu_active(a) <= 0) {
		emit(a, ST_NA, "host", "no IOMMU in use");
		return;
	}
	for (const char *n = ev_name(h->groups, NULL); n; n = ev_name(h->groups, n)) {
		enum got g = aud_line(a, &v, "/sys/kernel/iommu_groups/%s/type", n);

		if (g != GOT_VALUE)
			continue;
		if (!strcmp(v, "DMA-FQ"))
			fq++;
		else if (!strcmp(v, "DMA"))
			strict++;
		else
			other++;
	}
	if (fq)
		emit(a, ST_BAD, "host", "%u group(s) invalidate lazily (DMA-FQ): a device may use a mapping shortly after its end", fq);
	else if (strict)
		emit(a, ST_PASS, "host", "mappings end at once (strict) in %u group(s)", strict);
	else
		emit(a, ST_NA, "host", "no group with translated DMA of the host (%u of other types)", other);
}

static void rmrr_one(struct audit *a, const struct pci_dev *d)
{
	const struct ev_item *res;
	const char *hit = NULL;

	aud_note(a, d->group_item, d->group || absent(d->group_item) ? NULL : strerror(d->group_item->err));
	if (!d->group) {
		emit(a, ST_NA, d->bdf, "in no IOMMU group");
		return;
	}
	if (aud_text(a, &res, "/sys/kernel/iommu_groups/%s/reserved_regions", d->group) == GOT_ABSENT)
		aud_note(a, res, "not there");
	for (const char *p = res->text ? res->data : NULL; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t n = strcspn(p, "\n");

		if (n > 7 && !strncmp(p + n - 7, " direct", 7))
			hit = p;
	}
	if (hit)
		emit(a, ST_BAD, d->bdf, "group %s holds a region the firmware reserved (%.33s): it cannot be given to a guest",
		     d->group, hit);
	else
		emit(a, ST_PASS, d->bdf, "no fixed reserved region in group %s", d->group);
}

static void rmrr(struct audit *a)
{
	each_gpu(a, rmrr_one);
}

/* Address bits that a guest with every GPU would need: 2 × Σ BARs, rounded to a power of two. */
static unsigned bits_for_gpus(struct audit *a)
{
	const struct host *h = a->host;
	uint64_t sum = 1ull << 32;
	unsigned bits = 0;

	for (size_t i = 0; i < h->ngpu; i++) {
		const struct ev_item *res;
		struct pci_bar bar[6];

		if (aud_text(a, &res, "/sys/bus/pci/devices/%s/resource", h->gpu[i]->bdf) != GOT_VALUE ||
		    !pci_resources(res->data, bar)) {
			aud_note(a, res, "no list of resources");
			return 0;
		}
		for (int k = 0; k < 6; k++)
			sum += bar[k].size;
	}
	while (bits < 63 && (1ull << bits) < 2 * sum)
		bits++;
	return bits;
}

/* Intel: MGAW in cap bits 21:16, the smallest of all units. 0: none seen. */
static unsigned intel_mgaw(struct audit *a)
{
	unsigned least = 0;

	for (const char *n = ev_name(a->host->iommus, NULL); n; n = ev_name(a->host->iommus, n)) {
		const char *v;
		unsigned w;
		char *end;

		if (strncmp(n, "dmar", 4) || aud_line(a, &v, "/sys/class/iommu/%s/intel-iommu/cap", n) != GOT_VALUE)
			continue;
		w = (strtoull(v, &end, 16) >> 16 & 63) + 1;
		if (*end || end == v) {
			aud_note(a, ev_getf(a->ev, EV_READ, "/sys/class/iommu/%s/intel-iommu/cap", n), "not a number");
			continue;
		}
		least = !least || w < least ? w : least;
	}
	return least;
}

static void width(struct audit *a)
{
	const struct host *h = a->host;
	unsigned need, have = 0;
	const char *whose = "processor";

	if (!need_gpus(a) || !need_cpu(a))
		return;
	need = bits_for_gpus(a);
	have = h->phys_bits;
	if (h->cpu == CPU_INTEL && intel_mgaw(a) && (!have || intel_mgaw(a) < have)) {
		have = intel_mgaw(a);
		whose = "IOMMU";
	}
	if (!need || !have)
		emit(a, ST_UNKNOWN, "host", "address width or BAR sizes not visible");
	else if (have < need)
		emit(a, ST_BAD, "host", "the %s addresses %u bits, all GPUs in one guest need %u", whose, have, need);
	else
		emit(a, ST_PASS, "host", "%u address bits, all GPUs in one guest need %u", have, need);
}

static void faults(struct audit *a)
{
	static const char *const rule[] = {"dmar-fault", "amdvi-fault", "smmu-fault"};
	const struct klog *k = &a->host->log;
	unsigned n = 0;
	char first[sizeof(k->hit->text)] = "";

	for (int i = 0; i < 3; i++)
		for (const struct klog_hit *h = klog_find(k, rule[i], NULL); h; h = klog_find(k, rule[i], h)) {
			if (!n++) {
				log_hit(a, rule[i], NULL);
				snprintf(first, sizeof(first), "%s", h->text);
			}
		}
	if (n)
		emit(a, ST_BAD, "host", "%u IOMMU fault(s) in the kernel log, first: %s", n, first);
	else
		emit(a, note_log(a) ? ST_PASS : ST_UNKNOWN, "host", "no IOMMU fault in what the kernel log still holds");
}

static void ivrs_bug(struct audit *a)
{
	const struct host *h = a->host;
	const struct klog_hit *hit;

	if (!need_cpu(a))
		return;
	if (h->cpu != CPU_AMD) {
		emit(a, ST_NA, "host", "not an AMD host");
		return;
	}
	hit = log_hit(a, "amd-ioapic", NULL);
	if (hit) {
		emit(a, ST_BAD, "host", "firmware bug: I/O APIC %s is missing in the IVRS table, so interrupts are not remapped",
		     hit->match[0]);
		return;
	}
	aud_note(a, h->ivrs_item, h->ivrs_item->err ? strerror(h->ivrs_item->err) : h->ivrs_problem);
	if (h->ivrs.valid && h->ivrs.ivhd)
		emit(a, ST_PASS, "host", "the IVRS table is well formed (%u IOMMU blocks)", h->ivrs.ivhd);
	else
		emit(a, ST_UNKNOWN, "host", "the IVRS table cannot be read");
}

static void ats_one(struct audit *a, const struct pci_dev *d)
{
	note_config(a, d);
	if (d->cfg.ats_on)
		emit(a, ST_BAD, d->bdf, "ATS is on: the device's translated requests pass the IOMMU unchecked");
	else
		emit(a, ST_PASS, d->bdf, d->cfg.ats ? "ATS is off" : "the device has no ATS");
}

static void ats(struct audit *a)
{
	each_gpu(a, ats_one);
}

static void posted(struct audit *a)
{
	const struct host *h = a->host;
	const char *v, *module = h->cpu == CPU_INTEL ? "kvm_intel" : "kvm_amd";
	const char *param = h->cpu == CPU_INTEL ? "enable_apicv" : "avic";
	enum got g;

	if (!need_cpu(a))
		return;
	if (h->cpu != CPU_INTEL && h->cpu != CPU_AMD) {
		emit(a, ST_NA, "host", "not an x86 processor");
		return;
	}
	g = aud_param(a, &v, module, param);
	if (g == GOT_VALUE && is_on(v))
		emit(a, ST_PASS, "host", "%s.%s is on: interrupts reach guests without an exit", module, param);
	else if (g == GOT_VALUE)
		emit(a, ST_BAD, "host", "%s.%s is off: every device interrupt costs an exit", module, param);
	else
		emit(a, ST_NA, "host", "%s is not loaded", module);
}

static void hotplug_dma(struct audit *a)
{
	const struct ev_item *list;
	enum got g = aud_list(a, &list, "/sys/bus/thunderbolt/devices");
	unsigned n = 0;

	if (!aud_anchor(a, "/sys/bus") || g != GOT_VALUE) {
		emit(a, ST_NA, "host", "no Thunderbolt or USB4 controller");
		return;
	}
	aud_common(a);
	for (const char *d = ev_name(list, NULL); d; d = ev_name(list, d)) {
		const char *v;

		if (strncmp(d, "domain", 6))
			continue;
		n++;
		g = aud_line(a, &v, "/sys/bus/thunderbolt/devices/%s/iommu_dma_protection", d);
		if (g == GOT_VALUE && !strcmp(v, "1"))
			emit(a, ST_PASS, d, "the IOMMU confines what is plugged in");
		else if (g == GOT_VALUE && !strcmp(v, "0"))
			emit(a, ST_BAD, d, "a device plugged in can read the host's memory");
		else
			emit(a, ST_UNKNOWN, d, "protection not visible");
	}
	if (!n)
		emit(a, ST_NA, "host", "no Thunderbolt or USB4 controller");
}

static const struct check checks[] = {
	{"IOMMU-001", "A01", "Hardware virtualisation is on", "CMCM-", 4, 2, cpu_virt,
	 "Without VT-x or AMD-V there are no guests.", "/proc/cpuinfo flags, /dev/kvm",
	 "Enable VT-x or SVM in the firmware; load kvm_intel or kvm_amd.", "", "pfwnu"},
	{"IOMMU-002", "A02", "The firmware describes an IOMMU", "CLCL-", 5, 2, fw_table,
	 "The kernel learns of the IOMMU from the DMAR (Intel), IVRS (AMD) or IORT (Arm) table only.",
	 "/sys/firmware/acpi/tables", "Enable VT-d, or set AMD \"IOMMU\" to Enabled rather than Auto.", "", "pfwnu"},
	{"IOMMU-003", "A03", "The IOMMU translates", "CMCM-", 5, 2, active,
	 "VFIO gives a device to a guest only behind an IOMMU. Sysfs is the proof; log lines wrap away, and an ACPI line proves nothing.",
	 "/sys/class/iommu, /sys/kernel/iommu_groups",
	 "Enable VT-d or AMD IOMMU in the firmware (IOMMU-002); remove parameters that turn it off (IOMMU-005); intel_iommu=on where the kernel's default is off (IOMMU-006).",
	 "kernel: Documentation/admin-guide/kernel-parameters.txt", "pfwnu"},
	{"IOMMU-004", "A04", "Every GPU is in an IOMMU group", "CLCL-", 5, 2, gpu_group,
	 "A device without a group cannot be confined, nor given to a guest.", "/sys/bus/pci/devices/*/iommu_group",
	 "As IOMMU-003.", "", "pfwnu"},
	{"IOMMU-005", "A05", "No parameter turns the IOMMU off", "CMCM-", 5, 1, off_by_param,
	 "intel_iommu=off, amd_iommu=off, iommu=off and iommu=soft disable translation.", "/proc/cmdline",
	 "Remove the parameter from the boot configuration and reboot.", "", "pfwu"},
	{"IOMMU-006", "A06", "intel_iommu=on is given where it is needed", "HLHL-", 4, 3, intel_on,
	 "Needed only where the kernel was built without INTEL_IOMMU_DEFAULT_ON; newer kernels need no parameter. Judged by effect.",
	 "IOMMU-003, /proc/cmdline, kernel configuration", "Add intel_iommu=on to the kernel's command line.", "", "pfwnu"},
	{"IOMMU-007", "A07", "No meaningless amd_iommu=on", "IIIII", 1, 4, amd_on,
	 "amd_iommu has no value \"on\"; the driver logs \"Unknown option\" and ignores it. The AMD IOMMU is on by default.",
	 "/proc/cmdline, kernel log", "Delete it. It does no harm and no good.", "", "piu"},
	{"IOMMU-008", "A08", "Interrupts are remapped", "CMCM-", 5, 2, ir_on,
	 "Without remapping a guest that owns a device can raise any interrupt vector of the host.",
	 "/proc/interrupts chip names, kernel log",
	 "Enable interrupt remapping and x2APIC in the firmware; update it; remove the parameters IOMMU-010 names.",
	 "VFIO refuses such hosts unless allow_unsafe_interrupts is set", "pfwnu"},
	{"IOMMU-009", "A09", "The firmware offers interrupt remapping and x2APIC", "HLHL-", 4, 2, fw_ir,
	 "DMAR flag bit 0 offers interrupt remapping; bit 1 asks to keep off x2APIC, which large hosts need.",
	 "/sys/firmware/acpi/tables/DMAR byte 37", "Enable both in the firmware.", "Intel VT-d specification", "pfwnu"},
	{"IOMMU-010", "A10", "No parameter weakens interrupt remapping", "CMCM-", 5, 1, ir_param,
	 "intremap=off, intremap=nosid, nointremap and nox2apic disable or weaken it.", "/proc/cmdline",
	 "Remove the parameter and reboot.", "", "pfwu"},
	{"IOMMU-011", "A11", "Unsafe interrupts are not allowed", "CHCH-", 5, 3, unsafe_irq,
	 "allow_unsafe_interrupts makes VFIO hand out devices without interrupt remapping. It silences the error, not the danger.",
	 "/sys/module/{vfio_iommu_type1,iommufd}/parameters, /proc/cmdline, modprobe.d",
	 "Remove the setting and cure the cause (IOMMU-008).", "", "pfu"},
	{"IOMMU-012", "A12", "No-IOMMU mode is off", "CCCCH", 5, 2, noiommu,
	 "In no-IOMMU mode a device driven from user space reaches all of the host's memory.",
	 "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode, /dev/vfio/noiommu-*, group names, modprobe.d",
	 "echo 0 into the parameter, delete the option; build the kernel without VFIO_NOIOMMU.", "", "pfu"},
	{"IOMMU-013", "A13", "The host's own devices are translated", "IIIII", 2, 4, identity,
	 "iommu=pt lets the host's devices reach all memory. It is a choice for speed; VFIO does not need it.",
	 "/proc/cmdline", "Where host devices are to be confined: drop iommu=pt, use iommu.strict=1.", "", "piu"},
	{"IOMMU-014", "A14", "Mappings end at once (strict)", "LLLL-", 2, 3, lazy,
	 "With lazy invalidation a device can use a page a few milliseconds after the host took it back.",
	 "/sys/kernel/iommu_groups/*/type", "iommu.strict=1 where devices may be hostile.", "", "pwnu"},
	{"IOMMU-015", "A15", "No firmware-reserved memory holds the GPU back", "H-H--", 4, 1, rmrr,
	 "A device with an RMRR or unity mapping of type \"direct\" may not get a guest's mappings.",
	 "/sys/kernel/iommu_groups/*/reserved_regions", "Turn off the firmware feature that owns the region, or use another slot.", "", "pfnu"},
	{"IOMMU-016", "A16", "Address width suffices for the BARs", "H-M--", 4, 2, width,
	 "A guest must address its memory and all BARs; eight H200 need 2 TiB of MMIO space alone.",
	 "/proc/cpuinfo address sizes, /sys/class/iommu/*/intel-iommu/cap, BAR sizes",
	 "host-phys-bits for the guest; a platform with a wider IOMMU; fewer GPUs per guest.", "", "pfwnu"},
	{"IOMMU-017", "A17", "No IOMMU faults in the log", "HMHMM", 4, 2, faults,
	 "A fault means that a device addressed memory it was not given: a defect or an attack.", "kernel log",
	 "Find the device; stop the guest that owns it; update its driver and firmware.", "", "pfwu"},
	{"IOMMU-018", "A18", "The AMD firmware table is sound", "HLHL-", 4, 2, ivrs_bug,
	 "An I/O APIC missing in IVRS makes the kernel turn interrupt remapping off.", "kernel log, IVRS",
	 "Update the firmware; meanwhile ivrs_ioapic=.", "", "pfwnu"},
	{"IOMMU-019", "A19", "ATS is off on GPUs given to guests", "M-M--", 4, 2, ats,
	 "With ATS a device presents addresses as already translated, and the IOMMU believes it.",
	 "configuration space, extended capability 0x0f", "pci=noats unless the device is trusted.", "", "pwnu"},
	{"IOMMU-020", "A20", "Interrupts reach guests without an exit", "I-I--", 1, 3, posted,
	 "APICv and AVIC, with posted interrupts, save an exit per device interrupt.",
	 "/sys/module/kvm_*/parameters", "kvm_intel.enable_apicv=1 or kvm_amd.avic=1.", "", "pinu"},
	{"IOMMU-021", "A21", "Hot-plug ports are confined", "LLLLL", 3, 1, hotplug_dma,
	 "Thunderbolt and USB4 carry PCIe to the outside of the case.",
	 "/sys/bus/thunderbolt/devices/*/iommu_dma_protection", "Enable kernel DMA protection in the firmware.", "", "pwnu"},
};

const struct check_group iommu_group = {
	"IOMMU", "IOMMU and interrupt remapping", checks, sizeof(checks) / sizeof(*checks),
	"SC-2 SC-3 SC-4 SC-7 SC-39 AC-4", "A1.1 2.2.1", "164.312(a)(1) 164.308(a)(1)(ii)(B)",
	"A.8.22 A.8.31", "Art. 32"};
