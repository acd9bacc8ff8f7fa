/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sampling. A texel is fetched as four doubles (exact for every format); which fetcher and how
 * coordinates become texel indices is chosen once per warp.
 */
#include <math.h>
#include <pthread.h>
#include "softcuda/tex_fast.h"

typedef double (*channel_fn)(const uint8_t *p);

#define CHANNEL(name, T, expr) static double name(const uint8_t *p) { T v; memcpy(&v, p, sizeof v); return expr; }
CHANNEL(get_u8, uint8_t, v)
CHANNEL(get_u16, uint16_t, v)
CHANNEL(get_u32, uint32_t, v)
CHANNEL(get_s8, int8_t, v)
CHANNEL(get_s16, int16_t, v)
CHANNEL(get_s32, int32_t, v)
CHANNEL(get_s8_least, int8_t, v < -127 ? -127 : v) /* -1 has two codes */
CHANNEL(get_s16_least, int16_t, v < -32767 ? -32767 : v)
CHANNEL(get_f16, uint16_t, (double)leaf_f16_to_f32(v))
CHANNEL(get_f32, float, (double)v)

/* Largest value: what normalised reading divides by; 1 = read as it is. */
static const struct format { channel_fn get; uint8_t bytes; double max; bool is_float; } formats[33] = {
	[SC_FMT_U8] = { get_u8, 1, 255, false }, [SC_FMT_U16] = { get_u16, 2, 65535, false }, [SC_FMT_U32] = { get_u32, 4, 0, false },
	[SC_FMT_S8] = { get_s8, 1, 127, false }, [SC_FMT_S16] = { get_s16, 2, 32767, false }, [SC_FMT_S32] = { get_s32, 4, 0, false },
	[SC_FMT_F16] = { get_f16, 2, 1, true }, [SC_FMT_F32] = { get_f32, 4, 1, true },
};

struct sampler {
	const struct sc_texture *t;
	const struct format *f;
	channel_fn get;
	uint32_t bytes, channels;
	bool raw, linear; /* raw: integers as they are */
	const double *srgb;
	uint32_t layer;
};

static double srgb_table[256];
static pthread_once_t srgb_once = PTHREAD_ONCE_INIT;
static void make_srgb(void)
{
	for (int i = 0; i < 256; i++) {
		double c = i / 255.0;
		srgb_table[i] = (double)(float)(c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4)) * 255.0;
	}
}

uint64_t leaf_tex_span(const struct sc_texture *t)
{
	uint64_t texel = (unsigned)t->format < 33 ? (uint64_t)formats[t->format].bytes * t->channels : 0;
	uint64_t row, planes, end;
	if (!texel || t->channels > 4 || t->width == 0 || __builtin_mul_overflow(texel, (uint64_t)t->width, &row))
		return UINT64_MAX;
	uint64_t rows = t->height ? t->height : 1, depth = t->depth ? t->depth : 1;
	if (__builtin_mul_overflow(rows - 1, t->pitch, &end) || __builtin_mul_overflow(depth - 1, t->slice, &planes) ||
	    __builtin_add_overflow(end, row, &end) || __builtin_add_overflow(end, planes, &end))
		return UINT64_MAX;
	return end;
}

/* ---- indices */
/* i in any range to [0, n), or -1: the border. */
static int32_t place(int32_t i, uint32_t n, enum sc_tex_address mode)
{
	int32_t last = (int32_t)n - 1;
	if (i >= 0 && i <= last)
		return i;
	switch (mode) {
	case SC_ADDR_WRAP: i %= (int32_t)n; return i < 0 ? i + (int32_t)n : i;
	case SC_ADDR_BORDER: return -1;
	default: return i < 0 ? 0 : last; /* clamp; mirror, whose coordinate has been folded into [0, 1] */
	}
}

struct axis { int32_t i[2]; uint32_t w; /* of i[1], in 1/256 */ };

