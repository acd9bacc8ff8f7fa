/* SPDX-License-Identifier: Apache-2.0 */
/* usage: ref FILTER ARGUMENTS... <raw frames >raw frames */
#include "ref.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct ref_format formats[] = {
	{"yuv420p", 8, 0, 1, 1, 3, {1, 1, 1}},	    {"yuva420p", 8, 0, 1, 1, 4, {1, 1, 1, 1}},
	{"yuv444p", 8, 0, 0, 0, 3, {1, 1, 1}},	    {"nv12", 8, 0, 1, 1, 2, {1, 2}},
	{"p010le", 10, 6, 1, 1, 2, {1, 2}},	    {"p016le", 16, 0, 1, 1, 2, {1, 2}},
	{"yuv444p16le", 16, 0, 0, 0, 3, {1, 1, 1}}, {"rgb0", 8, 0, 0, 0, 1, {4}},
	{"bgr0", 8, 0, 0, 0, 1, {4}},
};

static void die(const char *what, const char *which)
{
	fprintf(stderr, "ref: %s %s\n", what, which);
	exit(2);
}

const struct ref_format *ref_format(const char *name)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	die("unknown pixel format", name);
	return NULL;
}

void ref_frame_init(struct ref_frame *f, const struct ref_format *fmt, int width, int height)
{
	size_t at[5] = {0};
	*f = (struct ref_frame){.planes = fmt->planes};
	for (int i = 0; i < fmt->planes; i++) {
		bool chroma = i == 1 || i == 2;
		int sx = chroma ? fmt->chroma_x : 0, sy = chroma ? fmt->chroma_y : 0;
		struct ref_plane *p = &f->plane[i];
		*p = (struct ref_plane){(width + (1 << sx) - 1) >> sx, (height + (1 << sy) - 1) >> sy, fmt->components[i],
					fmt->depth > 8 ? 2 : 1, NULL};
		at[i + 1] = at[i] + (size_t)p->width * p->height * p->components * p->bytes;
	}
	f->size = at[fmt->planes];
	f->data = calloc(1, f->size);
	if (!f->data)
		die("no memory for", fmt->name);
	for (int i = 0; i < fmt->planes; i++)
		f->plane[i].data = f->data + at[i];
}

void ref_frame_free(struct ref_frame *f)
{
	free(f->data);
	f->data = NULL;
}

bool ref_read(FILE *in, struct ref_frame *f)
{
	size_t n = fread(f->data, 1, f->size, in);
	if (n != 0 && n != f->size)
		die("the input ends", "inside a frame");
	return n == f->size;
}

void ref_write(FILE *out, const struct ref_frame *f)
{
	if (fwrite(f->data, 1, f->size, out) != f->size)
		die("cannot write", "the output");
}

double ref_linear(const struct ref_plane *p, double x, double y, int c)
{
	x -= 0.5, y -= 0.5;
	int i = (int)floor(x), j = (int)floor(y);
	double a = floor((x - i) * 256 + 0.5) / 256, b = floor((y - j) * 256 + 0.5) / 256;
	return (1 - a) * (1 - b) * ref_texel(p, i, j, c) + a * (1 - b) * ref_texel(p, i + 1, j, c) +
	       (1 - a) * b * ref_texel(p, i, j + 1, c) + a * b * ref_texel(p, i + 1, j + 1, c);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*run)(int, char **); } filters[] = {
		{"scale", ref_scale}, {"overlay", ref_overlay}, {"chromakey", ref_chromakey},
		{"yadif", ref_yadif}, {"thumbnail", ref_thumbnail},
	};
	for (size_t i = 0; argc > 1 && i < sizeof(filters) / sizeof(filters[0]); i++)
		if (!strcmp(argv[1], filters[i].name))
			return filters[i].run(argc - 2, argv + 2);
	die("usage: ref scale|overlay|chromakey|yadif|thumbnail ARGUMENTS", "<frames >frames");
	return 2;
}
