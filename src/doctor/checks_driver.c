/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of group BIND that look at the NVIDIA driver itself: versions, parameters, integrity. */
#include "checks_driver.h"
#include "models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "NVRM version: NVIDIA UNIX … Kernel Module  550.90.07  …": the first word like 123.45.67. */
static bool version_in(const char *s, char out[32])
{
	for (; *s; s++) {
		size_t n = strspn(s, "0123456789.");

		if (n >= 5 && n < 32 && strspn(s, "0123456789") == 3 && s[3] == '.' && s[n - 1] != '.') {
			memcpy(out, s, n);
			out[n] = 0;
			return true;
		}
		s += n ? n - 1 : 0;
	}
	return false;
}

/* The loaded driver's version; false: none loaded (emitted as such) or unreadable. */
static bool driver_version(struct audit *a, char out[32])
{
	const struct ev_item *it;
	const char *v;
	int loaded = aud_module(a, "nvidia");

	if (loaded <= 0) {
		emit(a, loaded ? ST_UNKNOWN : ST_NA, "host", "the NVIDIA driver is not loaded");
		return false;
	}
	if (aud_line(a, &v, "/sys/module/nvidia/version") == GOT_VALUE && version_in(v, out))
		return true;
	if (aud_text(a, &it, "/proc/driver/nvidia/version") == GOT_VALUE && version_in(it->data, out))
		return true;
	aud_note(a, it, "no version in it");
	emit(a, ST_UNKNOWN, "host", "driver version not visible");
	return false;
}

void driver_skew(struct audit *a)
{
	static const char *const dirs[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/aarch64-linux-gnu", "/usr/lib"};
	char v[32], other[32];
	const struct klog_hit *hit;
	bool found = false;

	if (!driver_version(a, v))
		return;
	hit = log_hit(a, "api-mismatch", NULL);
	note_nvml(a);
	for (size_t i = 0; i < 4; i++) {
		const struct ev_item *list = ev_get(a->ev, EV_LIST, dirs[i]);

		aud_note(a, list, list->err && list->err != ENOENT ? strerror(list->err) : NULL);
		for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
			if (strncmp(n, "libnvidia-ml.so.", 16) || !version_in(n + 16, other))
				continue;
			aud_quote(a, list, n);
			found = true;
			if (strcmp(v, other)) {
				emit(a, ST_BAD, "host", "kernel module %s, library %s", v, other);
				return;
			}
		}
	}
	if (hit)
		emit(a, ST_BAD, "host", "%s", hit->text);
	else if (a->host->nvml.valid && strcmp(a->host->nvml.driver, v))
		emit(a, ST_BAD, "host", "kernel module %s, NVML says %s", v, a->host->nvml.driver);
	else if (found || a->host->nvml.valid)
		emit(a, ST_PASS, "host", "kernel module and libraries are %s", v);
	else
		emit(a, ST_UNKNOWN, "host", "kernel module %s; no library found to compare", v);
}

void driver_floor(struct audit *a)
{
	const struct host *h = a->host;
	unsigned major, minor;
	char v[32], hits[200];

	if (!need_gpus(a) || !driver_version(a, v) || sscanf(v, "%u.%u", &major, &minor) != 2)
		return;
	for (size_t i = 0; i < h->ngpu; i++) {
		const struct gpu_model *m = gpu_model(h->gpu[i]);

		if (m && (major < m->driver_major || (major == m->driver_major && minor < m->driver_minor))) {
			emit(a, ST_BAD, h->gpu[i]->bdf, "driver %s: %s", v, m->driver_why);
			return;
		}
	}
	if (!advisories(a, "nvidia-driver", v, hits, sizeof(hits)))
		emit(a, ST_PASS, "host", "driver %s is new enough for every GPU", v);
	else if (*hits)
		emit(a, ST_BAD, "host", "driver %s: %s", v, hits);
	else
		emit(a, ST_PASS, "host", "driver %s is new enough for every GPU, and no advisory of the site's list concerns it", v);
}

