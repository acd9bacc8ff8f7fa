/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/sched.h"

#include <string.h>

void sched_init(struct sched *s, uint64_t quantum_ns, struct sched_tenant **heap, size_t heap_cap)
{
	memset(s, 0, sizeof(*s));
	s->quantum = quantum_ns;
	s->heap = heap;
	s->heap_cap = heap_cap;
}

void sched_tenant_init(struct sched_tenant *t, uint32_t share, void *owner)
{
	memset(t, 0, sizeof(*t));
	t->share = share ? share : 1;
	t->owner = owner;
}

void sched_tenant_set_share(struct sched_tenant *t, uint32_t share)
{
	t->share = share ? share : 1;
}

void sched_client_init(struct sched_client *c, struct sched_tenant *t)
{
	memset(c, 0, sizeof(*c));
	c->tenant = t;
	c->deadline = SCHED_NEVER;
}

/* ---- heap of waiting tenants */

static bool before(const struct sched_tenant *a, const struct sched_tenant *b)
{
	return a->start_tag != b->start_tag ? a->start_tag < b->start_tag : a->seq < b->seq;
}

static void place(struct sched *s, size_t i, struct sched_tenant *t)
{
	s->heap[i] = t;
	t->heap_at = i + 1;
}

static void sift_up(struct sched *s, size_t i)
{
	struct sched_tenant *t = s->heap[i];

	for (size_t up; i > 0 && before(t, s->heap[up = (i - 1) / 2]); i = up)
		place(s, i, s->heap[up]);
	place(s, i, t);
}

static void sift_down(struct sched *s, size_t i)
{
	struct sched_tenant *t = s->heap[i];

	for (size_t kid; (kid = 2 * i + 1) < s->heap_len; i = kid) {
		if (kid + 1 < s->heap_len && before(s->heap[kid + 1], s->heap[kid]))
			kid++;
		if (!before(s->heap[kid], t))
			break;
		place(s, i, s->heap[kid]);
	}
	place(s, i, t);
}

static void heap_insert(struct sched *s, struct sched_tenant *t)
{
	t->seq = s->seq++;
	place(s, s->heap_len++, t);
	sift_up(s, s->heap_len - 1);
}

static void heap_remove(struct sched *s, struct sched_tenant *t)
{
	size_t i = t->heap_at - 1;
	struct sched_tenant *last = s->heap[--s->heap_len];

	t->heap_at = 0;
	if (last == t)
		return;
	place(s, i, last);
	sift_up(s, i);
	sift_down(s, last->heap_at - 1);
}

/* ---- charging */

static void charge(struct sched *s, struct sched_client *c, uint64_t from, uint64_t to, uint64_t ns)
{
	struct sched_tenant *t = c->tenant;

	c->charged += ns;
	t->charged += ns;
	t->start_tag += (double)ns / t->share;
	if (t->heap_at)
		sift_down(s, t->heap_at - 1); /* another of its clients waits; tags only grow */
	if (s->on_charge)
		s->on_charge(s->ctx, t, from, to, ns);
}

/* Virtual time follows the least-served active tenant, so it also advances under a tenant that is
 * alone for long: whoever comes then starts level with it. */
static void advance(struct sched *s)
{
	double least = s->holder[0]->tenant->start_tag;

	for (unsigned i = 1; i < s->holders; i++)
		if (s->holder[i]->tenant->start_tag < least)
			least = s->holder[i]->tenant->start_tag;
	if (s->heap_len && s->heap[0]->start_tag < least)
		least = s->heap[0]->start_tag;
	if (least > s->vtime)
		s->vtime = least;
}

void sched_account(struct sched *s, uint64_t now)
{
	uint64_t from = s->accounted;

	if (now <= from)
		return;
	s->accounted = now;
	if (s->holders == 0)
		return;
	s->busy += now - from;
	for (unsigned i = 0; i < s->holders; i++)
		charge(s, s->holder[i], from, now, (now - from) / s->holders);
	advance(s);
}

/* ---- asking */

/* Holders hold without end only while nobody waits. */
static void set_deadlines(struct sched *s, uint64_t now)
{
	if (!sched_contended(s))
		return; /* a deadline once set stands: at worst one early hand-over */
	for (unsigned i = 0; i < s->holders; i++) {
		struct sched_client *c = s->holder[i];
		uint64_t full = c->granted_at + s->quantum;

		if (c->deadline == SCHED_NEVER)
			c->deadline = full > now ? full : now;
	}
}

