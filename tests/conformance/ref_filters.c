/* SPDX-License-Identifier: Apache-2.0 */
/* overlay_cuda, chromakey_cuda, yadif_cuda and thumbnail_cuda on yuv420p, in plain C. */
#include "ref.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * overlay_cuda: out = alpha * overlay + (1 - alpha) * main, alpha from the overlay's alpha plane at
 * luma resolution (1 without one); truncated to an integer. Exact: every operation is IEEE single.
 */
static void blend(struct ref_plane *main, const struct ref_plane *over, const struct ref_plane *alpha, int x0, int y0, int step)
{
	for (int y = y0 < 0 ? 0 : y0; y < y0 + over->height && y < main->height; y++)
		for (int x = x0 < 0 ? 0 : x0; x < x0 + over->width && x < main->width; x++) {
			float a = alpha ? (float)alpha->data[(y - y0) * step * alpha->width + (x - x0) * step] / 255.0f : 1.0f;
			uint8_t *m = &main->data[y * main->width + x];
			float o = over->data[(y - y0) * over->width + (x - x0)];
			*m = (uint8_t)fmaf(a, o, (1.0f - a) * (float)*m);
		}
}

/* stdin: the main frames; the overlay's frames in a file, as many. */
int ref_overlay(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "ref overlay WIDTH HEIGHT OVERLAYFORMAT OVERLAYFILE OVERLAYWIDTH OVERLAYHEIGHT X Y\n");
		return 2;
	}
	struct ref_frame main, over;
	int x = atoi(argv[6]), y = atoi(argv[7]);
	FILE *f = fopen(argv[3], "rb");
	if (!f) {
		perror(argv[3]);
		return 2;
	}
	ref_frame_init(&main, ref_format("yuv420p"), atoi(argv[0]), atoi(argv[1]));
	ref_frame_init(&over, ref_format(argv[2]), atoi(argv[4]), atoi(argv[5]));
	while (ref_read(stdin, &main) && ref_read(f, &over)) {
		const struct ref_plane *alpha = over.planes == 4 ? &over.plane[3] : NULL;
		blend(&main.plane[0], &over.plane[0], alpha, x, y, 1);
		blend(&main.plane[1], &over.plane[1], alpha, x / 2, y / 2, 2);
		blend(&main.plane[2], &over.plane[2], alpha, x / 2, y / 2, 2);
		ref_write(stdout, &main);
	}
	fclose(f);
	ref_frame_free(&main);
	ref_frame_free(&over);
	return 0;
}

/*
 * chromakey_cuda: planes pass through a linearly filtered texture sampled at integer coordinates, i.e.
 * at texel corners: each sample is the mean of four. Alpha is the mean distance, over the 3 x 3
 * chroma neighbourhood inside the picture, from the key colour, as a share of the greatest distance.
 */
static float smooth(const struct ref_plane *p, int x, int y)
{
	return (float)(ref_linear(p, x, y, 0) / 255.0);
}

static uint8_t to_byte(float unit)
{
	return (uint8_t)(unit * 255.0f);
}

static float key_distance(const struct ref_plane *u, const struct ref_plane *v, int x, int y, float ku, float kv)
{
	float sum = 0;
	int count = 0;
	for (int dx = -1; dx < 2; dx++)
		for (int dy = -1; dy < 2; dy++) {
			if (x + dx < 0 || x + dx >= u->width || y + dy < 0 || y + dy >= u->height)
				continue;
			float du = fmaf(smooth(u, x + dx, y + dy), 255.0f, -ku), dv = fmaf(smooth(v, x + dx, y + dy), 255.0f, -kv);
			sum += sqrtf(fmaf(dv, dv, du * du) / (255.0f * 255.0f * 2.0f));
			count++;
		}
	return sum / (count ? (float)count : 9.0f);
}

static uint8_t key_alpha(float distance, float similarity, float softness)
{
	if (softness <= 0.0001f)
		return distance < similarity ? 0 : 255;
	float a = (distance - similarity) / softness;
	return to_byte(a < 0 ? 0 : a > 1 ? 1 : a);
}

