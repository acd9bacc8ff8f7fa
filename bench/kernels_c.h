/* SPDX-License-Identifier: Apache-2.0 */
/* Scalar C counterparts of kernels.cu. */
#ifndef BENCH_KERNELS_C_H
#define BENCH_KERNELS_C_H
void c_vadd(const float *a, const float *b, float *c, int n);
float c_reduce(const float *in, int n);
void c_transpose(const float *in, float *out, int w, int h);
void c_stencil(const float *in, float *out, int w, int h);
void c_histogram(const unsigned char *in, unsigned *bins, int n);
void c_sgemm(const float *a, const float *b, float *c, int n);
void c_collatz(unsigned *out, int n);
void c_black_scholes(const float *s, const float *x, const float *t, float *call, float *put, int n);
#endif
