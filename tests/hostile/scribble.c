/* SPDX-License-Identifier: Apache-2.0 */
#include "scribble.h"
#include <sched.h>
#include <string.h>
#include "wire/geometry.h"
#include "wire/ring.h"

/* Volatile: each store is to happen, torn or not, as written here. */
static void poke32(void *at, uint32_t v)
{
	*(volatile uint32_t *)at = v;
}

static void poke64(void *at, uint64_t v)
{
	*(volatile uint64_t *)at = v;
}

static void noise(struct scribbler *s)
{
	struct door *d = s->d;
	uint64_t r = rng_next(&s->rng);
	char *at = d->ch + rng_below(&s->rng, VGPU_CHANNEL_STRIDE / 4) * 4;

	if (r % 16 == 0) /* the pages everything hangs on, more often than their size would have it */
		at = d->ch + rng_below(&s->rng, 0x2000 / 4) * 4;
	else if (r % 16 == 1)
		at = d->ch + VGPU_CH_CTL_OFF + rng_below(&s->rng, (VGPU_CH_PARAM_OFF - VGPU_CH_CTL_OFF) / 4) * 4;
	else if (r % 16 == 2)
		at = (char *)d->extents + rng_below(&s->rng, EXTENTS * VGPU_EXTENT_SIZE / 4) * 4;
	else if (r % 16 < 5 && d->bar)
		at = (char *)d->bar + rng_below(&s->rng, (VGPU_HEADER_SIZE + VGPU_WISH_SIZE) / 4) * 4;
	else if (r % 16 == 5 && d->bar)
		at = (char *)d->bar + rng_below(&s->rng, d->bar_size / 4) * 4;
	/* Channel 0's generation stays: withdrawn, it would be over at once. */
	if (!d->bar || (uint8_t *)at != d->bar + VGPU_WISH_OFF)
		poke32(at, (uint32_t)rng_edge(&s->rng));
}

static void slots(struct scribbler *s)
{
	static const unsigned field[] = {0, 0, 4, 8, 12, 16, 16, 20, 20};
	struct vgpu_ch_guest *g = vgpu_ch_guest(s->d->ch);
	bool work = rng_next(&s->rng) & 1;
	uint64_t back = rng_below(&s->rng, 4);
	struct vgpu_entry *e = work ? vgpu_work_slot(s->d->ch, g->work_head - back) : vgpu_ctl_slot(s->d->ch, g->ctl_head - back);
	uint64_t pick = rng_next(&s->rng);

	if (pick % 2)
		poke32((char *)e + 24 + pick / 2 % 10 * 4, (uint32_t)rng_edge(&s->rng));
	else
		poke32((char *)e + field[pick / 2 % 9], (uint32_t)rng_edge(&s->rng));
}

static void indexes(struct scribbler *s)
{
	struct vgpu_ch_guest *g = vgpu_ch_guest(s->d->ch);
	vg_u64 *const word[] = {&g->work_head, &g->ctl_head, &g->cpl_tail};
	vg_u64 *at = word[rng_below(&s->rng, 3)];
	uint64_t old = *at;

	/* Most of the time within what a ring holds: else it is over at the first look. */
	poke64(at, rng_below(&s->rng, 64) ? old + rng_below(&s->rng, 256) - 128 : rng_edge(&s->rng));
	poke64(at, old);
}

static void payload(struct scribbler *s)
{
	struct door *d = s->d;
	uint64_t where = rng_below(&s->rng, 4), at;

	if (where == 3) {
		at = rng_below(&s->rng, EXTENTS * VGPU_EXTENT_SIZE / 8) * 8;
		poke64(d->extents + at, rng_edge(&s->rng));
		return;
	}
	/* The first bytes of each place a payload of ours begins at, or the bounce area. */
	at = where ? VGPU_CH_PARAM_OFF + rng_below(&s->rng, 16) * VGPU_BLOCK_SIZE + rng_below(&s->rng, 128) * 4
		   : VGPU_CH_BOUNCE_OFF + rng_below(&s->rng, VGPU_CH_BOUNCE_SIZE / 4) * 4;
	poke32(d->ch + at, (uint32_t)rng_edge(&s->rng));
}

static void swap(struct scribbler *s)
{
	bool work = rng_next(&s->rng) & 1;
	uint64_t from = rng_next(&s->rng), to = (work ? s->d->work : s->d->ctl) - rng_below(&s->rng, 8);
	struct vgpu_entry e = work ? *vgpu_work_slot(s->d->ch, from) : *vgpu_ctl_slot(s->d->ch, from);

	if (!e.opcode)
		return;
	if (work)
		*vgpu_work_slot(s->d->ch, to) = e;
	else
		*vgpu_ctl_slot(s->d->ch, to) = e;
}

static void wishes(struct scribbler *s)
{
	uint64_t r = rng_next(&s->rng);
	struct vgpu_wish *w;

	if (!s->d->bar)
		return;
	w = (struct vgpu_wish *)(void *)(s->d->bar + VGPU_WISH_OFF);
	if (r % 8 == 0) {
		poke32(&w->wanted[1 + r / 8 % (VGPU_CHANNELS_MAX - 1)], (uint32_t)rng_edge(&s->rng));
		s->d->port->ops->bell_vm(s->d->port);
	} else {
		((volatile uint8_t *)w->owner)[r / 8 % VGPU_EXTENTS_MAX] = (uint8_t)rng_next(&s->rng);
	}
}

static void answers(struct scribbler *s)
{
	struct door *d = s->d;
	uint64_t r = rng_next(&s->rng);

	if (r % 4 == 0 && d->bar)
		poke32(d->bar + rng_below(&s->rng, VGPU_HEADER_SIZE / 4) * 4, (uint32_t)rng_edge(&s->rng));
	else if (r % 4 == 1)
		poke32(d->ch + VGPU_CH_CPL_OFF + rng_below(&s->rng, VGPU_CH_CPL_ENTRIES * 16) * 4, (uint32_t)rng_edge(&s->rng));
	else
		poke32(d->ch + rng_below(&s->rng, 0x1000 / 4) * 4, (uint32_t)rng_edge(&s->rng));
}

static void (*const kinds[])(struct scribbler *) = {
	[SCRIBBLE_NOISE] = noise, [SCRIBBLE_SLOTS] = slots,   [SCRIBBLE_INDEXES] = indexes, [SCRIBBLE_PAYLOAD] = payload,
	[SCRIBBLE_SWAP] = swap,	  [SCRIBBLE_WISHES] = wishes, [SCRIBBLE_ANSWERS] = answers,
};

static void *run(void *arg)
{
	struct scribbler *s = arg;

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		kinds[s->kind](s);
		s->writes++;
		if (s->writes % 64 == 0) /* one core may be all there is: the others are to read in between */
			sched_yield();
	}
	return NULL;
}

void scribble_start(struct scribbler *s, struct door *d, enum scribble kind, struct rng rng)
{
	*s = (struct scribbler){.d = d, .kind = kind, .rng = rng};
	if (pthread_create(&s->thread, NULL, run, s))
		s->stop = true;
}

void scribble_stop(struct scribbler *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
}
