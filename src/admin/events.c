/* SPDX-License-Identifier: Apache-2.0 */
/* events: what happened, and with --follow what happens. */
#include "admin/admin.h"
#include <stdio.h>

static void print(const struct admin *a, json_t *rows)
{
	char cell[VIEW_CELL];
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row) {
		if (a->json) {
			json_dumpf(row, stdout, JSON_COMPACT);
			fputc('\n', stdout);
			continue;
		}
		view_cell(&view_events[1], row, cell);
		printf("%s  %-14s %-16s %s\n", cell, json_string_value(json_object_get(row, "kind")),
		       json_string_value(json_object_get(row, "vm")), json_string_value(json_object_get(row, "text")));
	}
}

int events_run(struct admin *a)
{
	struct link l;
	json_t *rows = NULL;
	int status;
	struct vgpu_err *e;

	if (!json_object_get(a->query, "follow"))
		return ask_and_show(a);
	json_object_del(a->query, "follow");
	e = link_open(&l, a->run_dir, 0, &status);
	while (!e && !ferror(stdout)) {
		e = link_ask(&l, a->query, &rows, &status);
		if (e)
			break;
		print(a, rows);
		fflush(stdout);
		if (json_array_size(rows))
			json_object_set(a->query, "since",
					json_object_get(json_array_get(rows, json_array_size(rows) - 1), "number"));
		json_object_set_new(a->query, "wait", json_true());
		json_decref(rows);
		rows = NULL;
	}
	link_close(&l);
	return e ? fail(a, e, status) : EXIT_DONE;
}
