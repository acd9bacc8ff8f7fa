/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waivers: findings somebody answers for until a day. A YAML file:
 *
 *   waivers:
 *     - id: PCI-014
 *       subject: host            # or "*"
 *       reason: lab machine without signed modules
 *       owner: ops@example.org
 *       expires: 2026-12-31      # the last day it holds
 *
 * Every field is required; an unknown one is an error. A finding of rule M1 (ACS override) may be
 * waived for 30 days at most. An expired waiver changes nothing but the message.
 */
#ifndef DOCTOR_WAIVE_H
#define DOCTOR_WAIVE_H

#include "check.h"

struct waiver {
	char id[32], subject[128], reason[256], owner[128];
	int64_t expires; /* the first second after the last day, UTC */
};

struct waivers {
	struct waiver *w;
	size_t n;
	char error[256]; /* what is wrong with the file, with its line */
};

/* False with error set when the text is no waiver file. now: seconds since 1970. */
bool waivers_parse(struct waivers *ws, const char *text, size_t len, int64_t now);
void waivers_free(struct waivers *ws);
/* Turns waived findings into info, with owner and reason; recounts. */
void waivers_apply(const struct waivers *ws, struct audit *a, int64_t now);

#endif
