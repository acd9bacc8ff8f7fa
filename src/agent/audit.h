/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's last audit, which vgpu-doctor.timer leaves in a file (vgpu-doctor --alert), as metrics of this page: so an
 * alert on it needs no second exporter. The file is small and written by root; still it is believed line by line.
 */
#ifndef VGPU_AGENT_AUDIT_H
#define VGPU_AGENT_AUDIT_H
#include <stdio.h>

#define AUDIT_DIR "/var/lib/openvgpu-doctor"
#define AUDIT_FILE "doctor.prom"

void audit_start(const char *dir);
/* Its families, as OpenMetrics and Prometheus' text write them both: all are gauges. Nothing where there was no audit; of
 * a file that is something else nothing but the log's line. */
void audit_metrics(FILE *out);
#endif
