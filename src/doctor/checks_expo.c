/* SPDX-License-Identifier: Apache-2.0 */
/* Group EXPO: what is open to the network, to guests and to local users. */
#include "containers.h"
#include "host.h"
#include "x509.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Listening sockets on a port: 2 off the loopback, 1 on it only, 0 none, -1 unknown. A line is
 * "sl: ADDR:PORT ADDR:PORT STATE …", hexadecimal, state 0A = listening. */
static int listens(struct audit *a, unsigned port)
{
	static const char *const path[] = {"/proc/net/tcp", "/proc/net/tcp6"};
	static const char v6_loopback[] = "00000000000000000000000001000000";
	int worst = 0;

	for (int i = 0; i < 2; i++) {
		const struct ev_item *it;
		enum got g = aud_text(a, &it, "%s", path[i]);

		if (g != GOT_VALUE || !strstr(it->data, "local_address")) {
			if (g == GOT_ABSENT && i == 1 && worst >= 0)
				continue; /* a kernel without IPv6 */
			aud_note(a, it, it->err ? strerror(it->err) : "no socket table");
			return -1;
		}
		for (const char *p = strchr(it->data, '\n'); p && p[1]; p = strchr(p + 1, '\n')) {
			char addr[40];
			unsigned n, st;
			bool local;

			if (sscanf(p + 1, " %*[0-9]: %39[0-9A-F]:%4X %*[0-9A-F]:%*4X %2X", addr, &n, &st) != 3 || n != port || st != 0x0a)
				continue;
			local = i ? !strcmp(addr, v6_loopback) : !strcmp(addr + strlen(addr) - 2, "7F");
			worst = local && worst < 2 ? 1 : 2;
			aud_quote(a, it, addr);
		}
	}
	return worst;
}

static void port(struct audit *a, unsigned number, const char *what)
{
	int l = listens(a, number);

	if (l == 2)
		emit(a, ST_BAD, "host", "%s (port %u) is reachable from outside", what, number);
	else
		emit(a, l < 0 ? ST_UNKNOWN : ST_PASS, "host", l == 1 ? "%s listens on the loopback address only" : "%s does not listen", what);
}

static void hostengine(struct audit *a)
{
	port(a, 5555, "nv-hostengine, which asks nobody who they are,");
}

static void exporter(struct audit *a)
{
	const struct ev_item *it;
	int l = listens(a, 9400);

	if (l == 2 && aud_text(a, &it, "/etc/dcgm-exporter/web-config.yaml") == GOT_VALUE && strstr(it->data, "tls_server_config"))
		emit(a, ST_PASS, "host", "dcgm-exporter is open, with TLS");
	else if (l == 2)
		emit(a, ST_BAD, "host", "dcgm-exporter (port 9400) is open without TLS");
	else
		emit(a, l < 0 ? ST_UNKNOWN : ST_PASS, "host", l ? "dcgm-exporter on the loopback address" : "dcgm-exporter does not listen");
}

static void libvirt_open(struct audit *a)
{
	const struct domains *ds = &a->host->dom;
	int l = listens(a, 16509);

	note_domains(a);
	for (size_t i = 0; i < ds->n; i++) {
		if (!ds->d[i].secret_listen && !ds->d[i].monitor_tcp)
			continue;
		aud_note(a, ds->d[i].src, NULL);
		emit(a, ST_BAD, ds->d[i].name, "its %s listens on the network", ds->d[i].monitor_tcp ? "QEMU monitor" : "display");
		return;
	}
	if (l == 2)
		emit(a, ST_BAD, "host", "libvirtd listens on TCP 16509 without encryption");
	else
		emit(a, l < 0 ? ST_UNKNOWN : ST_PASS, "host", "libvirt, displays and monitors are not on the network");
}

