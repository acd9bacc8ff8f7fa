/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest kernel, as far as the host can tell: all of BAR2 and the doorbell, through sysfs as root in
 * the guest. With the driver bound it writes beside it (the guest needs iomem=relaxed for that); unbound, it is
 * the driver.
 *
 * usage: hostile-kernel DEVICE SECONDS SEED
 *
 * DEVICE: /sys/bus/pci/devices/ADDRESS. Writes random and border values over the header, wish page, control pages,
 * rings, bounce and extents of all channels, and rings, as fast as it can. It has no verdict of its own: that is the
 * host's, outside.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "rng.h"
#include "wire/geometry.h"
#include "wire/ring.h"

#define BELL_REGISTER 12u /* ivshmem's Doorbell: peer << 16 | vector */
#define HOST_PEERS 4u	  /* ours and some that are not there */

struct device {
	uint8_t *bar;
	uint64_t size;
	volatile uint32_t *bell;
};

static void *map_resource(const char *device, unsigned number, uint64_t *size)
{
	char path[256];
	struct stat st;
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/resource%u", device, number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		exit(2);
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	*size = (uint64_t)st.st_size;
	return p;
}

static struct device open_device(const char *path)
{
	struct device d;
	uint64_t registers;

	d.bell = (volatile uint32_t *)((char *)map_resource(path, 0, &registers) + BELL_REGISTER);
	d.bar = map_resource(path, 2, &d.size);
	return d;
}

static volatile struct vgpu_wish *wish_of(const struct device *d)
{
	return (volatile struct vgpu_wish *)(void *)(d->bar + VGPU_WISH_OFF);
}

/* ---- one write each ---- */

static void poke(const struct device *d, uint64_t at, uint64_t v)
{
	*(volatile uint32_t *)(void *)(d->bar + at % d->size / 4 * 4) = (uint32_t)v;
}

static void write_header(const struct device *d, struct rng *r)
{
	poke(d, rng_below(r, VGPU_HEADER_SIZE), rng_edge(r));
}

/* Few generations, so that some are taken up before they change again. */
static void write_wish(const struct device *d, struct rng *r)
{
	uint64_t pick = rng_next(r);

	wish_of(d)->wanted[pick % VGPU_CHANNELS_MAX] = (uint32_t)(pick >> 32) % 3 ? (uint32_t)(pick >> 8) % 4 : (uint32_t)rng_edge(r);
	*d->bell = 0;
}

static void write_owners(const struct device *d, struct rng *r)
{
	uint64_t from = rng_below(r, VGPU_EXTENTS_MAX), count = rng_below(r, 64);
	uint8_t owner = (uint8_t)rng_below(r, rng_next(r) % 4 ? VGPU_CHANNELS_MAX + 2 : 256);

	for (uint64_t e = from; e < from + count && e < VGPU_EXTENTS_MAX; e++)
		wish_of(d)->owner[e] = owner;
}

/* The words everything hangs on, then the rings, then anything of a channel. */
static void write_channel(const struct device *d, struct rng *r)
{
	static const uint64_t most[] = {0x2000, VGPU_CH_PARAM_OFF, VGPU_CHANNEL_STRIDE};
	uint64_t k = rng_below(r, VGPU_CHANNELS_MAX);

	poke(d, VGPU_CHANNEL_OFF + k * VGPU_CHANNEL_STRIDE + rng_below(r, most[rng_below(r, 3)]), rng_edge(r));
}

/* Heads that say there is work: what lies in the ring is read. */
static void write_heads(const struct device *d, struct rng *r)
{
	char *ch = (char *)d->bar + VGPU_CHANNEL_OFF + rng_below(r, VGPU_CHANNELS_MAX) * VGPU_CHANNEL_STRIDE;
	struct vgpu_ch_guest *g = vgpu_ch_guest(ch);
	struct vgpu_ch_host *h = vgpu_ch_host(ch);

	vgpu_store64(&g->ctl_head, vgpu_load64(&h->ctl_tail) + rng_below(r, 3));
	vgpu_store64(&g->work_head, vgpu_load64(&h->work_tail) + rng_below(r, 3));
}

static void write_extent(const struct device *d, struct rng *r)
{
	poke(d, VGPU_EXTENT_OFF + rng_below(r, d->size - VGPU_EXTENT_OFF), rng_edge(r));
}

static void ring(const struct device *d, struct rng *r)
{
	uint64_t pick = rng_next(r);

	for (uint64_t n = 0; n < pick % 64; n++)
		*d->bell = (uint32_t)((pick >> 8) % HOST_PEERS << 16 | (pick >> 16) % (VGPU_VECTORS + 2));
}

static void (*const writes[])(const struct device *, struct rng *) = {
	write_header, write_wish, write_owners, write_channel, write_channel, write_heads, write_extent, ring,
};

int main(int argc, char **argv)
{
	uint64_t until, n = 0;
	struct device d;
	struct rng r;

	if (argc != 4) {
		fputs("usage: hostile-kernel DEVICE SECONDS SEED\n", stderr);
		return 2;
	}
	d = open_device(argv[1]);
	r = rng_of(strtoull(argv[3], NULL, 0), 0);
	printf("seed %s\n", argv[3]);
	fflush(stdout);
	for (until = vgpu_now_ns() + (uint64_t)(atof(argv[2]) * 1e9); vgpu_now_ns() < until; n++)
		writes[rng_below(&r, sizeof(writes) / sizeof(*writes))](&d, &r);
	printf("%llu writes\n", (unsigned long long)n);
	return 0;
}
