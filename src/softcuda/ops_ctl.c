/* SPDX-License-Identifier: Apache-2.0 */
/* Control flow, barriers and what lanes of a warp do together. */
#include "softcuda/engine_lanes.h"

enum { /* insn.n of warp operations */
	HAS_PRED = 1, /* second result */
	SYNC = 2,     /* member mask in o[5] */
	NEGATED = 4,
	WIDE_OR_SIGNED = 8,
};

#define BOTH(NAME) static const sc_handler NAME##_p = NAME##_f;

/* Branches back count against the budget: that is where an endless loop is noticed. */
static inline const struct insn *branch(struct warp *w, const struct insn *in, const struct insn *to)
{
	if (to <= in && --w->budget < 0)
		return sc_budget_spent(w, to);
	return sc_goto(w, to);
}

HANDLER(LEADER_f)
{
	return sc_goto(w, in + 1);
}
BOTH(LEADER)

HANDLER(BRA_f)
{
	return branch(w, in, in->target);
}
BOTH(BRA)

/* o[0] predicate; sub: taken where it is false */
HANDLER(BRAC_f)
{
	uint32_t p = PRED(0);
	uint32_t taken = (in->sub ? ~p : p) & w->mask;
	if (taken == w->mask)
		return branch(w, in, in->target);
	if (taken == 0)
		return sc_goto(w, in + 1);
	if (in->target <= in && --w->budget < 0) {
		/* the lanes that leave the loop wait, those that stay give way */
		const struct insn *next = sc_diverge(w, in->target, taken, in + 1, w->mask & ~taken);
		return sc_budget_spent(w, next);
	}
	return sc_diverge(w, in->target, taken, in + 1, w->mask & ~taken);
}
BOTH(BRAC)

/* o[0] index; each distinct target in turn, the rest come back to this instruction */
HANDLER(BRX_f)
{
	const struct brx_info *b = in->aux;
	const uint32_t *index = REG(uint32_t, 0);
	uint32_t first = sc_first32(w, in->o[0]), same = 0;
	if (first >= b->n)
		return sc_fault_at(w, in, SC_INVALID_PC, __builtin_ctz(w->mask), 0, 0, false,
				   "brx.idx index %u of %u targets", first, b->n);
	ACTIVE(w, i) same |= (uint32_t)(index[i] == first) << i;
	const struct insn *to = b->target[first];
	if (same != w->mask)
		return sc_diverge(w, to, same, in, w->mask & ~same);
	return branch(w, in, to);
}
BOTH(BRX)

/* o[0] predicate, sub negated: the next instruction runs for the lanes where it holds. */
HANDLER(GUARD_f)
{
	uint32_t p = PRED(0), all = w->mask;
	uint32_t m = (in->sub ? ~p : p) & all;
	if (m == 0)
		return in + 2;
	if (m == all)
		return in + 1;
	sc_set_mask(w, m);
	const struct insn *next = in[1].fn[1](w, in + 1);
	if (next)
		sc_set_mask(w, all);
	return next;
}
BOTH(GUARD)

/* Two arms, one after the other under a mask. o[0] predicate, sub negated; o[1] where the full mask
 * and the second arm's are kept; target: behind ELSE or ENDIF, where a warp goes that skips the arm. */
HANDLER(IF_f)
{
	uint32_t p = PRED(0), all = w->mask, *save = &PRED(1);
	uint32_t m = (in->sub ? ~p : p) & all;
	save[0] = all;
	save[1] = all & ~m;
	if (m == 0)
		return in->target;
	if (m != all)
		sc_set_mask(w, m);
	return in + 1;
}
BOTH(IF)
HANDLER(ELSE_f)
{
	uint32_t m = (&PRED(1))[1];
	if (m == 0)
		return in->target;
	sc_set_mask(w, m);
	return in + 1;
}
BOTH(ELSE)
HANDLER(ENDIF_f)
{
	uint32_t all = PRED(1);
	if (w->mask != all)
		sc_set_mask(w, all);
	return in + 1;
}
BOTH(ENDIF)

HANDLER(CALL_f)
{
	const struct call_info *c = in->aux;
	return sc_call(w, in, c, c->callee);
}
BOTH(CALL)

