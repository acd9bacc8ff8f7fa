/* SPDX-License-Identifier: Apache-2.0 */
/* Group BIND: which driver has which GPU, and will have it after the next boot. */
#include "checks_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool note_driver(struct audit *a, const struct pci_dev *d)
{
	const struct ev_item *it = d->driver_item;
	bool known = d->driver || it->err == ENOENT;

	aud_note(a, it, known ? NULL : it->err ? strerror(it->err) : "not text");
	if (d->driver)
		aud_quote(a, it, d->driver);
	return known;
}

static const char *host_driver(const struct pci_dev *d)
{
	return d->vendor == 0x10de ? "nvidia" : d->vendor == 0x1002 ? "amdgpu" : "xe";
}

static void driver_fits_one(struct audit *a, const struct pci_dev *d)
{
	bool vfio = d->driver && strstr(d->driver, "vfio");

	note_dev(a, d);
	if (!note_driver(a, d))
		emit(a, ST_UNKNOWN, d->bdf, "driver not visible");
	else if (a->mode == MODE_PASSTHROUGH && vfio)
		emit(a, ST_PASS, d->bdf, "bound to %s", d->driver);
	else if (a->mode == MODE_PASSTHROUGH)
		emit(a, ST_BAD, d->bdf, "%s%s, but passthrough needs vfio-pci", d->driver ? "bound to " : "bound to no driver", d->driver ? d->driver : "");
	else if (d->driver && !strcmp(d->driver, host_driver(d)))
		emit(a, ST_PASS, d->bdf, "bound to %s", d->driver);
	else
		emit(a, ST_BAD, d->bdf, "bound to %s, but mode %s needs %s on the host", d->driver ? d->driver : "no driver",
		     mode_name[a->mode], host_driver(d));
}

static void driver_fits(struct audit *a)
{
	each_gpu(a, driver_fits_one);
}

static void companions(struct audit *a)
{
	const struct host *h = a->host;
	bool any = false;

	if (!need_gpus(a))
		return;
	aud_common(a);
	for (size_t i = 0; i < h->ngpu; i++)
		for (size_t k = 0; k < h->pci.n; k++) {
			const struct pci_dev *d = &h->pci.dev[k];

			if (!pci_same_slot(h->gpu[i], d) || d->is_vf || pci_is_gpu(d))
				continue;
			any = true;
			note_driver(a, d);
			if (d->driver && !strstr(d->driver, "vfio") && strcmp(d->driver, "pci-stub"))
				emit(a, ST_BAD, d->bdf, "companion function of %s is still with %s", h->gpu[i]->bdf, d->driver);
			else
				emit(a, ST_PASS, d->bdf, "companion function of %s is free for VFIO", h->gpu[i]->bdf);
		}
	if (!any)
		emit(a, ST_NA, "host", "GPUs without companion functions");
}

static void nouveau(struct audit *a)
{
	int loaded = aud_module(a, "nouveau");

	if (loaded > 0)
		emit(a, ST_BAD, "host", "nouveau is loaded");
	else
		emit(a, loaded ? ST_UNKNOWN : ST_PASS, "host", "nouveau is not loaded");
}

/* The file for a module that shall be blocked: blacklist, or install X /bin/false. */
static const struct mod_line *blocked(const struct modconf *m, const char *module)
{
	const struct mod_line *l = modconf_find(m, MOD_BLACKLIST, module, NULL);

	if (l)
		return l;
	l = modconf_find(m, MOD_INSTALL, module, NULL);
	return l && (strstr(l->rest, "/bin/false") || strstr(l->rest, "/bin/true")) ? l : NULL;
}

