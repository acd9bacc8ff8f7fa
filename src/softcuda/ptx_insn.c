/* SPDX-License-Identifier: Apache-2.0 */
/* One instruction: guard, mnemonic, the words after it, the rule they choose, the operands. */
#include <string.h>
#include "softcuda/ptx_int.h"

struct ptx_insn *emit(struct parser *pp, const struct ptx_insn *in)
{
	struct ptx_insn *p = vec_push(pp, pp->insns);
	*p = *in;
	return p;
}

/* ---- special registers */
static const struct { const char *s; uint8_t id, type; } sregs[] = {
	{ "%laneid", PTX_SREG_LANEID, PTX_U32 }, { "%warpid", PTX_SREG_WARPID, PTX_U32 }, { "%nwarpid", PTX_SREG_NWARPID, PTX_U32 },
	{ "%smid", PTX_SREG_SMID, PTX_U32 }, { "%nsmid", PTX_SREG_NSMID, PTX_U32 }, { "%gridid", PTX_SREG_GRIDID, PTX_U64 },
	{ "%lanemask_eq", PTX_SREG_LANEMASK_EQ, PTX_U32 }, { "%lanemask_le", PTX_SREG_LANEMASK_LE, PTX_U32 },
	{ "%lanemask_lt", PTX_SREG_LANEMASK_LT, PTX_U32 }, { "%lanemask_ge", PTX_SREG_LANEMASK_GE, PTX_U32 },
	{ "%lanemask_gt", PTX_SREG_LANEMASK_GT, PTX_U32 }, { "%clock", PTX_SREG_CLOCK, PTX_U32 }, { "%clock_hi", PTX_SREG_CLOCK_HI, PTX_U32 },
	{ "%clock64", PTX_SREG_CLOCK64, PTX_U64 }, { "%globaltimer", PTX_SREG_GLOBALTIMER, PTX_U64 },
	{ "%globaltimer_lo", PTX_SREG_GLOBALTIMER_LO, PTX_U32 }, { "%globaltimer_hi", PTX_SREG_GLOBALTIMER_HI, PTX_U32 },
	{ "%dynamic_smem_size", PTX_SREG_DYNAMIC_SMEM_SIZE, PTX_U32 }, { "%total_smem_size", PTX_SREG_TOTAL_SMEM_SIZE, PTX_U32 },
};
static const struct { const char *s; uint8_t id; } sreg_vectors[] = {
	{ "%tid", PTX_SREG_TID_X }, { "%ntid", PTX_SREG_NTID_X }, { "%ctaid", PTX_SREG_CTAID_X }, { "%nctaid", PTX_SREG_NCTAID_X },
};
static const char *const other_sregs[] = { "%clusterid", "%nclusterid", "%cluster_ctaid", "%cluster_nctaid", "%cluster_ctarank", "%cluster_nctarank",
	"%is_explicit_cluster", "%aggr_smem_size", "%current_graph_exec", "%pm0", "%pm1", "%pm2", "%pm3", "%pm4", "%pm5", "%pm6", "%pm7",
	"%reserved_smem_offset_begin", "%reserved_smem_offset_end", "%reserved_smem_offset_cap" };

/* .x .y .z of a vector, looking ahead one token. */
static bool sreg_component(struct parser *pp, unsigned *c)
{
	struct parser save = { .lex = pp->lex, .t = pp->t };
	advance(pp);
	if (pp->t.kind == T_DOT && pp->t.len == 1 && pp->t.s[0] >= 'x' && pp->t.s[0] <= 'z') {
		*c = (unsigned)(pp->t.s[0] - 'x');
		return true;
	}
	pp->lex = save.lex;
	pp->t = save.t;
	return false;
}

