/* SPDX-License-Identifier: Apache-2.0 */
/* Operands: registers, constants, addresses, vectors, and whether they fit the instruction's type. */
#include <string.h>
#include "softcuda/ptx_int.h"

enum type_class { CLASS_BITS, CLASS_INT, CLASS_FLOAT, CLASS_OTHER };
static enum type_class class_of(enum ptx_type t)
{
	if (t >= PTX_B8 && t <= PTX_B128)
		return CLASS_BITS;
	if (t >= PTX_U8 && t <= PTX_S64)
		return CLASS_INT;
	if (t >= PTX_F16 && t <= PTX_F64)
		return CLASS_FLOAT;
	return CLASS_OTHER;
}

bool reg_fits(enum ptx_type reg, enum ptx_type want, bool relaxed)
{
	if (reg == want)
		return true;
	enum type_class r = class_of(reg), w = class_of(want);
	if (r == CLASS_OTHER || w == CLASS_OTHER)
		return false;
	if (r != w && r != CLASS_BITS && w != CLASS_BITS)
		return false;
	if (r == CLASS_FLOAT && w == CLASS_FLOAT)
		return false;
	uint32_t rs = ptx_type_size(reg), ws = ptx_type_size(want);
	return relaxed && w != CLASS_FLOAT && r != CLASS_FLOAT ? rs >= ws : rs == ws;
}

static bool mismatch(struct parser *pp, const struct tok *t, enum ptx_type is, enum ptx_type want)
{
	char b[48];
	return error_at(pp, t->line, t->col, "register '%s' is %s, not %s", tok_text(t, b), type_name(is), type_name(want));
}

static bool unknown(struct parser *pp, const struct tok *t)
{
	char b[48];
	return error_at(pp, t->line, t->col, "unknown name '%s'", tok_text(t, b));
}

static bool is_sink(const struct parser *pp) { return pp->t.kind == T_IDENT && tok_is(&pp->t, "_"); }

bool parse_reg(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed)
{
	struct tok t = pp->t;
	char b[48];
	if (t.kind != T_IDENT)
		return error_tok(pp, "expected a register, found '%s'", tok_text(&t, b));
	if (!reg_find(pp, &t, &o->reg))
		return sym_find(pp, t.s, t.len) ? error_tok(pp, "'%s' is not a register", tok_text(&t, b)) : unknown(pp, &t);
	if (want != PTX_NONE && !reg_fits(pp->regs.v[o->reg].type, want, relaxed))
		return mismatch(pp, &t, pp->regs.v[o->reg].type, want);
	o->kind = PTX_O_REG;
	advance(pp);
	return true;
}

bool parse_pred(struct parser *pp, struct ptx_operand *o)
{
	o->neg = accept(pp, '!');
	return parse_reg(pp, o, PTX_PRED, false);
}

static bool parse_immediate(struct parser *pp, struct ptx_operand *o, enum ptx_type want)
{
	struct tok t = pp->t;
	struct value v;
	if (!parse_const(pp, &v))
		return false;
	o->kind = PTX_O_IMM;
	if (!value_bits(&v, want, &o->imm))
		return error_at(pp, t.line, t.col, "%s constant where %s is wanted", v.is_float ? "floating-point" : "integer", type_name(want));
	return true;
}

static bool parse_offset(struct parser *pp, int64_t *imm)
{
	if (!at(pp, '+') && !at(pp, '-'))
		return true;
	struct tok t = pp->t;
	struct value v;
	if (!parse_const(pp, &v))
		return false;
	if (v.is_float || (int64_t)v.u > INT32_MAX || (int64_t)v.u < INT32_MIN)
		return error_at(pp, t.line, t.col, "offset out of range");
	*imm = (int64_t)v.u;
	return true;
}

/* What only mov may read elsewhere gets a register of its own: o becomes that register. */
static bool to_register(struct parser *pp, struct ptx_operand *o, enum ptx_type type, int line)
{
	struct ptx_insn mov = { .op = PTX_OP_MOV, .line = line, .pred = -1, .type = type, .vec = 1, .nop = 2 };
	mov.o[0].kind = PTX_O_REG;
	mov.o[0].reg = reg_new(pp, "%mov", 4, type);
	mov.o[1] = *o;
	emit(pp, &mov);
	*o = mov.o[0];
	return true;
}

