/* SPDX-License-Identifier: Apache-2.0 */
/* Running a kernel's head, and whether a launch may: see engine_head.h. */
#include <string.h>
#include "softcuda/engine_prog.h"

/* ---- values */

static uint64_t sreg(const struct warp *w, int64_t id)
{
	const struct sc_launch *l = w->k->run->launch;
	switch (id) {
	case PTX_SREG_TID_X: case PTX_SREG_TID_Y: case PTX_SREG_TID_Z: return w->tid[id - PTX_SREG_TID_X][0];
	case PTX_SREG_NTID_X: case PTX_SREG_NTID_Y: case PTX_SREG_NTID_Z: return l->block[id - PTX_SREG_NTID_X];
	case PTX_SREG_CTAID_X: case PTX_SREG_CTAID_Y: case PTX_SREG_CTAID_Z: return w->b->id[id - PTX_SREG_CTAID_X];
	case PTX_SREG_NCTAID_X: case PTX_SREG_NCTAID_Y: case PTX_SREG_NCTAID_Z: return l->grid[id - PTX_SREG_NCTAID_X];
	case PTX_SREG_WARPID: return w->index;
	default: return 0; /* laneid of lane 0 */
	}
}

static uint64_t param(const uint8_t *params, int64_t at, unsigned width)
{
	uint64_t v = 0;
	memcpy(&v, params + at, width);
	return v;
}

static bool compare_one(const struct head_op *o, uint64_t a, uint64_t b)
{
	int64_t x = o->width == 4 ? (int32_t)a : (int64_t)a, y = o->width == 4 ? (int32_t)b : (int64_t)b;
	uint64_t u = o->width == 4 ? (uint32_t)a : a, v = o->width == 4 ? (uint32_t)b : b;
	bool less = o->sign ? x < y : u < v;
	switch (o->cmp) {
	case PTX_EQ: return u == v;
	case PTX_NE: return u != v;
	case PTX_LT: return less;
	case PTX_LE: return less || u == v;
	case PTX_GT: return !less && u != v;
	default: return !less;
	}
}

/* Whether a value keeps its order over the lanes: it does not wrap. */
static bool in_order(const struct head_op *o, uint64_t v, int64_t stride)
{
	int64_t rise = stride * (SC_LANES - 1), last;
	if (o->width == 4) {
		last = (o->sign ? (int64_t)(int32_t)v : (int64_t)v) + rise;
		return o->sign ? last == (int32_t)last : last == (int64_t)(uint32_t)last;
	}
	if (o->sign)
		return !__builtin_add_overflow((int64_t)v, rise, &last);
	return rise < 0 ? v >= 0 - (uint64_t)rise : v + (uint64_t)rise >= v;
}

static __attribute__((noinline)) uint32_t compare(const struct head_op *o, uint64_t a, uint64_t b)
{
	uint32_t m = 0;
	bool first = compare_one(o, a, b);
	if ((o->stride | o->stride_b) == 0)
		return first ? UINT32_MAX : 0;
	if (o->cmp != PTX_EQ && o->cmp != PTX_NE && in_order(o, a, o->stride) && (o->stride_b == 0 || in_order(o, b, o->stride_b)) &&
	    first == compare_one(o, a + (uint64_t)o->stride * (SC_LANES - 1), b + (uint64_t)o->stride_b * (SC_LANES - 1)))
		return first ? UINT32_MAX : 0; /* the difference rises or falls steadily */
	for (uint32_t i = 0; i < SC_LANES; i++, a += (uint64_t)o->stride, b += (uint64_t)o->stride_b)
		m |= (uint32_t)compare_one(o, a, b) << i;
	return m;
}

static int64_t number32(const struct head_op *o, uint64_t v)
{
	return o->sign ? (int64_t)(int32_t)v : (int64_t)(uint32_t)v;
}

/* Lanes on both sides of the bound, or a value that wraps on the way. */
static __attribute__((noinline)) uint32_t order_lanes(const struct head_op *o, uint64_t a, uint64_t b)
{
	uint32_t m = 0;
	for (uint32_t i = 0; i < SC_LANES; i++, a += (uint64_t)o->stride, b += (uint64_t)o->stride_b)
		m |= (uint32_t)(number32(o, a) - number32(o, b) - o->imm < 0) << i;
	return m ^ (0 - (uint32_t)o->cmp);
}

/* Of 32 bits. Where neither side wraps, the difference rises or falls steadily from lane to lane: the first
 * and the last say what is between. */
