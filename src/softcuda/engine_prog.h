/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compiled function and the state that runs it.
 *
 * Registers are arrays of 32 lanes in a frame; an instruction names them by byte offset from the
 * frame's base. Widths: 16 bits (8-bit types live there too, extended), 32, 64. A predicate is one
 * 32-bit mask. Immediates are read-only registers, filled when the frame is made.
 *
 * A warp is a set of groups: lanes that share a program counter and a frame. One group is current;
 * its handlers run until it branches apart, meets another, waits or ends.
 */
#ifndef SOFTCUDA_ENGINE_PROG_H
#define SOFTCUDA_ENGINE_PROG_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "softcuda/engine.h"
#include "softcuda/engine_err.h"
#include "softcuda/engine_head.h"
#include "softcuda/engine_ops.h"

enum {
	SC_LANES = 32,
	SC_MAX_THREADS = 1024,	    /* per block */
	SC_MAX_WARPS = 32,
	SC_MAX_SHARED = 65536,	    /* per block, static + dynamic: compute capability 7.5 */
	SC_BARRIERS = 16,
	SC_BUDGET = 2048,	    /* back-edges a warp takes before others get their turn */
	SC_MAX_DEPTH = 1024,	    /* call depth */
	SC_STACK_RECURSIVE = 65536, /* bytes of local memory per thread where depth is not known */
	SC_MAX_LOCAL = 524288,	    /* bytes of local memory per thread */
	SC_RANGES = 64,		    /* remembered memory ranges per worker */
	SC_BRIEF = 512,		    /* instructions a brief launch takes, about 5 us */
	SC_MAX_HEAD = 512,	    /* values of a kernel's head */
	SC_MAX_STRIDE = 1 << 20,    /* bytes or elements from lane to lane that the head knows */
	SC_NO_REG = -1,
};

/* In ptx_var.engine_addr of a kernel's own parameter: the rest is its offset. */
#define SC_KERNEL_PARAM (1ull << 62)

struct warp;
struct insn;
struct cfunc;
typedef const struct insn *(*sc_handler)(struct warp *w, const struct insn *in);
struct sc_op_fn {
	sc_handler full, partial; /* all 32 lanes active; some */
};

enum sc_mode { /* how a memory instruction makes its address; o[0] is the register */
	MODE_REG64, MODE_REG32, MODE_CONST
};

struct insn {
	sc_handler fn[2]; /* by warp->partial */
	uint32_t o[6];	  /* byte offsets into the frame; meaning per handler */
	int64_t imm;
	union {
		const struct insn *target;
		const void *aux;
	};
	int32_t line;	/* of the PTX text */
	uint16_t op;	/* enum sc_op, for people */
	uint8_t sub;	/* modifiers, per handler */
	uint8_t n;	/* vector length; memory: see MEM_SUB */
};

/* insn.sub of memory instructions: space, mode, and the slot of the remembered range. */
enum { MEM_SPACE_SHIFT = 0, MEM_MODE_SHIFT = 3, MEM_WRITE = 1 << 5 };
enum { BAR_HAS_COUNT = 1, BAR_RED_SHIFT = 1, BAR_NEG = 16 };

struct konst { /* an immediate and where it lives */
	uint64_t bits;
	uint32_t offset, width; /* width 4 bytes with mask set: a predicate */
	bool mask;
};

struct call_arg {
	bool to_reg;	  /* callee takes it in a register */
	bool from_reg;	  /* caller gives a register (or constant) */
	uint32_t from, to; /* frame offset or local-memory offset */
	uint32_t size;	  /* bytes */
	uint32_t from_width, to_width;
};
enum sc_builtin { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_ASSERTFAIL, BUILTIN_MALLOC, BUILTIN_FREE, BUILTIN_UNKNOWN };
struct call_info {
	const struct ptx_func *func; /* NULL: indirect, the address is in o[0] */
	struct cfunc *callee;	     /* compiled on first need, with the kernel */
	enum sc_builtin builtin;
	uint32_t nargs, nresults;
	struct call_arg *arg, *result;
	char name[64];
};
struct brx_info {
	uint32_t n;
	const struct insn **target;
};

