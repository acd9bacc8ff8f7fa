// SPDX-License-Identifier: Apache-2.0
#define CUDA_EXACT_NAMES
#include "cuda/fatbin.h"
#include <ctype.h>
#include <elf.h>
#include <endian.h>
#include <lz4.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include "cuda/cuda.h"

struct entry { /* one entry of a container, fields checked against its bounds */
	uint16_t kind;
	uint32_t arch;
	uint64_t flags;
	const uint8_t *payload;
	uint64_t payload_size; /* compressed size if compressed */
	uint64_t plain_size;   /* 0 if not compressed */
};

__attribute__((format(printf, 4, 5))) static int fail(int error, char *err, size_t err_len, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (err && err_len)
		vsnprintf(err, err_len, fmt, ap);
	va_end(ap);
	return error;
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

/* PTX begins with blanks, comments and ".version": text, whatever the parser says later. */
static bool looks_like_text(const uint8_t *p, size_t len)
{
	size_t n = len < 64 ? len : 64, i;
	for (i = 0; i < n && p[i]; i++) {
		if (!isprint(p[i]) && !isspace(p[i]))
			return false;
	}
	return i > 0;
}

enum cuda_image_kind cuda_image_kind(const void *data, size_t len)
{
	const uint8_t *p = data;
	if (len >= 4 && get32(p) == FATBIN_WRAPPER_MAGIC)
		return CUDA_IMAGE_WRAPPER;
	if (len >= 4 && get32(p) == FATBIN_MAGIC)
		return CUDA_IMAGE_FATBIN;
	if (len >= 4 && !memcmp(p, ELFMAG, SELFMAG))
		return CUDA_IMAGE_ELF;
	return looks_like_text(p, len) ? CUDA_IMAGE_PTX : CUDA_IMAGE_UNKNOWN;
}

/* ---- measuring: memory of our own process */

static size_t elf_size(const uint8_t *p)
{
	Elf64_Ehdr h;
	memcpy(&h, p, sizeof h);
	uint64_t end = h.e_shoff + (uint64_t)h.e_shnum * h.e_shentsize;
	if (h.e_phoff + (uint64_t)h.e_phnum * h.e_phentsize > end)
		end = h.e_phoff + (uint64_t)h.e_phnum * h.e_phentsize;
	for (unsigned i = 0; h.e_shentsize == sizeof(Elf64_Shdr) && i < h.e_shnum; i++) {
		Elf64_Shdr s;
		memcpy(&s, p + h.e_shoff + i * sizeof s, sizeof s);
		if (s.sh_type != SHT_NOBITS && s.sh_offset + s.sh_size > end)
			end = s.sh_offset + s.sh_size;
	}
	return end;
}

/* The first four bytes decide; reading further would overrun a short string of PTX. */
static enum cuda_image_kind kind_of_pointer(const uint8_t *p)
{
	size_t n = strnlen((const char *)p, 4);
	uint8_t head[4] = { 0 };
	if (n < 4) /* a NUL: too short for any magic but a container's, none of which holds one */
		return cuda_image_kind(p, n);
	memcpy(head, p, sizeof head);
	enum cuda_image_kind k = cuda_image_kind(head, sizeof head);
	return k == CUDA_IMAGE_PTX ? cuda_image_kind(p, strnlen((const char *)p, 64)) : k;
}

static size_t container_size(const uint8_t *p)
{
	return get16(p + 6) + get64(p + 8);
}

static int measure_flat(const uint8_t *p, struct cuda_image *out, char *err, size_t err_len)
{
	*out = (struct cuda_image){ .kind = kind_of_pointer(p), .data = p };
	switch (out->kind) {
	case CUDA_IMAGE_PTX:
		out->len = strlen((const char *)p);
		return CUDA_SUCCESS;
	case CUDA_IMAGE_FATBIN:
		out->len = container_size(p);
		return CUDA_SUCCESS;
	case CUDA_IMAGE_ELF:
		out->len = elf_size(p);
		return CUDA_SUCCESS;
	default:
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len,
			    "device code: neither PTX text, nor a fat binary, nor an ELF cubin");
	}
}

/* Whether a container has an entry of PTX at all; a v2 wrapper's own container often has none. */
static bool has_ptx(const struct cuda_image *image)
{
	struct cuda_ptx ptx;
	int r = cuda_image_ptx(image->data, image->len, ~0u, &ptx, NULL, 0);
	if (r == CUDA_SUCCESS)
		cuda_ptx_free(&ptx);
	return r == CUDA_SUCCESS;
}