/* Whether name is a special register. Leaves the parser at its last token; o->kind stays NONE after an error. */
bool parse_sreg(struct parser *pp, const struct tok *name, struct ptx_operand *o, enum ptx_type *type)
{
	unsigned c;
	*type = PTX_U32;
	if (name->s[0] != '%')
		return false;
	for (unsigned i = 0; i < sizeof sreg_vectors / sizeof *sreg_vectors; i++)
		if (tok_is(name, sreg_vectors[i].s)) {
			if (!sreg_component(pp, &c))
				return error_tok(pp, "'%s' needs .x, .y or .z", sreg_vectors[i].s), true;
			o->kind = PTX_O_SREG;
			o->sreg = sreg_vectors[i].id + c;
			return true;
		}
	for (unsigned i = 0; i < sizeof sregs / sizeof *sregs; i++)
		if (tok_is(name, sregs[i].s)) {
			o->kind = PTX_O_SREG;
			o->sreg = sregs[i].id;
			*type = sregs[i].type;
			return true;
		}
	if (name->len > 7 && name->len <= 9 && memcmp(name->s, "%envreg", 7) == 0) {
		unsigned n = 0;
		for (uint32_t i = 7; i < name->len; i++)
			n = n * 10 + (unsigned)(name->s[i] - '0');
		if (n < 32) {
			*o = (struct ptx_operand){ .kind = PTX_O_SREG, .sreg = PTX_SREG_ENVREG, .imm = n };
			*type = PTX_B32;
			return true;
		}
	}
	for (unsigned i = 0; i < sizeof other_sregs / sizeof *other_sregs; i++)
		if (tok_is(name, other_sregs[i]))
			return unsupported(pp, name->line, name->col, "special register '%s'", other_sregs[i]), true;
	return false;
}

/* ---- mov */
static enum ptx_type piece_type(enum ptx_type t, unsigned n)
{
	switch (ptx_type_size(t) / n) {
	case 1: return PTX_B8;
	case 2: return PTX_B16;
	case 4: return PTX_B32;
	case 8: return PTX_B64;
	}
	return PTX_NONE;
}

/* How many elements the braces ahead hold, without consuming them. */
static unsigned count_braces(struct parser *pp)
{
	struct lexer l = pp->lex;
	struct tok t;
	unsigned n = 1;
	do {
		lex_next(&l, &t);
		n += t.kind == T_PUNCT && t.c == ',';
	} while (t.kind != T_EOF && !(t.kind == T_PUNCT && (t.c == '}' || t.c == ';')) && n < 9);
	return n;
}

static bool parse_packed(struct parser *pp, struct ptx_insn *in, struct ptx_operand *o, bool dest)
{
	unsigned n = count_braces(pp);
	bool bits = in->type >= PTX_B16 && in->type <= PTX_B128;
	if (!bits || (n != 2 && n != 4) || ptx_type_size(in->type) / n == 0)
		return error_tok(pp, "mov%s cannot be split in %u", type_name(in->type), n);
	return parse_vector(pp, o, piece_type(in->type, n), n, dest, ptx_type_size(in->type) / n == 1);
}

bool parse_mov(struct parser *pp, struct ptx_insn *in)
{
	in->nop = 2;
	if (at(pp, '{'))
		return parse_packed(pp, in, &in->o[0], true) && expect(pp, ',', "between operands") && parse_reg(pp, &in->o[1], in->type, false);
	if (!parse_reg(pp, &in->o[0], in->type, false) || !expect(pp, ',', "between operands"))
		return false;
	if (at(pp, '{'))
		return parse_packed(pp, in, &in->o[1], false);
	return parse_source(pp, &in->o[1], in->type, false, true);
}

/* ---- labels and calls */
static bool use_label(struct parser *pp, struct ptx_operand *o, uint32_t insn, unsigned slot, bool in_list)
{
	char b[48];
	if (pp->t.kind != T_IDENT)
		return error_tok(pp, "expected a label, found '%s'", tok_text(&pp->t, b));
	o->kind = PTX_O_LABEL;
	struct label_use *u = vec_push(pp, pp->uses);
	*u = (struct label_use){ .name = pp->t.s, .len = pp->t.len, .block = pp->block, .line = pp->t.line, .col = pp->t.col, .insn = insn, .slot = slot,
				 .in_list = in_list ? o : NULL };
	advance(pp);
	return true;
}

bool parse_label_operand(struct parser *pp, struct ptx_insn *in, unsigned slot)
{
	return use_label(pp, &in->o[slot], pp->insns.n, slot, false);
}

