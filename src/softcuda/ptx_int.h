/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the PTX front end; nothing outside includes it.
 *
 * One struct parser per text. A parse function returns false after it has reported an error; the
 * statement is then skipped to its ';' and parsing goes on, so that one text yields several messages.
 * Out of memory, too many errors and a limit reached leave by longjmp (parse_abort). All that the
 * module keeps lies in the arena; what only parsing needs lies in vectors freed by ptx_parse.
 */
#ifndef SOFTCUDA_PTX_INT_H
#define SOFTCUDA_PTX_INT_H
#include <setjmp.h>
#include <stdarg.h>
#include "softcuda/ptx.h"

/* ---- limits against hostile text */
enum {
	PTX_MAX_ERRORS = 20,
	PTX_MAX_NESTING = 64,	/* blocks, parentheses, braces of an initialiser */
	PTX_MAX_LIST = 4096,	/* arguments of a call, targets of a brx */
	PTX_MAX_PARAM = 32764,	/* bytes of parameters of one entry, PTX 8.1 */
};
#define PTX_MAX_TEXT (64u << 20)
#define PTX_MAX_ARENA (1ull << 30)
#define PTX_MAX_INIT (256ull << 20) /* bytes of initialised variables of one module */
#define PTX_MAX_VAR (1ull << 40)

/* ---- arena: zeroed memory, freed at once */
struct arena;
struct arena *arena_new(uint64_t limit);
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, uint64_t bytes); /* NULL: no memory or over the limit */

/* ---- tokens */
enum tok_kind {
	T_EOF, T_IDENT, T_DOT /* ".word", "::" included */, T_INT, T_FLOAT /* value in d */, T_STRING, T_PUNCT, T_BAD
};
struct tok {
	enum tok_kind kind;
	const char *s; /* in the text; T_DOT: after the dot */
	uint32_t len;
	int line, col;
	int c; /* T_PUNCT: the character; two-character operators as below */
	uint64_t u;
	double d;
	bool is_unsigned, glued; /* glued: no white space before it */
};
enum { OP_SHL = 256, OP_SHR, OP_LE, OP_GE, OP_EQ, OP_NE, OP_ANDAND, OP_OROR };

struct lexer { const char *p, *end, *line_start; int line; };
void lex_init(struct lexer *l, const char *text, size_t len);
void lex_next(struct lexer *l, struct tok *t);
static inline bool tok_is(const struct tok *t, const char *word) /* T_IDENT or T_DOT spelled word */
{
	return __builtin_strlen(word) == t->len && __builtin_memcmp(t->s, word, t->len) == 0;
}

/* ---- names */
enum sym_kind { SYM_VAR, SYM_REG, SYM_REGS /* %r<10> */, SYM_FUNC, SYM_PROTO, SYM_TARGETS };
struct sym {
	const char *name;
	uint32_t len, hash;
	enum sym_kind kind;
	uint32_t depth;	     /* of the block that declares it */
	struct sym *chain;   /* same bucket */
	struct sym *earlier; /* declared before it */
	struct ptx_var *var;
	struct ptx_func *func;	     /* SYM_FUNC, SYM_PROTO */
	uint32_t reg, count, serial; /* SYM_REG: index; SYM_REGS: how many, and which declaration */
	enum ptx_type type;
	struct ptx_operand *targets; /* SYM_TARGETS */
	uint32_t ntargets;
};
struct symtab { struct sym **bucket; uint32_t nbuckets, n; struct sym *last; };

/* ---- growing arrays of the parser */
#define VEC(T) struct { T *v; uint32_t n, cap; }
#define vec_push(pp, vec) (vec_room((pp), (void **)&(vec).v, &(vec).cap, (vec).n, sizeof *(vec).v), &(vec).v[(vec).n++])

struct label { const char *name; uint32_t len, hash, block, target; int line; };
struct label_use { const char *name; uint32_t len, block; int line, col; uint32_t insn, slot; struct ptx_operand *in_list; };

