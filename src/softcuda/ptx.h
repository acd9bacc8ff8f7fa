/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PTX as data: what the front end (lexer, parser, checker) hands to the engine.
 *
 * One ptx_module per source text. Everything is owned by the module (one arena) and freed with it.
 * The front end has checked: every name resolved, operand count/kind/type fit the instruction,
 * labels exist, directives in range. So the engine may assume a well-formed program; what it cannot
 * assume is anything about run-time values.
 */
#ifndef SOFTCUDA_PTX_H
#define SOFTCUDA_PTX_H
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

enum ptx_type { /* .bN types are untyped bits */
	PTX_NONE, PTX_B8, PTX_B16, PTX_B32, PTX_B64, PTX_B128,
	PTX_U8, PTX_U16, PTX_U32, PTX_U64, PTX_S8, PTX_S16, PTX_S32, PTX_S64,
	PTX_F16, PTX_F16X2, PTX_BF16, PTX_BF16X2, PTX_F32, PTX_F64, PTX_PRED, PTX_TEXREF, PTX_SAMPLERREF, PTX_SURFREF,
	PTX_TYPE_COUNT
};

enum ptx_space { PTX_SPACE_GENERIC, PTX_SPACE_REG, PTX_SPACE_GLOBAL, PTX_SPACE_CONST, PTX_SPACE_SHARED, PTX_SPACE_LOCAL, PTX_SPACE_PARAM };

/* One per base mnemonic; variants are modifiers below. X-macro so that names print. */
#define PTX_OPS(X) \
	X(ABS, "abs") X(ACTIVEMASK, "activemask") X(ADD, "add") X(ADDC, "addc") X(AND, "and") X(ATOM, "atom") \
	X(BAR, "bar") X(BARRIER, "barrier") X(BFE, "bfe") X(BFI, "bfi") X(BFIND, "bfind") X(BMSK, "bmsk") X(BRA, "bra") \
	X(BREV, "brev") X(BRKPT, "brkpt") X(BRX, "brx") X(CALL, "call") X(CLZ, "clz") X(CNOT, "cnot") X(COPYSIGN, "copysign") \
	X(COS, "cos") X(CVT, "cvt") X(CVTA, "cvta") X(DIV, "div") X(DP2A, "dp2a") X(DP4A, "dp4a") X(ELECT, "elect") \
	X(EX2, "ex2") X(EXIT, "exit") X(FENCE, "fence") X(FMA, "fma") X(FNS, "fns") X(ISSPACEP, "isspacep") X(LD, "ld") \
	X(LDU, "ldu") X(LG2, "lg2") X(LOP3, "lop3") X(MAD, "mad") X(MAD24, "mad24") X(MADC, "madc") X(MATCH, "match") \
	X(MAX, "max") X(MEMBAR, "membar") X(MIN, "min") X(MOV, "mov") X(MUL, "mul") X(MUL24, "mul24") X(NANOSLEEP, "nanosleep") \
	X(NEG, "neg") X(NOT, "not") X(OR, "or") X(POPC, "popc") X(PREFETCH, "prefetch") X(PREFETCHU, "prefetchu") X(PRMT, "prmt") \
	X(RCP, "rcp") X(RED, "red") X(REDUX, "redux") X(REM, "rem") X(RET, "ret") X(RSQRT, "rsqrt") X(SAD, "sad") X(SELP, "selp") \
	X(SET, "set") X(SETP, "setp") X(SHF, "shf") X(SHFL, "shfl") X(SHL, "shl") X(SHR, "shr") X(SIN, "sin") X(SLCT, "slct") \
	X(SQRT, "sqrt") X(ST, "st") X(SUB, "sub") X(SUBC, "subc") X(SULD, "suld") X(SUQ, "suq") X(SURED, "sured") X(SUST, "sust") \
	X(SZEXT, "szext") X(TANH, "tanh") X(TESTP, "testp") X(TEX, "tex") X(TLD4, "tld4") X(TRAP, "trap") X(TXQ, "txq") \
	X(VABSDIFF4, "vabsdiff4") X(VADD, "vadd") X(VOTE, "vote") X(XOR, "xor") X(ISTYPEP, "istypep")
#define X(id, name) PTX_OP_##id,
enum ptx_op { PTX_OPS(X) PTX_OP_COUNT };
#undef X
extern const char *const ptx_op_name[PTX_OP_COUNT];