static int measure_wrapper(const uint8_t *p, struct cuda_image *out, char *err, size_t err_len)
{
	const uint8_t *data;
	const uint8_t *const *list;
	uint32_t version = get32(p + 4);
	memcpy(&data, p + 8, sizeof data);
	memcpy(&list, p + 16, sizeof list);
	if (version != 1 && version != 2)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary wrapper: version %u, known are 1 and 2", version);
	int r = data ? measure_flat(data, out, err, err_len) : CUDA_ERROR_INVALID_IMAGE;
	if (version == 1 || !list || (r == CUDA_SUCCESS && has_ptx(out))) {
		if (!data)
			fail(r, err, err_len, "fat binary wrapper: points to no container");
		return r;
	}
	for (unsigned i = 0; list[i] && i < 4096; i++) {
		struct cuda_image one;
		if (measure_flat(list[i], &one, NULL, 0) == CUDA_SUCCESS && has_ptx(&one)) {
			*out = one;
			return CUDA_SUCCESS;
		}
	}
	return r;
}

int cuda_image_measure(const void *image, struct cuda_image *out, char *err, size_t err_len)
{
	if (!image)
		return fail(CUDA_ERROR_INVALID_VALUE, err, err_len, "device code: the image is NULL");
	if (kind_of_pointer(image) == CUDA_IMAGE_WRAPPER)
		return measure_wrapper(image, out, err, err_len);
	return measure_flat(image, out, err, err_len);
}

/* ---- reading: bytes nobody vouches for */

/* The entry at *pos of a container of len bytes; advances *pos. */
static int next_entry(const uint8_t *p, size_t len, size_t *pos, struct entry *e, char *err, size_t err_len)
{
	size_t left = len - *pos;
	const uint8_t *h = p + *pos;
	if (left < FATBIN_ENTRY_SIZE)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: entry at byte %zu is cut off: %zu of %u bytes", *pos, left, FATBIN_ENTRY_SIZE);
	uint32_t header = get32(h + 4), compressed = get32(h + 0x10);
	uint64_t padded = get64(h + 8);
	if (get16(h + 2) != FATBIN_ENTRY_VERSION)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: entry at byte %zu has version 0x%x, known is 0x%x", *pos, get16(h + 2), FATBIN_ENTRY_VERSION);
	if (header < FATBIN_ENTRY_SIZE || header > left || padded > left - header)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: entry at byte %zu says %u + %llu bytes, %zu are left", *pos, header, (unsigned long long)padded, left);
	if (compressed > padded)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: entry at byte %zu: compressed size %u exceeds payload %llu", *pos, compressed, (unsigned long long)padded);
	*e = (struct entry){ .kind = get16(h), .arch = get32(h + 0x1c), .flags = get64(h + 0x28), .payload = h + header, .payload_size = padded };
	if (e->flags & (FATBIN_LZ4 | FATBIN_ZSTD)) {
		e->payload_size = compressed;
		e->plain_size = get64(h + 0x38);
	}
	*pos += header + padded;
	return CUDA_SUCCESS;
}

/* Whether a device of compute capability sm may run this entry's PTX, and prefer it to best. */
static bool better(const struct entry *e, const struct entry *best, unsigned sm)
{
	if (e->kind != FATBIN_PTX || e->arch > sm)
		return false;
	if ((e->flags & FATBIN_ARCH_ONLY) && e->arch != sm)
		return false;
	if ((e->flags & FATBIN_FAMILY) && e->arch / 10 != sm / 10)
		return false;
	return !best->payload || e->arch > best->arch;
}

static int decompress(const struct entry *e, char *dst, char *err, size_t err_len)
{
	size_t got;
	if (e->flags & FATBIN_LZ4) {
		int n = LZ4_decompress_safe((const char *)e->payload, dst, e->payload_size, e->plain_size);
		got = n < 0 ? SIZE_MAX : (size_t)n;
	} else {
		got = ZSTD_decompress(dst, e->plain_size, e->payload, e->payload_size);
		if (ZSTD_isError(got))
			got = SIZE_MAX;
	}
	if (got != e->plain_size)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: %s data of the PTX entry is damaged",
			    e->flags & FATBIN_LZ4 ? "LZ4" : "zstd");
	return CUDA_SUCCESS;
}

static int take(const struct entry *e, struct cuda_ptx *out, char *err, size_t err_len)
{
	uint64_t size = e->plain_size ? e->plain_size : e->payload_size;
	bool packed = e->flags & (FATBIN_LZ4 | FATBIN_ZSTD);
	if (size > CUDA_PTX_MAX || e->payload_size > CUDA_PTX_MAX)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: PTX of %llu bytes; at most %u are accepted", (unsigned long long)size, CUDA_PTX_MAX);
	if (packed && (!e->plain_size || !e->payload_size || (e->flags & FATBIN_LZ4 && e->flags & FATBIN_ZSTD)))
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: compressed entry with flags 0x%llx lacks a size or names two methods", (unsigned long long)e->flags);
	*out = (struct cuda_ptx){ .text = (const char *)e->payload, .len = size, .arch = e->arch };
	if (packed) {
		out->owned = malloc(size);
		if (!out->owned)
			return fail(CUDA_ERROR_OUT_OF_MEMORY, err, err_len, "no memory for %llu bytes of PTX", (unsigned long long)size);
		int r = decompress(e, out->owned, err, err_len);
		if (r) {
			cuda_ptx_free(out);
			return r;
		}
		out->text = out->owned;
	}
	while (out->len && !out->text[out->len - 1])
		out->len--;
	return CUDA_SUCCESS;
}