/* Normalised coordinates fold here; bounds keep the conversion to int defined. */
static float to_texels(float x, uint32_t n, enum sc_tex_address mode, bool normalized)
{
	if (x != x)
		return 0;
	if (normalized) {
		float whole = floorf(x);
		if (fabsf(x) >= 0x1p24f) /* no fraction left, infinities included */
			x = mode == SC_ADDR_WRAP || mode == SC_ADDR_MIRROR ? 0 : x;
		else if (mode == SC_ADDR_WRAP)
			x -= whole;
		else if (mode == SC_ADDR_MIRROR)
			x = fmodf(fabsf(whole), 2) != 0 ? 1 - (x - whole) : x - whole;
		x *= (float)n;
	}
	return x < -0x1p30f ? -0x1p30f : x > 0x1p30f ? 0x1p30f : x;
}

static struct axis locate(const struct sampler *s, float x, uint32_t n, unsigned dim)
{
	enum sc_tex_address mode = s->t->address[dim];
	if (!s->t->normalized_coords && mode != SC_ADDR_BORDER)
		mode = SC_ADDR_CLAMP;
	x = to_texels(x, n, mode, s->t->normalized_coords);
	if (!s->linear) {
		int32_t i = place((int32_t)floorf(x), n, mode);
		return (struct axis){ { i, i }, 0 };
	}
	double b = (double)x - 0.5, whole = floor(b);
	uint32_t w = (uint32_t)((b - whole) * 256 + 0.5);
	int32_t i = (int32_t)whole;
	return (struct axis){ { place(i, n, mode), place(i + 1, n, mode) }, w };
}

static struct axis locate_int(const struct sampler *s, int32_t x, uint32_t n, unsigned dim)
{
	enum sc_tex_address mode = s->t->address[dim] == SC_ADDR_BORDER || s->t->is_linear ? SC_ADDR_BORDER : SC_ADDR_CLAMP;
	int32_t i = place(x, n, mode);
	return (struct axis){ { i, i }, 0 };
}

/* ---- texels */
static void border(const struct sampler *s, double v[4])
{
	/* The border's colour is what the result shall be; undo the division done to the sum. */
	for (unsigned k = 0; k < 4; k++)
		v[k] = s->t->is_linear ? 0 : (double)s->t->border[k] * (s->raw || s->f->is_float ? 1 : s->f->max);
}

static void fetch(const struct sampler *s, int32_t x, int32_t y, int32_t z, double v[4])
{
	if ((x | y | z) < 0) {
		border(s, v);
		return;
	}
	const uint8_t *p = (const uint8_t *)(uintptr_t)(s->t->base + (uint64_t)z * s->t->slice + (uint64_t)y * s->t->pitch +
						       (uint64_t)x * s->bytes);
	for (unsigned k = 0; k < s->channels; k++)
		v[k] = s->srgb && k < 3 ? s->srgb[p[k]] : s->get(p + k * s->f->bytes);
}

/* Adds the two texels of a row, weighted; w in 1/256 of each. */
static void add_row(const struct sampler *s, struct axis x, int32_t y, int32_t z, double weight, double sum[4])
{
	double a[4] = { 0 }, b[4] = { 0 };
	fetch(s, x.i[0], y, z, a);
	if (x.w)
		fetch(s, x.i[1], y, z, b);
	for (unsigned k = 0; k < s->channels; k++)
		sum[k] += weight * ((256 - x.w) * a[k] + x.w * b[k]);
}

static void sample_linear(const struct sampler *s, const struct axis a[3], double sum[4])
{
	unsigned ny = a[1].w ? 2 : 1, nz = a[2].w ? 2 : 1;
	for (unsigned z = 0; z < nz; z++)
		for (unsigned y = 0; y < ny; y++) {
			double wy = y ? a[1].w : 256 - a[1].w, wz = z ? a[2].w : 256 - a[2].w;
			add_row(s, a[0], a[1].i[y], a[2].i[z], wy * wz, sum);
		}
	for (unsigned k = 0; k < 4; k++)
		sum[k] *= 0x1p-24; /* three weights of 1/256, exact */
}

static uint32_t finish(const struct sampler *s, double v)
{
	if (s->raw)
		return (uint32_t)(int64_t)v;
	if (s->f->is_float)
		return leaf_u32(leaf_canonical((float)v));
	return leaf_u32((float)(v / s->f->max));
}

