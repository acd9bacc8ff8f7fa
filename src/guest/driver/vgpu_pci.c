// SPDX-License-Identifier: GPL-2.0
/*
 * Our PCI function: an ivshmem-doorbell device (1af4:1110) whose BAR2 starts with our magic.
 *
 * BAR0 (256 bytes): only the doorbell register is used: (peer << 16) | vector, the host being peer 0.
 * BAR1: MSI-X. BAR2: everything else.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/random.h>
#include <linux/slab.h>
#include "vgpu_stub.h"

#define IVSHMEM_BELL 12 /* docs/specs/ivshmem-spec.txt of QEMU */
#define IVSHMEM_HOST_PEER 0u
#define MINORS 64
#define VGPU_FS_MAGIC 0x75677076 /* "vpgu": /proc/mounts never shows it */

static struct class *vgpu_class;
static dev_t vgpu_devt;
static DEFINE_IDA(minors);
static struct vfsmount *vgpu_mnt;

void vgpu_bell(struct vgpu_dev *vd, u32 vector)
{
	/* writel orders what was written to BAR2 (memory) before the bell. */
	writel(IVSHMEM_HOST_PEER << 16 | vector, vd->regs + IVSHMEM_BELL);
}

/* ---- interrupts ---- */

static irqreturn_t on_interrupt(int irq, void *arg)
{
	struct vgpu_vector *v = arg;

	vgpu_interrupt(v->dev, v - v->dev->vector);
	return IRQ_HANDLED;
}

static void on_tick(struct work_struct *work)
{
	struct vgpu_dev *vd = container_of(work, struct vgpu_dev, tick.work);
	unsigned int k;

	for (k = vd->vectors - 1; k < vd->channels; k++)
		if (READ_ONCE(vd->channel[k].file))
			vgpu_interrupt(vd, VGPU_VECTOR_CHANNEL(k));
	schedule_delayed_work(&vd->tick, msecs_to_jiffies(VGPU_RECHECK_MS));
}

static void free_interrupts(struct vgpu_dev *vd)
{
	int v;

	cancel_delayed_work_sync(&vd->tick);
	for (v = 0; v < vd->vectors; v++)
		free_irq(vd->vector[v].irq, &vd->vector[v]);
	vd->vectors = 0;
	pci_free_irq_vectors(vd->pdev);
}

static int request_interrupts(struct vgpu_dev *vd)
{
	int n = pci_alloc_irq_vectors(vd->pdev, 1, 1 + vd->channels, PCI_IRQ_MSIX), v, ret;

	if (n < 0) {
		dev_err(&vd->pdev->dev, "no MSI-X vector: %d; give the device vectors=%u\n", n,
			VGPU_VECTORS);
		return n;
	}
	for (v = 0; v < n; v++) {
		vd->vector[v].dev = vd;
		vd->vector[v].irq = pci_irq_vector(vd->pdev, v);
		ret = request_irq(vd->vector[v].irq, on_interrupt, 0, dev_name(&vd->dev),
				  &vd->vector[v]);
		if (ret) {
			free_interrupts(vd);
			return ret;
		}
		vd->vectors = v + 1;
	}
	if (n < 1 + vd->channels) {
		dev_warn(&vd->pdev->dev,
			 "%d of %u interrupt vectors: channels from %d on are looked at every %d ms\n",
			 n, 1 + vd->channels, n - 1, VGPU_RECHECK_MS);
		schedule_delayed_work(&vd->tick, msecs_to_jiffies(VGPU_RECHECK_MS));
	}
	return 0;
}

/* ---- BAR2 ---- */

/* Below 4 GiB firmware's MTRRs make the PCI hole uncached, whatever we ask for. */
static int move_above_4g(struct pci_dev *pdev)
{
	struct resource *r = &pdev->resource[2];
	u16 cmd;
	int ret;

	if (!(r->flags & IORESOURCE_MEM_64) || r->start >= SZ_4G)
		return 0;
	pci_read_config_word(pdev, PCI_COMMAND, &cmd);
	pci_write_config_word(pdev, PCI_COMMAND, cmd & ~PCI_COMMAND_MEMORY);
	pci_release_resource(pdev, 2);
	ret = pci_assign_resource(pdev, 2);
	pci_write_config_word(pdev, PCI_COMMAND, cmd);
	if (!ret && r->start < SZ_4G)
		dev_warn(&pdev->dev, "no room above 4 GiB for BAR2: it may be uncached, and slow\n");
	return ret;
}

