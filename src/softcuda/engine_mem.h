/* SPDX-License-Identifier: Apache-2.0 */
/* Checked addresses for loads, stores and atomics. */
#ifndef SOFTCUDA_ENGINE_MEM_H
#define SOFTCUDA_ENGINE_MEM_H
#include "softcuda/engine_lanes.h"

enum sc_pattern { SC_SCATTER, SC_RUN, SC_SAME };
struct sc_access { /* a full warp's checked addresses */
	enum sc_pattern pattern;
	uint64_t first;	    /* RUN: of lane 0; SAME: of all */
	const uint64_t *ea; /* SCATTER: lane i is at ea[i] + offset */
	uint64_t offset;
};

static inline int sc_space(const struct insn *in)
{
	return in->sub & 7;
}
static inline int sc_mode(const struct insn *in)
{
	return in->sub >> MEM_MODE_SHIFT & 3;
}

static inline bool sc_in_range(const struct sc_range *r, uint64_t va, uint64_t size)
{
	uint64_t x = va - r->base;
	return x < r->size && size <= r->size - x;
}

static inline bool sc_lane_ok(struct warp *w, unsigned slot, uint64_t va, uint32_t size, uint32_t lane)
{
	return sc_in_range(&w->k->range[slot], va, size) || sc_find_range(w, slot, va, size, (int)lane);
}

static inline uint64_t sc_offset_of(struct warp *w, const struct insn *in, uint32_t i)
{
	switch (sc_mode(in)) {
	case MODE_REG64: return REG(uint64_t, 1)[i] + (uint64_t)in->imm;
	case MODE_REG32: return (uint64_t)REG(uint32_t, 1)[i] + (uint64_t)in->imm;
	default: return (uint64_t)in->imm;
	}
}

/* The address lane i uses, whatever the space; false with the fault raised. */
static inline bool sc_lane_address(struct warp *w, const struct insn *in, uint32_t size, bool write,
				   uint32_t i, uint64_t *ea)
{
	uint64_t off = sc_offset_of(w, in, i), base = 0, limit = 0;
	switch (sc_space(in)) {
	case PTX_SPACE_SHARED:
		base = (uint64_t)(uintptr_t)w->b->shared;
		limit = w->k->run->shared_bytes;
		/* 32-bit address arithmetic wraps */
		if (sc_mode(in) == MODE_REG32)
			off &= 0xffffffffu;
		break;
	case PTX_SPACE_LOCAL:
		base = w->local_base + (uint64_t)i * w->k->run->local_stride;
		limit = w->k->run->local_stride;
		if (sc_mode(in) == MODE_CONST)
			off += w->frame->sp;
		else if (sc_mode(in) == MODE_REG32)
			off &= 0xffffffffu;
		break;
	case PTX_SPACE_PARAM:
		base = sc_mode(in) == MODE_CONST ? (uint64_t)(uintptr_t)w->k->run->params : 0;
		if (base) {
			limit = w->k->run->f->func->param_bytes;
			break;
		}
		/* fallthrough */
	default:
		*ea = off;
		if ((off & (size - 1)) == 0 && sc_lane_ok(w, in->o[5], off, size, i))
			return true;
		sc_mem_fault(w, in, (int)i, off, size, write);
		return false;
	}
	*ea = base + off;
	if (off < limit && size <= limit - off && (*ea & (size - 1)) == 0)
		return true;
	sc_mem_fault(w, in, (int)i, *ea, size, write);
	return false;
}

/* Some lanes of a warp through pointers: whether all are in the range this instruction used last,
 * aligned. What inactive lanes hold does not count. */
static inline bool sc_active_in_range(struct warp *w, const struct insn *in, uint64_t size, uint64_t *ea)
{
	const uint64_t *a = REG(const uint64_t, 1);
	const struct sc_range *r = &w->k->range[in->o[5]];
	const uint64_t offset = (uint64_t)in->imm, base = r->base, limit = r->size - size;
	uint64_t bad = 0, low = 0;
	if (r->size < size)
		return false;
	LANES(i)
	{
		uint64_t m = w->lm64[i], v = a[i] + offset, d = v - base;
		ea[i] = v;
		bad |= (d | (limit - d)) & m;
		low |= v & m;
	}
	return (int64_t)bad >= 0 && (low & (size - 1)) == 0;
}