static void sample(const struct sampler *s, const struct axis a[3], uint32_t out[4])
{
	double v[4] = { 0 };
	if (s->linear)
		sample_linear(s, a, v);
	else
		fetch(s, a[0].i[0], a[1].i[0], a[2].i[0], v);
	for (unsigned k = 0; k < 4; k++)
		out[k] = k < s->channels ? finish(s, v[k]) : 0;
}

/* ---- one warp */
static struct sampler prepare(const struct sc_texture *t, const struct leaf_tex *op)
{
	const struct format *f = &formats[t->format];
	struct sampler s = { .t = t, .f = f, .bytes = f->bytes * t->channels, .channels = t->channels };
	s.raw = !f->is_float && (t->read_as_integer || f->max == 0);
	s.get = s.raw ? f->get : f->get == get_s8 ? get_s8_least : f->get == get_s16 ? get_s16_least : f->get;
	s.linear = t->filter == SC_FILTER_LINEAR && op->float_coords && !s.raw;
	if (t->srgb && t->format == SC_FMT_U8 && !s.raw) {
		pthread_once(&srgb_once, make_srgb);
		s.srgb = srgb_table;
	}
	return s;
}

void tex_warp_general(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask)
{
	static const uint8_t axes[] = { [PTX_GEOM_1D] = 1, [PTX_GEOM_2D] = 2, [PTX_GEOM_3D] = 3, [PTX_GEOM_A1D] = 1, [PTX_GEOM_A2D] = 2 };
	struct sampler s = prepare(t, op);
	uint32_t size[3] = { t->width, t->height ? t->height : 1, t->depth ? t->depth : 1 };
	bool layered = op->geom == PTX_GEOM_A1D || op->geom == PTX_GEOM_A2D;
	unsigned n = axes[op->geom];
	for (; mask; mask &= mask - 1) {
		unsigned lane = (unsigned)__builtin_ctz(mask);
		struct axis a[3] = { { { 0, 0 }, 0 }, { { 0, 0 }, 0 }, { { 0, 0 }, 0 } };
		for (unsigned k = 0; k < n; k++) {
			uint32_t c = op->c[k + layered][lane];
			a[k] = op->float_coords ? locate(&s, leaf_f32(c), size[k], k) : locate_int(&s, (int32_t)c, size[k], k);
		}
		if (layered) {
			uint32_t layer = op->c[0][lane];
			a[2].i[0] = (int32_t)(layer < size[2] ? layer : size[2] - 1);
		}
		uint32_t out[4];
		sample(&s, a, out);
		for (unsigned k = 0; k < 4; k++)
			if (op->d[k])
				op->d[k][lane] = out[k];
	}
}

void leaf_tex_warp(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask)
{
	if (!tex_warp_fast(t, op, mask))
		tex_warp_general(t, op, mask);
}

/* ---- surfaces */
bool leaf_surf_address(const struct sc_texture *t, enum ptx_geom geom, const uint32_t c[3], uint32_t n, unsigned clamp, uint64_t *va)
{
	uint64_t texel = (uint64_t)formats[t->format].bytes * t->channels, row = texel * t->width;
	bool layered = geom == PTX_GEOM_A1D || geom == PTX_GEOM_A2D;
	bool has_y = geom == PTX_GEOM_2D || geom == PTX_GEOM_3D || geom == PTX_GEOM_A2D, has_z = layered || geom == PTX_GEOM_3D;
	int64_t x = (int32_t)c[layered], y = has_y ? (int32_t)c[layered + 1] : 0, z = geom == PTX_GEOM_3D ? (int32_t)c[2] : layered ? (int64_t)c[0] : 0;
	int64_t height = has_y && t->height ? t->height : 1, depth = has_z && t->depth ? t->depth : 1;
	if (n > row)
		return false;
	bool inside = x >= 0 && (uint64_t)x + n <= row && y >= 0 && y < height && z >= 0 && z < depth;
	if (!inside && clamp != 1)
		return false;
	int64_t last_x = (int64_t)(row - n);
	x = x < 0 ? 0 : x > last_x ? last_x - last_x % n : x;
	y = y < 0 ? 0 : y >= height ? height - 1 : y;
	z = z < 0 ? 0 : z >= depth ? depth - 1 : z;
	*va = t->base + (uint64_t)z * t->slice + (uint64_t)y * t->pitch + (uint64_t)x;
	return true;
}