static bool region_ok(u64 off, u64 len, u64 align, u64 bar_size)
{
	return IS_ALIGNED(off, align) && off >= VGPU_HEADER_SIZE && off <= bar_size &&
	       len <= bar_size - off;
}

/* Is it ours, and does what it says fit? -ENODEV without a word for anybody else's ivshmem. */
static int check_header(struct pci_dev *pdev, const struct vgpu_header *h, u64 size)
{
	if (READ_ONCE(h->magic) != VGPU_MAGIC)
		return -ENODEV;
	if (h->version != VGPU_LAYOUT_VERSION) {
		dev_err(&pdev->dev, "host speaks layout %u, this driver %u: install the matching vgpu_stub\n",
			h->version, VGPU_LAYOUT_VERSION);
		return -ENODEV;
	}
	if (h->bar_size != size || !h->channels || h->channels > VGPU_CHANNELS_MAX ||
	    h->extents > VGPU_EXTENTS_MAX || h->channel_stride != VGPU_CHANNEL_STRIDE ||
	    !region_ok(h->wish_off, VGPU_WISH_SIZE, PAGE_SIZE, size) ||
	    !region_ok(h->channel_off, (u64)h->channels * VGPU_CHANNEL_STRIDE, PAGE_SIZE, size) ||
	    !region_ok(h->extent_off, (u64)h->extents * VGPU_EXTENT_SIZE, PAGE_SIZE, size)) {
		dev_err(&pdev->dev, "the header in BAR2 contradicts itself: not bound\n");
		return -ENODEV;
	}
	return 0;
}

static int probe_header(struct pci_dev *pdev)
{
	u64 size = pci_resource_len(pdev, 2);
	void *page;
	int ret;

	if (size < VGPU_HEADER_SIZE)
		return -ENODEV;
	page = memremap(pci_resource_start(pdev, 2), VGPU_HEADER_SIZE, MEMREMAP_WB);
	if (!page)
		return -ENOMEM;
	ret = check_header(pdev, page, size);
	memunmap(page);
	return ret;
}

static int map_bar(struct vgpu_dev *vd)
{
	struct pci_dev *pdev = vd->pdev;

	vd->bar_phys = pci_resource_start(pdev, 2);
	vd->bar_size = pci_resource_len(pdev, 2);
	vd->pgmap.type = MEMORY_DEVICE_GENERIC;
	vd->pgmap.range.start = vd->bar_phys;
	vd->pgmap.range.end = vd->bar_phys + vd->bar_size - 1;
	vd->pgmap.nr_range = 1;
	vd->bar = memremap_pages(&vd->pgmap, dev_to_node(&pdev->dev));
	if (IS_ERR(vd->bar)) {
		dev_err(&pdev->dev,
			"no page structures for BAR2 (%llu MiB, costs the guest 1/64 of that): %ld\n",
			vd->bar_size >> 20, PTR_ERR(vd->bar));
		return PTR_ERR(vd->bar);
	}
	vd->header = vd->bar;
	vd->channel_off = vd->header->channel_off;
	vd->extent_off = vd->header->extent_off;
	vd->channels = vd->header->channels;
	vd->extents = vd->header->extents;
	vd->wish = vd->bar + vd->header->wish_off;
	return 0;
}

/* Nothing of a former life of this guest is wanted any more; the host ends what still runs.
 * owner[] stays: extents are free only once their channel is cleaned (vgpu_reclaim). */
static void reset_wishes(struct vgpu_dev *vd)
{
	unsigned int k;

	for (k = 0; k < VGPU_CHANNELS_MAX; k++)
		WRITE_ONCE(vd->wish->wanted[k], 0);
	vgpu_bell(vd, VGPU_VECTOR_VM);
}

