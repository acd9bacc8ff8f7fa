/* SPDX-License-Identifier: Apache-2.0 */
#include "checks_machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* efivarfs: 4 bytes of attributes, then the value. */
void machine_secure_boot(struct audit *a)
{
	const struct ev_item *var = ev_get(a->ev, EV_READ,
		"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
	const char *lock;
	enum got g = aud_line(a, &lock, "/sys/kernel/security/lockdown");

	if (!aud_anchor(a, "/sys/firmware")) {
		emit(a, ST_UNKNOWN, "host", "firmware not visible");
		return;
	}
	if (ev_get(a->ev, EV_LIST, "/sys/firmware/efi")->err == ENOENT) {
		aud_note(a, ev_get(a->ev, EV_LIST, "/sys/firmware/efi"), NULL);
		emit(a, ST_BAD, "host", "started by a legacy BIOS: no secure boot");
		return;
	}
	aud_note(a, var, var->err && var->err != ENOENT ? strerror(var->err) : !var->err && var->len != 5 ? "not five bytes" : NULL);
	if (!var->err && var->len == 5 && var->data[4] == 1)
		emit(a, ST_PASS, "host", "secure boot is on%s%s", g == GOT_VALUE ? ", lockdown " : "", g == GOT_VALUE ? lock : "");
	else if (var->err == ENOENT || (!var->err && var->len == 5 && var->data[4] == 0))
		emit(a, ST_BAD, "host", "secure boot is off: the kernel and its modules are not verified");
	else {
		aud_note(a, var, "not a secure boot variable");
		emit(a, ST_UNKNOWN, "host", "secure boot state not visible");
	}
}

/* ---- firmware ---- */

/* mm/dd/yyyy as SMBIOS writes it, as yyyymmdd; 0: no date. */
static unsigned bios_date(const char *s)
{
	unsigned m, d, y;
	int used = 0;

	return sscanf(s, "%2u/%2u/%4u%n", &m, &d, &y, &used) == 3 && !s[used] && m && m <= 12 && d && d <= 31 && y > 1980 ? y * 10000 + m * 100 + d : 0;
}

/* yyyy-mm-dd as the site's list writes it. */
static unsigned list_date(const char *s)
{
	unsigned y, m, d;
	int used = 0;

	return sscanf(s, "%4u-%2u-%2u%n", &y, &m, &d, &used) == 3 && !s[used] ? y * 10000 + m * 100 + d : 0;
}

/* H100 class platforms got their MMIO and interrupt-remapping fixes from 2023 on. */
#define OLD_FIRMWARE 20230101u

static void by_age(struct audit *a, const char *version, const char *date, const char *why)
{
	if (bios_date(date) < OLD_FIRMWARE)
		emit(a, ST_BAD, "host", "firmware %s is of %s: look for a newer one", version, date);
	else
		emit(a, ST_INFO, "host", "firmware %s of %s; %s", version, date, why);
}

void machine_firmware(struct audit *a)
{
	const char *date, *version, *board;
	const json_t *list;
	json_t *e;
	size_t i;
	bool bad;
	enum got g = aud_line(a, &date, "/sys/class/dmi/id/bios_date");

	aud_line(a, &version, "/sys/class/dmi/id/bios_version");
	if (g == GOT_ABSENT) {
		aud_anchor(a, "/sys/class");
		emit(a, ST_NA, "host", "no SMBIOS data");
		return;
	}
	if (!bios_date(date)) {
		aud_note(a, ev_get(a->ev, EV_READ, "/sys/class/dmi/id/bios_date"), "not a date");
		emit(a, ST_UNKNOWN, "host", "firmware date not visible");
		return;
	}
	list = site_section(a, "firmware", &bad);
	if (!list) {
		by_age(a, version, date, "no site list says whether that is current");
		return;
	}
	aud_line(a, &board, "/sys/class/dmi/id/board_name");
	json_array_foreach((json_t *)list, i, e)
	{
		const char *want = site_text(e, "version"), *oldest = site_text(e, "oldest");

		if (strcmp(site_text(e, "board"), board))
			continue;
		if (*want && strcmp(want, version))
			emit(a, ST_BAD, "host", "firmware %s of %s; the site's list wants %s for board %s", version, date, want, board);
		else if (*oldest && bios_date(date) < list_date(oldest))
			emit(a, ST_BAD, "host", "firmware %s of %s; the site's list wants none before %s for board %s", version, date, oldest, board);
		else
			emit(a, ST_PASS, "host", "firmware %s of %s is what the site's list wants for board %s", version, date, board);
		return;
	}
	by_age(a, version, date, "the site's list does not name this board");
}

/* ---- the case ---- */

/* The chassis structure (type 3) of the SMBIOS tables: its security status, 0 without one. */
static unsigned chassis_security(const struct ev_item *it)
{
	const uint8_t *p = (const uint8_t *)it->data;

	for (size_t at = 0; at + 4 <= it->len;) {
		size_t n = p[at + 1], end = at + n;

		if (n < 4 || end > it->len)
			return 0;
		if (p[at] == 3 && n > 0x0c)
			return p[at + 0x0c];
		while (end + 1 < it->len && (p[end] || p[end + 1]))
			end++;
		at = end + 2;
	}
	return 0;
}

/* Super-I/O chips latch an opened case: hwmon's intrusionN_alarm. True when one alarms (emitted). */
static bool opened(struct audit *a, unsigned *sensors)
{
	const struct ev_item *list, *names;

	*sensors = 0;
	if (aud_list(a, &list, "/sys/class/hwmon") != GOT_VALUE)
		return false;
	for (const char *h = ev_name(list, NULL); h; h = ev_name(list, h)) {
		if (aud_list(a, &names, "/sys/class/hwmon/%s", h) != GOT_VALUE)
			continue;
		for (const char *n = ev_name(names, NULL); n; n = ev_name(names, n)) {
			long long alarm;

			if (strncmp(n, "intrusion", 9) || !strstr(n, "_alarm") || aud_long(a, &alarm, "/sys/class/hwmon/%s/%s", h, n) != GOT_VALUE)
				continue;
			++*sensors;
			if (alarm) {
				emit_sev(a, 'M', h, "%s is set: the case was opened since the alarm was last cleared", n);
				return true;
			}
		}
	}
	return false;
}

void machine_chassis(struct audit *a)
{
	static const char *const status[] = {"not told", "other", "unknown", "none", "external interfaces locked out", "external interfaces enabled"};
	const struct ev_item *it = ev_get(a->ev, EV_READ, "/sys/firmware/dmi/tables/DMI");
	unsigned sensors, s;

	if (opened(a, &sensors))
		return;
	if (it->err == ENOENT && !sensors) {
		aud_anchor(a, "/sys/firmware");
		emit(a, ST_NA, "host", "neither SMBIOS tables nor an intrusion sensor");
		return;
	}
	aud_note(a, it, it->err && it->err != ENOENT ? strerror(it->err) : NULL);
	s = it->err ? 0 : chassis_security(it);
	if (!it->err && (!s || s >= sizeof(status) / sizeof(*status)))
		aud_note(a, it, "no chassis structure");
	emit(a, ST_INFO, "host", "security status of the chassis: %s; %u intrusion sensor(s) quiet; the management controller's own: ipmitool chassis status",
	     s < sizeof(status) / sizeof(*status) ? status[s] : "?", sensors);
}

void machine_cpu_vulns(struct audit *a)
{
	const struct ev_item *list;
	enum got g = aud_list(a, &list, "/sys/devices/system/cpu/vulnerabilities");
	char bad[256] = "";
	const char *v;

	if (g != GOT_VALUE || !list->len) {
		aud_note(a, list, "nothing there");
		emit(a, ST_UNKNOWN, "host", "processor vulnerabilities not visible");
		return;
	}
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n))
		if (aud_line(a, &v, "/sys/devices/system/cpu/vulnerabilities/%s", n) == GOT_VALUE) {
			if (!strncmp(v, "Vulnerable", 10))
				snprintf(bad + strlen(bad), sizeof(bad) - strlen(bad), " %s", n);
			else if (strncmp(v, "Not affected", 12) && strncmp(v, "Mitigation", 10) && strncmp(v, "KVM: ", 5) && strncmp(v, "Processor ", 10))
				aud_note(a, ev_getf(a->ev, EV_READ, "/sys/devices/system/cpu/vulnerabilities/%s", n), "not a known state");
		}
	if (*bad)
		emit(a, ST_BAD, "host", "vulnerable:%s", bad);
	else
		emit(a, ST_PASS, "host", "every known vulnerability is mitigated or absent");
}

