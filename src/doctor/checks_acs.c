/* SPDX-License-Identifier: Apache-2.0 */
/* Group ACS: do IOMMU groups stand for real isolation? */
#include "host.h"

#include <errno.h>
#include <string.h>

static bool group_known(struct audit *a, const struct pci_dev *d)
{
	const struct ev_item *it = d->group_item;

	aud_note(a, it, d->group || it->err == ENOENT || it->err == ENOTDIR ? NULL : it->err ? strerror(it->err) : "not text");
	return d->group != NULL;
}

/* Members as the group's own directory lists them. NULL: not readable (noted). */
static const struct ev_item *members(struct audit *a, const char *group)
{
	const struct ev_item *list;

	if (aud_list(a, &list, "/sys/kernel/iommu_groups/%s/devices", group) == GOT_VALUE && list->len)
		return list;
	aud_note(a, list, list->err ? "not there" : "empty");
	return NULL;
}

static bool own_function(const struct pci_dev *gpu, const struct pci_dev *d)
{
	return d == gpu || pci_same_slot(gpu, d) || d->physfn == gpu || pci_is_bridge(d);
}

/* Storage and network controllers: what a host needs to live. */
static bool host_vital(const struct pci_dev *d)
{
	uint32_t base = d->class >> 16;

	return (base == 0x01 || base == 0x02) && (!d->driver || !strstr(d->driver, "vfio"));
}

static void own_group_one(struct audit *a, const struct pci_dev *d)
{
	const struct host *h = a->host;
	const struct ev_item *list;
	char other[160] = "";
	bool vital = false;

	if (!group_known(a, d)) {
		emit(a, ST_NA, d->bdf, "in no IOMMU group");
		return;
	}
	list = members(a, d->group);
	for (const char *n = list ? ev_name(list, NULL) : NULL; n; n = ev_name(list, n)) {
		const struct pci_dev *m = pci_find(&h->pci, n);

		if (!m || !m->id_known) {
			aud_note(a, list, "has a member that cannot be identified");
			continue;
		}
		if (own_function(d, m))
			continue;
		vital = vital || host_vital(m);
		snprintf(other + strlen(other), sizeof(other) - strlen(other), "%s%s", *other ? ", " : "", n);
	}
	if (!*other)
		emit(a, ST_PASS, d->bdf, "group %s holds only this GPU's functions", d->group);
	else if (vital)
		emit_sev(a, 'C', d->bdf,
			 "group %s also holds a storage or network controller of the host: %s", d->group, other);
	else
		emit(a, ST_BAD, d->bdf, "group %s also holds %s", d->group, other);
}

static void own_group(struct audit *a)
{
	each_gpu(a, own_group_one);
}

static bool vfio_driver(const char *driver)
{
	return !driver || strstr(driver, "vfio") || !strcmp(driver, "pci-stub");
}

static void viable_one(struct audit *a, const struct pci_dev *d)
{
	const struct host *h = a->host;
	const struct pci_dev *holder = NULL;
	const struct ev_item *list;

	if (!group_known(a, d)) {
		emit(a, ST_NA, d->bdf, "in no IOMMU group");
		return;
	}
	aud_note(a, d->driver_item, d->driver_item->err == ENOENT ? NULL : ev_text_problem(d->driver_item));
	if (d->driver && !vfio_driver(d->driver)) {
		emit(a, ST_NA, d->bdf, "kept by the host (%s)", d->driver);
		return;
	}
	list = members(a, d->group);
	for (const char *n = list ? ev_name(list, NULL) : NULL; n; n = ev_name(list, n)) {
		const struct pci_dev *m = pci_find(&h->pci, n);

		if (!m) {
			aud_note(a, list, "has a member that is not on the bus");
			continue;
		}
		aud_note(a, m->driver_item, m->driver_item->err == ENOENT ? NULL : ev_text_problem(m->driver_item));
		if (!pci_is_bridge(m) && !vfio_driver(m->driver))
			holder = m;
	}
	log_hit(a, "not-viable", NULL);
	if (holder)
		emit(a, ST_BAD, d->bdf, "group %s: %s is bound to %s, so VFIO refuses the group", d->group,
		     holder->bdf, holder->driver);
	else
		emit(a, ST_PASS, d->bdf, "every function of group %s is bound to VFIO or free", d->group);
}

