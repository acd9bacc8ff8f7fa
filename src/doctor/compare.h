/* SPDX-License-Identifier: Apache-2.0 */
/* Two JSON reports of one host: what changed between them (a baseline and a later day). */
#ifndef DOCTOR_COMPARE_H
#define DOCTOR_COMPARE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Prints a line per change. 0 nothing changed, 1 changed but nothing worse, 2 something is worse,
 * -1: one of them is no report (said on f). */
int report_compare(const json_t *old, const json_t *now, FILE *f);

#endif
