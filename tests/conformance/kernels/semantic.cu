// SPDX-License-Identifier: Apache-2.0
// What a warp must do beyond arithmetic, and the arithmetic of semantic_ops.h over arrays of inputs.
#include "cuda_min.h"
#include "semantic_ops.h"

__device__ u32 lock_word;
__device__ u64 locked_counter;
__constant__ float constant_weights[8] = {0.5f, 1.0f, -2.0f, 4.0f, 0.25f, -0.125f, 8.0f, 3.0f};
__device__ const char text[] = "conformance";
extern __shared__ u8 dynamic_bytes[];

KERNEL int32_ops(const u32 *a, const u32 *b, u32 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		op_int32(a[i], b[i], o + i * INT32_OPS);
}
KERNEL int64_ops(const u64 *a, const u64 *b, u64 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		op_int64(a[i], b[i], o + i * INT64_OPS);
}
KERNEL narrow_ops(const u32 *a, const u32 *b, u32 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		op_narrow(a[i], b[i], o + i * NARROW_OPS);
}
KERNEL f32_ops(const float *a, const float *b, const float *c, u32 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		op_f32(a[i], b[i], c[i], o + i * F32_OPS);
}
KERNEL f64_ops(const double *a, const double *b, const double *c, u64 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i < n)
		op_f64(a[i], b[i], c[i], o + i * F64_OPS);
}

/* Square roots and the directed roundings, which C reaches only through its environment. */
KERNEL roundings(const float *a, const float *b, u32 *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	o[i * 8 + 0] = op_f32_bits(__nvvm_sqrt_rn_f(a[i]));
	o[i * 8 + 1] = op_f32_bits(__nvvm_add_rz_f(a[i], b[i]));
	o[i * 8 + 2] = op_f32_bits(__nvvm_add_rm_f(a[i], b[i]));
	o[i * 8 + 3] = op_f32_bits(__nvvm_add_rp_f(a[i], b[i]));
	o[i * 8 + 4] = op_f32_bits(__nvvm_mul_rz_f(a[i], b[i]));
	o[i * 8 + 5] = op_f32_bits(__nvvm_div_rp_f(a[i], b[i]));
	o[i * 8 + 6] = op_f32_bits(__nvvm_saturate_f(a[i]));
	o[i * 8 + 7] = op_f32_bits(__nvvm_rcp_rn_f(a[i]));
}

/* Approximate functions: the host checks them against their stated bounds, not for bits. */
KERNEL approximations(const float *a, float *o, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	o[i * 6 + 0] = __nvvm_sin_approx_f(a[i]);
	o[i * 6 + 1] = __nvvm_cos_approx_f(a[i]);
	o[i * 6 + 2] = __nvvm_ex2_approx_f(a[i]);
	o[i * 6 + 3] = __nvvm_lg2_approx_f(a[i]);
	o[i * 6 + 4] = __nvvm_rsqrt_approx_f(a[i]);
	asm("rcp.approx.f32 %0, %1;" : "=f"(o[i * 6 + 5]) : "f"(a[i]));
}

KERNEL atomics(u32 *w, u64 *d, float *f, u32 *old)
{
	u32 i = GLOBAL_X;
	old[i] = __atomic_fetch_add(&w[0], 1u, __ATOMIC_RELAXED);
	__nvvm_atom_add_gen_i((int *)&w[1], (int)i);
	__nvvm_atom_max_gen_ui(&w[2], i * 2654435761u);
	__nvvm_atom_min_gen_ui(&w[3], i * 2654435761u);
	__nvvm_atom_or_gen_i((int *)&w[4], 1 << (i & 31));
	__nvvm_atom_and_gen_i((int *)&w[5], ~(1 << (i & 15)));
	__nvvm_atom_xor_gen_i((int *)&w[6], (int)(i * 2654435761u));
	__nvvm_atom_inc_gen_ui(&w[7], 99);
	__nvvm_atom_dec_gen_ui(&w[8], 99);
	__nvvm_atom_max_gen_i((int *)&w[9], (int)(i * 2654435761u));
	__nvvm_atom_add_gen_ll((s64 *)&d[0], (s64)i << 30);
	__nvvm_atom_max_gen_ull(&d[1], (u64)i * 0x9e3779b97f4a7c15ull);
	__nvvm_atom_add_gen_f(f, 1.0f);
	/* A counter by compare-and-swap alone. */
	u32 seen = *(volatile u32 *)&w[10], was;
	do {
		was = seen;
		seen = (u32)__nvvm_atom_cas_gen_i((int *)&w[10], (int)was, (int)(was + 3));
	} while (seen != was);
	__nvvm_atom_xchg_gen_i((int *)&w[11], (int)i + 1);
}