static void viable(struct audit *a)
{
	each_gpu(a, viable_one);
}

/* Two domains that claim devices of one group. */
static void not_shared(struct audit *a)
{
	const struct host *h = a->host;
	const struct domains *ds = &h->dom;
	bool hit = false;

	note_domains(a);
	for (size_t i = 0; i < ds->n; i++)
		for (size_t k = i + 1; k < ds->n && !hit; k++) {
			if (!strcmp(ds->d[i].name, ds->d[k].name))
				continue; /* the live and the defined form of one VM */
			for (unsigned x = 0; x < ds->d[i].nhostdev && !hit; x++)
				for (unsigned y = 0; y < ds->d[k].nhostdev && !hit; y++) {
					const struct pci_dev *p = pci_find(&h->pci, ds->d[i].hostdev[x]);
					const struct pci_dev *q = pci_find(&h->pci, ds->d[k].hostdev[y]);

					if (!p || !q || !p->group || !q->group || strcmp(p->group, q->group))
						continue;
					aud_note(a, ds->d[i].src, NULL);
					aud_note(a, ds->d[k].src, NULL);
					emit(a, ST_BAD, p->group, "group %s is claimed by VM %s (%s) and VM %s (%s)", p->group,
					     ds->d[i].name, p->bdf, ds->d[k].name, q->bdf);
					hit = true;
				}
		}
	if (hit)
		return;
	if (!ds->n && !ds->nunreadable && !aud_anchor(a, "/etc"))
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
	else
		emit(a, ds->n ? ST_PASS : ST_NA, "host", ds->n ? "no group is claimed by two VMs" : "no libvirt domain");
}

/* Does this component need ACS for the path to be isolated? */
static bool needs_acs(const struct pci_dev *d, bool endpoint)
{
	if (endpoint)
		return d->cfg.multi && !d->is_vf;
	return d->cfg.port == PCIE_ROOT_PORT || d->cfg.port == PCIE_DOWNSTREAM;
}

struct acs_path {
	const struct pci_dev *incapable, *cleared; /* first component of each kind, from the device up */
	bool unknown;
};

/* Walks from the device to the root port. */
static struct acs_path walk(struct audit *a, const struct pci_dev *d)
{
	struct acs_path r = {0};
	bool endpoint = true;

	aud_note(a, d->link_item, d->place_known ? NULL : "place in the tree unknown");
	for (const struct pci_dev *c = d; c; c = c->parent, endpoint = false) {
		char text[96];

		if (!c->place_known)
			r.unknown = true;
		if (!note_config(a, c)) {
			r.unknown = true;
			continue;
		}
		snprintf(text, sizeof(text), "ACS capability 0x%02x control 0x%02x", c->cfg.acs_cap & 0x7f, c->cfg.acs_ctl & 0x7f);
		if (c->cfg.acs)
			aud_quote(a, c->cfg_item, text);
		if (!needs_acs(c, endpoint))
			continue;
		/* A multifunction endpoint cannot forward upstream; the kernel asks RR and CR of it. */
		uint16_t need = endpoint ? ACS_RR | ACS_CR : ACS_NEEDED;

		if ((c->cfg.acs_cap & need) != need)
			r.incapable = r.incapable ? r.incapable : c;
		else if ((c->cfg.acs_ctl & need) != need)
			r.cleared = r.cleared ? r.cleared : c;
	}
	return r;
}

