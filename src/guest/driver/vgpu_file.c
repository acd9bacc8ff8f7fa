// SPDX-License-Identifier: GPL-2.0
/* /dev/vgpuN: a channel from open() to close(). */
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "vgpu_stub.h"

/* The host gives a channel up as stuck after 10 s (and drains the device); a bit more than that. */
#define OPEN_WAIT_MS 15000

static unsigned int index_of(const struct vgpu_channel *ch)
{
	return ch - ch->dev->channel;
}

static void set_wanted(struct vgpu_channel *ch, u32 generation)
{
	struct vgpu_dev *vd = ch->dev;

	ch->generation = generation;
	WRITE_ONCE(vd->wish->wanted[index_of(ch)], generation);
	vgpu_bell(vd, VGPU_VECTOR_VM);
}

static bool channel_ready(struct vgpu_channel *ch)
{
	struct vgpu_dev *vd = ch->dev;
	unsigned int k = index_of(ch);

	return !ch->file && !ch->closing && vgpu_channel_state(vd, k, NULL) == VGPU_CH_FREE &&
	       vgpu_range_idle(vd, vd->channel_off + (u64)k * VGPU_CHANNEL_STRIDE,
			       VGPU_CHANNEL_STRIDE);
}

/* Take a channel for file: 0, -EAGAIN (some are being cleaned), -EBUSY, -EIO, -ENODEV. */
static int take_channel(struct vgpu_dev *vd, struct file *file)
{
	unsigned int k, closed = 0;
	int ret;

	down_write(&vd->guard);
	ret = vd->gone ? -ENODEV : -EBUSY;
	for (k = 0; k < vd->channels && ret == -EBUSY; k++) {
		struct vgpu_channel *ch = &vd->channel[k];

		closed += !ch->file;
		if (!channel_ready(ch))
			continue;
		vgpu_reclaim(vd);
		ch->file = file;
		atomic_set(&ch->pending, 0);
		file->private_data = ch;
		ret = 0;
	}
	if (ret == -EBUSY && closed)
		ret = READ_ONCE(vd->header->status) == VGPU_VM_DEAD ? -EIO : -EAGAIN;
	up_write(&vd->guard);
	return ret;
}

static int wait_for_channel(struct vgpu_dev *vd, struct file *file)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(OPEN_WAIT_MS);
	DEFINE_WAIT(wait);
	int ret;

	for (;;) {
		prepare_to_wait(&vd->free_wait, &wait, TASK_INTERRUPTIBLE);
		ret = take_channel(vd, file);
		if (ret != -EAGAIN || (file->f_flags & O_NONBLOCK))
			break;
		if (signal_pending(current)) {
			ret = -ERESTARTSYS;
			break;
		}
		if (time_after(jiffies, deadline)) {
			ret = -ETIMEDOUT;
			break;
		}
		schedule_timeout(msecs_to_jiffies(VGPU_RECHECK_MS));
	}
	finish_wait(&vd->free_wait, &wait);
	return ret;
}

static int vgpu_open(struct inode *inode, struct file *file)
{
	struct vgpu_dev *vd = container_of(inode->i_cdev, struct vgpu_dev, cdev);
	int ret = wait_for_channel(vd, file);

	if (ret == -EBUSY)
		dev_warn_ratelimited(&vd->dev,
				     "all %u channels are open: open by %s (pid %d) refused; one GPU program uses one channel\n",
				     vd->channels, current->comm, task_pid_nr(current));
	else if (ret == -EIO)
		dev_warn_ratelimited(&vd->dev, "the host side of this device is gone\n");
	else if (ret == -ETIMEDOUT)
		dev_warn_ratelimited(&vd->dev, "the host did not clean a closed channel within %d s\n",
				     OPEN_WAIT_MS / 1000);
	if (ret)
		return ret;
	file->f_mapping = vd->inode->i_mapping;
	return nonseekable_open(inode, file);
}

/* The host zeroes what wanted[] gives up: not before I/O into it has ended. guard held for writing. */
static void close_channel(struct vgpu_channel *ch)
{
	ch->closing = !vgpu_channel_idle(ch);
	if (ch->closing)
		schedule_delayed_work(&ch->dev->closing, msecs_to_jiffies(VGPU_RECHECK_MS));
	else
		set_wanted(ch, 0);
}

void vgpu_closing(struct work_struct *work)
{
	struct vgpu_dev *vd = container_of(work, struct vgpu_dev, closing.work);
	unsigned int k;

	down_write(&vd->guard);
	for (k = 0; k < vd->channels && !vd->gone; k++)
		if (vd->channel[k].closing)
			close_channel(&vd->channel[k]);
	up_write(&vd->guard);
}

static int vgpu_release(struct inode *inode, struct file *file)
{
	struct vgpu_channel *ch = file->private_data;
	struct vgpu_dev *vd = ch->dev;
	u32 e;

	down_write(&vd->guard);
	ch->file = NULL;
	if (!vd->gone) {
		/* The owner bytes stay until the host has cleaned the channel: vgpu_reclaim(). */
		for_each_set_bit(e, vd->extent_used, vd->extents)
			if (READ_ONCE(vd->wish->owner[e]) == index_of(ch) + 1)
				__clear_bit(e, vd->extent_used);
		if (ch->generation)
			close_channel(ch);
	}
	up_write(&vd->guard);
	wake_up_all(&vd->free_wait);
	return 0;
}