static inline uint32_t order(const struct head_op *o, uint64_t a, uint64_t b)
{
	int64_t x = number32(o, a), y = number32(o, b), d = x - y - o->imm;
	if ((o->stride | o->stride_b) != 0) {
		int64_t u = x + o->stride * (SC_LANES - 1), v = y + o->stride_b * (SC_LANES - 1);
		if (number32(o, (uint64_t)u) != u || number32(o, (uint64_t)v) != v || (d ^ (u - v - o->imm)) < 0)
			return order_lanes(o, a, b);
	}
	return (d < 0 ? UINT32_MAX : 0) ^ (0 - (uint32_t)o->cmp);
}

static __attribute__((noinline)) uint64_t arithmetic(const struct head_op *o, uint64_t a, uint64_t b)
{
	bool narrow = o->width == 4;
	int64_t x = narrow ? (int32_t)a : (int64_t)a, y = narrow ? (int32_t)b : (int64_t)b;
	switch (o->code) {
	case HEAD_ADD: return a + b;
	case HEAD_SUB: return a - b;
	case HEAD_MUL: return a * b;
	case HEAD_SHL: return a << o->imm;
	case HEAD_SHR: return o->sign ? (uint64_t)(x >> o->imm) : a >> o->imm;
	case HEAD_AND: return a & b;
	case HEAD_OR: return a | b;
	case HEAD_XOR: return a ^ b;
	case HEAD_NOT: return ~a;
	case HEAD_MIN: return o->sign ? (x < y ? a : b) : a < b ? a : b;
	default: return o->sign ? (x > y ? a : b) : a > b ? a : b;
	}
}

static void run_ops(struct warp *w, const struct head *h, const struct head_op *o, const struct head_op *end)
{
	uint8_t *r = w->entry.regs;
	uint64_t *v = (uint64_t *)(void *)(r + h->at);
#define P(at) (*(uint32_t *)(void *)(r + (at)))
	for (; o < end; o++) {
		uint64_t x;
		switch (o->code) {
		case HEAD_CONST: x = (uint64_t)o->imm; break;
		case HEAD_SREG: x = sreg(w, o->imm); break;
		case HEAD_PARAM: x = param(w->k->run->params, o->imm, o->width); break;
		case HEAD_ADD: x = v[o->a] + v[o->b]; break;
		case HEAD_MUL: x = v[o->a] * v[o->b]; break;
		case HEAD_NARROW: x = v[o->a]; break;
		case HEAD_WIDEN: x = o->sign ? (uint64_t)(int32_t)v[o->a] : v[o->a]; break;
		case HEAD_COMPARE: P(o->d) = compare(o, v[o->a], v[o->b]); continue;
		case HEAD_ORDER: P(o->d) = order(o, v[o->a], v[o->b]); continue;
		case HEAD_PCONST: P(o->d) = o->imm ? UINT32_MAX : 0; continue;
		case HEAD_PAND: P(o->d) = P(o->a) & P(o->b); continue;
		case HEAD_POR: P(o->d) = P(o->a) | P(o->b); continue;
		case HEAD_PXOR: P(o->d) = P(o->a) ^ P(o->b); continue;
		case HEAD_PNOT: P(o->d) = ~P(o->a); continue;
		default: x = arithmetic(o, v[o->a], v[o->b]); break;
		}
		v[o->d] = o->width == 4 ? (uint32_t)x : x;
	}
#undef P
}

/* ---- sums over the block's index */

struct sum {
	uint64_t c[4]; /* times 1, ctaid.x, .y, .z; modulo 2^64 */
};

static struct sum constant(uint64_t v)
{
	return (struct sum){ { v } };
}

static struct sum scaled(struct sum s, uint64_t by)
{
	for (int i = 0; i < 4; i++)
		s.c[i] *= by;
	return s;
}

static bool is_constant(const struct sum *s)
{
	return (s->c[1] | s->c[2] | s->c[3]) == 0;
}

/* A factor of 32 bits is signed here, as the intervals take it; where that matters, those are in range. */
static struct sum linear(const struct head_op *o, struct sum a, struct sum b)
{
	switch (o->code) {
	case HEAD_ADD: case HEAD_SUB:
		for (int i = 0; i < 4; i++)
			a.c[i] += o->code == HEAD_ADD ? b.c[i] : 0 - b.c[i];
		return a;
	case HEAD_MUL: return is_constant(&b) ? scaled(a, b.c[0]) : scaled(b, a.c[0]);
	case HEAD_SHL: return scaled(a, 1ull << o->imm);
	default: return a; /* widened or narrowed: the same number */
	}
}

