/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/limit.h"

static double portion(const struct limit *l)
{
	double n = (double)(l->rate / LIMIT_PORTION);

	return n < 1 ? 1 : n;
}

static double most(const struct limit *l)
{
	double n = (double)l->rate / LIMIT_BURST;

	return n < 2 * portion(l) ? 2 * portion(l) : n;
}

static void refill(struct limit *l, uint64_t now)
{
	l->tokens += (double)(now - l->at) / 1e9 * (double)l->rate;
	l->at = now;
	if (l->tokens > most(l))
		l->tokens = most(l);
}

void limit_set(struct limit *l, uint64_t rate, uint64_t now)
{
	refill(l, now);
	if (!l->rate || l->tokens > 0)
		l->tokens = 1e18; /* cut to size below */
	l->rate = rate;
	refill(l, now);
}

uint64_t limit_portion(struct limit *l, unsigned waiting, uint64_t now)
{
	double part;

	refill(l, now);
	if (l->tokens < portion(l))
		return 0;
	part = l->tokens / (waiting ? waiting : 1);
	return (uint64_t)(part < portion(l) ? portion(l) : part);
}

void limit_spend(struct limit *l, uint64_t n, uint64_t now)
{
	double lowest = -(double)l->rate * LIMIT_DEBT_S;

	refill(l, now);
	l->tokens -= (double)n;
	if (l->tokens < lowest)
		l->tokens = lowest;
}

uint64_t limit_next(const struct limit *l)
{
	double missing = portion(l) - l->tokens;

	return missing <= 0 ? l->at : l->at + 1 + (uint64_t)(missing / (double)l->rate * 1e9);
}