static void confinement(struct audit *a)
{
	const struct host *h = a->host;
	const struct ev_item *it;
	char v[128];
	enum got g = aud_text(a, &it, "/etc/libvirt/qemu.conf");

	for (size_t i = 0; i < h->procs.n; i++) {
		const struct proc *p = &h->procs.p[i];
		char who[64];

		if (!p->qemu)
			continue;
		snprintf(who, sizeof(who), "%s(%u)", p->comm, p->pid);
		aud_note(a, p->status, p->uid < 0 ? "no owner found" : NULL);
		aud_note(a, p->label, p->label->err == ENOENT ? NULL : ev_text_problem(p->label));
		if (!p->uid) {
			emit(a, ST_BAD, who, "runs as root");
			return;
		}
		if (p->label->err || !strncmp(p->label->data, "unconfined", 10)) {
			emit(a, p->label->err == ENOENT || p->label->text ? ST_BAD : ST_UNKNOWN, who, "is not confined by SELinux or AppArmor");
			return;
		}
	}
	if (g == GOT_ABSENT) {
		aud_anchor(a, "/etc");
		emit(a, ST_NA, "host", "no libvirt");
	} else if (g == GOT_VALUE && config_value(it->data, "user", v, sizeof(v)) && (!strcmp(v, "root") || !strcmp(v, "0") || !strcmp(v, "+0"))) {
		emit(a, ST_BAD, "host", "qemu.conf runs guests as root");
	} else if (g == GOT_VALUE && config_value(it->data, "security_driver", v, sizeof(v)) && !strcmp(v, "none")) {
		emit(a, ST_BAD, "host", "qemu.conf turns confinement off");
	} else {
		if (!aud_anchor(a, "/proc"))
			g = GOT_NOTHING;
		emit(a, g == GOT_VALUE ? ST_PASS : ST_UNKNOWN, "host", "guests run as a user of their own, confined");
	}
}

/* Versions below `fixed` are affected: the vendor's bulletins as known in 2025. CVE-2026-24260 is not here: its
 * range is not known to us; the site's list can name it. */
static const struct {
	const char *fixed, *cve;
} toolkit[] = {{"1.16.2", "CVE-2024-0132"}, {"1.17.4", "CVE-2025-23359"}, {"1.17.8", "CVE-2025-23266, CVE-2025-23267"}};

static void toolkit_cves(struct audit *a)
{
	char v[64], list[400] = "", site[200];
	unsigned minor;
	enum got g = package_version(a, v, sizeof(v), "nvidia-container-toolkit", NULL);

	if (g == GOT_ABSENT) {
		emit(a, ST_NA, "host", "the container toolkit is not installed");
		return;
	}
	if (g == GOT_NOTHING || sscanf(v, "%*u.%u", &minor) != 1) {
		if (g == GOT_VALUE)
			aud_note(a, ev_get(a->ev, EV_LIST, "/var/lib/pacman/local"), "no version");
		emit(a, ST_UNKNOWN, "host", "toolkit version not visible");
		return;
	}
	for (size_t i = 0; i < sizeof(toolkit) / sizeof(*toolkit); i++)
		if (version_compare(v, toolkit[i].fixed) < 0)
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? ", " : "", toolkit[i].cve);
	if (advisories(a, "nvidia-container-toolkit", v, site, sizeof(site)) && *site)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? ", " : "", site);
	if (*list)
		emit(a, ST_BAD, "host", "container toolkit %s: %s (a container can leave its jail)", v, list);
	else
		emit(a, ST_PASS, "host", "container toolkit %s has no known flaw in this program's table or the site's list", v);
}

static void containers(struct audit *a)
{
	const struct ev_item *it = containers_digest(a->ev);
	const char *p = it->data;
	struct container c;
	unsigned n = 0;

	/* Docker keeps its state below /var/lib, the others below /run. */
	aud_anchor(a, "/var/lib");
	aud_anchor(a, "/run");
	aud_note(a, it, it->cut ? "a runtime's state is not readable" : ev_text_problem(it));
	aud_common(a);
	while (container_next(&p, &c)) {
		n++;
		if (c.dev)
			emit(a, ST_BAD, c.id, "has the host's /dev: every device, of every tenant");
		else if (c.privileged && c.gpu)
			emit(a, ST_BAD, c.id, "a privileged container with GPUs: it reaches all GPUs and the host");
		else if (c.gpu)
			emit(a, ST_PASS, c.id, "has GPUs and no more privileges than that takes");
	}
	if (p[strspn(p, "\n")])
		aud_note(a, it, "no digest of containers");
	if (!a->emitted || aud_hidden(a))
		emit(a, n && !aud_hidden(a) ? ST_PASS : ST_NA, "host", n ? "no container has a GPU" : "no container runs");
}

