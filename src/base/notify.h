/* SPDX-License-Identifier: Apache-2.0 */
/* "I am ready" by the protocol of sd_notify(3): one datagram to $NOTIFY_SOCKET. */
#ifndef VGPU_BASE_NOTIFY_H
#define VGPU_BASE_NOTIFY_H

/* 0 also when nobody asked; -errno. state: "READY=1", "STOPPING=1". */
int notify_state(const char *state);
#endif
