/* SPDX-License-Identifier: Apache-2.0 */
#include "packages.h"
#include "rpmdb.h"

#include <ctype.h>
#include <errno.h>
#include <nettle/md5.h>
#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_MAX (128u << 20)

static bool wanted_package(const char *name)
{
	static const char *const head[] = {"nvidia", "libnvidia", "libcuda", "qemu-", "libvirt-daemon", "datacenter-gpu", "ovmf", "edk2-ovmf"};

	for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
		if (!strncmp(name, head[i], strlen(head[i])))
			return true;
	return false;
}

/* ---- versions: "name version" lines of the packages that matter ---- */

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

static bool rpm_matters(const char *name, void *arg)
{
	(void)arg;
	return wanted_package(name);
}

static void rpm_version(const struct rpm_header *h, void *arg)
{
	const char *name = rpm_text(h, RPM_NAME, 0), *v = rpm_text(h, RPM_VERSION, 0), *r = rpm_text(h, RPM_RELEASE, 0);

	if (name && v && strlen(name) < 128 && !strpbrk(name, " \n") && !strpbrk(v, " \n"))
		fprintf(arg, "%s %.100s-%.60s\n", name, v, r && !strpbrk(r, " \n") ? r : "0");
}

static const struct {
	const char *path;
	int (*read)(int fd, rpm_wanted *, rpm_take *, void *);
} rpm_files[] = {
	{"/usr/lib/sysimage/rpm/rpmdb.sqlite", rpmdb_sqlite}, {"/var/lib/rpm/rpmdb.sqlite", rpmdb_sqlite},
	{"/usr/lib/sysimage/rpm/Packages.db", rpmdb_ndb},     {"/var/lib/rpm/Packages.db", rpmdb_ndb},
};

/* Hands the wanted packages of whichever rpm database there is to take. 0 or an errno: ENOENT none,
 * EBUSY a transaction not yet written back, ENOTSUP Berkeley DB. */
static int rpm_each(struct ev *ev, rpm_take *take, void *arg)
{
	for (size_t i = 0; i < sizeof(rpm_files) / sizeof(*rpm_files); i++) {
		int fd = ev_fd(ev, rpm_files[i].path), err;
		const struct ev_item *wal;

		if (fd == -ENOENT || fd == -ENOTDIR)
			continue;
		if (fd < 0)
			return -fd;
		wal = ev_getf(ev, EV_STAT, "%s-wal", rpm_files[i].path);
		err = !wal->err && wal->size ? EBUSY : rpm_files[i].read(fd, rpm_matters, take, arg);
		close(fd);
		return err;
	}
	return ev_get(ev, EV_STAT, "/var/lib/rpm/Packages")->err ? ENOENT : ENOTSUP;
}

static void rpm_versions(struct ev *ev, struct ev_item *item, void *arg)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)arg;
	if (!out)
		abort();
	item->err = rpm_each(ev, rpm_version, out);
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

static bool line_version(const struct ev_item *it, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	for (const char *p = it->data; *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : p + strlen(p))
		if (!strncmp(p, name, n) && p[n] == ' ') {
			snprintf(out, size, "%.*s", (int)strcspn(p + n + 1, "\n"), p + n + 1);
			return true;
		}
	return false;
}

/* The database this host has; its problem, or NULL. */
static const struct ev_item *database(struct ev *ev, const char **problem)
{
	const struct ev_item *it = ev_get(ev, EV_LIST, "/var/lib/pacman/local");

	*problem = NULL;
	if (!it->err)
		return it;
	it = ev_derive(ev, "packages:/var/lib/dpkg/status", dpkg_versions, NULL);
	if (it->err != ENOENT && it->err != ENOTDIR) {
		*problem = ev_text_problem(it);
		return it;
	}
	it = ev_derive(ev, "packages:rpm", rpm_versions, NULL);
	*problem = it->err == ENOENT	? "no package database this program can read"
		   : it->err == ENOTSUP ? "an rpm database in Berkeley DB, which this program does not read; rpm -q shows versions"
		   : it->err == EBUSY	? "an rpm transaction is not written back yet; look again when it is over"
					: ev_text_problem(it);
	return it;
}

enum got package_version(struct audit *a, char *out, size_t size, const char *name, ...)
{
	const char *problem;
	const struct ev_item *it = database(a->ev, &problem);
	bool found = false;
	va_list ap;

	aud_note(a, it, problem);
	if (problem)
		return GOT_NOTHING;
	va_start(ap, name);
	for (; name && !found; name = va_arg(ap, const char *))
		found = it->op == EV_LIST ? pacman_version(it, name, out, size) : line_version(it, name, out, size);
	va_end(ap);
	return found ? GOT_VALUE : GOT_ABSENT;
}

