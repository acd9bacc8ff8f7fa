/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random valid kernels: softcuda's interpreter against a reference that runs one thread after the
 * other (interp/reference.c for what instructions mean; here memory, branches, loops and barriers).
 *
 * The input chooses instructions. The kernel exists twice, as PTX text for softcuda and as a list of
 * steps for the reference; what every thread leaves in memory and in its registers must be the same
 * to the bit. Kernels race for nothing: between two barriers a thread writes its own slots and reads
 * what others wrote before the barrier; shared counters are only added to (or or'ed, ...) and read
 * after it. PTX leaves the bits of a NaN open, so those leave a float register as one NaN.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include "interp/reference.h"
#include "softcuda/engine.h"
#include "fuzz.h"

#define REGS 6u
#define THREADS_MAX 64u
#define BLOCKS 2u
#define INSNS_MAX 160u
#define DEPTH_MAX 4u
#define LOOPS_MAX 2u

#define SLOT 64u	/* bytes of a thread's own global memory */
#define INPUT 512u	/* bytes everybody may read */
#define CONSTANT 256u
#define LOCAL 64u
#define SHARED_SLOT 32u /* bytes per thread and half */
#define COUNTERS 7u
#define DUMP 256u	/* bytes of a thread's registers at the end */

enum reg { H, R, L, F, D, P, KINDS };
static const char kind_letter[] = "hrlfdp";
static const uint8_t kind_bits[KINDS] = { 16, 32, 64, 32, 64, 1 };

/* ---- memory ---- */

enum space { OWN, IN_GLOBAL, CONST, SHARED_MINE, SHARED_OTHERS, COUNTER_READ, LOCAL_MEM, PARAM, SPACES };
static const struct {
	const char *name, *base; /* %d in base: the half */
	bool writable, generic;	 /* generic: the base register also works without a space */
} spaces[SPACES] = {
	[OWN] = { ".global", "%own", true, true },	     [IN_GLOBAL] = { ".global", "%inp", false, true },
	[CONST] = { ".const", "%con", false, false },	     [SHARED_MINE] = { ".shared", "%mine", true, false },
	[SHARED_OTHERS] = { ".shared", "%half", false, false }, [COUNTER_READ] = { ".shared", "%cnt", false, false },
	[LOCAL_MEM] = { ".local", "%loc", true, false },     [PARAM] = { ".param", "numbers", false, false },
};

struct width {
	const char *type; /* of ld and st */
	uint8_t reg, bytes, count;
	bool sign;
};
static const struct width widths[] = {
	{ ".u8", R, 1, 1, false },    { ".s8", R, 1, 1, true },	    { ".u8", H, 1, 1, false },	  { ".s8", L, 1, 1, true },
	{ ".u16", H, 2, 1, false },   { ".s16", R, 2, 1, true },    { ".b16", H, 2, 1, false },	  { ".u32", R, 4, 1, false },
	{ ".s32", L, 4, 1, true },    { ".b32", R, 4, 1, false },   { ".u64", L, 8, 1, false },	  { ".b64", L, 8, 1, false },
	{ ".f32", F, 4, 1, false },   { ".f64", D, 8, 1, false },   { ".v2.u32", R, 4, 2, false }, { ".v4.u32", R, 4, 4, false },
	{ ".v2.u64", L, 8, 2, false }, { ".v2.u16", H, 2, 2, false }, { ".v4.s8", R, 1, 4, true },  { ".v2.f32", F, 4, 2, false },
	{ ".v2.f64", D, 8, 2, false }, { ".v4.f32", F, 4, 4, false },
};
#define N(a) (sizeof(a) / sizeof(*(a)))

static const struct atom {
	const char *text;
	uint8_t bytes;
	bool two; /* a second operand */
} atoms[] = {
	{ "add.u32", 4, 0 },  { "and.b32", 4, 0 },  { "or.b32", 4, 0 },	 { "xor.b32", 4, 0 }, { "exch.b32", 4, 0 },
	{ "min.u32", 4, 0 },  { "max.u32", 4, 0 },  { "min.s32", 4, 0 }, { "max.s32", 4, 0 }, { "inc.u32", 4, 0 },
	{ "dec.u32", 4, 0 },  { "cas.b32", 4, 1 },  { "add.u64", 8, 0 }, { "exch.b64", 8, 0 }, { "cas.b64", 8, 1 },
	{ "min.u64", 8, 0 },  { "max.s64", 8, 0 },  { "xor.b64", 8, 0 },
};
static const char *const counter_ops[COUNTERS] = { "add.u32", "add.u32", "min.u32", "max.u32", "and.b32", "or.b32", "xor.b32" };

/* ---- kernels ---- */

enum kind { OP, LOAD, STORE, ATOM, COUNT, NOTHING, IF, ELSE, ENDIF, LOOP, BREAK, ENDLOOP, BARRIER, END };
struct operand {
	bool constant;
	uint8_t reg;
	uint64_t value;
};
struct insn {
	uint8_t kind;
	uint16_t what; /* form, width, atom or counter */
	int8_t guard;  /* predicate, -1: none */
	bool guard_not;
	uint8_t space, half; /* half: of shared memory, being written between these barriers */
	bool generic;
	int8_t index; /* 32-bit register added to the address, -1: none */
	uint32_t mask, at;
	uint8_t out[4];
	struct operand in[4];
	uint16_t to, loop; /* partner of IF, ELSE, LOOP, BREAK, ENDLOOP */
};
struct kernel {
	unsigned n, threads;
	struct insn i[INSNS_MAX + 1];
};

static uint32_t power_below(uint32_t n)
{
	uint32_t p = 1;

	while (p * 2 <= n)
		p *= 2;
	return p;
}

static uint32_t space_size(const struct kernel *k, enum space s)
{
	static const uint32_t size[SPACES] = { SLOT, INPUT, CONSTANT, SHARED_SLOT, 0, 16, LOCAL, 64 };

	return s == SHARED_OTHERS ? power_below(k->threads * SHARED_SLOT) : size[s];
}

static uint64_t special(struct choices *c, unsigned kind)
{
	static const uint64_t f32[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 1,
					0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0x5f000000, 0x3f000000, 0x4b000001 };
	static const uint64_t f64[] = { 0, 1ull << 63, 0x3ff0000000000000, 0xbff8000000000000, 0x7ff0000000000000,
					0x7ff8000000000000, 1, 0x000fffffffffffff, 0x41dfffffffc00000, 0x41e0000000000000,
					0x43e0000000000000, 0xc3e0000000000001, 0x47efffffe0000000, 0x3690000000000000 };
	uint8_t how = choose(c);

	if (how < 64 && kind == F)
		return f32[how % N(f32)];
	if (how < 64 && kind == D)
		return f64[how % N(f64)];
	if (how < 96)
		return how & 15;
	if (how < 128)
		return 0 - (uint64_t)(how & 15);
	if (how < 192)
		return (1ull << (how & 63)) - (how & 1);
	return choose_bytes(c, kind_bits[kind] / 8 ? kind_bits[kind] / 8 : 1);
}

static uint64_t cut(uint64_t v, unsigned kind)
{
	return v & (~0ull >> (64 - kind_bits[kind]));
}

static unsigned kind_of(char letter)
{
	return (unsigned)(strchr(kind_letter, letter | 0x20) - kind_letter);
}

static void add_op(struct kernel *k, struct choices *c)
{
	struct insn *i = &k->i[k->n++];
	const struct form *f;

	i->kind = OP;
	i->what = (uint16_t)(choose_bytes(c, 2) % n_forms);
	f = &forms[i->what];
	for (unsigned j = 0; f->out[j]; j++)
		i->out[j] = choose(c) % REGS;
	if (f->out[1] && i->out[0] == i->out[1])
		i->out[1] = (i->out[0] + 1) % REGS;
	for (unsigned j = 0; f->in[j]; j++) {
		uint8_t which = choose(c);

		i->in[j].reg = which % REGS;
		i->in[j].constant = f->in[j] < 'a' && which >= 160;
		if (i->in[j].constant)
			i->in[j].value = cut(special(c, kind_of(f->in[j])), kind_of(f->in[j]));
	}
	/* two statements: the second must not read what the first wrote */
	for (unsigned j = 0; strchr(f->text, ';')[1] && f->out[1] && f->in[j]; j++)
		if (kind_of(f->in[j]) == kind_of(f->out[0]) && i->in[j].reg == i->out[0])
			i->in[j].reg = (i->out[0] + 1) % REGS;
}

static void add_access(struct kernel *k, struct choices *c, bool store, uint8_t half)
{
	struct insn *i = &k->i[k->n++];
	const struct width *w;
	uint32_t size, unit;

	i->kind = store ? STORE : LOAD;
	i->what = choose(c) % N(widths);
	w = &widths[i->what];
	i->space = choose(c) % SPACES;
	while (store && !spaces[i->space].writable)
		i->space = (uint8_t)((i->space + 1) % SPACES);
	i->half = half;
	size = space_size(k, i->space);
	unit = w->bytes * w->count;
	i->index = -1;
	i->mask = 0;
	if (i->space != PARAM && unit <= size / 2 && choose(c) % 2) {
		i->index = (int8_t)(choose(c) % REGS);
		i->mask = (size / 2 - 1) & ~(unit - 1);
		size /= 2;
	}
	i->at = choose_bytes(c, 2) % (size / unit) * unit;
	i->generic = spaces[i->space].generic && choose(c) % 4 == 0;
	for (unsigned j = 0; j < w->count; j++)
		i->out[j] = (uint8_t)((choose(c) % REGS));
	for (unsigned j = 0; j < w->count && w->count > 1; j++)
		i->out[j] = (uint8_t)((i->out[0] + j) % REGS);
	for (unsigned j = 0; j < w->count; j++)
		i->in[j].reg = i->out[j];
}

static void add_atom(struct kernel *k, struct choices *c)
{
	struct insn *i = &k->i[k->n++];

	i->kind = ATOM;
	i->index = -1;
	i->what = choose(c) % N(atoms);
	i->space = choose(c) % 2 ? OWN : SHARED_MINE;
	i->at = choose(c) % (space_size(k, i->space) / 8) * 8;
	i->out[0] = choose(c) % REGS;
	i->in[0].reg = choose(c) % REGS;
	i->in[1].reg = choose(c) % REGS;
}

struct scope {
	uint16_t at;
	bool is_loop, has_else;
};

/* Chooses until the input ends; closes what is open. */
static void make_kernel(struct kernel *k, struct choices *c)
{
	static const uint8_t sizes[] = { 1, 7, 32, 33, 64, 40, 2, 63 };
	struct scope open[DEPTH_MAX];
	unsigned depth = 0, loops = 0;
	uint8_t half = 0;

	memset(k, 0, sizeof(*k));
	k->threads = sizes[choose(c) % N(sizes)];
	while (c->left && k->n < INSNS_MAX - DEPTH_MAX - 2) {
		uint8_t what = choose(c), guard = choose(c);
		unsigned was = k->n;

		if (what < 150) {
			add_op(k, c);
		} else if (what < 176) {
			add_access(k, c, false, half);
		} else if (what < 196) {
			add_access(k, c, true, half);
		} else if (what < 204) {
			add_atom(k, c);
			k->i[was].half = half;
		} else if (what < 212) {
			k->i[k->n++] = (struct insn){ .kind = COUNT, .what = what % COUNTERS, .half = half, .in[0].reg = guard % REGS };
		} else if (what < 226 && depth < DEPTH_MAX) {
			open[depth++] = (struct scope){ (uint16_t)k->n, false, false };
			k->i[k->n++] = (struct insn){ .kind = IF, .in[0].reg = guard % REGS, .guard_not = guard & 128 };
		} else if (what < 232 && depth && !open[depth - 1].is_loop && !open[depth - 1].has_else) {
			open[depth - 1].has_else = true;
			k->i[open[depth - 1].at].to = (uint16_t)k->n;
			open[depth - 1].at = (uint16_t)k->n;
			k->i[k->n++] = (struct insn){ .kind = ELSE };
		} else if (what < 240 && depth < DEPTH_MAX && loops < LOOPS_MAX) {
			open[depth++] = (struct scope){ (uint16_t)k->n, true, false };
			k->i[k->n++] = (struct insn){ .kind = LOOP, .loop = (uint16_t)loops++, .in[0].reg = guard % REGS };
		} else if (what < 243 && depth && open[depth - 1].is_loop) {
			k->i[k->n++] = (struct insn){ .kind = BREAK, .in[0].reg = guard % REGS, .to = open[depth - 1].at };
		} else if (what < 250 && depth) {
			depth--;
			loops -= open[depth].is_loop;
			k->i[open[depth].at].to = (uint16_t)k->n;
			k->i[k->n++] = (struct insn){ .kind = open[depth].is_loop ? ENDLOOP : ENDIF, .to = open[depth].at };
		} else if (!depth) {
			half ^= 1;
			k->i[k->n++] = (struct insn){ .kind = BARRIER };
		}
		if (k->n > was && k->i[was].kind <= ATOM) {
			k->i[was].guard = guard % 4 == 0 ? (int8_t)(guard / 4 % REGS) : -1;
			k->i[was].guard_not = guard & 128;
		}
	}
	while (depth--) {
		k->i[open[depth].at].to = (uint16_t)k->n;
		k->i[k->n++] = (struct insn){ .kind = open[depth].is_loop ? ENDLOOP : ENDIF, .to = open[depth].at };
	}
	k->i[k->n] = (struct insn){ .kind = END };
}

/* ---- as PTX ---- */

struct text {
	char s[96 << 10];
	size_t n;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->n, sizeof(t->s) - t->n, fmt, ap);
	va_end(ap);
	MUST(n >= 0 && (size_t)n < sizeof(t->s) - t->n);
	t->n += (size_t)n;
}

