/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * BAR2: the whole contract between a guest and the host, version 1.
 *
 * The same bytes whatever carried them: ivshmem's BAR2 in a VM, a memfd passed over a unix socket to
 * a local process. Included by the guest kernel driver as well as by user space, so: fixed-width
 * types only, no libc.
 *
 * Rules (docs/decisions/ has the why):
 *  - little-endian, naturally aligned, every word has exactly ONE writer, no read-modify-write;
 *  - the host never reads back what it wrote; everything it reads from the guest it copies once,
 *    validates, then uses;
 *  - doorbells and interrupts are hints. A sleeper re-checks at least every VGPU_RECHECK_MS.
 *
 *   0            header      written by the host     (VGPU_HEADER_SIZE)
 *   wish_off     wish page   written by the guest kernel (VGPU_WISH_SIZE)
 *   channel_off  channels    VGPU_CHANNEL_STRIDE each: control pages, rings, bounce
 *   extent_off   extents     2 MiB each, handed out by the guest kernel through the wish page
 */
#ifndef VGPU_WIRE_LAYOUT_H
#define VGPU_WIRE_LAYOUT_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/build_bug.h>
typedef __u8 vg_u8;
typedef __u16 vg_u16;
typedef __u32 vg_u32;
typedef __u64 vg_u64;
typedef __s32 vg_s32;
#else
#include <stdint.h>
#include <assert.h>
typedef uint8_t vg_u8;
typedef uint16_t vg_u16;
typedef uint32_t vg_u32;
typedef uint64_t vg_u64;
typedef int32_t vg_s32;
#endif

#define VGPU_MAGIC 0x55504756u /* "VGPU" */
#define VGPU_LAYOUT_VERSION 1u

#define VGPU_PCI_VENDOR 0x1af4
#define VGPU_PCI_DEVICE 0x1110

#define VGPU_HEADER_SIZE (16u << 10)
#define VGPU_WISH_SIZE (16u << 10)
#define VGPU_CHANNELS_MAX 32u
#define VGPU_EXTENT_SIZE (2u << 20)
#define VGPU_EXTENTS_MAX 8192u
#define VGPU_BAR_MIN (256ull << 20)
#define VGPU_BAR_MAX (16ull << 30)
#define VGPU_RECHECK_MS 10

/* Vectors: 0 = VM-wide (life cycle), 1 + k = channel k. */
#define VGPU_VECTORS (1u + VGPU_CHANNELS_MAX)
#define VGPU_VECTOR_VM 0u
#define VGPU_VECTOR_CHANNEL(k) (1u + (k))

/* Per channel, as the host sees it. Transitions: FREE -> STARTING -> RUN -> DEAD -> FREE;
 * STARTING -> DEAD when the executor could not start. Only FREE means "memory is zero". */
enum vgpu_channel_state {
	VGPU_CH_FREE = 0,
	VGPU_CH_STARTING = 1,
	VGPU_CH_RUN = 2,
	VGPU_CH_DEAD = 3,
};

/* Why a channel is DEAD or a VM refused; the guest library turns it into a CUresult and a message. */
enum vgpu_error {
	VGPU_ERR_NONE = 0,
	VGPU_ERR_EXECUTOR_CRASHED = 1,	/* the executor process died */
	VGPU_ERR_PROTOCOL = 2,		/* the guest broke the wire protocol */
	VGPU_ERR_TIMEOUT = 3,		/* watchdog: one unit ran longer than the job timeout */
	VGPU_ERR_QUARANTINED = 4,	/* too many faults; an administrator must clear it */
	VGPU_ERR_NO_DEVICE = 5,		/* the driver library or the device could not be opened */
	VGPU_ERR_QUOTA = 6,		/* context overhead does not fit into the VM's quota */
	VGPU_ERR_SPAWN = 7,		/* executor could not be started (jail, limits) */
	VGPU_ERR_KEEPER_GONE = 8,	/* vgpud's keeper ended: nothing will answer any more */
	VGPU_ERR_REMOVED = 9,		/* the VM was removed by an administrator */
	VGPU_ERR_DEVICE_LOST = 10,	/* the device failed, or was taken out of service with what ran on it */
};

enum vgpu_vm_status {
	VGPU_VM_DOWN = 0,
	VGPU_VM_UP = 1,
	VGPU_VM_QUARANTINED = 2,
	VGPU_VM_DEAD = 3, /* host side gone */
};

struct vgpu_channel_status {
	vg_u32 state;	   /* enum vgpu_channel_state */
	vg_u32 generation; /* the wanted generation this state belongs to; 0 when FREE */
	vg_u32 error;	   /* enum vgpu_error, valid in DEAD */
	vg_u32 reserved;
};

#define VGPU_ATTR_MAX 192u /* CUdevice_attribute numbers known to the host; absent = VGPU_ATTR_UNKNOWN */
#define VGPU_ATTR_UNKNOWN ((vg_s32)0x80000000)

/* What answers device queries without an executor. total_mem is the VM's quota. */
struct vgpu_device_info {
	char name[256];
	vg_u8 uuid[16];
	vg_u64 total_mem; /* bytes */
	vg_u32 cc_major, cc_minor;
	vg_u32 driver_version; /* as cuDriverGetVersion: 1000*major + 10*minor */
	vg_u32 attr_count;     /* valid entries of attr[], <= VGPU_ATTR_MAX */
	vg_s32 attr[VGPU_ATTR_MAX];
};