static void blanket(struct audit *a)
{
	static const char *const module[] = {"nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"};
	const struct modconf *m = &a->host->mod;
	const char *v;

	note_modconf(a);
	for (int i = 0; i < 2; i++) {
		const struct mod_line *l = blocked(m, module[i]);

		if (!l)
			continue;
		note_mod_line(a, l);
		emit(a, ST_BAD, l->src->path, "line %u blocks %s, which this mode needs on the host", l->line, module[i]);
		return;
	}
	if ((cmd_token(a, "modprobe.blacklist", &v) > 0 && cmdline_has_item(&a->host->cmd, "modprobe.blacklist", "nvidia")) ||
	    (cmd_token(a, "module_blacklist", &v) > 0 && cmdline_has_item(&a->host->cmd, "module_blacklist", "nvidia")))
		emit(a, ST_BAD, "host", "the command line blacklists nvidia, which this mode needs on the host");
	else
		emit(a, ST_PASS, "host", "the host driver is not blocked");
}

static void weak_blacklist(struct audit *a)
{
	const struct mod_line *l = modconf_find(&a->host->mod, MOD_BLACKLIST, "nvidia", NULL);
	int loaded = aud_module(a, "nvidia");

	note_modconf(a);
	if (l && loaded > 0) {
		note_mod_line(a, l);
		emit(a, ST_BAD, l->src->path, "nvidia is blacklisted and loaded all the same: a blacklist only stops aliases");
	} else {
		emit(a, loaded < 0 ? ST_UNKNOWN : ST_PASS, "host", l ? "the blacklist holds" : "no blacklist that could fail");
	}
}

/* 1 built in, 0 not, -1 unknown. */
static int builtin(struct audit *a, const char *module)
{
	const struct ev_item *it;
	char line[96];

	if (!a->host->release[0] || aud_text(a, &it, "/lib/modules/%s/modules.builtin", a->host->release) != GOT_VALUE)
		return -1;
	snprintf(line, sizeof(line), "/%s.ko\n", module);
	return strstr(it->data, line) != NULL;
}

static void softdep(struct audit *a)
{
	static const char *const module[] = {"nvidia", "nouveau"};
	const struct modconf *m = &a->host->mod;
	bool ids = modconf_find(m, MOD_OPTIONS, "vfio_pci", NULL);
	const char *v;

	if (cmd_token(a, "vfio_pci.ids", &v) > 0)
		ids = true;
	note_modconf(a);
	if (!ids) {
		emit(a, ST_NA, "host", "devices are not bound by vfio-pci.ids");
		return;
	}
	if (builtin(a, "vfio-pci") > 0) {
		emit(a, ST_PASS, "host", "vfio-pci is built in and binds first");
		return;
	}
	for (int i = 0; i < 2; i++) {
		const struct mod_line *l = NULL;
		bool ordered = blocked(m, module[i]) != NULL;

		while (!ordered && (l = modconf_find(m, MOD_SOFTDEP, module[i], l)))
			ordered = strstr(l->rest, "vfio-pci") || strstr(l->rest, "vfio_pci");
		if (!ordered) {
			emit(a, ST_BAD, module[i], "nothing makes vfio-pci load before %s: they race for the GPU", module[i]);
			return;
		}
	}
	emit(a, ST_PASS, "host", "vfio-pci loads before the GPU drivers");
}

static void ids_wide(struct audit *a)
{
	const struct host *h = a->host;
	const struct pci_dev *kept = NULL, *given = NULL;
	const struct mod_line *l = modconf_find(&h->mod, MOD_OPTIONS, "vfio_pci", NULL);
	const char *v;

	if (!need_gpus(a))
		return;
	note_modconf(a);
	if (cmd_token(a, "vfio_pci.ids", &v) <= 0 && !l) {
		emit(a, ST_NA, "host", "devices are not bound by vfio-pci.ids");
		return;
	}
	for (size_t i = 0; i < h->ngpu; i++)
		for (size_t k = 0; k < h->ngpu; k++) {
			const struct pci_dev *x = h->gpu[i], *y = h->gpu[k];

			note_driver(a, x);
			if (x->vendor == y->vendor && x->device == y->device && x->driver && strstr(x->driver, "vfio") &&
			    y->driver && !strstr(y->driver, "vfio")) {
				given = x;
				kept = y;
			}
		}
	if (kept)
		emit(a, ST_BAD, kept->bdf, "same ids as %s, which the id list gives to VFIO: the next boot takes both", given->bdf);
	else
		emit(a, ST_PASS, "host", "no GPU kept by the host has the listed ids");
}