/* ---- inventory ---- */

/* Compares one wanted value with what the host shows. False: they differ, or the host shows none. */
static bool same(FILE *out, const char *bdf, const json_t *entry, const char *key, const char *have)
{
	const char *want = site_text(entry, key);

	if (!*want || (have && !strcasecmp(want, have)))
		return true;
	fprintf(out, "%s %s %s\n", have ? "DIFFERS" : "HIDDEN", bdf, key);
	return false;
}

static void compare_gpu(const struct host *h, struct ev *ev, FILE *out, const struct pci_dev *d, const json_t *e)
{
	const struct nvml_gpu *g = nvml_find(&h->nvml, d->bdf);
	const struct ev_item *sv = ev_getf(ev, EV_READ, "/sys/bus/pci/devices/%s/subsystem_vendor", d->bdf);
	const struct ev_item *sd = ev_getf(ev, EV_READ, "/sys/bus/pci/devices/%s/subsystem_device", d->bdf);
	char id[16], sub[32], dsn[24] = "";
	unsigned wrong = 0;

	snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
	snprintf(sub, sizeof(sub), "%.4s:%.4s", sv->line && strlen(sv->line) == 6 ? sv->line + 2 : "", sd->line && strlen(sd->line) == 6 ? sd->line + 2 : "");
	for (int i = 7; i >= 0 && d->cfg.serial; i--) /* as lspci writes it */
		sprintf(dsn + strlen(dsn), "%02x%s", (unsigned)(d->cfg.serial >> 8 * i & 0xff), i ? "-" : "");
	wrong += !same(out, d->bdf, e, "id", id);
	wrong += !same(out, d->bdf, e, "subsystem", sub);
	if (strchr(site_text(e, "serial"), '-')) /* PCIe's; NVIDIA's board serial is digits */
		wrong += !same(out, d->bdf, e, "serial", d->cfg.ext ? dsn : NULL);
	else
		wrong += !same(out, d->bdf, e, "serial", g && *g->serial ? g->serial : NULL);
	wrong += !same(out, d->bdf, e, "uuid", g && *g->uuid ? g->uuid : NULL);
	wrong += !same(out, d->bdf, e, "part", g && *g->part ? g->part : NULL);
	wrong += !same(out, d->bdf, e, "vbios", g && *g->vbios ? g->vbios : NULL);
	wrong += !same(out, d->bdf, e, "inforom", g && *g->inforom ? g->inforom : NULL);
	if (!wrong)
		fprintf(out, "OK %s\n", d->bdf);
}

