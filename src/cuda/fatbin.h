/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device code as programs hand it to cuModuleLoadData, cuLibraryLoadData, cuLinkAddData: PTX text, a
 * fat binary (wrapper or bare container), or an ELF cubin.
 *
 * Two steps, because the API passes a pointer without a length:
 *   cuda_image_measure()  walks memory of the CALLER'S OWN process, as any driver must, and says how
 *                         long the image is. Never use it on bytes somebody else sent.
 *   cuda_image_ptx()      takes bytes with a length, believes nothing in them, and picks the PTX.
 *
 * Errors are CUresult numbers with one line of text. Sizes are bytes.
 */
#ifndef VGPU_CUDA_FATBIN_H
#define VGPU_CUDA_FATBIN_H
#include <stddef.h>
#include <stdint.h>

/* On disk and in memory, little-endian; layouts measured on binaries of CUDA 13. */
#define FATBIN_WRAPPER_MAGIC 0x466243b1u /* {u32 magic, u32 version 1|2, container *, file name or containers **} */
#define FATBIN_MAGIC	     0xba55ed50u /* {u32 magic, u16 version 1, u16 header size, u64 bytes of entries} */
#define FATBIN_HEADER_SIZE   16u
#define FATBIN_ENTRY_SIZE    64u	 /* smallest entry header */
#define FATBIN_ENTRY_VERSION 0x0101u
enum fatbin_kind { FATBIN_PTX = 1, FATBIN_ELF = 2, FATBIN_LTO = 8 };
enum fatbin_flags { /* of an entry; others are information */
	FATBIN_LZ4 = 0x2000,
	FATBIN_ZSTD = 0x8000,
	FATBIN_ARCH_ONLY = 0x100000, /* "sm_90a": that compute capability and no other */
	FATBIN_FAMILY = 0x200000,    /* "sm_100f": that family */
};

/* Longest PTX text accepted. The longest in Debian's ffmpeg has 2 MiB; NVIDIA's libraries stay below 30. */
#define CUDA_PTX_MAX (64u << 20)

enum cuda_image_kind { CUDA_IMAGE_UNKNOWN, CUDA_IMAGE_PTX, CUDA_IMAGE_WRAPPER, CUDA_IMAGE_FATBIN, CUDA_IMAGE_ELF };

struct cuda_image { /* what to keep or send: contiguous bytes */
	enum cuda_image_kind kind; /* PTX, FATBIN or ELF: wrappers are followed */
	const void *data;
	size_t len; /* PTX: without the NUL */
};

struct cuda_ptx {
	const char *text;
	size_t len;	   /* trailing NULs stripped; text[len] need not be readable */
	unsigned arch;	   /* 75 = compute_75 of the fatbin entry; 0 for bare text */
	char *owned;	   /* text when it was decompressed, else NULL */
};

/* What the first bytes say. */
enum cuda_image_kind cuda_image_kind(const void *data, size_t len);

/* CUDA_SUCCESS, CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_INVALID_VALUE (NULL). */
int cuda_image_measure(const void *image, struct cuda_image *out, char *err, size_t err_len);

/*
 * The PTX to compile for a device of compute capability sm (75 for 7.5): bare text as it is; of a
 * container the newest PTX entry that is not newer than the device. Borrowed from data unless it was
 * compressed; give back with cuda_ptx_free(). CUDA_SUCCESS, CUDA_ERROR_INVALID_IMAGE,
 * CUDA_ERROR_NO_BINARY_FOR_GPU (well-formed, nothing that can be compiled), CUDA_ERROR_OUT_OF_MEMORY.
 */
int cuda_image_ptx(const void *data, size_t len, unsigned sm, struct cuda_ptx *out, char *err, size_t err_len);
void cuda_ptx_free(struct cuda_ptx *ptx);

/* The PTX texts and cubins of an image, decompressed, one call each (data only during it); what is of another kind
 * or cannot be read comes as CUDA_IMAGE_UNKNOWN with its bytes as they lie there. */
typedef void cuda_image_fn(void *ctx, enum cuda_image_kind kind, const void *data, size_t len);
void cuda_image_each(const void *data, size_t len, cuda_image_fn *fn, void *ctx);
/* Bytes of the image with all its entries decompressed, as their headers say; at least len. Saturates. */
uint64_t cuda_image_unpacked(const void *data, size_t len);
#endif
