/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel as PTX text. */
#include "interp/kernel.h"
#include "interp/reference.h"
#include "fuzz.h"
#include <stdarg.h>

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

void put_insn(struct text *t, const struct kernel *k, unsigned n)
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

/* h at 0, r at 16, l at 40, f at 88, d at 112, p at 160. */
const uint8_t dump_at[KINDS] = { 0, 16, 40, 88, 112, 160 }, dump_bytes[KINDS] = { 2, 4, 8, 4, 8, 4 };
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

void put_kernel(struct text *t, const struct kernel *k, const uint8_t *table)
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
