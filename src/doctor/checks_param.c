/* SPDX-License-Identifier: Apache-2.0 */
/* Group KPARAM: kernel parameters, running and pending. */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void unknown_params(struct audit *a)
{
	const struct klog_hit *hit = log_hit(a, "unknown-params", NULL);

	if (hit) {
		emit(a, ST_BAD, "host", "the kernel does not know: %s", hit->match[0]);
		return;
	}
	emit(a, note_log(a) ? ST_PASS : ST_UNKNOWN, "host", "the kernel log names no unknown parameter");
}

/* One finding for each item of a list that stands in the value of a parameter. */
static void items(struct audit *a, const char *param, const char *const *item, const char *const *why, size_t n)
{
	bool hit = false;
	const char *v;

	cmd_token(a, param, &v);
	aud_common(a);
	for (size_t i = 0; i < n; i++)
		if (cmdline_has_item(&a->host->cmd, param, item[i])) {
			emit(a, ST_BAD, item[i], "%s=%s: %s", param, item[i], why[i]);
			hit = true;
		}
	if (!hit)
		emit(a, ST_PASS, "host", "none given");
}

static void nomsi(struct audit *a)
{
	static const char *const item[] = {"nomsi"}, *const why[] = {"virtual functions and modern GPUs have no other interrupts"};

	items(a, "pci", item, why, 1);
}

static void risky_pci(struct audit *a)
{
	static const char *const item[] = {"nocrs", "noaer", "realloc", "assign-busses", "noacs"};
	static const char *const why[] = {"ignores the windows the firmware states", "hides link errors",
					  "moves BARs about at boot", "renumbers buses", "no such option, or isolation off"};

	items(a, "pci", item, why, 5);
}

/* "10de:2335,10de:233b": does the list name this device? */
static bool ids_name(const char *ids, size_t n, const struct pci_dev *d)
{
	char id[16];

	snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
	for (size_t i = 0; i + 9 <= n; i++)
		if ((!i || ids[i - 1] == ',') && !strncasecmp(ids + i, id, 9))
			return true;
	return false;
}

static void vfio_ids(struct audit *a)
{
	const struct host *h = a->host;
	const struct mod_line *l = modconf_find(&h->mod, MOD_OPTIONS, "vfio_pci", NULL);
	size_t nm = 0, nc;
	const char *cmd, *mod = l ? mod_option(l->rest, "ids", &nm) : NULL;
	int given = cmd_token(a, "vfio_pci.ids", &cmd);

	note_modconf(a);
	if (l)
		note_mod_line(a, l);
	nc = strlen(cmd);
	if (given <= 0 && !mod) {
		emit(a, ST_NA, "host", "vfio-pci is given no ids");
		return;
	}
	if (given > 0 && mod && (nc != nm || strncmp(cmd, mod, nc))) {
		emit(a, ST_BAD, "host", "the command line says %s, modprobe.d says %.*s", cmd, (int)nm, mod);
		return;
	}
	for (size_t i = 0; i < h->ngpu; i++)
		for (size_t k = 0; k < h->pci.n; k++) {
			const struct pci_dev *d = &h->pci.dev[k];
			const char *ids = mod ? mod : cmd;
			size_t n = mod ? nm : nc;

			if (pci_same_slot(h->gpu[i], d) && ids_name(ids, n, h->gpu[i]) && !ids_name(ids, n, d)) {
				emit(a, ST_BAD, d->bdf, "function %04x:%04x of a listed GPU is not in the ids", d->vendor, d->device);
				return;
			}
		}
	emit(a, ST_PASS, "host", "the ids agree and cover all functions");
}

static void virqfd(struct audit *a)
{
	const struct host *h = a->host;
	const struct mod_line *l = modconf_find(&h->mod, MOD_LOAD, "vfio_virqfd", NULL);

	note_modconf(a);
	aud_note(a, h->release_item, h->kver ? NULL : "kernel release unknown");
	if (l && h->kver >= 6002) {
		note_mod_line(a, l);
		emit(a, ST_BAD, l->src->path, "vfio_virqfd is listed, but is part of vfio since Linux 6.2");
	} else {
		emit(a, ST_PASS, "host", "no list names the module that was folded into vfio");
	}
}

