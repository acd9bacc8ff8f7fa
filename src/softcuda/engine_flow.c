/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a function, their order, and arms short enough to run under a mask. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_flow.h"

enum {
	MAX_ORDERED = 2048, /* blocks; more keep the order of the text: ordering recurses */
	MAX_ARM = 64,	    /* instructions of an arm */
	MAX_HOPS = 32,	    /* jumps to jumps followed */
};

static bool ends_block(const struct ptx_insn *in)
{
	switch (in->op) {
	case PTX_OP_BRA: case PTX_OP_BRX: return true;
	case PTX_OP_RET: case PTX_OP_EXIT: case PTX_OP_TRAP: return in->pred < 0;
	default: return false;
	}
}

static uint32_t mark_starts(const struct ptx_insn *in, uint32_t n, uint32_t *start)
{
	uint32_t edges = 0;
	start[0] = start[n] = 1;
	for (uint32_t i = 0; i < n; i++) {
		if (!ends_block(&in[i]))
			continue;
		start[i + 1] = 1;
		if (in[i].op == PTX_OP_BRA)
			start[in[i].o[0].label] = 1;
		for (uint32_t k = 0; in[i].op == PTX_OP_BRX && k < in[i].o[1].nlist; k++)
			start[in[i].o[1].vec[k].label] = 1;
		edges += in[i].op == PTX_OP_BRX ? in[i].o[1].nlist : 0;
	}
	return edges;
}

/* Where a jump to block k really leads. */
static uint32_t threaded(const struct flow *f, const struct ptx_insn *in, uint32_t k)
{
	for (int hops = 0; hops < MAX_HOPS; hops++) {
		const struct flow_block *b = &f->block[k];
		if (b->end != b->first + 1 || in[b->first].op != PTX_OP_BRA || in[b->first].pred >= 0)
			break;
		k = f->block_of[in[b->first].o[0].label];
	}
	return k;
}

static void connect(struct flow *f, const struct ptx_insn *in, uint32_t *edges)
{
	for (uint32_t k = 0; k < f->n; k++) {
		struct flow_block *b = &f->block[k];
		const struct ptx_insn *last = b->end > b->first ? &in[b->end - 1] : NULL;
		bool stops = last && ends_block(last);
		b->succ = *edges;
		b->fall = b->taken = b->join = b->arm[0] = b->arm[1] = FLOW_NONE;
		if (k + 1 < f->n && (!stops || last->pred >= 0))
			f->edge[(*edges)++] = b->fall = threaded(f, in, k + 1);
		if (stops && last->op == PTX_OP_BRA) {
			b->taken = threaded(f, in, f->block_of[last->o[0].label]);
			f->edge[(*edges)++] = b->taken;
		}
		for (uint32_t i = 0; stops && last->op == PTX_OP_BRX && i < last->o[1].nlist; i++)
			f->edge[(*edges)++] = f->block_of[last->o[1].vec[i].label];
		b->nsucc = *edges - b->succ;
	}
}

/* ---- order: Bourdoncle's weak topological order, filled from the back */

struct walk {
	struct flow *f;
	uint32_t *number, *stack, depth, count, at;
};
static uint32_t visit(struct walk *w, uint32_t k);

static void component(struct walk *w, uint32_t k)
{
	const struct flow_block *b = &w->f->block[k];
	for (uint32_t i = b->nsucc; i-- > 0;)
		if (w->number[w->f->edge[b->succ + i]] == 0)
			visit(w, w->f->edge[b->succ + i]);
	w->f->order[--w->at] = k;
}

static uint32_t visit(struct walk *w, uint32_t k)
{
	const struct flow_block *b = &w->f->block[k];
	uint32_t head = w->number[k] = ++w->count;
	bool loop = false;
	w->stack[w->depth++] = k;
	for (uint32_t i = b->nsucc; i-- > 0;) { /* the fall-through last, so that it comes next */
		uint32_t to = w->f->edge[b->succ + i];
		uint32_t min = w->number[to] ? w->number[to] : visit(w, to);
		if (min <= head) {
			head = min;
			loop = true;
		}
	}
	if (head != w->number[k])
		return head;
	w->number[k] = UINT32_MAX;
	uint32_t e = w->stack[--w->depth];
	while (e != k) {
		w->number[e] = 0;
		e = w->stack[--w->depth];
	}
	if (loop)
		component(w, k);
	else
		w->f->order[--w->at] = k;
	return head;
}

static bool put_in_order(struct flow *f)
{
	if (f->n > MAX_ORDERED) {
		for (uint32_t k = 0; k < f->n; k++)
			f->order[k] = k;
		f->norder = f->n;
		return true;
	}
	struct walk w = { .f = f, .number = calloc(f->n, 4), .stack = calloc(f->n, 4), .at = f->n };
	bool ok = w.number && w.stack;
	if (ok) {
		visit(&w, 0);
		f->norder = f->n - w.at;
		memmove(f->order, f->order + w.at, f->norder * sizeof(*f->order));
	}
	free(w.number);
	free(w.stack);
	return ok;
}

