/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of a warp: how lanes part, meet, wait, call and end.
 *
 * Policy: the group that is furthest behind runs (deepest call, then lowest instruction), so that
 * the others wait where it will arrive: that reconverges any flow graph without analysing it. After
 * SC_BUDGET branches back, every second turn goes to the group that has waited longest instead, so
 * that a lane holding a lock gets on while the others spin.
 */
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_prog.h"

struct frame_box {
	struct frame frame;
	struct frame_box *next;
};

void (*sc_expand_mask)(struct warp *w, uint32_t mask);

void sc_set_mask(struct warp *w, uint32_t mask)
{
	w->mask = mask;
	w->partial = mask != UINT32_MAX;
	if (w->partial)
		sc_expand_mask(w, mask);
}

static void enter(struct warp *w, struct frame *f, uint32_t mask)
{
	w->clear = NULL;
	if (w->frame != f) {
		w->frame = f;
		w->r = f->regs;
	}
	if (w->mask != mask)
		sc_set_mask(w, mask);
}

static void drop(struct warp *w, uint32_t i)
{
	w->wait[i] = w->wait[--w->nwait];
	w->clear = NULL;
}

/* A ready group joins one already waiting at the same place. */
static void push(struct warp *w, const struct insn *pc, struct frame *f, uint32_t mask)
{
	w->clear = NULL;
	for (uint32_t i = 0; i < w->nwait; i++) {
		struct group *g = &w->wait[i];
		if (g->pc == pc && g->frame == f && g->state == GROUP_READY) {
			g->mask |= mask;
			return;
		}
	}
	w->wait[w->nwait++] =
		(struct group){ .pc = pc, .frame = f, .mask = mask, .state = GROUP_READY, .stamp = ++w->clock };
}

void sc_park(struct warp *w, const struct insn *pc, enum group_state state, uint32_t need, unsigned bar)
{
	w->clear = NULL;
	w->wait[w->nwait++] = (struct group){ .pc = pc, .frame = w->frame, .mask = w->mask, .need = need,
					      .state = (uint8_t)state, .bar = (uint8_t)bar, .stamp = ++w->clock };
}

static bool behind(const struct group *g, const struct frame *f, const struct insn *pc)
{
	if (g->frame->depth != f->depth)
		return g->frame->depth > f->depth;
	return g->pc < pc;
}

/* The ready group that is furthest behind, or -1. */
static int furthest_behind(const struct warp *w)
{
	int best = -1;
	for (uint32_t i = 0; i < w->nwait; i++) {
		const struct group *g = &w->wait[i];
		if (g->state != GROUP_READY)
			continue;
		if (best < 0 || behind(g, w->wait[best].frame, w->wait[best].pc))
			best = (int)i;
	}
	return best;
}

static int longest_waiting(const struct warp *w)
{
	int best = -1;
	for (uint32_t i = 0; i < w->nwait; i++)
		if (w->wait[i].state == GROUP_READY && (best < 0 || w->wait[i].stamp < w->wait[best].stamp))
			best = (int)i;
	return best;
}

static const struct insn *take(struct warp *w, int i)
{
	struct group g = w->wait[i];
	drop(w, (uint32_t)i);
	enter(w, g.frame, g.mask);
	return g.pc;
}

/* How far the current group may run without looking at the others, which do not change meanwhile. */
static const struct insn *clear_until(const struct warp *w)
{
	uintptr_t until = UINTPTR_MAX;
	for (uint32_t i = 0; i < w->nwait; i++) {
		const struct group *g = &w->wait[i];
		if (g->state != GROUP_READY || g->frame->depth < w->frame->depth)
			continue;
		if (g->frame->depth > w->frame->depth)
			return NULL;
		until = (uintptr_t)g->pc < until ? (uintptr_t)g->pc : until;
	}
	return (const struct insn *)until;
}

