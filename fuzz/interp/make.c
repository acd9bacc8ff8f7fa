/* SPDX-License-Identifier: Apache-2.0 */
/* Which instructions there are to choose from, and a kernel that races for nothing, chosen by the input. */
#include "interp/kernel.h"
#include "interp/reference.h"
#include "fuzz.h"

const char kind_letter[] = "hrlfdp";
const uint8_t kind_bits[KINDS] = { 16, 32, 64, 32, 64, 1 };

const struct space_info spaces[SPACES] = {
	[OWN] = { ".global", "%own", true, true },	     [IN_GLOBAL] = { ".global", "%inp", false, true },
	[CONST] = { ".const", "%con", false, false },	     [SHARED_MINE] = { ".shared", "%mine", true, false },
	[SHARED_OTHERS] = { ".shared", "%half", false, false }, [COUNTER_READ] = { ".shared", "%cnt", false, false },
	[LOCAL_MEM] = { ".local", "%loc", true, false },     [PARAM] = { ".param", "numbers", false, false },
};

const struct width widths[] = {
	{ ".u8", R, 1, 1, false },    { ".s8", R, 1, 1, true },	    { ".u8", H, 1, 1, false },	  { ".s8", L, 1, 1, true },
	{ ".u16", H, 2, 1, false },   { ".s16", R, 2, 1, true },    { ".b16", H, 2, 1, false },	  { ".u32", R, 4, 1, false },
	{ ".s32", L, 4, 1, true },    { ".b32", R, 4, 1, false },   { ".u64", L, 8, 1, false },	  { ".b64", L, 8, 1, false },
	{ ".f32", F, 4, 1, false },   { ".f64", D, 8, 1, false },   { ".v2.u32", R, 4, 2, false }, { ".v4.u32", R, 4, 4, false },
	{ ".v2.u64", L, 8, 2, false }, { ".v2.u16", H, 2, 2, false }, { ".v4.s8", R, 1, 4, true },  { ".v2.f32", F, 4, 2, false },
	{ ".v2.f64", D, 8, 2, false }, { ".v4.f32", F, 4, 4, false },
};

const struct atom atoms[] = {
	{ "add.u32", 4, 0 },  { "and.b32", 4, 0 },  { "or.b32", 4, 0 },	 { "xor.b32", 4, 0 }, { "exch.b32", 4, 0 },
	{ "min.u32", 4, 0 },  { "max.u32", 4, 0 },  { "min.s32", 4, 0 }, { "max.s32", 4, 0 }, { "inc.u32", 4, 0 },
	{ "dec.u32", 4, 0 },  { "cas.b32", 4, 1 },  { "add.u64", 8, 0 }, { "exch.b64", 8, 0 }, { "cas.b64", 8, 1 },
	{ "min.u64", 8, 0 },  { "max.s64", 8, 0 },  { "xor.b64", 8, 0 },
};

const char *const counter_ops[COUNTERS] = { "add.u32", "add.u32", "min.u32", "max.u32", "and.b32", "or.b32", "xor.b32" };

static uint32_t power_below(uint32_t n)
{
	uint32_t p = 1;

	while (p * 2 <= n)
		p *= 2;
	return p;
}

uint32_t space_size(const struct kernel *k, enum space s)
{
	static const uint32_t size[SPACES] = { SLOT, INPUT, CONSTANT, SHARED_SLOT, 0, 16, LOCAL, 64 };

	return s == SHARED_OTHERS ? power_below(k->threads * SHARED_SLOT) : size[s];
}

uint64_t special(struct choices *c, unsigned kind)
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

uint64_t cut(uint64_t v, unsigned kind)
{
	return v & (~0ull >> (64 - kind_bits[kind]));
}

unsigned kind_of(char letter)
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

void make_kernel(struct kernel *k, struct choices *c)
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
