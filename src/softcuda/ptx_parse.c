/* SPDX-License-Identifier: Apache-2.0 */
/* A text: header, module-level declarations, functions and their bodies. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/ptx_int.h"

static bool parse_header_version(struct parser *pp)
{
	char b[48];
	struct tok t = pp->t;
	if (!accept_dot(pp, "version"))
		return error_tok(pp, "PTX starts with .version, not '%s'", tok_text(&t, b));
	t = pp->t;
	unsigned major = 0, minor = 0, n = 0;
	while (n < t.len && t.s[n] >= '0' && t.s[n] <= '9' && major < 1000)
		major = major * 10 + (unsigned)(t.s[n++] - '0');
	bool dot = n > 0 && n < t.len && t.s[n] == '.';
	for (n++; dot && n < t.len && t.s[n] >= '0' && t.s[n] <= '9' && minor < 1000;)
		minor = minor * 10 + (unsigned)(t.s[n++] - '0');
	if (t.kind != T_FLOAT || !dot || n != t.len)
		return error_tok(pp, "expected a version like 7.5, found '%s'", tok_text(&t, b));
	advance(pp);
	pp->m->version_major = major;
	pp->m->version_minor = minor;
	if (major > 9 || (major == 9 && minor > 0)) {
		error_at(pp, t.line, t.col, "PTX %u.%u is newer than 9.0, the newest understood here", major, minor);
		parse_abort(pp, PTX_ERR_VERSION);
	}
	return true;
}

static bool parse_target(struct parser *pp)
{
	char b[48];
	do {
		struct tok t = pp->t;
		if (t.kind != T_IDENT)
			return error_tok(pp, "expected a target like sm_75, found '%s'", tok_text(&t, b));
		if (t.len > 3 && memcmp(t.s, "sm_", 3) == 0) {
			uint32_t n = t.len < sizeof pp->m->target ? t.len : (uint32_t)sizeof pp->m->target - 1;
			memcpy(pp->m->target, t.s, n);
			for (uint32_t i = 3; i < n && i < 7 && t.s[i] >= '0' && t.s[i] <= '9'; i++)
				pp->m->sm = pp->m->sm * 10 + (uint32_t)(t.s[i] - '0');
		} else if (!tok_is(&t, "texmode_unified") && !tok_is(&t, "texmode_independent") && !tok_is(&t, "debug") &&
			   !tok_is(&t, "map_f64_to_f32")) {
			return error_tok(pp, "unknown target '%s'", tok_text(&t, b));
		}
		advance(pp);
	} while (accept(pp, ','));
	return true;
}

static bool parse_address_size(struct parser *pp)
{
	struct tok t = pp->t;
	uint64_t n;
	if (!parse_u64(pp, &n, "address size"))
		return false;
	if (n == 32)
		return unsupported(pp, t.line, t.col, "32-bit addresses");
	if (n != 64)
		return error_at(pp, t.line, t.col, "address size is 32 or 64");
	return true;
}

/* ---- debugging information and hints: read over */
static bool skip_section(struct parser *pp)
{
	while (!at(pp, '{') && pp->t.kind != T_EOF && !at(pp, ';'))
		advance(pp);
	if (!expect(pp, '{', "after .section"))
		return false;
	for (unsigned depth = 1; depth; advance(pp)) {
		if (pp->t.kind == T_EOF)
			return error_tok(pp, "section without end");
		depth += at(pp, '{');
		depth -= at(pp, '}');
	}
	return true;
}