struct cfunc {
	const struct ptx_func *func;
	struct sc_module *module;
	struct insn *code;	 /* starts at code[0] */
	struct insn *pre;	 /* entries: values no block changes; ends with STOPPRE; may be NULL */
	uint32_t ncode, npre;
	struct head head;	 /* entries compiled by warp: see engine_head.h */
	uint32_t frame_bytes;	 /* registers and constants */
	uint32_t steps;		 /* instructions if it only goes forward, by itself; else UINT32_MAX */
	uint32_t nranges;	 /* remembered ranges it uses; SC_RANGES with its callees */
	uint32_t local_bytes;	 /* .local and .param variables, per thread */
	uint32_t nkonst;
	struct konst *konst;
	uint32_t nparams, nresults;
	uint32_t *param_at, *result_at; /* local-memory offset, or register offset */
	uint32_t *param_width;		/* 0: memory; else register width */
	uint32_t *result_width;
	uint32_t *param_size, *result_size;
	uint32_t shared_bytes;
	uint32_t stack_bytes; /* entries: local memory per thread with all callees */
	uint8_t mark;	      /* walk of the call graph */
	bool calls_unknown;
	uint64_t id;
	void *arena;
};

struct frame {
	struct frame *parent;
	const struct insn *ret;
	const struct cfunc *f;
	uint8_t *regs;
	uint32_t live; /* lanes that have not returned */
	uint32_t depth;
	uint32_t sp;   /* where this frame's local memory begins in each thread's stack */
	uint32_t cc;   /* carry flags by lane */
};

enum group_state { GROUP_READY, GROUP_BAR, GROUP_SYNC, GROUP_WARPBAR };
struct group {
	const struct insn *pc;
	struct frame *frame;
	uint32_t mask;
	uint32_t need; /* SYNC, WARPBAR: lanes waited for */
	uint8_t state, bar;
	uint64_t stamp; /* when it last ran, for rotation */
};

enum warp_status { WARP_RUN, WARP_YIELD, WARP_BLOCKED, WARP_DONE, WARP_FAULT };

struct sc_range {
	uint64_t base, size;
};

struct block;
struct worker;

struct warp {
	uint8_t *r; /* registers of the current frame */
	uint32_t mask;
	uint32_t partial; /* mask != all ones */
	int32_t budget;
	uint32_t nwait; /* groups besides the current one */
	/* Below this the current group meets nobody and nobody is further behind; NULL: not known. */
	const struct insn *clear;
	struct frame *frame;
	struct worker *k;
	struct block *b;
	uint32_t live; /* lanes not exited */
	uint32_t index;
	bool rotating, turn;
	uint8_t status;
	uint64_t clock;
	uint64_t local_base; /* of lane 0; lanes are local_stride apart */
	struct frame entry;
	uint16_t lm16[SC_LANES] __attribute__((aligned(64))); /* lane masks while partial */
	uint32_t lm32[SC_LANES] __attribute__((aligned(64)));
	uint64_t lm64[SC_LANES] __attribute__((aligned(64)));
	uint32_t tid[3][SC_LANES] __attribute__((aligned(64)));
	struct group wait[SC_LANES];
};

struct barrier {
	uint32_t arrived;  /* threads */
	uint32_t expected; /* 0: all that live */
	uint32_t red_or, red_and, popc;
	uint32_t waiting;  /* groups parked here */
};

struct block {
	uint32_t id[3];
	uint32_t threads, warps, alive;
	uint32_t waiting; /* groups parked at any barrier */
	uint8_t *shared;
	struct barrier bar[SC_BARRIERS];
	struct warp *warp;
	uint64_t linear;
};

struct run { /* one launch, shared by its workers */
	struct sc_device *device;
	const struct sc_launch *launch;
	const struct cfunc *f;
	struct sc_module *module;
	uint64_t blocks, threads_per_block;
	uint32_t warps_per_block;
	uint32_t shared_bytes;
	uint32_t local_stride;
	uint64_t grid_id;
	uint8_t *params;
	_Atomic uint64_t next;
	atomic_int result; /* first fault */
	atomic_flag fault_lock;
	struct sc_fault *fault;
};

