/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that a seed decides: the same seed makes the same choices, whatever the threads' order. */
#ifndef VGPU_TESTS_RNG_H
#define VGPU_TESTS_RNG_H
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

/* splitmix64 */
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 .. n - 1 */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}

/* A number that is somebody's border more often than noise is. */
static inline uint64_t rng_edge(struct rng *r)
{
	static const uint64_t edges[] = {0, 1, 2, 63, 64, 255, 256, 4095, 4096, 65535, 65536, 0x1fffff, 0x200000,
					 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
					 0x8000000000000000, 0xffffffffffffff00, 0xfffffffffffff000};
	uint64_t pick = rng_next(r);

	switch (pick % 4) {
	case 0:
		return rng_next(r);
	case 1:
		return rng_below(r, 1ull << rng_below(r, 40));
	default:
		return edges[rng_below(r, sizeof(edges) / sizeof(*edges))] + rng_below(r, 3) - 1;
	}
}

/* The seed of one part of a run. */
static inline struct rng rng_of(uint64_t seed, uint64_t part)
{
	struct rng r = {seed ^ (part * 0xd6e8feb86659fd93ull + 1)};

	rng_next(&r);
	return r;
}
#endif
