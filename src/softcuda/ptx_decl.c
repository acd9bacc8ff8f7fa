/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations: registers, variables and their initial values, parameters, prototypes. */
#include <string.h>
#include "softcuda/ptx_int.h"

bool parse_type_word(const struct tok *t, enum ptx_type *type)
{
	for (const struct word *w = t->kind == T_DOT ? word_find(t->s, t->len) : NULL; w; w = word_next(w))
		if (w->mod == MI_TYPE) {
			*type = w->value;
			return true;
		}
	return false;
}

static bool expect_type(struct parser *pp, enum ptx_type *type)
{
	char b[48];
	if (!parse_type_word(&pp->t, type))
		return error_tok(pp, "expected a type, found '%s'", tok_text(&pp->t, b));
	advance(pp);
	return true;
}

static bool expect_name(struct parser *pp, struct tok *name)
{
	char b[48];
	*name = pp->t;
	if (name->kind != T_IDENT)
		return error_tok(pp, "expected a name, found '%s'", tok_text(name, b));
	advance(pp);
	return true;
}

static bool parse_reg_name(struct parser *pp, enum ptx_type type)
{
	struct tok name;
	if (!expect_name(pp, &name))
		return false;
	if (!accept(pp, '<')) {
		struct sym *y = sym_add(pp, &name, SYM_REG);
		if (!y)
			return false;
		y->reg = reg_new(pp, name.s, name.len, type);
		return true;
	}
	if (pp->t.kind != T_INT || pp->t.u > UINT32_MAX)
		return error_tok(pp, "expected the number of registers");
	uint64_t n = pp->t.u;
	advance(pp);
	if (!expect(pp, '>', "after the number of registers"))
		return false;
	struct sym *y = sym_add(pp, &name, SYM_REGS);
	if (!y)
		return false;
	y->count = (uint32_t)n;
	y->type = type;
	return true;
}

bool parse_regs(struct parser *pp)
{
	enum ptx_type type;
	if (at_dot(pp, "v2") || at_dot(pp, "v4"))
		return unsupported(pp, pp->t.line, pp->t.col, "vector registers");
	struct tok t = pp->t;
	if (!expect_type(pp, &type))
		return false;
	if (type == PTX_B128 || type >= PTX_TEXREF)
		return unsupported(pp, t.line, t.col, "registers of type %s", type_name(type));
	do {
		if (!parse_reg_name(pp, type))
			return false;
	} while (accept(pp, ','));
	return expect(pp, ';', "after registers");
}

/* ---- variables */
struct shape { enum ptx_type type; uint32_t vec, align; uint64_t dim[8]; unsigned ndims; bool unsized; };

/* .attribute(.managed), .attribute(.unified(1, 2)) */
bool skip_attribute(struct parser *pp)
{
	unsigned depth = 0;
	if (!at(pp, '('))
		return error_tok(pp, "expected '(' after .attribute");
	do {
		if (pp->t.kind == T_EOF || at(pp, ';'))
			return error_tok(pp, "expected ')'");
		depth += at(pp, '(');
		depth -= at(pp, ')');
		advance(pp);
	} while (depth);
	return true;
}

/* .align N, .v2, .ptr .global .align N (of a parameter), .attribute(...), then the type. */
static bool parse_shape(struct parser *pp, struct shape *s)
{
	bool ptr = false;
	*s = (struct shape){ .vec = 1 };
	for (;;) {
		if (accept_dot(pp, "align")) {
			uint64_t a;
			struct tok t = pp->t;
			if (!parse_u64(pp, &a, "alignment"))
				return false;
			if (!a || a > 1u << 20 || (a & (a - 1)))
				return error_at(pp, t.line, t.col, "alignment must be a power of two up to 1048576");
			if (!ptr)
				s->align = (uint32_t)a;
		} else if (at_dot(pp, "v2") || at_dot(pp, "v4")) {
			s->vec = (uint32_t)(pp->t.s[1] - '0');
			advance(pp);
		} else if (accept_dot(pp, "ptr")) {
			ptr = true;
		} else if (ptr && (at_dot(pp, "global") || at_dot(pp, "const") || at_dot(pp, "local") || at_dot(pp, "shared"))) {
			advance(pp);
		} else if (accept_dot(pp, "attribute")) {
			if (!skip_attribute(pp))
				return false;
		} else if (s->type == PTX_NONE) {
			struct tok t = pp->t;
			if (!expect_type(pp, &s->type))
				return false;
			if (s->type == PTX_PRED)
				return error_at(pp, t.line, t.col, "a predicate cannot lie in memory");
		} else {
			return true;
		}
	}
}