/* ---- arms */

bool flow_maskable(enum ptx_op op)
{
	switch (op) {
	case PTX_OP_ACTIVEMASK: case PTX_OP_BAR: case PTX_OP_BARRIER: case PTX_OP_BRA: case PTX_OP_BRKPT: case PTX_OP_BRX:
	case PTX_OP_CALL: case PTX_OP_ELECT: case PTX_OP_EXIT: case PTX_OP_MATCH: case PTX_OP_NANOSLEEP: case PTX_OP_REDUX:
	case PTX_OP_RET: case PTX_OP_SHFL: case PTX_OP_TRAP: case PTX_OP_VOTE:
		return false;
	default: return true;
	}
}

static bool fits_arm(const struct flow *f, const struct ptx_insn *in, uint32_t k, uint32_t head)
{
	const struct flow_block *b = &f->block[k];
	if (k == head || b->npred != 1 || b->nsucc != 1 || b->end - b->first > MAX_ARM)
		return false;
	for (uint32_t i = b->first; i < b->end; i++)
		if (in[i].pred >= 0 || (!flow_maskable(in[i].op) && !(i + 1 == b->end && in[i].op == PTX_OP_BRA)))
			return false;
	return true;
}

static void find_arms(struct flow *f, const struct ptx_insn *in, uint32_t k)
{
	struct flow_block *b = &f->block[k];
	uint32_t no = b->fall, yes = b->taken;
	if (b->nsucc != 2 || no == FLOW_NONE || yes == FLOW_NONE || no == yes)
		return;
	bool fits_no = fits_arm(f, in, no, k), fits_yes = fits_arm(f, in, yes, k);
	uint32_t after_no = fits_no ? f->edge[f->block[no].succ] : FLOW_NONE;
	uint32_t after_yes = fits_yes ? f->edge[f->block[yes].succ] : FLOW_NONE;
	if (fits_no && after_no == yes) {
		b->arm[0] = no;
		b->join = yes;
	} else if (fits_yes && after_yes == no) {
		b->arm[1] = yes;
		b->join = no;
	} else if (fits_no && fits_yes && after_no == after_yes && after_no != no && after_no != yes) {
		b->arm[0] = no;
		b->arm[1] = yes;
		b->join = after_no;
	}
	for (int i = 0; i < 2; i++)
		if (b->arm[i] != FLOW_NONE)
			f->block[b->arm[i]].is_arm = true;
}

static bool place_arms(struct flow *f, const struct ptx_insn *in)
{
	for (uint32_t i = 0; i < f->norder; i++) {
		const struct flow_block *b = &f->block[f->order[i]];
		for (uint32_t k = 0; k < b->nsucc; k++)
			f->block[f->edge[b->succ + k]].npred++;
	}
	f->block[0].npred++;
	for (uint32_t i = 0; i < f->norder; i++)
		if (!f->block[f->order[i]].is_arm)
			find_arms(f, in, f->order[i]);
	uint32_t *order = malloc(f->n * sizeof(*order)), n = 0;
	if (!order)
		return false;
	for (uint32_t i = 0; i < f->norder; i++) {
		const struct flow_block *b = &f->block[f->order[i]];
		if (b->is_arm)
			continue;
		order[n++] = f->order[i];
		for (int a = 0; a < 2; a++)
			if (b->arm[a] != FLOW_NONE)
				order[n++] = b->arm[a];
	}
	free(f->order);
	f->order = order;
	f->norder = n;
	return true;
}

struct flow *flow_new(const struct ptx_insn *in, uint32_t n)
{
	struct flow *f = calloc(1, sizeof(*f));
	uint32_t *start = calloc((size_t)n + 1, sizeof(*start)), edges = 0;
	bool ok = f && start;
	if (ok) {
		edges = mark_starts(in, n, start);
		for (uint32_t i = 0; i <= n; i++)
			f->n += start[i];
		f->block = calloc(f->n, sizeof(*f->block));
		f->order = calloc(f->n, sizeof(*f->order));
		f->block_of = calloc((size_t)n + 1, sizeof(*f->block_of));
		f->edge = calloc((size_t)edges + 2 * (size_t)f->n, sizeof(*f->edge));
		ok = f->block && f->order && f->block_of && f->edge;
	}
	if (ok) {
		for (uint32_t i = 0, k = 0; i <= n; i++) {
			k += i > 0 && start[i];
			if (start[i])
				f->block[k].first = i;
			f->block[k].end = i < n ? i + 1 : n;
			f->block_of[i] = k;
		}
		edges = 0;
		connect(f, in, &edges);
		ok = put_in_order(f) && place_arms(f, in);
	}
	free(start);
	if (!ok) {
		flow_free(f);
		return NULL;
	}
	return f;
}

void flow_free(struct flow *f)
{
	if (!f)
		return;
	free(f->block);
	free(f->edge);
	free(f->order);
	free(f->block_of);
	free(f);
}