/* apt: holds in dpkg's status; dnf: versionlock or exclude; unattended upgrades present? */
void driver_upgrades_held(struct audit *a)
{
	const struct ev_item *apt = ev_get(a->ev, EV_READ, "/etc/apt/apt.conf.d/20auto-upgrades");
	const struct ev_item *dnf = ev_get(a->ev, EV_READ, "/etc/dnf/automatic.conf");
	const struct ev_item *black = ev_get(a->ev, EV_READ, "/etc/apt/apt.conf.d/50unattended-upgrades");
	bool automatic = false;

	if (!aud_anchor(a, "/etc")) {
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
		return;
	}
	aud_note(a, apt, apt->err == ENOENT ? NULL : ev_text_problem(apt));
	aud_note(a, dnf, dnf->err == ENOENT ? NULL : ev_text_problem(dnf));
	if (apt->text && strstr(apt->data, "Unattended-Upgrade \"1\""))
		automatic = true;
	if (dnf->text && strstr(dnf->data, "apply_updates = yes"))
		automatic = true;
	if (!automatic) {
		emit(a, ST_PASS, "host", "no automatic upgrades");
		return;
	}
	aud_note(a, black, black->err == ENOENT ? NULL : ev_text_problem(black));
	for (const char *p = black->text ? strstr(black->data, "Package-Blacklist") : NULL; p && *p && *p != '}'; p++)
		if (!strncmp(p, "nvidia", 6)) {
			emit(a, ST_PASS, "host", "automatic upgrades leave NVIDIA packages alone");
			return;
		}
	emit(a, ST_BAD, "host", "automatic upgrades may replace the driver under running guests");
}

void driver_rollback(struct audit *a)
{
	const struct ev_item *list;
	unsigned kernels = 0;

	if (aud_list(a, &list, "/boot") != GOT_VALUE) {
		aud_note(a, list, "not there");
		emit(a, ST_UNKNOWN, "host", "/boot not visible");
		return;
	}
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n))
		kernels += !strncmp(n, "vmlinuz-", 8) && !strstr(n, "rescue");
	if (kernels >= 2)
		emit(a, ST_PASS, "host", "%u kernels to go back to", kernels);
	else if (kernels == 1)
		emit(a, ST_BAD, "host", "only one kernel is installed: nothing to go back to");
	else
		emit(a, ST_NA, "host", "no kernel in /boot");
}