static void privileged(struct audit *a)
{
	const struct ev_item *it;
	char v[16];
	enum got g = aud_text(a, &it, "/etc/nvidia-container-runtime/config.toml");

	if (g == GOT_ABSENT) {
		aud_anchor(a, "/etc");
		emit(a, ST_NA, "host", "no container runtime configuration");
	} else if (g != GOT_VALUE) {
		emit(a, ST_UNKNOWN, "host", "not visible");
	} else if (config_value(it->data, "accept-nvidia-visible-devices-envvar-when-unprivileged", v, sizeof(v)) && !strcmp(v, "false")) {
		emit(a, ST_PASS, "host", "containers cannot ask for GPUs by an environment variable");
	} else {
		emit(a, ST_BAD, "host", "any container image gets every GPU by setting NVIDIA_VISIBLE_DEVICES=all");
	}
}

static void audit_trail(struct audit *a)
{
	const struct ev_item *rules, *journal, *chrony;
	enum got r = aud_list(a, &rules, "/etc/audit/rules.d"), j = aud_list(a, &journal, "/var/log/journal");
	bool time = false;
	static const char *const sync[] = {"/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/ntp.conf", "/etc/systemd/timesyncd.conf"};

	for (int i = 0; i < 4; i++)
		time |= aud_text(a, &chrony, "%s", sync[i]) == GOT_VALUE;
	if (!aud_anchor(a, "/etc"))
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
	else if (r != GOT_VALUE || !rules->len)
		emit(a, r == GOT_NOTHING ? ST_UNKNOWN : ST_BAD, "host", "no audit rules");
	else if (j != GOT_VALUE || !journal->len)
		emit(a, j == GOT_NOTHING ? ST_UNKNOWN : ST_BAD, "host", "the journal is not kept over reboots");
	else
		emit(a, time ? ST_PASS : ST_BAD, "host", time ? "audit rules, a lasting journal and time synchronisation" : "no time synchronisation");
}

static void telemetry(struct audit *a)
{
	static const char *const unit[] = {"nvidia-dcgm.service", "dcgm-exporter.service", "openvgpu-guard.service"};
	int any = 0;

	for (int i = 0; i < 3 && any <= 0; i++) {
		int e = unit_enabled(a, unit[i]);

		any = e ? e : any;
	}
	if (any > 0)
		emit(a, ST_PASS, "host", "GPU health is recorded");
	else
		emit(a, any ? ST_UNKNOWN : ST_BAD, "host", "nothing records GPU health");
}

/* Each mode bit beyond what the product itself sets. */
static const struct {
	const char *path;
	uint32_t bad;
	const char *what;
} own_files[] = {
	{"/etc/openvgpu", 0022, "others may change the configuration"},
	{"/etc/openvgpu/vgpud.conf", 0022, "others may change the configuration"},
	{"/run/openvgpu/control.sock", 0007, "every user may control the broker"},
	{"/run/openvgpu/guest.sock", 0007, "every user may use the GPUs"},
	{"/var/lib/openvgpu", 0027, "others may read or change the VMs' registrations"},
};

/* A VM's socket is its identity: who opens it is that VM. False: a finding (emitted). */
static bool vm_sockets(struct audit *a)
{
	const struct ev_item *list;

	if (aud_list(a, &list, "/run/openvgpu/vm") != GOT_VALUE)
		return true;
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *st = ev_getf(a->ev, EV_STAT, "/run/openvgpu/vm/%s", n);

		aud_note(a, st, st->err && st->err != ENOENT ? strerror(st->err) : NULL);
		if (!st->err && st->mode & 0077) {
			emit(a, ST_BAD, st->path, "mode %04o: others than its QEMU may be this VM", st->mode & 07777);
			return false;
		}
	}
	return true;
}