/* Compares GPU-relevant parameters only: root=, quiet and the like differ for good reasons. */
static bool relevant(const char *name)
{
	static const char *const names[] = {"intel_iommu", "amd_iommu", "iommu", "iommu.passthrough", "iommu.strict", "intremap",
					    "nointremap", "nox2apic", "pci", "pcie_acs_override", "vfio_pci.ids", "hugepages",
					    "hugepagesz", "default_hugepagesz", "isolcpus", "nohz_full", "mitigations",
					    "initcall_blacklist", "module_blacklist", "modprobe.blacklist", "vfio_iommu_type1.allow_unsafe_interrupts"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static const char *missing(const struct cmdline *from, const struct cmdline *in)
{
	for (size_t i = 0; i < from->n; i++) {
		const char *v = relevant(from->token[i].name) ? cmdline_get(in, from->token[i].name) : "";

		if (!v || (relevant(from->token[i].name) && strcmp(v, cmdline_get(from, from->token[i].name))))
			return from->token[i].name;
	}
	return NULL;
}

static void pending_differs(struct audit *a)
{
	const struct host *h = a->host;
	const struct boot *b = &h->boot;
	const char *v, *name;
	bool same = false;

	if (cmd_token(a, "", &v) < 0) {
		emit(a, ST_UNKNOWN, "host", "command line not visible");
		return;
	}
	for (size_t i = 0; i < b->nunreadable; i++)
		aud_note(a, b->unreadable[i], b->unreadable[i]->err ? strerror(b->unreadable[i]->err) : "not text");
	if (!b->n) {
		aud_anchor(a, "/etc");
		emit(a, ST_NA, "host", "no boot configuration of a known kind");
		return;
	}
	for (size_t i = 0; i < b->n; i++) {
		aud_note(a, b->p[i].src, NULL);
		if (!missing(&b->p[i].cmd, &h->cmd) && !missing(&h->cmd, &b->p[i].cmd))
			same = true;
	}
	if (same) {
		emit(a, ST_PASS, "host", "the boot configuration agrees with what runs, as far as GPUs go");
		return;
	}
	name = missing(&b->p[0].cmd, &h->cmd);
	emit(a, ST_BAD, b->p[0].src->path, "%s differs between the running kernel and the next boot (%s)",
	     name ? name : missing(&h->cmd, &b->p[0].cmd), b->p[0].kind);
}

static void ignore_msrs(struct audit *a)
{
	const char *v;
	enum got g = aud_param(a, &v, "kvm", "ignore_msrs");

	if (g == GOT_VALUE && is_on(v))
		emit(a, ST_BAD, "host", "kvm.ignore_msrs is on: guests' bad accesses pass silently");
	else if (g == GOT_VALUE && *v && strchr("Nn0", *v))
		emit(a, ST_PASS, "host", "kvm.ignore_msrs is off");
	else if (g == GOT_ABSENT)
		emit(a, ST_NA, "host", "kvm is not loaded");
	else {
		aud_note(a, ev_get(a->ev, EV_READ, "/sys/module/kvm/parameters/ignore_msrs"), "neither Y nor N");
		emit(a, ST_UNKNOWN, "host", "not visible");
	}
}

static void mitigations(struct audit *a)
{
	const char *v;

	if (cmd_token(a, "mitigations", &v) > 0 && cmdline_has_item(&a->host->cmd, "mitigations", "off"))
		emit(a, ST_BAD, "host", "mitigations=off: guests can read the host's and each other's memory");
	else
		emit(a, ST_PASS, "host", "mitigations are not turned off");
}

static void kernel_age(struct audit *a)
{
	const struct host *h = a->host;

	aud_note(a, h->release_item, h->kver ? NULL : "kernel release unknown");
	if (!h->kver)
		emit(a, ST_UNKNOWN, "host", "kernel release not visible");
	else if (h->kver < 5019)
		emit(a, ST_BAD, "host", "kernel %s: no Resizable BAR control (5.19), VFIO device nodes (6.6), large BAR mappings (6.12)", h->release);
	else if (h->kver < 6012)
		emit_sev(a, 'L', "host", "kernel %s lacks large BAR mappings (6.12)%s", h->release, h->kver < 6006 ? " and VFIO device nodes (6.6)" : "");
	else
		emit(a, ST_PASS, "host", "kernel %s has what passthrough profits from", h->release);
}

static void isolation(struct audit *a)
{
	static const char *const name[] = {"isolcpus", "nohz_full", "irqaffinity", "hugepagesz", "hugepages"};
	char found[256] = "";
	const char *v;

	for (int i = 0; i < 5; i++)
		if (cmd_token(a, name[i], &v) > 0)
			snprintf(found + strlen(found), sizeof(found) - strlen(found), " %s=%.40s", name[i], v);
	emit(a, ST_INFO, "host", "processors and huge pages set aside at boot:%s", *found ? found : " none");
}

/* Bits of /proc/sys/kernel/tainted that weaken trust in the kernel: F, U, O, E. */
static void taint(struct audit *a)
{
	static const struct {
		unsigned bit;
		const char *what;
	} bits[] = {{1, "forced module load"}, {6, "user request"}, {12, "out-of-tree module"}, {13, "unsigned module"}};
	long long t;
	char what[160] = "";
	enum got g = aud_long(a, &t, "/proc/sys/kernel/tainted");

	if (g != GOT_VALUE) {
		aud_anchor(a, "/proc/sys/kernel");
		emit(a, ST_UNKNOWN, "host", "not visible");
		return;
	}
	for (int i = 0; i < 4; i++)
		if (t >> bits[i].bit & 1)
			snprintf(what + strlen(what), sizeof(what) - strlen(what), "%s%s", *what ? ", " : "", bits[i].what);
	if (t >> 1 & 1 || t >> 13 & 1)
		emit_sev(a, 'M', "host", "the kernel is tainted: %s", what);
	else if (*what)
		emit(a, ST_BAD, "host", "the kernel is tainted: %s", what);
	else
		emit(a, ST_PASS, "host", "no taint that concerns modules");
}

static void dev_mem(struct audit *a)
{
	const char *v;
	char c;

	if (cmd_token(a, "iomem", &v) > 0 && !strcmp(v, "relaxed")) {
		emit(a, ST_BAD, "host", "iomem=relaxed: root programs can write device memory that drivers hold");
		return;
	}
	c = kernel_config(a, "STRICT_DEVMEM");
	if (c == 'n')
		emit(a, ST_BAD, "host", "the kernel is built without STRICT_DEVMEM");
	else
		emit(a, c ? ST_PASS : ST_UNKNOWN, "host", "/dev/mem is restricted");
}

static const struct check checks[] = {
	{"KPARAM-001", "KP01", "The kernel knows every parameter", "LLLLL", 2, 3, unknown_params,
	 "A misspelt parameter protects nothing.", "kernel log", "Correct or delete it.", "", "pwu"},
	{"KPARAM-002", "KP02", "MSI is not disabled", "HHHHH", 4, 1, nomsi, "pci=nomsi takes the only interrupts many devices have.",
	 "/proc/cmdline", "Remove it.", "", "pfu"},
	{"KPARAM-003", "KP03", "No risky pci= options", "MMMMM", 3, 2, risky_pci, "Each hides or moves something that should be cured.",
	 "/proc/cmdline", "Remove, or write down why.", "", "pwu"},
	{"KPARAM-004", "KP04", "vfio-pci.ids agree everywhere", "M-M--", 3, 3, vfio_ids,
	 "Of two lists one is stale; a function left out keeps its group from being viable.", "/proc/cmdline, modprobe.d",
	 "Keep one list that names all functions.", "", "pwnu"},
	{"KPARAM-005", "KP05", "vfio_virqfd is not listed", "L-L--", 1, 4, virqfd, "Folded into vfio in Linux 6.2; mkinitcpio fails on the name.",
	 "module lists", "Delete the line.", "", "pwu"},
	{"KPARAM-006", "KP06", "The next boot has the same parameters", "MMMMM", 3, 3, pending_differs,
	 "A change not yet booted, or one that the boot loader never got.", "/proc/cmdline against GRUB, BLS, UKI, cmdline.d",
	 "Regenerate the boot configuration (update-grub, grub2-mkconfig, proxmox-boot-tool refresh) and reboot.", "", "pwnu"},
	{"KPARAM-007", "KP07", "kvm.ignore_msrs is off", "LLLL-", 2, 2, ignore_msrs, "Old guests need it, NVIDIA data-centre drivers do not.",
	 "/sys/module/kvm/parameters", "Remove it.", "", "pwnu"},
	{"KPARAM-008", "KP08", "Mitigations are not off", "HHHHM", 5, 2, mitigations, "Guests are strangers to each other.", "/proc/cmdline",
	 "Remove mitigations=off.", "", "pfwu"},
	{"KPARAM-009", "KP09", "The kernel is new enough", "MLML-", 2, 3, kernel_age, "Features that passthrough of large GPUs profits from.",
	 "/proc/sys/kernel/osrelease", "Newer kernel of the distribution.", "", "pwu"},
	{"KPARAM-010", "KP10", "Isolation parameters", "IIIII", 1, 3, isolation, "What is set aside must match the guests' pins (NUMA-004).",
	 "/proc/cmdline", "See NUMA-004 and NUMA-006.", "", "iu"},
	{"KPARAM-011", "KP11", "The kernel is not tainted", "IIIII", 2, 4, taint, "Forced and unsigned modules run unverified.",
	 "/proc/sys/kernel/tainted", "Sign modules; do not force them.", "", "pwiu"},
	{"KPARAM-012", "KP12", "/dev/mem is restricted", "MMMMM", 4, 1, dev_mem, "Otherwise root in a container with /dev/mem owns devices.",
	 "/proc/cmdline, kernel configuration", "Remove iomem=relaxed.", "", "pwu"},
};

const struct check_group kparam_group = {
	"KPARAM", "Kernel parameters", checks, sizeof(checks) / sizeof(*checks), "CM-2 CM-6 CM-7 SI-16", "2.2", "164.308(a)(1)",
	"A.8.9", "Art. 32"};
