/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block's warps and barriers. Barriers count threads, so lanes of a warp may come one by one;
 * where a count is written, a whole warp counts 32 however many threads it has.
 */
#include "softcuda/engine_prog.h"

static void put_result(const struct barrier *b, const struct insn *bar, struct frame *f, uint32_t mask)
{
	uint32_t *d = (uint32_t *)(f->regs + bar->o[3]);
	uint32_t p = bar->sub == PTX_BAR_RED_AND ? b->red_and : b->red_or;
	if (bar->sub == PTX_BAR_RED_POPC)
		for (uint32_t rest = mask; rest; rest &= rest - 1)
			d[__builtin_ctz(rest)] = b->popc;
	else if (bar->sub == PTX_BAR_RED_AND || bar->sub == PTX_BAR_RED_OR)
		*d = (*d & ~mask) | (p ? mask : 0);
}

static void release(struct block *b, unsigned id)
{
	struct barrier *bar = &b->bar[id];
	for (uint32_t k = 0; k < b->warps && bar->waiting; k++) {
		struct warp *w = &b->warp[k];
		for (uint32_t i = 0; i < w->nwait; i++) {
			struct group *g = &w->wait[i];
			if (g->state != GROUP_BAR || g->bar != id)
				continue;
			put_result(bar, g->pc - 1, g->frame, g->mask);
			g->state = GROUP_READY;
			w->clear = NULL;
			bar->waiting--;
			b->waiting--;
			if (w->status == WARP_BLOCKED)
				w->status = WARP_RUN;
		}
	}
	bar->arrived = 0;
}

static bool complete(const struct block *b, const struct barrier *bar)
{
	return bar->arrived >= (bar->expected ? bar->expected : b->alive);
}

const struct insn *sc_barrier(struct warp *w, const struct insn *in, unsigned id, uint32_t count, bool park,
			      uint32_t pred)
{
	struct block *b = w->b;
	if (id >= SC_BARRIERS)
		return sc_fault_at(w, in, SC_ILLEGAL_INSTRUCTION, __builtin_ctz(w->mask), 0, 0, false,
				   "barrier %u of %d", id, SC_BARRIERS);
	struct barrier *bar = &b->bar[id];
	uint32_t lanes = (uint32_t)__builtin_popcount(w->mask);
	if (bar->arrived == 0) {
		bar->expected = count;
		bar->red_or = bar->popc = 0;
		bar->red_and = 1;
	}
	bar->arrived += count && w->mask == w->live ? SC_LANES : lanes;
	bar->red_or |= pred != 0;
	bar->red_and &= pred == w->mask;
	bar->popc += (uint32_t)__builtin_popcount(pred);
	if (complete(b, bar)) {
		if (park)
			put_result(bar, in, w->frame, w->mask);
		release(b, id);
		return in + 1;
	}
	if (!park)
		return in + 1;
	bar->waiting++;
	b->waiting++;
	sc_park(w, in + 1, GROUP_BAR, 0, id);
	return sc_pick(w);
}

void sc_threads_left(struct block *b, uint32_t n)
{
	b->alive -= n;
	if (!b->waiting)
		return;
	for (unsigned id = 0; id < SC_BARRIERS; id++)
		if (b->bar[id].waiting && complete(b, &b->bar[id]))
			release(b, id);
}

static void run_warp(struct warp *w)
{
	w->status = WARP_RUN;
	const struct insn *in = sc_resume(w);
	while (in)
		in = in->fn[w->partial](w, in);
}

/* Every warp waits, and nobody is left to end the wait: says at what. */
static void deadlock(struct block *b)
{
	for (uint32_t k = 0; k < b->warps; k++) {
		struct warp *w = &b->warp[k];
		for (uint32_t i = 0; i < w->nwait; i++) {
			struct group *g = &w->wait[i];
			int lane = __builtin_ctz(g->mask);
			if (g->state == GROUP_BAR)
				sc_fault_at(w, g->pc - 1, SC_LAUNCH_FAILED, lane, 0, 0, false,
					    "deadlock: barrier %u has %u of %u threads and no other can come",
					    g->bar, b->bar[g->bar].arrived,
					    b->bar[g->bar].expected ? b->bar[g->bar].expected : b->alive);
			else
				sc_fault_at(w, g->pc, SC_LAUNCH_FAILED, lane, 0, 0, false,
					    "deadlock: lanes %#x wait for lanes %#x, which will not come", g->mask,
					    g->need & w->live & ~g->mask);
			return;
		}
	}
}

int sc_run_block(struct worker *k, struct block *b, bool may_yield)
{
	for (;;) {
		bool ran = false;
		uint32_t done = 0;
		for (uint32_t i = 0; i < b->warps; i++) {
			struct warp *w = &b->warp[i];
			if (w->status == WARP_RUN || w->status == WARP_YIELD) {
				run_warp(w);
				ran = true;
				if (w->status == WARP_FAULT)
					return BLOCK_FAULT;
			}
			done += w->status == WARP_DONE;
		}
		if (done == b->warps)
			return BLOCK_DONE;
		if (!ran) {
			deadlock(b);
			return BLOCK_FAULT;
		}
		if (may_yield)
			return BLOCK_YIELD;
	}
}