/* A VM that OpenVGPU serves and that also holds a device: what mediates can be gone round. */
static const struct domain *bypass(struct audit *a)
{
	const struct domains *ds = &a->host->dom;
	unsigned n;

	note_domains(a);
	for (size_t i = 0; i < ds->n; i++)
		if (ds->d[i].nshmem && domain_gpus(a->host, &ds->d[i], &n)) {
			aud_note(a, ds->d[i].src, NULL);
			return &ds->d[i];
		}
	return NULL;
}

static void broker(struct audit *a)
{
	const struct domain *d;
	unsigned there = 0;
	const struct ev_item *conf;
	char v[32];

	for (size_t i = 0; i < sizeof(own_files) / sizeof(*own_files); i++) {
		const struct ev_item *st = ev_get(a->ev, EV_STAT, own_files[i].path);

		aud_note(a, st, st->err && st->err != ENOENT ? strerror(st->err) : NULL);
		there += st->err != ENOENT;
		if (!st->err && st->mode & own_files[i].bad) {
			emit(a, ST_BAD, st->path, "mode %04o: %s", st->mode & 07777, own_files[i].what);
			return;
		}
	}
	if (!there) {
		emit(a, aud_anchor(a, "/etc") ? ST_NA : ST_UNKNOWN, "host", "OpenVGPU is not installed");
		return;
	}
	if (!vm_sockets(a))
		return;
	d = bypass(a);
	if (d) {
		emit(a, ST_BAD, d->name, "is served by OpenVGPU and holds a whole GPU besides: it goes round the broker");
		return;
	}
	if (aud_text(a, &conf, "/etc/openvgpu/vgpud.conf") == GOT_VALUE && config_value(conf->data, "landlock", v, sizeof(v)) && !strcmp(v, "accept-missing"))
		emit_sev(a, 'L', conf->path, "landlock = accept-missing: executors may run without it");
	else
		emit(a, ST_PASS, "host", "configuration, state and sockets are restricted, each VM's socket to its QEMU");
}

#define DAY (24 * 3600)

static void certificates(struct audit *a)
{
	static const char *const path[] = {"/etc/openvgpu/tls/server.crt", "/etc/pki/libvirt/servercert.pem", "/etc/pki/CA/cacert.pem",
					   "/etc/kubernetes/pki/apiserver.crt", "/var/lib/kubelet/pki/kubelet.crt"};
	int64_t now = a->now;
	bool any = false;

	aud_anchor(a, "/etc");
	aud_common(a);
	for (size_t i = 0; i < sizeof(path) / sizeof(*path); i++) {
		const struct ev_item *it;
		enum got g = aud_text(a, &it, "%s", path[i]);
		int64_t end;

		if (g == GOT_ABSENT) {
			a->nref = a->ncommon;
			continue;
		}
		any = true;
		if (g == GOT_NOTHING || !pem_not_after(it->data, it->len, &end)) {
			aud_note(a, it, "no certificate");
			emit(a, ST_UNKNOWN, path[i], "not visible");
		} else if (end < now) {
			emit_sev(a, 'H', path[i], "expired %lld day(s) ago", (long long)(now - end) / DAY);
		} else if (end < now + 30 * DAY) {
			emit(a, ST_BAD, path[i], "expires in %lld day(s)", (long long)(end - now) / DAY);
		} else {
			emit(a, ST_PASS, path[i], "valid for another %lld days", (long long)(end - now) / DAY);
		}
	}
	if (!any)
		emit(a, ST_NA, "host", "no certificate in the places known here");
}

static void persistence(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	int unit, loaded = aud_module(a, "nvidia");

	if (loaded <= 0) {
		emit(a, loaded ? ST_UNKNOWN : ST_NA, "host", "the NVIDIA driver is not loaded");
		return;
	}
	note_nvml(a);
	for (size_t i = 0; i < n->n; i++)
		if (n->gpu[i].persistence == 1) {
			emit(a, ST_PASS, "host", "persistence mode is on");
			return;
		}
	unit = unit_enabled(a, "nvidia-persistenced.service");
	if (unit > 0)
		emit(a, ST_PASS, "host", "nvidia-persistenced keeps the driver initialised");
	else
		emit(a, unit ? ST_UNKNOWN : ST_BAD, "host", "no persistence: the GPU is torn down and reset between jobs, losing settings");
}

