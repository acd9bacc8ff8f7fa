/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting PTX before it is lowered: fewer instructions with the same results. */
#include "softcuda/engine_build.h"

bool b_droppable(const struct ptx_insn *in)
{
	return !b_impure(in->op) && !in->cc && in->op != PTX_OP_LD && in->op != PTX_OP_LDU;
}

/* Whether reg holds at i what it held at j, earlier in the same block. */
static bool unchanged(const struct build *b, uint32_t reg, uint32_t j, uint32_t i)
{
	if (b->defs[reg] == 1)
		return true;
	for (; j < i; j++) {
		const struct ptx_insn *in = &b->insn[j];
		int results = ptx_writes_pair(in->op) ? 2 : 1;
		if (in->op == PTX_OP_CALL)
			return false;
		for (int k = 0; k < results; k++) {
			const struct ptx_operand *o = &in->o[k];
			if (o->kind == PTX_O_REG && o->reg == reg)
				return false;
			for (uint32_t e = 0; o->kind == PTX_O_VEC && e < o->n; e++)
				if (o->vec[e].kind == PTX_O_REG && o->vec[e].reg == reg)
					return false;
		}
	}
	return true;
}

/* Whether m computes reg as the product that an addition of this type may take in. */
static bool is_product(const struct build *b, const struct ptx_insn *m, uint32_t reg, enum ptx_type type)
{
	uint32_t size = ptx_type_size(type), half = ptx_type_size(m->type);
	if (m->op != PTX_OP_MUL || m->pred >= 0 || m->o[0].kind != PTX_O_REG || m->o[0].reg != reg || b->defs[reg] != 1 ||
	    m->o[1].kind != PTX_O_REG || m->type >= PTX_F16)
		return false;
	return (m->sub == PTX_MUL_WIDE && size == 8 && half == 4 && m->o[2].kind == PTX_O_IMM) ||
	       (m->sub == PTX_MUL_LO && size == half && size >= 4);
}

static bool takes_product(const struct ptx_insn *in)
{
	return in->op == PTX_OP_ADD && in->type < PTX_F16 && ptx_type_size(in->type) >= 4 && in->pred < 0 && !in->cc &&
	       !in->sat && (in->o[1].kind == PTX_O_REG || in->o[2].kind == PTX_O_REG);
}

static bool is_reg(const struct ptx_operand *o, uint32_t reg)
{
	return o->kind == PTX_O_REG && o->reg == reg;
}

/* A product and the addition behind it, as addresses are made of base + index * size, in one
 * instruction where the two are near. The product itself goes when nobody else wants it. */
void b_fuse_products(struct build *b)
{
	enum { NEAR = 24 };
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (!takes_product(in))
			continue;
		uint32_t first = b->flow->block[b->flow->block_of[i]].first;
		for (uint32_t j = i; j-- > first && i - j < NEAR;) {
			const struct ptx_insn *m = &b->insn[j];
			uint32_t reg = m->o[0].reg;
			bool left = is_reg(&in->o[1], reg);
			if (left == is_reg(&in->o[2], reg) || !is_product(b, m, reg, in->type) ||
			    (m->sub == PTX_MUL_LO && b->reads[reg] != 1) || !unchanged(b, m->o[1].reg, j, i) ||
			    (m->o[2].kind == PTX_O_REG && !unchanged(b, m->o[2].reg, j, i)))
				continue;
			struct ptx_operand base = in->o[left ? 2 : 1];
			in->op = PTX_OP_MAD;
			in->sub = m->sub;
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
		if (is_reg(&b->insn[j].o[0], reg) && b->insn[j].pred < 0)
			return &b->insn[j];
	return NULL;
}

/* A predicate that is the same constant wherever it is defined at all. */
static bool is_known(const struct build *b, const struct ptx_operand *o, bool *value)
{
	if (o->kind == PTX_O_IMM) {
		*value = o->imm != 0;
		return true;
	}
	if (o->kind != PTX_O_REG || b->known[o->reg] == 0)
		return false;
	*value = (b->known[o->reg] == 2) != o->neg;
	return true;
}

/* The one predicate that d hands on, as it is or negated. */
static const struct ptx_operand *handed_on(const struct build *b, const struct ptx_insn *d, bool *negated)
{
	bool value = false;
	const struct ptx_operand *o = &d->o[1];
	*negated = d->op == PTX_OP_NOT;
	if (d->type != PTX_PRED)
		return NULL;
	if (d->op == PTX_OP_XOR) {
		if (is_known(b, o, &value))
			o = &d->o[2];
		else if (!is_known(b, &d->o[2], &value))
			return NULL;
		*negated = value;
	} else if (d->op != PTX_OP_NOT && d->op != PTX_OP_MOV) {
		return NULL;
	}
	return o->kind == PTX_O_REG && b->defs[o->reg] == 1 ? o : NULL;
}

static void find_known(struct build *b)
{
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		const struct ptx_insn *in = &b->insn[i];
		if (in->op == PTX_OP_MOV && in->type == PTX_PRED && in->pred < 0 && in->o[0].kind == PTX_O_REG &&
		    in->o[1].kind == PTX_O_IMM && b->defs[in->o[0].reg] == 1)
			b->known[in->o[0].reg] = in->o[1].imm ? 2 : 1;
	}
}

/* Branches on what only hands on another predicate, or its negation, branch on that one: compilers
 * negate by xor with a constant. */
void b_fold_predicates(struct build *b)
{
	enum { MAX_STEPS = 8 };
	find_known(b);
	for (uint32_t i = 0; i < b->f->ninsns; i++) {
		struct ptx_insn *in = &b->insn[i];
		if (in->op != PTX_OP_BRA || in->pred < 0)
			continue;
		for (int steps = 0; steps < MAX_STEPS; steps++) {
			bool negated;
			const struct ptx_insn *d = defined_before(b, i, (uint32_t)in->pred);
			const struct ptx_operand *o = d ? handed_on(b, d, &negated) : NULL;
			if (!o)
				break;
			in->pred = (int32_t)o->reg;
			in->pred_neg ^= negated != o->neg;
		}
	}
}