static bool parse_name_source(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed, bool addresses)
{
	struct tok t = pp->t;
	char b[48];
	enum ptx_type type;
	struct sym *y = sym_find(pp, t.s, t.len);
	if (!y && parse_sreg(pp, &t, o, &type)) {
		if (o->kind == PTX_O_NONE)
			return false;
		advance(pp);
		bool narrow = addresses || relaxed; /* mov.u16 of %tid.x, from the time when it had 16 bits */
		if (ptx_type_size(type) != ptx_type_size(want) && !(narrow && ptx_type_size(type) > ptx_type_size(want)))
			return mismatch(pp, &t, type, want);
		return addresses || to_register(pp, o, type, t.line);
	}
	if (!y || (y->kind != SYM_VAR && y->kind != SYM_FUNC))
		return y ? error_tok(pp, "'%s' cannot be an operand here", tok_text(&t, b)) : unknown(pp, &t);
	if (ptx_type_size(want) != 8 && ptx_type_size(want) != 4)
		return error_tok(pp, "the address of '%s' does not fit %s", tok_text(&t, b), type_name(want));
	o->kind = y->kind == SYM_VAR ? PTX_O_VAR : PTX_O_FUNC;
	o->var = y->var;
	o->func = y->kind == SYM_FUNC ? y->func : NULL;
	advance(pp);
	if (y->kind == SYM_VAR && !parse_offset(pp, &o->imm))
		return false;
	return addresses || to_register(pp, o, ptx_type_size(want) == 8 ? PTX_B64 : PTX_B32, t.line);
}

bool parse_source(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed, bool addresses)
{
	struct tok t = pp->t;
	char b[48];
	if (at_const(pp))
		return parse_immediate(pp, o, want);
	if (t.kind != T_IDENT)
		return error_tok(pp, "expected an operand, found '%s'", tok_text(&t, b));
	if (!reg_find(pp, &t, &o->reg))
		return parse_name_source(pp, o, want, relaxed, addresses);
	if (!reg_fits(pp->regs.v[o->reg].type, want, relaxed))
		return mismatch(pp, &t, pp->regs.v[o->reg].type, want);
	o->kind = PTX_O_REG;
	advance(pp);
	return true;
}

static bool parse_dest(struct parser *pp, struct ptx_operand *o, enum ptx_type want, bool relaxed, bool sink)
{
	if (!sink || !is_sink(pp))
		return parse_reg(pp, o, want, relaxed);
	o->kind = PTX_O_SINK;
	advance(pp);
	return true;
}

/* d or d|p */
static bool parse_pair(struct parser *pp, struct ptx_operand o[2], enum ptx_type want)
{
	if (!parse_dest(pp, &o[0], want, false, true))
		return false;
	o[1].kind = PTX_O_SINK;
	return !accept(pp, '|') || parse_dest(pp, &o[1], PTX_PRED, false, true);
}

bool parse_vector(struct parser *pp, struct ptx_operand *o, enum ptx_type elem, unsigned n, bool dest, bool relaxed)
{
	struct ptx_operand e[8] = { 0 };
	unsigned k = 0;
	struct tok t = pp->t;
	if (!expect(pp, '{', "before a vector's elements"))
		return false;
	do {
		if (k == sizeof e / sizeof *e)
			return error_tok(pp, "vector too long");
		if (dest ? !parse_dest(pp, &e[k], elem, relaxed, true) : is_sink(pp) ? !parse_dest(pp, &e[k], elem, relaxed, true)
									       : !parse_source(pp, &e[k], elem, relaxed, false))
			return false;
		k++;
	} while (accept(pp, ','));
	if (!expect(pp, '}', "after a vector's elements"))
		return false;
	if (n && k != n)
		return error_at(pp, t.line, t.col, "vector of %u elements, %u wanted", k, n);
	o->kind = PTX_O_VEC;
	o->n = (uint8_t)k;
	o->vec = take(pp, k * sizeof *e);
	memcpy(o->vec, e, k * sizeof *e);
	return true;
}

