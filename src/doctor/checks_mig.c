/* SPDX-License-Identifier: Apache-2.0 */
/* Group MIG: partitioned GPUs. */
#include "fabric.h"
#include "models.h"

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

/* The profiles of the first GPU whose are known. */
static const char *profiles_of(const struct host *h)
{
	for (size_t i = 0; i < h->ngpu; i++) {
		const struct gpu_model *m = gpu_model(h->gpu[i]);

		if (m && m->mig)
			return m->mig;
	}
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

bool fm_config(struct audit *a, const char *key, char *v, size_t size)
{
	const struct ev_item *it;
	enum got g = aud_text(a, &it, "/usr/share/nvidia/nvswitch/fabricmanager.cfg");

	*v = 0;
	if (g == GOT_ABSENT)
		aud_note(a, it, "not there");
	return g == GOT_VALUE && config_value(it->data, key, v, size);
}

bool need_switch(struct audit *a)
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
	 "Reset the GPU while idle, or reboot.", "", "pwnu"},
	{"MIG-002", "G02", "MIG GPUs have instances", "-HH-H", 3, 3, mig_instances, "Without instances no CUDA program finds a device.", "NVML, /proc/driver/nvidia/capabilities",
	 "Create them (mig-parted apply).", "", "pfnu"},
	{"MIG-003", "G03", "Configured profiles exist on the model", "-MM--", 2, 3, mig_profiles, "Profiles differ between models: H200 has 1g.18gb, not 1g.20gb.",
	 "/etc/nvidia-mig-manager/config.yaml, PCI id", "Use the model's profiles: nvidia-smi mig -lgip.", "NVIDIA MIG user guide", "pwnu"},
	{"MIG-004", "G04", "The MIG layout survives a reboot", "-MM-M", 3, 4, mig_persist, "Instances are volatile.", "systemd units", "Enable nvidia-mig-manager.", "", "pwnu"},
	{"MIG-005", "G05", "No multi-GPU work on MIG", "-M---", 2, 2, mig_p2p, "Instances of different GPUs cannot exchange data directly.", "NVML, PCI", "Whole GPUs for such jobs.", "", "wnu"},
	{"MIG-006", "G06", "Only root configures MIG", "-HH-H", 4, 1, mig_perms, "Whoever may open the capability can destroy other tenants' instances.",
	 "/proc/driver/nvidia/capabilities/mig", "Restore mode 0400.", "", "pfnu"},
	{"MIG-007", "G07", "MIG and fabric mode agree", "-MM--", 3, 2, mig_fabric, "MIG on before Fabric Manager starts removes partitions.", "fabricmanager.cfg, NVML",
	 "Start Fabric Manager first.", "NVIDIA Fabric Manager guide", "pwnu"},
	{"MIG-008", "G08", "What MIG costs", "-III-", 1, 5, mig_cost, "Not all SMs can be divided.", "NVML", "Count with it.", "", "inu"},
	{"MIG-009", "G09", "No job changes MIG under the name of looking", "LLLLL", 3, 2, mig_lint, "nvidia-smi -mig 1 is not a query.", "/etc/cron.*", "Use --query-gpu.", "", "pwu"},
};

const struct check_group mig_group = {
	"MIG", "Partitioned GPUs", mig_checks, sizeof(mig_checks) / sizeof(*mig_checks), "CM-2 CM-6 SC-4 AC-4", "2.2 A1.1", "164.308(a)(1)", "A.8.9 A.8.22", "Art. 32"};
