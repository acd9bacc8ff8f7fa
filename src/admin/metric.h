/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a metric is written, as OpenMetrics ("open", without its last line) or as Prometheus' text: whoever has a page of
 * them uses these. Names are given without "openvgpu_"; one that ends in _total is a counter; the unit is the name's end.
 */
#ifndef VGPU_ADMIN_METRIC_H
#define VGPU_ADMIN_METRIC_H
#include <stdbool.h>
#include <stdio.h>

/* What precedes the samples of a family. type NULL: counter or gauge, by the name. help: no line breaks. */
void metric_head(FILE *out, const char *name, const char *type, const char *help, bool open);
/* Of samples called NAME_info. */
void metric_info_head(FILE *out, const char *name, const char *help, bool open);
/* A label's value, without its quotes; NULL: empty. */
void metric_text(FILE *out, const char *s);
#endif
