/* SPDX-License-Identifier: Apache-2.0 */
/* One result list, one function per format. All return 0 or -errno of the output. */
#ifndef DOCTOR_RENDER_H
#define DOCTOR_RENDER_H

#include "check.h"

#include <stdio.h>

struct report {
	const struct audit *a;
	const char *source; /* "/" , a root or a bundle */
	bool colour, verbose;
	int64_t time; /* seconds since 1970 */
	char *limits; /* what could not be seen and why; NULL none */
};

struct format {
	const char *name;
	void (*render)(const struct report *r, FILE *f);
};

extern const struct format formats[];
const struct format *format_find(const char *name);

void render_text(const struct report *r, FILE *f);
void render_json(const struct report *r, FILE *f);
void render_html(const struct report *r, FILE *f);
/* The HTML report's topology section. */
void render_topology(const struct report *r, FILE *f);
void render_sarif(const struct report *r, FILE *f);
void render_junit(const struct report *r, FILE *f);
void render_ocsf(const struct report *r, FILE *f);
void render_prometheus(const struct report *r, FILE *f);

const char *severity_word(char severity);
/* SHA-256 of an item's bytes as 64 hex digits. */
void item_sha256(const struct ev_item *it, char out[65]);
/* True for results a person should look at. */
bool is_finding(const struct result *r);

#endif
