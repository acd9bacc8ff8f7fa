/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire/ranges.h"

/* Number of ranges whose base is <= at. */
static size_t upper(const struct vgpu_ranges *r, uint64_t at)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->v[mid].base <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int vgpu_ranges_add(struct vgpu_ranges *r, const struct vgpu_range *item)
{
	size_t i = upper(r, item->base);

	if (!item->size || item->base + item->size < item->base)
		return -EINVAL;
	if (i && r->v[i - 1].base + r->v[i - 1].size > item->base)
		return -EEXIST;
	if (i < r->n && item->base + item->size > r->v[i].base)
		return -EEXIST;
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 64;
		struct vgpu_range *v = reallocarray(r->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		r->v = v;
		r->cap = cap;
	}
	memmove(r->v + i + 1, r->v + i, (r->n - i) * sizeof(*r->v));
	r->v[i] = *item;
	r->n++;
	return 0;
}

struct vgpu_range *vgpu_ranges_find(const struct vgpu_ranges *r, uint64_t at, uint64_t len)
{
	size_t i = upper(r, at);
	struct vgpu_range *f;

	if (!i)
		return NULL;
	f = &r->v[i - 1];
	if (at - f->base >= f->size || len > f->size - (at - f->base))
		return NULL;
	return f;
}

bool vgpu_ranges_remove(struct vgpu_ranges *r, uint64_t base, struct vgpu_range *out)
{
	size_t i = upper(r, base);

	if (!i || r->v[i - 1].base != base)
		return false;
	if (out)
		*out = r->v[i - 1];
	memmove(r->v + i - 1, r->v + i, (r->n - i) * sizeof(*r->v));
	r->n--;
	return true;
}

void vgpu_ranges_clear(struct vgpu_ranges *r)
{
	free(r->v);
	*r = (struct vgpu_ranges){ 0 };
}