/* ---- files ---- */

struct verify {
	struct ev *ev;
	FILE *out;
	unsigned files;
};

/* Of hundreds of files those that run as the kernel or decide what the driver does. */
static bool wanted_file(const char *path)
{
	static const char *const head[] = {"libnvidia-ml.so.", "libcuda.so.", "nvidia.ko", "nvidia-uvm.ko", "nvidia-modeset.ko", "nvidia-drm.ko"};
	const char *name = strrchr(path, '/');

	for (size_t i = 0; name && i < sizeof(head) / sizeof(*head); i++)
		if (!strncmp(name + 1, head[i], strlen(head[i])))
			return true;
	return false;
}

static int digest(struct ev *ev, const char *path, bool sha256, char hex[65])
{
	uint8_t buf[16384], sum[SHA256_DIGEST_SIZE];
	int fd = ev_fd(ev, path);
	struct sha256_ctx sha;
	struct md5_ctx md5;
	ssize_t n;

	if (fd < 0)
		return -fd;
	sha256_init(&sha);
	md5_init(&md5);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sha256 ? sha256_update(&sha, (size_t)n, buf) : md5_update(&md5, (size_t)n, buf);
	close(fd);
	if (n < 0)
		return EIO;
	if (sha256)
		sha256_digest(&sha, sizeof(sum), sum);
	else
		md5_digest(&md5, MD5_DIGEST_SIZE, sum);
	for (size_t i = 0; i < (sha256 ? sizeof(sum) : MD5_DIGEST_SIZE); i++)
		sprintf(hex + 2 * i, "%02x", sum[i]);
	return 0;
}

static void verify_file(struct verify *v, const char *path, const char *want)
{
	char have[65];
	int err;

	if (!wanted_file(path) || (strlen(want) != 32 && strlen(want) != 64) || strchr(path, '\n'))
		return;
	err = digest(v->ev, path, strlen(want) == 64, have);
	v->files++;
	if (err)
		fprintf(v->out, "%s %s\n", err == ENOENT ? "GONE" : "HIDDEN", path);
	else if (strcmp(have, want))
		fprintf(v->out, "WRONG %s\n", path);
}

static void verify_rpm(const struct rpm_header *h, void *arg)
{
	for (uint32_t i = 0; i < rpm_count(h, RPM_BASENAMES) && i < 5000; i++) {
		const char *base = rpm_text(h, RPM_BASENAMES, i), *dir = rpm_text(h, RPM_DIRNAMES, rpm_number(h, RPM_DIRINDEXES, i, UINT32_MAX));
		const char *want = rpm_text(h, RPM_DIGESTS, i);
		char path[1024];

		if (!base || !dir || !want || snprintf(path, sizeof(path), "%s%s", dir, base) >= (int)sizeof(path))
			continue;
		if (wanted_file(path))
			verify_file(arg, path, want);
	}
}

/* "d41d8cd98f00b204e9800998ecf8427e  usr/lib/x86_64-linux-gnu/libcuda.so.570.172.08" */
static void verify_dpkg(struct verify *v)
{
	const struct ev_item *info = ev_get(v->ev, EV_LIST, "/var/lib/dpkg/info");

	for (const char *n = ev_name(info, NULL); n; n = ev_name(info, n)) {
		size_t len = strlen(n);
		char path[300], line[1200], sum[33], file[1024];
		FILE *f;
		int fd;

		if (len < 8 || strcmp(n + len - 8, ".md5sums") || !wanted_package(n) || len > 250)
			continue;
		snprintf(path, sizeof(path), "/var/lib/dpkg/info/%s", n);
		fd = ev_fd(v->ev, path);
		f = fd < 0 ? NULL : fdopen(fd, "r");
		while (f && fgets(line, sizeof(line), f)) {
			*file = '/';
			if (sscanf(line, "%32[0-9a-f] %1022[^\n]", sum, file + 1) == 2)
				verify_file(v, file, sum);
		}
		if (f)
			fclose(f);
	}
}

static void verify(struct ev *ev, struct ev_item *item, void *arg)
{
	struct verify v = {.ev = ev};
	char *text = NULL;
	size_t len = 0;

	(void)arg;
	v.out = open_memstream(&text, &len);
	if (!v.out)
		abort();
	if (!ev_get(ev, EV_STAT, "/var/lib/dpkg/status")->err)
		verify_dpkg(&v);
	else
		item->err = rpm_each(ev, verify_rpm, &v);
	fprintf(v.out, "FILES %u\n", v.files);
	fclose(v.out);
	if (!item->err)
		ev_set_data(item, text, len);
	free(text);
}

const struct ev_item *packages_verify(struct ev *ev)
{
	return ev_derive(ev, "integrity:driver", verify, NULL);
}