/* NAME: .branchtargets L1, L2; and .calltargets f, g; */
bool parse_targets(struct parser *pp, const struct tok *name, bool calls)
{
	struct sym *y = sym_add(pp, name, SYM_TARGETS);
	uint32_t n = 0;
	struct lexer l = pp->lex;
	struct tok t = pp->t;
	while (t.kind == T_IDENT && n <= PTX_MAX_LIST) {
		n++;
		lex_next(&l, &t);
		if (t.kind != T_PUNCT || t.c != ',')
			break;
		lex_next(&l, &t);
	}
	if (!y)
		return false;
	if (n == 0 || n > PTX_MAX_LIST)
		return error_tok(pp, "%s targets", n ? "too many" : "no");
	struct ptx_operand *targets = take(pp, n * sizeof *targets);
	for (uint32_t i = 0; i < n; i++) {
		struct ptx_operand *o = &targets[i];
		if (i && !expect(pp, ',', "between targets"))
			return false;
		if (!calls) {
			if (!use_label(pp, o, 0, 0, true))
				return false;
			continue;
		}
		struct sym *f = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
		if (!f || f->kind != SYM_FUNC)
			return error_tok(pp, "not a function");
		o->kind = PTX_O_FUNC;
		o->func = f->func;
		advance(pp);
	}
	y->targets = targets;
	y->ntargets = n;
	return expect(pp, ';', "after targets");
}

bool parse_brx(struct parser *pp, struct ptx_insn *in)
{
	char b[48];
	if (!parse_reg(pp, &in->o[0], PTX_U32, false) || !expect(pp, ',', "between operands"))
		return false;
	struct sym *y = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
	if (!y || y->kind != SYM_TARGETS || !y->ntargets || y->targets[0].kind != PTX_O_LABEL)
		return error_tok(pp, "'%s' is no list of branch targets", tok_text(&pp->t, b));
	in->o[1] = (struct ptx_operand){ .kind = PTX_O_LIST, .nlist = y->ntargets, .vec = y->targets };
	in->nop = 2;
	advance(pp);
	return true;
}

static bool parse_call_item(struct parser *pp, struct ptx_operand *o, bool result)
{
	char b[48];
	if (pp->t.kind == T_IDENT && tok_is(&pp->t, "_") && result) {
		o->kind = PTX_O_SINK;
		advance(pp);
		return true;
	}
	struct sym *y = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
	if (y && y->kind == SYM_VAR && y->var->space == PTX_SPACE_PARAM) {
		o->kind = PTX_O_VAR;
		o->var = y->var;
		advance(pp);
		return true;
	}
	if (!result && at_const(pp)) {
		struct value v;
		if (!parse_const(pp, &v))
			return false;
		o->kind = PTX_O_IMM;
		o->imm = (int64_t)v.u; /* the parameter's type decides the bits: fit_item, which clears n and part */
		o->n = v.is_float;
		o->part = v.is_unsigned;
		return true;
	}
	if (y && y->kind != SYM_REG && y->kind != SYM_REGS)
		return error_tok(pp, "'%s' cannot be passed", tok_text(&pp->t, b));
	return parse_reg(pp, o, PTX_NONE, false);
}

/* After '(' : items up to ')'. */
static bool parse_call_list(struct parser *pp, struct ptx_operand *list, bool results)
{
	pp->scratch.n = 0;
	while (!at(pp, ')')) {
		if (pp->scratch.n == PTX_MAX_LIST)
			return error_tok(pp, "too many arguments");
		if (pp->scratch.n && !expect(pp, ',', "between arguments"))
			return false;
		struct ptx_operand *o = vec_push(pp, pp->scratch);
		memset(o, 0, sizeof *o);
		if (!parse_call_item(pp, o, results))
			return false;
	}
	advance(pp);
	list->nlist = pp->scratch.n;
	list->vec = take(pp, pp->scratch.n * sizeof *list->vec);
	if (pp->scratch.n)
		memcpy(list->vec, pp->scratch.v, pp->scratch.n * sizeof *list->vec);
	return true;
}

