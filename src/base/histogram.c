/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

_Static_assert(HIST_PARTS == 4, "hist_bucket() takes two bits");

uint64_t hist_edge(unsigned i)
{
	uint64_t octave;

	if (i == 0)
		return 1ull << HIST_FIRST;
	if (i >= HIST_BUCKETS - 1)
		return UINT64_MAX;
	octave = 1ull << (HIST_FIRST + (i - 1) / HIST_PARTS);
	return octave + octave / HIST_PARTS * ((i - 1) % HIST_PARTS + 1);
}

static void count_up(uint64_t *count, uint64_t n)
{
	*count = n < HIST_COUNT_MAX - *count ? *count + n : HIST_COUNT_MAX;
}

void hist_add(struct histogram *h, uint64_t ns)
{
	count_up(&h->count[hist_bucket(ns)], 1);
	h->sum += (double)ns;
}

void hist_merge(struct histogram *to, const struct histogram *from)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		count_up(&to->count[i], from->count[i]);
	to->sum += from->sum;
}

uint64_t hist_count(const struct histogram *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		n += h->count[i];
	return n;
}

uint64_t hist_until(const struct histogram *h, unsigned log2)
{
	uint64_t n = 0;

	for (unsigned i = 0; i <= (log2 - HIST_FIRST) * HIST_PARTS; i++)
		n += h->count[i];
	return n;
}

double hist_quantile(const struct histogram *h, double q)
{
	double want = q * (double)hist_count(h), below = 0;

	for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
		double n = (double)h->count[i], from = i ? (double)hist_edge(i - 1) : 0;

		if (n > 0 && below + n >= want)
			return from + ((double)hist_edge(i) - from) * (want - below) / n;
		below += n;
	}
	return h->count[HIST_BUCKETS - 1] ? (double)hist_edge(HIST_BUCKETS - 2) : -1;
}