static void put_guard(struct text *t, const struct insn *i)
{
	put(t, "\t");
	if (i->guard >= 0)
		put(t, "@%s%%p%d ", i->guard_not ? "!" : "", i->guard);
}

static void put_operand(struct text *t, const struct operand *o, char letter)
{
	unsigned kind = kind_of(letter);

	if (!o->constant)
		put(t, "%%%c%u", kind_letter[kind], o->reg);
	else if (kind == F)
		put(t, "0f%08x", (unsigned)o->value);
	else if (kind == D)
		put(t, "0d%016llx", (unsigned long long)o->value);
	else
		put(t, "0x%llx", (unsigned long long)o->value);
}

static void put_op(struct text *t, const struct insn *i)
{
	const struct form *f = &forms[i->what];
	static const char sources[] = "abce";

	put_guard(t, i);
	for (const char *s = f->text; *s; s++) {
		if (*s == ';' && s[1]) {
			put(t, ";\n");
			put_guard(t, i);
			s++;
		} else if (*s == '$' && s[1] <= '1') {
			put(t, "%%%c%u", f->out[s[1] - '0'], i->out[s[1] - '0']);
			s++;
		} else if (*s == '$') {
			unsigned j = (unsigned)(strchr(sources, s[1]) - sources);

			put_operand(t, &i->in[j], f->in[j]);
			s++;
		} else {
			put(t, "%c", *s);
		}
	}
	put(t, "\n");
}

