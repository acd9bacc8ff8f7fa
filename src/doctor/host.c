/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

const char *const distro_name[] = {"unknown", "debian", "rhel", "suse", "arch", "proxmox"};

static bool has_line_word(const char *text, const char *key, const char *word)
{
	const char *p = strstr(text, key), *end = p ? strchr(p + 1, '\n') : NULL;
	size_t n = strlen(word);

	for (p = p ? strstr(p, word) : NULL; p && (!end || p < end); p = strstr(p + n, word))
		if ((p[-1] == ' ' || p[-1] == '\t') && (p[n] == ' ' || p[n] == '\n' || !p[n]))
			return true;
	return false;
}

static void cpu_collect(struct host *h, struct ev *ev)
{
	static const struct {
		const char *mark;
		enum cpu_vendor vendor;
	} marks[] = {{"GenuineIntel", CPU_INTEL}, {"AuthenticAMD", CPU_AMD}, {"HygonGenuine", CPU_AMD},
		     {"CPU implementer", CPU_ARM}, {"POWER", CPU_POWER}};
	const char *p;

	h->cpuinfo = ev_get(ev, EV_READ, "/proc/cpuinfo");
	if (!h->cpuinfo->text || !h->cpuinfo->len)
		return;
	h->cpu = CPU_OTHER;
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strstr(h->cpuinfo->data, marks[i].mark)) {
			h->cpu = marks[i].vendor;
			break;
		}
	h->cpu_virt = has_line_word(h->cpuinfo->data, "\nflags", "vmx") ||
		      has_line_word(h->cpuinfo->data, "\nflags", "svm");
	h->in_guest = has_line_word(h->cpuinfo->data, "\nflags", "hypervisor");
	for (p = h->cpuinfo->data; (p = strstr(p, "processor\t")); p++)
		h->cpus++;
	p = strstr(h->cpuinfo->data, "address sizes");
	if (p)
		sscanf(p, "address sizes : %u bits physical", &h->phys_bits);
}

static void acpi_collect(struct host *h, struct ev *ev)
{
	h->acpi_list = ev_get(ev, EV_LIST, "/sys/firmware/acpi/tables");
	h->dmar_item = ev_get(ev, EV_READ, "/sys/firmware/acpi/tables/DMAR");
	h->ivrs_item = ev_get(ev, EV_READ, "/sys/firmware/acpi/tables/IVRS");
	h->iort_item = ev_get(ev, EV_STAT, "/sys/firmware/acpi/tables/IORT");
	if (!h->dmar_item->err)
		h->dmar_problem = acpi_dmar_parse(&h->dmar, (const uint8_t *)h->dmar_item->data,
						  h->dmar_item->len);
	if (!h->ivrs_item->err)
		h->ivrs_problem = acpi_ivrs_parse(&h->ivrs, (const uint8_t *)h->ivrs_item->data,
						  h->ivrs_item->len);
}

static void kernel_collect(struct host *h, struct ev *ev)
{
	unsigned major, minor;

	h->cmd_item = ev_get(ev, EV_READ, "/proc/cmdline");
	h->cmd_known = h->cmd_item->text && h->cmd_item->len;
	if (h->cmd_known)
		cmdline_parse(&h->cmd, h->cmd_item->data);
	h->release_item = ev_get(ev, EV_READ, "/proc/sys/kernel/osrelease");
	if (h->release_item->line && strlen(h->release_item->line) < sizeof(h->release) &&
	    !strchr(h->release_item->line, '/') &&
	    sscanf(h->release_item->line, "%u.%u", &major, &minor) == 2 && minor < 1000) {
		strcpy(h->release, h->release_item->line);
		h->kver = major * 1000 + minor;
	}
}