const struct insn *sc_arrive(struct warp *w, const struct insn *pc)
{
	uint32_t mask = w->mask;
	for (uint32_t i = 0; i < w->nwait;) {
		struct group *g = &w->wait[i];
		if (g->pc == pc && g->frame == w->frame && g->state == GROUP_READY) {
			mask |= g->mask;
			drop(w, i);
		} else {
			i++;
		}
	}
	if (mask != w->mask)
		sc_set_mask(w, mask);
	if (w->rotating || w->nwait == 0)
		return pc;
	int i = furthest_behind(w);
	if (i < 0 || !behind(&w->wait[i], w->frame, pc)) {
		w->clear = clear_until(w);
		return pc;
	}
	struct frame *f = w->frame;
	const struct insn *next = take(w, i);
	push(w, pc, f, mask);
	return next;
}

void sc_split(struct warp *w, const struct insn *pc, uint32_t mask)
{
	push(w, pc, w->frame, mask);
	sc_set_mask(w, w->mask & ~mask);
}

const struct insn *sc_diverge(struct warp *w, const struct insn *a, uint32_t amask, const struct insn *b,
			      uint32_t bmask)
{
	if (a == b)
		return sc_arrive(w, a);
	if (b < a) {
		const struct insn *t = a;
		a = b;
		b = t;
		uint32_t m = amask;
		amask = bmask;
		bmask = m;
	}
	push(w, b, w->frame, bmask);
	sc_set_mask(w, amask);
	return sc_arrive(w, a);
}

const struct insn *sc_pick(struct warp *w)
{
	int i = -1;
	w->rotating = false;
	if (w->turn) {
		w->turn = false;
		i = longest_waiting(w);
		w->rotating = i >= 0 && w->nwait > 1;
	} else {
		i = furthest_behind(w);
	}
	if (i >= 0)
		return take(w, i);
	w->status = w->live ? WARP_BLOCKED : WARP_DONE;
	return NULL;
}

const struct insn *sc_resume(struct warp *w)
{
	if (w->nwait != 1 || w->wait[0].state != GROUP_READY)
		return sc_pick(w);
	w->nwait = 0;
	w->rotating = w->turn = false;
	enter(w, w->wait[0].frame, w->wait[0].mask);
	return w->wait[0].pc;
}

const struct insn *sc_budget_spent(struct warp *w, const struct insn *pc)
{
	struct run *run = w->k->run;
	bool was_turn = w->rotating;
	w->budget = SC_BUDGET;
	if (run->launch->cancel && atomic_load_explicit(run->launch->cancel, memory_order_relaxed))
		return sc_fault_at(w, pc, SC_LAUNCH_TIMEOUT, 0, 0, 0, false, "cancelled");
	if (atomic_load_explicit(&run->result, memory_order_relaxed)) {
		w->status = WARP_FAULT;
		return NULL;
	}
	push(w, pc, w->frame, w->mask);
	w->turn = !was_turn;
	w->status = WARP_YIELD;
	return NULL;
}

/* Lanes waiting for others look again when some have exited. */
static void wake_syncs(struct warp *w)
{
	w->clear = NULL;
	for (uint32_t i = 0; i < w->nwait; i++)
		if (w->wait[i].state == GROUP_SYNC || w->wait[i].state == GROUP_WARPBAR)
			w->wait[i].state = GROUP_READY;
}

static struct frame *make_frame(struct worker *k, const struct cfunc *f)
{
	struct frame_box **at = (struct frame_box **)&k->free_frames;
	for (int tries = 0; *at && tries < 8; at = &(*at)->next, tries++) {
		if ((*at)->frame.f == f) {
			struct frame_box *box = *at;
			*at = box->next;
			return &box->frame;
		}
	}
	size_t head = (sizeof(struct frame_box) + 63) & ~(size_t)63;
	size_t size = (head + f->frame_bytes + 63) & ~(size_t)63;
	struct frame_box *box = aligned_alloc(64, size);
	if (!box)
		return NULL;
	memset(box, 0, size);
	box->frame.f = f;
	box->frame.regs = (uint8_t *)box + head;
	sc_frame_init(f, box->frame.regs);
	return &box->frame;
}