static void path_one(struct audit *a, const struct pci_dev *d)
{
	struct acs_path p = walk(a, d);

	if (p.incapable)
		emit(a, ST_BAD, d->bdf, "%s lacks ACS (capability 0x%02x, needed 0x%02x): its neighbours can exchange data past the IOMMU",
		     p.incapable->bdf, p.incapable->cfg.acs_cap & 0x7f, ACS_NEEDED);
	else if (p.cleared)
		emit(a, ST_BAD, d->bdf, "%s could isolate but ACS is not on (control 0x%02x, needed 0x%02x)", p.cleared->bdf,
		     p.cleared->cfg.acs_ctl & 0x7f, ACS_NEEDED);
	else
		emit(a, p.unknown ? ST_UNKNOWN : ST_PASS, d->bdf, "ACS is complete up to the root port");
}

static void path_complete(struct audit *a)
{
	each_gpu(a, path_one);
}

static void acs_param(struct audit *a)
{
	const char *v;
	bool hit = false;

	cmd_token(a, "pci", &v);
	v = cmdline_item_value(&a->host->cmd, "pci", "disable_acs_redir");
	if (v) {
		emit(a, ST_BAD, "host", "pci=disable_acs_redir=%.64s turns request redirection off", v);
		hit = true;
	}
	v = cmdline_item_value(&a->host->cmd, "pci", "config_acs");
	if (v) {
		emit(a, ST_BAD, "host", "pci=config_acs=%.64s sets ACS bits by hand", v);
		hit = true;
	}
	if (!hit)
		emit(a, ST_PASS, "host", "no parameter changes ACS");
}

static void note_pending(struct audit *a)
{
	const struct boot *b = &a->host->boot;

	for (size_t i = 0; i < b->nunreadable; i++)
		aud_note(a, b->unreadable[i], b->unreadable[i]->op == EV_LIST ? strerror(b->unreadable[i]->err)
					      : ev_text_problem(b->unreadable[i]));
	for (size_t i = 0; i < b->n; i++)
		aud_note(a, b->p[i].src, NULL);
}

static void override_set(struct audit *a)
{
	const struct host *h = a->host;
	const char *v;
	bool hit = false;

	if (cmd_token(a, "pcie_acs_override", &v) > 0) {
		emit(a, ST_BAD, "running", "pcie_acs_override=%s on the running kernel's command line", v);
		hit = true;
	}
	for (size_t i = 0; i < h->boot.n; i++) {
		v = cmdline_get(&h->boot.p[i].cmd, "pcie_acs_override");
		if (!v)
			continue;
		aud_quote(a, h->boot.p[i].src, "pcie_acs_override");
		emit(a, ST_BAD, h->boot.p[i].src->path, "pcie_acs_override=%s in the boot configuration (%s)", v, h->boot.p[i].kind);
		hit = true;
	}
	cmd_token(a, "pcie_acs_override", &v);
	note_pending(a);
	if (!hit)
		emit(a, ST_PASS, "host", "no ACS override, running or pending");
}

static void override_effect(struct audit *a)
{
	const struct klog_hit *on = log_hit(a, "acs-override-on", NULL), *un;
	const char *v;
	int given = cmd_token(a, "pcie_acs_override", &v);

	if (on) {
		emit(a, ST_BAD, "host", "the kernel says an ACS override is in effect");
		return;
	}
	for (un = klog_find(&a->host->log, "unknown-params", NULL); un; un = klog_find(&a->host->log, "unknown-params", un))
		if (strstr(un->match[0], "pcie_acs_override")) {
			aud_quote(a, un->src, un->text);
			emit_sev(a, 'M', "host", "an override was asked for, but this kernel does not know it: no effect, wrong configuration");
			return;
		}
	if (given > 0)
		emit(a, ST_BAD, "host", "an override is on the command line and the log does not say it was ignored");
	else
		emit(a, ST_PASS, "host", "no override asked for or logged");
}

