/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The little of CUDA's language that clang does not know by itself and our kernels use. Everything
 * here is clang's own builtins, so that no header of NVIDIA's is needed to make PTX.
 */
#ifndef CONFORMANCE_CUDA_MIN_H
#define CONFORMANCE_CUDA_MIN_H
#define __global__   __attribute__((global))
#define __device__   __attribute__((device))
#define __constant__ __attribute__((constant))
#define __shared__   __attribute__((shared))
#define __noinline__ __attribute__((noinline))
#define KERNEL extern "C" __global__ void
#define DEVICE extern "C" __device__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define TID_X __nvvm_read_ptx_sreg_tid_x()
#define TID_Y __nvvm_read_ptx_sreg_tid_y()
#define TID_Z __nvvm_read_ptx_sreg_tid_z()
#define NTID_X __nvvm_read_ptx_sreg_ntid_x()
#define NTID_Y __nvvm_read_ptx_sreg_ntid_y()
#define NTID_Z __nvvm_read_ptx_sreg_ntid_z()
#define CTAID_X __nvvm_read_ptx_sreg_ctaid_x()
#define CTAID_Y __nvvm_read_ptx_sreg_ctaid_y()
#define CTAID_Z __nvvm_read_ptx_sreg_ctaid_z()
#define NCTAID_X __nvvm_read_ptx_sreg_nctaid_x()
#define NCTAID_Y __nvvm_read_ptx_sreg_nctaid_y()
#define NCTAID_Z __nvvm_read_ptx_sreg_nctaid_z()
#define LANE __nvvm_read_ptx_sreg_laneid()
#define GLOBAL_X (CTAID_X * NTID_X + TID_X)
#define ALL_LANES 0xffffffffu

#define barrier() __syncthreads()
#define warp_barrier(mask) __nvvm_bar_warp_sync(mask)
#define fence_block() __nvvm_membar_cta()
#define fence_device() __nvvm_membar_gl()
#endif
