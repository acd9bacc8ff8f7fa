/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels softcuda is timed with. No CUDA headers: the built-ins needed are declared here. */
#define GLOBAL extern "C" __attribute__((global))
#define SHARED __attribute__((shared))
#define TIDX __nvvm_read_ptx_sreg_tid_x()
#define TIDY __nvvm_read_ptx_sreg_tid_y()
#define NTIDX __nvvm_read_ptx_sreg_ntid_x()
#define NTIDY __nvvm_read_ptx_sreg_ntid_y()
#define CTAX __nvvm_read_ptx_sreg_ctaid_x()
#define CTAY __nvvm_read_ptx_sreg_ctaid_y()
#define NCTAX __nvvm_read_ptx_sreg_nctaid_x()

GLOBAL void empty(int *p)
{
}

GLOBAL void vadd(const float *a, const float *b, float *c, int n)
{
	int i = CTAX * NTIDX + TIDX;
	if (i < n)
		c[i] = a[i] + b[i];
}

GLOBAL void reduce(const float *in, float *out, int n)
{
	static SHARED float s[256];
	int t = TIDX;
	float sum = 0;
	for (int i = CTAX * 256 + t; i < n; i += 256 * NCTAX)
		sum += in[i];
	s[t] = sum;
	__syncthreads();
	for (int d = 128; d > 0; d >>= 1) {
		if (t < d)
			s[t] += s[t + d];
		__syncthreads();
	}
	if (t == 0)
		out[CTAX] = s[0];
}

GLOBAL void transpose(const float *in, float *out, int w, int h)
{
	static SHARED float tile[32][33];
	int x = CTAX * 32 + TIDX, y = CTAY * 32 + TIDY;
	for (int k = 0; k < 32; k += 8)
		if (x < w && y + k < h)
			tile[TIDY + k][TIDX] = in[(y + k) * w + x];
	__syncthreads();
	x = CTAY * 32 + TIDX;
	y = CTAX * 32 + TIDY;
	for (int k = 0; k < 32; k += 8)
		if (x < h && y + k < w)
			out[(y + k) * h + x] = tile[TIDX][TIDY + k];
}

GLOBAL void stencil(const float *in, float *out, int w, int h)
{
	int x = CTAX * NTIDX + TIDX, y = CTAY * NTIDY + TIDY;
	if (x > 0 && y > 0 && x < w - 1 && y < h - 1) {
		int i = y * w + x;
		out[i] = 0.5f * in[i] + 0.125f * (in[i - 1] + in[i + 1] + in[i - w] + in[i + w]);
	}
}

GLOBAL void histogram(const unsigned char *in, unsigned *bins, int n)
{
	static SHARED unsigned s[256];
	s[TIDX] = 0;
	__syncthreads();
	for (int i = CTAX * 256 + TIDX; i < n; i += 256 * NCTAX)
		__nvvm_atom_add_gen_i((int *)&s[in[i]], 1);
	__syncthreads();
	__nvvm_atom_add_gen_i((int *)&bins[TIDX], (int)s[TIDX]);
}

GLOBAL void sgemm(const float *a, const float *b, float *c, int n)
{
	int x = CTAX * NTIDX + TIDX, y = CTAY * NTIDY + TIDY;
	float s = 0;
	for (int k = 0; k < n; k++)
		s += a[y * n + k] * b[k * n + x];
	c[y * n + x] = s;
}

GLOBAL void collatz(unsigned *out, int n)
{
	int i = CTAX * NTIDX + TIDX;
	if (i >= n)
		return;
	unsigned long long v = i + 1;
	unsigned k = 0;
	while (v != 1) {
		v = v & 1 ? 3 * v + 1 : v / 2;
		k++;
	}
	out[i] = k;
}

static __attribute__((device)) float cnd(float d)
{
	float k = 1.0f / (1.0f + 0.2316419f * __nvvm_fabs_f(d));
	float c = 0.39894228040143267794f * __nvvm_ex2_approx_f(-0.5f * d * d * 1.4426950408889634f) *
		  (k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f)))));
	return d > 0 ? 1.0f - c : c;
}

GLOBAL void black_scholes(const float *s, const float *x, const float *t, float *call, float *put, int n)
{
	int i = CTAX * NTIDX + TIDX;
	if (i >= n)
		return;
	const float r = 0.02f, v = 0.30f;
	float sq = __nvvm_sqrt_rn_f(t[i]);
	float d1 = (__nvvm_lg2_approx_f(s[i] / x[i]) * 0.6931471805599453f + (r + 0.5f * v * v) * t[i]) / (v * sq);
	float d2 = d1 - v * sq, n1 = cnd(d1), n2 = cnd(d2);
	float e = __nvvm_ex2_approx_f(-r * t[i] * 1.4426950408889634f);
	call[i] = s[i] * n1 - x[i] * e * n2;
	put[i] = x[i] * e * (1.0f - n2) - s[i] * (1.0f - n1);
}
