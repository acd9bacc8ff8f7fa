/* SPDX-License-Identifier: Apache-2.0 */
/* Texture sampling against a slow reference written from CUDA's formulas, and against values worked out
 * by hand. What breaks if this fails: filtered images, and with them ffmpeg's scale_cuda. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "softcuda/tex_fast.h"

enum { W = 13, H = 7, D = 3, PITCH = 256, SLICE = PITCH * H };
static uint8_t image[SLICE * D];

static struct sc_texture texture(enum sc_tex_format format, uint32_t channels)
{
	return (struct sc_texture){ .base = (uintptr_t)image, .pitch = PITCH, .slice = SLICE, .width = W, .height = H, .depth = D, .format = format,
				    .channels = channels, .address = { SC_ADDR_CLAMP, SC_ADDR_CLAMP, SC_ADDR_CLAMP } };
}

static uint64_t random64(void)
{
	static uint64_t x = 88172645463325252ull;
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return x;
}

static int fill_image(void **state)
{
	for (size_t i = 0; i < sizeof image; i++)
		image[i] = (uint8_t)random64();
	return 0;
}

/* One lane through the warp's interface; lane 5 of 32, so that a wrong lane shows. */
static void sample(const struct sc_texture *t, enum ptx_geom g, bool is_float, const uint32_t c[4], uint32_t out[4])
{
	uint32_t in[4][32] = { { 0 } }, res[4][32];
	for (int k = 0; k < 4; k++)
		in[k][5] = c[k];
	memset(res, 0xa5, sizeof res);
	struct leaf_tex op = { .geom = g, .float_coords = is_float, .c = { in[0], in[1], in[2], in[3] }, .d = { res[0], res[1], res[2], res[3] } };
	leaf_tex_warp(t, &op, 1u << 5);
	for (int k = 0; k < 4; k++) {
		out[k] = res[k][5];
		assert_int_equal(res[k][4], 0xa5a5a5a5u);
	}
}

/* ---- the reference */
static double texel(const struct sc_texture *t, long x, long y, long z, unsigned ch)
{
	static const uint8_t bytes[33] = { [SC_FMT_U8] = 1, [SC_FMT_U16] = 2, [SC_FMT_S8] = 1, [SC_FMT_S16] = 2, [SC_FMT_F32] = 4 };
	const uint8_t *p = image + z * SLICE + y * PITCH + (x * t->channels + ch) * bytes[t->format];
	float f;
	switch (t->format) {
	case SC_FMT_U8: return p[0] / 255.0;
	case SC_FMT_U16: return (p[0] | p[1] << 8) / 65535.0;
	case SC_FMT_S8: return fmax((int8_t)p[0] / 127.0, -1);
	case SC_FMT_S16: return fmax((int16_t)(p[0] | p[1] << 8) / 32767.0, -1);
	default: memcpy(&f, p, 4); return f;
	}
}