/* /proc/driver/nvidia/params: "Name: value" lines. 1 with *v, 0 no such line, -1 no file. */
static int nv_param(struct audit *a, const char *name, long *v)
{
	const struct ev_item *it;
	size_t n = strlen(name);

	if (aud_text(a, &it, "/proc/driver/nvidia/params") != GOT_VALUE)
		return -1;
	for (const char *p = it->data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (!strncmp(p, name, n) && p[n] == ':') {
			char *end;

			*v = strtol(p + n + 1, &end, 0);
			return *end == '\n' ? 1 : -1;
		}
	return 0;
}

void driver_params(struct audit *a)
{
	const struct ev_item *it = ev_get(a->ev, EV_READ, "/proc/driver/nvidia/params");
	long zero = 1, prof = 1, mode = 0;
	int loaded = aud_module(a, "nvidia");

	if (loaded <= 0) {
		emit(a, loaded ? ST_UNKNOWN : ST_NA, "host", "the NVIDIA driver is not loaded");
		return;
	}
	if (nv_param(a, "InitializeSystemMemoryAllocations", &zero) < 1 || nv_param(a, "RmProfilingAdminOnly", &prof) < 1 ||
	    nv_param(a, "DeviceFileMode", &mode) < 1) {
		aud_note(a, it, "not the driver's parameters");
		emit(a, ST_UNKNOWN, "host", "driver parameters not visible");
	} else if (!zero)
		emit_sev(a, 'H', "host", "InitializeSystemMemoryAllocations=0: the driver hands out memory with other programs' data");
	else if (!prof)
		emit(a, ST_BAD, "host", "RmProfilingAdminOnly=0: every user reads performance counters, a side channel");
	else if (mode & 2 && a->mode != MODE_BARE)
		emit_sev(a, 'M', "host", "DeviceFileMode %04lo: GPU nodes are open to every user of the host", mode);
	else
		emit(a, ST_PASS, "host", "memory is zeroed, counters are the administrator's");
}

/* Settings that documents and scripts recommend and no NVIDIA code knows. */
static const char *const placebo[] = {"NVreg_EnablePeerMappingOverride", "NVreg_EnableFIPSMode", "NVreg_EnableVGPUMemoryScrubbing",
				      "RMSecureMemoryClear", "RMFIPSMode", "RMDisableGDBAttach", "LAZY_WITH_SIGNATURE_CHECK"};

void driver_placebos(struct audit *a)
{
	const struct modconf *m = &a->host->mod;
	const struct klog_hit *hit = log_hit(a, "nvidia-unknown-param", NULL);
	const struct ev_item *env = ev_get(a->ev, EV_READ, "/etc/environment");

	note_modconf(a);
	for (size_t i = 0; i < m->n; i++)
		for (size_t k = 0; k < sizeof(placebo) / sizeof(*placebo); k++)
			if (strstr(m->l[i].rest, placebo[k])) {
				note_mod_line(a, &m->l[i]);
				emit(a, ST_BAD, m->l[i].src->path, "line %u sets %s, which exists in no driver: nothing is protected", m->l[i].line, placebo[k]);
				return;
			}
	aud_note(a, env, env->err == ENOENT ? NULL : ev_text_problem(env));
	if (env->text && strstr(env->data, "LAZY_WITH_SIGNATURE_CHECK"))
		emit(a, ST_BAD, env->path, "CUDA_MODULE_LOADING=LAZY_WITH_SIGNATURE_CHECK exists in no driver");
	else if (hit)
		emit(a, ST_BAD, "host", "the driver ignored the unknown parameter %s", hit->match[0]);
	else
		emit(a, ST_PASS, "host", "no setting that exists in no driver");
}

void driver_gsp_off(struct audit *a)
{
	const struct mod_line *l = NULL;
	long v = 1;

	note_modconf(a);
	while ((l = modconf_find(&a->host->mod, MOD_OPTIONS, "nvidia", l))) {
		size_t n;
		const char *s = mod_option(l->rest, "NVreg_EnableGpuFirmware", &n);

		if (s && n == 1 && *s == '0') {
			note_mod_line(a, l);
			emit(a, ST_BAD, l->src->path, "NVreg_EnableGpuFirmware=0: Hopper and later, and the open modules, need the GSP firmware");
			return;
		}
	}
	if (aud_module(a, "nvidia") > 0 && nv_param(a, "EnableGpuFirmware", &v) > 0 && !v)
		emit(a, ST_BAD, "host", "EnableGpuFirmware=0 in the loaded driver");
	else
		emit(a, ST_PASS, "host", "GSP firmware is not turned off");
}

void driver_device_nodes(struct audit *a)
{
	const struct ev_item *list = ev_get(a->ev, EV_LIST, "/dev");
	bool any = false;

	if (!aud_anchor(a, "/dev")) {
		emit(a, ST_UNKNOWN, "host", "/dev not visible");
		return;
	}
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *st;

		if (strncmp(n, "nvidia", 6) || !strcmp(n, "nvidia-caps"))
			continue;
		any = true;
		st = ev_getf(a->ev, EV_STAT, "/dev/%s", n);
		aud_note(a, st, st->err ? strerror(st->err) : NULL);
		if (!st->err && st->mode & 0002) {
			emit(a, ST_BAD, st->path, "mode %04o: open to every user (NVreg_DeviceFileMode and _GID set it; chmod is undone)", st->mode & 07777);
			return;
		}
	}
	emit(a, any ? ST_PASS : ST_NA, "host", any ? "GPU nodes are not for everyone" : "no NVIDIA device nodes");
}