struct worker {
	struct run *run;
	unsigned index;
	struct sc_range range[SC_RANGES];
	uint32_t mxcsr;
	/* kept from launch to launch */
	uint64_t prepared; /* cfunc id whose frames lie in regs */
	uint32_t prepared_warps;
	uint32_t shape[3], shaped_warps; /* block whose thread indices the first warps hold */
	uint8_t *regs;
	size_t regs_bytes;
	uint8_t *local;
	size_t local_bytes;
	uint8_t *shared;
	size_t shared_bytes;
	struct block *blocks; /* 1, or all resident ones of a cooperative launch */
	uint32_t nblocks;
	struct warp *warps;
	uint32_t nwarps;
	struct free_frame *free_frames;
};

/* ---- engine_warp.c: groups of a warp */
/* Fills the lane masks; set with the handlers. */
extern void (*sc_expand_mask)(struct warp *w, uint32_t mask);
void sc_set_mask(struct warp *w, uint32_t mask);
/* The current group is about to execute pc: meets waiting groups there, or gives way to one that
 * is behind. Returns what to execute next. */
const struct insn *sc_arrive(struct warp *w, const struct insn *pc);
const struct insn *sc_diverge(struct warp *w, const struct insn *a, uint32_t amask,
			      const struct insn *b, uint32_t bmask);
/* Lanes of mask stay behind at pc; the others go on. */
void sc_split(struct warp *w, const struct insn *pc, uint32_t mask);
const struct insn *sc_budget_spent(struct warp *w, const struct insn *pc);
/* No current group: choose one, or NULL with status set. */
const struct insn *sc_pick(struct warp *w);
/* As sc_pick, for a warp that gets its turn. */
const struct insn *sc_resume(struct warp *w);
void sc_park(struct warp *w, const struct insn *pc, enum group_state state, uint32_t need,
	     unsigned bar);
const struct insn *sc_exit_lanes(struct warp *w, uint32_t mask);
const struct insn *sc_return(struct warp *w);
const struct insn *sc_call(struct warp *w, const struct insn *in, const struct call_info *c,
			   struct cfunc *callee);
/* Waits until the lanes of need stand at this instruction. in itself: go ahead. */
const struct insn *sc_sync(struct warp *w, const struct insn *in, uint32_t need);
const struct insn *sc_warp_barrier(struct warp *w, const struct insn *in, uint32_t need);

void sc_free_frames(struct worker *k);
void sc_abandon_warp(struct warp *w);

/* ---- engine_block.c */
const struct insn *sc_barrier(struct warp *w, const struct insn *in, unsigned id, uint32_t count,
			      bool park, uint32_t pred);
void sc_threads_left(struct block *b, uint32_t n);
int sc_run_block(struct worker *k, struct block *b, bool may_yield);
enum { BLOCK_DONE, BLOCK_YIELD, BLOCK_FAULT };

/* ---- engine_fault.c: the first fault of a launch wins; returns NULL, so handlers return it. */
const struct insn *sc_fault_at(struct warp *w, const struct insn *in, int result, int lane,
			       uint64_t address, uint32_t size, bool write, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));
const struct insn *sc_mem_fault(struct warp *w, const struct insn *in, int lane, uint64_t address,
				uint32_t size, bool write);

/* ---- engine_builtin.c */
const struct insn *sc_builtin_call(struct warp *w, const struct insn *in);
/* ---- engine_tex.c */
const struct insn *sc_tex_op(struct warp *w, const struct insn *in);
const struct insn *sc_txq_op(struct warp *w, const struct insn *in);

/* Memory range that holds [va, va + size) for this lane, remembered under slot. */
bool sc_find_range(struct warp *w, unsigned slot, uint64_t va, uint32_t size, int lane);

/* ---- engine_compile.c */
struct kernel_tree;
struct cfunc *sc_compile(struct kernel_tree *tree, const struct ptx_func *f, char *why, size_t why_cap, int *result);
void sc_cfunc_free(struct cfunc *f);
/* ---- engine_module.c */
struct cfunc *sc_kernel_function_at(const struct sc_kernel *k, uint64_t address);
uint64_t sc_module_function_address(const struct sc_module *m, const struct ptx_func *f);
const struct sc_op_fn *sc_ops(void); /* table for this machine */
void sc_frame_init(const struct cfunc *f, uint8_t *regs);
bool sc_module_is_const(const struct sc_module *m, uint64_t va);
unsigned sc_device_threads(const struct sc_device *d);
#endif