static bool initrd_ready(struct audit *a)
{
	const struct initrd *i = &a->host->initrd;

	if (!i->stat) {
		aud_note(a, a->host->release_item, a->host->release[0] ? NULL : "kernel release unknown");
		if (aud_anchor(a, "/boot"))
			emit(a, ST_NA, "host", "no initramfs for the running kernel");
		else
			emit(a, ST_UNKNOWN, "host", "/boot not visible");
		return false;
	}
	aud_note(a, i->stat, i->stat->err ? strerror(i->stat->err) : NULL);
	if (!i->looked) {
		emit(a, ST_SKIPPED, i->path, "initramfs not looked into (--no-initramfs)");
		return false;
	}
	aud_note(a, i->src, i->digest ? NULL : i->src->err == EACCES ? "Permission denied" : "the image could not be read to its end");
	if (!i->digest)
		emit(a, ST_UNKNOWN, i->path, "contents not visible");
	return i->digest != NULL;
}

static void initrd_content(struct audit *a)
{
	const struct host *h = a->host;
	const struct initrd *i = &h->initrd;
	const char *path;
	json_t *text, *conf;

	if (!initrd_ready(a))
		return;
	if (a->mode == MODE_PASSTHROUGH && !initrd_has_module(i, "vfio_pci") && builtin(a, "vfio-pci") == 0) {
		emit(a, ST_BAD, i->path, "vfio-pci is neither in the initramfs nor built in: a GPU driver may come first");
		return;
	}
	if (initrd_has_module(i, "nouveau") && !blocked(&h->mod, "nouveau")) {
		emit(a, ST_BAD, i->path, "nouveau is in the initramfs and not blocked");
		return;
	}
	if (a->mode == MODE_PASSTHROUGH && initrd_has_module(i, "nvidia")) {
		emit_sev(a, 'M', i->path, "the nvidia module is in the initramfs and may take the GPU before vfio-pci");
		return;
	}
	conf = json_object_get(i->digest, "conf");
	json_object_foreach(conf, path, text) {
		const struct ev_item *disk;

		if (strncmp(path, "etc/modprobe.d/", 15))
			continue;
		disk = ev_getf(a->ev, EV_READ, "/%s", path);
		aud_note(a, disk, disk->err == ENOENT ? NULL : ev_text_problem(disk));
		if (disk->text && strcmp(disk->data, json_string_value(text))) {
			emit(a, ST_BAD, path, "differs between the disk and the initramfs: rebuild it");
			return;
		}
		if (disk->err == ENOENT) {
			emit(a, ST_BAD, path, "is still in the initramfs, but no longer on the disk: rebuild it");
			return;
		}
	}
	emit(a, ST_PASS, i->path, "the initramfs holds what the disk says");
}

static void initrd_stale(struct audit *a)
{
	const struct host *h = a->host;
	const struct initrd *i = &h->initrd;
	const struct ev_item *list = ev_get(a->ev, EV_LIST, "/etc/modprobe.d");

	if (!i->stat) {
		initrd_ready(a);
		return;
	}
	aud_note(a, i->stat, i->stat->err ? strerror(i->stat->err) : NULL);
	aud_note(a, list, list->err && list->err != ENOENT ? strerror(list->err) : NULL);
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *st = ev_getf(a->ev, EV_STAT, "/etc/modprobe.d/%s", n);

		aud_note(a, st, st->err ? strerror(st->err) : NULL);
		if (!st->err && !i->stat->err && st->mtime > i->stat->mtime) {
			emit(a, ST_BAD, st->path, "is newer than %s: the next boot does not know it", i->path);
			return;
		}
	}
	emit(a, ST_PASS, i->path, "newer than every file of modprobe.d");
}