static bool parse_dims(struct parser *pp, struct shape *s)
{
	s->ndims = 0;
	s->unsized = false;
	while (accept(pp, '[')) {
		if (s->ndims == sizeof s->dim / sizeof *s->dim)
			return error_tok(pp, "more than eight dimensions");
		if (at(pp, ']')) {
			if (s->ndims)
				return error_tok(pp, "only the first dimension can be left open");
			s->unsized = true;
			s->dim[s->ndims++] = 1;
		} else if (!parse_u64(pp, &s->dim[s->ndims++], "array size")) {
			return false;
		}
		if (!expect(pp, ']', "after an array size"))
			return false;
	}
	return true;
}

static struct ptx_var *new_var(struct parser *pp, const struct tok *name, enum ptx_space space, const struct shape *s)
{
	struct ptx_var *v = take(pp, sizeof *v);
	*v = (struct ptx_var){ .name = take_name(pp, name->s, name->len), .space = space, .type = s->type, .vec = s->vec, .count = 1,
			       .is_array = s->ndims > 0, .line = name->line };
	bool over = false;
	for (unsigned i = 0; i < s->ndims; i++)
		over |= __builtin_mul_overflow(v->count, s->dim[i], &v->count);
	uint64_t elem = (uint64_t)ptx_type_size(s->type) * s->vec;
	over |= __builtin_mul_overflow(v->count, elem, &v->size);
	char b[48];
	if (over || v->size > PTX_MAX_VAR) {
		error_at(pp, name->line, name->col, "'%s' is too large", tok_text(name, b));
		return NULL;
	}
	if (s->unsized)
		v->count = v->size = 0;
	v->align = s->align > elem ? s->align : s->align ? s->align : (uint32_t)elem;
	return v;
}

/* ---- initial values */
struct filler { struct ptx_var *v; const struct shape *s; uint64_t at; struct tok name; };

static bool put(struct parser *pp, struct filler *f, const void *bytes)
{
	uint32_t n = ptx_type_size(f->s->type);
	char b[48];
	if (!f->s->unsized && f->at + n > f->v->size)
		return error_tok(pp, "too many initial values for '%s'", tok_text(&f->name, b));
	if (f->at + n > PTX_MAX_INIT)
		return error_tok(pp, "initial value too long");
	while (pp->init_buf.cap < f->at + n)
		vec_room(pp, (void **)&pp->init_buf.v, &pp->init_buf.cap, pp->init_buf.cap, 1);
	if (f->at > pp->init_buf.n) /* rows not filled up */
		memset(pp->init_buf.v + pp->init_buf.n, 0, f->at - pp->init_buf.n);
	memcpy(pp->init_buf.v + f->at, bytes, n);
	f->at += n;
	pp->init_buf.n = (uint32_t)f->at;
	return true;
}

/* name, name+4, generic(name), generic(name)+4 */
static bool put_address(struct parser *pp, struct filler *f)
{
	char b[48];
	static const uint8_t zero[16];
	bool generic = tok_is(&pp->t, "generic");
	if (generic) {
		advance(pp);
		if (!expect(pp, '(', "after generic"))
			return false;
	}
	struct tok t = pp->t;
	struct sym *y = t.kind == T_IDENT ? sym_find(pp, t.s, t.len) : NULL;
	if (!y || (y->kind != SYM_VAR && y->kind != SYM_FUNC))
		return error_tok(pp, "unknown name '%s'", tok_text(&t, b));
	if (ptx_type_size(f->s->type) != 8)
		return unsupported(pp, t.line, t.col, "an address in a variable of %s", type_name(f->s->type));
	advance(pp);
	if (generic && !expect(pp, ')', "after generic(name"))
		return false;
	struct value addend = { 0 };
	if ((at(pp, '+') || at(pp, '-')) && (!parse_const(pp, &addend) || addend.is_float))
		return addend.is_float ? error_tok(pp, "an offset is an integer") : false;
	struct ptx_reloc *r = vec_push(pp, pp->init_relocs);
	*r = (struct ptx_reloc){ .at = f->at, .width = 8, .addend = (int64_t)addend.u, .generic = generic, .var = y->var,
				 .func = y->kind == SYM_FUNC ? y->func : NULL };
	return put(pp, f, zero);
}