static bool fit_item(struct parser *pp, struct ptx_operand *o, const struct ptx_param *p, const struct ptx_func *f, int line, int col)
{
	const struct ptx_var *v = p->var;
	switch (o->kind) {
	case PTX_O_VAR:
		if (o->var->size != v->size)
			return error_at(pp, line, col, "'%s' has %llu bytes where '%s' takes %llu", o->var->name, (unsigned long long)o->var->size,
					f->name, (unsigned long long)v->size);
		return true;
	case PTX_O_REG:
		if (v->is_array || v->vec > 1 || !reg_fits(pp->regs.v[o->reg].type, v->type, true))
			return error_at(pp, line, col, "register '%s' does not fit a parameter of '%s'", pp->regs.v[o->reg].name, f->name);
		return true;
	case PTX_O_IMM: {
		struct value c = { .is_float = o->n, .is_unsigned = o->part, .u = (uint64_t)o->imm };
		if (c.is_float && c.is_unsigned) {
			float s;
			uint32_t w = (uint32_t)c.u;
			memcpy(&s, &w, 4);
			c.d = s;
		} else {
			memcpy(&c.d, &c.u, 8);
		}
		o->n = o->part = 0;
		if (v->is_array || v->vec > 1 || !value_bits(&c, v->type, &o->imm))
			return error_at(pp, line, col, "a constant does not fit a parameter of '%s'", f->name);
		return true;
	}
	default: return true;
	}
}

static bool fit_list(struct parser *pp, struct ptx_operand *list, uint32_t n, const struct ptx_param *p, const struct ptx_func *f, const char *what, int line, int col)
{
	if (list->nlist != n)
		return error_at(pp, line, col, "%u %s for '%s', which has %u", list->nlist, what, f->name, n);
	for (uint32_t i = 0; i < n; i++)
		if (!fit_item(pp, &list->vec[i], &p[i], f, line, col))
			return false;
	return true;
}

static bool parse_callee(struct parser *pp, struct ptx_insn *in)
{
	char b[48];
	struct sym *y = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
	if (!y || y->kind != SYM_FUNC) {
		uint32_t reg;
		if (pp->t.kind != T_IDENT || !reg_find(pp, &pp->t, &reg))
			return error_tok(pp, "unknown function '%s'", tok_text(&pp->t, b));
		return parse_reg(pp, &in->o[1], PTX_B64, false);
	}
	if (y->func->is_entry)
		return unsupported(pp, pp->t.line, pp->t.col, "call of the entry '%s'", y->func->name);
	in->o[1].kind = PTX_O_FUNC;
	in->o[1].func = y->func;
	advance(pp);
	return true;
}

static bool parse_call_prototype(struct parser *pp, struct ptx_insn *in)
{
	char b[48];
	struct sym *y = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
	if (y && y->kind == SYM_PROTO) {
		in->o[3].kind = PTX_O_LABEL;
		in->o[3].func = y->func;
	} else if (y && y->kind == SYM_TARGETS && y->ntargets && y->targets[0].kind == PTX_O_FUNC) {
		in->o[3] = (struct ptx_operand){ .kind = PTX_O_LIST, .nlist = y->ntargets, .vec = y->targets };
	} else {
		return error_tok(pp, "'%s' is neither .callprototype nor .calltargets", tok_text(&pp->t, b));
	}
	advance(pp);
	return true;
}

bool parse_call(struct parser *pp, struct ptx_insn *in)
{
	int line = pp->t.line, col = pp->t.col;
	in->nop = 3;
	in->o[0].kind = in->o[2].kind = PTX_O_LIST;
	if (accept(pp, '(') && (!parse_call_list(pp, &in->o[0], true) || !expect(pp, ',', "after the results of a call")))
		return false;
	if (!parse_callee(pp, in))
		return false;
	bool more = accept(pp, ',');
	if (more && accept(pp, '(')) {
		if (!parse_call_list(pp, &in->o[2], false))
			return false;
		more = accept(pp, ',');
	}
	if (more) {
		in->nop = 4;
		if (!parse_call_prototype(pp, in))
			return false;
	}
	const struct ptx_func *f = in->o[1].kind == PTX_O_FUNC ? in->o[1].func : in->o[3].kind == PTX_O_LABEL ? in->o[3].func
			: in->o[3].kind == PTX_O_LIST ? in->o[3].vec[0].func : NULL;
	if (!f)
		return error_at(pp, line, col, "an indirect call needs a .callprototype or .calltargets");
	return fit_list(pp, &in->o[0], f->nresults, f->results, f, "results", line, col) &&
	       fit_list(pp, &in->o[2], f->nparams, f->params, f, "arguments", line, col);
}

/* ---- mnemonic and words */
struct words { uint64_t seen; enum ptx_type types[3]; unsigned ntypes; };

