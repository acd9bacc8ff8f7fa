/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing of a former tenant, nor of a former life of the same one: leave a pattern in every kind of memory,
 * then look for it, and for anything that is not zero, in memory that is new.
 */
#include "attack.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cuda/cuda.h"
#include "wire/geometry.h"
#include "wire/ring.h"

static void fill_host(void *at, size_t len, uint64_t pattern)
{
	for (size_t i = 0; i + 8 <= len; i += 8)
		memcpy((char *)at + i, &pattern, 8);
}

static bool zero(struct life *l, const char *what, const void *at, size_t len)
{
	const uint64_t *w = at;

	l->tried += len;
	for (size_t i = 0; i < len / 8; i++)
		if (w[i])
			return failed("%s: byte %zu is %#llx%s", what, i * 8, (unsigned long long)w[i],
				      w[i] == l->pattern ? ", a former tenant's" : "");
	return true;
}

static int fill_device(struct life *l, uint64_t at, uint64_t bytes)
{
	return things_launch(&l->d, &l->t, K_FILL, 1, 1, (uint64_t[]){at, bytes / 8, l->pattern}, 3);
}

static int array_copy(struct life *l, bool in)
{
	struct vgpu_in_copy3d c = {.width = 4 * ARRAY_WIDTH, .height = ARRAY_HEIGHT, .depth = 1};
	vg_u16 array = VGPU_AT_ARRAY, bounce = VGPU_AT_BOUNCE;

	c.dst = in ? l->t.array : 0;
	c.src = in ? 0 : l->t.array;
	c.dst_place = in ? array : bounce;
	c.src_place = in ? bounce : array;
	c.dst_pitch = c.src_pitch = 4 * ARRAY_WIDTH;
	return CALL(&l->d, VGPU_OP_COPY3D, l->t.ctx, &c, NULL);
}

/* Buffers, array, a module's variable, extents, rings, parameters, bounce; the device addresses go to standard output. */
bool attack_leave(struct life *l)
{
	struct vgpu_in_module_global in = {.module = l->t.module};
	struct vgpu_out_module_global table = {0};
	uint32_t at = VGPU_CH_PARAM_OFF;
	int rc = door_call(&l->d, VGPU_OP_MODULE_GLOBAL, l->t.ctx, &in, "table", 5, &table);

	fill_host(l->d.ch + VGPU_CH_BOUNCE_OFF, VGPU_CH_BOUNCE_SIZE, l->pattern);
	fill_host(l->d.extents, EXTENTS * VGPU_EXTENT_SIZE, l->pattern);
	if (!rc)
		rc = array_copy(l, true);
	for (unsigned i = 0; !rc && i < 2; i++)
		rc = fill_device(l, l->t.buffer[i], BUFFER);
	if (!rc)
		rc = fill_device(l, table.dptr, table.bytes);
	if (rc)
		return failed("leaving a pattern: %d", rc);
	printf("left at %#llx %#llx %#llx\n", (unsigned long long)l->t.buffer[0], (unsigned long long)l->t.buffer[1],
	       (unsigned long long)table.dptr);
	fflush(stdout);
	fill_host(l->d.ch + at, VGPU_CH_PARAM_SIZE, l->pattern);
	fill_host(l->d.ch + VGPU_CH_WORK_OFF, VGPU_CH_WORK_ENTRIES * VGPU_ENTRY_SIZE, l->pattern);
	return true;
}

/* A channel before its first call. The host has written a few words of its own page and of no other. */
static bool look_channel(struct life *l)
{
	char *ch = l->d.ch;

	return zero(l, "control ring", ch + VGPU_CH_CTL_OFF, VGPU_CH_CTL_ENTRIES * VGPU_ENTRY_SIZE) &&
	       zero(l, "work ring", ch + VGPU_CH_WORK_OFF, VGPU_CH_WORK_ENTRIES * VGPU_ENTRY_SIZE) &&
	       zero(l, "completion ring", ch + VGPU_CH_CPL_OFF, VGPU_CH_CPL_ENTRIES * VGPU_ENTRY_SIZE) &&
	       zero(l, "parameters", ch + VGPU_CH_PARAM_OFF, VGPU_CH_PARAM_SIZE) &&
	       zero(l, "bounce area", ch + VGPU_CH_BOUNCE_OFF, VGPU_CH_BOUNCE_SIZE) &&
	       zero(l, "extents", l->d.extents, EXTENTS * VGPU_EXTENT_SIZE) &&
	       (!l->d.bar || zero(l, "all extents", l->d.bar + VGPU_EXTENT_OFF, l->d.bar_size - VGPU_EXTENT_OFF));
}