/* 0xFF00(name): one byte of an address. Eight in a row with rising masks are one address; others are not supported. */
static bool put_masked(struct parser *pp, struct filler *f, const struct value *mask, const struct tok *t)
{
	static const uint8_t zero[16];
	char b[48];
	advance(pp);
	bool generic = pp->t.kind == T_IDENT && tok_is(&pp->t, "generic");
	if (generic && (advance(pp), !expect(pp, '(', "after generic")))
		return false;
	struct sym *y = pp->t.kind == T_IDENT ? sym_find(pp, pp->t.s, pp->t.len) : NULL;
	if (!y || (y->kind != SYM_VAR && y->kind != SYM_FUNC))
		return error_tok(pp, "unknown name '%s'", tok_text(&pp->t, b));
	advance(pp);
	if ((generic && !expect(pp, ')', "after generic(name")))
		return false;
	struct value addend = { 0 };
	if ((at(pp, '+') || at(pp, '-')) && !parse_const(pp, &addend))
		return false;
	if (!expect(pp, ')', "after a masked address"))
		return false;
	const struct ptx_func *func = y->kind == SYM_FUNC ? y->func : NULL;
	struct ptx_reloc *last = pp->init_relocs.n ? &pp->init_relocs.v[pp->init_relocs.n - 1] : NULL;
	uint64_t k = last ? f->at - last->at : 8;
	bool continues = mask->u != 0xff && k < 8 && mask->u == 0xffull << 8 * k && last->var == y->var && last->func == func &&
			 last->addend == (int64_t)addend.u;
	if (ptx_type_size(f->s->type) != 1 || (!continues && mask->u != 0xff))
		return unsupported(pp, t->line, t->col, "part of an address as an initial value");
	if (!continues) {
		struct ptx_reloc *r = vec_push(pp, pp->init_relocs);
		*r = (struct ptx_reloc){ .at = f->at, .width = 8, .addend = (int64_t)addend.u, .generic = generic, .var = y->var, .func = func };
	}
	return put(pp, f, zero);
}

static bool put_value(struct parser *pp, struct filler *f)
{
	struct tok t = pp->t;
	struct value v;
	int64_t bits;
	if (t.kind == T_IDENT && !tok_is(&t, "WARP_SZ"))
		return put_address(pp, f);
	if (!parse_const(pp, &v))
		return false;
	if (at(pp, '('))
		return put_masked(pp, f, &v, &t);
	if (!v.is_float && (f->s->type == PTX_F32 || f->s->type == PTX_F64)) { /* float x = 1; as some generators write */
		v.d = v.is_unsigned ? (double)v.u : (double)(int64_t)v.u;
		v.is_float = true;
		v.is_unsigned = false;
	}
	if (!value_bits(&v, f->s->type, &bits))
		return error_at(pp, t.line, t.col, "this constant does not fit %s", type_name(f->s->type));
	uint8_t bytes[16] = { 0 };
	memcpy(bytes, &bits, 8);
	return put(pp, f, bytes);
}

/* '{' has been read: elements of dimension d, each of which may again be in braces. */
static bool fill(struct parser *pp, struct filler *f, unsigned d)
{
	uint64_t row = (uint64_t)ptx_type_size(f->s->type) * (d < f->s->ndims ? f->s->vec : 1), start = f->at;
	for (unsigned i = d + 1; i < f->s->ndims; i++)
		if (__builtin_mul_overflow(row, f->s->dim[i], &row) || row > PTX_MAX_VAR)
			return error_tok(pp, "initial value too long");
	if (d > 9)
		return error_tok(pp, "braces nested too deeply");
	uint64_t k = 0;
	while (!at(pp, '}')) {
		if (k && !expect(pp, ',', "between initial values"))
			return false;
		if (at(pp, '}'))
			break;
		if (accept(pp, '{')) {
			f->at = start + k * row;
			if (!fill(pp, f, d + 1))
				return false;
			f->at = start + ++k * row;
		} else {
			if (!put_value(pp, f))
				return false;
			k = row ? (f->at - start + row - 1) / row : 1;
		}
	}
	advance(pp);
	return true;
}

