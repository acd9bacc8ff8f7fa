/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile and damaged texts: every prefix of a valid one, every byte of it changed, and constructions
 * that would cost memory or depth. What breaks if this fails: a guest can crash the process that loads its module. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>
#include "softcuda/ptx.h"

#define HEAD ".version 7.0\n.target sm_75\n"
static const char sample[] = HEAD
	".global .b8 a[4] = {1,2,3,4};\n.global .align 8 .u64 q[2] = {a+2, generic(a)};\n"
	".func (.param .b32 r) f (.param .b32 x) { .reg .b32 %r<3>; ld.param.b32 %r1, [x]; st.param.b32 [r+0], %r1; ret; }\n"
	".visible .entry k(.param .u64 p0, .param .align 8 .b8 s[12])\n.maxntid 32,1,1\n{\n"
	".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<4>; .reg .f32 %f<5>;\n"
	"ld.param.u64 %rd1, [p0]; L: setp.lt.s32 %p1|%p2, %r1, -0x5;\n@!%p1 bra L;\n"
	"{ .param .b32 a0; .param .b32 r0; call.uni (r0), f, (a0); }\n ts: .branchtargets L, M; brx.idx %r1, ts;\n"
	"mov.b64 {%r1,%r2}, %rd1; mov.f32 %f1, 0f3F800000; mov.u32 %r1, (1+2)*3-~4;\nM: st.global.v2.f32 [%rd1+-8], {%f1, 0d4000000000000000};\n"
	"tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2}]; shfl.sync.idx.b32 %r1|%p1, %r2, 0, 31, -1; ret; }\n";

/* Parses an exact copy, so that a sanitizer sees any step beyond its end. */
static enum ptx_status parse(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1), buf[512];
	struct ptx_log log = { buf, sizeof buf, 0 };
	struct ptx_module *m = NULL;
	memcpy(copy, text, len);
	enum ptx_status s = ptx_parse(copy, len, &log, &m);
	assert_true((s == PTX_OK) == (m != NULL));
	assert_true(s == PTX_OK || s == PTX_ERR_MEMORY || log.len > 0);
	assert_true(log.len < sizeof buf && buf[log.len] == 0);
	free(copy);
	ptx_free(m);
	return s;
}

static void prefixes(void **state)
{
	for (size_t n = 0; n < sizeof sample; n++)
		parse(sample, n);
	assert_int_equal(parse(sample, sizeof sample - 1), PTX_OK);
}

static void changed_bytes(void **state)
{
	static const char bytes[] = "\0\n{}()[];:,.%\"/*@!0f9_a-+<|";
	char text[sizeof sample];
	for (size_t at = 0; at < sizeof sample - 1; at++)
		for (size_t b = 0; b < sizeof bytes - 1; b++) {
			memcpy(text, sample, sizeof sample);
			text[at] = bytes[b];
			parse(text, sizeof sample - 1);
		}
}

static void a_nul_ends_the_text(void **state)
{
	static const char text[] = HEAD ".entry k() { ret; }\0 this is not PTX";
	assert_int_equal(parse(text, sizeof text - 1), PTX_OK);
}

static void works_without_log(void **state)
{
	struct ptx_module *m;
	char tiny[8] = "";
	struct ptx_log log = { tiny, sizeof tiny, 0 };
	assert_int_equal(ptx_parse("nonsense", 8, NULL, &m), PTX_ERR_SYNTAX);
	assert_int_equal(ptx_parse("nonsense", 8, &log, &m), PTX_ERR_SYNTAX);
	assert_int_equal(log.len, 7);
	assert_string_equal(tiny, "ptx lin");
}