int ref_chromakey(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "ref chromakey WIDTH HEIGHT U V SIMILARITY BLEND\n");
		return 2;
	}
	struct ref_frame in, out;
	float ku = strtof(argv[2], NULL), kv = strtof(argv[3], NULL), similarity = strtof(argv[4], NULL), soft = strtof(argv[5], NULL);
	ref_frame_init(&in, ref_format("yuv420p"), atoi(argv[0]), atoi(argv[1]));
	ref_frame_init(&out, ref_format("yuva420p"), atoi(argv[0]), atoi(argv[1]));
	while (ref_read(stdin, &in)) {
		for (int c = 0; c < 3; c++)
			for (int y = 0; y < in.plane[c].height; y++)
				for (int x = 0; x < in.plane[c].width; x++)
					out.plane[c].data[y * in.plane[c].width + x] = to_byte(smooth(&in.plane[c], x, y));
		const struct ref_plane *u = &in.plane[1], *v = &in.plane[2], *a = &out.plane[3];
		for (int y = 0; y < u->height; y++)
			for (int x = 0; x < u->width; x++) {
				uint8_t alpha = key_alpha(key_distance(u, v, x, y, ku, kv), similarity, soft);
				for (int k = 0; k < 4; k++)
					if (2 * x + (k & 1) < a->width && 2 * y + (k >> 1) < a->height)
						a->data[(2 * y + (k >> 1)) * a->width + 2 * x + (k & 1)] = alpha;
			}
		ref_write(stdout, &out);
	}
	ref_frame_free(&in);
	ref_frame_free(&out);
	return 0;
}

/*
 * yadif_cuda: lines of the kept field are copied; of the other, a spatial guess along the best of
 * five directions is limited to what the neighbouring fields in time allow. Integers only: exact.
 */
static int max3(int a, int b, int c) { return a > b ? (a > c ? a : c) : b > c ? b : c; }
static int min3(int a, int b, int c) { return a < b ? (a < c ? a : c) : b < c ? b : c; }

static int spatial(const struct ref_plane *cur, int x, int y)
{
#define UP(d)   ref_texel(cur, x + (d), y - 1, 0)
#define DOWN(d) ref_texel(cur, x + (d), y + 1, 0)
	/* How unlike the two lines are along direction d, over three samples. */
#define SCORE(d) (abs(UP((d) - 1) - DOWN(-(d) - 1)) + abs(UP(d) - DOWN(-(d))) + abs(UP((d) + 1) - DOWN(-(d) + 1)))
	int best = SCORE(0), guess = (UP(0) + DOWN(0)) >> 1;
	for (int side = -1; side <= 1; side += 2) {
		/* The steeper direction is tried only where the gentler one won. */
		for (int d = side; abs(d) <= 2 && SCORE(d) < best; d += side) {
			best = SCORE(d);
			guess = (UP(d) + DOWN(-d)) >> 1;
		}
	}
	return guess;
}

static int temporal(const struct ref_plane *prev, const struct ref_plane *cur, const struct ref_plane *next, bool first_field, int x, int y)
{
	/* The fields just before and after the missing line's own time. */
	const struct ref_plane *before = first_field ? prev : cur, *after = first_field ? cur : next;
	int c = UP(0), e = DOWN(0), a = ref_texel(before, x, y, 0), b = ref_texel(after, x, y, 0), d = (a + b) >> 1;
	int change = max3(abs(a - b), (abs(ref_texel(prev, x, y - 1, 0) - c) + abs(ref_texel(prev, x, y + 1, 0) - e)) >> 1,
			  (abs(ref_texel(next, x, y - 1, 0) - c) + abs(ref_texel(next, x, y + 1, 0) - e)) >> 1);
	int above = (ref_texel(before, x, y - 2, 0) + ref_texel(after, x, y - 2, 0)) >> 1;
	int below = (ref_texel(before, x, y + 2, 0) + ref_texel(after, x, y + 2, 0)) >> 1;
	int hi = max3(d - e, d - c, above - c < below - e ? above - c : below - e);
	int lo = min3(d - e, d - c, above - c > below - e ? above - c : below - e);
	change = max3(change, lo, -hi);
	int guess = spatial(cur, x, y);
	return guess > d + change ? d + change : guess < d - change ? d - change : guess;
#undef UP
#undef DOWN
#undef SCORE
}

