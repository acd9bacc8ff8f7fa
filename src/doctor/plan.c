/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "# Written by vgpu-doctor; vgpu-doctor revert takes it away.\n"

static void add_file(struct plan *p, const char *path, const char *why, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void add_file(struct plan *p, const char *path, const char *why, const char *fmt, ...)
{
	char *body;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&body, fmt, ap) < 0 || asprintf(&p->file[p->nfile].text, HEAD "%s", body) < 0)
		abort();
	va_end(ap);
	free(body);
	snprintf(p->file[p->nfile].path, sizeof(p->file[0].path), "%s", path);
	p->file[p->nfile++].why = why;
}

static void add_command(struct plan *p, const char *why, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add_command(struct plan *p, const char *why, const char *fmt, ...)
{
	va_list ap;

	if (p->ncommand == PLAN_COMMANDS)
		return;
	va_start(ap, fmt);
	vsnprintf(p->command[p->ncommand].text, sizeof(p->command[0].text), fmt, ap);
	va_end(ap);
	p->command[p->ncommand++].why = why;
}

static bool chosen(const char *gpus, const char *bdf)
{
	size_t n = strlen(bdf);

	for (const char *p = gpus; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, bdf, n) && (!p[n] || p[n] == ','))
			return true;
	return !gpus;
}

static const char *check_choice(const struct host *h, const char *gpus)
{
	for (const char *p = gpus; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		size_t n = strcspn(p, ",");
		bool found = false;

		for (size_t i = 0; i < h->ngpu; i++)
			found |= strlen(h->gpu[i]->bdf) == n && !strncmp(h->gpu[i]->bdf, p, n);
		if (!found)
			return "--gpus names a device that is no GPU of this host";
	}
	return h->ngpu ? NULL : "there is no GPU in this host";
}

/* intel_iommu=on is needed only where the IOMMU does not come up by itself. */
static const char *kernel_args(const struct host *h, enum mode mode)
{
	bool on = h->groups->len && h->iommus->len;

	return h->cpu == CPU_INTEL && !on && (mode == MODE_PASSTHROUGH || mode == MODE_VGPU) ? "intel_iommu=on" : NULL;
}

static void boot_parameters(struct plan *p, const struct host *h)
{
	const char *args = kernel_args(h, p->mode);

	if (!args)
		return;
	switch (h->distro) {
	case DIST_DEBIAN:
		add_file(p, "/etc/default/grub.d/openvgpu-doctor.cfg", "IOMMU-006", "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX %s\"\n", args);
		add_command(p, "puts the parameter into grub.cfg", "update-grub");
		break;
	case DIST_ARCH:
		add_file(p, "/etc/cmdline.d/openvgpu-doctor.conf", "IOMMU-006", "%s\n", args);
		break;
	case DIST_RHEL:
		add_command(p, "IOMMU-006: BLS entries have no drop-ins", "grubby --update-kernel=ALL --args=%s", args);
		break;
	case DIST_SUSE:
		add_command(p, "IOMMU-006: this GRUB reads no drop-ins", "pbl --add-option %s --config", args);
		break;
	case DIST_PROXMOX:
		add_command(p, "IOMMU-006: one line of Proxmox' own", "sed -i '1s/$/ %s/' /etc/kernel/cmdline  # GRUB hosts: /etc/default/grub", args);
		add_command(p, "writes the boot entries", "proxmox-boot-tool refresh");
		break;
	default:
		add_command(p, "IOMMU-006", "add %s to the kernel's command line", args);
	}
}

static void rebuild_initramfs(struct plan *p, const struct host *h)
{
	static const char *const command[] = {[DIST_UNKNOWN] = "rebuild the initramfs", [DIST_DEBIAN] = "update-initramfs -u -k all",
					      [DIST_RHEL] = "dracut -f --regenerate-all", [DIST_SUSE] = "dracut -f --regenerate-all",
					      [DIST_ARCH] = "mkinitcpio -P", [DIST_PROXMOX] = "update-initramfs -u -k all"};

	add_command(p, "BIND-008: the initramfs has a copy of modprobe.d", "%s", command[h->distro]);
}

/* One udev rule per function: vfio-pci takes it by address, whatever has the same ids. */
static void overrides(struct plan *p, const struct host *h, const char *gpus)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	for (size_t i = 0; i < h->pci.n; i++) {
		const struct pci_dev *d = &h->pci.dev[i];

		for (size_t k = 0; k < h->ngpu; k++)
			if (chosen(gpus, h->gpu[k]->bdf) && (d == h->gpu[k] || (pci_same_slot(d, h->gpu[k]) && !d->is_vf && !pci_is_bridge(d)))) {
				fprintf(f, "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"%s\", ATTR{driver_override}=\"vfio-pci\"\n", d->bdf);
				break;
			}
	}
	fclose(f);
	add_file(p, "/etc/udev/rules.d/10-openvgpu-doctor.rules", "BIND-001, BIND-002, BIND-007", "%s", text);
	free(text);
}