struct vgpu_header {
	vg_u32 magic, version;
	vg_u64 bar_size; /* bytes */
	vg_u32 vm_id, pool, priority, weight;
	vg_u64 quota;	/* bytes of device memory */
	vg_u32 status;	/* enum vgpu_vm_status */
	vg_u32 error;	/* enum vgpu_error */
	vg_u32 channels, extents; /* counts */
	vg_u64 wish_off, channel_off, channel_stride, extent_off; /* bytes from the start of BAR2 */
	vg_u32 devices; /* always 1 for now */
	vg_u32 reserved[15];
	struct vgpu_channel_status channel[VGPU_CHANNELS_MAX];
	struct vgpu_device_info device;
};
_Static_assert(sizeof(struct vgpu_header) <= VGPU_HEADER_SIZE, "header fits its pages");

/* Written by the guest KERNEL only; the broker reads only wanted[], an executor's broker checks
 * owner[] before an extent is mapped. */
struct vgpu_wish {
	vg_u32 wanted[VGPU_CHANNELS_MAX]; /* generation, 0 = closed */
	vg_u8 owner[VGPU_EXTENTS_MAX];	  /* 0 = free, else channel + 1 */
};
_Static_assert(sizeof(struct vgpu_wish) <= VGPU_WISH_SIZE, "wish page fits");

/*
 * A channel, VGPU_CHANNEL_STRIDE bytes. Offsets from its start.
 * Free-running 64-bit indexes; slot = index & (entries - 1). An index is only ever written by its
 * producer/consumer, with release; read with acquire.
 */
#define VGPU_CHANNEL_STRIDE (6u << 20)
#define VGPU_CH_HOST_OFF 0x0000u  /* struct vgpu_ch_host */
#define VGPU_CH_GUEST_OFF 0x1000u /* struct vgpu_ch_guest */
#define VGPU_CH_CTL_OFF 0x4000u	  /* control ring */
#define VGPU_CH_CTL_ENTRIES 256u
#define VGPU_CH_WORK_OFF 0x10000u /* work ring */
#define VGPU_CH_WORK_ENTRIES 1024u
#define VGPU_CH_CPL_OFF 0x20000u /* completion ring */
#define VGPU_CH_CPL_ENTRIES 1024u
#define VGPU_CH_PARAM_OFF 0x40000u /* kernel parameters and other small payload of the work ring */
#define VGPU_CH_PARAM_SIZE (0x200000u - VGPU_CH_PARAM_OFF)
#define VGPU_CH_BOUNCE_OFF 0x200000u
#define VGPU_CH_BOUNCE_SIZE (4u << 20)
#define VGPU_ENTRY_SIZE 64u

#define VGPU_LINE __attribute__((aligned(64)))

/* Low bits of vgpu_ch_host.sleeping; above them a count, so that a guest rings once per sleep and not
 * once per entry until its bell is heard. */
enum vgpu_sleep {
	VGPU_SLEEP_ANY = 1,	/* ring after publishing anything */
	VGPU_SLEEP_CONTROL = 2, /* work waits for the device or the lease: ring for a control entry only */
	VGPU_SLEEP_KINDS = 3,
	VGPU_SLEEP_NEXT = 4,
};

struct vgpu_ch_host { /* written by the executor */
	VGPU_LINE vg_u64 work_tail; /* work entries taken */
	VGPU_LINE vg_u64 work_done; /* work index up to which everything has completed on the device */
	VGPU_LINE vg_u64 ctl_tail;
	VGPU_LINE vg_u64 cpl_head;
	VGPU_LINE vg_u32 sleeping;     /* 0, or enum vgpu_sleep + the number of the sleep: one bell wakes each */
	VGPU_LINE vg_u32 sticky_error; /* CUresult that every later call on this process returns; 0 = none */
	VGPU_LINE vg_u64 late_errors;  /* refusals of asynchronous calls, counted */
	VGPU_LINE vg_u64 calls;	       /* entries executed since RUN; proof that a call was answered here */
	VGPU_LINE vg_u8 private_[1024]; /* further words of src/wire, host-written */
};

struct vgpu_ch_guest { /* written by the guest library */
	VGPU_LINE vg_u64 work_head;
	VGPU_LINE vg_u64 ctl_head;
	VGPU_LINE vg_u64 cpl_tail;
	VGPU_LINE vg_u32 sleeping; /* 1: raise the interrupt after publishing a completion */
	VGPU_LINE vg_u8 private_[1024]; /* further words of src/wire, guest-written */
};

_Static_assert(sizeof(struct vgpu_ch_host) <= 0x1000, "one page");
_Static_assert(sizeof(struct vgpu_ch_guest) <= 0x1000, "one page");
_Static_assert(VGPU_CH_CTL_OFF + VGPU_CH_CTL_ENTRIES * VGPU_ENTRY_SIZE <= VGPU_CH_WORK_OFF, "");
_Static_assert(VGPU_CH_WORK_OFF + VGPU_CH_WORK_ENTRIES * VGPU_ENTRY_SIZE <= VGPU_CH_CPL_OFF, "");
_Static_assert(VGPU_CH_CPL_OFF + VGPU_CH_CPL_ENTRIES * VGPU_ENTRY_SIZE <= VGPU_CH_PARAM_OFF, "");
_Static_assert(VGPU_CH_BOUNCE_OFF + VGPU_CH_BOUNCE_SIZE == VGPU_CHANNEL_STRIDE, "");

#endif
