/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constant expressions: 64-bit integers, signed unless a literal or cast says unsigned, and doubles.
 * Binary operators by precedence climbing; nesting is bounded.
 */
#include <math.h>
#include <string.h>
#include "softcuda/leaf.h"
#include "softcuda/ptx_int.h"

static bool unary(struct parser *pp, struct value *v, unsigned depth);
static bool ternary(struct parser *pp, struct value *v, unsigned depth);

static struct value of_int(uint64_t u, bool is_unsigned) { return (struct value){ .u = u, .is_unsigned = is_unsigned }; }
static double as_double(const struct value *v)
{
	return v->is_float ? v->d : v->is_unsigned ? (double)v->u : (double)(int64_t)v->u;
}

static int precedence(const struct tok *t)
{
	if (t->kind != T_PUNCT)
		return 0;
	switch (t->c) {
	case OP_OROR: return 1;
	case OP_ANDAND: return 2;
	case '|': return 3;
	case '^': return 4;
	case '&': return 5;
	case OP_EQ: case OP_NE: return 6;
	case '<': case '>': case OP_LE: case OP_GE: return 7;
	case OP_SHL: case OP_SHR: return 8;
	case '+': case '-': return 9;
	case '*': case '/': case '%': return 10;
	}
	return 0;
}

static bool apply_float(struct parser *pp, int op, struct value *a, const struct value *b)
{
	double x = as_double(a), y = as_double(b);
	switch (op) {
	case '+': x += y; break;
	case '-': x -= y; break;
	case '*': x *= y; break;
	case '/': x /= y; break;
	case '<': *a = of_int(x < y, false); return true;
	case '>': *a = of_int(x > y, false); return true;
	case OP_LE: *a = of_int(x <= y, false); return true;
	case OP_GE: *a = of_int(x >= y, false); return true;
	case OP_EQ: *a = of_int(x == y, false); return true;
	case OP_NE: *a = of_int(x != y, false); return true;
	default: return error_tok(pp, "this operator takes integers");
	}
	*a = (struct value){ .is_float = true, .d = x };
	memcpy(&a->u, &x, 8);
	return true;
}

static bool divide(struct parser *pp, int op, struct value *a, uint64_t y, bool uns)
{
	if (y == 0)
		return error_tok(pp, "division by zero in a constant expression");
	uint64_t r;
	if (uns)
		r = op == '/' ? a->u / y : a->u % y;
	else if (y == UINT64_MAX) /* INT64_MIN / -1 */
		r = op == '/' ? 0 - a->u : 0;
	else
		r = op == '/' ? (uint64_t)((int64_t)a->u / (int64_t)y) : (uint64_t)((int64_t)a->u % (int64_t)y);
	*a = of_int(r, uns);
	return true;
}

static bool apply(struct parser *pp, int op, struct value *a, const struct value *b)
{
	if (a->is_float || b->is_float)
		return apply_float(pp, op, a, b);
	bool uns = a->is_unsigned || b->is_unsigned;
	uint64_t x = a->u, y = b->u;
	int64_t sx = (int64_t)x, sy = (int64_t)y;
	switch (op) {
	case '+': x += y; break;
	case '-': x -= y; break;
	case '*': x *= y; break;
	case '/': case '%': return divide(pp, op, a, y, uns);
	case '&': x &= y; break;
	case '|': x |= y; break;
	case '^': x ^= y; break;
	case OP_SHL: x = y > 63 ? 0 : x << y; uns = a->is_unsigned; break;
	case OP_SHR: uns = a->is_unsigned; x = uns ? (y > 63 ? 0 : x >> y) : (uint64_t)(sx >> (y > 63 ? 63 : y)); break;
	case '<': x = uns ? x < y : sx < sy; uns = false; break;
	case '>': x = uns ? x > y : sx > sy; uns = false; break;
	case OP_LE: x = uns ? x <= y : sx <= sy; uns = false; break;
	case OP_GE: x = uns ? x >= y : sx >= sy; uns = false; break;
	case OP_EQ: x = x == y; uns = false; break;
	case OP_NE: x = x != y; uns = false; break;
	case OP_ANDAND: x = x && y; uns = false; break;
	case OP_OROR: x = x || y; uns = false; break;
	}
	*a = of_int(x, uns);
	return true;
}

static bool binary(struct parser *pp, struct value *v, int min, unsigned depth)
{
	if (!unary(pp, v, depth))
		return false;
	for (int p; (p = precedence(&pp->t)) >= min && p;) {
		int op = pp->t.c;
		struct value r;
		advance(pp);
		if (!binary(pp, &r, p + 1, depth + 1) || !apply(pp, op, v, &r))
			return false;
	}
	return true;
}

static bool ternary(struct parser *pp, struct value *v, unsigned depth)
{
	if (depth > PTX_MAX_NESTING)
		return error_tok(pp, "expression nested too deeply");
	if (!binary(pp, v, 1, depth))
		return false;
	if (!accept(pp, '?'))
		return true;
	struct value a, b;
	if (!ternary(pp, &a, depth + 1) || !expect(pp, ':', "in ?:") || !ternary(pp, &b, depth + 1))
		return false;
	*v = (v->is_float ? v->d != 0 : v->u != 0) ? a : b;
	return true;
}

