/* SPDX-License-Identifier: Apache-2.0 */
/* Which instructions there are: per mnemonic the types, the modifiers and the operands it takes.
 * The letters of the operands are explained in ptx_int.h. Rules of one mnemonic stand together. */
#include <pthread.h>
#include <string.h>
#include "softcuda/ptx_int.h"

#define t(x) (1u << PTX_##x)
#define U8_ t(U8)
#define I16 (t(U16) | t(S16))
#define I32 (t(U32) | t(S32))
#define I64 (t(U64) | t(S64))
#define INT (I16 | I32 | I64)
#define U32_64 (t(U32) | t(U64))
#define B32_64 (t(B32) | t(B64))
#define BITS (t(B16) | t(B32) | t(B64))
#define HALF (t(F16) | t(F16X2))
#define BHALF (t(BF16) | t(BF16X2))
#define FLOAT (t(F32) | t(F64))
#define REGS (BITS | INT | FLOAT | HALF | BHALF)
#define MEM (t(B8) | t(U8) | t(S8) | BITS | INT | FLOAT | t(F16) | t(BF16) | t(F16X2) | t(BF16X2))
#define MEMMODS (M_SEM | M_SCOPE | M_VOLATILE | M_SPACE | M_CACHE | M_EVICT | M_VECTOR | M_PROXY)
#define ATOMMODS (M_SEM | M_SCOPE | M_SPACE | M_ATOMOP | M_NOFTZ)
#define R(op, ...) { PTX_OP_##op, __VA_ARGS__ },