static void free_frame(struct worker *k, struct frame *f)
{
	struct frame_box *box = (struct frame_box *)f;
	box->next = (struct frame_box *)k->free_frames;
	k->free_frames = (struct free_frame *)box;
}

void sc_free_frames(struct worker *k)
{
	struct frame_box *b = (struct frame_box *)k->free_frames;
	while (b) {
		struct frame_box *next = b->next;
		free(b);
		b = next;
	}
	k->free_frames = NULL;
}

/* Frames still in use when a block stops early: found through its groups. */
void sc_abandon_warp(struct warp *w)
{
	for (uint32_t i = 0; i <= w->nwait; i++) {
		struct frame *f = i < w->nwait ? w->wait[i].frame : w->frame;
		uint32_t mask = i < w->nwait ? w->wait[i].mask : w->mask;
		while (f && f->parent) {
			struct frame *parent = f->parent;
			if (f->live) {
				f->live &= ~mask;
				if (!f->live)
					free_frame(w->k, f);
			}
			f = parent;
		}
	}
	w->nwait = 0;
}

const struct insn *sc_exit_lanes(struct warp *w, uint32_t mask)
{
	if (w->nwait == 0 && w->frame == &w->entry && mask == w->live) { /* the whole warp, as most end */
		w->live = 0;
		w->status = WARP_DONE;
		sc_threads_left(w->b, w->partial ? (uint32_t)__builtin_popcount(mask) : SC_LANES);
		return NULL;
	}
	w->live &= ~mask;
	for (struct frame *f = w->frame; f;) {
		struct frame *parent = f->parent;
		f->live &= ~mask;
		if (parent && !f->live)
			free_frame(w->k, f);
		f = parent;
	}
	w->frame = &w->entry;
	w->r = w->entry.regs;
	wake_syncs(w);
	sc_threads_left(w->b, (uint32_t)__builtin_popcount(mask));
	w->mask = 0;
	return sc_pick(w);
}

static uint64_t read_slot(const uint8_t *regs, uint32_t at, uint32_t width, uint32_t i)
{
	switch (width) {
	case 2: return ((const uint16_t *)(regs + at))[i];
	case 4: return ((const uint32_t *)(regs + at))[i];
	default: return ((const uint64_t *)(regs + at))[i];
	}
}

static void write_slot(uint8_t *regs, uint32_t at, uint32_t width, uint32_t i, uint64_t v)
{
	switch (width) {
	case 2: ((uint16_t *)(regs + at))[i] = (uint16_t)v; break;
	case 4: ((uint32_t *)(regs + at))[i] = (uint32_t)v; break;
	default: ((uint64_t *)(regs + at))[i] = v; break;
	}
}

static uint8_t *local_of(const struct warp *w, const struct frame *f, uint32_t i, uint32_t at)
{
	return (uint8_t *)(uintptr_t)(w->local_base + (uint64_t)i * w->k->run->local_stride) + f->sp + at;
}

/* One argument or result from one frame to another, for the current lanes. */
static void transfer(struct warp *w, const struct call_arg *a, struct frame *from, struct frame *to,
		     uint32_t to_at, uint32_t to_width, bool to_reg, uint32_t size)
{
	for (uint32_t rest = w->mask; rest; rest &= rest - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(rest);
		uint64_t v = 0;
		if (!a->from_reg && !to_reg) {
			memcpy(local_of(w, to, i, to_at), local_of(w, from, i, a->from), size);
			continue;
		}
		if (a->from_reg)
			v = read_slot(from->regs, a->from, a->from_width, i);
		else
			memcpy(&v, local_of(w, from, i, a->from), size < 8 ? size : 8);
		if (to_reg)
			write_slot(to->regs, to_at, to_width, i, v);
		else
			memcpy(local_of(w, to, i, to_at), &v, size < 8 ? size : 8);
	}
}