static void bind_order(struct audit *a)
{
	const struct klog_hit *vfio = log_hit(a, "vfio-add", NULL), *nv = log_hit(a, "nvidia-loading", NULL);

	if (vfio && nv)
		emit(a, ST_INFO, "host", "vfio-pci took its ids %s nvidia was loaded", vfio < nv ? "before" : "after");
	else
		emit(a, note_log(a) ? ST_INFO : ST_UNKNOWN, "host", "the log does not hold both moments");
}

static void vfio_present(struct audit *a)
{
	const struct ev_item *dev;
	/* vGPU functions are handed out by a variant driver on the common core. */
	bool vgpu = a->mode == MODE_VGPU;
	int pci = aud_module(a, vgpu ? "vfio" : "vfio_pci"), type1 = aud_module(a, "vfio_iommu_type1"), fd = aud_module(a, "iommufd");

	if (pci < 0) {
		emit(a, ST_UNKNOWN, "host", "modules not visible");
		return;
	}
	dev = ev_get(a->ev, EV_STAT, "/dev/vfio/vfio");
	aud_note(a, dev, dev->err && dev->err != ENOENT ? strerror(dev->err) : NULL);
	if (pci && (type1 > 0 || fd > 0) && !dev->err)
		emit(a, ST_PASS, "host", "vfio-pci and an IOMMU backend are there");
	else
		emit(a, ST_BAD, "host", "VFIO is not complete: %s %s, backend %s, /dev/vfio/vfio %s", vgpu ? "vfio" : "vfio_pci", pci ? "yes" : "no",
		     type1 > 0 || fd > 0 ? "yes" : "no", dev->err ? "no" : "yes");
}

static void node_modes(struct audit *a)
{
	const struct ev_item *list;

	if (aud_list(a, &list, "/dev/vfio") == GOT_ABSENT) {
		if (aud_anchor(a, "/dev"))
			emit(a, ST_NA, "host", "no /dev/vfio");
		else
			emit(a, ST_UNKNOWN, "host", "/dev not visible");
		return;
	}
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *st;

		if (!strcmp(n, "vfio") || !strcmp(n, "devices"))
			continue; /* the container node is for everyone by design: it gives nothing by itself */
		st = ev_getf(a->ev, EV_STAT, "/dev/vfio/%s", n);
		aud_note(a, st, st->err ? strerror(st->err) : NULL);
		if (!st->err && st->mode & 0002) {
			emit(a, ST_BAD, st->path, "mode %04o: every user may take the group", st->mode & 07777);
			return;
		}
	}
	emit(a, ST_PASS, "host", "group nodes are not for everyone");
}

static void double_claim(struct audit *a)
{
	const struct host *h = a->host;
	const struct domains *ds = &h->dom;

	note_domains(a);
	for (size_t i = 0; i < h->procs.n; i++)
		for (size_t k = i + 1; k < h->procs.n; k++)
			for (unsigned x = 0; x < h->procs.p[i].nvfio; x++)
				for (unsigned y = 0; y < h->procs.p[k].nvfio; y++)
					if (!strcmp(h->procs.p[i].vfio[x], h->procs.p[k].vfio[y]) && strcmp(h->procs.p[i].vfio[x], "vfio")) {
						aud_note(a, h->procs.p[i].fds, NULL);
						emit(a, ST_BAD, h->procs.p[i].vfio[x], "held by process %u and process %u",
						     h->procs.p[i].pid, h->procs.p[k].pid);
						return;
					}
	for (size_t i = 0; i < ds->n; i++)
		for (size_t k = i + 1; k < ds->n; k++)
			for (unsigned x = 0; x < ds->d[i].nhostdev && strcmp(ds->d[i].name, ds->d[k].name); x++)
				for (unsigned y = 0; y < ds->d[k].nhostdev; y++)
					if (!strcmp(ds->d[i].hostdev[x], ds->d[k].hostdev[y])) {
						aud_note(a, ds->d[i].src, NULL);
						aud_note(a, ds->d[k].src, NULL);
						emit_sev(a, ds->d[i].live && ds->d[k].live ? 'H' : 'M', ds->d[i].hostdev[x],
							 "claimed by VM %s and VM %s", ds->d[i].name, ds->d[k].name);
						return;
					}
	for (size_t i = 0; i < h->procs.n; i++)
		if (h->procs.p[i].qemu)
			aud_note(a, h->procs.p[i].fds, h->procs.p[i].fds_known ? NULL : strerror(h->procs.p[i].fds->err));
	if (!aud_anchor(a, "/proc"))
		emit(a, ST_UNKNOWN, "host", "processes not visible");
	else
		emit(a, ST_PASS, "host", "no device is claimed twice");
}