static bool keep_init(struct parser *pp, struct filler *f, const struct tok *t)
{
	struct ptx_var *v = f->v;
	if (f->s->unsized) {
		uint64_t elem = (uint64_t)ptx_type_size(v->type) * v->vec, row = elem;
		for (unsigned i = 1; i < f->s->ndims; i++)
			row *= f->s->dim[i];
		v->size = row ? (pp->init_buf.n + row - 1) / row * row : 0;
		v->count = v->size / elem;
	}
	if (v->size > PTX_MAX_INIT - pp->init_bytes)
		return unsupported(pp, t->line, t->col, "more than %llu MiB of initialised variables", PTX_MAX_INIT >> 20);
	pp->init_bytes += v->size;
	for (uint32_t i = 0; i < pp->init_relocs.n; i++)
		if (pp->init_relocs.v[i].at + pp->init_relocs.v[i].width > v->size)
			return error_at(pp, t->line, t->col, "an address does not fit the variable");
	v->init = take(pp, v->size);
	if (pp->init_buf.n)
		memcpy(v->init, pp->init_buf.v, pp->init_buf.n);
	v->nreloc = pp->init_relocs.n;
	v->reloc = take(pp, pp->init_relocs.n * sizeof *v->reloc);
	if (pp->init_relocs.n)
		memcpy(v->reloc, pp->init_relocs.v, pp->init_relocs.n * sizeof *v->reloc);
	return true;
}

static bool parse_init(struct parser *pp, struct ptx_var *v, const struct shape *s, const struct tok *name)
{
	struct tok t = pp->t;
	struct filler f = { .v = v, .s = s, .name = *name };
	if (s->type >= PTX_TEXREF)
		return unsupported(pp, t.line, t.col, "initial state of a %s", type_name(s->type));
	if (v->space != PTX_SPACE_GLOBAL && v->space != PTX_SPACE_CONST)
		return error_tok(pp, "only .global and .const variables have initial values");
	pp->init_buf.n = pp->init_relocs.n = 0;
	return (accept(pp, '{') ? fill(pp, &f, 0) : put_value(pp, &f)) && keep_init(pp, &f, &t);
}

static void keep_var(struct parser *pp, struct ptx_var *v)
{
	bool in_module = !pp->f || v->space == PTX_SPACE_GLOBAL || v->space == PTX_SPACE_CONST;
	if (in_module)
		*vec_push(pp, pp->vars) = v;
	else
		*vec_push(pp, pp->fvars) = v;
}

/* A variable may be declared .extern and defined, in either order. */
static struct sym *declare(struct parser *pp, const struct tok *name, struct ptx_var *v)
{
	struct sym *y = sym_find(pp, name->s, name->len);
	if (y && y->kind == SYM_VAR && y->depth == pp->depth && y->var->is_extern && y->var->space == v->space) {
		if (!v->is_extern) {
			const char *n = y->var->name;
			*y->var = *v;
			y->var->name = n;
		}
		return y;
	}
	if (y && y->kind == SYM_VAR && y->depth == 0 && pp->depth == 0 && v->is_extern && y->var->space == v->space)
		return y; /* linked: defined before the piece that uses it */
	y = sym_add(pp, name, SYM_VAR);
	if (!y)
		return NULL;
	y->var = v;
	keep_var(pp, v);
	return y;
}

bool parse_vars(struct parser *pp, enum ptx_space space, bool is_extern, bool is_visible)
{
	struct shape s;
	if (!parse_shape(pp, &s))
		return false;
	do {
		struct tok name;
		if (!expect_name(pp, &name) || !parse_dims(pp, &s))
			return false;
		struct ptx_var *v = new_var(pp, &name, space, &s);
		if (!v)
			return false;
		v->is_extern = is_extern;
		v->is_visible = is_visible || is_extern;
		struct sym *y = declare(pp, &name, v);
		if (!y)
			return false;
		if (accept(pp, '=')) {
			if (!parse_init(pp, y->var, &s, &name))
				return false;
		} else if (s.unsized && !is_extern) {
			return error_at(pp, name.line, name.col, "an array without size must be .extern or have an initial value");
		}
	} while (accept(pp, ','));
	return expect(pp, ';', "after a variable");
}

