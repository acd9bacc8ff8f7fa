/* SPDX-License-Identifier: Apache-2.0 */
/* tex and txq: finds the texture a lane names, checks that its memory lives, samples by leaf.h. */
#include "softcuda/engine_module.h"
#include "softcuda/leaf.h"

static void operand(struct build *b, struct tex_info *t, const struct ptx_operand *o)
{
	if (o->kind == PTX_O_REG) {
		t->by_handle = true;
		t->handle = b_src(b, o, 8);
		return;
	}
	if (o->var->space == PTX_SPACE_PARAM) {
		if (!(o->var->engine_addr & SC_KERNEL_PARAM))
			b_fail(b, SC_NOT_SUPPORTED, "texture as a device function's parameter");
		t->param = true;
		t->offset = (uint32_t)(o->var->engine_addr & ~SC_KERNEL_PARAM);
		return;
	}
	t->var = o->var;
	t->slot = (uint32_t)o->var->engine_addr;
}

static void lower_tex(struct build *b, const struct ptx_insn *in)
{
	struct tex_info *t = b_alloc(b, sizeof(*t));
	if (in->nop == 4)
		b_fail(b, SC_NOT_SUPPORTED, "tex with a separate sampler");
	t->type = in->type;
	t->ctype = in->type2;
	t->geom = in->geom;
	operand(b, t, &in->o[1]);
	const struct ptx_operand *c = &in->o[2];
	t->ncoord = c->n;
	for (uint32_t k = 0; k < c->n; k++)
		t->coord[k] = b_src(b, &c->vec[k], 4);
	for (uint32_t k = 0; k < 4; k++)
		t->dest[k] = b_dst(b, &in->o[0].vec[k], 4);
	b_emit(b, OP_TEX)->aux = t;
}

static void lower_query(struct build *b, const struct ptx_insn *in)
{
	struct tex_info *t = b_alloc(b, sizeof(*t));
	t->query = in->sub;
	operand(b, t, &in->o[1]);
	uint32_t d = b_dst(b, &in->o[0], 4);
	struct insn *e = b_emit(b, OP_TXQ);
	e->aux = t;
	e->o[0] = d;
}

bool b_lower_tex(struct build *b, const struct ptx_insn *in)
{
	if (in->op == PTX_OP_TEX)
		lower_tex(b, in);
	else if (in->op == PTX_OP_TXQ)
		lower_query(b, in);
	else
		return false;
	return true;
}

static uint64_t handle_of(struct warp *w, const struct tex_info *t, uint32_t lane)
{
	uint64_t h;
	if (t->by_handle)
		return ((const uint64_t *)(w->r + t->handle))[lane];
	if (!t->param)
		return w->k->run->module->texslot[t->slot];
	memcpy(&h, w->k->run->params + t->offset, sizeof(h));
	return h;
}

/* The texture of the first lane of left, and the lanes that share it. */
static bool next_texture(struct warp *w, const struct insn *in, uint32_t left, struct sc_texture *tex, uint32_t *same)
{
	const struct tex_info *t = in->aux;
	uint32_t lane = (uint32_t)__builtin_ctz(left);
	uint64_t h = handle_of(w, t, lane);
	*same = left;
	if (t->by_handle)
		for (uint32_t rest = left; rest; rest &= rest - 1)
			if (handle_of(w, t, (uint32_t)__builtin_ctz(rest)) != h)
				*same &= ~(rest & -rest);
	if (sc_tex_get(h, tex))
		return true;
	sc_fault_at(w, in, SC_ILLEGAL_ADDRESS, (int)lane, h, 0, false, "no texture has handle %#llx", (unsigned long long)h);
	return false;
}

const struct insn *sc_tex_op(struct warp *w, const struct insn *in)
{
	const struct tex_info *t = in->aux;
	struct leaf_tex op = { .geom = t->geom, .float_coords = t->ctype == PTX_F32 };
	for (uint32_t k = 0; k < t->ncoord; k++)
		op.c[k] = (const uint32_t *)(w->r + t->coord[k]);
	for (uint32_t k = 0; k < 4; k++)
		op.d[k] = (uint32_t *)(w->r + t->dest[k]);
	uint32_t same;
	for (uint32_t left = w->mask; left; left &= ~same) {
		struct sc_texture tex;
		if (!next_texture(w, in, left, &tex, &same))
			return NULL;
		uint64_t span = leaf_tex_span(&tex);
		int lane = __builtin_ctz(left);
		if (span == UINT64_MAX || !sc_mem_ok(tex.base, span))
			return sc_fault_at(w, in, SC_ILLEGAL_ADDRESS, lane, tex.base, 0, false,
					   "texture of %llu bytes at %#llx lies in no allocation", (unsigned long long)span,
					   (unsigned long long)tex.base);
		leaf_tex_warp(&tex, &op, same);
	}
	return in + 1;
}

static uint32_t query(const struct sc_texture *t, enum ptx_sub what)
{
	switch (what) {
	case PTX_TEXQ_WIDTH: return t->width;
	case PTX_TEXQ_HEIGHT: return t->height;
	case PTX_TEXQ_DEPTH: return t->depth;
	case PTX_TEXQ_NORMALIZED: return t->normalized_coords;
	default: return 0;
	}
}

const struct insn *sc_txq_op(struct warp *w, const struct insn *in)
{
	const struct tex_info *t = in->aux;
	uint32_t same;
	if (t->query == PTX_TEXQ_CHANNEL_TYPE || t->query == PTX_TEXQ_CHANNEL_ORDER || t->query == PTX_TEXQ_OTHER)
		return sc_fault_at(w, in, SC_NOT_SUPPORTED, __builtin_ctz(w->mask), 0, 0, false, "this txq is not supported");
	for (uint32_t left = w->mask; left; left &= ~same) {
		struct sc_texture tex;
		if (!next_texture(w, in, left, &tex, &same))
			return NULL;
		for (uint32_t rest = same; rest; rest &= rest - 1)
			((uint32_t *)(w->r + in->o[0]))[__builtin_ctz(rest)] = query(&tex, t->query);
	}
	return in + 1;
}
