/* SPDX-License-Identifier: Apache-2.0 */
#include "alert.h"
#include "base/log.h"
#include "compare.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_MAX (16u << 20)

/* Whole or not at all: a collector may read at any moment, and the disk may be full. */
static int replace(int dir, const char *name, const char *data, size_t len)
{
	char new[64];
	int fd, err = 0;

	snprintf(new, sizeof(new), "%s.new", name);
	fd = openat(dir, new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < len && !err;) {
		ssize_t n = write(fd, data + at, len - at);

		err = n < 0 ? errno : 0;
		at += n > 0 ? (size_t)n : 0;
	}
	if (close(fd) && !err)
		err = errno;
	if (!err && renameat(dir, new, dir, name))
		err = errno;
	if (err)
		unlinkat(dir, new, 0);
	return -err;
}

/* NULL: there is none, or it is no report: everything is new then, and nothing worse. */
static json_t *last_report(int dir)
{
	int fd = openat(dir, "report.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *buf = fd < 0 ? NULL : malloc(REPORT_MAX);
	size_t len = 0;
	json_t *o = NULL;
	ssize_t n;

	while (buf && len < REPORT_MAX && (n = read(fd, buf + len, REPORT_MAX - len)) > 0)
		len += (size_t)n;
	if (buf && len < REPORT_MAX)
		o = json_loadb(buf, len, 0, NULL);
	free(buf);
	if (fd >= 0)
		close(fd);
	return o;
}

/* How many results are worse; -1: not known. */
static int tell_worse(const json_t *old, const json_t *now)
{
	const char *error = log_is_journal() ? "<3>" : "vgpu-doctor: "; /* sd-daemon(3) */
	char *text = NULL, *rest = NULL;
	size_t len = 0;
	int worse = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -1;
	if (report_compare(old, now, f) < 0)
		worse = -1;
	if (fclose(f))
		worse = -1;
	for (char *line = worse < 0 ? NULL : strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (!strncmp(line, "worse ", 6)) {
			fprintf(stderr, "%s%s\n", error, line);
			worse++;
		}
	free(text);
	return worse;
}

static char *render(void (*fn)(const struct report *, FILE *), const struct report *r, int worse, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	if (!f)
		return NULL;
	fn(r, f);
	if (fn == render_prometheus) {
		fprintf(f, "# HELP openvgpu_doctor_worse Results that are worse than in the audit before.\n"
			   "# TYPE openvgpu_doctor_worse gauge\nopenvgpu_doctor_worse %d\n"
			   "# HELP openvgpu_doctor_timestamp_seconds When the last audit was, since 1970.\n"
			   "# TYPE openvgpu_doctor_timestamp_seconds gauge\nopenvgpu_doctor_timestamp_seconds %lld\n",
			worse > 0 ? worse : 0, (long long)r->time);
	}
	if (fclose(f)) {
		free(text);
		text = NULL;
	}
	return text;
}

int alert_update(int dir, const struct report *r)
{
	size_t len = 0, metrics_len = 0;
	char *report = render(render_json, r, 0, &len), *metrics = NULL;
	json_t *old = last_report(dir), *now = report ? json_loadb(report, len, 0, NULL) : NULL;
	int rc = -ENOMEM, worse;

	if (now) {
		worse = old ? tell_worse(old, now) : -1;
		metrics = render(render_prometheus, r, worse, &metrics_len);
		rc = metrics ? replace(dir, "doctor.prom", metrics, metrics_len) : -ENOMEM;
		if (!rc)
			rc = replace(dir, "report.json", report, len);
	}
	json_decref(old);
	json_decref(now);
	free(report);
	free(metrics);
	return rc;
}
