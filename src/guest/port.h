/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest process reaches its channel: /dev/vgpuN in a VM, a unix socket on the host.
 *
 * A port only hands over memory and wake-ups; everything else is in that memory (wire/layout.h).
 * The unix port plays guest kernel: it owns the wish page of its private BAR2.
 */
#ifndef VGPU_GUEST_PORT_H
#define VGPU_GUEST_PORT_H
#include <stdint.h>
#include "wire/layout.h"

struct vgpu_port {
	const struct vgpu_port_ops *ops;
	const volatile struct vgpu_header *header; /* mapped read-only */
	void *channel_mem;			   /* this channel's area, VGPU_CHANNEL_STRIDE bytes, after start() */
	unsigned channel;
	uint32_t generation;			   /* after start() */
	int fd;					   /* what to poll: readable on interrupt */
};

struct vgpu_port_ops {
	/* Ask for an executor and wait until RUN or DEAD, at most timeout_ms. 0, or -errno; on DEAD *error says why. */
	int (*start)(struct vgpu_port *p, int timeout_ms, uint32_t *error);
	void (*bell)(struct vgpu_port *p);	/* wake the executor */
	void (*bell_vm)(struct vgpu_port *p);
	int (*wait)(struct vgpu_port *p, int timeout_ms); /* 1 interrupted, 0 timeout, -errno; -ENODEV unplugged */
	/* Contiguous extents; *first is the index, *offset the byte offset in BAR2. 0 or -ENOSPC. */
	int (*extents_alloc)(struct vgpu_port *p, uint32_t count, uint32_t *first);
	void (*extents_free)(struct vgpu_port *p, uint32_t first, uint32_t count);
	/* Map extents at `at` (MAP_FIXED_NOREPLACE) or anywhere if NULL. MAP_FAILED + errno. */
	void *(*extents_map)(struct vgpu_port *p, uint32_t first, uint32_t count, void *at);
	void (*close)(struct vgpu_port *p);	/* ends the executor */
	void (*abandon)(struct vgpu_port *p);	/* after fork, in the child: drop fds and mappings, tell nobody */
};

/* $VGPU_SOCKET (with $VGPU_TENANT) if set, else /dev/vgpu0, else $XDG-free default /run/openvgpu/guest.sock.
 * 0 or -errno with one line in err[]. */
int vgpu_port_open(struct vgpu_port **out, char *err, unsigned err_len);
#endif
