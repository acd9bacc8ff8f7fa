// SPDX-License-Identifier: Apache-2.0
/* Fat binaries written here, entry by entry, read by cuda/fatbin.h; then cut and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <lz4.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include "cuda/cuda.h"
#include "cuda/fatbin.h"

struct out {
	uint8_t bytes[16384];
	size_t len;
};

static void put(struct out *o, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		o->bytes[o->len++] = v >> (8 * i);
}

static void begin(struct out *o)
{
	o->len = 0;
	put(o, FATBIN_MAGIC, 4);
	put(o, 1, 2);
	put(o, FATBIN_HEADER_SIZE, 2);
	put(o, 0, 8);
}

static void entry(struct out *o, unsigned kind, unsigned arch, uint64_t flags, const void *payload, size_t size, size_t plain)
{
	size_t padded = (size + 7) & ~(size_t)7;
	put(o, kind, 2);
	put(o, FATBIN_ENTRY_VERSION, 2);
	put(o, FATBIN_ENTRY_SIZE, 4);
	put(o, padded, 8);
	put(o, plain ? size : 0, 4);
	put(o, 0, 4);
	put(o, 0x90000, 4);
	put(o, arch, 4);
	put(o, 0, 8);
	put(o, flags, 8);
	put(o, 0, 8);
	put(o, plain, 8);
	memcpy(o->bytes + o->len, payload, size);
	memset(o->bytes + o->len + size, plain ? 0xcd : 0, padded - size); /* compressed payloads end in garbage */
	o->len += padded;
	uint64_t body = o->len - FATBIN_HEADER_SIZE;
	memcpy(o->bytes + 8, &body, 8);
}

static void ptx_entry(struct out *o, unsigned arch, uint64_t flags, const char *text)
{
	char packed[4096];
	size_t n = strlen(text) + 1;
	if (flags & FATBIN_LZ4)
		entry(o, FATBIN_PTX, arch, flags, packed, LZ4_compress_default(text, packed, n, sizeof packed), n);
	else if (flags & FATBIN_ZSTD)
		entry(o, FATBIN_PTX, arch, flags, packed, ZSTD_compress(packed, sizeof packed, text, n, 3), n);
	else
		entry(o, FATBIN_PTX, arch, flags, text, n, 0);
}

static const char *text_of(const struct out *o, unsigned sm, int *r)
{
	static char text[4096];
	char err[256] = "";
	struct cuda_ptx p;
	*r = cuda_image_ptx(o->bytes, o->len, sm, &p, err, sizeof err);
	if (*r) {
		assert_true(strlen(err) > 10);
		return err[0] ? NULL : "no message";
	}
	assert_true(p.len < sizeof text);
	snprintf(text, sizeof text, "%.*s", (int)p.len, p.text);
	cuda_ptx_free(&p);
	return text;
}

#define A "\n.version 6.0\n.target sm_50\n// aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
#define B "\n.version 7.0\n.target sm_70\n// bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n"
#define C "\n.version 8.0\n.target sm_90\n"

/* Breaks if one of the three encodings is misread, e.g. garbage padding taken for data. */
static void encodings(void **state)
{
	static const uint64_t flags[] = { 0x11, 0x11 | FATBIN_LZ4, 0x11 | FATBIN_ZSTD };
	static struct out o;
	int r;
	for (int i = 0; i < 3; i++) {
		begin(&o);
		ptx_entry(&o, 50, flags[i], A);
		assert_string_equal(text_of(&o, 75, &r), A);
	}
}

/* Breaks if a program gets older code than it could, or code its device cannot run. */
static void newest_that_runs(void **state)
{
	static struct out o;
	int r;
	begin(&o);
	entry(&o, FATBIN_ELF, 75, 0x11, "\177ELF", 4, 0);
	ptx_entry(&o, 90, 0x11, C);
	ptx_entry(&o, 50, 0x11, A);
	ptx_entry(&o, 70, 0x11 | FATBIN_ZSTD, B);
	ptx_entry(&o, 72, 0x11 | FATBIN_ARCH_ONLY, C);
	assert_string_equal(text_of(&o, 75, &r), B);
	assert_string_equal(text_of(&o, 60, &r), A);
	assert_string_equal(text_of(&o, 90, &r), C);
	assert_string_equal(text_of(&o, 72, &r), C);
	text_of(&o, 35, &r);
	assert_int_equal(r, CUDA_ERROR_NO_BINARY_FOR_GPU);
}