/* The base register of what it accesses. */
static void put_base(struct text *t, const struct insn *i)
{
	unsigned half = i->space == SHARED_OTHERS || i->space == COUNTER_READ ? !i->half : i->half;

	put(t, "%s", spaces[i->space].base);
	if (i->space == SHARED_MINE || i->space == SHARED_OTHERS || i->space == COUNTER_READ)
		put(t, "%u", half);
}

static void put_address(struct text *t, const struct insn *i)
{
	put(t, "[");
	if (i->index >= 0)
		put(t, "%%ta");
	else
		put_base(t, i);
	put(t, "+%u]", i->at);
}

static void put_access(struct text *t, const struct insn *i)
{
	const struct width *w = &widths[i->what];
	const char *space = i->generic ? "" : spaces[i->space].name;

	if (i->index >= 0) {
		put_guard(t, i);
		put(t, "and.b32 %%tr, %%r%d, %u;\n", i->index, i->mask);
		put_guard(t, i);
		put(t, "cvt.u64.u32 %%ta, %%tr;\n");
		put_guard(t, i);
		put(t, "add.u64 %%ta, %%ta, ");
		put_base(t, i);
		put(t, ";\n");
	}
	for (unsigned j = 0; i->kind == STORE && (w->reg == F || w->reg == D) && j < w->count; j++) {
		const char *type = w->reg == F ? "f32" : "f64", *nan = w->reg == F ? "0f7fffffff" : "0d7fffffffffffffff";
		char letter = kind_letter[w->reg];

		put_guard(t, i);
		put(t, "setp.nan.%s %%tp, %%%c%u, %%%c%u;\n", type, letter, i->in[j].reg, letter, i->in[j].reg);
		put_guard(t, i);
		put(t, "selp.%s %%t%c%u, %s, %%%c%u, %%tp;\n", type, letter, j, nan, letter, i->in[j].reg);
	}
	put_guard(t, i);
	put(t, "%s%s%s ", i->kind == LOAD ? "ld" : "st", space, w->type);
	if (i->kind == STORE) {
		put_address(t, i);
		put(t, ", ");
	}
	put(t, "%s", w->count > 1 ? "{" : "");
	for (unsigned j = 0; j < w->count; j++) {
		bool copy = i->kind == STORE && (w->reg == F || w->reg == D);

		put(t, copy ? "%s%%t%c%u" : "%s%%%c%u", j ? ", " : "", kind_letter[w->reg], copy ? j : i->out[j]);
	}
	put(t, "%s", w->count > 1 ? "}" : "");
	if (i->kind == LOAD) {
		put(t, ", ");
		put_address(t, i);
	}
	put(t, ";\n");
}