/* ---- parameters */
static bool parse_reg_param(struct parser *pp, struct ptx_param *p, bool prototype)
{
	struct shape s;
	struct tok name;
	if (!parse_shape(pp, &s) || !expect_name(pp, &name))
		return false;
	struct ptx_var *v = new_var(pp, &name, PTX_SPACE_REG, &s);
	if (!v)
		return false;
	p->var = v;
	if (prototype || tok_is(&name, "_")) {
		p->reg = 0;
		return true;
	}
	struct sym *y = sym_add(pp, &name, SYM_REG);
	if (!y)
		return false;
	p->reg = y->reg = reg_new(pp, name.s, name.len, s.type);
	return true;
}

static bool parse_param(struct parser *pp, struct ptx_param *p, bool entry, bool prototype)
{
	struct shape s;
	struct tok name;
	*p = (struct ptx_param){ .reg = UINT32_MAX };
	if (!entry && accept_dot(pp, "reg"))
		return parse_reg_param(pp, p, prototype);
	if (!accept_dot(pp, "param"))
		return error_tok(pp, "expected .param");
	if (!parse_shape(pp, &s) || !expect_name(pp, &name) || !parse_dims(pp, &s))
		return false;
	struct ptx_var *v = new_var(pp, &name, PTX_SPACE_PARAM, &s);
	if (!v)
		return false;
	if (v->size > PTX_MAX_PARAM)
		return error_at(pp, name.line, name.col, "a parameter of %llu bytes; %d are the most", (unsigned long long)v->size, PTX_MAX_PARAM);
	p->var = v;
	if (s.unsized)
		return unsupported(pp, name.line, name.col, "a variable number of arguments");
	if (prototype || tok_is(&name, "_"))
		return true;
	struct sym *y = sym_add(pp, &name, SYM_VAR);
	if (!y)
		return false;
	y->var = v;
	return true;
}

bool parse_params(struct parser *pp, struct ptx_func *f, bool results, bool prototype)
{
	uint32_t offset = 0;
	pp->scratch_params.n = 0;
	if (!expect(pp, '(', "before parameters"))
		return false;
	while (!at(pp, ')')) {
		if (pp->scratch_params.n && !expect(pp, ',', "between parameters"))
			return false;
		struct tok t = pp->t;
		if (pp->scratch_params.n == PTX_MAX_LIST)
			return error_tok(pp, "too many parameters");
		struct ptx_param *p = vec_push(pp, pp->scratch_params);
		if (!parse_param(pp, p, f->is_entry, prototype))
			return false;
		offset = (offset + p->var->align - 1) & ~(p->var->align - 1);
		p->offset = offset;
		offset += (uint32_t)p->var->size;
		if (f->is_entry && offset > PTX_MAX_PARAM)
			return error_at(pp, t.line, t.col, "more than %d bytes of parameters", PTX_MAX_PARAM);
	}
	advance(pp);
	uint32_t n = pp->scratch_params.n;
	struct ptx_param *keep = take(pp, n * sizeof *keep);
	if (n)
		memcpy(keep, pp->scratch_params.v, n * sizeof *keep);
	*(results ? &f->nresults : &f->nparams) = n;
	*(results ? &f->results : &f->params) = keep;
	if (!results)
		f->param_bytes = offset;
	return true;
}

/* NAME: .callprototype (results) _ (params); */
bool parse_prototype(struct parser *pp, const struct tok *name)
{
	struct sym *y = sym_add(pp, name, SYM_PROTO);
	if (!y)
		return false;
	struct ptx_func *f = take(pp, sizeof *f);
	f->name = take_name(pp, name->s, name->len);
	f->module = pp->m;
	f->is_extern = true;
	f->line = name->line;
	y->func = f;
	if (at(pp, '(') && !parse_params(pp, f, true, true))
		return false;
	struct tok t;
	if (!expect_name(pp, &t) || (at(pp, '(') && !parse_params(pp, f, false, true)))
		return false;
	if (accept_dot(pp, "noreturn"))
		f->noreturn = true;
	return expect(pp, ';', "after a prototype");
}