/* .loc FILE LINE COLUMN [, function_name LABEL [+ N], inlined_at FILE LINE COLUMN]: no ';' ends it. */
static bool skip_loc(struct parser *pp)
{
	for (unsigned i = 0; i < 3; i++, advance(pp))
		if (pp->t.kind != T_INT)
			return error_tok(pp, "expected file, line and column after .loc");
	for (;;) {
		struct lexer l = pp->lex;
		struct tok t = pp->t;
		if (!accept(pp, ','))
			return true;
		bool name = pp->t.kind == T_IDENT && tok_is(&pp->t, "function_name");
		bool inlined = pp->t.kind == T_IDENT && tok_is(&pp->t, "inlined_at");
		if (!name && !inlined) {
			pp->lex = l;
			pp->t = t;
			return error_tok(pp, "unexpected ',' after .loc");
		}
		advance(pp);
		if (name) {
			advance(pp);
			if (accept(pp, '+'))
				advance(pp);
		}
		for (unsigned i = 0; inlined && i < 3; i++, advance(pp))
			if (pp->t.kind != T_INT)
				return error_tok(pp, "expected file, line and column after inlined_at");
	}
}

static bool skip_file(struct parser *pp)
{
	bool number = pp->t.kind == T_INT;
	if (number)
		advance(pp);
	if (!number || pp->t.kind != T_STRING)
		return error_tok(pp, "expected a number and a name after .file");
	advance(pp);
	while (accept(pp, ','))
		if (pp->t.kind == T_INT)
			advance(pp);
		else
			return error_tok(pp, "expected a number");
	return true;
}

static bool skip_pragma(struct parser *pp)
{
	do {
		if (pp->t.kind != T_STRING)
			return error_tok(pp, "expected a string after .pragma");
		advance(pp);
	} while (accept(pp, ','));
	return expect(pp, ';', "after .pragma");
}

/* "@@DWARF ..." of old compilers: to the end of the line. */
static void skip_dwarf(struct parser *pp)
{
	int line = pp->t.line;
	while (pp->t.kind != T_EOF && pp->t.line == line)
		advance(pp);
}

static bool parse_hint(struct parser *pp, bool *ok)
{
	if (accept_dot(pp, "loc"))
		*ok = skip_loc(pp);
	else if (accept_dot(pp, "file"))
		*ok = skip_file(pp);
	else if (accept_dot(pp, "pragma"))
		*ok = skip_pragma(pp);
	else if (accept_dot(pp, "section"))
		*ok = skip_section(pp);
	else
		return false;
	return true;
}

/* ---- function bodies */
static const struct { const char *word; enum ptx_space space; } spaces[] = {
	{ "global", PTX_SPACE_GLOBAL }, { "const", PTX_SPACE_CONST }, { "shared", PTX_SPACE_SHARED }, { "local", PTX_SPACE_LOCAL }, { "param", PTX_SPACE_PARAM } };

static bool accept_space(struct parser *pp, enum ptx_space *space)
{
	for (unsigned i = 0; i < sizeof spaces / sizeof *spaces; i++)
		if (accept_dot(pp, spaces[i].word)) {
			*space = spaces[i].space;
			return true;
		}
	return false;
}

static bool open_block(struct parser *pp)
{
	if (pp->depth > PTX_MAX_NESTING)
		return error_tok(pp, "blocks nested too deeply");
	pp->depth++;
	*vec_push(pp, pp->parents) = pp->block;
	pp->block = pp->nblocks++;
	return true;
}

static void close_block(struct parser *pp)
{
	pp->depth--;
	sym_close(pp, pp->depth);
	pp->block = pp->parents.v[pp->block];
}

static bool parse_labelled(struct parser *pp, const struct tok *name)
{
	if (accept_dot(pp, "branchtargets"))
		return parse_targets(pp, name, false);
	if (accept_dot(pp, "calltargets"))
		return parse_targets(pp, name, true);
	if (accept_dot(pp, "callprototype"))
		return parse_prototype(pp, name);
	label_add(pp, name); /* declared twice: reported, and no reason to skip what follows */
	return true;
}

static bool label_ahead(struct parser *pp)
{
	if (pp->t.kind != T_IDENT)
		return false;
	struct lexer l = pp->lex;
	struct tok t;
	if (l.p < l.end && *l.p == '.')
		return false; /* a mnemonic: the common case */
	lex_next(&l, &t);
	return t.kind == T_PUNCT && t.c == ':';
}