static const struct rule rules[] = {
	/* op, type, second type, third type, allowed, required, operands */
	R(ABS, t(S16) | t(S32) | t(S64), 0, 0, 0, 0, "D1 S1")
	R(ABS, t(F32) | HALF, 0, 0, M_FTZ, 0, "D1 S1")
	R(ABS, t(F64) | BHALF, 0, 0, 0, 0, "D1 S1")
	R(ACTIVEMASK, t(B32), 0, 0, 0, 0, "D1")
	R(ADD, t(S32), 0, 0, M_SAT | M_CC, 0, "D1 S1 S1")
	R(ADD, INT | B32_64, 0, 0, M_CC, 0, "D1 S1 S1")
	R(ADD, t(F32) | HALF, 0, 0, M_RND | M_FTZ | M_SAT, 0, "D1 S1 S1")
	R(ADD, t(F64) | BHALF, 0, 0, M_RND, 0, "D1 S1 S1")
	R(ADDC, I32 | I64, 0, 0, M_CC, 0, "D1 S1 S1")
	R(AND, BITS | INT, 0, 0, 0, 0, "D1 S1 S1")
	R(AND, t(PRED), 0, 0, 0, 0, "D1 S1 S1")
	R(ATOM, t(B16) | t(B32) | t(B64) | I32 | I64 | FLOAT | HALF | BHALF, 0, 0, ATOMMODS, M_ATOMOP, "d1 A S1 S1?")
	R(BAR, 0, 0, 0, M_BAR | M_SYNC, M_BAR | M_SYNC, "Sb")
	R(BAR, 0, 0, 0, M_SYNC | M_BAR | M_CTA, 0, "Su Su?")
	R(BAR, t(U32) | t(PRED), 0, 0, M_BAR | M_BARRED | M_CTA, M_BAR | M_BARRED, "D1 Su Su? Pp")
	R(BARRIER, 0, 0, 0, M_SYNC | M_BAR | M_CTA | M_ALIGNED, 0, "Su Su?")
	R(BARRIER, t(U32) | t(PRED), 0, 0, M_BAR | M_BARRED | M_CTA | M_ALIGNED, M_BAR | M_BARRED, "D1 Su Su? Pp")
	R(BFE, I32 | I64, 0, 0, 0, 0, "D1 S1 Su Su")
	R(BFI, B32_64, 0, 0, 0, 0, "D1 S1 S1 Su Su")
	R(BFIND, I32 | I64, 0, 0, M_SHIFTAMT, 0, "Du S1")
	R(BMSK, t(B32), 0, 0, M_CLAMP, M_CLAMP, "D1 Su Su")
	R(BRA, 0, 0, 0, M_UNI, 0, "L")
	R(BREV, B32_64, 0, 0, 0, 0, "D1 S1")
	R(BRKPT, 0, 0, 0, 0, 0, "")
	R(BRX, 0, 0, 0, M_BRXIDX | M_UNI, M_BRXIDX, "!brx")
	R(CALL, 0, 0, 0, M_UNI, 0, "!call")
	R(CLZ, B32_64, 0, 0, 0, 0, "Du S1")
	R(CNOT, BITS, 0, 0, 0, 0, "D1 S1")
	R(COPYSIGN, FLOAT, 0, 0, 0, 0, "D1 S1 S1")
	R(COS, t(F32), 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(CVT, t(F16X2) | t(BF16X2), t(F32), 0, M_RND | M_RELU | M_SATFINITE, M_RND, "D1 S2 S2")
	R(CVT, U8_ | t(S8) | INT | FLOAT | t(F16) | t(BF16), U8_ | t(S8) | INT | FLOAT | t(F16) | t(BF16), 0,
	  M_RND | M_IRND | M_FTZ | M_SAT | M_RELU, 0, "D1~ s2~")
	R(CVTA, U32_64, 0, 0, M_SPACE | M_TO, M_SPACE, "D1 s1")
	R(DIV, INT, 0, 0, 0, 0, "D1 S1 S1")
	R(DIV, t(F32), 0, 0, M_RND | M_APPROX | M_FULL | M_FTZ, 0, "D1 S1 S1")
	R(DIV, t(F64), 0, 0, M_RND, M_RND, "D1 S1 S1")
	R(DP2A, I32, I32, 0, M_LOHI, M_LOHI, "Db Sb Sb Sb")
	R(DP4A, I32, I32, 0, 0, 0, "Db Sb Sb Sb")
	R(ELECT, 0, 0, 0, M_SYNC, M_SYNC, "Qb Sb")
	R(EX2, t(F32), 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(EX2, HALF | BHALF, 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(EXIT, 0, 0, 0, 0, 0, "")
	R(FENCE, 0, 0, 0, M_SEM | M_SCOPE, M_SCOPE, "")
	R(FMA, t(F32), 0, 0, M_RND | M_FTZ | M_SAT, M_RND, "D1 S1 S1 S1")
	R(FMA, t(F64), 0, 0, M_RND, M_RND, "D1 S1 S1 S1")
	R(FMA, HALF, 0, 0, M_RND | M_FTZ | M_SAT | M_RELU, M_RND, "D1 S1 S1 S1")
	R(FMA, BHALF, 0, 0, M_RND | M_RELU, M_RND, "D1 S1 S1 S1")
	R(FNS, t(B32), 0, 0, 0, 0, "D1 S1 Sb Sb")
	R(ISSPACEP, 0, 0, 0, M_SPACE, M_SPACE, "Dp sq")
	R(LD, MEM, 0, 0, MEMMODS | M_NC | M_UNI, 0, "V1 A")
	R(LDU, MEM, 0, 0, M_SPACE | M_VECTOR, 0, "V1 A")
	R(LG2, t(F32), 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(LOP3, t(B32), 0, 0, 0, 0, "D1 S1 S1 S1 Iu")
	R(MAD, I16 | I32 | I64, 0, 0, M_LOHI | M_CC | M_SAT, M_LOHI, "D1 S1 S1 S1")
	R(MAD, I16 | I32, 0, 0, M_WIDE, M_WIDE, "Dw S1 S1 Sw")
	R(MAD, t(F32), 0, 0, M_RND | M_FTZ | M_SAT, 0, "D1 S1 S1 S1")
	R(MAD, t(F64), 0, 0, M_RND, 0, "D1 S1 S1 S1")
	R(MAD24, I32, 0, 0, M_LOHI | M_SAT, M_LOHI, "D1 S1 S1 S1")
	R(MADC, I32 | I64, 0, 0, M_LOHI | M_CC, M_LOHI, "D1 S1 S1 S1")
	R(MATCH, B32_64, 0, 0, M_MATCH | M_SYNC, M_MATCH | M_SYNC, "Qb S1 Sb")
	R(MAX, INT, 0, 0, 0, 0, "D1 S1 S1")
	R(MAX, t(S32), 0, 0, M_RELU, 0, "D1 S1 S1")
	R(MAX, t(F32) | HALF, 0, 0, M_FTZ | M_NAN | M_XORSIGN | M_ABS, 0, "D1 S1 S1")
	R(MAX, t(F64), 0, 0, 0, 0, "D1 S1 S1")
	R(MAX, BHALF, 0, 0, M_NAN | M_XORSIGN | M_ABS, 0, "D1 S1 S1")
	R(MEMBAR, 0, 0, 0, M_BARLEVEL, M_BARLEVEL, "")
	R(MIN, INT, 0, 0, 0, 0, "D1 S1 S1")
	R(MIN, t(S32), 0, 0, M_RELU, 0, "D1 S1 S1")
	R(MIN, t(F32) | HALF, 0, 0, M_FTZ | M_NAN | M_XORSIGN | M_ABS, 0, "D1 S1 S1")
	R(MIN, t(F64), 0, 0, 0, 0, "D1 S1 S1")
	R(MIN, BHALF, 0, 0, M_NAN | M_XORSIGN | M_ABS, 0, "D1 S1 S1")
	R(MOV, REGS | t(PRED), 0, 0, 0, 0, "!mov")
	R(MUL, INT, 0, 0, M_LOHI, M_LOHI, "D1 S1 S1")
	R(MUL, I16 | I32, 0, 0, M_WIDE, M_WIDE, "Dw S1 S1")
	R(MUL, t(F32) | HALF, 0, 0, M_RND | M_FTZ | M_SAT, 0, "D1 S1 S1")
	R(MUL, t(F64) | BHALF, 0, 0, M_RND, 0, "D1 S1 S1")
	R(MUL24, I32, 0, 0, M_LOHI, M_LOHI, "D1 S1 S1")
	R(NANOSLEEP, t(U32), 0, 0, 0, 0, "S1")
	R(NEG, t(S16) | t(S32) | t(S64), 0, 0, 0, 0, "D1 S1")
	R(NEG, t(F32) | HALF, 0, 0, M_FTZ, 0, "D1 S1")
	R(NEG, t(F64) | BHALF, 0, 0, 0, 0, "D1 S1")
	R(NOT, BITS | t(PRED), 0, 0, 0, 0, "D1 S1")
	R(OR, BITS | INT, 0, 0, 0, 0, "D1 S1 S1")
	R(OR, t(PRED), 0, 0, 0, 0, "D1 S1 S1")
	R(POPC, B32_64, 0, 0, 0, 0, "Du S1")
	R(PREFETCH, 0, 0, 0, M_SPACE | M_LEVEL | M_EVICT, 0, "A")
	R(PREFETCHU, 0, 0, 0, M_LEVEL, M_LEVEL, "A")
	R(PRMT, t(B32), 0, 0, M_PRMT, 0, "D1 S1 S1 S1")
	R(RCP, t(F32), 0, 0, M_RND | M_APPROX | M_FTZ, 0, "D1 S1")
	R(RCP, t(F64), 0, 0, M_RND | M_APPROX | M_FTZ, 0, "D1 S1")
	R(RED, t(B32) | t(B64) | I32 | I64 | FLOAT | HALF | BHALF, 0, 0, ATOMMODS, M_ATOMOP, "A S1")
	R(REDUX, I32 | t(B32), 0, 0, M_REDUX | M_SYNC, M_REDUX | M_SYNC, "D1 S1 Sb")
	R(REM, INT, 0, 0, 0, 0, "D1 S1 S1")
	R(RET, 0, 0, 0, M_UNI, 0, "")
	R(RSQRT, t(F32) | t(F64), 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(SAD, INT, 0, 0, 0, 0, "D1 S1 S1 S1")
	R(SELP, REGS, 0, 0, 0, 0, "D1 S1 S1 Pp")
	R(SET, I32 | t(F32) | HALF | BHALF | I16, BITS | INT | FLOAT | HALF | BHALF, 0, M_CMP | M_BOOL | M_FTZ, M_CMP, "D1 S2 S2 Pp?")
	R(SETP, BITS | INT | FLOAT | HALF | BHALF, 0, 0, M_CMP | M_BOOL | M_FTZ, M_CMP, "Qp S1 S1 Pp?")
	R(SHF, t(B32), 0, 0, M_SHFDIR | M_CLAMP, M_SHFDIR | M_CLAMP, "D1 S1 S1 Su")
	R(SHFL, t(B32), 0, 0, M_SHFL | M_SYNC, M_SHFL, "Q1 S1 Sb Sb Sb?")
	R(SHL, BITS, 0, 0, 0, 0, "D1 S1 Su")
	R(SHR, BITS | INT, 0, 0, 0, 0, "D1 S1 Su")
	R(SIN, t(F32), 0, 0, M_APPROX | M_FTZ, M_APPROX, "D1 S1")
	R(SLCT, BITS | INT | FLOAT, t(S32), 0, 0, 0, "D1 S1 S1 S2")
	R(SLCT, BITS | INT | FLOAT, t(F32), 0, M_FTZ, 0, "D1 S1 S1 S2")
	R(SQRT, t(F32), 0, 0, M_RND | M_APPROX | M_FTZ, 0, "D1 S1")
	R(SQRT, t(F64), 0, 0, M_RND, M_RND, "D1 S1")
	R(ST, MEM, 0, 0, MEMMODS, 0, "A W1")
	R(SUB, t(S32), 0, 0, M_SAT | M_CC, 0, "D1 S1 S1")
	R(SUB, INT | B32_64, 0, 0, M_CC, 0, "D1 S1 S1")
	R(SUB, t(F32) | HALF, 0, 0, M_RND | M_FTZ | M_SAT, 0, "D1 S1 S1")
	R(SUB, t(F64) | BHALF, 0, 0, M_RND, 0, "D1 S1 S1")
	R(SUBC, I32 | I64, 0, 0, M_CC, 0, "D1 S1 S1")
	R(SULD, t(B8) | BITS, 0, 0, M_SURFMODE | M_SURFCLAMP | M_GEOM | M_VECTOR | M_CACHE, M_SURFMODE | M_GEOM, "!surface")
	R(SUST, t(B8) | BITS, 0, 0, M_SURFMODE | M_SURFCLAMP | M_GEOM | M_VECTOR | M_CACHE, M_SURFMODE | M_GEOM, "!surface")
	R(SUQ, t(B32), 0, 0, M_QUERY, M_QUERY, "D1 Aq")
	R(SZEXT, I32, 0, 0, M_CLAMP, M_CLAMP, "D1 S1 Su")
	R(TANH, t(F32) | HALF | BHALF, 0, 0, M_APPROX, M_APPROX, "D1 S1")
	R(TESTP, FLOAT, 0, 0, M_TESTP, M_TESTP, "Dp S1")
	R(TEX, I32 | t(F32), t(S32) | t(F32), 0, M_GEOM | M_VECTOR, M_GEOM | M_VECTOR, "!tex")
	R(TRAP, 0, 0, 0, 0, 0, "")
	R(TXQ, t(B32), 0, 0, M_QUERY, M_QUERY, "D1 Aq")
	R(VABSDIFF4, I32, I32, I32, M_SAT, 0, "D1 S1 S1 S1")
	R(VABSDIFF4, I32, I32, I32, M_ATOMOP, M_ATOMOP, "D1 S1 S1 S1")
	R(VOTE, t(PRED), 0, 0, M_VOTE | M_SYNC, M_VOTE, "D1 Pp Sb?")
	R(VOTE, t(B32), 0, 0, M_VOTE | M_SYNC, M_VOTE, "D1 Pp Sb?")
	R(XOR, BITS | INT, 0, 0, 0, 0, "D1 S1 S1")
	R(XOR, t(PRED), 0, 0, 0, 0, "D1 S1 S1")
};
enum { NRULES = sizeof rules / sizeof *rules };

#define X(id, name) [PTX_OP_##id] = name,
const char *const ptx_op_name[PTX_OP_COUNT] = { PTX_OPS(X) };
#undef X

/* Valid PTX that is not executed here: named as such, not as errors. */
static const char *const others[] = {
	"alloca", "applypriority", "barrier.cluster", "clusterlaunchcontrol", "cp", "createpolicy", "discard", "getctarank", "griddepcontrol",
	"ldmatrix", "mapa", "mbarrier", "mma", "movmatrix", "multimem", "pmevent", "setmaxnreg", "stackrestore", "stacksave", "stmatrix",
	"tcgen05", "tensormap", "vabsdiff", "vabsdiff2", "vadd2", "vadd4", "vavrg2", "vavrg4", "vmad", "vmax", "vmax2", "vmax4", "vmin",
	"vmin2", "vmin4", "vset", "vset2", "vset4", "vshl", "vshr", "vsub", "vsub2", "vsub4", "wgmma", "wmma",
};
enum { NOTHERS = sizeof others / sizeof *others, BUCKETS = 512 };

static struct mnemonic mnemonics[PTX_OP_COUNT + NOTHERS];
static uint16_t head[BUCKETS], next_in[PTX_OP_COUNT + NOTHERS];
static const struct rule *first[PTX_OP_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned bucket(const char *s, uint32_t len)
{
	uint32_t h = len;
	for (uint32_t i = 0; i < len; i++)
		h = h * 31 + (unsigned char)s[i];
	return (h ^ h >> 9) & (BUCKETS - 1);
}

static void build(void)
{
	for (unsigned i = NRULES; i-- > 0;)
		first[rules[i].op] = &rules[i];
	for (unsigned i = 0; i < PTX_OP_COUNT + NOTHERS; i++) {
		struct mnemonic *m = &mnemonics[i];
		m->s = i < PTX_OP_COUNT ? ptx_op_name[i] : others[i - PTX_OP_COUNT];
		m->op = i < PTX_OP_COUNT && first[i] ? (int16_t)i : -1;
		unsigned b = bucket(m->s, (uint32_t)strlen(m->s));
		next_in[i] = head[b];
		head[b] = (uint16_t)(i + 1);
	}
}

const struct mnemonic *mnemonic_find(const char *s, uint32_t len)
{
	pthread_once(&once, build);
	for (unsigned i = head[bucket(s, len)]; i; i = next_in[i - 1])
		if (strlen(mnemonics[i - 1].s) == len && memcmp(mnemonics[i - 1].s, s, len) == 0)
			return &mnemonics[i - 1];
	return NULL;
}

const struct rule *rules_of(enum ptx_op op) { return first[op]; }
bool rule_is_last(const struct rule *r) { return r + 1 == rules + NRULES || r[1].op != r->op; }

const char *type_name(enum ptx_type type)
{
	static const char *const name[PTX_TYPE_COUNT] = { "(none)", ".b8", ".b16", ".b32", ".b64", ".b128", ".u8", ".u16", ".u32", ".u64",
		".s8", ".s16", ".s32", ".s64", ".f16", ".f16x2", ".bf16", ".bf16x2", ".f32", ".f64", ".pred", ".texref", ".samplerref", ".surfref" };
	return name[type];
}
