/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale_cuda: every output sample is computed from the source plane of the same component at
 * (x + 1/2) * source width / target width, by one of four algorithms, then converted to the target's
 * depth. Single precision, in the filter's order of operations, since that is what it computes.
 */
#include "ref.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef int (*sampler)(const struct ref_plane *p, int component, float hscale, float vscale, int xo, int yo);

static int nearest(const struct ref_plane *p, int c, float hscale, float vscale, int xo, int yo)
{
	return ref_texel(p, (int)floorf(hscale * ((float)xo + 0.5f)), (int)floorf(vscale * ((float)yo + 0.5f)), c);
}

/* Four taps that spread to a tent of three when shrinking, averaged with rounding. The filter asks its
 * texture for linear filtering *and* for integers, which CUDA leaves open; integers are taken unfiltered
 * here, as softcuda does. A GPU that filters them would give other values. */
static int bilinear(const struct ref_plane *p, int c, float hscale, float vscale, int xo, int yo)
{
	float wh = fminf(fmaxf(0.5f * (hscale - 1.0f), 0.0f), 1.0f), wv = fminf(fmaxf(0.5f * (vscale - 1.0f), 0.0f), 1.0f);
	float dx = wh / (wh + 0.5f), dy = wv / (wv + 0.5f);
	float x0 = fmaf(hscale, (float)xo + 0.5f, -dx), x1 = fmaf(hscale, (float)xo + 0.5f, dx);
	float y0 = fmaf(vscale, (float)yo + 0.5f, -dy), y1 = fmaf(vscale, (float)yo + 0.5f, dy);
	int l = (int)floorf(x0), r = (int)floorf(x1), t = (int)floorf(y0), b = (int)floorf(y1);
	return (ref_texel(p, l, t, c) + ref_texel(p, r, t, c) + ref_texel(p, l, b, c) + ref_texel(p, r, b, c) + 2) >> 2;
}

/* Keys' cubic with free parameter A; the filter's default is A = 0. The last weight is what is missing
 * to one. */
static void cubic_weights(float t, float w[4])
{
	const float A = 0.0f;
	float u = t + 1.0f, v = 1.0f - t;
	w[0] = fmaf(u, fmaf(u, fmaf(A, u, A * -5.0f), A * 8.0f), A * -4.0f);
	w[1] = fmaf(t, t * fmaf(A + 2.0f, t, -(A + 3.0f)), 1.0f);
	w[2] = fmaf(v, v * fmaf(A + 2.0f, v, -(A + 3.0f)), 1.0f);
	w[3] = 1.0f - w[0] - w[1] - w[2];
}

static float lanczos2(float x)
{
	return x == 0.0f ? 1.0f : (float)(sin((double)x) * sin((double)(x * 0.5f))) / (x * x * 0.5f);
}

/* Lanczos with two lobes, weights normalised. The filter takes sin.approx.f32 (2^-20.9 absolute): the
 * result may differ by one. */
static void lanczos_weights(float t, float w[4])
{
	const float pi = 3.14159274f; /* the nearest single */
	float sum = 0;
	for (int i = 0; i < 4; i++)
		sum += w[i] = lanczos2((t + (float)(1 - i)) * pi);
	for (int i = 0; i < 4; i++)
		w[i] /= sum;
}

static float weighted(const float w[4], const float v[4])
{
	return fmaf(w[3], v[3], fmaf(w[2], v[2], fmaf(w[0], v[0], w[1] * v[1])));
}