static void put_atom(struct text *t, const struct insn *i)
{
	const struct atom *a = &atoms[i->what];
	char r = a->bytes == 8 ? 'l' : 'r';

	put_guard(t, i);
	put(t, "atom%s.%s %%%c%u, ", spaces[i->space].name, a->text, r, i->out[0]);
	put_address(t, i);
	put(t, ", %%%c%u", r, i->in[0].reg);
	if (a->two)
		put(t, ", %%%c%u", r, i->in[1].reg);
	put(t, ";\n");
}

static void put_insn(struct text *t, const struct kernel *k, unsigned n)
{
	const struct insn *i = &k->i[n];

	switch (i->kind) {
	case OP:
		put_op(t, i);
		break;
	case LOAD:
	case STORE:
		put_access(t, i);
		break;
	case ATOM:
		put_atom(t, i);
		break;
	case COUNT:
		put(t, "\tred.shared.%s [counters+%u], %%r%u;\n", counter_ops[i->what], i->half * 32 + i->what * 4, i->in[0].reg);
		break;
	case IF:
		put(t, "\t@%s%%p%u bra L%u;\n", i->guard_not ? "" : "!", i->in[0].reg, i->to);
		break;
	case ELSE:
		put(t, "\tbra L%u;\nL%u:\n", i->to, n);
		break;
	case ENDIF:
		put(t, "L%u:\n", n);
		break;
	case LOOP:
		put(t, "\tand.b32 %%k%u, %%r%u, 3;\nL%u:\n\tsetp.eq.u32 %%tp, %%k%u, 0;\n\t@%%tp bra L%u;\n\tsub.u32 %%k%u, %%k%u, 1;\n",
		    i->loop, i->in[0].reg, n, i->loop, i->to, i->loop, i->loop);
		break;
	case BREAK:
		put(t, "\t@%%p%u bra L%u;\n", i->in[0].reg, k->i[i->to].to);
		break;
	case ENDLOOP:
		put(t, "\tbra L%u;\nL%u:\n", i->to, n);
		break;
	case BARRIER:
		put(t, "\tbar.sync 0;\n");
		break;
	default:
		break;
	}
}

