/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting PTX before it is lowered: fewer instructions with the same results. */
#include "softcuda/engine_build.h"

bool b_droppable(const struct ptx_insn *in)
{
	return !b_impure(in->op) && !in->cc && in->op != PTX_OP_LD && in->op != PTX_OP_LDU;
}

static bool is_wide_product(const struct build *b, const struct ptx_insn *m, uint32_t reg)
{
	return m->op == PTX_OP_MUL && m->sub == PTX_MUL_WIDE && ptx_type_size(m->type) == 4 && m->pred < 0 &&
	       m->o[0].kind == PTX_O_REG && m->o[0].reg == reg && b->defs[reg] == 1 && m->o[1].kind == PTX_O_REG &&
	       m->o[2].kind == PTX_O_IMM && b->defs[m->o[1].reg] == 1;
}

/* base + index * size, as addresses are made, in one instruction where the parts are near. The
 * product itself goes when nobody else wants it. */
void b_fuse_addresses(struct build *b)
{
	enum { NEAR = 24 };
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (in->op != PTX_OP_ADD || ptx_type_size(in->type) != 8 || in->type == PTX_F64 || in->pred >= 0 || in->cc ||
		    in->o[1].kind != PTX_O_REG || in->o[2].kind != PTX_O_REG)
			continue;
		uint32_t first = b->flow->block[b->flow->block_of[i]].first;
		for (uint32_t j = i; j-- > first && i - j < NEAR;) {
			const struct ptx_insn *m = &b->insn[j];
			bool left = is_wide_product(b, m, in->o[1].reg), right = is_wide_product(b, m, in->o[2].reg);
			if (left == right)
				continue;
			struct ptx_operand base = in->o[left ? 2 : 1];
			in->op = PTX_OP_MAD;
			in->sub = PTX_MUL_WIDE;
			in->type = m->type;
			in->o[1] = m->o[1];
			in->o[2] = m->o[2];
			in->o[3] = base;
			in->nop = 4;
			break;
		}
	}
}

static const struct ptx_insn *defined_before(const struct build *b, uint32_t i, uint32_t reg)
{
	uint32_t first = b->flow->block[b->flow->block_of[i]].first;
	for (uint32_t j = i; b->defs[reg] == 1 && j-- > first;)
		if (b->insn[j].o[0].kind == PTX_O_REG && b->insn[j].o[0].reg == reg && b->insn[j].pred < 0)
			return &b->insn[j];
	return NULL;
}

/* Branches on the negation of a predicate branch on the predicate itself, the other way. */
void b_fold_negations(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (in->op != PTX_OP_BRA || in->pred < 0)
			continue;
		const struct ptx_insn *d = defined_before(b, i, (uint32_t)in->pred);
		if (!d || d->op != PTX_OP_NOT || d->o[1].kind != PTX_O_REG || d->o[1].neg || b->defs[d->o[1].reg] != 1)
			continue;
		in->pred = (int32_t)d->o[1].reg;
		in->pred_neg = !in->pred_neg;
	}
}