static bool look_device(struct life *l, uint64_t at, uint64_t len, const char *what)
{
	for (uint64_t done = 0; done < len; done += VGPU_CH_BOUNCE_SIZE) {
		uint64_t part = len - done < VGPU_CH_BOUNCE_SIZE ? len - done : VGPU_CH_BOUNCE_SIZE;
		int rc = things_fetch(&l->d, &l->t, at + done, 0, (uint32_t)part);

		if (rc)
			return failed("%s: copying it: %d", what, rc);
		if (!zero(l, what, l->d.ch + VGPU_CH_BOUNCE_OFF, part))
			return false;
	}
	return true;
}

/* Local and shared memory of a kernel go through buffer 0; then the rest of the quota. */
static bool look_kernel(struct life *l)
{
	struct vgpu_in_mem_alloc in = {.bytes = 16 << 20};
	uint64_t out = l->t.buffer[0], dptr;
	int rc = things_launch(&l->d, &l->t, K_PEEK, 1, 1, &out, 1);

	if (rc)
		return failed("a kernel that looks at its local memory: %d", rc);
	if (!look_device(l, out, 32768, "local and shared memory"))
		return false;
	while (vgpu_now_ns() < l->until && CALL(&l->d, VGPU_OP_MEM_ALLOC, l->t.ctx, &in, &dptr) == 0)
		if (!look_device(l, dptr, in.bytes, "the rest of the quota"))
			return false;
	return true;
}

/* Before the first call, which main() has not made for this one; then objects, new as well. */
bool attack_look(struct life *l)
{
	int rc;

	if (!look_channel(l))
		return false;
	rc = things_make(&l->d, &l->t, true);
	if (rc)
		return failed("looking: result %d", rc);
	if (array_copy(l, false))
		return failed("looking at an array");
	return zero(l, "array", l->d.ch + VGPU_CH_BOUNCE_OFF, 4 * ARRAY_WIDTH * ARRAY_HEIGHT) &&
	       look_device(l, l->t.buffer[0], BUFFER, "device memory") && look_device(l, l->t.buffer[1], BUFFER, "device memory") &&
	       look_kernel(l);
}

static bool await_state(struct door *d, uint32_t state, uint32_t generation)
{
	const volatile struct vgpu_channel_status *s = &d->port->header->channel[0];
	uint64_t until = vgpu_now_ns() + ANSWER_MS * 1000000ull;

	while (s->state != state || (state == VGPU_CH_RUN && s->generation != generation))
		if (vgpu_now_ns() > until || d->port->ops->wait(d->port, VGPU_RECHECK_MS) == -ENODEV)
			return false;
	return true;
}

/* The same memory, given back and taken anew, as a guest kernel does between two of its processes. */
bool attack_reuse(struct life *l)
{
	struct vgpu_wish *w;

	if (!l->d.bar)
		return true; /* the driver's part: its own tests */
	if (!attack_leave(l))
		return false;
	w = (struct vgpu_wish *)(void *)(l->d.bar + VGPU_WISH_OFF);
	vgpu_store32(&w->wanted[0], 0);
	l->d.port->ops->bell_vm(l->d.port);
	if (!await_state(&l->d, VGPU_CH_FREE, 0))
		return failed("a closed channel does not become FREE");
	if (!zero(l, "a channel that is FREE", l->d.ch, VGPU_CHANNEL_STRIDE) || !look_channel(l))
		return false;
	l->d.port->generation = 2 + (uint32_t)rng_below(&l->rng, 1000);
	vgpu_store32(&w->wanted[0], l->d.port->generation);
	l->d.port->ops->bell_vm(l->d.port);
	if (!await_state(&l->d, VGPU_CH_RUN, l->d.port->generation))
		return failed("a channel that was FREE does not run");
	l->d.work = l->d.ctl = l->d.cpl = 0;
	vgpu_store32(&vgpu_ch_guest(l->d.ch)->sleeping, 1);
	return attack_look(l);
}