static void distro_collect(struct host *h, struct ev *ev)
{
	static const struct {
		const char *id;
		enum distro d;
	} ids[] = {{"debian", DIST_DEBIAN}, {"ubuntu", DIST_DEBIAN}, {"rhel", DIST_RHEL},
		   {"fedora", DIST_RHEL},   {"centos", DIST_RHEL},   {"suse", DIST_SUSE},
		   {"sles", DIST_SUSE},	    {"arch", DIST_ARCH}};
	const struct ev_item *os = ev_get(ev, EV_READ, "/etc/os-release");
	const struct ev_item *pve = ev_get(ev, EV_STAT, "/etc/pve");
	const struct ev_item *pvebin = ev_get(ev, EV_STAT, "/usr/bin/pvesh");

	if (!pve->err || !pvebin->err) {
		h->distro = DIST_PROXMOX;
		return;
	}
	if (!os->text)
		os = ev_get(ev, EV_READ, "/usr/lib/os-release");
	for (const char *p = os->text ? os->data : NULL; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (strncmp(p, "ID=", 3) && strncmp(p, "ID_LIKE=", 8))
			continue;
		for (size_t i = 0; i < sizeof(ids) / sizeof(*ids) && !h->distro; i++) {
			const char *f = strstr(p, ids[i].id), *nl = strchr(p, '\n');

			if (f && (!nl || f < nl))
				h->distro = ids[i].d;
		}
	}
}

static void sort_devices(struct host *h)
{
	h->gpu = calloc(h->pci.n + 1, sizeof(*h->gpu));
	h->vf = calloc(h->pci.n + 1, sizeof(*h->vf));
	h->nvswitch = calloc(h->pci.n + 1, sizeof(*h->nvswitch));
	if (!h->gpu || !h->vf || !h->nvswitch)
		abort();
	for (size_t i = 0; i < h->pci.n; i++) {
		struct pci_dev *d = &h->pci.dev[i];

		if (pci_is_gpu(d) && d->is_vf)
			h->vf[h->nvf++] = d;
		else if (pci_is_gpu(d))
			h->gpu[h->ngpu++] = d;
		else if (pci_is_nvswitch(d))
			h->nvswitch[h->nnvswitch++] = d;
	}
}

void host_collect(struct host *h, struct ev *ev, unsigned slow)
{
	memset(h, 0, sizeof(*h));
	kernel_collect(h, ev);
	cpu_collect(h, ev);
	distro_collect(h, ev);
	acpi_collect(h, ev);
	h->groups = ev_get(ev, EV_LIST, "/sys/kernel/iommu_groups");
	h->iommus = ev_get(ev, EV_LIST, "/sys/class/iommu");
	h->meminfo = ev_get(ev, EV_READ, "/proc/meminfo");
	h->in_container = !ev_get(ev, EV_STAT, "/run/systemd/container")->err ||
			  !ev_get(ev, EV_STAT, "/.dockerenv")->err;
	pci_collect(&h->pci, ev);
	sort_devices(h);
	boot_collect(&h->boot, ev);
	modconf_collect(&h->mod, ev);
	klog_collect(&h->log, ev);
	domains_collect(&h->dom, ev);
	procs_collect(&h->procs, ev);
	initrd_collect(&h->initrd, ev, h->release, slow & HOST_INITRD);
	nvml_collect(&h->nvml, ev);
	site_collect(&h->site, ev);
	h->verified = slow & HOST_VERIFY ? packages_verify(ev) : NULL;
}

void host_free(struct host *h)
{
	cmdline_free(&h->cmd);
	boot_free(&h->boot);
	modconf_free(&h->mod);
	klog_free(&h->log);
	domains_free(&h->dom);
	procs_free(&h->procs);
	initrd_free(&h->initrd);
	nvml_free(&h->nvml);
	site_free(&h->site);
	pci_free(&h->pci);
	free(h->gpu);
	free(h->vf);
	free(h->nvswitch);
}

static bool mig_on(struct host *h, struct ev *ev)
{
	const struct ev_item *caps = ev_get(ev, EV_LIST, "/proc/driver/nvidia/capabilities");

	for (size_t i = 0; i < h->nvml.n; i++)
		if (h->nvml.gpu[i].mig == 1)
			return true;
	for (const char *n = ev_name(caps, NULL); n; n = ev_name(caps, n)) {
		const struct ev_item *mig;

		if (strncmp(n, "gpu", 3))
			continue;
		mig = ev_getf(ev, EV_LIST, "/proc/driver/nvidia/capabilities/%s/mig", n);
		if (!mig->err && mig->len)
			return true;
	}
	return false;
}