static u32 next_generation(struct vgpu_dev *vd)
{
	if (!++vd->last_generation)
		vd->last_generation = 1;
	return vd->last_generation;
}

static long do_info(struct vgpu_channel *ch, void __user *arg, bool start)
{
	struct vgpu_dev *vd = ch->dev;
	struct vgpu_ioc_info info = { .bar_size = vd->bar_size, .channel = index_of(ch) };
	int ret = 0;

	down_write(&vd->guard);
	if (vd->gone)
		ret = -ENODEV;
	else if (start && ch->generation)
		ret = -EBUSY;
	else if (start)
		set_wanted(ch, next_generation(vd));
	info.generation = ch->generation;
	up_write(&vd->guard);
	if (ret)
		return ret;
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long do_extents(struct vgpu_channel *ch, void __user *arg, bool alloc)
{
	struct vgpu_dev *vd = ch->dev;
	struct vgpu_ioc_extents x;
	int ret = -ENODEV;

	if (copy_from_user(&x, arg, sizeof(x)))
		return -EFAULT;
	down_write(&vd->guard);
	if (!vd->gone)
		ret = alloc ? vgpu_extent_alloc(ch, &x) : vgpu_extent_free(ch, &x);
	up_write(&vd->guard);
	if (ret || !alloc)
		return ret;
	/* On a fault the extents stay with the file; close() returns them. */
	return copy_to_user(arg, &x, sizeof(x)) ? -EFAULT : 0;
}

static long do_bell(struct vgpu_channel *ch)
{
	int ret = -ENODEV;

	down_read(&ch->dev->guard);
	if (!ch->dev->gone) {
		vgpu_bell(ch->dev, VGPU_VECTOR_CHANNEL(index_of(ch)));
		ret = 0;
	}
	up_read(&ch->dev->guard);
	return ret;
}

static long vgpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vgpu_channel *ch = file->private_data;
	void __user *p = (void __user *)arg;

	switch (cmd) {
	case VGPU_IOC_INFO:
	case VGPU_IOC_START:
		return do_info(ch, p, cmd == VGPU_IOC_START);
	case VGPU_IOC_EXTENT_ALLOC:
	case VGPU_IOC_EXTENT_FREE:
		return do_extents(ch, p, cmd == VGPU_IOC_EXTENT_ALLOC);
	case VGPU_IOC_BELL:
		return do_bell(ch);
	}
	return -ENOTTY;
}

static bool is_gone(struct vgpu_dev *vd)
{
	return READ_ONCE(vd->gone);
}

static ssize_t vgpu_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct vgpu_channel *ch = file->private_data;
	u64 count;
	int ret;

	if (len < sizeof(count))
		return -EINVAL;
	for (;;) {
		if (is_gone(ch->dev))
			return -ENODEV;
		count = atomic_xchg(&ch->pending, 0);
		if (count)
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(ch->wait, atomic_read(&ch->pending) ||
							 is_gone(ch->dev));
		if (ret)
			return ret;
	}
	return copy_to_user(buf, &count, sizeof(count)) ? -EFAULT : sizeof(count);
}

static __poll_t vgpu_poll(struct file *file, poll_table *pt)
{
	struct vgpu_channel *ch = file->private_data;

	poll_wait(file, &ch->wait, pt);
	if (is_gone(ch->dev))
		return EPOLLHUP | EPOLLERR;
	return atomic_read(&ch->pending) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void wake_channel(struct vgpu_channel *ch)
{
	atomic_inc(&ch->pending);
	wake_up_interruptible(&ch->wait);
}

void vgpu_interrupt(struct vgpu_dev *vd, unsigned int vector)
{
	unsigned int k;

	if (vector != VGPU_VECTOR_VM) {
		wake_channel(&vd->channel[vector - 1]);
		return;
	}
	for (k = 0; k < vd->channels; k++)
		wake_channel(&vd->channel[k]);
	wake_up_interruptible_all(&vd->free_wait);
}

void vgpu_hangup(struct vgpu_dev *vd)
{
	unsigned int k;

	for (k = 0; k < VGPU_CHANNELS_MAX; k++)
		wake_up_interruptible_all(&vd->channel[k].wait);
	wake_up_interruptible_all(&vd->free_wait);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
#define UNMAPPED_AREA thp_get_unmapped_area /* a place where 2 MiB entries fit */
#else
#define UNMAPPED_AREA NULL
#endif

const struct file_operations vgpu_fops = {
	.owner = THIS_MODULE,
	.open = vgpu_open,
	.release = vgpu_release,
	.unlocked_ioctl = vgpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = vgpu_read,
	.poll = vgpu_poll,
	.mmap = vgpu_mmap,
	.get_unmapped_area = UNMAPPED_AREA,
};