enum ptx_round { PTX_RND_NONE, PTX_RN, PTX_RZ, PTX_RM, PTX_RP, PTX_RNI, PTX_RZI, PTX_RMI, PTX_RPI, PTX_RNA, PTX_APPROX, PTX_FULL };
enum ptx_cmp { PTX_CMP_NONE, PTX_EQ, PTX_NE, PTX_LT, PTX_LE, PTX_GT, PTX_GE, PTX_LO, PTX_LS, PTX_HI, PTX_HS,
	       PTX_EQU, PTX_NEU, PTX_LTU, PTX_LEU, PTX_GTU, PTX_GEU, PTX_NUM, PTX_NAN_ };
enum ptx_boolop { PTX_BOOL_NONE, PTX_BOOL_AND, PTX_BOOL_OR, PTX_BOOL_XOR };
enum ptx_atom { PTX_ATOM_NONE, PTX_ATOM_AND, PTX_ATOM_OR, PTX_ATOM_XOR, PTX_ATOM_CAS, PTX_ATOM_EXCH, PTX_ATOM_ADD, PTX_ATOM_INC, PTX_ATOM_DEC, PTX_ATOM_MIN, PTX_ATOM_MAX };
/* sub: the one further choice some ops have. */
enum ptx_sub {
	PTX_SUB_NONE,
	PTX_MUL_LO, PTX_MUL_HI, PTX_MUL_WIDE,				     /* mul mad sad24.. */
	PTX_SHFL_UP, PTX_SHFL_DOWN, PTX_SHFL_BFLY, PTX_SHFL_IDX,	     /* shfl */
	PTX_VOTE_ALL, PTX_VOTE_ANY, PTX_VOTE_UNI, PTX_VOTE_BALLOT,	     /* vote */
	PTX_MATCH_ANY, PTX_MATCH_ALL,					     /* match */
	PTX_BAR_SYNC, PTX_BAR_ARRIVE, PTX_BAR_RED_POPC, PTX_BAR_RED_AND, PTX_BAR_RED_OR, PTX_BAR_WARP, /* bar, barrier */
	PTX_SHF_L_CLAMP, PTX_SHF_L_WRAP, PTX_SHF_R_CLAMP, PTX_SHF_R_WRAP,    /* shf */
	PTX_PRMT_DEFAULT, PTX_PRMT_F4E, PTX_PRMT_B4E, PTX_PRMT_RC8, PTX_PRMT_ECL, PTX_PRMT_ECR, PTX_PRMT_RC16,
	PTX_BMSK_CLAMP, PTX_BMSK_WRAP,
	PTX_TESTP_FINITE, PTX_TESTP_INFINITE, PTX_TESTP_NUMBER, PTX_TESTP_NOTANUMBER, PTX_TESTP_NORMAL, PTX_TESTP_SUBNORMAL,
	PTX_CVTA_TO, PTX_CVTA_FROM,					     /* cvta.to.space, cvta.space */
	PTX_BFIND_SHIFTAMT,
	PTX_REDUX_ADD, PTX_REDUX_MIN, PTX_REDUX_MAX, PTX_REDUX_AND, PTX_REDUX_OR, PTX_REDUX_XOR,
	PTX_TEXQ_WIDTH, PTX_TEXQ_HEIGHT, PTX_TEXQ_DEPTH, PTX_TEXQ_CHANNEL_TYPE, PTX_TEXQ_CHANNEL_ORDER, PTX_TEXQ_NORMALIZED, PTX_TEXQ_OTHER,
};
enum ptx_geom { PTX_GEOM_NONE, PTX_GEOM_1D, PTX_GEOM_2D, PTX_GEOM_3D, PTX_GEOM_A1D, PTX_GEOM_A2D, PTX_GEOM_CUBE, PTX_GEOM_ACUBE };
enum ptx_sreg_id {
	PTX_SREG_TID_X, PTX_SREG_TID_Y, PTX_SREG_TID_Z, PTX_SREG_NTID_X, PTX_SREG_NTID_Y, PTX_SREG_NTID_Z,
	PTX_SREG_CTAID_X, PTX_SREG_CTAID_Y, PTX_SREG_CTAID_Z, PTX_SREG_NCTAID_X, PTX_SREG_NCTAID_Y, PTX_SREG_NCTAID_Z,
	PTX_SREG_LANEID, PTX_SREG_WARPID, PTX_SREG_NWARPID, PTX_SREG_SMID, PTX_SREG_NSMID, PTX_SREG_GRIDID,
	PTX_SREG_LANEMASK_EQ, PTX_SREG_LANEMASK_LE, PTX_SREG_LANEMASK_LT, PTX_SREG_LANEMASK_GE, PTX_SREG_LANEMASK_GT,
	PTX_SREG_CLOCK, PTX_SREG_CLOCK_HI, PTX_SREG_CLOCK64, PTX_SREG_GLOBALTIMER, PTX_SREG_GLOBALTIMER_LO, PTX_SREG_GLOBALTIMER_HI,
	PTX_SREG_ENVREG, /* value -> index */ PTX_SREG_DYNAMIC_SMEM_SIZE, PTX_SREG_TOTAL_SMEM_SIZE,
};

