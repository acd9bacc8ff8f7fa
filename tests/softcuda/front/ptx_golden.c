/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PTX texts and what the front end makes of them: cases/X.in gives cases/X.ok, which holds either the
 * messages or the module as it was understood. Fails if a message, a line number or the meaning of an
 * instruction changes.
 *
 *   ptx_golden DIR            compare every case
 *   ptx_golden --print FILE   print what belongs into the .ok
 *   ptx_golden --parse FILE   only whether it is understood, and how large it is
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/ptx.h"

enum { MAX_TEXT = 16 << 20 };

static const char *const types[PTX_TYPE_COUNT] = { "", "b8", "b16", "b32", "b64", "b128", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64",
	"f16", "f16x2", "bf16", "bf16x2", "f32", "f64", "pred", "texref", "samplerref", "surfref" };
static const char *const statuses[] = { "ok", "syntax", "version", "unsupported", "memory" };

static char *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	char *text = malloc(MAX_TEXT);
	*len = fread(text, 1, MAX_TEXT - 1, f);
	text[*len] = 0;
	fclose(f);
	return text;
}

static void print_list(FILE *out, const struct ptx_func *f, const struct ptx_operand *v, uint32_t n);

static void print_operand(FILE *out, const struct ptx_func *f, const struct ptx_operand *o)
{
	fputs(o->neg ? "!" : "", out);
	switch (o->kind) {
	case PTX_O_NONE: fputs("-", out); break;
	case PTX_O_REG: fputs(f->regs[o->reg].name, out); break;
	case PTX_O_IMM: fprintf(out, "#%llx", (unsigned long long)o->imm); break;
	case PTX_O_SREG: fprintf(out, "sreg%u+%lld", o->sreg, (long long)o->imm); break;
	case PTX_O_VAR: fprintf(out, "&%s+%lld", o->var->name, (long long)o->imm); break;
	case PTX_O_FUNC: fprintf(out, "@%s", o->func->name); break;
	case PTX_O_ADDR: fprintf(out, "[%s+%lld]", o->base_is_reg ? f->regs[o->reg].name : o->var ? o->var->name : "", (long long)o->imm); break;
	case PTX_O_LABEL: o->func ? fprintf(out, "prototype(%u,%u)", o->func->nresults, o->func->nparams) : fprintf(out, "->%u", o->label); break;
	case PTX_O_VEC: print_list(out, f, o->vec, o->n); break;
	case PTX_O_SINK: fputs("_", out); break;
	case PTX_O_LIST: print_list(out, f, o->vec, o->nlist); break;
	}
}

static void print_list(FILE *out, const struct ptx_func *f, const struct ptx_operand *v, uint32_t n)
{
	fputs("{", out);
	for (uint32_t i = 0; i < n; i++) {
		fputs(i ? " " : "", out);
		print_operand(out, f, &v[i]);
	}
	fputs("}", out);
}

static void print_flags(FILE *out, const struct ptx_insn *in)
{
	const struct { const char *name; unsigned value; } flags[] = { { "round", in->round }, { "sat", in->sat }, { "ftz", in->ftz }, { "uni", in->uni },
		{ "volatile", in->volatile_ }, { "cc", in->cc }, { "relu", in->relu }, { "sync", in->sync }, { "nan", in->nan },
		{ "cmp", in->cmp }, { "bool", in->boolop }, { "atom", in->atom }, { "sub", in->sub }, { "space", in->space },
		{ "geom", in->geom }, { "vec", in->vec > 1 ? in->vec : 0u }, { "scope", in->scope }, { "sem", in->sem }, { "lut", in->lut }, { "clamp", in->clamp } };
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
		if (flags[i].value)
			fprintf(out, " %s=%u", flags[i].name, flags[i].value);
}

static void print_insn(FILE *out, const struct ptx_func *f, uint32_t i)
{
	const struct ptx_insn *in = &f->insns[i];
	fprintf(out, "  %u (%d):", i, in->line);
	if (in->pred >= 0)
		fprintf(out, " @%s%s", in->pred_neg ? "!" : "", f->regs[in->pred].name);
	fprintf(out, " %s", ptx_op_name[in->op]);
	const enum ptx_type t[3] = { in->type, in->type2, in->type3 };
	for (int k = 0; k < 3 && t[k]; k++)
		fprintf(out, ".%s", types[t[k]]);
	print_flags(out, in);
	for (unsigned k = 0; k < in->nop; k++) {
		fputs(k ? ", " : "  ", out);
		print_operand(out, f, &in->o[k]);
	}
	fputs("\n", out);
}

