/* SPDX-License-Identifier: Apache-2.0 */
/* Every word that may follow a dot in an instruction. One word may mean several things; the rules of
 * an instruction allow only one of them. */
#include <pthread.h>
#include <string.h>
#include "softcuda/ptx_int.h"

#define W(s, m, v) { s, MI_##m, v },
#define U(s) { s, MI_UNSUPPORTED, 0 },
#define T(s, t) { s, MI_TYPE, PTX_##t },
static const struct word words[] = {
	T("b8", B8) T("b16", B16) T("b32", B32) T("b64", B64) T("b128", B128)
	T("u8", U8) T("u16", U16) T("u32", U32) T("u64", U64) T("s8", S8) T("s16", S16) T("s32", S32) T("s64", S64)
	T("f16", F16) T("f16x2", F16X2) T("bf16", BF16) T("bf16x2", BF16X2) T("f32", F32) T("f64", F64) T("pred", PRED)
	T("texref", TEXREF) T("samplerref", SAMPLERREF) T("surfref", SURFREF)

	W("rn", RND, PTX_RN) W("rz", RND, PTX_RZ) W("rm", RND, PTX_RM) W("rp", RND, PTX_RP)
	W("rni", IRND, PTX_RNI) W("rzi", IRND, PTX_RZI) W("rmi", IRND, PTX_RMI) W("rpi", IRND, PTX_RPI)
	W("rna", RNA, PTX_RNA) W("approx", APPROX, PTX_APPROX) W("full", FULL, PTX_FULL)
	W("ftz", FTZ, 0) W("sat", SAT, 0) W("cc", CC, 0) W("uni", UNI, 0) W("NaN", NAN, 0) W("xorsign", XORSIGN, 0) W("abs", ABS, 0)
	W("relu", RELU, 0) W("noftz", NOFTZ, 0) W("satfinite", SATFINITE, 0) W("idx", BRXIDX, 0)

	W("eq", CMP, PTX_EQ) W("ne", CMP, PTX_NE) W("lt", CMP, PTX_LT) W("le", CMP, PTX_LE) W("gt", CMP, PTX_GT) W("ge", CMP, PTX_GE)
	W("lo", CMP, PTX_LO) W("ls", CMP, PTX_LS) W("hi", CMP, PTX_HI) W("hs", CMP, PTX_HS)
	W("equ", CMP, PTX_EQU) W("neu", CMP, PTX_NEU) W("ltu", CMP, PTX_LTU) W("leu", CMP, PTX_LEU) W("gtu", CMP, PTX_GTU) W("geu", CMP, PTX_GEU)
	W("num", CMP, PTX_NUM) W("nan", CMP, PTX_NAN_)
	W("and", BOOL, PTX_BOOL_AND) W("or", BOOL, PTX_BOOL_OR) W("xor", BOOL, PTX_BOOL_XOR)

	W("and", ATOMOP, PTX_ATOM_AND) W("or", ATOMOP, PTX_ATOM_OR) W("xor", ATOMOP, PTX_ATOM_XOR) W("cas", ATOMOP, PTX_ATOM_CAS)
	W("exch", ATOMOP, PTX_ATOM_EXCH) W("add", ATOMOP, PTX_ATOM_ADD) W("inc", ATOMOP, PTX_ATOM_INC) W("dec", ATOMOP, PTX_ATOM_DEC)
	W("min", ATOMOP, PTX_ATOM_MIN) W("max", ATOMOP, PTX_ATOM_MAX)
	W("and", REDUX, PTX_REDUX_AND) W("or", REDUX, PTX_REDUX_OR) W("xor", REDUX, PTX_REDUX_XOR) W("add", REDUX, PTX_REDUX_ADD)
	W("min", REDUX, PTX_REDUX_MIN) W("max", REDUX, PTX_REDUX_MAX)

	W("lo", LOHI, PTX_MUL_LO) W("hi", LOHI, PTX_MUL_HI) W("wide", WIDE, PTX_MUL_WIDE)
	W("up", SHFL, PTX_SHFL_UP) W("down", SHFL, PTX_SHFL_DOWN) W("bfly", SHFL, PTX_SHFL_BFLY) W("idx", SHFL, PTX_SHFL_IDX)
	W("all", VOTE, PTX_VOTE_ALL) W("any", VOTE, PTX_VOTE_ANY) W("uni", VOTE, PTX_VOTE_UNI) W("ballot", VOTE, PTX_VOTE_BALLOT)
	W("all", MATCH, PTX_MATCH_ALL) W("any", MATCH, PTX_MATCH_ANY)
	W("arrive", BAR, PTX_BAR_ARRIVE) W("red", BAR, PTX_BAR_RED_POPC) W("warp", BAR, PTX_BAR_WARP)
	W("popc", BARRED, PTX_BAR_RED_POPC) W("and", BARRED, PTX_BAR_RED_AND) W("or", BARRED, PTX_BAR_RED_OR)
	W("l", SHFDIR, 0) W("r", SHFDIR, 1) W("clamp", CLAMP, 0) W("wrap", CLAMP, 1)
	W("f4e", PRMT, PTX_PRMT_F4E) W("b4e", PRMT, PTX_PRMT_B4E) W("rc8", PRMT, PTX_PRMT_RC8) W("ecl", PRMT, PTX_PRMT_ECL)
	W("ecr", PRMT, PTX_PRMT_ECR) W("rc16", PRMT, PTX_PRMT_RC16)
	W("finite", TESTP, PTX_TESTP_FINITE) W("infinite", TESTP, PTX_TESTP_INFINITE) W("number", TESTP, PTX_TESTP_NUMBER)
	W("notanumber", TESTP, PTX_TESTP_NOTANUMBER) W("normal", TESTP, PTX_TESTP_NORMAL) W("subnormal", TESTP, PTX_TESTP_SUBNORMAL)
	W("shiftamt", SHIFTAMT, PTX_BFIND_SHIFTAMT) W("to", TO, PTX_CVTA_TO)
	W("width", QUERY, PTX_TEXQ_WIDTH) W("height", QUERY, PTX_TEXQ_HEIGHT) W("depth", QUERY, PTX_TEXQ_DEPTH)
	W("channel_data_type", QUERY, PTX_TEXQ_CHANNEL_TYPE) W("channel_order", QUERY, PTX_TEXQ_CHANNEL_ORDER)
	W("normalized_coords", QUERY, PTX_TEXQ_NORMALIZED) W("array_size", QUERY, PTX_TEXQ_OTHER) W("num_mipmap_levels", QUERY, PTX_TEXQ_OTHER)
	W("num_samples", QUERY, PTX_TEXQ_OTHER) W("filter_mode", QUERY, PTX_TEXQ_OTHER) W("addr_mode_0", QUERY, PTX_TEXQ_OTHER)
	W("addr_mode_1", QUERY, PTX_TEXQ_OTHER) W("addr_mode_2", QUERY, PTX_TEXQ_OTHER) W("force_unnormalized_coords", QUERY, PTX_TEXQ_OTHER)

	W("global", SPACE, PTX_SPACE_GLOBAL) W("shared", SPACE, PTX_SPACE_SHARED) W("shared::cta", SPACE, PTX_SPACE_SHARED)
	W("local", SPACE, PTX_SPACE_LOCAL) W("const", SPACE, PTX_SPACE_CONST) W("param", SPACE, PTX_SPACE_PARAM)
	W("param::entry", SPACE, PTX_SPACE_PARAM) W("param::func", SPACE, PTX_SPACE_PARAM) W("shared::cluster", UNSUPPORTED, 0)
	W("cta", CTA, 0) W("cta", BARLEVEL, 0) W("gl", BARLEVEL, 1) W("sys", BARLEVEL, 2)
	W("cta", SCOPE, 1) W("cluster", SCOPE, 2) W("gpu", SCOPE, 3) W("sys", SCOPE, 4)
	W("weak", SEM, 0) W("relaxed", SEM, 1) W("acquire", SEM, 2) W("release", SEM, 3) W("acq_rel", SEM, 4) W("sc", SEM, 5)
	W("volatile", VOLATILE, 0) W("mmio", VOLATILE, 0) W("v2", VECTOR, 2) W("v4", VECTOR, 4)
	W("ca", CACHE, 0) W("cg", CACHE, 0) W("cs", CACHE, 0) W("lu", CACHE, 0) W("cv", CACHE, 0) W("wb", CACHE, 0) W("wt", CACHE, 0)
	W("nc", NC, 0) W("L1", LEVEL, 1) W("L2", LEVEL, 2)
	W("L1::evict_first", EVICT, 0) W("L1::evict_last", EVICT, 0) W("L1::evict_normal", EVICT, 0) W("L1::evict_unchanged", EVICT, 0)
	W("L1::no_allocate", EVICT, 0) W("L2::evict_first", EVICT, 0) W("L2::evict_last", EVICT, 0) W("L2::evict_normal", EVICT, 0)
	W("L2::64B", EVICT, 0) W("L2::128B", EVICT, 0) W("L2::256B", EVICT, 0)
	W("sync", SYNC, 0) W("aligned", ALIGNED, 0) W("proxy", PROXY, 0)
	W("1d", GEOM, PTX_GEOM_1D) W("2d", GEOM, PTX_GEOM_2D) W("3d", GEOM, PTX_GEOM_3D) W("a1d", GEOM, PTX_GEOM_A1D)
	W("a2d", GEOM, PTX_GEOM_A2D) W("cube", GEOM, PTX_GEOM_CUBE) W("acube", GEOM, PTX_GEOM_ACUBE)
	W("b", SURFMODE, 0) U("p") W("trap", SURFCLAMP, 0) W("clamp", SURFCLAMP, 1) W("zero", SURFCLAMP, 2)

	/* Valid PTX, not executed here. */
	U("u16x2") U("s16x2") U("tf32") U("e4m3") U("e5m2") U("e4m3x2") U("e5m2x2") U("e2m1x2") U("e2m3x2") U("e3m2x2") U("ue8m0x2") U("f32x2")
	U("s2f6x2") U("b4x16_p64") U("v8") U("async") U("bulk") U("L2::cache_hint") U("level::eviction_priority") U("level") U("grad") U("base") U("2dms") U("a2dms")
	U("unified") U("unordered") U("pack") U("wide_b") U("rs") U("b1") U("s4") U("u4") U("noinc") U("level::prefetch_size") U("tensormap") U("transpose")
	U("cluster") U("proxy") U("v2") U("v4") U("rna") U("alias") U("mbarrier_init") U("a0") U("tile") U("reduce")
};

enum { NWORDS = sizeof words / sizeof *words, BUCKETS = 1024 };
static uint16_t head[BUCKETS], next_in[NWORDS]; /* index + 1; 0 = none */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned bucket(const char *s, uint32_t len)
{
	uint32_t h = len;
	for (uint32_t i = 0; i < len; i++)
		h = h * 31 + (unsigned char)s[i];
	return (h ^ h >> 10) & (BUCKETS - 1);
}

static void build(void)
{
	for (unsigned i = NWORDS; i-- > 0;) {
		unsigned b = bucket(words[i].s, (uint32_t)strlen(words[i].s));
		next_in[i] = head[b];
		head[b] = (uint16_t)(i + 1);
	}
}

static const struct word *from(unsigned i, const char *s, uint32_t len)
{
	for (; i; i = next_in[i - 1])
		if (strlen(words[i - 1].s) == len && memcmp(words[i - 1].s, s, len) == 0)
			return &words[i - 1];
	return NULL;
}

const struct word *word_find(const char *s, uint32_t len)
{
	pthread_once(&once, build);
	return from(head[bucket(s, len)], s, len);
}

const struct word *word_next(const struct word *w)
{
	return from(next_in[w - words], w->s, (uint32_t)strlen(w->s));
}
