/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which registers are alive where. A lane's registers are written only by what that lane executes,
 * so liveness along each lane's own path is all that sharing a place needs, divergent or not.
 */
#include <stdlib.h>
#include <string.h>
#include "softcuda/engine_flow.h"

enum {
	MAX_WORDS = 1 << 20, /* of one set of bits, over all blocks */
	MAX_ROUNDS = 256,
};

struct sets {
	const struct flow *f;
	const struct ptx_insn *in;
	const uint32_t *place;
	size_t words;
	uint64_t *use, *def, *live_in, *live_out;
};

bool ptx_writes_pair(enum ptx_op op)
{
	return op == PTX_OP_SETP || op == PTX_OP_SHFL || op == PTX_OP_MATCH || op == PTX_OP_ELECT;
}

/* How many of the first operands are results. */
static int results(enum ptx_op op)
{
	switch (op) {
	case PTX_OP_BRA: case PTX_OP_BRX: case PTX_OP_NANOSLEEP: case PTX_OP_SUST: case PTX_OP_SURED: case PTX_OP_ST:
	case PTX_OP_RED: case PTX_OP_PREFETCH: case PTX_OP_PREFETCHU: case PTX_OP_BAR: case PTX_OP_BARRIER: case PTX_OP_CALL:
		return 0; /* of the last three, a result may be among the operands: see keeps_old */
	default: return ptx_writes_pair(op) ? 2 : 1;
	}
}

/* Results may be written or not, or cannot be told from sources: they count as read, too. */
static bool keeps_old(const struct ptx_insn *in)
{
	return in->pred >= 0 || results(in->op) == 0;
}

static void each(const struct ptx_operand *o, flow_reg_fn fn, void *ctx)
{
	uint32_t n = o->kind == PTX_O_VEC ? o->n : o->kind == PTX_O_LIST ? o->nlist : 0;
	if (o->kind == PTX_O_REG || (o->kind == PTX_O_ADDR && o->base_is_reg))
		fn(ctx, o->reg);
	for (uint32_t k = 0; k < n; k++)
		each(&o->vec[k], fn, ctx);
}

static bool is_result(const struct ptx_insn *in, int k)
{
	return k < results(in->op) && in->o[k].kind != PTX_O_ADDR;
}

void flow_each_source(const struct ptx_insn *in, flow_reg_fn fn, void *ctx)
{
	if (in->pred >= 0)
		fn(ctx, (uint32_t)in->pred);
	for (int k = 0; k < 6; k++)
		if (keeps_old(in) || !is_result(in, k))
			each(&in->o[k], fn, ctx);
}

static void each_result(const struct ptx_insn *in, flow_reg_fn fn, void *ctx)
{
	for (int k = 0; k < 6; k++)
		if (is_result(in, k))
			each(&in->o[k], fn, ctx);
}

static void set_bit(void *set, uint32_t reg)
{
	((uint64_t *)set)[reg / 64] |= 1ull << (reg % 64);
}
static void clear_bit(void *set, uint32_t reg)
{
	((uint64_t *)set)[reg / 64] &= ~(1ull << (reg % 64));
}

/* Backwards through one instruction. */
static void step(const struct ptx_insn *in, uint64_t *live)
{
	if (!keeps_old(in))
		each_result(in, clear_bit, live);
	flow_each_source(in, set_bit, live);
}

static void summarise(struct sets *s)
{
	for (uint32_t k = 0; k < s->f->n; k++) {
		const struct flow_block *b = &s->f->block[k];
		uint64_t *use = s->use + k * s->words, *def = s->def + k * s->words;
		for (uint32_t i = b->end; i-- > b->first;) {
			step(&s->in[i], use);
			if (!keeps_old(&s->in[i]))
				each_result(&s->in[i], set_bit, def);
		}
	}
}

static bool flow_back(struct sets *s, uint32_t k)
{
	const struct flow_block *b = &s->f->block[k];
	size_t w = s->words;
	uint64_t *in = s->live_in + k * w, *out = s->live_out + k * w, changed = 0;
	for (uint32_t i = 0; i < b->nsucc; i++)
		for (size_t j = 0; j < w; j++)
			out[j] |= s->live_in[s->f->edge[b->succ + i] * w + j];
	for (size_t j = 0; j < w; j++) {
		uint64_t v = s->use[k * w + j] | (out[j] & ~s->def[k * w + j]);
		changed |= v ^ in[j];
		in[j] = v;
	}
	return changed != 0;
}

static bool solve(struct sets *s)
{
	for (int round = 0; round < MAX_ROUNDS; round++) {
		bool changed = false;
		for (uint32_t i = s->f->norder; i-- > 0;)
			changed |= flow_back(s, s->f->order[i]);
		if (!changed)
			return true;
	}
	return false;
}

struct any {
	const uint64_t *live;
	const uint32_t *place;
	bool yes;
};
static void is_live(void *ctx, uint32_t reg)
{
	struct any *a = ctx;
	a->yes |= (a->live[reg / 64] >> (reg % 64) & 1) || a->place[reg] != UINT32_MAX;
}