/* o[0] address of a function: lanes with the first one's go, the others come back here */
HANDLER(CALLR_f)
{
	const struct call_info *c = in->aux;
	const uint64_t *a = REG(uint64_t, 0);
	uint64_t first = a[__builtin_ctz(w->mask)];
	uint32_t same = 0;
	ACTIVE(w, i) same |= (uint32_t)(a[i] == first) << i;
	if (same != w->mask)
		sc_split(w, in, w->mask & ~same);
	struct cfunc *f = sc_kernel_function_at(w->k->run->launch->kernel, first);
	if (!f)
		return sc_fault_at(w, in, SC_INVALID_PC, __builtin_ctz(w->mask), first, 0, false,
				   "call of %#llx, which is no function of this module",
				   (unsigned long long)first);
	return sc_call(w, in, c, f);
}
BOTH(CALLR)

HANDLER(RET_f)
{
	return sc_return(w);
}
BOTH(RET)

HANDLER(EXIT_f)
{
	return sc_exit_lanes(w, w->mask);
}
BOTH(EXIT)

HANDLER(TRAP_f)
{
	return sc_fault_at(w, in, SC_LAUNCH_FAILED, __builtin_ctz(w->mask), 0, 0, false, "trap");
}
BOTH(TRAP)

HANDLER(BRKPT_f)
{
	return in + 1; /* no debugger listens */
}
BOTH(BRKPT)

HANDLER(NANOSLEEP_f)
{
	__builtin_ia32_pause();
	w->budget = 0; /* the next branch back lets others run */
	return in + 1;
}
BOTH(NANOSLEEP)

HANDLER(STOPPRE_f)
{
	return NULL;
}
BOTH(STOPPRE)

/* o[0] barrier, o[1] count (n & BAR_HAS_COUNT), o[2] predicate, o[3] result; sub: enum ptx_sub */
HANDLER(BAR_f)
{
	uint32_t pred = 0;
	if (in->sub >= PTX_BAR_RED_POPC && in->sub <= PTX_BAR_RED_OR)
		pred = (in->n & BAR_NEG ? ~PRED(2) : PRED(2)) & w->mask;
	uint32_t count = in->n & BAR_HAS_COUNT ? sc_first32(w, in->o[1]) : 0;
	return sc_barrier(w, in, sc_first32(w, in->o[0]), count, in->sub != PTX_BAR_ARRIVE, pred);
}
BOTH(BAR)
static const sc_handler BARARRIVE_f = BAR_f, BARARRIVE_p = BAR_f;

static inline uint32_t members(struct warp *w, const struct insn *in)
{
	const uint32_t *m = REG(uint32_t, 5);
	uint32_t all = 0;
	ACTIVE(w, i) all |= m[i];
	return all;
}

/* Waits for the lanes the member masks name; true: all are here. */
#define TOGETHER()                                                           \
	do {                                                                 \
		if (in->n & SYNC) {                                          \
			uint32_t need_ = members(w, in);                     \
			if (need_ & w->live & ~w->mask) {                    \
				const struct insn *go_ = sc_sync(w, in, need_); \
				if (go_ != in)                               \
					return go_;                          \
			}                                                    \
		}                                                            \
	} while (0)

static inline uint32_t member_mask(struct warp *w, const struct insn *in, uint32_t i)
{
	return in->n & SYNC ? REG(uint32_t, 5)[i] & w->mask : w->mask;
}

HANDLER(BARWARP_f)
{
	uint32_t need = members(w, in);
	if (need & w->live & ~w->mask)
		return sc_warp_barrier(w, in, need);
	return in + 1;
}
BOTH(BARWARP)

/* o[0] result, o[1] predicate result, o[2] value, o[3] lane or distance, o[4] clamp and segments */
HANDLER(SHFL_f)
{
	TOGETHER();
	const uint32_t *a = REG(uint32_t, 2), *b = REG(uint32_t, 3), *c = REG(uint32_t, 4);
	uint32_t v[SC_LANES], ok = 0;
	ACTIVE(w, i)
	{
		uint32_t seg = c[i] >> 8 & 31, clamp = c[i] & 31, dist = b[i] & 31;
		uint32_t max = (i & seg) | (clamp & ~seg & 31), min = i & seg, j;
		bool p;
		switch (in->sub) {
		case PTX_SHFL_UP: j = i - dist; p = (int32_t)j >= (int32_t)max; break;
		case PTX_SHFL_DOWN: j = i + dist; p = j <= max; break;
		case PTX_SHFL_BFLY: j = i ^ dist; p = j <= max; break;
		default: j = min | (dist & ~seg & 31); p = j <= max; break;
		}
		v[i] = a[p ? j & 31 : i];
		ok |= (uint32_t)p << i;
	}
	uint32_t *d = REG(uint32_t, 0);
	ACTIVE(w, i) d[i] = v[i];
	if (in->n & HAS_PRED)
		sc_put_pred(w, &PRED(1), ok);
	return in + 1;
}
BOTH(SHFL)

