/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a warp of a kernel computes once instead of 32 times.
 *
 * Indices and addresses are mostly base + lane * stride: sums and products of the block's index, the
 * kernel's parameters and the thread's index. Where a register is written once and only from such
 * values, it is a number per warp (the base, of lane 0) and a stride known when the kernel is
 * compiled; stride 0 is the same for all lanes. Comparisons of such values are masks known before the
 * warp's first instruction. Both are pure functions of warp and block, so it does not matter which
 * lanes are active where the PTX computes them: a list of operations, the head, does it in advance.
 *
 * What no block's index is involved in is computed once per launch. Of the rest nearly everything is a
 * sum c0 + cx * ctaid.x + cy * ctaid.y + cz * ctaid.z, whose coefficients are computed once per launch,
 * too: a block evaluates only the sums that something outside the head wants, then comparisons and what
 * is not such a sum.
 *
 * Two conditions, checked at each launch; where one does not hold, the kernel's other form runs, which
 * computes lane by lane: consecutive lanes have consecutive thread indices (the block's width is a
 * multiple of 32, or the block has one dimension), and no 32-bit value that depends on lane or block wraps
 * within the grid before it is widened to 64 bits (interval arithmetic over the whole grid says so).
 */
#ifndef SOFTCUDA_ENGINE_HEAD_H
#define SOFTCUDA_ENGINE_HEAD_H
#include <stdbool.h>
#include <stdint.h>

struct build;
struct cfunc;
struct ptx_insn;
struct ptx_operand;
struct run;
struct warp;

enum head_code {
	HEAD_CONST, HEAD_SREG, HEAD_PARAM, /* imm: the value, the register, the offset */
	HEAD_ADD, HEAD_SUB, HEAD_MUL, HEAD_SHL, HEAD_SHR, HEAD_AND, HEAD_OR, HEAD_XOR, HEAD_MIN, HEAD_MAX, HEAD_NOT,
	HEAD_NARROW, HEAD_WIDEN, /* 64 bits to 32, 32 to 64 */
	/* d is a predicate, from here on; of those behind ORDER a and b are, too. */
	HEAD_COMPARE, HEAD_ORDER, /* ORDER: a - b - imm < 0, of 32 bits; cmp: the other lanes */
	HEAD_PCONST, HEAD_PAND, HEAD_POR, HEAD_PXOR, HEAD_PNOT
};

struct head_op {
	uint8_t code, width; /* of the result, bytes; COMPARE, ORDER: of what is compared */
	uint8_t cmp;	     /* enum ptx_cmp */
	bool sign;
	uint32_t d, a, b;    /* predicates: offset in the frame; others: number of the value */
	int64_t imm;
	int64_t stride, stride_b; /* of a and b; COMPARE, ORDER, WIDEN */
};

struct head_root { /* a sum that blocks evaluate */
	uint32_t value;
	uint64_t bits; /* of its width */
};
enum head_kind { HEAD_LAUNCH, HEAD_LINEAR, HEAD_BLOCK, HEAD_KINDS };
struct head {
	uint32_t n[HEAD_KINDS]; /* operations, in op one kind behind the other */
	uint32_t nvalues, at;	/* values, 8 bytes each, from this offset of the frame */
	uint32_t nroots, roots_at; /* their coefficients, 32 bytes each */
	bool checks;		/* some value must not wrap */
	struct head_op *op;
	struct head_root *root;
};

/* ---- engine_head.c: running it */
void sc_head_launch(struct warp *w);
void sc_head_block(struct warp *w);
bool sc_head_fits(const struct head *h, const struct run *run);

/* ---- engine_affine.c: finding it; b->affine is NULL if there is nothing */
void b_find_affine(struct build *b);
void b_finish_head(struct build *b);
bool b_affine_value(const struct build *b, uint32_t reg);
bool b_affine_lanes(const struct build *b, uint32_t reg); /* a value of the head that somebody reads lane by lane */
bool b_affine_def(const struct build *b, uint32_t i); /* PTX instruction i is in the head */
void b_lower_affine(struct build *b, uint32_t i);     /* what is left of it: its lanes, where somebody needs them */
/* Whether a's register is an address whose lanes lie size bytes apart, or are all the same: frame offset of the base. */
bool b_affine_address(const struct build *b, const struct ptx_operand *a, uint32_t size, uint32_t *at, bool *same);
void b_free_affine(struct build *b);
#endif