static void nvidia_clients(struct audit *a)
{
	const struct host *h = a->host;
	char who[256] = "";

	if (!aud_anchor(a, "/proc")) {
		emit(a, ST_UNKNOWN, "host", "processes not visible");
		return;
	}
	for (size_t i = 0; i < h->procs.n; i++) {
		const struct proc *p = &h->procs.p[i];

		aud_note(a, p->fds, p->fds_known || p->fds->err == ENOENT ? NULL : strerror(p->fds->err));
		if (p->nvidia)
			snprintf(who + strlen(who), sizeof(who) - strlen(who), " %s(%u)", p->comm, p->pid);
	}
	if (*who)
		emit(a, ST_BAD, "host", "these keep the driver from letting go:%s", who);
	else
		emit(a, ST_PASS, "host", "no known service holds a GPU");
}

static void code43(struct audit *a)
{
	const struct domains *ds = &a->host->dom;

	note_domains(a);
	for (size_t i = 0; i < ds->n; i++)
		if (ds->d[i].nhostdev && (ds->d[i].kvm_hidden || ds->d[i].hv_vendor)) {
			aud_note(a, ds->d[i].src, NULL);
			emit(a, ST_BAD, ds->d[i].name, "hides KVM from the guest: needed only for GeForce drivers before 465, costs speed");
			return;
		}
	emit(a, ds->n ? ST_PASS : ST_NA, "host", ds->n ? "no domain hides the hypervisor" : "no libvirt domain");
}

static void ignored_conf(struct audit *a)
{
	const struct modconf *m = &a->host->mod;

	note_modconf(a);
	if (m->nignored) {
		aud_note(a, m->ignored[0], NULL);
		emit(a, ST_BAD, m->ignored[0]->path, "holds directives but does not end in .conf: modprobe ignores it");
	} else {
		emit(a, ST_PASS, "host", "no file that modprobe silently ignores");
	}
}

static void vf_driver(struct audit *a)
{
	const struct host *h = a->host;

	if (!need_gpus(a))
		return;
	note_vfs(a);
	if (!h->nvf) {
		emit(a, ST_NA, "host", "no virtual functions");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->nvf; i++) {
		const struct pci_dev *d = h->vf[i];

		note_driver(a, d);
		if (d->vendor == 0x10de && d->driver && strcmp(d->driver, "nvidia"))
			emit(a, ST_BAD, d->bdf, "bound to %s: a vGPU virtual function must stay with nvidia, vfio-pci fails on it", d->driver);
		else
			emit(a, ST_PASS, d->bdf, "with %s", d->driver ? d->driver : "no driver");
	}
}

