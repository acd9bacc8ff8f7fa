/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * Where things lie in a BAR2 of a given size. A function of the size alone, so that the host never
 * has to read back the offsets it wrote into the header; the header repeats them for the guest.
 *
 *   0 header | 16 KiB wish page | 2 MiB channels | 194 MiB extents to the end
 *
 * Channels and extents begin on 2 MiB borders, for huge pages on both sides.
 */
#ifndef VGPU_WIRE_GEOMETRY_H
#define VGPU_WIRE_GEOMETRY_H
#include "wire/layout.h"

#define VGPU_WISH_OFF ((vg_u64)VGPU_HEADER_SIZE)
#define VGPU_CHANNEL_OFF ((vg_u64)VGPU_EXTENT_SIZE)
#define VGPU_EXTENT_OFF (VGPU_CHANNEL_OFF + (vg_u64)VGPU_CHANNELS_MAX * VGPU_CHANNEL_STRIDE)
_Static_assert(VGPU_EXTENT_OFF % VGPU_EXTENT_SIZE == 0, "extents are aligned");
_Static_assert(VGPU_EXTENT_OFF < VGPU_BAR_MIN, "the smallest BAR2 has extents");

static inline vg_u32 vgpu_extent_count(vg_u64 bar_size)
{
	vg_u64 n = bar_size > VGPU_EXTENT_OFF ? (bar_size - VGPU_EXTENT_OFF) / VGPU_EXTENT_SIZE : 0;

	return n < VGPU_EXTENTS_MAX ? (vg_u32)n : VGPU_EXTENTS_MAX;
}
#endif