static void apply_word(struct ptx_insn *in, const struct word *w, struct words *ws)
{
	switch (w->mod) {
	case MI_TYPE: ws->types[ws->ntypes++] = w->value; break;
	case MI_RND: case MI_IRND: case MI_RNA: case MI_APPROX: case MI_FULL: in->round = w->value; break;
	case MI_FTZ: in->ftz = true; break;
	case MI_SAT: in->sat = true; break;
	case MI_CC: in->cc = true; break;
	case MI_UNI: in->uni = true; break;
	case MI_CMP: in->cmp = w->value; break;
	case MI_BOOL: in->boolop = w->value; break;
	case MI_ATOMOP: in->atom = w->value; break;
	case MI_LOHI: case MI_WIDE: case MI_SHFL: case MI_VOTE: case MI_MATCH: case MI_PRMT: case MI_TESTP: case MI_SHIFTAMT: case MI_REDUX:
	case MI_QUERY: case MI_TO: case MI_BAR: case MI_BARRED: in->sub = w->value; break;
	case MI_SHFDIR: in->sub = w->value ? PTX_SHF_R_CLAMP : PTX_SHF_L_CLAMP; break;
	case MI_CLAMP: in->clamp = w->value; break; /* check_insn folds it into sub */
	case MI_SPACE: in->space = w->value; break;
	case MI_SCOPE: case MI_BARLEVEL: in->scope = w->value; break;
	case MI_SEM: in->sem = w->value; break;
	case MI_VECTOR: in->vec = w->value; break;
	case MI_GEOM: in->geom = w->value; break;
	case MI_VOLATILE: in->volatile_ = true; break;
	case MI_SYNC: in->sync = true; break;
	case MI_ALIGNED: in->aligned = true; break;
	case MI_NAN: in->nan = true; break;
	case MI_XORSIGN: in->xorsign = true; break;
	case MI_ABS: in->to_abs = true; break;
	case MI_RELU: in->relu = true; break;
	case MI_NOFTZ: in->noftz = true; break;
	case MI_SATFINITE: in->satfinite = true; break;
	case MI_SURFCLAMP: in->clamp = w->value; break;
	}
}

static uint64_t allowed_words(enum ptx_op op)
{
	uint64_t allow = M_TYPE;
	for (const struct rule *r = rules_of(op);; r++) {
		allow |= r->allow;
		if (rule_is_last(r))
			return allow;
	}
}

static bool parse_word(struct parser *pp, struct ptx_insn *in, uint64_t allow, struct words *ws)
{
	char b[48];
	const struct word *w = word_find(pp->t.s, pp->t.len);
	if (!w)
		return error_tok(pp, "unknown modifier '%s' of '%s'", tok_text(&pp->t, b), ptx_op_name[in->op]);
	bool known = false;
	for (; w && !(allow & 1ull << w->mod); w = word_next(w))
		known |= w->mod == MI_UNSUPPORTED;
	if ((!w && known) || (w && w->mod == MI_TYPE && w->value == PTX_B128))
		return unsupported(pp, pp->t.line, pp->t.col, "'%s' with '%s'", ptx_op_name[in->op], tok_text(&pp->t, b));
	if (!w)
		return error_tok(pp, "modifier '%s' is not allowed on '%s'", tok_text(&pp->t, b), ptx_op_name[in->op]);
	bool repeats = w->mod == MI_TYPE ? ws->ntypes == 3 : (ws->seen & 1ull << w->mod) && w->mod != MI_EVICT && w->mod != MI_LEVEL;
	if (repeats)
		return error_tok(pp, "modifier '%s' repeats or contradicts one before it", tok_text(&pp->t, b));
	ws->seen |= 1ull << w->mod;
	apply_word(in, w, ws);
	advance(pp);
	return true;
}

static bool in_set(uint32_t set, enum ptx_type t) { return t == PTX_NONE ? set == 0 : set >> t & 1; }