static int four_by_four(const struct ref_plane *p, int c, float hscale, float vscale, int xo, int yo,
			void (*weights)(float, float *))
{
	float x = fmaf(hscale, (float)xo + 0.5f, -0.5f), y = fmaf(vscale, (float)yo + 0.5f, -0.5f);
	float px = floorf(x), py = floorf(y), wx[4], wy[4], row[4], scale = p->bytes == 1 ? 255.0f : 65535.0f;
	weights(x - px, wx);
	weights(y - py, wy);
	for (int j = 0; j < 4; j++) {
		float v[4];
		for (int i = 0; i < 4; i++)
			v[i] = (float)ref_texel(p, (int)px + i - 1, (int)py + j - 1, c) / scale;
		row[j] = weighted(wx, v);
	}
	float r = weighted(wy, row) * scale;
	/* To 16 bits with saturation; an 8-bit sample then keeps the low byte. */
	int out = r <= 0.0f ? 0 : r >= 65535.0f ? 65535 : (int)r;
	return p->bytes == 1 ? out & 0xff : out;
}

static int bicubic(const struct ref_plane *p, int c, float hscale, float vscale, int xo, int yo)
{
	return four_by_four(p, c, hscale, vscale, xo, yo, cubic_weights);
}

static int lanczos(const struct ref_plane *p, int c, float hscale, float vscale, int xo, int yo)
{
	return four_by_four(p, c, hscale, vscale, xo, yo, lanczos_weights);
}

static int convert(const struct ref_format *from, const struct ref_format *to, int v)
{
	if (from == to)
		return v;
	if (from->depth > 8 && to->depth == 8)
		return v >> 8;
	if (from->depth == 8 && to->depth > 8)
		v *= 257;
	else if (from->depth == 10)
		v |= v >> 10; /* repeat the upper bits below */
	return to->depth == 10 ? v & 0xffc0 : v;
}

/* Component c (Y, U, V or R, G, B, 0) of a frame: its plane and place within. */
static struct ref_plane *component(struct ref_frame *f, int c, int *within)
{
	int plane = c < f->planes ? c : f->planes - 1;
	*within = f->plane[plane].components > 1 ? c - plane : 0;
	return &f->plane[plane];
}

static void scale_component(struct ref_frame *in, struct ref_frame *out, int c, int c_out, sampler s,
			    const struct ref_format *from, const struct ref_format *to)
{
	int ci, co;
	const struct ref_plane *src = component(in, c, &ci);
	struct ref_plane *dst = component(out, c_out, &co);
	float hscale = (float)src->width / (float)dst->width, vscale = (float)src->height / (float)dst->height;
	for (int y = 0; y < dst->height; y++)
		for (int x = 0; x < dst->width; x++) {
			int v = convert(from, to, s(src, ci, hscale, vscale, x, y));
			long i = ((long)y * dst->width + x) * dst->components + co;
			if (dst->bytes == 1)
				dst->data[i] = (uint8_t)v;
			else
				((uint16_t *)dst->data)[i] = (uint16_t)v;
		}
}

int ref_scale(int argc, char **argv)
{
	static const struct { const char *name; sampler s; } algorithms[] = {
		{"nearest", nearest}, {"bilinear", bilinear}, {"bicubic", bicubic}, {"lanczos", lanczos}};
	sampler s = NULL;
	for (size_t i = 0; argc == 7 && i < 4; i++)
		if (!strcmp(argv[0], algorithms[i].name))
			s = algorithms[i].s;
	if (!s) {
		fprintf(stderr, "ref scale ALGORITHM FROM TO WIDTH HEIGHT NEWWIDTH NEWHEIGHT\n");
		return 2;
	}
	const struct ref_format *from = ref_format(argv[1]), *to = ref_format(argv[2]);
	struct ref_frame in, out;
	bool rgb = from->components[0] == 4, swap = rgb && from != to;
	ref_frame_init(&in, from, atoi(argv[3]), atoi(argv[4]));
	ref_frame_init(&out, to, atoi(argv[5]), atoi(argv[6]));
	while (ref_read(stdin, &in)) {
		for (int c = 0; c < (rgb ? 4 : 3); c++)
			scale_component(&in, &out, c, swap && c < 3 ? 2 - c : c, s, rgb ? to : from, to);
		ref_write(stdout, &out);
	}
	ref_frame_free(&in);
	ref_frame_free(&out);
	return 0;
}
