/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view is a list of columns over the JSON that vgpud answers. Written once, shown twice: as text (a table
 * for an array, "title: value" lines for an object) or as the JSON itself.
 */
#ifndef VGPU_ADMIN_VIEW_H
#define VGPU_ADMIN_VIEW_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum view_kind { VIEW_TEXT, VIEW_COUNT, VIEW_BYTES, VIEW_SECONDS, VIEW_NS, VIEW_PERCENT, VIEW_MICROSECONDS, VIEW_TABLE };

struct view_column {
	const char *key, *title; /* key NULL: end */
	enum view_kind kind;
	const struct view_column *table; /* VIEW_TABLE: columns of the nested array */
};

void view_print(FILE *out, json_t *data, const struct view_column *columns, bool json);
#endif
