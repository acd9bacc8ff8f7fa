/* SPDX-License-Identifier: Apache-2.0 */
/* Small questions that several groups of checks ask of the host. */
#include "host.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int unit_enabled(struct audit *a, const char *unit)
{
	static const char *const dir[] = {"/etc/systemd/system/multi-user.target.wants",
					  "/etc/systemd/system/default.target.wants", "/etc/systemd/system/sockets.target.wants"};

	for (size_t i = 0; i < 3; i++) {
		const struct ev_item *it = ev_get(a->ev, EV_LIST, dir[i]);

		if (!it->err && ev_has_name(it, unit)) {
			aud_quote(a, it, unit);
			return 1;
		}
		aud_note(a, it, it->err && it->err != ENOENT ? strerror(it->err) : NULL);
		if (it->err && it->err != ENOENT)
			return -1;
	}
	return aud_anchor(a, "/etc/systemd/system") ? 0 : -1;
}

void note_nvml(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;

	if (!n->valid && n->src->err != ENOENT)
		aud_note(a, n->src, n->src->err ? strerror(n->src->err) : "no answer of NVML");
	else
		aud_note(a, n->src, NULL);
}

int need_nvml(struct audit *a)
{
	const struct nvml *n = &a->host->nvml;
	int loaded;

	if (n->valid) {
		aud_note(a, n->src, NULL);
		return 1;
	}
	loaded = aud_module(a, "nvidia");
	if (!loaded) {
		emit(a, ST_NA, "host", "the NVIDIA driver is not loaded");
		return 0;
	}
	aud_note(a, n->src, n->src->err == ETIMEDOUT ? "NVML did not answer within 5 s"
			    : n->src->err	      ? "NVML is not available here"
						      : "NVML could not be initialised");
	emit(a, ST_UNKNOWN, "host", "NVML does not answer");
	return -1;
}

#define STATUS_MAX (128u << 20)

static bool wanted_package(const char *name)
{
	static const char *const head[] = {"nvidia", "libnvidia", "qemu-system", "libvirt-daemon", "datacenter-gpu", "ovmf"};

	for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
		if (!strncmp(name, head[i], strlen(head[i])))
			return true;
	return false;
}

/* dpkg's status file is large; kept are "name version" lines of the packages that matter. */
static void dpkg_versions(struct ev *ev, struct ev_item *item, void *arg)
{
	int fd = ev_fd(ev, "/var/lib/dpkg/status");
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[1024], name[128] = "", *text = NULL;
	size_t len = 0, total = 0;
	bool installed = false;
	FILE *out = open_memstream(&text, &len);

	(void)arg;
	item->err = fd < 0 ? -fd : 0;
	while (f && out && fgets(line, sizeof(line), f) && (total += strlen(line)) < STATUS_MAX) {
		char version[128];

		if (sscanf(line, "Package: %127s", name) == 1)
			installed = false;
		else if (!strncmp(line, "Status: install ok installed", 28))
			installed = true;
		else if (installed && wanted_package(name) && sscanf(line, "Version: %127s", version) == 1)
			fprintf(out, "%s %s\n", name, version);
	}
	if (f)
		fclose(f);
	if (out)
		fclose(out);
	if (!item->err)
		ev_set_data(item, text, len);
	free(text);
}

static bool pacman_version(const struct ev_item *list, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	for (const char *p = ev_name(list, NULL); p; p = ev_name(list, p))
		if (!strncmp(p, name, n) && p[n] == '-' && isdigit((uint8_t)p[n + 1])) {
			snprintf(out, size, "%s", p + n + 1);
			return true;
		}
	return false;
}

enum got package_version(struct audit *a, const char *name, char *out, size_t size)
{
	const struct ev_item *dpkg = ev_derive(a->ev, "packages:/var/lib/dpkg/status", dpkg_versions, NULL);
	const struct ev_item *pacman = ev_get(a->ev, EV_LIST, "/var/lib/pacman/local");
	size_t n = strlen(name);

	if (!pacman->err) {
		aud_note(a, pacman, NULL);
		return pacman_version(pacman, name, out, size) ? GOT_VALUE : GOT_ABSENT;
	}
	aud_note(a, dpkg, dpkg->err == ENOENT ? "no package database this program can read" : ev_text_problem(dpkg));
	if (!dpkg->text)
		return GOT_NOTHING;
	for (const char *p = dpkg->data; *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : p + strlen(p))
		if (!strncmp(p, name, n) && p[n] == ' ') {
			snprintf(out, size, "%.*s", (int)strcspn(p + n + 1, "\n"), p + n + 1);
			return GOT_VALUE;
		}
	return GOT_ABSENT;
}

bool config_value(const char *text, const char *key, char *out, size_t size)
{
	size_t n = strlen(key);
	bool found = false;

	for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *v;
		size_t len;

		p += strspn(p, " \t");
		if (strncmp(p, key, n))
			continue;
		v = p + n + strspn(p + n, " \t");
		if (*v != '=' && *v != ':')
			continue;
		v += 1 + strspn(v + 1, " \t\"'");
		len = strcspn(v, "\"'\n#");
		while (len && isblank((uint8_t)v[len - 1]))
			len--;
		snprintf(out, size, "%.*s", (int)(len < size ? len : size - 1), v);
		found = true; /* the last one wins */
	}
	return found;
}

void note_domains(struct audit *a)
{
	const struct domains *ds = &a->host->dom;

	for (int i = 0; i < 2; i++)
		aud_note(a, ds->source[i], ds->source[i]->err && ds->source[i]->err != ENOENT ? strerror(ds->source[i]->err) : NULL);
	for (size_t i = 0; i < ds->nunreadable; i++)
		aud_note(a, ds->unreadable[i], "no domain could be read from it");
	aud_anchor(a, "/sys/bus/pci/devices");
}

bool domain_gpus(const struct host *h, const struct domain *d, unsigned *n)
{
	*n = 0;
	for (unsigned i = 0; i < d->nhostdev; i++) {
		const struct pci_dev *p = pci_find(&h->pci, d->hostdev[i]);

		*n += p && pci_is_gpu(p);
	}
	return *n > 0;
}