static const char prologue[] =
	"\tmov.u32 %tr, %tid.x;\n\tmov.u32 %tn, %ntid.x;\n\tmov.u32 %tc, %ctaid.x;\n\tmad.lo.u32 %tn, %tn, %tc, %tr;\n"
	"\tld.param.u64 %ta, [memory];\n\tmad.wide.u32 %own, %tn, 64, %ta;\n"
	"\tld.param.u64 %ta, [dump];\n\tmad.wide.u32 %dmp, %tn, 256, %ta;\n\tld.param.u64 %inp, [input];\n"
	"\tmov.u64 %con, table;\n\tmov.u64 %loc, room;\n\tmov.u64 %half0, halves;\n\tadd.u64 %half1, %half0, 2048;\n"
	"\tmad.wide.u32 %mine0, %tr, 32, %half0;\n\tmad.wide.u32 %mine1, %tr, 32, %half1;\n"
	"\tmov.u64 %cnt0, counters;\n\tadd.u64 %cnt1, %cnt0, 32;\n\tmov.u64 %tl, 0;\n"
	"\tst.shared.v2.u64 [%mine0], {%tl, %tl};\n\tst.shared.v2.u64 [%mine0+16], {%tl, %tl};\n"
	"\tst.shared.v2.u64 [%mine1], {%tl, %tl};\n\tst.shared.v2.u64 [%mine1+16], {%tl, %tl};\n"
	"\tst.local.v2.u64 [%loc], {%tl, %tl};\n\tst.local.v2.u64 [%loc+16], {%tl, %tl};\n"
	"\tst.local.v2.u64 [%loc+32], {%tl, %tl};\n\tst.local.v2.u64 [%loc+48], {%tl, %tl};\n"
	"\tsetp.eq.u32 %tp, %tr, 0;\n"
	"\t@%tp st.shared.v2.u64 [%cnt0], {%tl, %tl};\n\t@%tp st.shared.v2.u64 [%cnt0+16], {%tl, %tl};\n"
	"\t@%tp st.shared.v2.u64 [%cnt1], {%tl, %tl};\n\t@%tp st.shared.v2.u64 [%cnt1+16], {%tl, %tl};\n"
	"\tbar.sync 0;\n";

/* Registers come from the dump area and go back to it: h at 0, r at 16, l at 40, f at 88, d at 112, p at 160. */
static const uint8_t dump_at[KINDS] = { 0, 16, 40, 88, 112, 160 }, dump_bytes[KINDS] = { 2, 4, 8, 4, 8, 4 };
static const char *const dump_type[KINDS] = { "u16", "u32", "u64", "f32", "f64", "u32" };

static void put_registers(struct text *t, bool load)
{
	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned r = 0; r < REGS; r++) {
			unsigned at = dump_at[kind] + r * dump_bytes[kind];
			char c = kind_letter[kind];

			if (load && kind == P)
				put(t, "\tld.global.u32 %%tr, [%%dmp+%u];\n\tsetp.ne.u32 %%p%u, %%tr, 0;\n", at, r);
			else if (load)
				put(t, "\tld.global.%s %%%c%u, [%%dmp+%u];\n", dump_type[kind], c, r, at);
			else if (kind == P)
				put(t, "\tselp.u32 %%tr, 1, 0, %%p%u;\n\tst.global.u32 [%%dmp+%u], %%tr;\n", r, at);
			else
				put(t, "\tst.global.%s [%%dmp+%u], %%%c%u;\n", dump_type[kind], at, c, r);
		}
}

