// SPDX-License-Identifier: GPL-2.0
/* Who may map which part of BAR2, the extents, and the page faults. */
#include "vgpu_stub.h"
#include <linux/huge_mm.h>
#include <linux/pfn_t.h>

static unsigned int index_of(const struct vgpu_channel *ch)
{
	return ch - ch->dev->channel;
}

u32 vgpu_channel_state(struct vgpu_dev *vd, unsigned int k, u32 *generation)
{
	const struct vgpu_channel_status *st = &vd->header->channel[k];
	u32 state = READ_ONCE(st->state);

	if (generation)
		*generation = READ_ONCE(st->generation);
	return state;
}

/* Has the host taken our generation, so that what is written now is not cleaned away? */
bool vgpu_channel_live(struct vgpu_channel *ch)
{
	u32 generation, state = vgpu_channel_state(ch->dev, index_of(ch), &generation);

	return ch->generation && state != VGPU_CH_FREE && generation == ch->generation;
}

void vgpu_wish_owner(struct vgpu_dev *vd, u32 extent, u8 owner)
{
	WRITE_ONCE(vd->wish->owner[extent], owner);
}

/* Each page's base reference is one; more means somebody (O_DIRECT, a pipe) still holds it. */
bool vgpu_range_idle(struct vgpu_dev *vd, u64 off, u64 len)
{
	unsigned long pfn = PHYS_PFN(vd->bar_phys + off), end = pfn + (len >> PAGE_SHIFT);

	for (; pfn < end; pfn++)
		if (page_count(pfn_to_page(pfn)) > 1)
			return false;
	return true;
}

static u64 extent_pos(const struct vgpu_dev *vd, u32 extent)
{
	return vd->extent_off + (u64)extent * VGPU_EXTENT_SIZE;
}

static bool cleaned(struct vgpu_dev *vd, unsigned int k)
{
	return !vd->channel[k].file && vgpu_channel_state(vd, k, NULL) == VGPU_CH_FREE;
}

void vgpu_reclaim(struct vgpu_dev *vd)
{
	DECLARE_BITMAP(clean, VGPU_CHANNELS_MAX);
	unsigned int k;
	u32 e;

	bitmap_zero(clean, VGPU_CHANNELS_MAX);
	for (k = 0; k < vd->channels; k++)
		if (cleaned(vd, k))
			__set_bit(k, clean);
	for (e = 0; e < vd->extents; e++) {
		u8 owner = READ_ONCE(vd->wish->owner[e]);

		if (!owner)
			continue;
		if ((owner > vd->channels || test_bit(owner - 1, clean)) &&
		    vgpu_range_idle(vd, extent_pos(vd, e), VGPU_EXTENT_SIZE))
			vgpu_wish_owner(vd, e, 0);
	}
}

bool vgpu_channel_idle(struct vgpu_channel *ch)
{
	struct vgpu_dev *vd = ch->dev;
	unsigned int k = index_of(ch);
	u32 e;

	for (e = 0; e < vd->extents; e++)
		if (READ_ONCE(vd->wish->owner[e]) == k + 1 && !vgpu_range_idle(vd, extent_pos(vd, e), VGPU_EXTENT_SIZE))
			return false;
	return vgpu_range_idle(vd, vd->channel_off + (u64)k * VGPU_CHANNEL_STRIDE, VGPU_CHANNEL_STRIDE);
}

/* One the file gave back may still be written by I/O that began before. */
static bool available(struct vgpu_dev *vd, u32 e, u8 me)
{
	u8 owner = READ_ONCE(vd->wish->owner[e]);

	return !test_bit(e, vd->extent_used) &&
	       (!owner || (owner == me && vgpu_range_idle(vd, extent_pos(vd, e), VGPU_EXTENT_SIZE)));
}

static bool find_run(struct vgpu_dev *vd, u32 count, u8 me, u32 *first)
{
	u32 e, run = 0;

	for (e = 0; e < vd->extents; e++) {
		run = available(vd, e, me) ? run + 1 : 0;
		if (run == count) {
			*first = e + 1 - count;
			return true;
		}
	}
	return false;
}

int vgpu_extent_alloc(struct vgpu_channel *ch, struct vgpu_ioc_extents *x)
{
	struct vgpu_dev *vd = ch->dev;
	u8 me = index_of(ch) + 1;
	u32 e;

	if (!x->count || x->count > vd->extents)
		return -EINVAL;
	if (!vgpu_channel_live(ch))
		return -EAGAIN;
	if (!find_run(vd, x->count, me, &x->first)) {
		vgpu_reclaim(vd);
		if (!find_run(vd, x->count, me, &x->first))
			return -ENOSPC;
	}
	for (e = x->first; e < x->first + x->count; e++)
		vgpu_wish_owner(vd, e, me);
	bitmap_set(vd->extent_used, x->first, x->count);
	return 0;
}

static bool holds(struct vgpu_channel *ch, u32 first, u32 count)
{
	struct vgpu_dev *vd = ch->dev;
	u8 me = index_of(ch) + 1;
	u32 e;

	if (!count || first >= vd->extents || count > vd->extents - first)
		return false;
	for (e = first; e < first + count; e++)
		if (!test_bit(e, vd->extent_used) || READ_ONCE(vd->wish->owner[e]) != me)
			return false;
	return true;
}

