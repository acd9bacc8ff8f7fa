/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durations, counted in buckets: four to each doubling from 1 us to 69 s, so that a quantile is known within
 * 12 %, one below and one above. Units: ns. Bucket i holds what is longer than hist_edge(i - 1) and not longer
 * than hist_edge(i), as "le" of Prometheus says it. Not thread-safe.
 */
#ifndef VGPU_BASE_HISTOGRAM_H
#define VGPU_BASE_HISTOGRAM_H
#include <stdint.h>

#define HIST_FIRST 10u /* log2 of the first edge, ns */
#define HIST_LAST 36u  /* log2 of the last one */
#define HIST_PARTS 4u  /* buckets to a doubling */
#define HIST_BUCKETS ((HIST_LAST - HIST_FIRST) * HIST_PARTS + 2)
#define HIST_COUNT_MAX (1ull << 50) /* a bucket stops there: their sum fits JSON's and Prometheus' numbers */

struct histogram {
	uint64_t count[HIST_BUCKETS];
	double sum; /* ns */
};

/* The bucket of this duration. */
static inline unsigned hist_bucket(uint64_t ns)
{
	uint64_t v = ns ? ns - 1 : 0; /* an edge belongs to the bucket below it */
	unsigned top = v ? 63 - (unsigned)__builtin_clzll(v) : 0;

	if (top < HIST_FIRST)
		return 0;
	if (top >= HIST_LAST)
		return HIST_BUCKETS - 1;
	return 1 + (top - HIST_FIRST) * HIST_PARTS + (unsigned)((v >> (top - 2)) & (HIST_PARTS - 1));
}

/* The longest duration bucket i holds; UINT64_MAX for the last. */
uint64_t hist_edge(unsigned i);
void hist_add(struct histogram *h, uint64_t ns);
void hist_merge(struct histogram *to, const struct histogram *from);
uint64_t hist_count(const struct histogram *h);
/* How many were not longer than 2^log2 ns, HIST_FIRST <= log2 <= HIST_LAST. */
uint64_t hist_until(const struct histogram *h, unsigned log2);
/* ns that the part q (0..1) did not exceed, interpolated within its bucket; < 0: nothing was counted. */
double hist_quantile(const struct histogram *h, double q);
#endif
