/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a timer does with an audit. In one folder: report.json, the last report; doctor.prom, for a textfile collector.
 * What is worse than in the last report is told on standard error, a line each, as errors where that is the journal.
 */
#ifndef DOCTOR_ALERT_H
#define DOCTOR_ALERT_H

#include "render.h"

/* dir: an open directory. 0 or -errno. */
int alert_update(int dir, const struct report *r);

#endif