static bool parse_statement(struct parser *pp)
{
	bool ok;
	char b[48];
	enum ptx_space space;
	if (label_ahead(pp)) {
		struct tok name = pp->t;
		advance(pp);
		advance(pp);
		return parse_labelled(pp, &name);
	}
	if (pp->t.kind != T_DOT)
		return accept(pp, ';') || parse_instruction(pp);
	if (parse_hint(pp, &ok))
		return ok;
	if (accept_dot(pp, "reg"))
		return parse_regs(pp);
	bool is_extern = accept_dot(pp, "extern");
	if (accept_space(pp, &space))
		return parse_vars(pp, space, is_extern, false);
	return error_tok(pp, "unexpected '%s' in a function", tok_text(&pp->t, b));
}

/* From after '{' to after the matching '}'. */
static bool parse_body(struct parser *pp)
{
	uint32_t outer = pp->depth;
	for (;;) {
		if (pp->t.kind == T_EOF)
			return error_tok(pp, "function '%s' (line %d) has no end", pp->f->name, pp->f->line);
		if (at(pp, '{')) {
			if (!open_block(pp))
				parse_abort(pp, PTX_OK);
			advance(pp);
		} else if (at(pp, '}')) {
			advance(pp);
			if (pp->depth == outer)
				return true;
			close_block(pp);
		} else if (!parse_statement(pp)) {
			skip_statement(pp);
		}
	}
}

#define KEEP(vec) keep_array(pp, (pp)->vec.v, (pp)->vec.n, sizeof *(pp)->vec.v)
static void *keep_array(struct parser *pp, const void *v, uint32_t n, size_t elem)
{
	void *keep = take(pp, n * elem);
	if (n)
		memcpy(keep, v, n * elem);
	return keep;
}

/* Control that runs off the end returns; a label may stand there too. */
static void end_function(struct parser *pp, struct ptx_func *f)
{
	struct ptx_insn ret = { .op = PTX_OP_RET, .line = pp->t.line, .pred = -1, .vec = 1 };
	emit(pp, &ret);
	labels_resolve(pp);
	f->ninsns = pp->insns.n;
	f->nregs = pp->regs.n;
	f->nvars = pp->fvars.n;
	if (pp->status != PTX_OK)
		return;
	f->insns = KEEP(insns);
	f->regs = KEEP(regs);
	f->vars = KEEP(fvars);
}

/* ---- functions */
static bool parse_tuning(struct parser *pp, struct ptx_func *f)
{
	static const char *const words[] = { "maxntid", "reqntid", "minnctapersm", "maxnctapersm", "maxnreg" };
	char b[48];
	bool ok;
	while (pp->t.kind == T_DOT) {
		unsigned w = 0;
		struct tok t = pp->t;
		if (accept_dot(pp, "noreturn")) {
			f->noreturn = true;
			continue;
		}
		if (at_dot(pp, "pragma")) {
			if (!parse_hint(pp, &ok) || !ok)
				return false;
			continue;
		}
		while (w < 5 && !at_dot(pp, words[w]))
			w++;
		if (at_dot(pp, "explicitcluster") || at_dot(pp, "reqnctapercluster") || at_dot(pp, "maxclusterrank"))
			return unsupported(pp, t.line, t.col, "clusters ('%s')", tok_text(&t, b));
		if (w == 5)
			return error_tok(pp, "unexpected '%s' after a function's name", tok_text(&t, b));
		advance(pp);
		uint64_t v[3] = { 0, 1, 1 };
		for (unsigned i = 0; i < (w < 2 ? 3 : 1) && (i == 0 || accept(pp, ',')); i++)
			if (!parse_u64(pp, &v[i], words[w]))
				return false;
		if (v[0] > UINT32_MAX || v[1] > UINT32_MAX || v[2] > UINT32_MAX)
			return error_at(pp, t.line, t.col, "a value of .%s is too large", words[w]);
		uint32_t *to = w == 0 ? f->maxntid : w == 1 ? f->reqntid : NULL;
		for (unsigned i = 0; to && i < 3; i++)
			to[i] = (uint32_t)v[i];
		if (w == 2)
			f->minnctapersm = (uint32_t)v[0];
	}
	return true;
}

