/* SPDX-License-Identifier: Apache-2.0 */
#include "render.h"

#include <string.h>

const struct format formats[] = {
	{"text", render_text},
	{"json", render_json},
	{"html", render_html},
	{"sarif", render_sarif},
	{"junit", render_junit},
	{"ocsf", render_ocsf},
	{"prometheus", render_prometheus},
	{NULL, NULL},
};

const struct format *format_find(const char *name)
{
	for (const struct format *f = formats; f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}
