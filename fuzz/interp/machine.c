/* SPDX-License-Identifier: Apache-2.0 */
/* One thread after the other, from barrier to barrier: memory, branches, loops. */
#include "interp/kernel.h"
#include "interp/reference.h"
#include "fuzz.h"

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

uint64_t get(const uint8_t *p, unsigned bytes, bool sign)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return sign && v >> (8 * bytes - 1) ? v | (bytes < 8 ? ~0ull << (8 * bytes) : 0) : v;
}

void set(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

uint64_t one_nan(uint64_t v, unsigned kind)
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

void run_reference(const struct kernel *k, struct world *w)
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
