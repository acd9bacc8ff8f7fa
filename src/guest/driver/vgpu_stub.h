/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vgpu_stub: the guest's side of BAR2 (wire/layout.h).
 *
 *   vgpu_pci.c   finds our device, maps BAR2 with struct pages, interrupts, unplug
 *   vgpu_file.c  /dev/vgpuN: a channel's life from open() to close()
 *   vgpu_mem.c   who may map what; extents; page faults
 *
 * A channel, as this driver sees it (host state from the header, wanted from the wish page):
 *
 *   file   wanted  host state            may be opened        memory belongs to
 *   none   0       FREE                  yes                  nobody, zero
 *   none   0       STARTING RUN DEAD     no, open() waits     the executor being ended
 *   none   g       any                   no, open() waits     I/O that began before close()
 *   open   0       FREE                  no                   nobody: mmap() gives EAGAIN
 *   open   g       other generation      no                   nobody: touching it is SIGBUS
 *   open   g       STARTING RUN DEAD g   no                   this file
 *
 * Nothing here writes a word that the host writes; the wish page has no other writer than this.
 */
#ifndef VGPU_STUB_H
#define VGPU_STUB_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "wire/layout.h"
#include "vgpu_uapi.h"

struct vgpu_dev;

struct vgpu_channel {
	struct vgpu_dev *dev;
	struct file *file; /* whose it is; NULL = nobody's. Under guard. */
	u32 generation;	   /* what we wrote to wanted[]; 0 = not started. Under guard. */
	bool closing;	   /* nobody's, but I/O still uses its memory: wanted[] stays. Under guard. */
	atomic_t pending;  /* interrupts since the last read() */
	wait_queue_head_t wait;
};

struct vgpu_vector {
	struct vgpu_dev *dev;
	int irq; /* Linux' number */
};

struct vgpu_dev {
	struct device dev; /* lifetime: the last of {driver bound, open files} frees it */
	struct cdev cdev;
	int minor;
	struct pci_dev *pdev;
	struct inode *inode; /* f_mapping of every file: one place to zap all mappings */

	/* Writers: open, start, close, extent calls, unplug. Readers: page faults, bell.
	 * Order: mmap_lock (page fault) -> guard -> i_mmap_rwsem (zap). Never copies to user under it. */
	struct rw_semaphore guard;
	bool gone; /* unplugged: everything below must not be touched. Under guard. */

	void __iomem *regs; /* BAR0 */
	struct dev_pagemap pgmap;
	void *bar; /* BAR2, write-back where the platform lets us */
	phys_addr_t bar_phys;
	u64 bar_size;
	const struct vgpu_header *header;
	struct vgpu_wish *wish;
	/* Copied from the header once and checked; the header is not asked again. */
	u64 channel_off, extent_off;
	u32 channels, extents;

	u32 last_generation;
	DECLARE_BITMAP(extent_used, VGPU_EXTENTS_MAX); /* held by a file. Under guard. */
	struct vgpu_channel channel[VGPU_CHANNELS_MAX];

	int vectors; /* granted, 1..VGPU_VECTORS */
	struct vgpu_vector vector[VGPU_VECTORS];
	struct delayed_work closing; /* looks after channels that are closing */
	struct delayed_work tick; /* looks after channels that have no vector of their own */
	wait_queue_head_t free_wait; /* open() waiting for a FREE channel */
};

/* vgpu_pci.c */
void vgpu_bell(struct vgpu_dev *vd, u32 vector);

/* vgpu_file.c */
extern const struct file_operations vgpu_fops;
void vgpu_closing(struct work_struct *work);
void vgpu_interrupt(struct vgpu_dev *vd, unsigned int vector);
void vgpu_hangup(struct vgpu_dev *vd);

/* vgpu_mem.c: all with guard held */
u32 vgpu_channel_state(struct vgpu_dev *vd, unsigned int k, u32 *generation);
bool vgpu_channel_live(struct vgpu_channel *ch);
/* Give back the extents of channels that are closed and cleaned. guard held for writing. */
void vgpu_reclaim(struct vgpu_dev *vd);
bool vgpu_range_idle(struct vgpu_dev *vd, u64 off, u64 len);
bool vgpu_channel_idle(struct vgpu_channel *ch); /* it and all its extents */
int vgpu_extent_alloc(struct vgpu_channel *ch, struct vgpu_ioc_extents *x);
int vgpu_extent_free(struct vgpu_channel *ch, const struct vgpu_ioc_extents *x);
void vgpu_wish_owner(struct vgpu_dev *vd, u32 extent, u8 owner);
int vgpu_mmap(struct file *file, struct vm_area_struct *vma); /* takes guard itself */

#endif
