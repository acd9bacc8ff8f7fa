/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/vgpuN: what user space may ask of vgpu_stub.ko. One open() = one channel.
 *
 * open()  takes a channel whose memory is zero. While the only channels left are still being
 *	   cleaned by the host it waits for them (interruptible, at most 15 s, then ETIMEDOUT; EAGAIN
 *	   at once with O_NONBLOCK). EBUSY: all channels are open. EIO: the host side is gone.
 * mmap()  MAP_SHARED only; offsets are byte offsets in BAR2 (wire/layout.h). The header pages
 *	   read-only; this file's channel and the extents it holds read-write; anything else is
 *	   EACCES. The channel only after START (EAGAIN); touching it before the host has taken the
 *	   wanted generation (the channel's header entry shows it with a state other than FREE) is
 *	   SIGBUS. Mappings are not inherited by fork().
 * read()  8 bytes, as an eventfd: how many interrupts of this channel or of the VM as a whole came
 *	   since the last read; blocks while there is none, EAGAIN with O_NONBLOCK.
 * poll()  POLLIN when read() would not block; POLLHUP|POLLERR once the device was unplugged. Then
 *	   every call is ENODEV and touching a mapping is SIGBUS.
 * close() ends the executor; channel and extents return to others once the host has cleaned them.
 */
#ifndef VGPU_UAPI_H
#define VGPU_UAPI_H
#include <linux/types.h>
#include <linux/ioctl.h>

struct vgpu_ioc_info {
	__u64 bar_size;	  /* bytes */
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
/* Contiguous extents: zero, or what this file itself left in them. EINVAL count 0 or more than the
 * device has; EAGAIN before the host has taken the wanted generation; ENOSPC with nothing taken. */
#define VGPU_IOC_EXTENT_ALLOC _IOWR('V', 2, struct vgpu_ioc_extents)
/* The range must be held by this file (EINVAL, nothing freed). Its mappings end (SIGBUS). The
 * extents stay with this file for its next ALLOC: the executor may still map them, so nobody else
 * gets them before the channel is closed and cleaned. */
#define VGPU_IOC_EXTENT_FREE _IOW('V', 3, struct vgpu_ioc_extents)
#define VGPU_IOC_BELL _IO('V', 4) /* ring this channel's doorbell */
#endif