static void deinterlace(struct ref_frame *out, const struct ref_frame f[3], int keep, int tff)
{
	for (int c = 0; c < out->planes; c++) {
		struct ref_plane *o = &out->plane[c];
		for (int y = 0; y < o->height; y++)
			for (int x = 0; x < o->width; x++)
				o->data[y * o->width + x] =
					(uint8_t)(y % 2 == keep ? ref_texel(&f[1].plane[c], x, y, 0)
								: temporal(&f[0].plane[c], &f[1].plane[c], &f[2].plane[c], keep != tff, x, y));
	}
	ref_write(stdout, out);
}

/* Before the first and after the last frame, that frame stands in. */
int ref_yadif(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "ref yadif WIDTH HEIGHT frame|field TFF\n");
		return 2;
	}
	int w = atoi(argv[0]), h = atoi(argv[1]), tff = atoi(argv[3]);
	bool fields = !strcmp(argv[2], "field");
	const struct ref_format *fmt = ref_format("yuv420p");
	struct ref_frame f[3], out;
	for (int i = 0; i < 3; i++)
		ref_frame_init(&f[i], fmt, w, h);
	ref_frame_init(&out, fmt, w, h);
	bool more = ref_read(stdin, &f[1]);
	memcpy(f[0].data, f[1].data, f[1].size);
	while (more) {
		more = ref_read(stdin, &f[2]);
		if (!more)
			memcpy(f[2].data, f[1].data, f[1].size);
		deinterlace(&out, f, tff ^ 1, tff);
		if (fields)
			deinterlace(&out, f, tff, tff);
		struct ref_frame spare = f[0];
		f[0] = f[1], f[1] = f[2], f[2] = spare;
	}
	for (int i = 0; i < 3; i++)
		ref_frame_free(&f[i]);
	ref_frame_free(&out);
	return 0;
}

/*
 * thumbnail_cuda: of every N frames the one whose histogram is nearest to their mean histogram. Counts
 * of subsampled chroma weigh four times. The texture is of integers, hence unfiltered (see ref_scale.c).
 */
enum { BINS = 3 * 256 };

static void histogram(const struct ref_frame *f, double bins[BINS])
{
	memset(bins, 0, BINS * sizeof(double));
	for (int c = 0; c < 3; c++)
		for (int y = 0; y < f->plane[c].height; y++)
			for (int x = 0; x < f->plane[c].width; x++)
				bins[c * 256 + ref_texel(&f->plane[c], x, y, 0)] += c ? 4 : 1;
}

static void pick(const struct ref_frame *frames, int n)
{
	double(*bins)[BINS] = calloc((size_t)n, sizeof(*bins)), mean[BINS] = {0}, least = 0;
	int best = 0;
	if (!bins)
		exit(2);
	for (int i = 0; i < n; i++) {
		histogram(&frames[i], bins[i]);
		for (int b = 0; b < BINS; b++)
			mean[b] += bins[i][b] / n;
	}
	for (int i = 0; i < n; i++) {
		double error = 0;
		for (int b = 0; b < BINS; b++)
			error += (bins[i][b] - mean[b]) * (bins[i][b] - mean[b]);
		if (i == 0 || error < least)
			best = i, least = error;
	}
	ref_write(stdout, &frames[best]);
	free(bins);
}

int ref_thumbnail(int argc, char **argv)
{
	enum { MOST = 64 };
	int n = argc == 3 ? atoi(argv[2]) : 0, have = 0;
	if (n < 2 || n > MOST) {
		fprintf(stderr, "ref thumbnail WIDTH HEIGHT N, N from 2 to %d\n", MOST);
		return 2;
	}
	struct ref_frame frames[MOST];
	for (int i = 0; i < n; i++)
		ref_frame_init(&frames[i], ref_format("yuv420p"), atoi(argv[0]), atoi(argv[1]));
	while (ref_read(stdin, &frames[have]))
		if (++have == n) {
			pick(frames, n);
			have = 0;
		}
	if (have)
		pick(frames, have);
	for (int i = 0; i < n; i++)
		ref_frame_free(&frames[i]);
	return 0;
}