static const struct rule *choose_rule(struct parser *pp, const struct ptx_insn *in, const struct words *ws, int line, int col)
{
	uint64_t seen = ws->seen & ~M_TYPE, excess = 0, lack = 0;
	bool typed = false;
	for (const struct rule *r = rules_of(in->op);; r++) {
		if (in_set(r->t1, in->type) && in_set(r->t2, in->type2) && in_set(r->t3, in->type3)) {
			if (!(seen & ~r->allow) && !(r->need & ~seen))
				return r;
			if (!typed || (r->allow & seen) == seen) {
				excess = seen & ~r->allow;
				lack = r->need & ~seen;
			}
			typed = true;
		}
		if (rule_is_last(r))
			break;
	}
	if (!typed && in->type == PTX_NONE)
		error_at(pp, line, col, "'%s' needs a type", ptx_op_name[in->op]);
	else if (!typed)
		error_at(pp, line, col, "'%s' does not take %s%s%s", ptx_op_name[in->op], type_name(in->type),
			 in->type2 ? type_name(in->type2) : "", in->type3 ? type_name(in->type3) : "");
	else if (excess)
		error_at(pp, line, col, "a modifier of this '%s' does not go with %s", ptx_op_name[in->op], in->type ? type_name(in->type) : "it");
	else
		error_at(pp, line, col, "'%s%s' lacks a modifier%s", ptx_op_name[in->op], in->type ? type_name(in->type) : "",
			 lack & (M_RND | M_APPROX) ? " (rounding)" : lack & M_CMP ? " (comparison)" : "");
	return NULL;
}

static bool parse_special(struct parser *pp, struct ptx_insn *in, const char *reader)
{
	static const struct { const char *name; bool (*read)(struct parser *, struct ptx_insn *); } readers[] = {
		{ "mov", parse_mov }, { "call", parse_call }, { "tex", parse_tex }, { "brx", parse_brx }, { "surface", parse_surface } };
	for (unsigned i = 0; i < sizeof readers / sizeof *readers; i++)
		if (strcmp(readers[i].name, reader) == 0)
			return readers[i].read(pp, in);
	return false;
}

static bool parse_guard(struct parser *pp, struct ptx_insn *in)
{
	struct ptx_operand o = { 0 };
	in->pred = -1;
	if (!accept(pp, '@'))
		return true;
	if (!parse_pred(pp, &o))
		return false;
	in->pred = (int32_t)o.reg;
	in->pred_neg = o.neg;
	return true;
}

static bool find_mnemonic(struct parser *pp, struct ptx_insn *in)
{
	char b[48];
	const struct mnemonic *m = pp->t.kind == T_IDENT ? mnemonic_find(pp->t.s, pp->t.len) : NULL;
	if (!m)
		return error_tok(pp, "unknown instruction '%s'", tok_text(&pp->t, b));
	if (m->op < 0) {
		/* With the words that follow: "mma.sync" says more than "mma". */
		struct tok all = pp->t;
		while (all.s + all.len < pp->lex.end && (all.s[all.len] == '.' || (all.s[all.len] > ' ' && !strchr(";,[({", all.s[all.len]))))
			all.len++;
		return unsupported(pp, pp->t.line, pp->t.col, "instruction '%s'", tok_text(&all, b));
	}
	in->op = m->op;
	advance(pp);
	return true;
}

bool parse_instruction(struct parser *pp)
{
	struct ptx_insn in = { .line = pp->t.line, .vec = 1 };
	struct words ws = { 0 };
	int line = pp->t.line, col = pp->t.col;
	if (!parse_guard(pp, &in) || (line = pp->t.line, col = pp->t.col, !find_mnemonic(pp, &in)))
		return false;
	in.line = line;
	uint64_t allow = allowed_words(in.op);
	while (pp->t.kind == T_DOT)
		if (!parse_word(pp, &in, allow, &ws))
			return false;
	in.type = ws.types[0];
	in.type2 = ws.types[1];
	in.type3 = ws.types[2];
	const struct rule *r = choose_rule(pp, &in, &ws, line, col);
	if (!r)
		return false;
	uint32_t uses = pp->uses.n;
	bool ok = r->operands[0] == '!' ? parse_special(pp, &in, r->operands + 1) : parse_operands(pp, &in, r->operands);
	ok = ok && (at(pp, ';') || expect(pp, ';', "after an instruction")) && check_insn(pp, &in, ws.seen, line, col);
	if (!ok) {
		pp->uses.n = uses;
		return false;
	}
	advance(pp);
	for (uint32_t i = uses; i < pp->uses.n; i++)
		pp->uses.v[i].insn = pp->insns.n;
	emit(pp, &in);
	return true;
}