static bool same_params(const struct ptx_param *a, uint32_t na, const struct ptx_param *b, uint32_t nb)
{
	if (na != nb)
		return false;
	for (uint32_t i = 0; i < na; i++)
		if (a[i].var->size != b[i].var->size || (a[i].reg == UINT32_MAX) != (b[i].reg == UINT32_MAX))
			return false;
	return true;
}

/* The symbol of a function, which a declaration may have made before. */
static struct ptx_func *find_function(struct parser *pp, const struct tok *name, const struct ptx_func *now, bool *again)
{
	uint32_t depth = pp->depth;
	struct sym *y = sym_find(pp, name->s, name->len);
	char b[48];
	*again = y && y->kind == SYM_FUNC;
	if (*again)
		return y->func;
	pp->depth = 0;
	y = y && y->depth == 0 ? (error_at(pp, name->line, name->col, "'%s' is declared twice", tok_text(name, b)), NULL) : sym_add(pp, name, SYM_FUNC);
	pp->depth = depth;
	if (!y)
		return NULL;
	y->func = take(pp, sizeof *y->func);
	*vec_push(pp, pp->funcs) = y->func;
	return y->func;
}

static bool merge_declaration(struct parser *pp, struct ptx_func *f, const struct ptx_func *now, const struct tok *name, bool again, bool body)
{
	char b[48];
	if (again && (f->is_entry != now->is_entry || !same_params(f->params, f->nparams, now->params, now->nparams) ||
		      !same_params(f->results, f->nresults, now->results, now->nresults)))
		return error_at(pp, name->line, name->col, "'%s' was declared otherwise in line %d", tok_text(name, b), f->line);
	if (again && body && !f->is_extern)
		return error_at(pp, name->line, name->col, "'%s' is defined twice, first in line %d", tok_text(name, b), f->line);
	if (again && !body)
		return true;
	bool visible = f->is_visible || now->is_visible, noreturn = f->noreturn || now->noreturn;
	*f = *now;
	f->is_visible = visible;
	f->noreturn = noreturn;
	f->is_extern = !body;
	return true;
}

static bool parse_signature(struct parser *pp, struct ptx_func *now, struct tok *name)
{
	char b[48];
	while (accept_dot(pp, "attribute"))
		if (!skip_attribute(pp))
			return false;
	if (!now->is_entry && at(pp, '(') && !parse_params(pp, now, true, false))
		return false;
	*name = pp->t;
	if (name->kind != T_IDENT)
		return error_tok(pp, "expected a function's name, found '%s'", tok_text(name, b));
	advance(pp);
	now->name = take_name(pp, name->s, name->len);
	now->line = name->line;
	return (!at(pp, '(') || parse_params(pp, now, false, false)) && parse_tuning(pp, now);
}

static void skip_function(struct parser *pp)
{
	while (pp->t.kind != T_EOF && !at(pp, '{') && !at(pp, ';'))
		advance(pp);
	if (!accept(pp, '{')) {
		advance(pp);
		return;
	}
	for (uint32_t depth = 1; depth && pp->t.kind != T_EOF; advance(pp)) {
		depth += at(pp, '{');
		depth -= at(pp, '}');
	}
}

static bool parse_function(struct parser *pp, bool entry, bool visible)
{
	struct ptx_func now = { .is_entry = entry, .is_visible = visible, .module = pp->m };
	struct tok name;
	bool again, ok;
	function_reset(pp);
	pp->depth = 1;
	ok = parse_signature(pp, &now, &name);
	bool body = ok && at(pp, '{');
	struct ptx_func *f = ok ? find_function(pp, &name, &now, &again) : NULL;
	ok = f && merge_declaration(pp, f, &now, &name, again, body);
	if (ok && body) {
		pp->f = f;
		advance(pp);
		parse_body(pp);
		end_function(pp, f);
		pp->f = NULL;
	} else if (ok) {
		ok = expect(pp, ';', "or a body after a function");
	} else {
		skip_function(pp);
	}
	pp->depth = 0;
	sym_close(pp, 0);
	return true;
}