/* o[0] result (a predicate, or 32 bits for ballot), o[1] predicate */
HANDLER(VOTE_f)
{
	TOGETHER();
	uint32_t p = in->n & NEGATED ? ~PRED(1) : PRED(1), out = 0;
	uint32_t *d = (uint32_t *)(w->r + in->o[0]);
	ACTIVE(w, i)
	{
		uint32_t m = member_mask(w, in, i), t = p & m;
		switch (in->sub) {
		case PTX_VOTE_ALL: out |= (uint32_t)(t == m) << i; break;
		case PTX_VOTE_ANY: out |= (uint32_t)(t != 0) << i; break;
		case PTX_VOTE_UNI: out |= (uint32_t)(t == m || t == 0) << i; break;
		default: d[i] = t; break;
		}
	}
	if (in->sub != PTX_VOTE_BALLOT)
		sc_put_pred(w, d, out);
	return in + 1;
}
BOTH(VOTE)

HANDLER(MATCH_f)
{
	TOGETHER();
	bool wide = in->n & WIDE_OR_SIGNED;
	uint64_t v[SC_LANES];
	uint32_t out[SC_LANES], all = 0;
	ACTIVE(w, i) v[i] = wide ? REG(uint64_t, 2)[i] : REG(uint32_t, 2)[i];
	ACTIVE(w, i)
	{
		uint32_t m = member_mask(w, in, i), same = 0;
		for (uint32_t k = m; k; k &= k - 1) {
			int j = __builtin_ctz(k);
			same |= (uint32_t)(v[j] == v[i]) << j;
		}
		out[i] = in->sub == PTX_MATCH_ANY ? same : same == m ? m : 0;
		all |= (uint32_t)(same == m) << i;
	}
	ACTIVE(w, i) REG(uint32_t, 0)[i] = out[i];
	if (in->n & HAS_PRED)
		sc_put_pred(w, &PRED(1), all);
	return in + 1;
}
BOTH(MATCH)

static uint32_t reduce(int how, bool sign, uint32_t a, uint32_t b)
{
	switch (how) {
	case PTX_REDUX_ADD: return a + b;
	case PTX_REDUX_MIN: return (sign ? (int32_t)a < (int32_t)b : a < b) ? a : b;
	case PTX_REDUX_MAX: return (sign ? (int32_t)a > (int32_t)b : a > b) ? a : b;
	case PTX_REDUX_AND: return a & b;
	case PTX_REDUX_OR: return a | b;
	default: return a ^ b;
	}
}
HANDLER(REDUX_f)
{
	TOGETHER();
	const uint32_t *a = REG(uint32_t, 1);
	uint32_t out[SC_LANES];
	ACTIVE(w, i)
	{
		uint32_t m = member_mask(w, in, i) & ~(1u << i), v = a[i];
		for (; m; m &= m - 1)
			v = reduce(in->sub, in->n & WIDE_OR_SIGNED, v, a[__builtin_ctz(m)]);
		out[i] = v;
	}
	ACTIVE(w, i) REG(uint32_t, 0)[i] = out[i];
	return in + 1;
}
BOTH(REDUX)

HANDLER(ACTIVEMASK_f)
{
	ACTIVE(w, i) REG(uint32_t, 0)[i] = w->mask;
	return in + 1;
}
BOTH(ACTIVEMASK)

/* o[0] leader's lane (HAS_PRED: wanted), o[1] predicate */
HANDLER(ELECT_f)
{
	TOGETHER();
	uint32_t leader = (uint32_t)__builtin_ctz(w->mask);
	if (in->n & HAS_PRED)
		ACTIVE(w, i) REG(uint32_t, 0)[i] = leader;
	sc_put_pred(w, &PRED(1), 1u << leader);
	return in + 1;
}
BOTH(ELECT)

static const sc_handler TEX_f = sc_tex_op, TEX_p = sc_tex_op;
static const sc_handler TXQ_f = sc_txq_op, TXQ_p = sc_txq_op;
static const sc_handler BUILTIN_f = sc_builtin_call, BUILTIN_p = sc_builtin_call;

static void expand_mask(struct warp *w, uint32_t mask)
{
	LANES(i) w->lm32[i] = (mask & sc_lane_bit[i]) == sc_lane_bit[i] ? UINT32_MAX : 0;
	LANES(i) w->lm64[i] = (uint64_t)(int64_t)(int32_t)w->lm32[i];
}

void SC_INSTALL(ctl)(struct sc_op_fn *t);
void SC_INSTALL(ctl)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_CTL(X)
	sc_expand_mask = expand_mask;
#undef X
}
