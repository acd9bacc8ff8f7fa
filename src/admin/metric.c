/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/metric.h"
#include <string.h>

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t m = strlen(end);

	return n > m && !strncmp(s + n - m, end, m);
}

void metric_head(FILE *out, const char *name, const char *type, const char *help, bool open)
{
	static const char *const units[] = {"celsius", "watts", "joules", "hertz", "ratio", "bytes", "seconds"};
	size_t n = strlen(name);
	bool counter = ends_with(name, n, "_total");
	int len = (int)(open && counter ? n - strlen("_total") : n); /* OpenMetrics names a counter without it */

	fprintf(out, "# TYPE openvgpu_%.*s %s\n", len, name, type ? type : counter ? "counter" : "gauge");
	for (size_t i = 0; open && i < sizeof(units) / sizeof(*units); i++)
		if (ends_with(name, (size_t)len, units[i]))
			fprintf(out, "# UNIT openvgpu_%.*s %s\n", len, name, units[i]);
	fprintf(out, "# HELP openvgpu_%.*s %s\n", len, name, help);
}

void metric_info_head(FILE *out, const char *name, const char *help, bool open)
{
	fprintf(out, "# TYPE openvgpu_%s%s\n# HELP openvgpu_%s%s %s\n", name, open ? " info" : "_info gauge", name, open ? "" : "_info",
		help);
}

void metric_text(FILE *out, const char *s)
{
	for (; s && *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		if (*s == '\n')
			fputs("\\n", out);
		else
			fputc(*s, out);
	}
}