KERNEL shared_histogram(const u8 *in, u32 n, u32 *out)
{
	__shared__ u32 bins[256];
	for (u32 i = TID_X; i < 256; i += NTID_X)
		bins[i] = 0;
	barrier();
	for (u32 i = GLOBAL_X; i < n; i += NTID_X * NCTAID_X)
		__atomic_fetch_add(&bins[in[i]], 1u, __ATOMIC_RELAXED);
	barrier();
	for (u32 i = TID_X; i < 256; i += NTID_X)
		__atomic_fetch_add(&out[i], bins[i], __ATOMIC_RELAXED);
}

/* Nine words per lane. */
KERNEL warp_ops(const u32 *in, u32 *o)
{
	u32 v = in[GLOBAL_X], lane = LANE, *q = o + GLOBAL_X * 12;
	q[0] = (u32)__nvvm_shfl_sync_idx_i32(ALL_LANES, (int)v, (int)((lane * 7 + 3) & 31), 31);
	q[1] = (u32)__nvvm_shfl_sync_up_i32(ALL_LANES, (int)v, 5, 0);
	q[2] = (u32)__nvvm_shfl_sync_down_i32(ALL_LANES, (int)v, 9, 31);
	q[3] = (u32)__nvvm_shfl_sync_bfly_i32(ALL_LANES, (int)v, 0x15, 31);
	q[4] = (u32)__nvvm_vote_ballot_sync(ALL_LANES, v & 1);
	q[5] = __nvvm_vote_all_sync(ALL_LANES, v != 0xdeadbeef) ? 1 : 0;
	q[6] = __nvvm_vote_any_sync(ALL_LANES, v == in[0]) ? 1 : 0;
	q[7] = (u32)__nvvm_match_any_sync_i32(ALL_LANES, (int)(v & 3));
	q[8] = (u32)__nvvm_shfl_sync_down_i32(ALL_LANES, (int)v, 3, 31 | (24 << 8)); /* width 8 */
	/* Only the odd lanes take part. */
	q[9] = 0;
	if (lane & 1)
		q[9] = (u32)__nvvm_vote_ballot_sync(0xaaaaaaaau, v & 2);
	warp_barrier(ALL_LANES);
	/* A butterfly sum: every lane must get the same total. */
	u32 sum = v;
	for (int d = 16; d; d >>= 1)
		sum += (u32)__nvvm_shfl_sync_bfly_i32(ALL_LANES, (int)sum, d, 31);
	q[10] = sum;
	q[11] = (u32)__nvvm_vote_uni_sync(ALL_LANES, lane < 64);
}

/* A tree sum over the block with a barrier per level, then one atomic per block. */
KERNEL block_sum(const u32 *in, u32 n, u64 *out)
{
	__shared__ u64 part[256];
	u64 s = 0;
	for (u32 i = GLOBAL_X; i < n; i += NTID_X * NCTAID_X)
		s += in[i];
	part[TID_X] = s;
	barrier();
	for (u32 d = NTID_X / 2; d; d >>= 1) {
		if (TID_X < d)
			part[TID_X] += part[TID_X + d];
		barrier();
	}
	if (TID_X == 0)
		__nvvm_atom_add_gen_ll((s64 *)out, (s64)part[0]);
}

/* Barriers that also vote. */
KERNEL barrier_votes(const u32 *in, u32 *out)
{
	int p = (int)(in[GLOBAL_X] & 1);
	u32 c = (u32)__nvvm_bar0_popc(p), a = (u32)__nvvm_bar0_and(p), o = (u32)__nvvm_bar0_or(p);
	out[GLOBAL_X] = c << 2 | (a ? 2 : 0) | (o ? 1 : 0);
}