/* ---- the device ---- */

static void release_dev(struct device *dev)
{
	struct vgpu_dev *vd = container_of(dev, struct vgpu_dev, dev);

	if (vd->inode)
		iput(vd->inode);
	ida_free(&minors, vd->minor);
	kfree(vd);
}

static struct inode *new_inode_for_maps(void)
{
	struct inode *inode = alloc_anon_inode(vgpu_mnt->mnt_sb);

	if (!IS_ERR(inode))
		inode->i_flags |= S_DAX; /* what lets 2 MiB faults reach a device mapping */
	return inode;
}

static struct vgpu_dev *alloc_dev(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = kzalloc(sizeof(*vd), GFP_KERNEL);
	unsigned int k;

	if (!vd)
		return ERR_PTR(-ENOMEM);
	vd->minor = ida_alloc_max(&minors, MINORS - 1, GFP_KERNEL);
	if (vd->minor < 0) {
		int ret = vd->minor;

		kfree(vd);
		return ERR_PTR(ret);
	}
	vd->pdev = pdev;
	vd->last_generation = get_random_u32();
	init_rwsem(&vd->guard);
	init_waitqueue_head(&vd->free_wait);
	INIT_DELAYED_WORK(&vd->tick, on_tick);
	INIT_DELAYED_WORK(&vd->closing, vgpu_closing);
	for (k = 0; k < VGPU_CHANNELS_MAX; k++) {
		vd->channel[k].dev = vd;
		init_waitqueue_head(&vd->channel[k].wait);
	}
	device_initialize(&vd->dev);
	vd->dev.class = vgpu_class;
	vd->dev.parent = &pdev->dev;
	vd->dev.devt = MKDEV(MAJOR(vgpu_devt), vd->minor);
	vd->dev.release = release_dev;
	cdev_init(&vd->cdev, &vgpu_fops);
	vd->cdev.owner = THIS_MODULE;
	return vd;
}

static int start_dev(struct vgpu_dev *vd)
{
	struct inode *inode = new_inode_for_maps();
	int ret;

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	vd->inode = inode;
	ret = dev_set_name(&vd->dev, "vgpu%d", vd->minor);
	if (ret)
		return ret;
	vd->regs = pci_iomap(vd->pdev, 0, 0);
	if (!vd->regs)
		return -ENOMEM;
	ret = map_bar(vd);
	if (ret)
		goto err_regs;
	ret = request_interrupts(vd);
	if (ret)
		goto err_bar;
	reset_wishes(vd);
	ret = cdev_device_add(&vd->cdev, &vd->dev);
	if (ret)
		goto err_irq;
	return 0;
err_irq:
	free_interrupts(vd);
err_bar:
	memunmap_pages(&vd->pgmap);
err_regs:
	pci_iounmap(vd->pdev, vd->regs);
	return ret;
}

static int vgpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vgpu_dev *vd;
	int ret;

	/* A look before anything is changed: another ivshmem device is not ours to touch. */
	ret = pci_enable_device_mem(pdev);
	if (ret)
		return ret;
	ret = probe_header(pdev);
	if (ret)
		goto err_disable;
	pci_disable_device(pdev);
	ret = move_above_4g(pdev);
	if (!ret)
		ret = pci_enable_device_mem(pdev);
	if (ret)
		return ret;
	ret = pci_request_regions(pdev, "vgpu_stub");
	if (ret)
		goto err_disable;
	pci_set_master(pdev); /* MSI-X messages are writes to memory */
	vd = alloc_dev(pdev);
	if (IS_ERR(vd)) {
		ret = PTR_ERR(vd);
		goto err_regions;
	}
	ret = start_dev(vd);
	if (ret)
		goto err_put;
	pci_set_drvdata(pdev, vd);
	dev_info(&vd->dev, "VM %u: %u channels, %u extents, BAR2 %llu MiB at %pa\n",
		 vd->header->vm_id, vd->channels, vd->extents, vd->bar_size >> 20, &vd->bar_phys);
	return 0;
