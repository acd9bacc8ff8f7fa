/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: variables, registers and functions in one table of nested blocks; labels apart, since they
 * are used before they are declared. "%r<100>" makes registers only as they are used, so that
 * func->regs is what a function needs, however many it declares. It declares %r0 to %r99 and not "%r",
 * which may be something else beside it: groups are found apart from all other names.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include "softcuda/ptx_int.h"

/* Differs per process: a text cannot be written so that its names collide. */
static uint64_t secret(void)
{
	uint64_t s;
	memcpy(&s, (const void *)getauxval(AT_RANDOM), sizeof s);
	return s;
}

static uint32_t hash_name(const char *s, uint32_t len)
{
	uint32_t h = 2166136261u ^ (uint32_t)secret();
	for (uint32_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h ^ h >> 15;
}

static void grow_table(struct parser *pp, struct symtab *t)
{
	uint32_t n = t->nbuckets ? t->nbuckets * 4 : 256;
	struct sym **b = calloc(n, sizeof *b);
	if (!b)
		parse_abort(pp, PTX_ERR_MEMORY);
	/* Innermost first within a bucket: reverse each chain, then put its names in front one by one. */
	for (uint32_t i = 0; i < t->nbuckets; i++) {
		struct sym *rev = NULL, *next;
		for (struct sym *y = t->bucket[i]; y; y = next) {
			next = y->chain;
			y->chain = rev;
			rev = y;
		}
		for (; rev; rev = next) {
			next = rev->chain;
			rev->chain = b[rev->hash & (n - 1)];
			b[rev->hash & (n - 1)] = rev;
		}
	}
	free(t->bucket);
	t->bucket = b;
	t->nbuckets = n;
}

/* The innermost of that name. Of groups: the innermost that has a register of that number. */
static struct sym *find_hashed(struct symtab *t, const char *s, uint32_t len, uint32_t h, bool group, uint64_t number)
{
	if (!t->nbuckets)
		return NULL;
	for (struct sym *y = t->bucket[h & (t->nbuckets - 1)]; y; y = y->chain)
		if (y->hash == h && y->len == len && (y->kind == SYM_REGS) == group && (!group || number < y->count) &&
		    memcmp(y->name, s, len) == 0)
			return y;
	return NULL;
}

struct sym *sym_find(struct parser *pp, const char *s, uint32_t len)
{
	return find_hashed(&pp->syms, s, len, hash_name(s, len), false, 0);
}

struct sym *sym_add(struct parser *pp, const struct tok *name, enum sym_kind kind)
{
	uint32_t h = hash_name(name->s, name->len);
	struct symtab *t = &pp->syms;
	struct sym *y = find_hashed(t, name->s, name->len, h, kind == SYM_REGS, 0);
	char b[48];
	if (y && y->depth == pp->depth) {
		error_at(pp, name->line, name->col, "'%s' is declared twice", tok_text(name, b));
		return NULL;
	}
	if (t->n >= t->nbuckets)
		grow_table(pp, t);
	y = take(pp, sizeof *y);
	*y = (struct sym){ .name = name->s, .len = name->len, .hash = h, .kind = kind, .depth = pp->depth, .earlier = t->last,
			   .chain = t->bucket[h & (t->nbuckets - 1)], .serial = ++pp->serial };
	t->bucket[h & (t->nbuckets - 1)] = y;
	if (pp->depth) /* a function's name comes after its results: names of depth 0 stay out of the list */
		t->last = y;
	t->n++;
	return y;
}

void sym_close(struct parser *pp, uint32_t depth)
{
	struct symtab *t = &pp->syms;
	for (; t->last && t->last->depth > depth; t->n--) {
		struct sym **at = &t->bucket[t->last->hash & (t->nbuckets - 1)];
		while (*at != t->last)
			at = &(*at)->chain;
		*at = t->last->chain;
		t->last = t->last->earlier;
	}
}

/* ---- registers */
uint32_t reg_new(struct parser *pp, const char *name, uint32_t len, enum ptx_type type)
{
	struct ptx_reg *r = vec_push(pp, pp->regs);
	r->name = take_name(pp, name, len);
	r->type = type;
	return pp->regs.n - 1;
}

static uint32_t numbered_slot(const struct parser *pp, uint64_t key)
{
	uint32_t i = (uint32_t)((key * (secret() | 1)) >> 32) & (pp->numbered_cap - 1);
	while (pp->numbered[i].key && pp->numbered[i].key != key)
		i = (i + 1) & (pp->numbered_cap - 1);
	return i;
}

static void grow_numbered(struct parser *pp)
{
	__auto_type old = pp->numbered;
	uint32_t old_cap = pp->numbered_cap, cap = old_cap ? old_cap * 2 : 1024;
	pp->numbered = calloc(cap, sizeof *pp->numbered);
	if (!pp->numbered) {
		pp->numbered = old;
		parse_abort(pp, PTX_ERR_MEMORY);
	}
	pp->numbered_cap = cap;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i].key)
			pp->numbered[numbered_slot(pp, old[i].key)] = old[i];
	free(old);
}

