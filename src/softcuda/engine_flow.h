/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control flow of a PTX function, and which registers are alive where.
 *
 * Blocks are put in a weak topological order: every block behind those that lead to it, loops
 * contiguous behind their heads. The interpreter runs the group of lanes that is furthest behind, so
 * in this order lanes meet again as early as the flow allows, however the compiler laid it out.
 */
#ifndef SOFTCUDA_ENGINE_FLOW_H
#define SOFTCUDA_ENGINE_FLOW_H
#include <stdbool.h>
#include <stdint.h>
#include "softcuda/ptx.h"

#define FLOW_NONE UINT32_MAX

struct flow_block {
	uint32_t first, end;  /* instructions [first, end) */
	uint32_t succ, nsucc; /* in flow.edge; the fall-through first, if there is one */
	uint32_t fall, taken; /* FLOW_NONE: has none */
	uint32_t npred;
	/* Short arms without control flow, run under a mask instead of as groups of their own. */
	uint32_t arm[2]; /* where the branch is not taken, and where it is; FLOW_NONE: empty */
	uint32_t join;	 /* FLOW_NONE: no such arms */
	bool is_arm;
};

struct flow {
	uint32_t n; /* the last block is the function's end and holds nothing */
	struct flow_block *block;
	uint32_t *edge;
	uint32_t *order, norder; /* reachable blocks; arms directly behind their head */
	uint32_t *block_of;	 /* by instruction */
};

/* Registers alive within a function, as intervals over the order; positions begin at 1. */
struct flow_live {
	uint32_t *from, *to; /* by register; from 0: never mentioned */
	bool known;	     /* false: the function is too large, nothing here holds */
};

/* NULL when out of memory. in: n instructions; labels are indices, n itself being the end. */
struct flow *flow_new(const struct ptx_insn *in, uint32_t n);
void flow_free(struct flow *f);

/* Fills l; drop[i] is set for instructions without effect, unused[i] for atomics whose result
 * nobody reads. pure says which may be dropped. A register that has a place already (not UINT32_MAX)
 * is a parameter or result: callers read it. false when out of memory. */
bool flow_liveness(const struct flow *f, const struct ptx_insn *in, uint32_t nregs, const uint32_t *place,
		   bool (*pure)(const struct ptx_insn *), struct flow_live *l, uint8_t *drop, uint8_t *unused);

/* Every register an instruction reads; its result, too, where it may be left as it was. */
typedef void (*flow_reg_fn)(void *ctx, uint32_t reg);
void flow_each_source(const struct ptx_insn *in, flow_reg_fn fn, void *ctx);
/* Adds to reads[r] how often n instructions read register r. */
void flow_count_reads(const struct ptx_insn *in, uint32_t n, uint32_t *reads);

/* Sets brief[r] for registers whose every mention lies in one stretch of a block during which no other
 * lanes of the warp get their turn, a write first: what they hold for lanes that are not active matters
 * to nobody, so they may be written without regard to the mask. */
bool flow_brief(const struct flow *f, const struct ptx_insn *in, uint32_t nregs, const uint8_t *drop, uint8_t *brief);

bool ptx_writes_pair(enum ptx_op op);
bool flow_maskable(enum ptx_op op); /* false: lanes may part here, wait for others or take turns */
#endif