static void put_kernel(struct text *t, const struct kernel *k, const uint8_t *table)
{
	t->n = 0;
	put(t, ".version 7.5\n.target sm_75\n.address_size 64\n.const .align 16 .b8 table[%u] = {", CONSTANT);
	for (unsigned i = 0; i < CONSTANT; i++)
		put(t, "%s%u", i ? "," : "", table[i]);
	put(t, "};\n.visible .entry k(.param .u64 memory, .param .u64 dump, .param .u64 input, .param .align 16 .b8 numbers[64])\n{\n"
	    "\t.reg .b16 %%h<6>, %%th;\n\t.reg .b32 %%r<6>, %%tr, %%tn, %%tc, %%k<2>;\n\t.reg .b64 %%l<6>, %%tl, %%ta;\n"
	    "\t.reg .f32 %%f<6>, %%tf, %%tf<4>;\n\t.reg .f64 %%d<6>, %%td, %%td<4>;\n\t.reg .pred %%p<6>, %%tp;\n"
	    "\t.reg .b64 %%own, %%dmp, %%inp, %%con, %%loc, %%half0, %%half1, %%mine0, %%mine1, %%cnt0, %%cnt1;\n"
	    "\t.shared .align 16 .b8 halves[4096];\n\t.shared .align 16 .b8 counters[64];\n\t.local .align 16 .b8 room[64];\n%s",
	    prologue);
	put_registers(t, true);
	for (unsigned n = 0; n < k->n; n++)
		put_insn(t, k, n);
	put_registers(t, false);
	put(t, "\tret;\n}\n");
}

/* ---- as the reference runs it ---- */

struct thread {
	uint64_t reg[KINDS][REGS];
	uint32_t count[LOOPS_MAX];
	uint8_t local[LOCAL];
	unsigned pc, index;
};
struct block {
	struct thread thread[THREADS_MAX];
	uint8_t half[2][THREADS_MAX * SHARED_SLOT];
	uint8_t counters[2][32];
};
struct world {
	uint8_t own[BLOCKS * THREADS_MAX][SLOT], dump[BLOCKS * THREADS_MAX][DUMP];
	uint8_t input[INPUT], table[CONSTANT], numbers[64];
};

static uint8_t *memory_of(const struct kernel *k, struct world *w, struct block *b, struct thread *t, const struct insn *i)
{
	unsigned slot = (unsigned)(t - b->thread);

	switch (i->space) {
	case OWN: return w->own[t->index];
	case IN_GLOBAL: return w->input;
	case CONST: return w->table;
	case SHARED_MINE: return b->half[i->half] + slot * SHARED_SLOT;
	case SHARED_OTHERS: return b->half[!i->half];
	case COUNTER_READ: return b->counters[!i->half];
	case LOCAL_MEM: return t->local;
	default: return w->numbers;
	}
}

static uint64_t get(const uint8_t *p, unsigned bytes, bool sign)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return sign && v >> (8 * bytes - 1) ? v | (bytes < 8 ? ~0ull << (8 * bytes) : 0) : v;
}

