/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common texture, for all 32 lanes at once: indices and weights first, in loops that vectorise,
 * then the texels, then the division. Lanes that are not active compute too: their coordinates are
 * clamped like any others, so what they read lies inside the texture.
 */
#include "softcuda/tex_fast.h"

enum { LANES = 32 };
struct axis32 { uint32_t i0[LANES], i1[LANES], w[LANES]; };

static void locate_clamped(const uint32_t *c, uint32_t n, bool normalized, bool linear, struct axis32 *a)
{
	float scale = normalized ? (float)n : 1.0f, high = (float)n + 4.0f;
	int32_t last = (int32_t)n - 1;
	double half = linear ? 0.5 : 0.0;
	for (int l = 0; l < LANES; l++) {
		float x = leaf_f32(c[l]);
		x = x == x ? x * scale : 0.0f;
		x = x > -4.0f ? x : -4.0f; /* further out every texel is the edge's */
		x = x < high ? x : high;
		double b = (double)x - half;
		int32_t i = (int32_t)(b + 8.0) - 8; /* floor */
		uint32_t w = (uint32_t)(int32_t)((b - (double)i) * 256.0 + 0.5);
		int32_t j = i + 1;
		i = i < 0 ? 0 : i;
		j = j < 0 ? 0 : j;
		a->i0[l] = (uint32_t)(i > last ? last : i);
		a->i1[l] = (uint32_t)(j > last ? last : j);
		a->w[l] = w;
	}
}

#define LOAD(T, p) ({ T v_; memcpy(&v_, (p), sizeof v_); v_; })

/* sum[k][lane]: linear: the weighted sum in units of 1/65536, exact; point: the texel. */
#define TEXELS(name, T, S)                                                                                                             \
	static inline __attribute__((always_inline)) void name##_n(const struct sc_texture *t, const struct axis32 *x,                 \
								   const struct axis32 *y, bool linear, unsigned ch, S sum[4][LANES])  \
	{                                                                                                                              \
		for (unsigned l = 0; l < LANES; l++) {                                                                                 \
			const uint8_t *row = (const uint8_t *)(uintptr_t)(t->base + y->i0[l] * t->pitch);                              \
			uint64_t p = (uint64_t)x->i0[l] * ch * sizeof(T), q = (uint64_t)x->i1[l] * ch * sizeof(T);                    \
			if (!linear) {                                                                                                 \
				for (unsigned k = 0; k < ch; k++)                                                                      \
					sum[k][l] = (S)LOAD(T, row + p + k * sizeof(T));                                               \
				continue;                                                                                              \
			}                                                                                                              \
			const uint8_t *next = (const uint8_t *)(uintptr_t)(t->base + y->i1[l] * t->pitch);                             \
			S wx = (S)x->w[l], wy = (S)y->w[l];                                                                            \
			for (unsigned k = 0; k < ch; k++) {                                                                            \
				S a = (256 - wx) * (S)LOAD(T, row + p + k * sizeof(T)) + wx * (S)LOAD(T, row + q + k * sizeof(T));     \
				S b = (256 - wx) * (S)LOAD(T, next + p + k * sizeof(T)) + wx * (S)LOAD(T, next + q + k * sizeof(T));   \
				sum[k][l] = (256 - wy) * a + wy * b;                                                                   \
			}                                                                                                              \
		}                                                                                                                      \
	}                                                                                                                              \
	static void name(const struct sc_texture *t, const struct axis32 *x, const struct axis32 *y, bool linear, S sum[4][LANES])     \
	{                                                                                                                              \
		unsigned ch = t->channels;                                                                                             \
		if (ch == 1)                                                                                                           \
			name##_n(t, x, y, linear, 1, sum);                                                                             \
		else if (ch == 2)                                                                                                      \
			name##_n(t, x, y, linear, 2, sum);                                                                             \
		else                                                                                                                   \
			name##_n(t, x, y, linear, 4, sum);                                                                             \
	}
TEXELS(texels_u8, uint8_t, uint32_t)
TEXELS(texels_u16, uint16_t, uint32_t) /* 65535 * 65536 < 2^32 */

static void put(uint32_t *d, const uint32_t *v, uint32_t mask)
{
	if (!d)
		return;
	if (mask == UINT32_MAX) {
		memcpy(d, v, LANES * sizeof *d);
		return;
	}
	for (int l = 0; l < LANES; l++)
		d[l] = mask >> l & 1 ? v[l] : d[l];
}

static void divide(const uint32_t *sum, double unit, double max, uint32_t *out)
{
	for (int l = 0; l < LANES; l++)
		out[l] = leaf_u32((float)((double)sum[l] * unit / max));
}

static bool clamps(const struct sc_texture *t)
{
	for (int k = 0; k < 2; k++)
		if (t->address[k] != SC_ADDR_CLAMP && (t->normalized_coords || t->address[k] == SC_ADDR_BORDER))
			return false;
	return true;
}

bool tex_warp_fast(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask)
{
	bool u8 = t->format == SC_FMT_U8, u16 = t->format == SC_FMT_U16;
	if (op->geom != PTX_GEOM_2D || !op->float_coords || !(u8 || u16) || t->srgb || t->channels == 3 || t->is_linear || !clamps(t) ||
	    t->width > 1u << 20 || t->height > 1u << 20)
		return false;
	bool linear = t->filter == SC_FILTER_LINEAR && !t->read_as_integer;
	struct axis32 x, y;
	uint32_t sum[4][LANES], out[LANES];
	static const uint32_t zero[LANES];
	locate_clamped(op->c[0], t->width, t->normalized_coords, linear, &x);
	locate_clamped(op->c[1], t->height ? t->height : 1, t->normalized_coords, linear, &y);
	(u8 ? texels_u8 : texels_u16)(t, &x, &y, linear, sum);
	for (unsigned k = 0; k < 4; k++) {
		if (!op->d[k])
			continue;
		if (k < t->channels && !t->read_as_integer)
			divide(sum[k], linear ? 0x1p-16 : 1.0, u8 ? 255.0 : 65535.0, out);
		put(op->d[k], k >= t->channels ? zero : t->read_as_integer ? sum[k] : out, mask);
	}
	return true;
}