static long peak_kib(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

/* What is declared but not used costs nothing. */
static void huge_declarations(void **state)
{
	long before = peak_kib();
	static const char regs[] = HEAD ".entry k() { .reg .b32 %r<4294967295>; mov.b32 %r4294967294, 1; ret; }";
	assert_int_equal(parse(regs, sizeof regs - 1), PTX_OK);
	static const char init[] = HEAD ".global .b8 x[1000000000000] = {1};";
	assert_int_equal(parse(init, sizeof init - 1), PTX_ERR_UNSUPPORTED);
	static const char rows[] = HEAD ".global .b8 x[2][100000000] = {{1},{2}};";
	assert_int_equal(parse(rows, sizeof rows - 1), PTX_OK);
	static const char over[] = HEAD ".global .b32 x[4611686018427387904][8] = {{1}};";
	assert_int_equal(parse(over, sizeof over - 1), PTX_ERR_SYNTAX);
	static const char params[] = HEAD ".entry k(.param .b8 x[32765]) { ret; }";
	assert_int_equal(parse(params, sizeof params - 1), PTX_ERR_SYNTAX);
	assert_true(peak_kib() - before < 600 * 1024);
}

static char *repeat(const char *head, const char *piece, unsigned n, const char *tail)
{
	size_t len = strlen(piece);
	char *text = malloc(strlen(head) + len * n + strlen(tail) + 1), *p = stpcpy(text, head);
	for (unsigned i = 0; i < n; i++)
		p = stpcpy(p, piece);
	strcpy(p, tail);
	return text;
}

static void depth(void **state)
{
	const struct { const char *head, *piece, *tail; } cases[] = {
		{ HEAD ".entry k() { .reg .b32 %r<3>; mov.u32 %r1, ", "(", "1; ret; }" }, { HEAD ".entry k() { .reg .b32 %r<3>; mov.u32 %r1, ", "-", "1; ret; }" },
		{ HEAD ".entry k() { .reg .b32 %r<3>; mov.u32 %r1, ", "1?", "1; ret; }" }, { HEAD ".entry k() { .reg .b32 %r<3>; mov.u32 %r1, ", "(.s64)", "1; ret; }" },
		{ HEAD ".entry k() {", "{", "ret; }" }, { HEAD ".entry k() {", "}", "ret; }" }, { HEAD ".global .b32 x[2] = ", "{", "};" },
		{ HEAD ".global .b32 x", "[1]", ";" }, { HEAD ".section .debug {", "{", "}" }, { HEAD, "}", "" }, { HEAD, "{", "" },
		{ HEAD, ".global .u32 ", ";" }, { HEAD ".entry k() {", "a:", "}" }, { HEAD ".entry k(", ".param ", ") { ret; }" },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = repeat(cases[i].head, cases[i].piece, 100000, cases[i].tail);
		assert_int_equal(parse(text, strlen(text)), PTX_ERR_SYNTAX);
		free(text);
	}
}

static void long_names_and_strings(void **state)
{
	char *text = repeat(HEAD ".entry ", "n", 1000000, "() { ret; }");
	assert_int_equal(parse(text, strlen(text)), PTX_OK);
	free(text);
	text = repeat(HEAD ".entry k() { ", "x", 1000000, " %r1; }");
	assert_int_equal(parse(text, strlen(text)), PTX_ERR_SYNTAX);
	free(text);
	text = repeat(HEAD ".pragma \"", "s", 1000000, "\";");
	assert_int_equal(parse(text, strlen(text)), PTX_OK);
	free(text);
}

/* 100,000 labels, registers and branches: in time that grows with the text, not with its square. */
static void many_names(void **state)
{
	size_t cap = 8 << 20;
	char *text = malloc(cap), *p = stpcpy(text, HEAD ".entry k() { .reg .b32 %r<200000>; .reg .pred %p<2>;\n");
	for (unsigned i = 0; i < 100000; i++)
		p += sprintf(p, "L%u: mov.u32 %%r%u, %u; @%%p1 bra L%u;\n", i, i * 2, i, 99999 - i);
	strcpy(p, "}");
	struct ptx_module *m = NULL;
	assert_int_equal(ptx_parse(text, strlen(text), NULL, &m), PTX_OK);
	const struct ptx_func *f = m->funcs[0];
	assert_int_equal(f->ninsns, 200001);
	assert_int_equal(f->nregs, 100001);
	assert_int_equal(f->insns[1].o[0].label, 199998);
	ptx_free(m);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prefixes), cmocka_unit_test(changed_bytes), cmocka_unit_test(a_nul_ends_the_text),
		cmocka_unit_test(works_without_log), cmocka_unit_test(huge_declarations), cmocka_unit_test(depth), cmocka_unit_test(long_names_and_strings),
		cmocka_unit_test(many_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