enum mode host_guess_mode(struct host *h, struct ev *ev, const char **reason)
{
	size_t vfio = 0;

	for (size_t i = 0; i < h->ngpu; i++)
		vfio += h->gpu[i]->driver && strstr(h->gpu[i]->driver, "vfio");
	if (vfio) {
		*reason = "a GPU is bound to VFIO";
		return MODE_PASSTHROUGH;
	}
	if (h->nvf) {
		*reason = "a GPU has virtual functions";
		return MODE_VGPU;
	}
	if (!ev_get(ev, EV_LIST, "/sys/class/mdev_bus")->err && ev_get(ev, EV_LIST, "/sys/class/mdev_bus")->len) {
		*reason = "a GPU offers mediated devices";
		return MODE_VGPU;
	}
	if (!ev_get(ev, EV_STAT, "/etc/openvgpu")->err) {
		*reason = "/etc/openvgpu exists";
		return MODE_SHARE;
	}
	if (mig_on(h, ev)) {
		*reason = "MIG instances exist";
		return MODE_MIG;
	}
	*reason = h->ngpu ? "no sign of virtualisation" : "no GPU found";
	return MODE_BARE;
}

/* ---- shared by checks ---- */

bool need_gpus(struct audit *a)
{
	const struct host *h = a->host;
	const struct pci *p = &h->pci;
	bool seen = aud_anchor(a, "/sys/bus/pci/devices");

	for (size_t i = 0; seen && i < p->n; i++) { /* one that hides its class might be a GPU */
		uint32_t base = p->dev[i].class >> 16;

		if (p->dev[i].id_known || (p->dev[i].class_known && base != 0x03 && base != 0x12))
			continue;
		for (int k = 0; k < 3; k++)
			aud_note(a, p->dev[i].id_item[k], ev_text_problem(p->dev[i].id_item[k])
								  ? ev_text_problem(p->dev[i].id_item[k]) : "no id");
		emit(a, ST_UNKNOWN, p->dev[i].bdf, "device cannot be identified");
		aud_anchor(a, "/sys/bus/pci/devices");
	}
	if (!h->ngpu)
		emit(a, ST_NA, "host", "no GPU in this host");
	return h->ngpu;
}

void note_dev(struct audit *a, const struct pci_dev *d)
{
	if (d->id_item[0])
		aud_note(a, d->id_item[0], d->id_known ? NULL : "device cannot be identified");
}

void each_gpu(struct audit *a, void (*judge)(struct audit *, const struct pci_dev *))
{
	if (!need_gpus(a))
		return;
	aud_common(a);
	for (size_t i = 0; i < a->host->ngpu; i++) {
		note_dev(a, a->host->gpu[i]);
		judge(a, a->host->gpu[i]);
	}
}

void note_vfs(struct audit *a)
{
	const struct pci *p = &a->host->pci;

	for (size_t i = 0; i < p->n; i++)
		if (p->dev[i].vf_item && p->dev[i].vf_item->err && p->dev[i].vf_item->err != ENOENT)
			aud_note(a, p->dev[i].vf_item, strerror(p->dev[i].vf_item->err));
}

bool note_config(struct audit *a, const struct pci_dev *d)
{
	const struct ev_item *it = d->cfg_item;
	const char *problem = NULL;

	if (it->err)
		problem = it->err == ENODATA ? "not in the bundle" : strerror(it->err);
	else if (!d->cfg.valid)
		problem = "no configuration header of this device";
	else if (!d->cfg.caps || !d->cfg.ext)
		problem = it->len <= 64 ? "only 64 bytes readable (root could read it)"
					: "extended configuration space not readable";
	aud_note(a, it, problem);
	return !problem;
}

int cmd_token(struct audit *a, const char *name, const char **value)
{
	const struct host *h = a->host;
	const char *v, *dummy;

	value = value ? value : &dummy;
	*value = "";
	aud_note(a, h->cmd_item, h->cmd_known ? NULL
			  : ev_text_problem(h->cmd_item) ? ev_text_problem(h->cmd_item) : "empty");
	if (!h->cmd_known)
		return -1;
	v = cmdline_get(&h->cmd, name);
	if (!v)
		return 0;
	*value = v;
	return 1;
}