static void sums_of(const struct warp *w, const struct head *h, struct sum *s)
{
	const uint64_t *v = (const uint64_t *)(const void *)(w->entry.regs + h->at);
	for (uint32_t i = 0; i < h->n[HEAD_LAUNCH]; i++) {
		const struct head_op *o = &h->op[i];
		if (o->code < HEAD_COMPARE)
			s[o->d] = constant(o->width == 4 ? (uint64_t)(int32_t)v[o->d] : v[o->d]);
	}
	for (uint32_t i = h->n[HEAD_LAUNCH]; i < h->n[HEAD_LAUNCH] + h->n[HEAD_LINEAR]; i++) {
		const struct head_op *o = &h->op[i];
		if (o->code == HEAD_SREG)
			s[o->d] = (struct sum){ { 0, o->imm == PTX_SREG_CTAID_X, o->imm == PTX_SREG_CTAID_Y, o->imm == PTX_SREG_CTAID_Z } };
		else
			s[o->d] = linear(o, s[o->a], s[o->b]);
	}
}

void sc_head_launch(struct warp *w)
{
	const struct head *h = &w->k->run->f->head;
	struct sum s[SC_MAX_HEAD], *root = (struct sum *)(void *)(w->entry.regs + h->roots_at);
	run_ops(w, h, h->op, h->op + h->n[HEAD_LAUNCH]);
	if (h->nroots == 0)
		return;
	s[0] = constant(0);
	sums_of(w, h, s);
	for (uint32_t i = 0; i < h->nroots; i++)
		root[i] = s[h->root[i].value];
}

void sc_head_block(struct warp *w)
{
	const struct head *h = &w->k->run->f->head;
	const struct sum *root = (const struct sum *)(const void *)(w->entry.regs + h->roots_at);
	uint64_t *v = (uint64_t *)(void *)(w->entry.regs + h->at), x = w->b->id[0], y = w->b->id[1], z = w->b->id[2];
	const struct head_root *at = h->root, *end = at + h->nroots;
	for (; at < end; at++, root++)
		v[at->value] = (root->c[0] + root->c[1] * x + root->c[2] * y + root->c[3] * z) & at->bits;
	const struct head_op *o = h->op + h->n[HEAD_LAUNCH] + h->n[HEAD_LINEAR];
	run_ops(w, h, o, o + h->n[HEAD_BLOCK]);
}

/* ---- whether values of the whole grid stay within 32 bits */

struct span {
	int64_t lo, hi;
	bool known; /* false: anything */
};
static const struct span anything = { INT64_MIN, INT64_MAX, false };

static struct span up_to(uint64_t n)
{
	return (struct span){ 0, n ? (int64_t)n - 1 : 0, true };
}

static struct span exactly(int64_t v)
{
	return (struct span){ v, v, true };
}

static struct span sreg_span(const struct run *run, int64_t id)
{
	const struct sc_launch *l = run->launch;
	uint64_t width = (l->block[0] + SC_LANES - 1) / SC_LANES * SC_LANES; /* lanes without a thread count, too */
	switch (id) {
	case PTX_SREG_TID_X: return up_to(width);
	case PTX_SREG_TID_Y: case PTX_SREG_TID_Z: return up_to(l->block[id - PTX_SREG_TID_X]);
	case PTX_SREG_NTID_X: case PTX_SREG_NTID_Y: case PTX_SREG_NTID_Z: return exactly(l->block[id - PTX_SREG_NTID_X]);
	case PTX_SREG_CTAID_X: case PTX_SREG_CTAID_Y: case PTX_SREG_CTAID_Z: return up_to(l->grid[id - PTX_SREG_CTAID_X]);
	case PTX_SREG_NCTAID_X: case PTX_SREG_NCTAID_Y: case PTX_SREG_NCTAID_Z: return exactly(l->grid[id - PTX_SREG_NCTAID_X]);
	case PTX_SREG_WARPID: return up_to(run->warps_per_block);
	default: return up_to(SC_LANES);
	}
}

