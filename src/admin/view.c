/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/metric.h"
#include "admin/views.h"
#include "base/units.h"
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 20

static void text(const struct view_column *c, json_t *v, char *out)
{
	const char *s = json_string_value(v);

	snprintf(out, VIEW_CELL, "%s", s && *s ? s : "-");
}

static void count(const struct view_column *c, json_t *v, char *out)
{
	snprintf(out, VIEW_CELL, "%lld", json_is_real(v) ? (long long)(json_real_value(v) + 0.5) : (long long)json_integer_value(v));
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

static void limit(const struct view_column *c, json_t *v, char *out)
{
	if (!json_integer_value(v))
		strcpy(out, "-");
	else if (c->kind == VIEW_LIMIT_BYTES)
		bytes(c, v, out);
	else if (c->kind == VIEW_LIMIT_NS)
		snprintf(out, VIEW_CELL, "%.3f s", json_number_value(v) / 1e9);
	else
		count(c, v, out);
}

static void microseconds(const struct view_column *c, json_t *v, char *out)
{
	snprintf(out, VIEW_CELL, "%.1f us", json_number_value(v));
}

static void duration(const struct view_column *c, json_t *v, char *out)
{
	static const char *const units[] = {"us", "ms", "s"};
	double n = json_number_value(v) * 1e6;
	unsigned i;

	for (i = 0; n >= 999.95 && i < 2; i++)
		n /= 1000;
	snprintf(out, VIEW_CELL, "%.1f %s", n, units[i]);
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

static void list(const struct view_column *c, json_t *v, char *out)
{
	size_t at = 0, i;
	json_t *one;

	out[0] = 0;
	json_array_foreach(v, i, one)
		if (at < VIEW_CELL)
			at += (size_t)snprintf(out + at, VIEW_CELL - at, "%s%s", i ? ", " : "", json_string_value(one));
	if (!out[0])
		strcpy(out, "-");
	if (at >= VIEW_CELL)
		strcpy(out + VIEW_CELL - 4, "...");
}

static void (*const kinds[])(const struct view_column *c, json_t *v, char *out) = {
	[VIEW_TEXT] = text,	  [VIEW_COUNT] = count,	    [VIEW_BYTES] = bytes,
	[VIEW_SECONDS] = seconds, [VIEW_NS] = seconds,	    [VIEW_PERCENT] = percent,
	[VIEW_OF_100] = percent,  [VIEW_MICROSECONDS] = microseconds, [VIEW_TIME] = moment,
	[VIEW_YES] = yes,	  [VIEW_LIST] = list,	    [VIEW_TABLE] = text,
	[VIEW_DURATION] = duration, [VIEW_LIMIT] = limit,   [VIEW_LIMIT_BYTES] = limit,
	[VIEW_LIMIT_NS] = limit,
};

void view_cell(const struct view_column *c, json_t *row, char out[VIEW_CELL])
{
	json_t *v = json_object_get(row, c->key);

	if (json_is_null(v) || !v)
		strcpy(out, "-");
	else
		kinds[c->kind](c, v, out);
}

/* Texts may be longer than a cell: device names, what happened. NULL: there is none, or it is no text. */
static const char *whole_text(const struct view_column *c, json_t *row)
{
	const char *s = c->kind == VIEW_TEXT ? json_string_value(json_object_get(row, c->key)) : NULL;

	return s && *s ? s : NULL;
}

/* Control characters stay out of the terminal. */
static void print_value(FILE *out, const struct view_column *c, json_t *row, int width)
{
	char cell[VIEW_CELL];
	const char *s = whole_text(c, row);
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
	const char *s = whole_text(c, row);

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

/* {vm="a" and whatever follows. What else is known of it is labels of its info alone. */
static void print_labels(FILE *out, const char *label, json_t *row)
{
	fprintf(out, "{%s=\"", label);
	metric_text(out, json_string_value(json_object_get(row, "name")));
	fputc('"', out);
}

static void print_info(FILE *out, const struct view_info *info, json_t *row)
{
	char cell[VIEW_CELL];

	fprintf(out, "openvgpu_%s_info", info->family);
	for (const struct view_column *c = info->labels; c->key; c++) {
		json_t *v = json_object_get(row, c->key);

		fprintf(out, "%s%s=\"", c == info->labels ? "{" : ",", c->metric);
		if (!json_is_string(v) && !json_is_null(v) && v)
			view_cell(c, row, cell);
		else
			cell[0] = 0;
		metric_text(out, json_is_string(v) ? json_string_value(v) : cell);
		fputc('"', out);
	}
	fputs("} 1\n", out);
}

void view_info_print(FILE *out, json_t *rows, const struct view_info *info, bool open)
{
	size_t i;
	json_t *row;

	metric_info_head(out, info->family, info->title, open);
	json_array_foreach(rows, i, row)
		print_info(out, info, row);
}

void view_metrics_print(FILE *out, json_t *data, const struct view_column *columns, const char *label, bool open)
{
	size_t i;
	json_t *row;

	for (const struct view_column *c = columns; c->key; c++) {
		if (!c->metric)
			continue;
		metric_head(out, c->metric, NULL, c->title, open);
		if (!label)
			fprintf(out, "openvgpu_%s %.17g\n", c->metric, metric_value(c, data));
		json_array_foreach(label ? data : NULL, i, row) {
			fprintf(out, "openvgpu_%s", c->metric);
			print_labels(out, label, row);
			fprintf(out, "} %.17g\n", metric_value(c, row));
		}
	}
}

static void print_histogram(FILE *out, const char *name, json_t *edges, json_t *row, json_t *h)
{
	json_t *buckets = json_object_get(h, "buckets"), *edge;
	json_int_t count = json_integer_value(json_object_get(h, "count"));
	size_t i;

	json_array_foreach(edges, i, edge) {
		fprintf(out, "openvgpu_%s_bucket", name);
		print_labels(out, "vm", row);
		fprintf(out, ",le=\"%.12g\"} %lld\n", json_number_value(edge),
			(long long)json_integer_value(json_array_get(buckets, i)));
	}
	fprintf(out, "openvgpu_%s_bucket", name);
	print_labels(out, "vm", row);
	fprintf(out, ",le=\"+Inf\"} %lld\nopenvgpu_%s_count", (long long)count, name);
	print_labels(out, "vm", row);
	fprintf(out, "} %lld\nopenvgpu_%s_sum", (long long)count, name);
	print_labels(out, "vm", row);
	fprintf(out, "} %.17g\n", json_number_value(json_object_get(h, "sum_seconds")));
}

void view_histograms_print(FILE *out, json_t *data, bool open)
{
	static const struct {
		const char *key, *metric, *help;
	} families[] = {
		{"queue_wait", "vm_queue_wait_seconds", "From asking for the device to getting it, by vgpud's clock"},
		{"execution", "vm_execution_seconds", "A unit of work on the device, as executors claim"},
		{"latency", "vm_latency_seconds", "A unit of work from submission to completion, as executors claim"},
	};
	json_t *edges = json_object_get(data, "edges_seconds"), *row;

	for (size_t k = 0, i; k < sizeof(families) / sizeof(*families); k++) {
		metric_head(out, families[k].metric, "histogram", families[k].help, open);
		json_array_foreach(json_object_get(data, "vms"), i, row)
			print_histogram(out, families[k].metric, edges, row, json_object_get(row, families[k].key));
	}
}

void view_print(FILE *out, json_t *data, const struct view_column *columns, enum view_form form)
{
	if (form == VIEW_AS_METRICS && json_is_array(data)) {
		view_info_print(out, data, &view_vm_info, false);
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
