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

const json_t *site_section(struct audit *a, const char *name, bool *bad)
{
	const struct site *s = &a->host->site;
	const json_t *section = json_object_get(s->doc, name);

	*bad = *s->problem;
	if (*s->problem)
		aud_note(a, s->src, s->problem);
	else if (section)
		aud_note(a, s->src, NULL);
	return section;
}

bool advisories(struct audit *a, const char *product, const char *version, char *out, size_t size)
{
	bool bad;
	const json_t *list = site_section(a, "advisories", &bad);
	json_t *e;
	size_t i;

	*out = 0;
	json_array_foreach((json_t *)list, i, e)
		if (!strcmp(site_text(e, "product"), product) && advisory_concerns(e, version))
			snprintf(out + strlen(out), size - strlen(out), "%s%s", *out ? ", " : "", site_text(e, "name"));
	return list;
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