static struct span product(struct span a, struct span b)
{
	int64_t c[4];
	if (__builtin_mul_overflow(a.lo, b.lo, &c[0]) || __builtin_mul_overflow(a.lo, b.hi, &c[1]) ||
	    __builtin_mul_overflow(a.hi, b.lo, &c[2]) || __builtin_mul_overflow(a.hi, b.hi, &c[3]))
		return anything;
	struct span s = exactly(c[0]);
	for (int i = 1; i < 4; i++) {
		s.lo = c[i] < s.lo ? c[i] : s.lo;
		s.hi = c[i] > s.hi ? c[i] : s.hi;
	}
	return s;
}

static struct span bits_of(const struct head_op *o, struct span a, struct span b)
{
	if (a.lo < 0 || (o->code != HEAD_SHR && b.lo < 0))
		return anything;
	if (o->code == HEAD_SHR)
		return (struct span){ a.lo >> o->imm, a.hi >> o->imm, true };
	if (o->code == HEAD_AND)
		return (struct span){ 0, a.hi < b.hi ? a.hi : b.hi, true };
	int64_t top = a.hi | b.hi, all = 0;
	while (all < top)
		all = all << 1 | 1;
	return (struct span){ 0, all, true };
}

static struct span sum(const struct head_op *o, struct span a, struct span b)
{
	struct span s = { .known = true };
	bool bad = o->code == HEAD_ADD ? __builtin_add_overflow(a.lo, b.lo, &s.lo) || __builtin_add_overflow(a.hi, b.hi, &s.hi) :
					 __builtin_sub_overflow(a.lo, b.hi, &s.lo) || __builtin_sub_overflow(a.hi, b.lo, &s.hi);
	return bad ? anything : s;
}

static struct span extreme(const struct head_op *o, struct span a, struct span b)
{
	bool min = o->code == HEAD_MIN;
	if (!o->sign && (a.lo < 0 || b.lo < 0))
		return anything;
	return (struct span){ (a.lo < b.lo) == min ? a.lo : b.lo, (a.hi < b.hi) == min ? a.hi : b.hi, true };
}

static bool fits32(struct span s, bool sign)
{
	return s.known && s.lo >= (sign ? INT32_MIN : 0) && s.hi <= (sign ? INT32_MAX : (int64_t)UINT32_MAX);
}

static struct span span_of(const struct head_op *o, const struct span *v, const struct run *run)
{
	switch (o->code) {
	case HEAD_CONST: return exactly(o->width == 4 ? (int32_t)o->imm : o->imm);
	case HEAD_SREG: return sreg_span(run, o->imm);
	case HEAD_PARAM: {
		uint64_t x = param(run->params, o->imm, o->width);
		return exactly(o->width == 4 ? (int32_t)x : (int64_t)x);
	}
	case HEAD_WIDEN:
		if (fits32(v[o->a], o->sign))
			return v[o->a];
		return o->sign ? (struct span){ INT32_MIN, INT32_MAX, true } : (struct span){ 0, UINT32_MAX, true };
	case HEAD_NARROW: return fits32(v[o->a], true) ? v[o->a] : anything;
	default: break;
	}
	bool unary = o->code == HEAD_SHL || o->code == HEAD_SHR || o->code == HEAD_NOT;
	struct span a = v[o->a], b = unary ? exactly(0) : v[o->b];
	if (!a.known || !b.known)
		return anything;
	switch (o->code) {
	case HEAD_ADD: case HEAD_SUB: return sum(o, a, b);
	case HEAD_MUL: return product(a, b);
	case HEAD_SHL: return o->imm < 32 ? product(a, exactly((int64_t)1 << o->imm)) : anything;
	case HEAD_MIN: case HEAD_MAX: return fits32(a, o->sign) && fits32(b, o->sign) ? extreme(o, a, b) : anything;
	case HEAD_NOT: return (struct span){ ~a.hi, ~a.lo, true };
	default: return fits32(a, true) && fits32(b, true) ? bits_of(o, a, b) : anything;
	}
}

bool sc_head_fits(const struct head *h, const struct run *run)
{
	struct span v[SC_MAX_HEAD];
	if (!h->checks)
		return true;
	for (uint32_t i = 0; i < h->n[HEAD_LAUNCH] + h->n[HEAD_LINEAR] + h->n[HEAD_BLOCK]; i++) {
		const struct head_op *o = &h->op[i];
		if (o->code >= HEAD_COMPARE)
			continue;
		if (o->code == HEAD_WIDEN && (o->stride || i >= h->n[HEAD_LAUNCH]) && !fits32(v[o->a], o->sign))
			return false;
		v[o->d] = span_of(o, v, run);
	}
	return true;
}
