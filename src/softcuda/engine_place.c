/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where registers lie and what is computed when. Values that no block changes (parameters, thread
 * index and what is computed from them alone, in registers written once) are computed once per warp
 * and launch, in the prologue; registers that are never alive together share a place.
 */
#include <stdlib.h>
#include "softcuda/engine_build.h"

static void count_def(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		b->defs[o->reg]++;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		count_def(b, &o->vec[k]);
	for (uint32_t k = 0; o->kind == PTX_O_LIST && k < o->nlist; k++)
		count_def(b, &o->vec[k]);
}

void b_count_defs(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		const struct ptx_insn *in = &b->insn[i];
		count_def(b, &in->o[0]);
		if (ptx_writes_pair(in->op))
			count_def(b, &in->o[1]);
	}
}

bool b_impure(enum ptx_op op)
{
	switch (op) {
	case PTX_OP_ACTIVEMASK: case PTX_OP_ATOM: case PTX_OP_BAR: case PTX_OP_BARRIER: case PTX_OP_BRA:
	case PTX_OP_BRKPT: case PTX_OP_BRX: case PTX_OP_CALL: case PTX_OP_ELECT: case PTX_OP_EXIT:
	case PTX_OP_FENCE: case PTX_OP_MATCH: case PTX_OP_MEMBAR: case PTX_OP_NANOSLEEP:
	case PTX_OP_PREFETCH: case PTX_OP_PREFETCHU: case PTX_OP_RED: case PTX_OP_REDUX: case PTX_OP_RET:
	case PTX_OP_SHFL: case PTX_OP_ST: case PTX_OP_SULD: case PTX_OP_SUQ: case PTX_OP_SURED:
	case PTX_OP_SUST: case PTX_OP_TEX: case PTX_OP_TLD4: case PTX_OP_TRAP: case PTX_OP_TXQ:
	case PTX_OP_VOTE: case PTX_OP_ADDC: case PTX_OP_SUBC: case PTX_OP_MADC:
		return true;
	default:
		return false;
	}
}

static bool same_every_block(struct build *b, const struct ptx_operand *o)
{
	switch (o->kind) {
	case PTX_O_REG: return b->stable[o->reg];
	case PTX_O_SREG:
		return !(o->sreg >= PTX_SREG_CTAID_X && o->sreg <= PTX_SREG_CTAID_Z) &&
		       !(o->sreg >= PTX_SREG_CLOCK && o->sreg <= PTX_SREG_GLOBALTIMER_HI);
	case PTX_O_VEC:
		for (uint32_t k = 0; k < o->n; k++)
			if (!same_every_block(b, &o->vec[k]))
				return false;
		return true;
	default: return true;
	}
}

static bool single_def(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		return b->defs[o->reg] == 1;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		if (!single_def(b, &o->vec[k]))
			return false;
	return true;
}

static bool for_prologue(struct build *b, const struct ptx_insn *in)
{
	if (!b->f->is_entry || in->pred >= 0 || in->cc || b_impure(in->op))
		return false;
	if ((in->op == PTX_OP_LD || in->op == PTX_OP_LDU) &&
	    !(in->space == PTX_SPACE_PARAM && in->o[1].var && !in->o[1].base_is_reg &&
	      (in->o[1].var->engine_addr & SC_KERNEL_PARAM)))
		return false;
	int first = ptx_writes_pair(in->op) ? 2 : 1;
	for (int k = 0; k < first; k++)
		if (!single_def(b, &in->o[k]))
			return false;
	for (int k = first; k < 6; k++)
		if (!same_every_block(b, &in->o[k]))
			return false;
	return true;
}

static void mark_stable(struct build *b, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG)
		b->stable[o->reg] = true;
	for (uint32_t k = 0; o->kind == PTX_O_VEC && k < o->n; k++)
		mark_stable(b, &o->vec[k]);
}

void b_find_early(struct build *b)
{
	for (uint32_t i = 0; i < b->flow->norder; i++) {
		const struct flow_block *k = &b->flow->block[b->flow->order[i]];
		for (uint32_t j = k->first; j < k->end; j++) {
			const struct ptx_insn *in = &b->insn[j];
			if (b->drop[j])
				continue;
			if (b_affine_def(b, j)) {
				b->early[j] = b->stable[in->o[0].reg];
				continue;
			}
			if (!for_prologue(b, in))
				continue;
			b->early[j] = 1;
			mark_stable(b, &in->o[0]);
			if (ptx_writes_pair(in->op))
				mark_stable(b, &in->o[1]);
		}
	}
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
	return a < c ? -1 : a > c;
}

/* Places are shared by registers of one width, brief ones among themselves. */
static int pool(const struct build *b, uint32_t reg)
{
	return b_width_class(b_width(b->regs[reg].type)) + (b->brief[reg] ? 4 : 0);
}

static bool in_head(const struct build *b, uint32_t reg)
{
	return b->affine && b_affine_value(b, reg) && !b_affine_lanes(b, reg);
}

/* Registers that are never alive together share a place: the fewer bytes a frame has, the more of
 * a block's frames stay in the nearest cache. What the prologue writes, or callers do, keeps its own. */
void b_share_places(struct build *b, const struct flow_live *l)
{
	uint32_t nregs = b->f->nregs, n = 0, ended = 0, nfree[8] = { 0 };
	uint64_t *begin = b_alloc(b, sizeof(uint64_t) * 2 * ((size_t)nregs + 1)), *end = begin + nregs + 1;
	uint32_t *freed = b_alloc(b, sizeof(uint32_t) * 8 * ((size_t)nregs + 1));
	for (uint32_t r = 0; r < nregs; r++) {
		if (l->from[r] == 0 || b->stable[r] || b->slot[r] != UINT32_MAX || in_head(b, r))
			continue;
		begin[n] = (uint64_t)l->from[r] << 32 | r;
		end[n++] = (uint64_t)l->to[r] << 32 | r;
	}
	qsort(begin, n, sizeof(*begin), by_value);
	qsort(end, n, sizeof(*end), by_value);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t r = (uint32_t)begin[i], width = b_width(b->regs[r].type);
		int c = pool(b, r);
		for (; end[ended] >> 32 < begin[i] >> 32; ended++) {
			uint32_t dead = (uint32_t)end[ended];
			int k = pool(b, dead);
			freed[(size_t)k * (nregs + 1) + nfree[k]++] = b->slot[dead];
		}
		if (nfree[c]) {
			b->slot[r] = freed[(size_t)c * (nregs + 1) + --nfree[c]];
			continue;
		}
		b->slot[r] = b_room(b, width);
		if (b->brief[r])
			b_mark_loose(b, b->slot[r]);
	}
}
