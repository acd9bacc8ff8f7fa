/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiling a function: the builder shared by engine_compile.c (which leads), engine_rewrite.c,
 * engine_place.c (registers), engine_control.c (order, branches, calls), engine_lower.c (arithmetic)
 * and engine_lower_mem.c (memory, warp operations).
 */
#ifndef SOFTCUDA_ENGINE_BUILD_H
#define SOFTCUDA_ENGINE_BUILD_H
#include <setjmp.h>
#include <string.h>
#include "softcuda/engine_flow.h"
#include "softcuda/engine_prog.h"

enum { B_EXTRA = 8 }; /* registers besides the function's own */

struct stream {
	struct insn *v;
	uint32_t n, cap;
};
struct chunk {
	struct chunk *next;
};
struct build {
	const struct ptx_func *f;
	struct kernel_tree *tree;
	struct cfunc *c;
	struct stream main, pre;
	struct stream *out;
	struct ptx_reg *regs; /* the function's, and B_EXTRA that rewriting may name */
	uint32_t *slot;	     /* per PTX register: frame offset */
	struct affine *affine; /* engine_affine.c; NULL: every value is computed lane by lane */
	uint8_t *brief;	     /* per PTX register: see flow_brief */
	bool *stable;	     /* per PTX register: computed once per launch */
	uint32_t *defs, *reads; /* per PTX register: how often written, how often read */
	uint8_t *known;	     /* per PTX predicate: 1 always false, 2 always true */
	struct ptx_insn *insn; /* the function's, as rewritten */
	struct flow *flow;
	struct flow_live live;
	uint32_t *label;     /* per block: its place in the order */
	uint32_t *label_at;  /* per PTX instruction that begins a block: index in main behind its LEADER */
	uint8_t *leader;     /* per block: some forward branch comes here */
	uint8_t *drop;	     /* per PTX instruction: without effect */
	uint8_t *unused;     /* per PTX instruction: an atomic whose result nobody reads */
	uint8_t *early;	     /* per PTX instruction: in the prologue */
	uint32_t at;	     /* PTX instruction being lowered */
	uint32_t arm_save;   /* where IF keeps masks; 0: no arms yet */
	struct fix { uint32_t at; uint32_t label; } *fix; /* branches to resolve */
	uint32_t nfix, cfix;
	struct brxfix { struct brx_info *info; uint32_t k, label; } *brx;
	uint32_t nbrx, cbrx;
	uint32_t cursor;     /* frame bytes used */
	uint32_t ckonst;
	uint32_t temps[4][16]; /* by class: predicate, 16, 32, 64 */
	uint32_t ntemps[4], used[4];
	uint32_t held[4][B_EXTRA]; /* places of the extra registers, by class */
	uint8_t *loose;	     /* by frame offset / 64: may be written for all lanes, whatever the mask */
	uint32_t nloose;
	uint32_t nmem;
	int line;
	jmp_buf fail;
	int result;
	char *why;
	size_t why_cap;
};

struct kernel_tree { /* what one kernel reaches; its functions are compiled for it */
	struct sc_module *module;
	uint32_t nfuncs;
	struct cfunc **func;	   /* by ptx_func index in the module */
	uint64_t *shared_at;	   /* by module variable index; UINT64_MAX if unused */
	uint32_t shared_bytes;	   /* static */
	bool indirect;
	bool by_warp;		   /* the entry is being compiled with a head */
};

_Noreturn void b_fail(struct build *b, int result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void *b_alloc(struct build *b, size_t size);
struct insn *b_emit(struct build *b, enum sc_op op);
void *b_grown(struct build *b, void *v, uint32_t *cap, size_t elem); /* an array, to twice its room */
uint32_t b_room(struct build *b, uint32_t width); /* a new place in the frame */
void b_mark_loose(struct build *b, uint32_t at);
bool b_is_loose(const struct build *b, uint32_t at);
int b_width_class(uint32_t width);
uint32_t b_temp(struct build *b, uint32_t width); /* width 0: predicate */
uint32_t b_const(struct build *b, uint32_t width, uint64_t bits);
uint32_t b_const_pred(struct build *b, bool set);
uint32_t b_reg(struct build *b, const struct ptx_operand *o);
uint32_t b_width(enum ptx_type t); /* of a register: 0 predicate, 2, 4, 8 */
uint32_t b_reg_width(const struct build *b, const struct ptx_operand *o);
/* Offset of a source operand: register, or immediate of the given register width. */
uint32_t b_src(struct build *b, const struct ptx_operand *o, uint32_t width);
uint32_t b_dst(struct build *b, const struct ptx_operand *o, uint32_t width); /* SINK: a temporary */
uint32_t b_pred_src(struct build *b, const struct ptx_operand *o);
void b_branch(struct build *b, struct insn *in, uint32_t label);

static inline uint32_t b_by_width(uint32_t op16, uint32_t size)
{
	return op16 + (size <= 2 ? 0 : size == 4 ? 1 : 2);
}
static inline bool b_signed(enum ptx_type t)
{
	return t >= PTX_S8 && t <= PTX_S64;
}
static inline uint32_t b_by_type(uint32_t op_s16, enum ptx_type t)
{
	uint32_t size = ptx_type_size(t);
	return op_s16 + (size <= 2 ? 0 : size == 4 ? 2 : 4) + !b_signed(t);
}

/* engine_rewrite.c */
bool b_droppable(const struct ptx_insn *in); /* without effect if nobody reads its result */
void b_fuse_products(struct build *b);
void b_fold_predicates(struct build *b);
/* engine_place.c */
bool b_impure(enum ptx_op op); /* has an effect, or a result that depends on more than its operands */
void b_count_defs(struct build *b);
void b_find_early(struct build *b);
void b_share_places(struct build *b, const struct flow_live *l);
/* engine_control.c */
void b_lower_all(struct build *b);

/* engine_lower.c, engine_lower_cvt.c, engine_lower_mem.c: false if the instruction is not theirs. */
bool b_lower_alu(struct build *b, const struct ptx_insn *in);
bool b_lower_cvt(struct build *b, const struct ptx_insn *in);
bool b_lower_mem(struct build *b, const struct ptx_insn *in);
bool b_lower_warp(struct build *b, const struct ptx_insn *in);
bool b_lower_tex(struct build *b, const struct ptx_insn *in);
uint64_t b_shared_offset(struct build *b, const struct ptx_var *v);
/* Whether a is a kernel's parameter, or a part of it, as wide as the register it is loaded into. */
bool b_whole_param(const struct build *b, const struct ptx_insn *in, const struct ptx_operand *a);

/* engine_tex.c */
struct tex_info {
	enum ptx_type type, ctype;
	enum ptx_geom geom;
	enum ptx_sub query;
	uint32_t dest[4]; /* UINT32_MAX: unwanted */
	uint32_t ncoord, coord[4];
	bool by_handle;
	uint32_t handle;  /* register */
	const struct ptx_var *var;
	uint32_t slot;	  /* of the module's texrefs */
	bool param;	  /* the handle is a kernel parameter at this offset */
	uint32_t offset;
};
uint64_t *sc_module_texslot(struct sc_module *m, const struct ptx_var *v);
#endif