void driver_integrity(struct audit *a)
{
	const char *v;
	int loaded = aud_module(a, "nvidia");
	enum got g;

	if (loaded <= 0) {
		emit(a, loaded ? ST_UNKNOWN : ST_NA, "host", "the NVIDIA driver is not loaded");
		return;
	}
	g = aud_line(a, &v, "/sys/module/nvidia/taint");
	if (g == GOT_VALUE && strchr(v, 'E'))
		emit(a, ST_BAD, "host", "the loaded module is unsigned (taint %s)", v);
	else if (g == GOT_VALUE && strspn(v, "POCKF") == strlen(v))
		emit(a, ST_PASS, "host", "the loaded module is signed (taint \"%s\")", v);
	else {
		aud_note(a, ev_get(a->ev, EV_READ, "/sys/module/nvidia/taint"), "no taint flags");
		emit(a, ST_UNKNOWN, "host", "module taint not visible");
	}
}

void driver_files(struct audit *a)
{
	const struct ev_item *it = a->host->verified;
	char path[160] = "", word[16] = "";
	unsigned files = 0;

	if (!it) {
		emit(a, ST_SKIPPED, "host", "the driver's files are read and hashed only with --verify");
		return;
	}
	aud_note(a, it, it->err == ENOENT ? "no package database this program can read" : ev_text_problem(it));
	for (const char *p = it->text ? it->data : ""; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		if (sscanf(p, "FILES %u", &files) == 1 || sscanf(p, "%15s %159[^\n]", word, path) == 2)
			continue;
		aud_note(a, it, "no comparison");
		break;
	}
	if (!strcmp(word, "HIDDEN"))
		aud_note(a, ev_get(a->ev, EV_READ, path), "not readable");
	if (!strcmp(word, "WRONG") || !strcmp(word, "GONE"))
		emit(a, ST_BAD, path, !strcmp(word, "GONE") ? "its package installed it, it is gone" : "is not what its package installed");
	else if (files)
		emit(a, ST_PASS, "host", "%u modules and libraries of the driver are as their packages installed them", files);
	else
		emit(a, ST_NA, "host", "no package installed a driver; NVIDIA's installer leaves no sums (nvidia-installer --sanity)");
}

void driver_peermem(struct audit *a)
{
	int on = aud_module(a, "nvidia_peermem");

	if (on > 0)
		emit(a, ST_BAD, "host", "nvidia_peermem is loaded: network cards may reach GPU memory");
	else
		emit(a, on ? ST_UNKNOWN : ST_PASS, "host", "nvidia_peermem is not loaded");
}

void driver_xids(struct audit *a)
{
	/* The application's own faults; the rest concern the GPU or its driver. */
	static const int app[] = {13, 31, 43, 45};
	const struct klog *k = &a->host->log;
	unsigned n = 0, all = 0;
	const struct klog_hit *first = NULL;

	for (size_t i = 0; i < k->n; i++) {
		const struct klog_hit *h = &k->hit[i];
		int code = 0, mine = 0;

		if (!strcmp(h->rule->name, "xid"))
			code = atoi(h->match[1]);
		else if (strcmp(h->rule->name, "xid-busoff") && strcmp(h->rule->name, "gsp"))
			continue;
		all++;
		for (int x = 0; x < 4; x++)
			mine |= code == app[x];
		if (!mine) {
			first = first ? first : h;
			n++;
		}
	}
	if (first) {
		aud_quote(a, first->src, first->text);
		emit(a, ST_BAD, "host", "%u driver or hardware fault(s) logged, first: %s", n, first->text);
		return;
	}
	emit(a, note_log(a) ? ST_PASS : ST_UNKNOWN, "host", "no GPU fault in what the kernel log still holds (%u of applications)", all);
}