/* Loops of different lengths, breaks, continues, a switch and a jump into the middle. */
KERNEL divergence(const u32 *in, u32 *out, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	u32 x = in[i], steps = 0, h = 0, k = 0;
	while (x != 1 && steps < 500) {
		x = x & 1 ? x * 3 + 1 : x >> 1;
		if ((x & 0xff) == 0x55)
			continue;
		steps++;
		if (steps == 400 && (i & 4))
			break;
	}
	switch (in[i] % 7) {
	case 0: h = steps * 3; break;
	case 1: h = steps ^ 0x55; /* fall through */
	case 2: h += 17; break;
	case 3: for (u32 j = 0; j < (i & 15); j++) h += j * h + 1; break;
	case 4: goto middle;
	case 5: h = ~steps; break;
	default: h = steps;
	}
	for (; k < 3; k++) {
		h = h * 31 + k;
middle:
		h ^= h >> 5;
		if (h % 11 == 3)
			goto out;
	}
out:
	out[i] = h + x;
}

/* Every thread takes the same lock, within a warp and across blocks. */
KERNEL spin_lock(u32 rounds)
{
	for (u32 r = 0; r < rounds; r++) {
		bool done = false;
		while (!done) {
			if (__nvvm_atom_cas_gen_i((int *)&lock_word, 0, 1) == 0) {
				fence_device();
				*(volatile u64 *)&locked_counter = *(volatile u64 *)&locked_counter + 1;
				fence_device();
				__nvvm_atom_xchg_gen_i((int *)&lock_word, 0);
				done = true;
			}
		}
	}
}

DEVICE __noinline__ u32 ackermann(u32 m, u32 n)
{
	if (m == 0)
		return n + 1;
	if (n == 0)
		return ackermann(m - 1, 1);
	return ackermann(m - 1, ackermann(m, n - 1));
}
DEVICE __noinline__ u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
struct pair { u64 sum; u32 count; };
DEVICE __noinline__ pair add_pair(pair a, u32 v) { a.sum += v; a.count++; return a; }

KERNEL functions(u32 *out)
{
	u32 i = GLOBAL_X;
	pair p = {0, 0};
	for (u32 k = 0; k < (i & 7) + 1; k++)
		p = add_pair(p, k * i);
	out[i * 3] = fib(i & 15);
	out[i * 3 + 1] = ackermann(1 + (i & 1), i & 3);
	out[i * 3 + 2] = (u32)p.sum * 16 + p.count;
}

/* An array per thread, indexed by data, so that it must lie in local memory. */
KERNEL local_array(const u32 *in, u32 *out)
{
	u32 i = GLOBAL_X, a[32];
	for (u32 k = 0; k < 32; k++)
		a[k] = in[(i + k) & 255];
	for (u32 k = 0; k < 32; k++) { /* insertion sort */
		u32 v = a[k], j = k;
		while (j && a[j - 1] > v) {
			a[j] = a[j - 1];
			j--;
		}
		a[j] = v;
	}
	out[i] = a[in[i & 255] & 31] + a[0] * 3 + a[31] * 5;
}

KERNEL constants(float *out, u32 *chars)
{
	u32 i = GLOBAL_X;
	out[i] = constant_weights[i & 7] * (float)i;
	chars[i] = (u32)(u8)text[i % 12];
}

KERNEL dynamic_reverse(const u8 *in, u8 *out)
{
	dynamic_bytes[TID_X] = in[GLOBAL_X];
	barrier();
	out[GLOBAL_X] = dynamic_bytes[NTID_X - 1 - TID_X];
}

/* Bit-field and byte work: what compilers make of packed pixels. */
KERNEL bit_ops(const u32 *in, u32 *out, u32 n)
{
	u32 i = GLOBAL_X;
	if (i >= n)
		return;
	u32 v = in[i], *o = out + i * 4;
	o[0] = __builtin_bitreverse32(v);
	o[1] = __nvvm_prmt(v, ~v, 0x5140 + (i & 3));
	o[2] = (v >> 5 & 0x7ff) << 3 | (v & 7);
	o[3] = __builtin_bswap32(v);
}