struct parser {
	struct lexer lex;
	struct tok t;	    /* the token looked at */
	struct ptx_log *log;
	unsigned errors;
	enum ptx_status status;
	jmp_buf abort;
	struct arena *arena;
	struct ptx_module *m;
	struct symtab syms;
	uint64_t init_bytes;
	VEC(struct ptx_func *) funcs;
	VEC(struct ptx_var *) vars;

	VEC(uint8_t) init_buf;		/* the initial value being read */
	VEC(struct ptx_reloc) init_relocs;

	/* the function being read */
	struct ptx_func *f;
	uint32_t depth, block, nblocks; /* nesting; serial number of the innermost block */
	VEC(uint32_t) parents;		/* block -> enclosing block */
	VEC(struct ptx_insn) insns;
	VEC(struct ptx_reg) regs;
	VEC(struct ptx_var *) fvars;
	VEC(struct label) labels;
	VEC(struct label_use) uses;
	VEC(struct ptx_operand) scratch;
	VEC(struct ptx_param) scratch_params;
	struct { uint64_t key; uint32_t reg; } *numbered; /* (serial, number) of %r<n> -> register; open addressing */
	uint32_t numbered_cap, numbered_n, serial;
	struct { uint32_t *slot; uint32_t cap; } label_index;
};

