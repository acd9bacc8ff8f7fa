/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-doctor's parsers against arbitrary bytes, one target each. With -fsanitize=fuzzer and
 * -DTARGET=run_NAME a libFuzzer program; with -DFUZZ_REPLAY `NAME DIR…` runs the files of the
 * directories, each once whole, cut at every eighth, and with bits flipped.
 */
#include "containers.h"
#include "rpmdb.h"
#include "site.h"
#include "acpi.h"
#include "bundle.h"
#include "cmdline.h"
#include "cpio.h"
#include "domain.h"
#include "initramfs.h"
#include "klog.h"
#include "modprobe.h"
#include "nvml.h"
#include "pci.h"
#include "../fuzz.h"
#include "redact.h"
#include "waive.h"
#include "x509.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A NUL-terminated copy, as the text parsers are promised. */
static char *text_of(const uint8_t *data, size_t len)
{
	char *s = malloc(len + 1);

	MUST(s);
	memcpy(s, data, len);
	s[len] = 0;
	return s;
}

static int fd_of(const uint8_t *data, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, data, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

__attribute__((unused)) static void run_acpi(const uint8_t *p, size_t n)
{
	struct acpi_dmar d;
	struct acpi_ivrs v;

	MUST((acpi_dmar_parse(&d, p, n) == NULL) == d.valid);
	MUST((acpi_ivrs_parse(&v, p, n) == NULL) == v.valid);
}

__attribute__((unused)) static void run_config(const uint8_t *p, size_t n)
{
	struct pci_config c;
	struct pci_bar bar[6];
	char *s = text_of(p, n);

	MUST(pci_decode(&c, p, n) == c.valid && (!c.valid || n >= 64) && (!c.acs || c.acs + 8u <= n));
	pci_resources(s, bar);
	free(s);
}

static bool cpio_entry(void *arg, const char *name, uint32_t mode, uint64_t size)
{
	(void)mode;
	(void)size;
	++*(unsigned *)arg;
	return strlen(name) & 1;
}

static void cpio_contents(void *arg, const char *name, const char *data, size_t len)
{
	(void)arg;
	MUST(*name || !*name);
	MUST(len <= CPIO_KEEP_MAX && data[len] == 0);
}

/* However the bytes are cut into pieces, the same entries come out. */
__attribute__((unused)) static void run_cpio(const uint8_t *p, size_t n)
{
	static const struct cpio_ops ops = {cpio_entry, cpio_contents};
	unsigned whole = 0, pieces = 0;
	struct cpio *c = cpio_new(&ops, &whole), *d = cpio_new(&ops, &pieces);
	size_t taken = cpio_push(c, p, n), at = 0;
	const char *problem;
	int fd;

	for (size_t k; at < n; at += k) {
		size_t step = 1 + at % 7, got;

		k = step < n - at ? step : n - at;
		got = cpio_push(d, p + at, k);
		if (got < k) {
			at += got;
			break;
		}
	}
	MUST(whole == pieces && (taken == at || cpio_problem(c)) && !cpio_problem(c) == !cpio_problem(d));
	cpio_free(c);
	cpio_free(d);
	fd = fd_of(p, n);
	json_t *digest = initrd_digest(fd, &problem);

	MUST(!digest == !!problem);
	json_decref(digest);
	close(fd);
}

__attribute__((unused)) static void run_cmdline(const uint8_t *p, size_t n)
{
	char *s = text_of(p, n);
	struct cmdline c;
	size_t off, size;

	cmdline_parse(&c, s);
	for (size_t i = 0; i < c.n; i++) {
		MUST(cmdline_get(&c, c.token[i].name));
		cmdline_has_item(&c, c.token[i].name, "off");
	}
	cmdline_free(&c);
	pe_section(p, n, ".cmdline", &off, &size);
	free(s);
}

__attribute__((unused)) static void run_modprobe(const uint8_t *p, size_t n)
{
	static const struct ev_item src = {.path = (char *)"/etc/modprobe.d/fuzz.conf"};
	char *s = text_of(p, n);
	struct modconf m = {0};

	modconf_parse(&m, &src, s, false);
	for (size_t i = 0; i < m.n; i++) {
		size_t v;

		MUST(m.l[i].module && m.l[i].rest && !strchr(m.l[i].module, '-'));
		mod_option(m.l[i].rest, "ids", &v);
	}
	modconf_free(&m);
	free(s);
}

__attribute__((unused)) static void run_grub(const uint8_t *p, size_t n)
{
	char *s = text_of(p, n);

	free(grub_default_cmdline(s));
	free(s);
}

__attribute__((unused)) static void run_xml(const uint8_t *p, size_t n)
{
	struct domain *d = malloc(sizeof(*d));
	char *s = text_of(p, n);

	MUST(d);
	if (domain_parse(d, s, n))
		MUST(d->nhostdev <= DOM_DEVICES && d->npin <= DOM_PINS);
	free(d);
	free(s);
}

__attribute__((unused)) static void run_bundle(const uint8_t *p, size_t n)
{
	const char *problem;
	int fd = fd_of(p, n);
	struct ev *ev = bundle_read(fd, &problem);

	MUST(!ev == !!problem);
	ev_free(ev);
	close(fd);
}

__attribute__((unused)) static void run_nvml(const uint8_t *p, size_t n)
{
	struct nvml v = {0};
	char *s = text_of(p, n);
	int64_t t;

	MUST(nvml_parse(&v, s, n) == v.valid && v.n <= NVML_GPUS);
	pem_not_after(s, n, &t);
	free(s);
}

__attribute__((unused)) static void run_waive(const uint8_t *p, size_t n)
{
	struct waivers w;
	char *s = text_of(p, n);

	MUST(waivers_parse(&w, s, n, 1700000000) || *w.error);
	waivers_free(&w);
	free(s);
}

/* Cleaning what is clean changes nothing; a log scan survives anything. */
__attribute__((unused)) static void run_redact(const uint8_t *p, size_t n)
{
	struct redact r = {.what = REDACT_SECRETS | REDACT_IDENTITY, .host = "fixturehost"}, again = r;
	struct klog k = {0};
	char *s = text_of(p, n), *once, *twice;
	size_t a, b;

	once = redact_bytes(&r, s, n, &a);
	twice = redact_bytes(&again, once, a, &b);
	MUST(again.secrets == 0);
	klog_scan(&k, NULL, s);
	klog_free(&k);
	free(once);
	free(twice);
	free(s);
}

/* A site list, and the same bytes as a signature and its key. */
__attribute__((unused)) static void run_site(const uint8_t *p, size_t n)
{
	struct ev *ev = ev_closed();
	char *s = text_of(p, n);
	struct site site = {0};

	ev_put(ev, EV_READ, SITE_FILE, 0, s, n);
	site_collect(&site, ev);
	MUST(site.src->err || site.doc || *site.problem);
	MUST(!signify_verify(s, s, s, n));
	site_free(&site);
	ev_free(ev);
	free(s);
}

static void rpm_all(const struct rpm_header *h, void *arg)
{
	static const uint32_t tags[] = {RPM_NAME, RPM_VERSION, RPM_RELEASE, RPM_DIGESTS, RPM_DIRINDEXES, RPM_BASENAMES, RPM_DIRNAMES, RPM_DIGESTALGO};

	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++) {
		uint32_t count = rpm_count(h, tags[i]);

		for (uint32_t k = 0; k < count && k < 8; k++) {
			const char *t = rpm_text(h, tags[i], k);

			*(size_t *)arg += (t ? strlen(t) : 0) + rpm_number(h, tags[i], k, 0);
		}
	}
}