static void set(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t one_nan(uint64_t v, unsigned kind)
{
	if (kind == F && (v & 0x7fffffff) > 0x7f800000)
		return 0x7fffffff;
	if (kind == D && (v & INT64_MAX) > 0x7ff0000000000000)
		return INT64_MAX;
	return v;
}

static void run_op(struct thread *t, const struct insn *i)
{
	const struct form *f = &forms[i->what];
	uint64_t in[FORM_IN] = { 0 }, out[FORM_OUT] = { 0 };

	for (unsigned j = 0; f->in[j]; j++)
		in[j] = i->in[j].constant ? i->in[j].value : t->reg[kind_of(f->in[j])][i->in[j].reg];
	form_eval(i->what, in, out);
	for (unsigned j = 0; f->out[j]; j++)
		t->reg[kind_of(f->out[j])][i->out[j]] = cut(out[j], kind_of(f->out[j]));
}

static void run_access(struct thread *t, const struct insn *i, uint8_t *p)
{
	const struct width *w = &widths[i->what];

	p += i->at + (i->index >= 0 ? t->reg[R][i->index] & i->mask : 0);
	for (unsigned j = 0; j < w->count; j++, p += w->bytes)
		if (i->kind == LOAD)
			t->reg[w->reg][i->out[j]] = cut(get(p, w->bytes, w->sign), w->reg);
		else
			set(p, w->bytes, one_nan(t->reg[w->reg][i->in[j].reg], w->reg));
}

static uint64_t changed(const char *op, unsigned bytes, uint64_t old, uint64_t a, uint64_t b)
{
	bool is_signed = strchr(op, 's') && !strncmp(strchr(op, '.'), ".s", 2);
	int64_t so = bytes == 4 ? (int32_t)old : (int64_t)old, sa = bytes == 4 ? (int32_t)a : (int64_t)a;

	switch (op[0] << 8 | op[1]) {
	case 'a' << 8 | 'd': return old + a;
	case 'a' << 8 | 'n': return old & a;
	case 'o' << 8 | 'r': return old | a;
	case 'x' << 8 | 'o': return old ^ a;
	case 'e' << 8 | 'x': return a;
	case 'c' << 8 | 'a': return old == a ? b : old;
	case 'i' << 8 | 'n': return old >= a ? 0 : old + 1;
	case 'd' << 8 | 'e': return old == 0 || old > a ? a : old - 1;
	case 'm' << 8 | 'i': return (is_signed ? sa < so : a < old) ? a : old;
	default: return (is_signed ? sa > so : a > old) ? a : old;
	}
}

static void run_atom(struct thread *t, const struct insn *i, uint8_t *p)
{
	const struct atom *a = &atoms[i->what];
	unsigned kind = a->bytes == 8 ? L : R;
	uint64_t old = get(p + i->at, a->bytes, false);

	set(p + i->at, a->bytes, changed(a->text, a->bytes, old, t->reg[kind][i->in[0].reg], t->reg[kind][i->in[1].reg]));
	t->reg[kind][i->out[0]] = old;
}

/* Until the next barrier or the end. */
static void run_thread(const struct kernel *k, struct world *w, struct block *b, struct thread *t)
{
	for (;; t->pc++) {
		const struct insn *i = &k->i[t->pc];

		if (i->kind <= ATOM && i->guard >= 0 && t->reg[P][i->guard] == i->guard_not)
			continue;
		switch (i->kind) {
		case OP:
			run_op(t, i);
			break;
		case LOAD:
		case STORE:
			run_access(t, i, memory_of(k, w, b, t, i));
			break;
		case ATOM:
			run_atom(t, i, memory_of(k, w, b, t, i));
			break;
		case COUNT: {
			uint8_t *p = b->counters[i->half] + i->what * 4;

			set(p, 4, changed(counter_ops[i->what], 4, get(p, 4, false), t->reg[R][i->in[0].reg], 0));
			break;
		}
		case IF:
			if (t->reg[P][i->in[0].reg] == i->guard_not)
				t->pc = i->to;
			break;
		case ELSE:
			t->pc = i->to;
			break;
		case LOOP:
			t->count[i->loop] = t->reg[R][i->in[0].reg] & 3;
			if (!t->count[i->loop])
				t->pc = i->to;
			else
				t->count[i->loop]--;
			break;
		case BREAK:
			if (t->reg[P][i->in[0].reg])
				t->pc = k->i[i->to].to;
			break;
		case ENDLOOP:
			if (t->count[k->i[i->to].loop]) {
				t->count[k->i[i->to].loop]--;
				t->pc = i->to;
			}
			break;
		case BARRIER:
			t->pc++;
			return;
		case END:
			return;
		default:
			break;
		}
	}
}

static void run_reference(const struct kernel *k, struct world *w)
{
	static struct block b;

	for (unsigned n = 0; n < BLOCKS; n++) {
		memset(&b, 0, sizeof(b));
		for (unsigned i = 0; i < k->threads; i++) {
			struct thread *t = &b.thread[i];

			t->index = n * k->threads + i;
			for (unsigned kind = 0; kind < KINDS; kind++)
				for (unsigned r = 0; r < REGS; r++)
					t->reg[kind][r] = get(w->dump[t->index] + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind], false);
			for (unsigned r = 0; r < REGS; r++)
				t->reg[P][r] = t->reg[P][r] != 0;
		}
		while (k->i[b.thread[0].pc].kind != END)
			for (unsigned i = 0; i < k->threads; i++)
				run_thread(k, w, &b, &b.thread[i]);
		for (unsigned i = 0; i < k->threads; i++)
			for (unsigned kind = 0; kind < KINDS; kind++)
				for (unsigned r = 0; r < REGS; r++)
					set(w->dump[b.thread[i].index] + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind],
					    b.thread[i].reg[kind][r]);
	}
}

/* ---- both ---- */

static void fill(uint8_t *p, size_t n, uint64_t *state)
{
	for (size_t i = 0; i < n; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(*state >> 56);
	}
}

/* Registers that meet: small numbers, limits, and every class of float, besides noise. */
static void fill_registers(uint8_t *dump, uint64_t *state)
{
	uint8_t noise[9];

	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned r = 0; r < REGS; r++) {
			struct choices c = { noise, sizeof(noise) };

			fill(noise, sizeof(noise), state);
			set(dump + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind],
			    kind == P ? noise[0] & 1 : cut(special(&c, kind), kind));
		}
}

static struct sc_device *device;
static uint64_t va; /* struct world in device memory */