static uint32_t numbered_reg(struct parser *pp, const struct sym *group, uint32_t number, const struct tok *name)
{
	if (pp->numbered_n * 2 >= pp->numbered_cap)
		grow_numbered(pp);
	uint64_t key = (uint64_t)group->serial << 32 | number;
	uint32_t i = numbered_slot(pp, key);
	if (!pp->numbered[i].key) {
		pp->numbered[i].reg = reg_new(pp, name->s, name->len, group->type);
		pp->numbered[i].key = key;
		pp->numbered_n++;
	}
	return pp->numbered[i].reg;
}

bool reg_find(struct parser *pp, const struct tok *name, uint32_t *reg)
{
	uint32_t len = name->len, digits = 0, of_group = 0;
	struct sym *best = sym_find(pp, name->s, len);
	while (digits < len && digits < 10 && name->s[len - 1 - digits] >= '0' && name->s[len - 1 - digits] <= '9')
		digits++;
	/* A prefix may itself end in digits ("%r1_<5>" no, "%v2<5>" yes): try each split; the innermost block's is meant. */
	uint64_t number = 0, unit = 1;
	for (uint32_t d = 1; d <= digits; d++, unit *= 10) {
		char c = name->s[len - d];
		number += (uint64_t)(c - '0') * unit;
		if (c == '0' && d > 1)
			continue; /* %r01 is not %r1 */
		struct sym *y = find_hashed(&pp->syms, name->s, len - d, hash_name(name->s, len - d), true, number);
		if (!y || (best && best->depth >= y->depth))
			continue;
		best = y;
		of_group = (uint32_t)number;
	}
	if (!best || (best->kind != SYM_REG && best->kind != SYM_REGS))
		return false;
	*reg = best->kind == SYM_REG ? best->reg : numbered_reg(pp, best, of_group, name);
	return true;
}

/* ---- labels */
static uint32_t *label_slot(struct parser *pp, const char *s, uint32_t len, uint32_t hash, uint32_t block)
{
	uint32_t mask = pp->label_index.cap - 1;
	uint32_t i = (hash ^ block * 0x9E3779B1u) & mask;
	for (;; i = (i + 1) & mask) {
		uint32_t *slot = &pp->label_index.slot[i];
		if (!*slot)
			return slot;
		struct label *l = &pp->labels.v[*slot - 1];
		if (l->hash == hash && l->block == block && l->len == len && memcmp(l->name, s, len) == 0)
			return slot;
	}
}

static void grow_labels(struct parser *pp)
{
	uint32_t cap = pp->label_index.cap ? pp->label_index.cap * 2 : 256;
	uint32_t *slot = calloc(cap, sizeof *slot);
	if (!slot)
		parse_abort(pp, PTX_ERR_MEMORY);
	free(pp->label_index.slot);
	pp->label_index.slot = slot;
	pp->label_index.cap = cap;
	for (uint32_t i = 0; i < pp->labels.n; i++) {
		struct label *l = &pp->labels.v[i];
		*label_slot(pp, l->name, l->len, l->hash, l->block) = i + 1;
	}
}

bool label_add(struct parser *pp, const struct tok *name)
{
	if (pp->labels.n * 2 >= pp->label_index.cap)
		grow_labels(pp);
	uint32_t h = hash_name(name->s, name->len);
	uint32_t *slot = label_slot(pp, name->s, name->len, h, pp->block);
	char b[48];
	if (*slot)
		return error_at(pp, name->line, name->col, "label '%s' is declared twice, first in line %d", tok_text(name, b), pp->labels.v[*slot - 1].line);
	struct label *l = vec_push(pp, pp->labels);
	*l = (struct label){ .name = name->s, .len = name->len, .hash = h, .block = pp->block, .target = pp->insns.n, .line = name->line };
	*slot = pp->labels.n;
	return true;
}

static const struct label *label_seen_from(struct parser *pp, const struct label_use *u)
{
	uint32_t h = hash_name(u->name, u->len);
	if (!pp->label_index.cap)
		return NULL;
	for (uint32_t b = u->block;; b = pp->parents.v[b]) {
		uint32_t i = *label_slot(pp, u->name, u->len, h, b);
		if (i)
			return &pp->labels.v[i - 1];
		if (b == 0)
			return NULL;
	}
}

bool labels_resolve(struct parser *pp)
{
	bool ok = true;
	for (uint32_t i = 0; i < pp->uses.n; i++) {
		const struct label_use *u = &pp->uses.v[i];
		const struct label *l = label_seen_from(pp, u);
		if (!l) {
			char b[48];
			struct tok t = { .kind = T_IDENT, .s = u->name, .len = u->len };
			ok = error_at(pp, u->line, u->col, "no label '%s' in this function", tok_text(&t, b));
			continue;
		}
		struct ptx_operand *o = u->in_list ? u->in_list : &pp->insns.v[u->insn].o[u->slot];
		o->label = l->target;
	}
	return ok;
}

void function_reset(struct parser *pp)
{
	pp->insns.n = pp->regs.n = pp->fvars.n = pp->labels.n = pp->uses.n = 0;
	if (pp->numbered_n)
		memset(pp->numbered, 0, pp->numbered_cap * sizeof *pp->numbered);
	pp->numbered_n = 0;
	if (pp->label_index.cap)
		memset(pp->label_index.slot, 0, pp->label_index.cap * sizeof *pp->label_index.slot);
	pp->parents.n = 0;
	*vec_push(pp, pp->parents) = 0;
	pp->block = 0;
	pp->nblocks = 1;
}
