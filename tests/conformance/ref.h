/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pictures for the references of ffmpeg's CUDA filters: raw frames as ffmpeg's rawvideo has them, and
 * what a CUDA texture does with one plane of them.
 *
 * The references are plain C written from what each filter computes (its documentation and the PTX
 * Debian's libavfilter carries). They share no code with the project: a wrong texture rule there must
 * not be wrong here in the same way.
 */
#ifndef REF_H
#define REF_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One plane: width x height elements of `components` samples of `bytes` bytes (1 or 2). */
struct ref_plane { int width, height, components, bytes; uint8_t *data; };
struct ref_frame { int planes; struct ref_plane plane[4]; size_t size; uint8_t *data; };

struct ref_format {
	const char *name;
	int depth;	      /* significant bits of a sample */
	int shift;	      /* p010: the samples lie in the upper bits of 16 */
	int chroma_x, chroma_y; /* log2 of subsampling */
	int planes;
	int components[4];    /* per plane */
};

const struct ref_format *ref_format(const char *name); /* exits when unknown */
void ref_frame_init(struct ref_frame *f, const struct ref_format *fmt, int width, int height);
void ref_frame_free(struct ref_frame *f);
bool ref_read(FILE *in, struct ref_frame *f); /* false at the end; exits on a partial frame */
void ref_write(FILE *out, const struct ref_frame *f);

/* A texel with clamped coordinates. Out of unnormalised coordinates CUDA offers clamp and border only,
 * and turns the default, wrap, into clamp. */
static inline int ref_texel(const struct ref_plane *p, int x, int y, int component)
{
	x = x < 0 ? 0 : x >= p->width ? p->width - 1 : x;
	y = y < 0 ? 0 : y >= p->height ? p->height - 1 : y;
	long i = ((long)y * p->width + x) * p->components + component;
	return p->bytes == 1 ? p->data[i] : ((const uint16_t *)p->data)[i];
}
/* Linear filtering at (x, y) with 1.8 fixed-point weights, in texel units. */
double ref_linear(const struct ref_plane *p, double x, double y, int component);

/* Filters: frames of stdin to frames of stdout. */
int ref_scale(int argc, char **argv);
int ref_overlay(int argc, char **argv);
int ref_chromakey(int argc, char **argv);
int ref_yadif(int argc, char **argv);
int ref_thumbnail(int argc, char **argv);
#endif