/* Breaks if images that hold nothing to compile are called broken, or the reverse. */
static void kinds(void **state)
{
	static struct out o;
	struct cuda_ptx p;
	int r;
	begin(&o);
	text_of(&o, 75, &r);
	assert_int_equal(r, CUDA_ERROR_NO_BINARY_FOR_GPU);
	entry(&o, FATBIN_ELF, 75, 0x11, "\177ELF", 4, 0);
	entry(&o, FATBIN_LTO, 75, 0x10011, "BC", 2, 0);
	text_of(&o, 75, &r);
	assert_int_equal(r, CUDA_ERROR_NO_BINARY_FOR_GPU);
	assert_int_equal(cuda_image_ptx("\177ELF\2\1\1", 7, 75, &p, NULL, 0), CUDA_ERROR_NO_BINARY_FOR_GPU);
	assert_int_equal(cuda_image_ptx("\1\2\3\4", 4, 75, &p, NULL, 0), CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(cuda_image_ptx("", 0, 75, &p, NULL, 0), CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(cuda_image_ptx(A, sizeof A, 75, &p, NULL, 0), CUDA_SUCCESS);
	assert_int_equal(p.len, sizeof A - 1);
	assert_int_equal(p.arch, 0);
}

/* Breaks if a cut file is read past its end, or taken for a whole one. */
static void every_cut(void **state)
{
	static struct out o, cut;
	int r;
	begin(&o);
	ptx_entry(&o, 50, 0x11 | FATBIN_LZ4, A);
	ptx_entry(&o, 70, 0x11 | FATBIN_ZSTD, B);
	for (size_t n = 4; n < o.len; n++) {
		struct cuda_ptx p;
		uint8_t *exact = malloc(n); /* a sanitizer sees the end */
		memcpy(exact, o.bytes, n);
		assert_int_equal(cuda_image_ptx(exact, n, 75, &p, NULL, 0), CUDA_ERROR_INVALID_IMAGE);
		free(exact);
	}
	cut = o;
	memset(cut.bytes + 16 + 8, 0xff, 8); /* payload size of the first entry */
	text_of(&cut, 75, &r);
	assert_int_equal(r, CUDA_ERROR_INVALID_IMAGE);
}

/* Breaks if damage in compressed data, or a promise of terabytes, goes through. */
static void damaged_or_huge(void **state)
{
	static struct out o;
	uint64_t huge = 1ull << 40, more = 5000;
	int r;
	for (int z = 0; z < 2; z++) {
		begin(&o);
		ptx_entry(&o, 70, 0x11 | (z ? FATBIN_ZSTD : FATBIN_LZ4), B);
		memcpy(o.bytes + 16 + 0x38, &huge, 8);
		text_of(&o, 75, &r);
		assert_int_equal(r, CUDA_ERROR_INVALID_IMAGE);
		memcpy(o.bytes + 16 + 0x38, &more, 8);
		text_of(&o, 75, &r);
		assert_int_equal(r, CUDA_ERROR_INVALID_IMAGE);
		begin(&o);
		ptx_entry(&o, 70, 0x11 | (z ? FATBIN_ZSTD : FATBIN_LZ4), B);
		memset(o.bytes + 16 + 64, 0xee, 12);
		text_of(&o, 75, &r);
		assert_int_equal(r, CUDA_ERROR_INVALID_IMAGE);
	}
}

struct wrapper {
	uint32_t magic, version;
	const void *data, *more;
};

/* Breaks if what a program's __fatbinwrap points to is not found. */
static void wrappers(void **state)
{
	static struct out plain, elf;
	struct cuda_image im;
	char err[256];
	begin(&plain);
	ptx_entry(&plain, 50, 0x11, A);
	begin(&elf);
	entry(&elf, FATBIN_ELF, 75, 0x11, "\177ELF", 4, 0);
	const void *list[] = { elf.bytes, plain.bytes, NULL };
	struct wrapper v1 = { FATBIN_WRAPPER_MAGIC, 1, plain.bytes, NULL }, v2 = { FATBIN_WRAPPER_MAGIC, 2, elf.bytes, list },
		       v3 = { FATBIN_WRAPPER_MAGIC, 3, plain.bytes, NULL }, none = { FATBIN_WRAPPER_MAGIC, 1, NULL, NULL };
	assert_int_equal(cuda_image_measure(&v1, &im, err, sizeof err), CUDA_SUCCESS);
	assert_true(im.data == plain.bytes && im.len == plain.len && im.kind == CUDA_IMAGE_FATBIN);
	assert_int_equal(cuda_image_measure(&v2, &im, err, sizeof err), CUDA_SUCCESS);
	assert_true(im.data == plain.bytes && im.len == plain.len);
	assert_int_equal(cuda_image_measure(&v3, &im, err, sizeof err), CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(cuda_image_measure(&none, &im, err, sizeof err), CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(cuda_image_measure(NULL, &im, err, sizeof err), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuda_image_measure(plain.bytes, &im, err, sizeof err), CUDA_SUCCESS);
	assert_int_equal(im.len, plain.len);
	assert_int_equal(cuda_image_measure(A, &im, err, sizeof err), CUDA_SUCCESS);
	assert_true(im.kind == CUDA_IMAGE_PTX && im.len == sizeof A - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodings), cmocka_unit_test(newest_that_runs), cmocka_unit_test(kinds),
		cmocka_unit_test(every_cut), cmocka_unit_test(damaged_or_huge), cmocka_unit_test(wrappers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