const struct insn *sc_call(struct warp *w, const struct insn *in, const struct call_info *c,
			   struct cfunc *callee)
{
	struct frame *caller = w->frame;
	uint32_t sp = caller->sp + ((caller->f->local_bytes + 15) & ~15u);
	if (c->nargs != callee->nparams || c->nresults > callee->nresults)
		return sc_fault_at(w, in, SC_ILLEGAL_INSTRUCTION, __builtin_ctz(w->mask), 0, 0, false,
				   "call of %s with %u arguments, it has %u", callee->func->name, c->nargs,
				   callee->nparams);
	if (caller->depth >= SC_MAX_DEPTH || sp + callee->local_bytes > w->k->run->local_stride)
		return sc_fault_at(w, in, SC_LAUNCH_FAILED, __builtin_ctz(w->mask), 0, 0, true,
				   "stack overflow: %u calls deep, %u bytes of local memory", caller->depth,
				   sp + callee->local_bytes);
	struct frame *f = make_frame(w->k, callee);
	if (!f)
		return sc_fault_at(w, in, SC_OUT_OF_MEMORY, 0, 0, 0, false, "no memory for a call");
	f->parent = caller;
	f->ret = in + 1;
	f->live = w->mask;
	f->depth = caller->depth + 1;
	f->sp = sp;
	f->cc = 0;
	for (uint32_t k = 0; k < c->nargs; k++) {
		uint32_t size = callee->param_size[k];
		if (!c->arg[k].from_reg && c->arg[k].size < size)
			size = c->arg[k].size;
		transfer(w, &c->arg[k], caller, f, callee->param_at[k], callee->param_width[k],
			 callee->param_width[k] != 0, size);
	}
	w->frame = f;
	w->r = f->regs;
	w->clear = NULL;
	return callee->code;
}

const struct insn *sc_return(struct warp *w)
{
	struct frame *f = w->frame, *parent = f->parent;
	if (!parent)
		return sc_exit_lanes(w, w->mask);
	const struct insn *ret = f->ret;
	const struct call_info *c = ret[-1].aux;
	for (uint32_t k = 0; k < c->nresults; k++) {
		struct call_arg from = { .from_reg = f->f->result_width[k] != 0, .from = f->f->result_at[k],
					 .from_width = f->f->result_width[k] };
		uint32_t size = f->f->result_size[k];
		if (!c->result[k].from_reg && c->result[k].size < size)
			size = c->result[k].size;
		transfer(w, &from, f, parent, c->result[k].from, c->result[k].from_width,
			 c->result[k].from_reg, size);
	}
	f->live &= ~w->mask;
	if (!f->live)
		free_frame(w->k, f);
	w->frame = parent;
	w->r = parent->regs;
	w->clear = NULL;
	return w->nwait ? sc_arrive(w, ret) : ret;
}

const struct insn *sc_sync(struct warp *w, const struct insn *in, uint32_t need)
{
	uint32_t mask = w->mask;
	for (uint32_t i = 0; i < w->nwait;) {
		struct group *g = &w->wait[i];
		if (g->state == GROUP_SYNC && g->pc == in && g->frame == w->frame) {
			mask |= g->mask;
			need |= g->need;
			drop(w, i);
		} else {
			i++;
		}
	}
	if (mask != w->mask)
		sc_set_mask(w, mask);
	if ((need & w->live & ~mask) == 0)
		return in;
	sc_park(w, in, GROUP_SYNC, need, 0);
	return sc_pick(w);
}

/* Member lanes may stand at different bar.warp.sync instructions; the mask is what pairs them. */
const struct insn *sc_warp_barrier(struct warp *w, const struct insn *in, uint32_t need)
{
	uint32_t here = w->mask;
	for (uint32_t i = 0; i < w->nwait; i++)
		if (w->wait[i].state == GROUP_WARPBAR && w->wait[i].need == need)
			here |= w->wait[i].mask;
	if (need & w->live & ~here) {
		sc_park(w, in, GROUP_WARPBAR, need, 0);
		return sc_pick(w);
	}
	for (uint32_t i = 0; i < w->nwait; i++) {
		struct group *g = &w->wait[i];
		if (g->state == GROUP_WARPBAR && g->need == need) {
			g->state = GROUP_READY;
			w->clear = NULL;
			g->pc++;
		}
	}
	return sc_arrive(w, in + 1);
}
