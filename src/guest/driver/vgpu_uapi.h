/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/vgpuN: what user space may ask of vgpu_stub.ko. One open() = one channel.
 *
 * mmap() offsets are byte offsets in BAR2 (wire/layout.h): the header pages read-only, this
 * channel's area and the extents this file owns read-write; anything else is EACCES.
 * poll(): POLLIN when the channel's or the VM's interrupt arrived since the last
 * VGPU_IOC_WAIT_ARM/read; POLLHUP when the device was unplugged.
 */
#ifndef VGPU_UAPI_H
#define VGPU_UAPI_H
#include <linux/types.h>
#include <linux/ioctl.h>

struct vgpu_ioc_info {
	__u64 bar_size;
	__u32 channel;	  /* index of this file's channel */
	__u32 generation; /* wanted generation once started, else 0 */
};

struct vgpu_ioc_extents {
	__u32 count; /* in: how many contiguous 2 MiB extents */
	__u32 first; /* alloc: out; free: in */
};

#define VGPU_IOC_INFO _IOR('V', 0, struct vgpu_ioc_info)
/* Write a fresh wanted generation and ring vector 0; returns the generation in info. Does not wait:
 * user space watches header.channel[k] and polls. EBUSY if already started. */
#define VGPU_IOC_START _IOR('V', 1, struct vgpu_ioc_info)
#define VGPU_IOC_EXTENT_ALLOC _IOWR('V', 2, struct vgpu_ioc_extents) /* ENOSPC with nothing taken */
#define VGPU_IOC_EXTENT_FREE _IOW('V', 3, struct vgpu_ioc_extents)
#define VGPU_IOC_BELL _IO('V', 4) /* ring this channel's doorbell */
#endif
