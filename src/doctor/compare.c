/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"

#include <string.h>

/* Higher is worse. */
static int rank(const char *result)
{
	static const char *const order[] = {"pass", "notapplicable", "skipped", "info", "warn", "unknown", "error", "fail"};

	for (size_t i = 0; result && i < sizeof(order) / sizeof(*order); i++)
		if (!strcmp(result, order[i]))
			return i < 4 ? 0 : (int)i;
	return -1;
}

static const char *get(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static const json_t *results(const json_t *report)
{
	const json_t *list = json_object_get(report, "results");

	return !strcmp(get(report, "schema"), "openvgpu.doctor.report") && json_integer_value(json_object_get(report, "version")) == 1 &&
			       json_is_array(list)
		       ? list
		       : NULL;
}

/* "ID\nSUBJECT" → result object; one pass over each report. */
static json_t *by_subject(const json_t *list)
{
	json_t *map = json_object(), *r;
	size_t i;

	json_array_foreach(list, i, r) {
		json_t *key = json_sprintf("%s\n%s", get(r, "id"), get(r, "subject"));

		if (key)
			json_object_set(map, json_string_value(key), r);
		json_decref(key);
	}
	return map;
}

static void line(FILE *f, const char *mark, const json_t *r, const char *from, const char *to)
{
	fprintf(f, "%s %-10s %s: %s -> %s  %s\n", mark, get(r, "id"), get(r, "subject"), from, to, get(r, "message"));
}

int report_compare(const json_t *old, const json_t *now, FILE *f)
{
	const json_t *a = results(old), *b = results(now);
	json_t *was, *is, *r;
	const char *key;
	int worse = 0, changed = 0;

	if (!a || !b) {
		fprintf(f, "the %s file is no report of this program (--format json)\n", a ? "second" : "first");
		return -1;
	}
	was = by_subject(a);
	is = by_subject(b);
	json_object_foreach(is, key, r) {
		const json_t *before = json_object_get(was, key);
		const char *from = before ? get(before, "result") : "absent", *to = get(r, "result");
		int delta = rank(to) - (before ? rank(from) : 0);

		if (!strcmp(from, to) || (!before && !rank(to)))
			continue;
		worse += delta > 0;
		changed++;
		line(f, delta > 0 ? "worse " : delta < 0 ? "better" : "other ", r, from, to);
	}
	json_object_foreach(was, key, r) {
		if (json_object_get(is, key) || !rank(get(r, "result")))
			continue;
		changed++;
		line(f, "gone  ", r, get(r, "result"), "absent");
	}
	fprintf(f, "%d change(s), %d for the worse\n", changed, worse);
	json_decref(was);
	json_decref(is);
	return worse ? 2 : changed ? 1 : 0;
}