static void for_passthrough(struct plan *p, const struct host *h, const char *gpus)
{
	overrides(p, h, gpus);
	add_file(p, "/etc/modprobe.d/openvgpu-doctor.conf", "BIND-003, BIND-006",
		 "softdep nvidia pre: vfio-pci\nsoftdep nvidiafb pre: vfio-pci\nsoftdep nvidia_drm pre: vfio-pci\nsoftdep nouveau pre: vfio-pci\n"
		 "blacklist nouveau\ninstall nouveau /bin/false\n");
	add_file(p, "/etc/modules-load.d/openvgpu-doctor.conf", "BIND-011", "vfio-pci\nvfio_iommu_type1\n");
	boot_parameters(p, h);
	rebuild_initramfs(p, h);
}

/* The host driver stays; only what fights with it goes. */
static void for_host_driver(struct plan *p, const struct host *h)
{
	add_file(p, "/etc/modprobe.d/openvgpu-doctor.conf", "BIND-003", "blacklist nouveau\ninstall nouveau /bin/false\n");
	boot_parameters(p, h);
	rebuild_initramfs(p, h);
	add_command(p, "EXPO-011", "systemctl enable --now nvidia-persistenced");
	if (h->nnvswitch)
		add_command(p, "FABRIC-001", "systemctl enable --now nvidia-fabricmanager");
	if (p->mode == MODE_MIG)
		add_command(p, "MIG-004", "systemctl enable --now nvidia-mig-manager");
	if (p->mode == MODE_VGPU) {
		add_file(p, "/etc/systemd/system/openvgpu-doctor-sriov.service", "VGPU-004",
			 "[Unit]\nDescription=Enable the GPUs' virtual functions\nAfter=nvidia-vgpud.service\nBefore=nvidia-vgpu-mgr.service\n\n"
			 "[Service]\nType=oneshot\nExecStart=/usr/lib/nvidia/sriov-manage -e ALL\n\n[Install]\nWantedBy=multi-user.target\n");
		add_command(p, "VGPU-004", "systemctl daemon-reload && systemctl enable openvgpu-doctor-sriov.service");
	}
	for (const struct mod_line *l = NULL; (l = modconf_find(&h->mod, MOD_BLACKLIST, "nvidia", l));)
		add_command(p, "BIND-004: not our file, so we leave it to you", "delete line %u of %.200s (blacklist nvidia)", l->line, l->src->path);
}

const char *plan_make(struct plan *p, const struct host *h, enum mode mode, const char *gpus)
{
	const char *bad = check_choice(h, gpus);

	memset(p, 0, sizeof(*p));
	p->mode = mode;
	if (bad)
		return bad;
	if (mode == MODE_BARE)
		return "there is nothing to plan for a bare host";
	if (!h->cmd_known || h->pci.list->err)
		return "the host's state cannot be read well enough to plan (/proc/cmdline, /sys/bus/pci)";
	if (cmdline_get(&h->cmd, "pcie_acs_override"))
		add_command(p, "ACS-006: it must go, and the slots be planned anew", "remove pcie_acs_override from the boot configuration");
	if (mode == MODE_PASSTHROUGH)
		for_passthrough(p, h, gpus);
	else
		for_host_driver(p, h);
	add_command(p, "drivers are bound at boot", "reboot, then vgpu-doctor --mode %s", mode_name[mode]);
	return NULL;
}

void plan_free(struct plan *p)
{
	for (size_t i = 0; i < p->nfile; i++)
		free(p->file[i].text);
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void prefixed(FILE *f, char mark, const char *s)
{
	while (*s) {
		size_t n = strcspn(s, "\n");

		fprintf(f, "%c%.*s\n", mark, (int)n, s);
		s += n + (s[n] == '\n');
	}
}

void plan_print(const struct plan *p, struct ev *ev, FILE *f)
{
	bool any = false;

	for (size_t i = 0; i < p->nfile; i++) {
		const struct ev_item *now = ev_get(ev, EV_READ, p->file[i].path);

		if (!now->err && !strcmp(now->data, p->file[i].text))
			continue;
		any = true;
		fprintf(f, "# %s\n--- %s\n+++ %s\n@@ -%d,%u +1,%u @@\n", p->file[i].why, now->err ? "/dev/null" : p->file[i].path, p->file[i].path,
			now->err ? 0 : 1, now->err ? 0 : lines(now->data), lines(p->file[i].text));
		if (!now->err)
			prefixed(f, '-', now->data);
		prefixed(f, '+', p->file[i].text);
	}
	fprintf(f, any ? "\n# Then, as root:\n" : "# Every file is as planned. What remains, as root:\n");
	for (size_t i = 0; i < p->ncommand; i++)
		fprintf(f, "#   %s    (%s)\n", p->command[i].text, p->command[i].why);
}
