/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/view.h"
#include "base/units.h"
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 16

static void text(const struct view_column *c, json_t *v, char *out)
{
	snprintf(out, VIEW_CELL, "%s", json_is_string(v) ? json_string_value(v) : "");
}

static void count(const struct view_column *c, json_t *v, char *out)
{
	snprintf(out, VIEW_CELL, "%lld", (long long)json_integer_value(v));
}

static void bytes(const struct view_column *c, json_t *v, char *out)
{
	units_size_text((uint64_t)json_integer_value(v), out, VIEW_CELL);
}

static void seconds(const struct view_column *c, json_t *v, char *out)
{
	double n = json_number_value(v);

	snprintf(out, VIEW_CELL, "%.3f s", c->kind == VIEW_NS ? n / 1e9 : n);
}

static void percent(const struct view_column *c, json_t *v, char *out)
{
	double n = json_number_value(v);

	if (c->kind == VIEW_PERCENT)
		snprintf(out, VIEW_CELL, "%.1f %%", 100 * n);
	else if (n == 0)
		strcpy(out, "-");
	else
		snprintf(out, VIEW_CELL, "%.0f %%", n);
}

static void microseconds(const struct view_column *c, json_t *v, char *out)
{
	snprintf(out, VIEW_CELL, "%.1f us", json_number_value(v));
}

static void moment(const struct view_column *c, json_t *v, char *out)
{
	time_t t = (time_t)(json_integer_value(v) / 1000);
	struct tm tm;

	strftime(out, VIEW_CELL, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
}

static void yes(const struct view_column *c, json_t *v, char *out)
{
	strcpy(out, json_is_true(v) ? "yes" : "no");
}

static void (*const kinds[])(const struct view_column *c, json_t *v, char *out) = {
	[VIEW_TEXT] = text,	  [VIEW_COUNT] = count,	    [VIEW_BYTES] = bytes,
	[VIEW_SECONDS] = seconds, [VIEW_NS] = seconds,	    [VIEW_PERCENT] = percent,
	[VIEW_OF_100] = percent,  [VIEW_MICROSECONDS] = microseconds, [VIEW_TIME] = moment,
	[VIEW_YES] = yes,	  [VIEW_TABLE] = text,
};

void view_cell(const struct view_column *c, json_t *row, char out[VIEW_CELL])
{
	json_t *v = json_object_get(row, c->key);

	if (json_is_null(v) || !v)
		strcpy(out, "-");
	else
		kinds[c->kind](c, v, out);
}

/* Texts are longer than a cell: device names, what happened. Control characters stay out of the terminal. */
static void print_value(FILE *out, const struct view_column *c, json_t *row, int width)
{
	char cell[VIEW_CELL];
	const char *s = c->kind == VIEW_TEXT ? json_string_value(json_object_get(row, c->key)) : NULL;
	int n;

	if (!s) {
		view_cell(c, row, cell);
		s = cell;
	}
	for (n = 0; s[n]; n++)
		fputc((unsigned char)s[n] < ' ' || s[n] == 127 ? '?' : s[n], out);
	if (n < width)
		fprintf(out, "%*s", width - n, "");
}

static size_t value_width(const struct view_column *c, json_t *row)
{
	char cell[VIEW_CELL];
	const char *s = c->kind == VIEW_TEXT ? json_string_value(json_object_get(row, c->key)) : NULL;

	if (s)
		return strlen(s);
	view_cell(c, row, cell);
	return strlen(cell);
}

static void print_table(FILE *out, json_t *rows, const struct view_column *columns, const char *indent)
{
	size_t width[COLUMNS_MAX] = {0}, i, n = 0;
	json_t *row;

	while (columns[n].key && n < COLUMNS_MAX)
		n++;
	for (size_t k = 0; k < n; k++) {
		width[k] = strlen(columns[k].title);
		json_array_foreach(rows, i, row) {
			size_t w = value_width(&columns[k], row);

			width[k] = w > width[k] ? w : width[k];
		}
	}
	fputs(indent, out);
	for (size_t k = 0; k < n; k++)
		fprintf(out, "%-*s%s", k + 1 < n ? (int)width[k] : 0, columns[k].title, k + 1 < n ? "  " : "\n");
	json_array_foreach(rows, i, row) {
		fputs(indent, out);
		for (size_t k = 0; k < n; k++) {
			print_value(out, &columns[k], row, k + 1 < n ? (int)width[k] : 0);
			fputs(k + 1 < n ? "  " : "\n", out);
		}
	}
}

static void print_object(FILE *out, json_t *o, const struct view_column *columns)
{
	size_t width = 0;

	for (const struct view_column *c = columns; c->key; c++)
		if (strlen(c->title) > width)
			width = strlen(c->title);
	for (const struct view_column *c = columns; c->key; c++) {
		if (c->kind == VIEW_TABLE) {
			json_t *rows = json_object_get(o, c->key);

			fprintf(out, "%s:%s\n", c->title, json_array_size(rows) ? "" : " none");
			if (json_array_size(rows))
				print_table(out, rows, c->table, "  ");
			continue;
		}
		fprintf(out, "%s:%*s", c->title, (int)(width - strlen(c->title) + 1), "");
		print_value(out, c, o, 0);
		fputc('\n', out);
	}
}

/* ---- Prometheus' text format: base units, one family per column ---- */

static double metric_value(const struct view_column *c, json_t *row)
{
	json_t *v = json_object_get(row, c->key);
	double n = json_is_true(v) ? 1 : json_number_value(v);

	return c->kind == VIEW_NS ? n / 1e9 : c->kind == VIEW_MICROSECONDS ? n / 1e6 : c->kind == VIEW_OF_100 ? n / 100 : n;
}

static void print_label(FILE *out, const char *s)
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

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t m = strlen(end);

	return n > m && !strncmp(s + n - m, end, m);
}

