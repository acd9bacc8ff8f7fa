/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of requests: their number by status, as a metric, and lines of the log. Thread-safe. */
#ifndef VGPU_AGENT_REQUESTS_H
#define VGPU_AGENT_REQUESTS_H
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>

/* An answer was queued. */
void requests_count(unsigned status);
void requests_metrics(FILE *out, bool open);
/* Somebody was refused. One line now and then: others of the meantime are a number in it. */
void requests_refused(struct MHD_Connection *c, const char *who, const char *method, const char *path);
/* A change has ended, or was refused: a line for each. name: of the VM. */
void requests_changed(struct MHD_Connection *c, const char *who, const char *method, const char *name, unsigned status);
#endif
