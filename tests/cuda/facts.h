/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and layouts that our cuda.h and ffmpeg's copy of the interface both have. Included behind
 * either header by facts_ours.c and facts_ffmpeg.c; facts.c compares. */
#ifndef VGPU_TESTS_FACTS_H
#define VGPU_TESTS_FACTS_H
#include <stddef.h>

struct fact {
	const char *what;
	unsigned long long value;
};

#define V(name) { #name, (unsigned long long)(name) },
#define S(type) { "sizeof " #type, sizeof(type) },
#define F(type, field) { #type "." #field, offsetof(type, field) },
#define FACTS                                                                                                       \
	S(CUdevice) S(CUdeviceptr) S(CUtexObject) S(CUuuid)                                                         \
	S(CUDA_MEMCPY2D) F(CUDA_MEMCPY2D, srcXInBytes) F(CUDA_MEMCPY2D, srcY) F(CUDA_MEMCPY2D, srcMemoryType)       \
	F(CUDA_MEMCPY2D, srcHost) F(CUDA_MEMCPY2D, srcDevice) F(CUDA_MEMCPY2D, srcArray) F(CUDA_MEMCPY2D, srcPitch) \
	F(CUDA_MEMCPY2D, dstXInBytes) F(CUDA_MEMCPY2D, dstY) F(CUDA_MEMCPY2D, dstMemoryType)                        \
	F(CUDA_MEMCPY2D, dstHost) F(CUDA_MEMCPY2D, dstDevice) F(CUDA_MEMCPY2D, dstArray) F(CUDA_MEMCPY2D, dstPitch) \
	F(CUDA_MEMCPY2D, WidthInBytes) F(CUDA_MEMCPY2D, Height)                                                     \
	S(CUDA_RESOURCE_DESC) F(CUDA_RESOURCE_DESC, resType) F(CUDA_RESOURCE_DESC, flags)                           \
	F(CUDA_RESOURCE_DESC, res.array.hArray) F(CUDA_RESOURCE_DESC, res.linear.devPtr)                            \
	F(CUDA_RESOURCE_DESC, res.linear.format) F(CUDA_RESOURCE_DESC, res.linear.numChannels)                      \
	F(CUDA_RESOURCE_DESC, res.linear.sizeInBytes) F(CUDA_RESOURCE_DESC, res.pitch2D.devPtr)                     \
	F(CUDA_RESOURCE_DESC, res.pitch2D.format) F(CUDA_RESOURCE_DESC, res.pitch2D.numChannels)                    \
	F(CUDA_RESOURCE_DESC, res.pitch2D.width) F(CUDA_RESOURCE_DESC, res.pitch2D.height)                          \
	F(CUDA_RESOURCE_DESC, res.pitch2D.pitchInBytes)                                                             \
	S(CUDA_TEXTURE_DESC) F(CUDA_TEXTURE_DESC, addressMode) F(CUDA_TEXTURE_DESC, filterMode)                     \
	F(CUDA_TEXTURE_DESC, flags) F(CUDA_TEXTURE_DESC, maxAnisotropy) F(CUDA_TEXTURE_DESC, mipmapFilterMode)      \
	F(CUDA_TEXTURE_DESC, mipmapLevelBias) F(CUDA_TEXTURE_DESC, minMipmapLevelClamp)                             \
	F(CUDA_TEXTURE_DESC, maxMipmapLevelClamp) F(CUDA_TEXTURE_DESC, borderColor)                                 \
	S(CUDA_ARRAY3D_DESCRIPTOR) F(CUDA_ARRAY3D_DESCRIPTOR, Width) F(CUDA_ARRAY3D_DESCRIPTOR, Height)             \
	F(CUDA_ARRAY3D_DESCRIPTOR, Depth) F(CUDA_ARRAY3D_DESCRIPTOR, Format)                                        \
	F(CUDA_ARRAY3D_DESCRIPTOR, NumChannels) F(CUDA_ARRAY3D_DESCRIPTOR, Flags)                                   \
	V(CUDA_ERROR_NOT_READY) V(CUDA_ERROR_LAUNCH_TIMEOUT) V(CUDA_ERROR_UNKNOWN) V(CU_CTX_SCHED_BLOCKING_SYNC)    \
	V(CU_DEVICE_ATTRIBUTE_CLOCK_RATE) V(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT)                                  \
	V(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) V(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE)                             \
	V(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) V(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)                                      \
	V(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING) V(CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT)                    \
	V(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) V(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)             \
	V(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY) V(CU_AD_FORMAT_UNSIGNED_INT8) V(CU_AD_FORMAT_UNSIGNED_INT16)          \
	V(CU_AD_FORMAT_UNSIGNED_INT32) V(CU_AD_FORMAT_SIGNED_INT8) V(CU_AD_FORMAT_SIGNED_INT16)                     \
	V(CU_AD_FORMAT_SIGNED_INT32) V(CU_AD_FORMAT_HALF) V(CU_AD_FORMAT_FLOAT) V(CU_MEMORYTYPE_HOST)               \
	V(CU_MEMORYTYPE_DEVICE) V(CU_MEMORYTYPE_ARRAY) V(CU_LIMIT_STACK_SIZE) V(CU_LIMIT_PRINTF_FIFO_SIZE)          \
	V(CU_LIMIT_MALLOC_HEAP_SIZE) V(CU_RESOURCE_TYPE_ARRAY) V(CU_RESOURCE_TYPE_LINEAR)                           \
	V(CU_RESOURCE_TYPE_PITCH2D) V(CU_TR_ADDRESS_MODE_WRAP) V(CU_TR_ADDRESS_MODE_CLAMP)                          \
	V(CU_TR_ADDRESS_MODE_MIRROR) V(CU_TR_ADDRESS_MODE_BORDER) V(CU_TR_FILTER_MODE_POINT)                        \
	V(CU_TR_FILTER_MODE_LINEAR) V(CU_JIT_WALL_TIME) V(CU_JIT_INFO_LOG_BUFFER)                                   \
	V(CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES) V(CU_JIT_ERROR_LOG_BUFFER) V(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)       \
	V(CU_JIT_OPTIMIZATION_LEVEL) V(CU_JIT_TARGET) V(CU_JIT_CACHE_MODE) V(CU_JIT_INPUT_CUBIN)                    \
	V(CU_JIT_INPUT_PTX) V(CU_JIT_INPUT_FATBINARY) V(CU_JIT_INPUT_OBJECT) V(CU_JIT_INPUT_LIBRARY)

extern const struct fact ours[], ffmpegs[];
extern const unsigned nours;
#endif