static bool rpm_any(const char *name, void *arg)
{
	return *name || arg;
}

/* Both databases and a bare header. */
__attribute__((unused)) static void run_rpm(const uint8_t *p, size_t n)
{
	int fd = memfd_create("rpm", MFD_CLOEXEC);
	struct rpm_header h;
	size_t seen = 0;

	MUST(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	rpmdb_sqlite(fd, rpm_any, rpm_all, &seen);
	rpmdb_ndb(fd, rpm_any, rpm_all, &seen);
	if (rpm_header_parse(&h, p, n))
		rpm_all(&h, &seen);
	close(fd);
}

__attribute__((unused)) static void run_containers(const uint8_t *p, size_t n)
{
	char *s = text_of(p, n);
	json_t *o = json_loadb(s, n, 0, NULL);
	struct container c = {.id = ""};
	const char *at = s;

	container_docker(o, &c);
	container_oci(o, &c);
	while (container_next(&at, &c))
		MUST(at <= s + n);
	json_decref(o);
	free(s);
}

#ifdef FUZZ_REPLAY
static const struct {
	const char *name;
	void (*run)(const uint8_t *, size_t);
} targets[] = {
	{"acpi", run_acpi}, {"config", run_config}, {"cpio", run_cpio}, {"cmdline", run_cmdline},
	{"modprobe", run_modprobe}, {"grub", run_grub}, {"xml", run_xml}, {"bundle", run_bundle},
	{"nvml", run_nvml}, {"waive", run_waive}, {"redact", run_redact},
	{"site", run_site}, {"rpm", run_rpm}, {"containers", run_containers},
};
static void (*TARGET)(const uint8_t *, size_t);
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	TARGET(data, len);
	return 0;
}

#ifdef FUZZ_REPLAY
static size_t replay(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n + 1);
	size_t runs = 1;

	MUST(copy);
	LLVMFuzzerTestOneInput(p, n);
	for (size_t i = 1; i < 8; i++, runs++) {
		memcpy(copy, p, n * i / 8);
		LLVMFuzzerTestOneInput(copy, n * i / 8);
	}
	for (uint32_t i = 0, x = 1; i < 64 && n; i++, runs++) {
		memcpy(copy, p, n);
		for (int k = 0; k < 4; k++) {
			x = x * 1664525u + 1013904223u;
			copy[x % n] ^= (uint8_t)(1u << (x >> 29));
		}
		LLVMFuzzerTestOneInput(copy, n);
	}
	free(copy);
	return runs;
}

int main(int argc, char **argv)
{
	size_t files = 0, runs = 0;

	for (size_t i = 0; argc > 1 && i < sizeof(targets) / sizeof(*targets); i++)
		if (!strcmp(argv[1], targets[i].name))
			TARGET = targets[i].run;
	MUST(TARGET);
	for (int i = 2; i < argc; i++) {
		DIR *d = opendir(argv[i]);
		struct dirent *e;

		MUST(d);
		while ((e = readdir(d))) {
			char path[4096];
			struct ev *ev;
			const struct ev_item *it;

			if (e->d_name[0] == '.')
				continue;
			ev = ev_open(argv[i]);
			snprintf(path, sizeof(path), "/%s", e->d_name);
			it = ev_get(ev, EV_READ, path);
			MUST(!it->err);
			runs += replay((const uint8_t *)it->data, it->len);
			files++;
			ev_free(ev);
		}
		closedir(d);
	}
	printf("%zu inputs, %zu runs\n", files, runs);
	return !files;
}
#endif