static const struct check checks[] = {
	{"BIND-001", "E01", "Each GPU has the driver its mode needs", "HHHHH", 3, 3, driver_fits,
	 "vfio-pci for passthrough, the vendor's driver for everything else.", "driver links",
	 "driver_override (driverctl set-override BDF vfio-pci), or remove the override.", "", "pfnu"},
	{"BIND-002", "E02", "Companion functions go along", "M----", 3, 3, companions,
	 "Audio and USB functions of the card are in its group.", "driver links of the same slot", "Bind them to vfio-pci too.", "", "pwnu"},
	{"BIND-003", "E03", "nouveau is not loaded", "HHHHH", 3, 3, nouveau, "It takes GPUs that others should have.", "/sys/module",
	 "blacklist nouveau, install nouveau /bin/false, rebuild the initramfs.", "", "pfu"},
	{"BIND-004", "E04", "The NVIDIA driver is not blocked where it is needed", "-CCCC", 4, 3, blanket,
	 "Instructions for passthrough blacklist nvidia; on MIG, vGPU and sharing hosts that breaks everything.", "modprobe.d, /proc/cmdline",
	 "Remove the line; bind single GPUs by driver_override.", "", "pfnu"},
	{"BIND-005", "E05", "A blacklist holds", "LLLLL", 2, 3, weak_blacklist, "blacklist stops aliases only; a dependency or an explicit load passes.",
	 "modprobe.d, /sys/module", "softdep or install lines, or driver_override.", "", "pwu"},
	{"BIND-006", "E06", "vfio-pci loads before the GPU drivers", "M----", 3, 3, softdep, "Otherwise they race at boot.", "modprobe.d, modules.builtin",
	 "softdep nvidia pre: vfio-pci (and nouveau, nvidiafb, nvidia_drm).", "", "pwnu"},
	{"BIND-007", "E07", "Ids do not take GPUs the host keeps", "M-M--", 3, 3, ids_wide, "ids= binds every device of that id.", "modprobe.d, /proc/cmdline, driver links",
	 "driver_override or driverctl per address.", "", "pwnu"},
	{"BIND-008", "E08", "The initramfs holds the right modules", "HMMMM", 3, 3, initrd_content,
	 "What boots first is in there, with a copy of modprobe.d of its own.", "initramfs of the running kernel",
	 "update-initramfs -u, dracut -f, mkinitcpio -P.", "", "pfwnus"},
	{"BIND-009", "E09", "The initramfs is not stale", "MMMMM", 2, 4, initrd_stale, "A change of modprobe.d is not in effect until rebuilt.",
	 "modification times", "Rebuild it.", "", "pwnu"},
	{"BIND-010", "E10", "Order of binding", "I----", 1, 2, bind_order, "The log shows who came first.", "kernel log", "BIND-006.", "", "iu"},
	{"BIND-011", "E11", "VFIO is there", "H-H--", 3, 2, vfio_present, "Passthrough needs vfio-pci and type1 or iommufd.", "/sys/module, /dev/vfio",
	 "modprobe vfio-pci vfio_iommu_type1.", "", "pfu"},
	{"BIND-012", "E12", "VFIO nodes are not for everyone", "H-H--", 4, 1, node_modes, "Who opens the node owns the device.", "/dev/vfio modes",
	 "udev rule with the owner and mode 0660.", "", "pfnu"},
	{"BIND-013", "E13", "No device is claimed twice", "HMHM-", 4, 2, double_claim, "The second VM fails, or worse.", "/proc/*/fd, libvirt XML",
	 "Give each VM its own device.", "", "pfwu"},
	{"BIND-014", "E14", "No service keeps the driver busy", "M----", 2, 3, nvidia_clients, "An open node blocks unbinding and resets.", "/proc/*/fd",
	 "Stop nvidia-persistenced, DCGM, Xorg before rebinding.", "", "pwu"},
	{"BIND-015", "E15", "Kernel module and libraries are one version", "-HHHH", 4, 3, driver_skew, "They refuse to work together.", "/sys/module/nvidia/version, library names, log",
	 "Install one version; hold the packages; reload or reboot.", "", "pfnu"},
	{"BIND-016", "E16", "The driver is new enough", "-HHHH", 4, 2, driver_floor, "Older branches do not know the model, or have flaws that a bulletin names.",
	 "driver version, PCI ids, advisories of the site list",
	 "Upgrade the driver.", "NVIDIA MIG user guide, data-centre driver release notes", "pfnu"},
	{"BIND-017", "E17", "Automatic upgrades leave the driver alone", "LMMMM", 3, 3, driver_upgrades_held, "A library upgraded under a loaded module is BIND-015.",
	 "apt and dnf configuration", "apt-mark hold, versionlock, Package-Blacklist.", "", "pwu"},
	{"BIND-018", "E18", "There is a kernel to go back to", "MMMMM", 3, 2, driver_rollback, "Modules are built per kernel; a build may fail.", "/boot", "Keep the previous kernel.", "", "pwnu"},
	{"BIND-019", "E19", "Driver parameters are safe", "-MMMM", 4, 2, driver_params, "Zeroed memory, restricted counters, restricted nodes.", "/proc/driver/nvidia/params",
	 "Remove the option; NVreg_DeviceFileMode=0660 with a group on multi-user hosts.", "", "pfwnu"},
	{"BIND-020", "E20", "No setting that exists in no driver", "MMMMM", 3, 2, driver_placebos, "A control believed to be on that is absent.", "modprobe.d, kernel log, /etc/environment",
	 "Remove it and use a control that exists.", "", "pwu"},
	{"BIND-021", "E21", "GSP firmware is on", "-HHHH", 4, 1, driver_gsp_off, "NVreg_EnableGpuFirmware=0 is no hardening; it disables the GPU's system processor.",
	 "modprobe.d, /proc/driver/nvidia/params", "Remove it.", "", "pfu"},
	{"BIND-022", "E22", "GPU device nodes are not for everyone", "MMMMI", 3, 3, driver_device_nodes, "Every local user can use the GPU and attack its driver.", "/dev/nvidia*",
	 "NVreg_DeviceFileMode=0660, NVreg_DeviceFileGID.", "", "pwinu"},
	{"BIND-023", "E23", "The loaded module is signed", "-MMMM", 4, 2, driver_integrity, "A signature shows the module is the vendor's.", "/sys/module/nvidia/taint", "Sign it; reinstall.", "", "pwnu"},
	{"BIND-024", "E24", "No obsolete hiding of the hypervisor", "L----", 1, 3, code43, "Code 43 was a matter of GeForce drivers before 465.", "libvirt XML", "Remove <hidden> and vendor_id.", "", "pwnu"},
	{"BIND-025", "E25", "GPU memory is not open to network cards", "IIIII", 2, 2, driver_peermem, "nvidia_peermem serves GPUDirect RDMA.", "/sys/module", "Unload it where unused.", "", "piu"},
	{"BIND-026", "M3", "No GPU faults in the log", "MHHHH", 4, 3, driver_xids, "Faults of hardware or driver come before outages. Applications' own faults (13, 31, 43, 45) are not counted.",
	 "kernel log", "explain-log names cause and remedy of each.", "rule M3", "pfwu"},
	{"BIND-027", "1.0", "modprobe reads every file in its directory", "LLLLL", 2, 3, ignored_conf, "A file without .conf is ignored without a word.", "modprobe.d", "Rename it.", "", "pwu"},
	{"BIND-028", "A2.3", "vGPU virtual functions stay with nvidia", "--H--", 3, 3, vf_driver, "Vendor VFIO: the nvidia driver itself hands the function out.", "driver links",
	 "Unbind from vfio-pci; delete ids and overrides for virtual functions.", "", "pfnu"},
	{"BIND-029", "E23", "The driver's files are its package's", "MMMMM", 4, 1, driver_files,
	 "An altered library or module runs with the rights of whoever uses a GPU.", "dpkg's md5sums, rpm's digests, the files (--verify)",
	 "Reinstall the package; find out who changed the file.", "", "pwnus"},
};

const struct check_group bind_group = {
	"BIND", "Driver binding and initramfs", checks, sizeof(checks) / sizeof(*checks), "CM-2 CM-3 CM-6 CM-7 SI-2 SI-7 RA-5",
	"2.2 6.3.3 11.5.2", "164.308(a)(1) 164.308(a)(5)(ii)(B)", "A.8.9 A.8.8", "Art. 32"};