struct ptx_func;

/* A variable in memory: module scope, or .shared/.local/.param inside a function. */
struct ptx_var {
	const char *name;
	enum ptx_space space;
	enum ptx_type type;	/* element */
	uint32_t vec;		/* 1, 2, 4 */
	uint64_t count;		/* array elements; 0 with is_array = unsized (extern shared) */
	bool is_array, is_extern, is_visible;
	uint32_t align;		/* bytes, power of two */
	uint64_t size;		/* bytes, 0 if unsized */
	uint8_t *init;		/* size bytes or NULL (= zero) */
	uint32_t nreloc;	/* addresses inside init[] */
	struct ptx_reloc { uint64_t at; uint32_t width; int64_t addend; bool generic; const struct ptx_var *var; const struct ptx_func *func; } *reloc;
	uint64_t engine_addr;	/* for the engine's use: offset or address once placed */
	int line;
};

enum ptx_operand_kind {
	PTX_O_NONE, PTX_O_REG, /* reg */ PTX_O_IMM, /* imm: bits in the operand's type */ PTX_O_SREG, /* sreg (+imm for envreg) */
	PTX_O_VAR, /* var + imm: the address as a value (mov) */ PTX_O_FUNC, /* func: its address, or the callee */
	PTX_O_ADDR, /* [reg or var or func-param or absolute] + imm */ PTX_O_LABEL, /* label: index of the target instruction */
	PTX_O_VEC, /* vec[n] */ PTX_O_SINK, /* _ */ PTX_O_LIST /* call arguments, brx targets: list[n] */
};
struct ptx_operand {
	enum ptx_operand_kind kind;
	uint8_t n;		/* VEC */
	bool neg;		/* predicate operand written !p */
	bool base_is_reg;	/* ADDR: base is reg, else var, else (var == NULL) absolute */
	uint8_t part;		/* video-like selectors: unused = 0 */
	uint32_t reg;		/* index into func->regs */
	uint32_t sreg;
	int64_t imm;		/* value bits; ADDR: byte offset; floats: bits in the instruction's type */
	const struct ptx_var *var;
	const struct ptx_func *func;
	uint32_t label;
	uint32_t nlist;
	struct ptx_operand *vec; /* VEC: n; LIST: nlist */
};