static void print_family(FILE *out, const struct view_column *c, bool open)
{
	static const char *const units[] = {"seconds", "bytes", "ratio"};
	size_t n = strlen(c->metric);
	bool counter = ends_with(c->metric, n, "_total");
	int len = (int)(open && counter ? n - strlen("_total") : n); /* OpenMetrics names a counter without it */

	fprintf(out, "# TYPE openvgpu_%.*s %s\n", len, c->metric, counter ? "counter" : "gauge");
	for (size_t i = 0; open && i < sizeof(units) / sizeof(*units); i++)
		if (ends_with(c->metric, (size_t)len, units[i]))
			fprintf(out, "# UNIT openvgpu_%.*s %s\n", len, c->metric, units[i]);
	fprintf(out, "# HELP openvgpu_%.*s %s\n", len, c->metric, c->title);
}

void view_metrics_print(FILE *out, json_t *data, const struct view_column *columns, const char *label, bool open)
{
	size_t i;
	json_t *row;

	for (const struct view_column *c = columns; c->key; c++) {
		if (!c->metric)
			continue;
		print_family(out, c, open);
		if (!label)
			fprintf(out, "openvgpu_%s %.17g\n", c->metric, metric_value(c, data));
		json_array_foreach(label ? data : NULL, i, row) {
			fprintf(out, "openvgpu_%s{%s=\"", c->metric, label);
			print_label(out, json_string_value(json_object_get(row, "name")));
			fprintf(out, "\"} %.17g\n", metric_value(c, row));
		}
	}
}

void view_print(FILE *out, json_t *data, const struct view_column *columns, enum view_form form)
{
	if (form == VIEW_AS_METRICS && json_is_array(data)) {
		view_metrics_print(out, data, columns, "vm", false);
	} else if (form == VIEW_AS_JSON) {
		json_dumpf(data, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
		fputc('\n', out);
	} else if (json_is_array(data)) {
		print_table(out, data, columns, "");
	} else if (columns) {
		print_object(out, data, columns);
	}
}