int vgpu_extent_free(struct vgpu_channel *ch, const struct vgpu_ioc_extents *x)
{
	struct vgpu_dev *vd = ch->dev;

	if (!holds(ch, x->first, x->count))
		return -EINVAL;
	bitmap_clear(vd->extent_used, x->first, x->count);
	unmap_mapping_range(vd->inode->i_mapping, extent_pos(vd, x->first),
			    (loff_t)x->count * VGPU_EXTENT_SIZE, 1);
	return 0;
}

/* May this file touch [off, off + len) now? 0, -EACCES, -EAGAIN (own channel, not live), -ENODEV. */
static int may_touch(struct vgpu_channel *ch, u64 off, u64 len, bool write)
{
	struct vgpu_dev *vd = ch->dev;
	u64 mine = vd->channel_off + (u64)index_of(ch) * VGPU_CHANNEL_STRIDE;
	u64 end = off + len;

	if (vd->gone)
		return -ENODEV;
	if (end < off || end > vd->bar_size)
		return -EACCES;
	if (end <= VGPU_HEADER_SIZE)
		return write ? -EACCES : 0;
	if (off >= mine && end <= mine + VGPU_CHANNEL_STRIDE)
		return vgpu_channel_live(ch) ? 0 : -EAGAIN;
	if (off >= vd->extent_off) {
		u32 first = (off - vd->extent_off) / VGPU_EXTENT_SIZE;
		u32 last = (end - 1 - vd->extent_off) / VGPU_EXTENT_SIZE;

		return holds(ch, first, last - first + 1) ? 0 : -EACCES;
	}
	return -EACCES;
}

static u64 offset_of(const struct vm_area_struct *vma, unsigned long addr)
{
	return ((u64)vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start);
}

static pfn_t pfn_at(struct vgpu_dev *vd, u64 off)
{
	return phys_to_pfn_t(vd->bar_phys + off, PFN_DEV | PFN_MAP);
}

/*
 * Unplugged under a program: it reads zeros (the state of no live channel) and writes to pages of its
 * own, so that its library ends its calls with an error where a SIGBUS would end the program.
 */
static vm_fault_t fault_gone(struct vm_fault *vmf)
{
	vmf->page = alloc_page(GFP_HIGHUSER | __GFP_ZERO | __GFP_ACCOUNT);
	return vmf->page ? 0 : VM_FAULT_OOM;
}

static vm_fault_t fault_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct vgpu_channel *ch = vma->vm_file->private_data;
	u64 off = offset_of(vma, vmf->address & PAGE_MASK);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	bool gone;

	down_read(&ch->dev->guard);
	gone = ch->dev->gone;
	if (!may_touch(ch, off, PAGE_SIZE, vma->vm_flags & VM_WRITE))
		ret = vmf_insert_mixed(vma, vmf->address & PAGE_MASK, pfn_at(ch->dev, off));
	up_read(&ch->dev->guard);
	return gone ? fault_gone(vmf) : ret;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static vm_fault_t fault_pmd(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct vgpu_channel *ch = vma->vm_file->private_data;
	unsigned long addr = vmf->address & PMD_MASK;
	vm_fault_t ret = VM_FAULT_FALLBACK;
	u64 off;

	if (addr < vma->vm_start || addr + PMD_SIZE > vma->vm_end)
		return VM_FAULT_FALLBACK;
	off = offset_of(vma, addr);
	if (!IS_ALIGNED(ch->dev->bar_phys + off, PMD_SIZE))
		return VM_FAULT_FALLBACK;
	down_read(&ch->dev->guard);
	if (!may_touch(ch, off, PMD_SIZE, vma->vm_flags & VM_WRITE))
		ret = vmf_insert_pfn_pmd(vmf, pfn_at(ch->dev, off), vma->vm_flags & VM_WRITE);
	up_read(&ch->dev->guard);
	return ret;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
static vm_fault_t fault_huge(struct vm_fault *vmf, unsigned int order)
{
	return order == PMD_SHIFT - PAGE_SHIFT ? fault_pmd(vmf) : VM_FAULT_FALLBACK;
}
#else
static vm_fault_t fault_huge(struct vm_fault *vmf, enum page_entry_size size)
{
	return size == PE_SIZE_PMD ? fault_pmd(vmf) : VM_FAULT_FALLBACK;
}
#endif
#endif

static const struct vm_operations_struct vm_ops = {
	.fault = fault_page,
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	.huge_fault = fault_huge,
#endif
};

static void set_flags(struct vm_area_struct *vma)
{
	/* MIXEDMAP: pages with struct page that are not the VM's to manage. */
	const unsigned long set = VM_MIXEDMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP;
	const unsigned long clear = vma->vm_flags & VM_WRITE ? 0 : VM_MAYWRITE;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

int vgpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vgpu_channel *ch = file->private_data;
	u64 off = (u64)vma->vm_pgoff << PAGE_SHIFT, len = vma->vm_end - vma->vm_start;
	int ret;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff > ch->dev->bar_size >> PAGE_SHIFT)
		return -EACCES;
	down_read(&ch->dev->guard);
	ret = may_touch(ch, off, len, vma->vm_flags & VM_WRITE);
	if (ret == -EAGAIN && ch->generation)
		ret = 0; /* asked for: faults work once the host has taken it */
	up_read(&ch->dev->guard);
	if (ret)
		return ret;
	set_flags(vma);
	vma->vm_ops = &vm_ops;
	return 0;
}
