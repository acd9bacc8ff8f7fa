/* SPDX-License-Identifier: Apache-2.0 */
#include "door.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "wire/geometry.h"
#include "wire/ring.h"

static const volatile struct vgpu_channel_status *status(const struct door *d)
{
	return &d->port->header->channel[d->port->channel];
}

bool door_alive(const struct door *d)
{
	return status(d)->state == VGPU_CH_RUN && status(d)->generation == d->port->generation;
}

uint32_t door_error(const struct door *d)
{
	return status(d)->error;
}

bool door_await_death(struct door *d, int ms)
{
	uint64_t until = vgpu_now_ns() + (uint64_t)ms * 1000000;

	while (status(d)->state != VGPU_CH_DEAD)
		if (vgpu_now_ns() > until || d->port->ops->wait(d->port, VGPU_RECHECK_MS) == -ENODEV)
			return false;
	return true;
}

/* The port keeps the memory to itself; a hostile process does not ask. */
static void map_whole(struct door *d)
{
	DIR *dir = opendir("/proc/self/fd");
	struct stat st;
	char path[300], name[64];

	for (struct dirent *e; dir && (e = readdir(dir));) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
		n = readlink(path, name, sizeof(name) - 1);
		name[n > 0 ? n : 0] = 0;
		if (strncmp(name, "/memfd:vgpu-bar", 15) || fstat(atoi(e->d_name), &st))
			continue;
		d->bar_size = (uint64_t)st.st_size;
		d->bar = mmap(NULL, d->bar_size, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(e->d_name), 0);
		if (d->bar == MAP_FAILED)
			d->bar = NULL;
		break;
	}
	if (dir)
		closedir(dir);
}

int door_open(struct door *d, char *why, unsigned len)
{
	uint32_t error = 0;
	int rc;

	memset(d, 0, sizeof(*d));
	rc = vgpu_port_open(&d->port, why, len);
	if (rc)
		return -1;
	rc = d->port->ops->start(d->port, ANSWER_MS, &error);
	d->ch = d->port->channel_mem;
	if (rc || error) {
		snprintf(why, len, "not started: %s, error %u", strerror(-rc), error);
		d->error = error;
		return rc ? -1 : 1;
	}
	map_whole(d);
	rc = d->port->ops->extents_alloc(d->port, EXTENTS, &d->first_extent);
	if (!rc) {
		d->extents = d->port->ops->extents_map(d->port, d->first_extent, EXTENTS, NULL);
		rc = d->extents == MAP_FAILED ? -errno : 0;
	}
	if (rc)
		snprintf(why, len, "extents: %s", strerror(-rc));
	vgpu_store32(&vgpu_ch_guest(d->ch)->sleeping, 1);
	return rc ? -1 : 0;
}

void door_close(struct door *d)
{
	if (d->bar)
		munmap(d->bar, d->bar_size);
	if (d->extents && d->extents != MAP_FAILED)
		munmap(d->extents, EXTENTS * VGPU_EXTENT_SIZE);
	if (d->port)
		d->port->ops->close(d->port);
	memset(d, 0, sizeof(*d));
}

/* Where the payload of the call numbered n lies: 15 of them before one is overwritten. */
static uint32_t payload_at(uint64_t n)
{
	return VGPU_CH_PARAM_OFF + (uint32_t)(n % 15) * VGPU_BLOCK_SIZE;
}

struct vgpu_entry door_entry(struct door *d, unsigned op, uint32_t ctx, const void *body, const void *payload,
			     uint32_t payload_len)
{
	const struct vgpu_op_info *o = &vgpu_op_info[op];
	uint32_t spilled = o->in_size > VGPU_INLINE_IN ? o->in_size : 0;
	struct vgpu_entry e = {.opcode = (vg_u16)op, .flags = VGPU_E_REPLY, .tag = (vg_u32)++d->calls, .ctx = ctx};

	if (spilled + payload_len) {
		e.pay_off = payload_at(d->calls);
		e.pay_len = spilled + payload_len;
		if (spilled)
			memcpy(d->ch + e.pay_off, body, spilled);
		if (payload_len)
			memcpy(d->ch + e.pay_off + spilled, payload, payload_len);
	}
	if (!spilled && body)
		memcpy(e.body, body, o->in_size);
	return e;
}

void door_put(struct door *d, const struct vgpu_entry *e)
{
	struct vgpu_ch_guest *g = vgpu_ch_guest(d->ch);

	if (e->opcode < VGPU_OP_COUNT && vgpu_op_info[e->opcode].flags & VGPU_OP_WORK) {
		*vgpu_work_slot(d->ch, d->work) = *e;
		vgpu_store64(&g->work_head, ++d->work);
	} else {
		*vgpu_ctl_slot(d->ch, d->ctl) = *e;
		vgpu_store64(&g->ctl_head, ++d->ctl);
	}
	if (vgpu_peer_sleeps(&vgpu_ch_host(d->ch)->sleeping))
		d->port->ops->bell(d->port);
}

bool door_take(struct door *d, struct vgpu_completion *c)
{
	if (vgpu_load64(&vgpu_ch_host(d->ch)->cpl_head) == d->cpl)
		return false;
	*c = *vgpu_cpl_slot(d->ch, d->cpl);
	vgpu_store64(&vgpu_ch_guest(d->ch)->cpl_tail, ++d->cpl);
	return true;
}

int door_call(struct door *d, unsigned op, uint32_t ctx, const void *body, const void *payload, uint32_t payload_len,
	      void *out)
{
	struct vgpu_entry e = door_entry(d, op, ctx, body, payload, payload_len);
	uint64_t until = vgpu_now_ns() + ANSWER_MS * 1000000ull;
	struct vgpu_completion c;

	door_put(d, &e);
	do {
		while (!door_take(d, &c)) {
			if (!door_alive(d))
				return DOOR_DEAD;
			if (vgpu_now_ns() > until)
				return DOOR_SILENT;
			if (d->port->ops->wait(d->port, VGPU_RECHECK_MS) == -ENODEV)
				return DOOR_DEAD;
		}
	} while (c.tag != e.tag); /* of a call that was left behind */
	if (out)
		memcpy(out, c.body, vgpu_op_info[op].out_size);
	return c.result;
}