static const struct check checks[] = {
	{"EXPO-001", "K01", "nv-hostengine is not reachable", "HHHHH", 4, 2, hostengine, "DCGM's engine has no authentication.", "/proc/net/tcp*", "-b 127.0.0.1 or a Unix socket.", "", "pfu"},
	{"EXPO-002", "K02", "dcgm-exporter is protected", "MMMMM", 3, 3, exporter, "Utilisation tells tenants about each other.", "/proc/net/tcp*, web-config.yaml", "TLS and authentication.", "", "pwu"},
	{"EXPO-003", "K03", "libvirt, displays and monitors are not on the network", "HHHHM", 5, 2, libvirt_open, "A monitor is the whole VM.", "/proc/net/tcp*, libvirt XML", "TLS or Unix sockets.", "", "pfwu"},
	{"EXPO-004", "K04", "QEMU is confined", "HHHH-", 5, 2, confinement, "A guest that breaks out has what QEMU has.", "qemu.conf, /proc/*/status, attr/current", "Own user; SELinux or AppArmor (sVirt).", "", "pfnu"},
	{"EXPO-005", "K05", "The container toolkit has no known flaws", "-HHCC", 5, 3, toolkit_cves, "Several let a container become root on the host.", "package database against a dated table and the site list", "Upgrade the toolkit.", "NVIDIA security bulletins", "pfnu"},
	{"EXPO-006", "K06", "Containers get only GPUs they were given", "-HHHH", 4, 3, privileged, "By default an environment variable in the image is enough.", "/etc/nvidia-container-runtime/config.toml",
	 "accept-nvidia-visible-devices-envvar-when-unprivileged = false, and CDI.", "", "pfnu"},
	{"EXPO-007", "K07", "Events are recorded", "MMMMM", 3, 3, audit_trail, "Without records nothing can be shown afterwards.", "/etc/audit, /var/log/journal, time service", "auditd rules, Storage=persistent, chrony.", "", "pwu"},
	{"EXPO-008", "K08", "GPU health is recorded", "-MMMM", 2, 3, telemetry, "Failures announce themselves.", "systemd units", "Enable nvidia-dcgm (not \"dcgm\") or an exporter.", "", "pwu"},
	{"EXPO-009", "K09", "OpenVGPU's own files are restricted", "---H-", 5, 1, broker, "Its control socket starts and stops guests' GPUs; a VM's socket is its identity.", "/etc/openvgpu, /run/openvgpu, /var/lib/openvgpu, libvirt XML",
	 "Modes as vgpud sets them: 0755, control.sock and guest.sock 0660, vm/*.sock 0600, state 0700; landlock = require.", "vgpud(8)", "pfwnu"},
	{"EXPO-010", "K10", "Certificates are valid", "MMMMM", 3, 3, certificates, "An expired certificate is an outage with a date.", "certificates' notAfter", "Renew.", "", "pfwnu"},
	{"EXPO-011", "A1", "Persistence is on", "-LLLL", 1, 3, persistence, "Without it MIG instances and clocks are lost between jobs.", "NVML, systemd units", "Enable nvidia-persistenced.", "", "pwnu"},
	{"EXPO-012", "K06", "No privileged container has GPUs", "-HHHH", 5, 3, containers, "A privileged container is root on the host; with the host's /dev it has every tenant's GPU.",
	 "state files of Docker, containerd, CRI-O, Podman (digested)", "Give the GPU by CDI or the device plugin; drop --privileged and the mount of /dev.", "", "pfnu"},
};

const struct check_group expo_group = {
	"EXPO", "Exposure and hygiene", checks, sizeof(checks) / sizeof(*checks), "AC-3 AC-6 SC-8 AU-2 AU-3 AU-8 AU-12 SI-4", "7.2 8.x 10.2-10.6 4.2",
	"164.312(b) 164.312(d) 164.312(e)(1)", "A.8.15 A.8.16", "Art. 32"};