static bool check_space(struct parser *pp, struct ptx_insn *in, const struct ptx_var *v, const struct tok *t)
{
	static const char *const name[] = { "generic", "register", ".global", ".const", ".shared", ".local", ".param" };
	char b[48];
	if (in->space == PTX_SPACE_GENERIC)
		in->space = v->space;
	if (in->space != v->space)
		return error_at(pp, t->line, t->col, "'%s' is in %s space, not %s", tok_text(t, b), name[v->space], name[in->space]);
	return true;
}

static bool parse_address(struct parser *pp, struct ptx_insn *in, struct ptx_operand *o)
{
	struct tok t;
	if (!expect(pp, '[', "before an address"))
		return false;
	t = pp->t;
	o->kind = PTX_O_ADDR;
	if (at_const(pp)) {
		struct value v;
		if (!parse_const(pp, &v))
			return false;
		if (v.is_float)
			return error_at(pp, t.line, t.col, "an address is an integer");
		o->imm = (int64_t)v.u;
		return expect(pp, ']', "after an address");
	}
	struct sym *y = t.kind == T_IDENT ? sym_find(pp, t.s, t.len) : NULL;
	if (y && y->kind == SYM_VAR) {
		o->var = y->var;
		advance(pp);
		if (!check_space(pp, in, y->var, &t))
			return false;
	} else {
		if (!parse_reg(pp, o, PTX_NONE, false))
			return false;
		enum ptx_type type = pp->regs.v[o->reg].type;
		if (!reg_fits(type, PTX_U64, false) && !reg_fits(type, PTX_U32, false))
			return mismatch(pp, &t, type, PTX_U64);
		o->kind = PTX_O_ADDR;
		o->base_is_reg = true;
	}
	return parse_offset(pp, &o->imm) && expect(pp, ']', "after an address");
}

/* A texture or surface: a .texref/.surfref variable, or a register with the handle. */
static bool parse_object(struct parser *pp, struct ptx_operand *o)
{
	struct tok t = pp->t;
	char b[48];
	struct sym *y = t.kind == T_IDENT ? sym_find(pp, t.s, t.len) : NULL;
	if (!y || y->kind != SYM_VAR)
		return parse_reg(pp, o, PTX_B64, false);
	bool is_ref = y->var->type == PTX_TEXREF || y->var->type == PTX_SURFREF || y->var->type == PTX_SAMPLERREF;
	if (!is_ref && y->var->space != PTX_SPACE_PARAM)
		return error_tok(pp, "'%s' is neither texture nor surface", tok_text(&t, b));
	o->kind = PTX_O_VAR;
	o->var = y->var;
	advance(pp);
	return true;
}

static unsigned coordinates(enum ptx_geom g)
{
	static const uint8_t n[] = { [PTX_GEOM_1D] = 1, [PTX_GEOM_2D] = 2, [PTX_GEOM_3D] = 3, [PTX_GEOM_A1D] = 2, [PTX_GEOM_A2D] = 3, [PTX_GEOM_CUBE] = 3, [PTX_GEOM_ACUBE] = 4 };
	return n[g];
}

