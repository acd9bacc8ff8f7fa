/* SPDX-License-Identifier: Apache-2.0 */
/* What an image says of the memory its module takes: breaks if a variable is missed, or hostile bytes hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/footprint.h"

#define HEAD ".version 7.0\n.target sm_50\n.address_size 64\n"

static const struct {
	const char *text;
	uint64_t variables;
	bool exact;
} cases[] = {
	{"", 0, true},
	{".global .f32 x;", 4, true},
	{".visible .global .align 8 .u64 x, y;", 16, true},
	{".global .v4 .f32 m[4][4];", 256, true},
	{".const .align 4 .b8 c[0x100] = {1, 2, 3};", 256, true},
	{".global .align 4 .b8 s[] = {1, 2, 3, 4};", 4, false},
	{".global .b8 e[2 * 8];", 1, false},
	{".global .attribute(.managed) .s32 m = 7;", 4, true},
	{".extern .global .b8 far[100];", 0, true},
	{".entry k(.param .u64 .ptr .global .align 4 p) { ld.global.u32 %r1, [%rd1]; }", 0, true},
	{"// .global .b8 c[9];\n/* .global .b8 d[9]; */ .global .b8 /* here */ e[9];", 9, true},
	{".file 1 \".global .b8 f[9];\"\n", 0, true},
	{".global .texref t; .global .samplerref s;", 16, true},
	{".global .b8 huge[0xffffffffffffffff][2];", UINT64_MAX, true},
	{".global", 0, true},
	{".global .b8", 0, true},
	{".global .b8 x", 1, true},
	{".global .b8 x[", 1, false},
	{".global .b8 x = {{{", 2, true},
};

static void test_ptx(void **state)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512];
		size_t len = (size_t)snprintf(text, sizeof(text), HEAD "%s", cases[i].text);
		struct cuda_footprint f = cuda_image_footprint(text, len, NULL, NULL);
		uint64_t want = cases[i].variables == UINT64_MAX ? UINT64_MAX : len + cases[i].variables;

		if (f.exact != cases[i].exact || (cases[i].exact && f.bytes != want) || f.bytes < len)
			fail_msg("%s: %llu instead of %llu, %sexact", cases[i].text, (unsigned long long)f.bytes,
				 (unsigned long long)want, f.exact ? "" : "not ");
	}
}

static void collect(void *ctx, const char *name)
{
	strcat(ctx, name);
	strcat(ctx, " ");
}

static void test_names(void **state)
{
	char names[100] = "";
	const char *text = HEAD ".global .b8 a[2], $b; .const .u32 _c = 1; .shared .b8 no[4]; .global .b8 %d[1*2];";

	cuda_image_footprint(text, strlen(text), collect, names);
	assert_string_equal(names, "a $b _c %d ");
}

static void test_elf(void **state)
{
	struct {
		Elf64_Ehdr h;
		Elf64_Shdr s[3];
	} elf = {.h = {.e_ident = ELFMAG, .e_shoff = sizeof(Elf64_Ehdr), .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3},
		 .s = {{.sh_size = 1000}, {.sh_flags = SHF_ALLOC, .sh_size = 300},
		       {.sh_type = SHT_NOBITS, .sh_flags = SHF_ALLOC | SHF_WRITE, .sh_size = 5000}}};

	assert_int_equal(cuda_image_footprint(&elf, sizeof(elf), NULL, NULL).bytes, 5300);
	elf.h.e_shnum = 60000; /* beyond the end */
	assert_int_equal(cuda_image_footprint(&elf, sizeof(elf), NULL, NULL).bytes, 5300);
	elf.h.e_shoff = UINT64_MAX - 10;
	assert_int_equal(cuda_image_footprint(&elf, sizeof(elf), NULL, NULL).bytes, sizeof(elf));
	elf.s[1].sh_size = UINT64_MAX;
	elf.h.e_shoff = sizeof(Elf64_Ehdr);
	assert_int_equal(cuda_image_footprint(&elf, sizeof(elf), NULL, NULL).bytes, UINT64_MAX);
}

/* Every cut of everything, in memory that ends where it ends. */
static void test_cut(void **state)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t n = 0; n <= strlen(cases[i].text); n++) {
			char *copy = malloc(n + 1);

			memcpy(copy, cases[i].text, n);
			cuda_image_footprint(copy, n, NULL, NULL);
			free(copy);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ptx), cmocka_unit_test(test_names),
					   cmocka_unit_test(test_elf), cmocka_unit_test(test_cut)};

	return cmocka_run_group_tests_name("footprint", tests, NULL, NULL);
}