static bool wanted(const struct ptx_insn *in, const uint64_t *live, const uint32_t *place)
{
	struct any a = { live, place, false };
	each_result(in, is_live, &a);
	return a.yes;
}

static void find_useless(const struct sets *s, bool (*pure)(const struct ptx_insn *), uint64_t *live, uint8_t *drop,
			 uint8_t *unused)
{
	for (uint32_t i = 0; i < s->f->norder; i++) {
		uint32_t k = s->f->order[i];
		const struct flow_block *b = &s->f->block[k];
		memcpy(live, s->live_out + k * s->words, s->words * 8);
		for (uint32_t j = b->end; j-- > b->first;) {
			bool used = wanted(&s->in[j], live, s->place);
			drop[j] = !used && pure(&s->in[j]);
			unused[j] = !used && s->in[j].op == PTX_OP_ATOM;
			if (!drop[j])
				step(&s->in[j], live);
		}
	}
}

struct span {
	struct flow_live *l;
	uint32_t at;
};
static void extend(void *ctx, uint32_t reg)
{
	struct span *s = ctx;
	if (s->l->from[reg] == 0)
		s->l->from[reg] = s->at;
	s->l->to[reg] = s->at;
}

static void extend_all(struct span *s, const uint64_t *set, size_t words)
{
	for (size_t j = 0; j < words; j++)
		for (uint64_t v = set[j]; v; v &= v - 1)
			extend(s, (uint32_t)(j * 64) + (uint32_t)__builtin_ctzll(v));
}

static void measure(const struct sets *s, struct flow_live *l, const uint8_t *drop)
{
	struct span at = { l, 1 };
	for (uint32_t i = 0; i < s->f->norder; i++) {
		uint32_t k = s->f->order[i];
		const struct flow_block *b = &s->f->block[k];
		extend_all(&at, s->live_in + k * s->words, s->words);
		for (uint32_t j = b->first; j < b->end; j++, at.at++) {
			if (drop[j])
				continue;
			flow_each_source(&s->in[j], extend, &at);
			each_result(&s->in[j], extend, &at);
		}
		extend_all(&at, s->live_out + k * s->words, s->words);
		at.at++;
	}
}

bool flow_liveness(const struct flow *f, const struct ptx_insn *in, uint32_t nregs, const uint32_t *place,
		   bool (*pure)(const struct ptx_insn *), struct flow_live *l, uint8_t *drop, uint8_t *unused)
{
	struct sets s = { .f = f, .in = in, .place = place, .words = nregs / 64 + 1 };
	size_t total = s.words * f->n;
	l->known = false;
	l->from = calloc((size_t)nregs + 1, 4);
	l->to = calloc((size_t)nregs + 1, 4);
	if (!l->from || !l->to)
		return false;
	if (total > MAX_WORDS)
		return true;
	uint64_t *all = calloc(total * 4 + s.words, 8);
	if (!all)
		return false;
	s.use = all;
	s.def = all + total;
	s.live_in = all + 2 * total;
	s.live_out = all + 3 * total;
	summarise(&s);
	if (solve(&s)) {
		l->known = true;
		find_useless(&s, pure, all + 4 * total, drop, unused);
		measure(&s, l, drop);
	}
	free(all);
	return true;
}

static void count(void *ctx, uint32_t reg)
{
	((uint32_t *)ctx)[reg]++;
}

void flow_count_reads(const struct ptx_insn *in, uint32_t n, uint32_t *reads)
{
	for (uint32_t i = 0; i < n; i++)
		flow_each_source(&in[i], count, reads);
}

/* ---- brief registers */

enum { UNSEEN = 0, LONG = UINT32_MAX };
struct stretch {
	uint32_t *of; /* by register: the stretch it belongs to */
	uint32_t now;
};

static void brief_read(void *ctx, uint32_t reg)
{
	struct stretch *s = ctx;
	if (s->of[reg] != s->now)
		s->of[reg] = LONG;
}
static void brief_written(void *ctx, uint32_t reg)
{
	struct stretch *s = ctx;
	if (s->of[reg] == UNSEEN)
		s->of[reg] = s->now;
	brief_read(ctx, reg);
}

bool flow_brief(const struct flow *f, const struct ptx_insn *in, uint32_t nregs, const uint8_t *drop, uint8_t *brief)
{
	struct stretch s = { .of = calloc((size_t)nregs + 1, sizeof(*s.of)) };
	if (!s.of)
		return false;
	for (uint32_t i = 0; i < f->norder; i++) {
		const struct flow_block *b = &f->block[f->order[i]];
		s.now++;
		for (uint32_t j = b->first; j < b->end; j++) {
			bool apart = in[j].pred >= 0 || !flow_maskable(in[j].op);
			if (drop[j])
				continue;
			s.now += apart;
			flow_each_source(&in[j], brief_read, &s);
			each_result(&in[j], brief_written, &s);
			s.now += apart;
		}
	}
	for (uint32_t r = 0; r < nregs; r++)
		brief[r] = s.of[r] != UNSEEN && s.of[r] != LONG;
	free(s.of);
	return true;
}