/* ---- ptx_util.c */
__attribute__((noreturn)) void parse_abort(struct parser *pp, enum ptx_status why);
void vec_room(struct parser *pp, void **v, uint32_t *cap, uint32_t n, size_t elem);
void *take(struct parser *pp, uint64_t bytes); /* from the arena, zeroed; never NULL */
char *take_name(struct parser *pp, const char *s, uint32_t len);
bool error_at(struct parser *pp, int line, int col, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool error_tok(struct parser *pp, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* at the current token */
bool unsupported(struct parser *pp, int line, int col, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
const char *tok_text(const struct tok *t, char buf[48]); /* printable, shortened */
static inline void advance(struct parser *pp) { lex_next(&pp->lex, &pp->t); }
static inline bool at(const struct parser *pp, int c) { return pp->t.kind == T_PUNCT && pp->t.c == c; }
static inline bool at_dot(const struct parser *pp, const char *w) { return pp->t.kind == T_DOT && tok_is(&pp->t, w); }
static inline bool accept(struct parser *pp, int c) { return at(pp, c) ? (advance(pp), true) : false; }
static inline bool accept_dot(struct parser *pp, const char *w) { return at_dot(pp, w) ? (advance(pp), true) : false; }
bool expect(struct parser *pp, int c, const char *after);
void skip_statement(struct parser *pp); /* past the next ';' that is not inside braces, or up to a '}' */

/* ---- ptx_sym.c */
struct sym *sym_find(struct parser *pp, const char *s, uint32_t len); /* no group of registers: reg_find() */
struct sym *sym_add(struct parser *pp, const struct tok *name, enum sym_kind kind); /* NULL: declared twice, reported */
void sym_close(struct parser *pp, uint32_t depth); /* forget what blocks deeper than depth declared */
bool reg_find(struct parser *pp, const struct tok *name, uint32_t *reg);
uint32_t reg_new(struct parser *pp, const char *name, uint32_t len, enum ptx_type type);
bool label_add(struct parser *pp, const struct tok *name);
bool labels_resolve(struct parser *pp);
void function_reset(struct parser *pp);

/* ---- ptx_expr.c: constant expressions */
struct value { bool is_float, is_unsigned; uint64_t u; double d; };
bool parse_const(struct parser *pp, struct value *v);
bool parse_u64(struct parser *pp, uint64_t *v, const char *what); /* a constant that is not negative */
bool value_bits(const struct value *v, enum ptx_type type, int64_t *bits); /* false: float for an integer type or the reverse */
bool at_const(const struct parser *pp);

/* ---- ptx_decl.c */
bool parse_type_word(const struct tok *t, enum ptx_type *type);
bool parse_regs(struct parser *pp);			      /* after ".reg" */
bool parse_vars(struct parser *pp, enum ptx_space space, bool is_extern, bool is_visible); /* after ".global" */
bool parse_params(struct parser *pp, struct ptx_func *f, bool results, bool prototype); /* '(' ... ')' */
bool skip_attribute(struct parser *pp);			      /* after ".attribute" */
bool parse_prototype(struct parser *pp, const struct tok *name);
bool parse_targets(struct parser *pp, const struct tok *name, bool calls);

/* ---- ptx_words.c: what stands after a dot */
#define MODS(X) \
	X(TYPE) X(RND) X(IRND) X(RNA) X(APPROX) X(FULL) X(FTZ) X(SAT) X(CC) X(UNI) X(CMP) X(BOOL) X(ATOMOP) X(LOHI) X(WIDE) X(SHFL) \
	X(VOTE) X(MATCH) X(BAR) X(BARRED) X(SHFDIR) X(CLAMP) X(PRMT) X(TESTP) X(SHIFTAMT) X(REDUX) X(QUERY) X(SPACE) X(SCOPE) \
	X(SEM) X(VECTOR) X(GEOM) X(VOLATILE) X(CACHE) X(NC) X(EVICT) X(LEVEL) X(SYNC) X(ALIGNED) X(TO) X(NAN) X(XORSIGN) X(ABS) X(RELU) \
	X(NOFTZ) X(SATFINITE) X(BRXIDX) X(PROXY) X(BARLEVEL) X(CTA) X(SURFMODE) X(SURFCLAMP) X(UNSUPPORTED)
#define X(m) MI_##m,
enum { MODS(X) MI_COUNT };
#undef X
#define X(m) M_##m = 1ull << MI_##m,
enum { MODS(X) };
#undef X
struct word { const char *s; uint8_t mod, value; };
const struct word *word_find(const char *s, uint32_t len); /* NULL: no such word */
const struct word *word_next(const struct word *w); /* another meaning of the same word; NULL: none */

/* ---- ptx_rules.c: which instructions there are */
struct rule {
	enum ptx_op op;
	uint32_t t1, t2, t3; /* sets of types (1 << type); 0 = not written */
	uint64_t allow, need;
	/* Operands, one word each: kind and type, '?' = may be left out.
	 * Kinds: D destination register, d the same or _, Q "d" or "d|p" (two operands), S register or constant,
	 * s like S but also an address or function, R register, P predicate or !predicate, A address, I constant,
	 * V vector or scalar destination of a load, W such a source, L label; a leading '!' names a reader in ptx_insn.c.
	 * '~' after the type: a wider register will do. Types: 1 2 3 the instruction's, w twice as wide as 1, u .u32, q .u64, b .b32, h .b16, p predicate, x any integer of 16-64 bits, n any. */
	const char *operands;
};
struct mnemonic { const char *s; int16_t op; /* -1: known, not executed here */ };
const struct mnemonic *mnemonic_find(const char *s, uint32_t len);
const struct rule *rules_of(enum ptx_op op); /* NULL: none */
bool rule_is_last(const struct rule *r);     /* of its mnemonic */
const char *type_name(enum ptx_type t);

/* ---- ptx_insn.c, ptx_operand.c, ptx_check.c */
bool parse_instruction(struct parser *pp);
bool parse_operands(struct parser *pp, struct ptx_insn *in, const char *shape);
bool parse_sreg(struct parser *pp, const struct tok *name, struct ptx_operand *o, enum ptx_type *type);
bool parse_pred(struct parser *pp, struct ptx_operand *o);
bool parse_mov(struct parser *pp, struct ptx_insn *in);
bool parse_call(struct parser *pp, struct ptx_insn *in);
bool parse_tex(struct parser *pp, struct ptx_insn *in);
bool parse_surface(struct parser *pp, struct ptx_insn *in);
bool parse_brx(struct parser *pp, struct ptx_insn *in);
bool parse_label_operand(struct parser *pp, struct ptx_insn *in, unsigned slot);
bool parse_vector(struct parser *pp, struct ptx_operand *o, enum ptx_type elem, unsigned n, bool dest, bool relaxed);
bool parse_reg(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed);
bool parse_source(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed, bool addresses);
bool check_insn(struct parser *pp, struct ptx_insn *in, uint64_t mods, int line, int col);
bool reg_fits(enum ptx_type reg, enum ptx_type want, bool relaxed);
struct ptx_insn *emit(struct parser *pp, const struct ptx_insn *in);
#endif