const struct klog_hit *log_hit(struct audit *a, const char *rule, const struct klog_hit *after)
{
	const struct klog_hit *hit = klog_find(&a->host->log, rule, after);

	if (hit)
		aud_quote(a, hit->src, hit->text);
	return hit;
}

bool note_log(struct audit *a)
{
	const struct klog *k = &a->host->log;

	for (size_t i = 0; !k->any && i < k->nsource; i++)
		aud_note(a, k->source[i], ev_text_problem(k->source[i]) ? ev_text_problem(k->source[i]) : "empty");
	return k->any;
}

bool note_modconf(struct audit *a)
{
	const struct modconf *m = &a->host->mod;
	bool ok = false, bad = false;

	for (size_t i = 0; i < m->nsource; i++) {
		const struct ev_item *it = m->source[i];
		const char *problem = it->op == EV_LIST ? (it->err ? strerror(it->err) : NULL)
							: ev_text_problem(it);

		if (it->err == ENOENT || it->err == ENOTDIR)
			continue;
		ok = ok || !problem;
		if (problem) {
			aud_note(a, it, it->err == ENODATA ? "not in the bundle" : problem);
			bad = true;
		}
	}
	if (!ok && !bad && m->nsource)
		aud_note(a, m->source[0], "no modprobe configuration at all");
	else if (ok && m->nsource)
		aud_note(a, m->source[0], NULL);
	return ok && !bad;
}

void note_mod_line(struct audit *a, const struct mod_line *l)
{
	static const char *const word[MOD_VERBS] = {"blacklist", "options", "install", "remove",
						    "softdep", "alias", "load"};
	char text[160];

	snprintf(text, sizeof(text), "line %u: %s %s %s", l->line, word[l->verb], l->module, l->rest);
	aud_quote(a, l->src, text);
}

#define CONFIG_MAX (4u << 20)

/* The running kernel's own word, where it carries one. */
static void running_config(struct ev *ev, struct ev_item *item, void *arg)
{
	int fd = ev_fd(ev, "/proc/config.gz"), n;
	gzFile z = fd < 0 ? NULL : gzdopen(fd, "rb");
	char *buf = malloc(CONFIG_MAX);

	(void)arg;
	if (!z || !buf) {
		item->err = fd < 0 ? -fd : ENOMEM;
	} else {
		n = gzread(z, buf, CONFIG_MAX);
		if (n <= 0 || n == CONFIG_MAX)
			item->err = EBADMSG;
		else
			ev_set_data(item, buf, (size_t)n);
		gzclose(z);
	}
	free(buf);
}

char kernel_config(struct audit *a, const char *name)
{
	const struct host *h = a->host;
	char key[96];
	const struct ev_item *it;
	const char *p;

	if (!h->release[0]) {
		aud_note(a, h->release_item, "kernel release unknown");
		return 0;
	}
	it = ev_derive(a->ev, "config:/proc/config.gz", running_config, NULL);
	if (it->err == ENOENT)
		it = ev_getf(a->ev, EV_READ, "/boot/config-%s", h->release);
	if (it->err == ENOENT)
		it = ev_getf(a->ev, EV_READ, "/lib/modules/%s/config", h->release);
	aud_note(a, it, ev_text_problem(it));
	if (!it->text)
		return 0;
	snprintf(key, sizeof(key), "\nCONFIG_%s=", name);
	p = strstr(it->data, key);
	return p ? p[strlen(key)] : 'n';
}

int iommu_active(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *it[2] = {h->groups, h->iommus};
	int unknown = 0;

	for (int i = 0; i < 2; i++) {
		bool absent = it[i]->err == ENOENT || it[i]->err == ENOTDIR;

		aud_note(a, it[i], it[i]->err && !absent ? strerror(it[i]->err) : NULL);
		unknown |= it[i]->err && !absent;
	}
	if (unknown)
		return -1;
	if (h->groups->err && h->iommus->err && !aud_anchor(a, "/sys/kernel"))
		return -1;
	return h->groups->len && h->iommus->len;
}