static int container_ptx(const uint8_t *p, size_t len, unsigned sm, struct cuda_ptx *out, char *err, size_t err_len)
{
	struct entry e, best = { 0 };
	unsigned entries = 0, ptx = 0, newest = 0;
	if (len < FATBIN_HEADER_SIZE)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: %zu bytes, the header alone has %u", len, FATBIN_HEADER_SIZE);
	size_t pos = get16(p + 6);
	uint64_t body = get64(p + 8);
	if (get16(p + 4) != 1 || pos < FATBIN_HEADER_SIZE)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: version %u with header size %zu, known is 1 with %u", get16(p + 4), pos, FATBIN_HEADER_SIZE);
	if (pos > len || body > len - pos)
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "fat binary: cut off: header says %zu + %llu bytes, %zu are there", pos, (unsigned long long)body, len);
	for (size_t end = pos + body; pos < end; entries++) {
		int r = next_entry(p, end, &pos, &e, err, err_len);
		if (r)
			return r;
		ptx += e.kind == FATBIN_PTX;
		newest = e.kind == FATBIN_PTX && e.arch > newest ? e.arch : newest;
		if (better(&e, &best, sm))
			best = e;
	}
	if (best.payload)
		return take(&best, out, err, err_len);
	if (ptx)
		return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, err, err_len, "fat binary: its PTX is for compute_%u and newer, this device is sm_%u: build with -gencode arch=compute_%u,code=compute_%u", newest, sm, sm, sm);
	return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, err, err_len, "fat binary: none of its %u entries is PTX: build with -gencode arch=compute_%u,code=compute_%u", entries, sm, sm);
}

int cuda_image_ptx(const void *data, size_t len, unsigned sm, struct cuda_ptx *out, char *err, size_t err_len)
{
	memset(out, 0, sizeof *out);
	switch (cuda_image_kind(data, len)) {
	case CUDA_IMAGE_PTX:
		if (len > CUDA_PTX_MAX)
			return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "PTX of %zu bytes; at most %u are accepted", len, CUDA_PTX_MAX);
		*out = (struct cuda_ptx){ .text = data, .len = strnlen(data, len) };
		return CUDA_SUCCESS;
	case CUDA_IMAGE_FATBIN:
		return container_ptx(data, len, sm, out, err, err_len);
	case CUDA_IMAGE_ELF:
		return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, err, err_len, "device code: a cubin (machine code of a GPU) cannot run here; pass PTX or a fat binary with PTX");
	default:
		return fail(CUDA_ERROR_INVALID_IMAGE, err, err_len, "device code: neither PTX text, nor a fat binary, nor an ELF cubin");
	}
}

static void give_entry(const struct entry *e, cuda_image_fn *fn, void *ctx)
{
	struct cuda_ptx plain;

	if ((e->kind != FATBIN_PTX && e->kind != FATBIN_ELF) || take(e, &plain, NULL, 0)) {
		fn(ctx, CUDA_IMAGE_UNKNOWN, e->payload, e->plain_size > e->payload_size ? e->plain_size : e->payload_size);
		return;
	}
	fn(ctx, e->kind == FATBIN_PTX ? CUDA_IMAGE_PTX : CUDA_IMAGE_ELF, plain.text, plain.len);
	cuda_ptx_free(&plain);
}

void cuda_image_each(const void *data, size_t len, cuda_image_fn *fn, void *ctx)
{
	enum cuda_image_kind kind = cuda_image_kind(data, len);
	const uint8_t *p = data;
	struct entry e;

	if (kind != CUDA_IMAGE_FATBIN || len < FATBIN_HEADER_SIZE) {
		fn(ctx, kind == CUDA_IMAGE_PTX || kind == CUDA_IMAGE_ELF ? kind : CUDA_IMAGE_UNKNOWN, data, len);
		return;
	}
	for (size_t pos = get16(p + 6); pos < len && !next_entry(p, len, &pos, &e, NULL, 0);)
		give_entry(&e, fn, ctx);
}

uint64_t cuda_image_unpacked(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = len;
	struct entry e;

	if (cuda_image_kind(data, len) != CUDA_IMAGE_FATBIN || len < FATBIN_HEADER_SIZE)
		return len;
	for (size_t pos = get16(p + 6); pos < len && !next_entry(p, len, &pos, &e, NULL, 0);)
		if (e.plain_size > e.payload_size && __builtin_add_overflow(sum, e.plain_size - e.payload_size, &sum))
			return UINT64_MAX;
	return sum;
}

void cuda_ptx_free(struct cuda_ptx *ptx)
{
	free(ptx->owned);
	memset(ptx, 0, sizeof *ptx);
}
