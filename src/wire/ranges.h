/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of address ranges that do not overlap, each with a kind and an owner: what this process has
 * allocated. Not thread-safe; the user locks. Look-up is a binary search.
 */
#ifndef VGPU_WIRE_RANGES_H
#define VGPU_WIRE_RANGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vgpu_range {
	uint64_t base, size; /* bytes */
	uint32_t kind;	     /* the user's */
	uint32_t owner;	     /* the user's, e.g. context or module */
	void *data;	     /* the user's */
};

struct vgpu_ranges {
	struct vgpu_range *v; /* sorted by base */
	size_t n, cap;
};

/* 0, -ENOMEM, -EINVAL (empty or wraps), -EEXIST (overlaps one that is there). */
int vgpu_ranges_add(struct vgpu_ranges *r, const struct vgpu_range *item);
/* The range that holds [at, at + len) whole; NULL if none. Valid until the next change. */
struct vgpu_range *vgpu_ranges_find(const struct vgpu_ranges *r, uint64_t at, uint64_t len);
/* Removes the range that begins at base; false if none does. *out may be NULL. */
bool vgpu_ranges_remove(struct vgpu_ranges *r, uint64_t base, struct vgpu_range *out);
void vgpu_ranges_clear(struct vgpu_ranges *r);
#endif