/* {x}, {x, y}, {x, y, z, unused}, or for 1d a bare register. The layer of an array is .u32. */
static bool parse_coordinates(struct parser *pp, struct ptx_operand *o, enum ptx_geom g, enum ptx_type type)
{
	unsigned need = coordinates(g), k = 0;
	bool layered = g == PTX_GEOM_A1D || g == PTX_GEOM_A2D || g == PTX_GEOM_ACUBE;
	struct tok t = pp->t;
	struct ptx_operand e[4] = { 0 };
	bool braces = accept(pp, '{');
	do {
		if (k == 4)
			return error_tok(pp, "more than four coordinates");
		if (is_sink(pp) || k >= need) { /* filler up to a vector of 2 or 4 */
			e[k].kind = PTX_O_SINK;
			if (!is_sink(pp) && !parse_source(pp, &e[k], type, false, false))
				return false;
			if (is_sink(pp))
				advance(pp);
		} else if (!parse_source(pp, &e[k], layered && k == 0 ? PTX_B32 : type, false, false)) {
			return false;
		}
		k++;
	} while (braces && accept(pp, ','));
	if (braces && !expect(pp, '}', "after the coordinates"))
		return false;
	if (k < need || (k > need && k != 4))
		return error_at(pp, t.line, t.col, "%u coordinates, %u wanted", k, need);
	for (unsigned i = 0; i < need; i++)
		if (e[i].kind == PTX_O_SINK)
			return error_at(pp, t.line, t.col, "a coordinate is missing");
	o->kind = PTX_O_VEC;
	o->n = (uint8_t)need;
	o->vec = take(pp, need * sizeof *e);
	memcpy(o->vec, e, need * sizeof *e);
	return true;
}

bool parse_tex(struct parser *pp, struct ptx_insn *in)
{
	if (in->geom == PTX_GEOM_CUBE || in->geom == PTX_GEOM_ACUBE)
		return unsupported(pp, pp->t.line, pp->t.col, "cube textures");
	if (in->vec != 4)
		return error_tok(pp, "tex gives .v4");
	if (!parse_vector(pp, &in->o[0], in->type, 4, true, false))
		return false;
	if (at(pp, '|'))
		return unsupported(pp, pp->t.line, pp->t.col, "tex with a residency predicate");
	in->nop = 3;
	if (!expect(pp, ',', "between operands") || !expect(pp, '[', "before the texture") || !parse_object(pp, &in->o[1]) ||
	    !expect(pp, ',', "after the texture"))
		return false;
	if (pp->t.kind == T_IDENT && in->geom != PTX_GEOM_1D && !at(pp, '{')) {
		if (!parse_object(pp, &in->o[2]) || !expect(pp, ',', "after the sampler"))
			return false;
		in->nop = 4;
	} else if (pp->t.kind == T_IDENT) { /* 1d: a sampler, or the coordinate itself */
		struct sym *y = sym_find(pp, pp->t.s, pp->t.len);
		uint32_t reg;
		bool handle = reg_find(pp, &pp->t, &reg) && ptx_type_size(pp->regs.v[reg].type) == 8;
		if (handle || (y && y->kind == SYM_VAR)) {
			if (!parse_object(pp, &in->o[2]) || !expect(pp, ',', "after the sampler"))
				return false;
			in->nop = 4;
		}
	}
	if (!parse_coordinates(pp, &in->o[in->nop - 1], in->geom, in->type2) || !expect(pp, ']', "after the coordinates"))
		return false;
	if (at(pp, ','))
		return unsupported(pp, pp->t.line, pp->t.col, "tex with an offset or a depth comparison");
	return true;
}

static bool parse_surface_data(struct parser *pp, struct ptx_insn *in, struct ptx_operand *o)
{
	bool load = in->op == PTX_OP_SULD;
	if (in->vec > 1 || at(pp, '{'))
		return parse_vector(pp, o, in->type, in->vec, load, true);
	struct ptx_operand one = { 0 };
	if (!(load ? parse_reg(pp, &one, in->type, true) : parse_source(pp, &one, in->type, true, false)))
		return false;
	o->kind = PTX_O_VEC;
	o->n = 1;
	o->vec = take(pp, sizeof one);
	*o->vec = one;
	return true;
}

static bool parse_surface_place(struct parser *pp, struct ptx_insn *in, struct ptx_operand o[2])
{
	return expect(pp, '[', "before the surface") && parse_object(pp, &o[0]) && expect(pp, ',', "after the surface") &&
	       parse_coordinates(pp, &o[1], in->geom, PTX_B32) && expect(pp, ']', "after the coordinates");
}