static const json_t *entry_of(const json_t *list, const char *bdf)
{
	json_t *e;
	size_t i;

	json_array_foreach((json_t *)list, i, e)
		if (!strcasecmp(site_text(e, "address"), bdf))
			return e;
	return NULL;
}

/* Derived where the values are: a bundle carries what came of it, not serial numbers. */
static void compare_all(struct ev *ev, struct ev_item *item, void *arg)
{
	const struct host *h = arg;
	const json_t *list = json_object_get(h->site.doc, "gpus");
	char *text = NULL;
	size_t len = 0, i;
	FILE *out = open_memstream(&text, &len);
	json_t *e;

	if (!out)
		abort();
	for (i = 0; i < h->ngpu; i++) {
		const json_t *want = entry_of(list, h->gpu[i]->bdf);

		if (want)
			compare_gpu(h, ev, out, h->gpu[i], want);
		else
			fprintf(out, "EXTRA %s\n", h->gpu[i]->bdf);
	}
	json_array_foreach((json_t *)list, i, e)
	{
		const struct pci_dev *d = pci_find(&h->pci, site_text(e, "address"));

		if (!d || !pci_is_gpu(d))
			fprintf(out, "GONE %.23s\n", site_text(e, "address"));
	}
	fclose(out);
	ev_set_data(item, text, len);
	free(text);
}

/* One line of the comparison. */
static void judge_line(struct audit *a, const char *word, const char *bdf, const char *key)
{
	const char *how = a->host->site.signature == SIGNATURE_GOOD ? "signed" : "unsigned";

	if (!strcmp(word, "OK"))
		emit(a, ST_PASS, bdf, "is the one of the %s inventory", how);
	else if (!strcmp(word, "DIFFERS"))
		emit(a, ST_BAD, bdf, "its %s is not the inventory's: swapped, or counterfeit", key);
	else if (!strcmp(word, "EXTRA"))
		emit(a, ST_BAD, bdf, "is not in the inventory");
	else if (!strcmp(word, "GONE"))
		emit(a, ST_BAD, bdf, "is in the inventory, not in the host");
	else {
		aud_note(a, a->host->nvml.src, "does not say what the inventory names");
		emit(a, ST_UNKNOWN, bdf, "its %s is not visible", key);
	}
}

static void shown(struct audit *a, const struct pci_dev *d)
{
	const struct nvml_gpu *g = nvml_find(&a->host->nvml, d->bdf);
	const char *sv, *sd;

	aud_line(a, &sv, "/sys/bus/pci/devices/%s/subsystem_vendor", d->bdf);
	aud_line(a, &sd, "/sys/bus/pci/devices/%s/subsystem_device", d->bdf);
	emit(a, ST_INFO, d->bdf, "%04x:%04x subsystem %s:%s%s%s; no inventory to compare with", d->vendor, d->device, sv, sd, g ? " VBIOS " : "",
	     g ? g->vbios : "");
}

void machine_identity(struct audit *a)
{
	const struct site *s = &a->host->site;
	const struct ev_item *it;
	const json_t *list;
	bool bad;

	list = site_section(a, "gpus", &bad);
	if (!list) {
		each_gpu(a, shown);
		return;
	}
	if (s->signed_item)
		aud_note(a, s->signed_item, s->signature == SIGNATURE_UNKNOWN ? "the signature cannot be checked" : NULL);
	if (s->signature == SIGNATURE_BAD) {
		emit_sev(a, 'H', "host", "the inventory's signature is not the key's: it was altered");
		return;
	}
	aud_anchor(a, "/sys/bus/pci/devices");
	it = ev_derive(a->ev, "inventory:", compare_all, a->host);
	aud_note(a, it, ev_text_problem(it));
	aud_common(a);
	for (const char *p = it->text ? it->data : ""; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		char word[16], bdf[24], key[16] = "";

		if (sscanf(p, "%15s %23s %15[^\n]", word, bdf, key) < 2) {
			aud_note(a, it, "no comparison");
			break;
		}
		judge_line(a, word, bdf, key);
	}
	if (!a->emitted || (ev_text_problem(it)))
		emit(a, ev_text_problem(it) ? ST_UNKNOWN : ST_NA, "host", "neither a GPU nor one in the inventory");
}