static inline bool sc_lane_addresses(struct warp *w, const struct insn *in, uint32_t size,
				     bool write, uint64_t *ea)
{
	if (w->partial && sc_mode(in) == MODE_REG64 && sc_space(in) <= PTX_SPACE_CONST &&
	    sc_active_in_range(w, in, size, ea))
		return true;
	ACTIVE(w, i)
	{
		if (!sc_lane_address(w, in, size, write, i, &ea[i]))
			return false;
	}
	return true;
}

/* Slow way of a full warp: each lane on its own. */
static bool sc_access_lanes(struct warp *w, const struct insn *in, uint32_t size, bool write,
			    struct sc_access *x, uint64_t *ea)
{
	x->pattern = SC_SCATTER;
	x->ea = ea;
	x->offset = 0;
	return sc_lane_addresses(w, in, size, write, ea);
}

/* What the 32 addresses a[i] + offset look like; checks them against one range. */
static inline __attribute__((always_inline)) bool sc_classify(const uint64_t *a, uint64_t offset,
							      uint64_t size, const struct sc_range *r,
							      struct sc_access *x)
{
	uint64_t a0 = a[0], run = 0, same = 0;
	LANES(i)
	{
		uint64_t d = a[i] - a0;
		same |= d;
		run |= d ^ ((uint64_t)i * size);
	}
	x->first = a0 + offset;
	x->ea = a;
	x->offset = offset;
	if (run == 0 || same == 0) {
		x->pattern = run == 0 ? SC_RUN : SC_SAME;
		return (x->first & (size - 1)) == 0 &&
		       sc_in_range(r, x->first, run == 0 ? size * SC_LANES : size);
	}
	x->pattern = SC_SCATTER;
	if (r->size < size)
		return false;
	uint64_t shift = offset - r->base, limit = r->size - size, bad = 0, low = 0;
	LANES(i)
	{
		uint64_t d = a[i] + shift;
		bad |= d | (limit - d);
		low |= a[i];
	}
	low |= offset;
	return (int64_t)bad >= 0 && (low & (size - 1)) == 0;
}

static inline __attribute__((always_inline)) bool sc_access_global(struct warp *w, const struct insn *in,
								   uint32_t size, bool write,
								   struct sc_access *x, uint64_t *ea)
{
	const uint64_t *a = REG(const uint64_t, 1);
	const struct sc_range *r = &w->k->range[in->o[5]];
	if (__builtin_expect(sc_classify(a, (uint64_t)in->imm, size, r, x), 1))
		return true;
	return sc_access_lanes(w, in, size, write, x, ea);
}

/* Addresses in the block's shared memory through a register. */
static inline bool sc_classify_shared(struct warp *w, const struct insn *in, uint32_t size, struct sc_access *x, uint64_t *ea)
{
	uint64_t base = (uint64_t)(uintptr_t)w->b->shared;
	const struct sc_range r = { base, w->k->run->shared_bytes };
	if (sc_mode(in) == MODE_REG64)
		return sc_classify(REG(const uint64_t, 1), (uint64_t)in->imm + base, size, &r, x);
	const uint32_t *a = REG(const uint32_t, 1);
	uint32_t imm = (uint32_t)in->imm;
	LANES(i) ea[i] = a[i] + imm;
	return sc_classify(ea, base, size, &r, x);
}

static inline bool sc_access_any(struct warp *w, const struct insn *in, uint32_t size, bool write,
				 struct sc_access *x, uint64_t *ea)
{
	if (sc_mode(in) == MODE_CONST && sc_space(in) != PTX_SPACE_LOCAL) {
		x->pattern = SC_SAME;
		x->ea = ea;
		return sc_lane_address(w, in, size, write, 0, &x->first);
	}
	if (sc_space(in) != PTX_SPACE_SHARED)
		return sc_access_lanes(w, in, size, write, x, ea);
	if (__builtin_expect(sc_classify_shared(w, in, size, x, ea), 1))
		return true;
	return sc_access_lanes(w, in, size, write, x, ea);
}
#endif
