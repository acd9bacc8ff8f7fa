/* SPDX-License-Identifier: Apache-2.0 */
/* What the three that check arrays (guest, executor, softcuda) must agree on. */
#ifndef VGPU_CUDA_ARRAYS_H
#define VGPU_CUDA_ARRAYS_H
#include <stddef.h>
#include <stdint.h>
#include "cuda/cuda.h"

/* Bytes of one element of a plain format; 0: none that we know. Any number may be asked for. */
static inline unsigned cuda_array_format_bytes(uint32_t format)
{
	static const uint8_t bytes[] = {
		[CU_AD_FORMAT_UNSIGNED_INT8] = 1, [CU_AD_FORMAT_UNSIGNED_INT16] = 2, [CU_AD_FORMAT_UNSIGNED_INT32] = 4,
		[CU_AD_FORMAT_SIGNED_INT8] = 1,	  [CU_AD_FORMAT_SIGNED_INT16] = 2,   [CU_AD_FORMAT_SIGNED_INT32] = 4,
		[CU_AD_FORMAT_HALF] = 2,	  [CU_AD_FORMAT_FLOAT] = 4,
	};

	return format < sizeof(bytes) ? bytes[format] : 0;
}

/* Bytes of one texel; 0: unknown format, or not 1, 2 or 4 channels. */
static inline unsigned cuda_texel_bytes(uint32_t format, uint32_t channels)
{
	return channels == 1 || channels == 2 || channels == 4 ? cuda_array_format_bytes(format) * channels : 0;
}
#endif