static long fold(long i, long n, enum sc_tex_address mode)
{
	if (mode == SC_ADDR_WRAP)
		return ((i % n) + n) % n;
	if (mode == SC_ADDR_MIRROR) {
		long p = ((i % (2 * n)) + 2 * n) % (2 * n);
		return p < n ? p : 2 * n - 1 - p;
	}
	if (mode == SC_ADDR_BORDER)
		return i < 0 || i >= n ? -1 : i;
	return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static double at(const struct sc_texture *t, const long i[3], unsigned ch)
{
	const long n[3] = { W, H, D };
	long f[3];
	for (int k = 0; k < 3; k++) {
		enum sc_tex_address mode = t->address[k];
		f[k] = fold(i[k], n[k], t->normalized_coords || mode == SC_ADDR_BORDER ? mode : SC_ADDR_CLAMP);
		if (f[k] < 0)
			return (double)t->border[ch];
	}
	return texel(t, f[0], f[1], f[2], ch);
}

static double reference(const struct sc_texture *t, int dims, const float c[3], unsigned ch)
{
	const long n[3] = { W, H, D };
	double x[3] = { 0.5, 0.5, 0.5 }, sum = 0;
	for (int k = 0; k < dims; k++)
		x[k] = (double)c[k] * (t->normalized_coords ? n[k] : 1);
	if (t->filter == SC_FILTER_POINT) {
		long i[3] = { (long)floor(x[0]), (long)floor(x[1]), (long)floor(x[2]) };
		return at(t, i, ch);
	}
	for (int corner = 0; corner < 1 << dims; corner++) {
		double w = 1;
		long i[3] = { 0 };
		for (int k = 0; k < dims; k++) {
			double b = x[k] - 0.5, f = floor(b), a = floor((b - f) * 256 + 0.5) / 256;
			i[k] = (long)f + (corner >> k & 1);
			w *= corner >> k & 1 ? a : 1 - a;
		}
		sum += w == 0 ? 0 : w * at(t, i, ch);
	}
	return sum;
}

/* Coordinates are multiples of 1/16 texel (unnormalised) or chosen so that c * n is exact enough never to
 * straddle a texel edge: the reference works in double, the code in float as hardware does. */
static void against_reference(void **state)
{
	static const enum sc_tex_format formats[] = { SC_FMT_U8, SC_FMT_U16, SC_FMT_S8, SC_FMT_S16 };
	for (int round = 0; round < 200000; round++) {
		struct sc_texture t = texture(formats[random64() % 4], 1u << random64() % 3);
		int dims = 1 + (int)(random64() % 3);
		float c[3];
		uint32_t bits[4] = { 0 }, out[4];
		t.filter = random64() & 1 ? SC_FILTER_LINEAR : SC_FILTER_POINT;
		t.normalized_coords = random64() & 1;
		for (int k = 0; k < 4; k++)
			t.border[k] = (float)(k + 1) / 8;
		for (int k = 0; k < 3; k++) {
			const int n[3] = { W, H, D };
			t.address[k] = (enum sc_tex_address)(random64() % 4);
			int steps = (int)(random64() % (uint64_t)(3 * n[k] * 16)) - n[k] * 16;
			c[k] = (float)((steps + 0.25) / 16.0 / (t.normalized_coords ? n[k] : 1));
			bits[k] = leaf_u32(c[k]);
		}
		sample(&t, dims == 1 ? PTX_GEOM_1D : dims == 2 ? PTX_GEOM_2D : PTX_GEOM_3D, true, bits, out);
		for (unsigned ch = 0; ch < 4; ch++) {
			double want = ch < t.channels ? reference(&t, dims, c, ch) : 0, got = (double)leaf_f32(out[ch]);
			/* A weight may differ by 1/256 where rounding c * n to float moves it across a half. */
			double slack = t.filter == SC_FILTER_LINEAR && t.normalized_coords ? 3.0 / 256 * 2 : 1e-7;
			if (fabs(got - want) > slack)
				fail_msg("format %d filter %d normalised %d dims %d channel %u at %a %a %a, modes %d %d %d: %.9g, not %.9g", t.format, t.filter,
					 t.normalized_coords, dims, ch, c[0], c[1], c[2], t.address[0], t.address[1], t.address[2], got, want);
		}
	}
}

/* The fast path gives the general one's bits, and leaves inactive lanes alone. */
static void fast_is_general(void **state)
{
	unsigned taken = 0;
	for (int round = 0; round < 20000; round++) {
		struct sc_texture t = texture(random64() & 1 ? SC_FMT_U8 : SC_FMT_U16, 1u << random64() % 3);
		uint32_t c[2][32], a[4][32], b[4][32], mask = (uint32_t)random64();
		t.filter = random64() & 1 ? SC_FILTER_LINEAR : SC_FILTER_POINT;
		t.normalized_coords = random64() & 1;
		t.read_as_integer = random64() & 1;
		t.address[0] = t.address[1] = t.normalized_coords ? SC_ADDR_CLAMP : (enum sc_tex_address)(random64() % 3);
		for (int l = 0; l < 32; l++)
			for (int k = 0; k < 2; k++) {
				float x = (float)(int32_t)random64() * 0x1p-31f * (t.normalized_coords ? 2 : 30);
				c[k][l] = random64() % 16 ? leaf_u32(x) : (uint32_t)random64();
			}
		memset(a, 0x5a, sizeof a);
		memset(b, 0x5a, sizeof b);
		struct leaf_tex op = { .geom = PTX_GEOM_2D, .float_coords = true, .c = { c[0], c[1] }, .d = { a[0], a[1], a[2], a[3] } };
		taken += tex_warp_fast(&t, &op, mask);
		for (int k = 0; k < 4; k++)
			op.d[k] = b[k];
		tex_warp_general(&t, &op, mask);
		assert_memory_equal(a, b, sizeof a);
	}
	assert_int_equal(taken, 20000);
}

static void by_hand(void **state)
{
	struct sc_texture t = texture(SC_FMT_U8, 1);
	uint32_t out[4], c[4] = { leaf_u32(1.25f), leaf_u32(0.5f) };
	image[0] = 100, image[1] = 200;
	t.filter = SC_FILTER_LINEAR;
	/* 1.25 - 0.5 = 0.75: a quarter of texel 0 and three quarters of texel 1 = 175 */
	sample(&t, PTX_GEOM_2D, true, c, out);
	assert_int_equal(out[0], leaf_u32(175 / 255.0f));
	/* 0.1 - rounds to 26/256, not 0.1 */
	c[0] = leaf_u32(0.6f);
	sample(&t, PTX_GEOM_2D, true, c, out);
	assert_int_equal(out[0], leaf_u32((float)((230 * 100 + 26 * 200) / 256.0 / 255.0)));
	t.read_as_integer = true;
	c[0] = leaf_u32(1.99f);
	sample(&t, PTX_GEOM_2D, true, c, out);
	assert_int_equal(out[0], 200);
	assert_int_equal(out[1], 0);
	c[0] = leaf_u32(NAN), c[1] = leaf_u32(-INFINITY);
	sample(&t, PTX_GEOM_2D, true, c, out);
	assert_int_equal(out[0], 100);
	c[0] = leaf_u32(3e38f), c[1] = leaf_u32(3e38f);
	sample(&t, PTX_GEOM_2D, true, c, out);
	assert_int_equal(out[0], image[PITCH * (H - 1) + W - 1]);
}

static void layers_and_fetches(void **state)
{
	struct sc_texture t = texture(SC_FMT_U16, 2);
	uint32_t out[4], c[4] = { 2, leaf_u32(4.5f), leaf_u32(6.5f) };
	t.read_as_integer = true;
	sample(&t, PTX_GEOM_A2D, true, c, out);
	const uint8_t *p = image + 2 * SLICE + 6 * PITCH + 4 * 4;
	assert_int_equal(out[0], p[0] | p[1] << 8);
	assert_int_equal(out[1], p[2] | p[3] << 8);
	c[0] = 99; /* past the last layer: the last */
	sample(&t, PTX_GEOM_A2D, true, c, out);
	assert_int_equal(out[0], p[0] | p[1] << 8);
	struct sc_texture linear = { .base = (uintptr_t)image, .width = 8, .format = SC_FMT_F32, .channels = 1, .is_linear = true };
	float f = 2.5f;
	memcpy(image + 12, &f, 4);
	c[0] = 3;
	sample(&linear, PTX_GEOM_1D, false, c, out);
	assert_int_equal(out[0], leaf_u32(2.5f));
	c[0] = 8;
	sample(&linear, PTX_GEOM_1D, false, c, out);
	assert_int_equal(out[0], 0);
	c[0] = (uint32_t)-1;
	sample(&linear, PTX_GEOM_1D, false, c, out);
	assert_int_equal(out[0], 0);
}

static void spans(void **state)
{
	struct sc_texture t = texture(SC_FMT_U8, 4);
	assert_int_equal(leaf_tex_span(&t), SLICE * (D - 1) + PITCH * (H - 1) + W * 4);
	t.pitch = UINT64_MAX / 2;
	assert_true(leaf_tex_span(&t) == UINT64_MAX);
	t = texture((enum sc_tex_format)7, 1);
	assert_true(leaf_tex_span(&t) == UINT64_MAX);
}

static void surfaces(void **state)
{
	struct sc_texture t = texture(SC_FMT_U8, 4);
	uint64_t va;
	uint32_t c[3] = { 8, 3, 0 }, out[3] = { W * 4, 3, 0 }, low[3] = { (uint32_t)-4, (uint32_t)-1, 0 };
	assert_true(leaf_surf_address(&t, PTX_GEOM_2D, c, 4, 0, &va));
	assert_true(va == t.base + 3 * PITCH + 8);
	assert_false(leaf_surf_address(&t, PTX_GEOM_2D, out, 4, 0, &va));
	assert_false(leaf_surf_address(&t, PTX_GEOM_2D, out, 4, 2, &va));
	assert_true(leaf_surf_address(&t, PTX_GEOM_2D, out, 4, 1, &va));
	assert_true(va == t.base + 3 * PITCH + W * 4 - 4);
	assert_true(leaf_surf_address(&t, PTX_GEOM_2D, low, 4, 1, &va));
	assert_true(va == t.base);
	uint32_t layered[3] = { 2, 4, 1 };
	assert_true(leaf_surf_address(&t, PTX_GEOM_A2D, layered, 4, 0, &va));
	assert_true(va == t.base + 2 * SLICE + PITCH + 4);
	out[0] = W * 4 - 2; /* straddles the end */
	assert_false(leaf_surf_address(&t, PTX_GEOM_2D, out, 4, 0, &va));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_reference), cmocka_unit_test(fast_is_general), cmocka_unit_test(by_hand), cmocka_unit_test(layers_and_fetches),
		cmocka_unit_test(spans), cmocka_unit_test(surfaces) };
	return cmocka_run_group_tests(tests, fill_image, NULL);
}