/* Alone in its group although the hardware on the path isolates nothing: someone pretends. */
static void grouping_one(struct audit *a, const struct pci_dev *d)
{
	const struct host *h = a->host;
	struct acs_path p;
	const struct ev_item *list;
	const struct pci_dev *neighbour = NULL;

	if (!group_known(a, d)) {
		emit(a, ST_NA, d->bdf, "in no IOMMU group");
		return;
	}
	p = walk(a, d);
	list = members(a, d->group);
	/* What shares the incapable port's bus must share the group, or the grouping lies. */
	for (size_t k = 0; k < h->pci.n && p.incapable; k++) {
		const struct pci_dev *m = &h->pci.dev[k];

		if (m != d && !pci_same_slot(m, d) && m->parent && p.incapable->parent == m->parent &&
		    m != p.incapable && p.incapable != d && list && !ev_has_name(list, m->bdf))
			neighbour = m;
	}
	if (neighbour)
		emit(a, ST_BAD, d->bdf, "group %s leaves out %s although %s cannot isolate the two: the grouping claims more than the hardware does",
		     d->group, neighbour->bdf, p.incapable->bdf);
	else
		emit(a, p.unknown ? ST_UNKNOWN : ST_PASS, d->bdf, "the group agrees with the hardware on the path");
}

static void grouping_true(struct audit *a)
{
	each_gpu(a, grouping_one);
}

static void cleared_one(struct audit *a, const struct pci_dev *d)
{
	const struct pci_dev *zero = NULL;
	bool unknown = false;

	for (const struct pci_dev *c = d; c; c = c->parent) {
		aud_note(a, c->link_item, c->place_known ? NULL : "place in the tree unknown");
		unknown |= !note_config(a, c);
		if (c->cfg.acs && (c->cfg.acs_cap & 0x7f) && !(c->cfg.acs_ctl & 0x7f))
			zero = c;
	}
	if (zero)
		emit(a, ST_BAD, d->bdf, "%s: all ACS controls are zero although it is capable; tuning scripts for GPUDirect do this", zero->bdf);
	else
		emit(a, unknown ? ST_UNKNOWN : ST_PASS, d->bdf, "no component on the path has its ACS controls cleared");
}

static void ctl_cleared(struct audit *a)
{
	each_gpu(a, cleared_one);
}

static void vf_groups(struct audit *a)
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
		const struct ev_item *list;

		if (!group_known(a, d)) {
			emit(a, d->group_item->err == ENOENT ? ST_BAD : ST_UNKNOWN, d->bdf, "in no IOMMU group");
			continue;
		}
		list = members(a, d->group);
		if (list && ev_name(list, ev_name(list, NULL)))
			emit(a, ST_BAD, d->bdf, "shares group %s", d->group);
		else
			emit(a, list ? ST_PASS : ST_UNKNOWN, d->bdf, "alone in group %s", d->group);
	}
}

static void switch_groups(struct audit *a)
{
	const struct host *h = a->host;

	if (!need_gpus(a))
		return;
	if (!h->nnvswitch) {
		emit(a, ST_NA, "host", "no NVSwitch on PCI");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->nnvswitch; i++) {
		const struct pci_dev *d = h->nvswitch[i], *gpu = NULL;

		if (!group_known(a, d)) {
			emit(a, d->group_item->err == ENOENT ? ST_BAD : ST_UNKNOWN, d->bdf, "in no IOMMU group");
			continue;
		}
		for (size_t k = 0; k < h->ngpu; k++)
			if (group_known(a, h->gpu[k]) && !strcmp(h->gpu[k]->group, d->group))
				gpu = h->gpu[k];
		if (gpu)
			emit(a, ST_BAD, d->bdf, "NVSwitch shares group %s with GPU %s", d->group, gpu->bdf);
		else
			emit(a, ST_PASS, d->bdf, "in group %s without a GPU", d->group);
	}
}

