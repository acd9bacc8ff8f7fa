/* SPDX-License-Identifier: Apache-2.0 */
/* The same work in plain scalar C, one thread: what softcuda is compared with. */
#include <math.h>
#include "kernels_c.h"

void c_vadd(const float *a, const float *b, float *c, int n)
{
	for (int i = 0; i < n; i++)
		c[i] = a[i] + b[i];
}

float c_reduce(const float *in, int n)
{
	float s = 0;
	for (int i = 0; i < n; i++)
		s += in[i];
	return s;
}

void c_transpose(const float *in, float *out, int w, int h)
{
	for (int y = 0; y < h; y++)
		for (int x = 0; x < w; x++)
			out[x * h + y] = in[y * w + x];
}

void c_stencil(const float *in, float *out, int w, int h)
{
	for (int y = 1; y < h - 1; y++)
		for (int x = 1; x < w - 1; x++) {
			int i = y * w + x;
			out[i] = 0.5f * in[i] + 0.125f * (in[i - 1] + in[i + 1] + in[i - w] + in[i + w]);
		}
}

void c_histogram(const unsigned char *in, unsigned *bins, int n)
{
	for (int i = 0; i < n; i++)
		bins[in[i]]++;
}

void c_sgemm(const float *a, const float *b, float *c, int n)
{
	for (int y = 0; y < n; y++)
		for (int x = 0; x < n; x++) {
			float s = 0;
			for (int k = 0; k < n; k++)
				s = fmaf(a[y * n + k], b[k * n + x], s);
			c[y * n + x] = s;
		}
}

void c_collatz(unsigned *out, int n)
{
	for (int i = 0; i < n; i++) {
		unsigned long long v = (unsigned long long)i + 1;
		unsigned k = 0;
		while (v != 1) {
			v = v & 1 ? 3 * v + 1 : v / 2;
			k++;
		}
		out[i] = k;
	}
}

static float cnd(float d)
{
	float k = 1.0f / (1.0f + 0.2316419f * fabsf(d));
	float c = 0.39894228040143267794f * expf(-0.5f * d * d) *
		  (k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f)))));
	return d > 0 ? 1.0f - c : c;
}

void c_black_scholes(const float *s, const float *x, const float *t, float *call, float *put, int n)
{
	const float r = 0.02f, v = 0.30f;
	for (int i = 0; i < n; i++) {
		float sq = sqrtf(t[i]);
		float d1 = (logf(s[i] / x[i]) + (r + 0.5f * v * v) * t[i]) / (v * sq), d2 = d1 - v * sq;
		float n1 = cnd(d1), n2 = cnd(d2), e = expf(-r * t[i]);
		call[i] = s[i] * n1 - x[i] * e * n2;
		put[i] = x[i] * e * (1.0f - n2) - s[i] * (1.0f - n1);
	}
}