static void print_var(FILE *out, const char *indent, const struct ptx_var *v)
{
	fprintf(out, "%svar %s space=%d %s x%u n=%llu align=%u size=%llu%s%s", indent, v->name, v->space, types[v->type], v->vec,
		(unsigned long long)v->count, v->align, (unsigned long long)v->size, v->is_extern ? " extern" : "", v->is_visible ? " visible" : "");
	for (uint64_t i = 0; v->init && i < v->size; i++)
		fprintf(out, "%s%02x", i ? "" : " = ", v->init[i]);
	for (uint32_t i = 0; i < v->nreloc; i++)
		fprintf(out, " @%llu:%s+%lld%s", (unsigned long long)v->reloc[i].at, v->reloc[i].var ? v->reloc[i].var->name : v->reloc[i].func->name,
			(long long)v->reloc[i].addend, v->reloc[i].generic ? " generic" : "");
	fputs("\n", out);
}

static void print_params(FILE *out, const struct ptx_func *f, const char *what, const struct ptx_param *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		fprintf(out, " %s %s@%u %s size=%llu\n", what, p[i].reg == UINT32_MAX ? p[i].var->name : "reg", p[i].offset, types[p[i].var->type],
			(unsigned long long)p[i].var->size);
}

static void print_func(FILE *out, const struct ptx_func *f)
{
	fprintf(out, "%s %s%s%s regs=%u param_bytes=%u maxntid=%u,%u,%u ctas=%u\n", f->is_entry ? "entry" : "func", f->name, f->is_extern ? " extern" : "",
		f->is_visible ? " visible" : "", f->nregs, f->param_bytes, f->maxntid[0], f->maxntid[1], f->maxntid[2], f->minnctapersm);
	print_params(out, f, "result", f->results, f->nresults);
	print_params(out, f, "param", f->params, f->nparams);
	for (uint32_t i = 0; i < f->nvars; i++)
		print_var(out, " ", f->vars[i]);
	for (uint32_t i = 0; i < f->ninsns; i++)
		print_insn(out, f, i);
}

static void print_result(FILE *out, const char *text, size_t len)
{
	static char buf[16384];
	struct ptx_log log = { buf, sizeof buf, 0 };
	struct ptx_module *m = NULL;
	enum ptx_status status = ptx_parse(text, len, &log, &m);
	fprintf(out, "%s\n%s", statuses[status], buf);
	if (status != PTX_OK)
		return;
	fprintf(out, "ptx %u.%u %s (%u)\n", m->version_major, m->version_minor, m->target, m->sm);
	for (uint32_t i = 0; i < m->nvars; i++)
		print_var(out, "", m->vars[i]);
	for (uint32_t i = 0; i < m->nfuncs; i++)
		print_func(out, m->funcs[i]);
	ptx_free(m);
}

static bool check_case(const char *dir, const char *name)
{
	char path[1024];
	size_t n, want_len, got_len = 0;
	char *got = NULL;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	char *text = read_file(path, &n);
	snprintf(path, sizeof path, "%s/%.*s.ok", dir, (int)strlen(name) - 3, name);
	char *want = read_file(path, &want_len);
	FILE *out = open_memstream(&got, &got_len);
	print_result(out, text, n);
	fclose(out);
	bool same = want && got_len == want_len && memcmp(got, want, got_len) == 0;
	if (!same)
		printf("%s: differs from %s; got:\n%s\n", name, path, got);
	free(text);
	free(want);
	free(got);
	return same;
}

static int parse_only(const char *text, size_t len)
{
	static char buf[4096];
	struct ptx_log log = { buf, sizeof buf, 0 };
	struct ptx_module *m = NULL;
	enum ptx_status status = ptx_parse(text, len, &log, &m);
	printf("%s %s", statuses[status], buf);
	if (status != PTX_OK)
		return 1;
	unsigned long insns = 0, regs = 0;
	for (uint32_t i = 0; i < m->nfuncs; i++) {
		insns += m->funcs[i]->ninsns;
		regs += m->funcs[i]->nregs;
	}
	printf("%u functions, %lu instructions, %lu registers\n", m->nfuncs, insns, regs);
	ptx_free(m);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		size_t n;
		char *text = read_file(argv[2], &n);
		int rc = 0;
		if (!text)
			return 1;
		if (strcmp(argv[1], "--parse") == 0)
			rc = parse_only(text, n);
		else
			print_result(stdout, text, n);
		free(text);
		return rc;
	}
	struct dirent **list;
	int n = argc == 2 ? scandir(argv[1], &list, NULL, alphasort) : -1, cases = 0, wrong = 0;
	for (int i = 0; i < n; i++) {
		size_t len = strlen(list[i]->d_name);
		if (len > 3 && strcmp(list[i]->d_name + len - 3, ".in") == 0) {
			cases++;
			wrong += !check_case(argv[1], list[i]->d_name);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	printf("%d cases, %d differ\n", cases, wrong);
	return cases == 0 || wrong != 0;
}
