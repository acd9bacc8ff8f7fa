/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of leaf_tex_warp; only it and the test that compares them include this. */
#ifndef SOFTCUDA_TEX_FAST_H
#define SOFTCUDA_TEX_FAST_H
#include "softcuda/leaf.h"

/* Any texture, one lane at a time. */
void tex_warp_general(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask);
/* 2D, clamped, 8 and 16 bits unsigned: what video filters do. false: not such a texture, nothing done. Same bits as the general one. */
bool tex_warp_fast(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask);
#endif