/* ---- module level */
static bool parse_module_item(struct parser *pp)
{
	bool is_extern = false, visible = false, ok;
	char b[48];
	enum ptx_space space;
	if (at(pp, '@')) {
		skip_dwarf(pp);
		return true;
	}
	for (;; advance(pp)) {
		if (at_dot(pp, "extern"))
			is_extern = true;
		else if (at_dot(pp, "visible") || at_dot(pp, "weak") || at_dot(pp, "common"))
			visible = true;
		else
			break;
	}
	if (parse_hint(pp, &ok))
		return ok;
	if (accept_dot(pp, "entry"))
		return parse_function(pp, true, true);
	if (accept_dot(pp, "func"))
		return parse_function(pp, false, visible);
	struct tok t = pp->t;
	if (accept_space(pp, &space))
		return space == PTX_SPACE_PARAM ? error_at(pp, t.line, t.col, ".param outside a function") : parse_vars(pp, space, is_extern, visible);
	if (at_dot(pp, "alias") || at_dot(pp, "tex") || at_dot(pp, "surf"))
		return unsupported(pp, t.line, t.col, "directive '%s'", tok_text(&t, b));
	if (accept_dot(pp, "target"))
		return parse_target(pp);
	if (accept_dot(pp, "address_size"))
		return parse_address_size(pp);
	return accept(pp, ';') || error_tok(pp, "unexpected '%s'", tok_text(&t, b));
}

static void skip_item(struct parser *pp)
{
	/* Never stand still: a stray '}' or word is passed over. */
	if (at(pp, '}')) {
		advance(pp);
		return;
	}
	skip_statement(pp);
	accept(pp, '}');
}

static void parse_module(struct parser *pp)
{
	advance(pp);
	if (!parse_header_version(pp))
		return;
	char b[48];
	if (!accept_dot(pp, "target")) {
		error_tok(pp, "expected .target after .version, found '%s'", tok_text(&pp->t, b));
		return;
	}
	if (!parse_target(pp))
		return;
	while (pp->t.kind != T_EOF)
		if (!parse_module_item(pp))
			skip_item(pp);
	struct ptx_module *m = pp->m;
	m->nfuncs = pp->funcs.n;
	m->funcs = KEEP(funcs);
	m->nvars = pp->vars.n;
	m->vars = KEEP(vars);
}

static void free_parser(struct parser *pp)
{
	free(pp->syms.bucket);
	free(pp->funcs.v);
	free(pp->vars.v);
	free(pp->parents.v);
	free(pp->insns.v);
	free(pp->regs.v);
	free(pp->fvars.v);
	free(pp->labels.v);
	free(pp->uses.v);
	free(pp->scratch.v);
	free(pp->scratch_params.v);
	free(pp->init_buf.v);
	free(pp->init_relocs.v);
	free(pp->numbered);
	free(pp->label_index.slot);
	free(pp);
}

enum ptx_status ptx_parse(const char *text, size_t len, struct ptx_log *log, struct ptx_module **out)
{
	struct parser *pp = calloc(1, sizeof *pp);
	if (log && log->buf && log->cap && log->len < log->cap)
		log->buf[log->len] = 0;
	if (!pp || !(pp->arena = arena_new(PTX_MAX_ARENA))) {
		free(pp);
		return PTX_ERR_MEMORY;
	}
	pp->log = log;
	if (setjmp(pp->abort) == 0) {
		if (len > PTX_MAX_TEXT)
			parse_abort(pp, PTX_ERR_MEMORY);
		pp->m = take(pp, sizeof *pp->m);
		pp->m->address_size = 64;
		lex_init(&pp->lex, text, len);
		parse_module(pp);
	}
	enum ptx_status status = pp->status;
	struct arena *arena = pp->arena;
	if (status == PTX_OK) {
		pp->m->arena = arena;
		*out = pp->m;
	} else {
		arena_free(arena);
	}
	free_parser(pp);
	return status;
}

void ptx_free(struct ptx_module *m)
{
	if (m)
		arena_free(m->arena);
}