bool parse_surface(struct parser *pp, struct ptx_insn *in)
{
	if (in->geom == PTX_GEOM_CUBE || in->geom == PTX_GEOM_ACUBE)
		return unsupported(pp, pp->t.line, pp->t.col, "cube surfaces");
	in->nop = 3;
	if (in->op == PTX_OP_SULD)
		return parse_surface_data(pp, in, &in->o[0]) && expect(pp, ',', "between operands") && parse_surface_place(pp, in, &in->o[1]);
	return parse_surface_place(pp, in, &in->o[0]) && expect(pp, ',', "between operands") && parse_surface_data(pp, in, &in->o[2]);
}

/* ---- operands as the rules write them */
static enum ptx_type wider(enum ptx_type t)
{
	static const uint8_t w[PTX_TYPE_COUNT] = { [PTX_U16] = PTX_U32, [PTX_S16] = PTX_S32, [PTX_U32] = PTX_U64, [PTX_S32] = PTX_S64 };
	return w[t];
}

static enum ptx_type shape_type(const struct ptx_insn *in, char c)
{
	switch (c) {
	case '1': return in->type;
	case '2': return in->type2;
	case '3': return in->type3;
	case 'w': return wider(in->type);
	case 'u': return PTX_B32;
	case 'b': return PTX_B32;
	case 'q': return PTX_B64;
	case 'h': return PTX_B16;
	case 'p': return PTX_PRED;
	}
	return PTX_NONE;
}

static bool parse_memory_data(struct parser *pp, struct ptx_insn *in, struct ptx_operand *o, bool load)
{
	if (in->vec > 1)
		return parse_vector(pp, o, in->type, in->vec, load, true);
	if (at(pp, '{'))
		return parse_vector(pp, o, in->type, 1, load, true) && (*o = o->vec[0], true);
	return load ? parse_dest(pp, o, in->type, true, true) : parse_source(pp, o, in->type, true, false);
}

static bool parse_one(struct parser *pp, struct ptx_insn *in, const char *shape, unsigned *i)
{
	struct ptx_operand *o = &in->o[*i];
	enum ptx_type type = shape_type(in, shape[1]);
	bool relaxed = shape[1] && shape[2] == '~';
	switch (shape[0]) {
	case 'D': return parse_dest(pp, o, type, relaxed, false);
	case 'd': return parse_dest(pp, o, type, relaxed, true);
	case 'Q': (*i)++; return parse_pair(pp, o, type);
	case 'S': return parse_source(pp, o, type, relaxed, false);
	case 's': return parse_source(pp, o, type, relaxed, true);
	case 'R': return parse_reg(pp, o, type, relaxed);
	case 'P': return parse_pred(pp, o);
	case 'I': return parse_immediate(pp, o, type);
	case 'V': return parse_memory_data(pp, in, o, true);
	case 'W': return parse_memory_data(pp, in, o, false);
	case 'L': return parse_label_operand(pp, in, *i);
	case 'A':
		if (shape[1] != 'q')
			return parse_address(pp, in, o);
		return expect(pp, '[', "before the object") && parse_object(pp, o) && expect(pp, ']', "after the object");
	}
	return false;
}

static bool at_predicate(struct parser *pp)
{
	uint32_t reg;
	return at(pp, '!') || (pp->t.kind == T_IDENT && reg_find(pp, &pp->t, &reg) && pp->regs.v[reg].type == PTX_PRED);
}

/* Reads the words of shape one after the other. An optional word is absent at the end of the
 * instruction, or, in the middle, where a predicate stands instead: its operand stays NONE. */
bool parse_operands(struct parser *pp, struct ptx_insn *in, const char *shape)
{
	unsigned i = 0;
	bool comma = false;
	for (const char *s = shape; *s; s += strcspn(s, " "), s += *s == ' ') {
		bool optional = s[strcspn(s, " ") - 1] == '?', last = s[strcspn(s, " ")] == 0;
		if (optional && at(pp, ';'))
			break;
		if (s != shape && !comma && !expect(pp, ',', "between operands"))
			return false;
		comma = optional && !last && at_predicate(pp);
		if (!comma && !parse_one(pp, in, s, &i))
			return false;
		i++;
	}
	in->nop = (uint8_t)i;
	return true;
}
