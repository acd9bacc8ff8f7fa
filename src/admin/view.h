/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view is a list of columns over the JSON that vgpud answers. Written once, shown three times: as text (a
 * table for an array, "title: value" lines for an object), as the JSON itself, as Prometheus' text.
 */
#ifndef VGPU_ADMIN_VIEW_H
#define VGPU_ADMIN_VIEW_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum view_kind {
	VIEW_TEXT,
	VIEW_COUNT,
	VIEW_BYTES,
	VIEW_SECONDS,
	VIEW_NS,
	VIEW_PERCENT, /* a fraction */
	VIEW_OF_100,  /* a percentage; 0: none */
	VIEW_LIMIT, VIEW_LIMIT_BYTES, VIEW_LIMIT_NS, /* 0: none of its own, as VIEW_OF_100 */
	VIEW_MICROSECONDS,
	VIEW_DURATION, /* seconds, shown in the unit that fits */
	VIEW_TIME, /* ms since 1970 */
	VIEW_YES,
	VIEW_LIST, /* texts, with commas between */
	VIEW_TABLE
};

enum view_form { VIEW_AS_TEXT, VIEW_AS_JSON, VIEW_AS_METRICS };

struct view_column {
	const char *key, *title; /* key NULL: end */
	enum view_kind kind;
	const struct view_column *table; /* VIEW_TABLE: columns of the nested array */
	const char *metric; /* without "openvgpu_"; NULL: none. ..._total is a counter, else a gauge */
};

/* openvgpu_FAMILY_info{...} 1: what never, or seldom, changes of a row; Prometheus joins it to the row's other metrics
 * by the first label, instead of repeating it in each of them. */
struct view_info {
	const char *family, *title;
	const struct view_column *labels; /* .metric: the label; null is an empty text */
};

#define VIEW_CELL 64

void view_print(FILE *out, json_t *data, const struct view_column *columns, enum view_form form);
/* The families of `columns`: a sample for each row of the array, labelled with its "name"; or, label NULL, one for the
 * object. open: as OpenMetrics, without its last line; otherwise Prometheus'
 * text. */
void view_metrics_print(FILE *out, json_t *data, const struct view_column *columns, const char *label, bool open);
void view_info_print(FILE *out, json_t *rows, const struct view_info *info, bool open);
/* The answer to "histograms": a family for each of them. */
void view_histograms_print(FILE *out, json_t *data, bool open);
/* One value, as text. */
void view_cell(const struct view_column *c, json_t *row, char out[VIEW_CELL]);
#endif