struct ptx_insn {
	enum ptx_op op;
	int line;
	/* guard: @p / @!p ; pred < 0 = none */
	int32_t pred;
	bool pred_neg;
	enum ptx_type type;	/* first type suffix (result) */
	enum ptx_type type2;	/* second (source), PTX_NONE if absent */
	enum ptx_type type3;	/* third (e.g. tex coordinates are type2; dp4a) */
	enum ptx_round round;
	bool sat, ftz, uni, volatile_, cc, geom_unified, to_abs, relu, sync, aligned, noftz, nan, xorsign, satfinite;
	enum ptx_cmp cmp;
	enum ptx_boolop boolop;
	enum ptx_atom atom;
	enum ptx_sub sub;
	enum ptx_space space;
	enum ptx_geom geom;
	uint8_t vec;		/* ld/st/tex vector width, 1 default */
	uint8_t scope, sem;	/* .cta/.gpu/.sys ; relaxed/acquire/release: informative (engine is sequentially consistent) */
	uint8_t lut;		/* lop3 */
	uint8_t clamp;		/* suld, sust: 0 .trap, 1 .clamp, 2 .zero */
	uint8_t nop;		/* operands, optional ones that are absent not counted */
	/* Order as written in PTX, address or destination first as the instruction has it. What may have two
	 * results "d|p" (setp, shfl, match, elect) always has both: o[0], o[1] (SINK if absent).
	 * bar, barrier: o[0] barrier, o[1] thread count or NONE; .red: o[0] result, o[1], o[2], o[3] predicate.
	 * call: o[0] LIST of results, o[1] FUNC or REG, o[2] LIST of arguments, o[3] NONE, or LABEL whose func is
	 * the prototype (no body), or LIST of FUNC (.calltargets). Arguments are VAR (.param), REG or IMM;
	 * results VAR, REG or SINK. Counts and sizes fit the callee or prototype; an indirect callee's own are to
	 * be compared with the prototype's when it runs.
	 * brx: o[0] REG index, o[1] LIST of LABEL. tex: o[0] VEC, o[1] VAR (texref) or REG (texture object),
	 * [o[2] sampler], o[nop - 1] VEC coordinates (a layer first). suld: o[0] VEC, o[1] surface, o[2] VEC;
	 * sust: o[0] surface, o[1] VEC coordinates, o[2] VEC. txq, suq: o[0] REG, o[1] VAR or REG.
	 * ld/st with .v2/.v4: VEC, else REG (or IMM). mov may have one VEC side (packing). lop3's table is in lut.
	 * A name or special register where only mov could read it is moved into a fresh register before. */
	struct ptx_operand o[6];
};

struct ptx_reg { const char *name; enum ptx_type type; };

struct ptx_param { /* of an entry or device function, in order */
	const struct ptx_var *var;
	uint32_t offset; /* entry: byte offset in the parameter buffer */
	uint32_t reg;	 /* device function with .reg parameters: index, else UINT32_MAX */
};

struct ptx_func {
	const char *name;
	bool is_entry, is_visible, is_extern, noreturn;
	uint32_t nregs; struct ptx_reg *regs;
	uint32_t nvars; struct ptx_var **vars;	/* .shared/.local/.param declared inside */
	uint32_t nparams; struct ptx_param *params;
	uint32_t nresults; struct ptx_param *results;
	uint32_t param_bytes;		/* entry: size of the parameter buffer */
	uint32_t ninsns; struct ptx_insn *insns;
	uint32_t maxntid[3], reqntid[3], minnctapersm; /* 0 = not given */
	const struct ptx_module *module;
	void *engine;			/* the engine's compiled form */
	int line;
};

struct ptx_module {
	uint32_t version_major, version_minor;
	char target[32]; uint32_t sm;	/* 75 for sm_75 */
	uint32_t address_size;		/* 64 */
	uint32_t nfuncs; struct ptx_func **funcs;
	uint32_t nvars; struct ptx_var **vars;
	void *arena;
};

/* Messages, one per line: "ptx line 12, column 7: error: unknown instruction 'ad.s32'". Truncated to cap - 1. */
struct ptx_log { char *buf; size_t cap, len; };

enum ptx_status { PTX_OK, PTX_ERR_SYNTAX /* CUDA_ERROR_INVALID_PTX */, PTX_ERR_VERSION /* UNSUPPORTED_PTX_VERSION */, PTX_ERR_UNSUPPORTED /* valid PTX, not executed here: says which */, PTX_ERR_MEMORY };

/* Text need not end with NUL; a NUL inside ends it. Returns a module in *out only on PTX_OK. */
enum ptx_status ptx_parse(const char *text, size_t len, struct ptx_log *log, struct ptx_module **out);
void ptx_free(struct ptx_module *m);
static inline uint32_t ptx_type_size(enum ptx_type t)
{
	static const uint8_t size[PTX_TYPE_COUNT] = { [PTX_B8] = 1, [PTX_B16] = 2, [PTX_B32] = 4, [PTX_B64] = 8, [PTX_B128] = 16,
		[PTX_U8] = 1, [PTX_U16] = 2, [PTX_U32] = 4, [PTX_U64] = 8, [PTX_S8] = 1, [PTX_S16] = 2, [PTX_S32] = 4, [PTX_S64] = 8,
		[PTX_F16] = 2, [PTX_F16X2] = 4, [PTX_BF16] = 2, [PTX_BF16X2] = 4, [PTX_F32] = 4, [PTX_F64] = 8, [PTX_PRED] = 1,
		[PTX_TEXREF] = 8, [PTX_SAMPLERREF] = 8, [PTX_SURFREF] = 8 };
	return size[t];
}
#endif