static const struct check checks[] = {
	{"ACS-001", "B01", "A GPU's group holds only its own functions", "H-H--", 5, 3, own_group,
	 "A group is given to one VM as a whole; a stranger in it goes along, or keeps the GPU from being given.",
	 "/sys/kernel/iommu_groups/*/devices", "Another slot, a platform with ACS, or give the whole group to one VM.", "", "pfnu"},
	{"ACS-002", "B02", "Groups of VFIO GPUs are viable", "H-H--", 3, 3, viable,
	 "VFIO refuses a group while a host driver holds one of its functions.", "driver links of the group's members",
	 "Bind each function (bridges apart) to vfio-pci, or unbind it.", "", "pfnu"},
	{"ACS-003", "B03", "No group is claimed by two VMs", "H-H--", 4, 2, not_shared,
	 "The second VM would fail to start, or two guests would share what cannot be separated.",
	 "/etc/libvirt/qemu, /run/libvirt/qemu", "Plan one VM per group.", "", "pfnu"},
	{"ACS-004", "B04", "ACS is complete from GPU to root port", "H-H--", 5, 3, path_complete,
	 "Without source validation, request and completion redirect and upstream forwarding, peers exchange data without passing the IOMMU. The capability is silicon; the kernel turns it on when an IOMMU driver asks.",
	 "configuration space of every bridge on the path (extended capability 0x0d)",
	 "Slots behind capable ports; firmware options where a board has them; IOMMU on.", "PCIe specification, Access Control Services", "pfnu"},
	{"ACS-005", "B05", "No parameter turns ACS off", "H-H--", 5, 1, acs_param,
	 "pci=disable_acs_redir and pci=config_acs take isolation away; meant for peer-to-peer on single-tenant machines.",
	 "/proc/cmdline", "Remove on hosts with guests.", "", "pfu"},
	{"ACS-006", "B06", "No ACS override is configured", "CMCMM", 5, 3, override_set,
	 "The override makes the kernel pretend that devices are isolated. Direct access between devices stays possible, and memory is then reached through a peer that does DMA. Only patched kernels know it (Proxmox, zen).",
	 "/proc/cmdline and every boot configuration", "Remove it, reboot, plan the slots anew. Never in production.", "rule M1", "pfwu"},
	{"ACS-007", "B07", "No ACS override is in effect", "CMCMM", 5, 2, override_effect,
	 "The log says whether the kernel took the parameter.", "kernel log, /proc/cmdline", "As ACS-006.", "rule M1", "pfwu"},
	{"ACS-008", "B08", "The grouping agrees with the hardware", "C-C--", 5, 1, grouping_true,
	 "Neighbours below a port without ACS belong into one group. Apart, they betray an override that left no other trace.",
	 "configuration space, group members", "As ACS-006; known quirks of the kernel are listed for the device in drivers/pci/quirks.c.", "rule M1", "pfnu"},
	{"ACS-009", "B09", "ACS controls were not cleared", "H-H-I", 5, 2, ctl_cleared,
	 "Tuning scripts for NCCL and GPUDirect clear them with setpci. Right on a single-tenant machine, wrong under guests.",
	 "configuration space", "Delete the script; reboot restores them.", "", "pfinu"},
	{"ACS-010", "B10", "Each virtual function has its own group", "--H--", 4, 2, vf_groups,
	 "Virtual functions go to different guests.", "iommu_group links", "A platform with ARI and ACS.", "", "pfnu"},
	{"ACS-011", "B11", "NVSwitches are not grouped with GPUs", "M-MM-", 3, 2, switch_groups,
	 "A guest that gets the GPU would get the switch of all.", "iommu_group links", "Another platform or slot.", "", "pwnu"},
};

const struct check_group acs_group = {
	"ACS", "IOMMU groups and ACS", checks, sizeof(checks) / sizeof(*checks),
	"SC-2 SC-3 SC-4 SC-7 SC-39 AC-4", "A1.1 2.2.1", "164.312(a)(1) 164.308(a)(1)(ii)(B)",
	"A.8.22 A.8.31", "Art. 32"};
