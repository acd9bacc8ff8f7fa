/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/placement.h"
#include "base/units.h"
#include <stdio.h>

enum obstacle { FITS, OUT_OF_SERVICE, NO_MEMORY, NO_TIME };

uint64_t place_left(const struct place_device *d, uint64_t overhead)
{
	return d->memory > d->reserved && d->memory - d->reserved > overhead ? d->memory - d->reserved - overhead : 0;
}

static enum obstacle obstacle(const struct place_device *d, const struct place_request *r)
{
	uint64_t left = place_left(d, r->overhead);

	if (!d->in_service)
		return OUT_OF_SERVICE;
	if (!left || r->quota > left)
		return NO_MEMORY;
	return r->reservation && d->reservations + r->reservation > 100 ? NO_TIME : FITS;
}

/* Smaller is better. */
static uint64_t is_cpu(const struct place_device *d, const struct place_request *r)
{
	return d->cpu;
}

static uint64_t far_away(const struct place_device *d, const struct place_request *r)
{
	return r->node != PLACE_NODE_NONE && d->node != r->node;
}

static uint64_t shares(const struct place_device *d, const struct place_request *r)
{
	return d->shares;
}

static uint64_t left_over(const struct place_device *d, const struct place_request *r)
{
	return place_left(d, r->overhead);
}

static uint64_t peers(const struct place_device *d, const struct place_request *r)
{
	return d->idle_peers;
}

static const struct {
	uint64_t (*cost)(const struct place_device *d, const struct place_request *r);
	const char *reason;
} rules[] = {
	{is_cpu, "a GPU, not the CPU"},
	{far_away, "on its NUMA node"},
	{shares, "the smallest sum of shares"},
	{left_over, "the least memory left over"},
	{peers, "the fewest idle NVLink peers"},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

/* The first rule by which a is better than b; -1: it is not. */
static int better(const struct place_device *a, const struct place_device *b, const struct place_request *r)
{
	for (unsigned i = 0; i < RULES; i++) {
		uint64_t ca = rules[i].cost(a, r), cb = rules[i].cost(b, r);

		if (ca != cb)
			return ca < cb ? (int)i : -1;
	}
	return -1;
}

static void explain_none(const struct place_device *d, unsigned n, const struct place_request *r, char *why)
{
	size_t at = 0;

	why[0] = 0;
	for (unsigned i = 0; i < n && at < PLACE_WHY_LEN; i++) {
		enum obstacle o = obstacle(&d[i], r);
		char text[24], what[64];

		if (o == OUT_OF_SERVICE)
			snprintf(what, sizeof(what), "out of service");
		else if (o == NO_MEMORY)
			snprintf(what, sizeof(what), "%s left", units_size_text(place_left(&d[i], r->overhead), text, sizeof(text)));
		else
			snprintf(what, sizeof(what), "%llu %% of its time reserved", (unsigned long long)d[i].reservations);
		at += (size_t)snprintf(why + at, PLACE_WHY_LEN - at, "%s%s: %s", i ? ", " : "", d[i].name, what);
	}
}

int place_choose(const struct place_device *d, unsigned n, const struct place_request *r, char *why)
{
	unsigned possible = 0;
	int best = -1, decided = -1; /* the last rule that was needed */

	for (unsigned i = 0; i < n; i++) {
		if (obstacle(&d[i], r) != FITS)
			continue;
		possible++;
		if (best < 0 || better(&d[i], &d[best], r) >= 0)
			best = (int)i;
	}
	for (unsigned i = 0; i < n && best >= 0; i++) {
		int rule = (int)i == best || obstacle(&d[i], r) != FITS ? -1 : better(&d[best], &d[i], r);

		decided = rule > decided ? rule : decided;
	}
	if (best < 0)
		explain_none(d, n, r, why);
	else if (possible == 1)
		snprintf(why, PLACE_WHY_LEN, "the only one of %u where it fits", n);
	else
		snprintf(why, PLACE_WHY_LEN, "of %u where it fits: %s", possible, decided >= 0 ? rules[decided].reason
			 : "all alike, the first");
	return best;
}