static void run_softcuda(const struct kernel *k, const struct text *t, const struct world *in, struct world *out)
{
	struct {
		uint64_t memory, dump, input;
		uint8_t numbers[64] __attribute__((aligned(16)));
	} params = { va + offsetof(struct world, own), va + offsetof(struct world, dump), va + offsetof(struct world, input), { 0 } };
	struct sc_launch l = { .grid = { BLOCKS, 1, 1 }, .block = { k->threads, 1, 1 }, .params = &params };
	char why[1024];
	struct ptx_log log = { why, sizeof(why), 0 };
	struct sc_module *m = NULL;
	struct sc_fault fault = { 0 };
	int rc;

	memcpy((void *)(uintptr_t)va, in, sizeof(*in));
	memcpy(params.numbers, in->numbers, sizeof(params.numbers));
	rc = sc_module_load(device, t->s, t->n, &log, &m);
	if (rc) {
		fprintf(stderr, "%s\nrefused: %d %s\n", t->s, rc, why);
		abort();
	}
	l.kernel = sc_module_kernel(m, "k");
	rc = sc_launch(device, &l, &fault);
	if (rc) {
		fprintf(stderr, "%s\nfailed: %d %s, line %d\n", t->s, rc, fault.what, fault.line);
		abort();
	}
	memcpy(out, (void *)(uintptr_t)va, sizeof(*out));
	sc_module_unload(m);
}

/* The first difference in words; false: none. */
static bool compare(const struct kernel *k, const struct world *want, const struct world *got, char *what, size_t len)
{
	for (unsigned i = 0; i < BLOCKS * k->threads; i++) {
		for (unsigned kind = 0; kind < KINDS; kind++)
			for (unsigned r = 0; r < REGS; r++) {
				unsigned at = dump_at[kind] + r * dump_bytes[kind];
				uint64_t a = one_nan(get(want->dump[i] + at, dump_bytes[kind], false), kind);
				uint64_t b = one_nan(get(got->dump[i] + at, dump_bytes[kind], false), kind);

				if (a == b)
					continue;
				snprintf(what, len, "%%%c%u is %#llx, reference %#llx", kind_letter[kind], r,
					 (unsigned long long)b, (unsigned long long)a);
				return true;
			}
		for (unsigned n = 0; n < SLOT; n++)
			if (want->own[i][n] != got->own[i][n]) {
				snprintf(what, len, "byte %u of thread %u is %#x, reference %#x", n, i, got->own[i][n], want->own[i][n]);
				return true;
			}
	}
	return false;
}

static struct world before, want, got;
static struct text text;

static bool differs(const struct kernel *k, char *what, size_t len)
{
	put_kernel(&text, k, before.table);
	want = before;
	run_reference(k, &want);
	run_softcuda(k, &text, &before, &got);
	return compare(k, &want, &got, what, len);
}

/* Leaves out what is not needed for the difference, prints the rest, and ends. */
static void __attribute__((noreturn)) explain(struct kernel *k)
{
	char what[160];

	for (unsigned n = k->n; n-- > 0;) {
		struct insn was = k->i[n];

		if (was.kind > COUNT)
			continue;
		k->i[n].kind = NOTHING;
		if (!differs(k, what, sizeof(what)))
			k->i[n] = was;
	}
	differs(k, what, sizeof(what));
	for (unsigned i = 0; i < BLOCKS * k->threads; i++)
		if (memcmp(want.dump[i], got.dump[i], DUMP) || memcmp(want.own[i], got.own[i], SLOT)) {
			fprintf(stderr, "thread %u of %u begins with", i, k->threads);
			for (unsigned kind = 0; kind < KINDS; kind++)
				for (unsigned r = 0; r < REGS; r++)
					fprintf(stderr, " %c%u=%#llx", kind_letter[kind], r,
						(unsigned long long)get(before.dump[i] + dump_at[kind] + r * dump_bytes[kind], dump_bytes[kind], false));
			break;
		}
	fprintf(stderr, "\n%s\n%s\n", text.s, what);
	text.n = 0;
	for (unsigned n = 0; n < k->n; n++)
		put_insn(&text, k, n);
	fprintf(stderr, "the kernel's own part:\n%s%s\n", text.s, what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct kernel k;
	char what[160];
	struct choices c = { data, len };
	uint64_t state = 1;

	if (!device) {
		static const struct sc_device_config cfg = { .name = "fuzz", .memory = 64 << 20, .threads = 1 };

		device = sc_device_open(&cfg);
		MUST(device && sc_mem_alloc(device, sizeof(struct world), 256, &va) == 0);
	}
	state = choose_bytes(&c, 3);
	fill((uint8_t *)&before, sizeof(before), &state);
	for (unsigned i = 0; i < BLOCKS * THREADS_MAX; i++)
		fill_registers(before.dump[i], &state);
	make_kernel(&k, &c);
	if (differs(&k, what, sizeof(what)))
		explain(&k);
	return 0;
}
