/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/view.h"
#include "base/units.h"
#include <string.h>

#define COLUMNS_MAX 16
#define CELL 64

static void cell(const struct view_column *c, json_t *row, char *out)
{
	json_t *v = json_object_get(row, c->key);
	double n = json_number_value(v);

	switch (c->kind) {
	case VIEW_BYTES:
		units_size_text((uint64_t)json_integer_value(v), out, CELL);
		return;
	case VIEW_COUNT:
		snprintf(out, CELL, "%lld", (long long)json_integer_value(v));
		return;
	case VIEW_SECONDS:
		snprintf(out, CELL, "%.3f s", n);
		return;
	case VIEW_NS:
		snprintf(out, CELL, "%.3f s", n / 1e9);
		return;
	case VIEW_PERCENT:
		snprintf(out, CELL, "%.1f %%", 100 * n);
		return;
	case VIEW_MICROSECONDS:
		snprintf(out, CELL, "%.1f us", n);
		return;
	case VIEW_TEXT:
	case VIEW_TABLE:
		break;
	}
	snprintf(out, CELL, "%s", json_is_string(v) ? json_string_value(v) : "");
}

static void print_table(FILE *out, json_t *rows, const struct view_column *columns, const char *indent)
{
	size_t width[COLUMNS_MAX] = {0}, i, n = 0;
	char text[CELL];
	json_t *row;

	while (columns[n].key && n < COLUMNS_MAX)
		n++;
	for (size_t k = 0; k < n; k++) {
		width[k] = strlen(columns[k].title);
		json_array_foreach(rows, i, row) {
			cell(&columns[k], row, text);
			if (strlen(text) > width[k])
				width[k] = strlen(text);
		}
	}
	fputs(indent, out);
	for (size_t k = 0; k < n; k++)
		fprintf(out, "%-*s%s", k + 1 < n ? (int)width[k] : 0, columns[k].title, k + 1 < n ? "  " : "\n");
	json_array_foreach(rows, i, row) {
		fputs(indent, out);
		for (size_t k = 0; k < n; k++) {
			cell(&columns[k], row, text);
			fprintf(out, "%-*s%s", k + 1 < n ? (int)width[k] : 0, text, k + 1 < n ? "  " : "\n");
		}
	}
}

static void print_object(FILE *out, json_t *o, const struct view_column *columns)
{
	size_t width = 0;
	char text[CELL];

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
		/* Device names are longer than a cell. */
		if (c->kind == VIEW_TEXT) {
			const char *s = json_string_value(json_object_get(o, c->key));

			fprintf(out, "%s:%*s%s\n", c->title, (int)(width - strlen(c->title) + 1), "", s ? s : "");
			continue;
		}
		cell(c, o, text);
		fprintf(out, "%s:%*s%s\n", c->title, (int)(width - strlen(c->title) + 1), "", text);
	}
}

void view_print(FILE *out, json_t *data, const struct view_column *columns, bool json)
{
	if (json) {
		json_dumpf(data, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
		fputc('\n', out);
	} else if (json_is_array(data)) {
		print_table(out, data, columns, "");
	} else if (columns) {
		print_object(out, data, columns);
	}
}
