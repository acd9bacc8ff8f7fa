/* SPDX-License-Identifier: Apache-2.0 */
/* The two kinds of port behind vgpu_port_open(). 0 or -errno with one line in err[]. */
#ifndef VGPU_GUEST_PORTS_H
#define VGPU_GUEST_PORTS_H
#include "guest/port.h"

int vgpu_port_open_unix(struct vgpu_port **out, const char *path, const char *tenant, char *err, unsigned err_len);
int vgpu_port_open_dev(struct vgpu_port **out, const char *path, char *err, unsigned err_len);
/* Waits until the channel leaves STARTING for generation `generation`; wait() of the port wakes it. */
int vgpu_port_await_run(struct vgpu_port *p, int timeout_ms, uint32_t *error);
#endif