/* Back from an absence: no credit for it, see the head of sched.h. */
static void re_enter(const struct sched *s, struct sched_tenant *t, uint64_t now)
{
	double floor = s->vtime;

	if (t->holding)
		return;
	if (t->leases && now - t->released_at <= SCHED_ABSENCE_QUANTA * s->quantum)
		floor -= (double)SCHED_CREDIT_QUANTA * s->quantum / t->share;
	if (t->start_tag < floor)
		t->start_tag = floor;
}

bool sched_ask(struct sched *s, struct sched_client *c, uint64_t now)
{
	struct sched_tenant *t = c->tenant;

	sched_account(s, now); /* a lone holder's virtual time, before the newcomer is placed by it */
	if (c->state != SCHED_IDLE || (!t->heap_at && s->heap_len == s->heap_cap))
		return false;
	c->state = SCHED_WAITING;
	c->asked_at = now;
	c->next = NULL;
	if (t->last)
		t->last->next = c;
	else
		t->first = c;
	t->last = c;
	if (!t->heap_at) {
		re_enter(s, t, now);
		heap_insert(s, t);
	}
	set_deadlines(s, now);
	return true;
}

static void dequeue(struct sched *s, struct sched_client *c)
{
	struct sched_tenant *t = c->tenant;
	struct sched_client *prev = NULL;

	for (struct sched_client *i = t->first; i != c; i = i->next)
		prev = i;
	if (prev)
		prev->next = c->next;
	else
		t->first = c->next;
	if (t->last == c)
		t->last = prev;
	if (!t->first)
		heap_remove(s, t);
}

/* ---- grant and release */

static bool room(const struct sched *s, uint64_t now)
{
	if (s->holders == SCHED_HOLDERS_MAX)
		return false;
	for (unsigned i = 0; i < s->holders; i++)
		if (s->holder[i]->deadline == SCHED_NEVER || now < s->holder[i]->deadline + s->quantum)
			return false;
	return true;
}

struct sched_client *sched_pick(struct sched *s, uint64_t now)
{
	struct sched_client *c;

	if (!sched_contended(s) || !room(s, now))
		return NULL;
	sched_account(s, now);
	c = s->heap[0]->first;
	dequeue(s, c);
	c->state = SCHED_HOLDING;
	c->granted_at = now;
	c->deadline = SCHED_NEVER;
	c->leases++;
	c->tenant->leases++;
	c->tenant->holding++;
	c->tenant->waited += now - c->asked_at;
	s->holder[s->holders++] = c;
	set_deadlines(s, now);
	return c;
}

void sched_release(struct sched *s, struct sched_client *c, uint64_t end, uint64_t now)
{
	struct sched_tenant *t = c->tenant;

	if (c->state != SCHED_HOLDING)
		return;
	if (end < c->granted_at)
		end = c->granted_at;
	sched_account(s, end < now ? end : now);
	for (unsigned i = 0; i < s->holders; i++)
		if (s->holder[i] == c) {
			s->holder[i] = s->holder[--s->holders];
			break;
		}
	t->holding--;
	t->released_at = now;
	c->state = SCHED_IDLE;
	c->deadline = SCHED_NEVER;
	sched_account(s, now);
}

void sched_client_remove(struct sched *s, struct sched_client *c, uint64_t now)
{
	if (c->state == SCHED_HOLDING)
		sched_release(s, c, now, now);
	else if (c->state == SCHED_WAITING)
		dequeue(s, c);
	c->state = SCHED_IDLE;
}

uint64_t sched_next(const struct sched *s)
{
	uint64_t at = 0;

	if (!sched_contended(s) || s->holders == SCHED_HOLDERS_MAX)
		return SCHED_NEVER;
	for (unsigned i = 0; i < s->holders; i++) {
		if (s->holder[i]->deadline == SCHED_NEVER)
			return SCHED_NEVER;
		if (s->holder[i]->deadline + s->quantum > at)
			at = s->holder[i]->deadline + s->quantum;
	}
	return at;
}