/* After '(': a cast (.s64)x, or an expression. */
static bool parenthesis(struct parser *pp, struct value *v, unsigned depth)
{
	bool s = at_dot(pp, "s64"), u = at_dot(pp, "u64");
	if (!s && !u)
		return ternary(pp, v, depth + 1) && expect(pp, ')', "in an expression");
	advance(pp);
	if (!expect(pp, ')', "after the type of a cast") || !unary(pp, v, depth + 1))
		return false;
	if (v->is_float)
		return error_tok(pp, "a cast takes an integer");
	v->is_unsigned = u;
	return true;
}

static bool primary(struct parser *pp, struct value *v, unsigned depth)
{
	struct tok t = pp->t;
	char b[48];
	if (t.kind == T_INT) {
		*v = of_int(t.u, t.is_unsigned);
	} else if (t.kind == T_FLOAT) {
		*v = (struct value){ .is_float = true, .is_unsigned = t.is_unsigned, .u = t.u, .d = t.d };
	} else if (t.kind == T_IDENT && tok_is(&t, "WARP_SZ")) {
		*v = of_int(32, false);
	} else if (t.kind == T_PUNCT && t.c == '(') {
		advance(pp);
		return parenthesis(pp, v, depth);
	} else {
		return error_tok(pp, "expected a constant, found '%s'", tok_text(&t, b));
	}
	advance(pp);
	return true;
}

static void negate(struct value *v)
{
	if (!v->is_float) {
		v->u = 0 - v->u;
		return;
	}
	v->d = -v->d;
	v->u ^= v->is_unsigned ? 1u << 31 : 1ull << 63;
}

static bool unary(struct parser *pp, struct value *v, unsigned depth)
{
	if (depth > PTX_MAX_NESTING)
		return error_tok(pp, "expression nested too deeply");
	int op = pp->t.kind == T_PUNCT ? pp->t.c : 0;
	if (op != '-' && op != '+' && op != '!' && op != '~')
		return primary(pp, v, depth);
	advance(pp);
	if (!unary(pp, v, depth + 1))
		return false;
	if (op == '-')
		negate(v);
	else if (op != '+' && v->is_float)
		return error_tok(pp, "this operator takes an integer");
	else if (op == '!')
		*v = of_int(v->u == 0, false);
	else if (op == '~')
		v->u = ~v->u;
	return true;
}

bool at_const(const struct parser *pp)
{
	const struct tok *t = &pp->t;
	return t->kind == T_INT || t->kind == T_FLOAT || (t->kind == T_IDENT && tok_is(t, "WARP_SZ")) ||
	       (t->kind == T_PUNCT && (t->c == '(' || t->c == '-' || t->c == '+' || t->c == '~' || t->c == '!'));
}

bool parse_const(struct parser *pp, struct value *v) { return ternary(pp, v, 0); }

bool parse_u64(struct parser *pp, uint64_t *u, const char *what)
{
	struct tok t = pp->t;
	struct value v;
	if (!parse_const(pp, &v))
		return false;
	if (v.is_float || (!v.is_unsigned && (int64_t)v.u < 0))
		return error_at(pp, t.line, t.col, "%s must be an integer, not negative", what);
	*u = v.u;
	return true;
}

/* A float's bits as an f32: exactly those written, if they were written as 0f. */
static uint32_t f32_bits(const struct value *v)
{
	if (v->is_unsigned)
		return (uint32_t)v->u;
	float f = (float)v->d;
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

static bool float_bits(const struct value *v, enum ptx_type type, int64_t *bits)
{
	double d = v->d;
	switch (type) {
	case PTX_F32: case PTX_B32: *bits = f32_bits(v); return true;
	case PTX_F64: case PTX_B64: memcpy(bits, &d, 8); return true;
	case PTX_F16: *bits = leaf_f64_to_f16(d, PTX_RN); return true;
	case PTX_BF16: *bits = leaf_f64_to_bf16(d, PTX_RN); return true;
	default: return false;
	}
}

bool value_bits(const struct value *v, enum ptx_type type, int64_t *bits)
{
	if (v->is_float)
		return float_bits(v, type, bits);
	switch (type) {
	case PTX_PRED: *bits = v->u != 0; return true;
	case PTX_B8: case PTX_U8: *bits = (uint8_t)v->u; return true;
	case PTX_S8: *bits = (int8_t)v->u; return true;
	case PTX_B16: case PTX_U16: *bits = (uint16_t)v->u; return true;
	case PTX_S16: *bits = (int16_t)v->u; return true;
	case PTX_B32: case PTX_U32: case PTX_F16X2: case PTX_BF16X2: *bits = (uint32_t)v->u; return true;
	case PTX_S32: *bits = (int32_t)v->u; return true;
	case PTX_B64: case PTX_U64: case PTX_S64: *bits = (int64_t)v->u; return true;
	default: return false;
	}
}