err_put:
	put_device(&vd->dev);
err_regions:
	pci_release_regions(pdev);
err_disable:
	pci_disable_device(pdev);
	return ret;
}

/* Nobody can get a new reference any more; O_DIRECT in flight holds pages for as long as its I/O. */
static void wait_pages_idle(struct vgpu_dev *vd)
{
	unsigned int ms = 0;

	while (!vgpu_range_idle(vd, 0, vd->bar_size)) {
		if (++ms == 5000)
			dev_warn(&vd->pdev->dev, "unplug waits for I/O that still uses BAR2\n");
		msleep(1);
	}
}

static void vgpu_remove(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = pci_get_drvdata(pdev);

	cdev_device_del(&vd->cdev, &vd->dev);
	down_write(&vd->guard);
	reset_wishes(vd);
	/* Faults wait for guard: whoever sees the hang-up finds nothing mapped any more. */
	unmap_mapping_range(vd->inode->i_mapping, 0, 0, 1);
	WRITE_ONCE(vd->gone, true);
	up_write(&vd->guard);
	vgpu_hangup(vd);
	cancel_delayed_work_sync(&vd->closing);
	wait_pages_idle(vd);
	free_interrupts(vd);
	memunmap_pages(&vd->pgmap);
	pci_iounmap(pdev, vd->regs);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
	put_device(&vd->dev);
}

/* Reboot, kexec: let the host clean up before the next kernel comes. */
static void vgpu_shutdown(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = pci_get_drvdata(pdev);

	down_write(&vd->guard);
	reset_wishes(vd);
	up_write(&vd->guard);
}

static const struct pci_device_id vgpu_ids[] = {
	{ PCI_DEVICE(VGPU_PCI_VENDOR, VGPU_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, vgpu_ids);

static struct pci_driver vgpu_driver = {
	.name = "vgpu_stub",
	.id_table = vgpu_ids,
	.probe = vgpu_probe,
	.remove = vgpu_remove,
	.shutdown = vgpu_shutdown,
};

/* ---- the module ---- */

/* Any user of the guest may run GPU programs, as with other GPUs' device nodes. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
static char *node_mode(const struct device *dev, umode_t *mode)
#else
static char *node_mode(struct device *dev, umode_t *mode)
#endif
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static int init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, VGPU_FS_MAGIC) ? 0 : -ENOMEM;
}

/* Without owner: our own mount, which lives as long as the module, must not hold it. */
static struct file_system_type vgpu_fs = {
	.name = "vgpu_stub",
	.init_fs_context = init_fs_context,
	.kill_sb = kill_anon_super,
};

static struct class *new_class(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return class_create("vgpu");
#else
	return class_create(THIS_MODULE, "vgpu");
#endif
}

static int __init vgpu_init(void)
{
	int ret;

	vgpu_mnt = kern_mount(&vgpu_fs);
	if (IS_ERR(vgpu_mnt))
		return PTR_ERR(vgpu_mnt);
	ret = alloc_chrdev_region(&vgpu_devt, 0, MINORS, "vgpu");
	if (ret)
		goto err_mnt;
	vgpu_class = new_class();
	if (IS_ERR(vgpu_class)) {
		ret = PTR_ERR(vgpu_class);
		goto err_region;
	}
	vgpu_class->devnode = node_mode;
	ret = pci_register_driver(&vgpu_driver);
	if (!ret)
		return 0;
	class_destroy(vgpu_class);
err_region:
	unregister_chrdev_region(vgpu_devt, MINORS);
err_mnt:
	kern_unmount(vgpu_mnt);
	return ret;
}

static void __exit vgpu_exit(void)
{
	pci_unregister_driver(&vgpu_driver);
	class_destroy(vgpu_class);
	unregister_chrdev_region(vgpu_devt, MINORS);
	kern_unmount(vgpu_mnt);
	ida_destroy(&minors);
}

module_init(vgpu_init);
module_exit(vgpu_exit);
MODULE_DESCRIPTION("OpenVGPU guest driver");
MODULE_LICENSE("GPL");
