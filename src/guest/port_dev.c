/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's port: /dev/vgpuN of vgpu_stub.ko (guest/driver/vgpu_uapi.h). One open file = one channel. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "guest/driver/vgpu_uapi.h"
#include "guest/ports.h"

struct dev_port {
	struct vgpu_port p;
	int fd;
};

static int dev_fd(struct vgpu_port *p)
{
	return ((struct dev_port *)p)->fd;
}

static void bell(struct vgpu_port *p)
{
	ioctl(dev_fd(p), VGPU_IOC_BELL);
}

/* Only the kernel rings vector 0. */
static void bell_vm(struct vgpu_port *p)
{
}

static int port_wait(struct vgpu_port *p, int timeout_ms)
{
	struct pollfd f = { .fd = dev_fd(p), .events = POLLIN };
	char seen[8];
	int rc = poll(&f, 1, timeout_ms);

	if (rc < 0)
		return -errno;
	if (f.revents & (POLLHUP | POLLERR))
		return -ENODEV;
	if (rc && read(f.fd, seen, sizeof(seen)) < 0 && errno != EAGAIN && errno != EINVAL)
		return -errno;
	return rc > 0;
}

static int start(struct vgpu_port *p, int timeout_ms, uint32_t *error)
{
	struct vgpu_ioc_info info = { 0 };
	int rc = ioctl(dev_fd(p), VGPU_IOC_START, &info);
	uint64_t at;

	if (rc)
		return -errno;
	p->generation = info.generation;
	at = p->header->channel_off + (uint64_t)p->channel * p->header->channel_stride;
	p->channel_mem = mmap(NULL, VGPU_CHANNEL_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, dev_fd(p), (off_t)at);
	if (p->channel_mem == MAP_FAILED)
		return -errno;
	return vgpu_port_await_run(p, timeout_ms, error);
}

static int extents_alloc(struct vgpu_port *p, uint32_t count, uint32_t *first)
{
	struct vgpu_ioc_extents e = { .count = count };

	if (ioctl(dev_fd(p), VGPU_IOC_EXTENT_ALLOC, &e))
		return -errno;
	*first = e.first;
	return 0;
}

static void extents_free(struct vgpu_port *p, uint32_t first, uint32_t count)
{
	struct vgpu_ioc_extents e = { .count = count, .first = first };

	ioctl(dev_fd(p), VGPU_IOC_EXTENT_FREE, &e);
}

static void *extents_map(struct vgpu_port *p, uint32_t first, uint32_t count, void *at)
{
	size_t len = (size_t)count * VGPU_EXTENT_SIZE;
	off_t off = (off_t)(p->header->extent_off + (uint64_t)first * VGPU_EXTENT_SIZE);
	void *m = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED_NOREPLACE : 0), dev_fd(p), off);

	if (m != MAP_FAILED && at && m != at) {
		munmap(m, len);
		errno = EEXIST;
		return MAP_FAILED;
	}
	return m;
}

static void port_close(struct vgpu_port *p)
{
	if (p->channel_mem)
		munmap(p->channel_mem, VGPU_CHANNEL_STRIDE);
	munmap((void *)p->header, VGPU_HEADER_SIZE);
	close(dev_fd(p));
	free(p);
}

/* The driver's mappings are VM_DONTCOPY. */
static void abandon(struct vgpu_port *p)
{
	close(dev_fd(p));
}

static const struct vgpu_port_ops ops = {
	.start = start, .bell = bell, .bell_vm = bell_vm, .wait = port_wait, .extents_alloc = extents_alloc,
	.extents_free = extents_free, .extents_map = extents_map, .close = port_close, .abandon = abandon,
};

int vgpu_port_open_dev(struct vgpu_port **out, const char *path, char *err, unsigned err_len)
{
	struct dev_port *d = calloc(1, sizeof(*d));
	struct vgpu_ioc_info info = { 0 };
	void *h = MAP_FAILED;
	int rc = 0;

	if (!d)
		return -ENOMEM;
	d->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (d->fd < 0 || ioctl(d->fd, VGPU_IOC_INFO, &info) ||
	    (h = mmap(NULL, VGPU_HEADER_SIZE, PROT_READ, MAP_SHARED, d->fd, 0)) == MAP_FAILED)
		rc = -errno;
	if (rc) {
		snprintf(err, err_len, "%s: %s%s", path, strerror(-rc),
			 rc == -EBUSY ? "; all channels of this VM are in use" : "");
		if (d->fd >= 0)
			close(d->fd);
		free(d);
		return rc;
	}
	d->p.ops = &ops;
	d->p.header = h;
	d->p.channel = info.channel;
	d->p.fd = d->fd;
	*out = &d->p;
	return 0;
}
