/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/history.h"
#include <string.h>

void gpu_history_restart(struct gpu_history *h)
{
	for (unsigned i = 0; i < NV_GPUS_MAX; i++)
		h->past[i].told_xids = h->past[i].told_hardware_xids = 0;
	h->told_failures = 0;
}

/* ---- which of them it is ---- */

static bool named(const struct gpu *g)
{
	return g->uuid[0] || g->bus_id[0];
}

static bool same(const struct gpu *a, const struct gpu *b)
{
	if (a->uuid[0] && b->uuid[0])
		return !strcmp(a->uuid, b->uuid);
	if (a->bus_id[0] || b->bus_id[0])
		return !strcmp(a->bus_id, b->bus_id);
	return !named(a) && !named(b);
}

static unsigned new_place(struct gpu_history *h)
{
	unsigned i = h->s.gpus;

	for (unsigned k = 0; i == NV_GPUS_MAX && k < h->s.gpus; k++)
		if (!h->past[k].seen && h->s.gpu[k].value[GPU_LOST] == 1)
			i = k; /* full of those that are gone */
	if (i == NV_GPUS_MAX)
		return i;
	h->past[i] = (struct gpu_past){0};
	memset(&h->s.gpu[i], 0, sizeof(h->s.gpu[i]));
	h->s.gpus += i == h->s.gpus;
	return i;
}

/* NV_GPUS_MAX: nowhere. One that is lost before it had a name is one of those that are missed, if any is. */
static unsigned place_of(struct gpu_history *h, const struct gpu *g)
{
	for (unsigned i = 0; i < h->s.gpus; i++)
		if (!h->past[i].seen && same(&h->s.gpu[i], g))
			return i;
	for (unsigned i = 0; i < h->s.gpus && !named(g) && g->value[GPU_LOST] == 1; i++)
		if (!h->past[i].seen)
			return i;
	for (unsigned i = 0; i < h->s.gpus; i++)
		if (!h->past[i].seen && !named(&h->s.gpu[i]))
			return i;
	return new_place(h);
}

/* ---- what was before ---- */

static int64_t grown(int64_t now, int64_t *told)
{
	int64_t by = now > *told ? now - *told : 0;

	if (now >= 0)
		*told = now;
	return by;
}

static void count(struct gpu_past *p, const struct gpu *g, int64_t now_ms)
{
	int64_t all = grown(g->value[GPU_XIDS], &p->told_xids), hardware = grown(g->value[GPU_HARDWARE_XIDS], &p->told_hardware_xids);

	p->watched |= g->value[GPU_XIDS] >= 0;
	p->xids += all;
	p->hardware_xids += hardware;
	if (all)
		p->last_xid = g->value[GPU_LAST_XID];
	if (hardware) {
		p->last_hardware_xid = g->value[GPU_LAST_HARDWARE_XID];
		p->at_ms = now_ms;
	}
	if (g->value[GPU_LINKS_UP] > p->links)
		p->links = g->value[GPU_LINKS_UP];
}

static void complete(struct gpu *g, const struct gpu_past *p, int64_t now_ms)
{
	bool recent = p->at_ms && now_ms - p->at_ms < GPU_XID_RECENT_MS;

	g->peers = -1;
	g->value[GPU_LINKS_SEEN] = g->value[GPU_LINKS_UP] >= 0 ? p->links : -1;
	g->value[GPU_XIDS] = p->watched ? p->xids : -1;
	g->value[GPU_HARDWARE_XIDS] = p->watched ? p->hardware_xids : -1;
	g->value[GPU_LAST_XID] = p->watched ? p->last_xid : -1;
	g->value[GPU_LAST_HARDWARE_XID] = p->watched ? p->last_hardware_xid : -1;
	g->value[GPU_RECENT_XID] = !p->watched ? -1 : recent ? p->last_hardware_xid : 0;
}

static void keep_text(char *to, const char *from, size_t size)
{
	if (from[0])
		memcpy(to, from, size);
}

static void take(struct gpu_history *h, const struct gpu *g, int64_t now_ms)
{
	unsigned i = place_of(h, g);
	struct gpu *to = &h->s.gpu[i], was;

	if (i == NV_GPUS_MAX)
		return;
	was = *to;
	*to = *g;
	memcpy(to->name, was.name, sizeof(to->name));
	memcpy(to->uuid, was.uuid, sizeof(to->uuid));
	memcpy(to->bus_id, was.bus_id, sizeof(to->bus_id));
	memcpy(to->serial, was.serial, sizeof(to->serial));
	keep_text(to->name, g->name, sizeof(to->name));
	keep_text(to->uuid, g->uuid, sizeof(to->uuid));
	keep_text(to->bus_id, g->bus_id, sizeof(to->bus_id));
	keep_text(to->serial, g->serial, sizeof(to->serial));
	h->past[i].seen = true;
	count(&h->past[i], g, now_ms);
}

void gpu_history_take(struct gpu_history *h, const struct gpu_sample *fresh, int64_t now_ms)
{
	h->s.rc = fresh->rc;
	memcpy(h->s.driver, fresh->driver, sizeof(h->s.driver));
	h->s.failures += fresh->failures > h->told_failures ? fresh->failures - h->told_failures : 0;
	h->told_failures = fresh->failures;
	for (unsigned i = 0; i < h->s.gpus; i++)
		h->past[i].seen = false;
	for (int names = 1; names >= 0; names--) /* who has a name takes his place first */
		for (unsigned i = 0; i < fresh->gpus; i++)
			if (named(&fresh->gpu[i]) == names)
				take(h, &fresh->gpu[i], now_ms);
	for (unsigned i = 0; i < h->s.gpus; i++) {
		if (!h->past[i].seen)
			gpu_lose(&h->s.gpu[i]);
		complete(&h->s.gpu[i], &h->past[i], now_ms);
	}
}
