/* SPDX-License-Identifier: Apache-2.0 */
/* The reply of module_function: what a guest needs to check and pack a launch by itself. Followed by
 * nparams times struct vgpu_param. */
#ifndef VGPU_WIRE_FUNC_META_H
#define VGPU_WIRE_FUNC_META_H
#include "wire/layout.h"

#define VGPU_FUNC_ATTRS 16u /* CUfunction_attribute 0..15 */

struct vgpu_param {
	vg_u32 offset, size; /* bytes in the parameter buffer */
};

struct vgpu_func_meta {
	vg_u32 param_bytes, nparams;
	vg_s32 attr[VGPU_FUNC_ATTRS]; /* VGPU_ATTR_UNKNOWN: the driver has no such attribute */
};
#endif
