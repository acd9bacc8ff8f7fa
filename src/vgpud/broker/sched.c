/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/sched.h"

#include <string.h>

void sched_init(struct sched *s, uint64_t quantum_ns, struct sched_slot *heap, size_t heap_cap)
{
	memset(s, 0, sizeof(*s));
	s->quantum = quantum_ns;
	s->heap = heap;
	s->heap_cap = heap_cap;
	s->unpark_at = SCHED_NEVER;
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

/* ---- heap of waiting tenants: four children each, which lie in two cache lines */

#define KIDS 4

static bool before(const struct sched_slot *a, const struct sched_slot *b)
{
	/* Without branches: which of them is smaller cannot be predicted. */
	return (a->start_tag < b->start_tag) | ((a->start_tag == b->start_tag) & (a->seq < b->seq));
}

static void place(struct sched *s, size_t i, struct sched_slot slot)
{
	s->heap[i] = slot;
	slot.tenant->heap_at = i + 1;
}

static void sift_up(struct sched *s, size_t i)
{
	struct sched_slot slot = s->heap[i];

	for (size_t up; i > 0 && before(&slot, &s->heap[up = (i - 1) / KIDS]); i = up)
		place(s, i, s->heap[up]);
	place(s, i, slot);
}

static void sift_down(struct sched *s, size_t i)
{
	struct sched_slot slot = s->heap[i];

	for (size_t kid; (kid = KIDS * i + 1) < s->heap_len; i = kid) {
		size_t end = kid + KIDS < s->heap_len ? kid + KIDS : s->heap_len;

		for (size_t k = kid + 1; k < end; k++)
			kid = before(&s->heap[k], &s->heap[kid]) ? k : kid;
		if (!before(&s->heap[kid], &slot))
			break;
		place(s, i, s->heap[kid]);
	}
	place(s, i, slot);
}

static void heap_insert(struct sched *s, struct sched_tenant *t)
{
	t->seq = s->seq++;
	place(s, s->heap_len++, (struct sched_slot){ t->start_tag, t->seq, t });
	sift_up(s, s->heap_len - 1);
}

static void heap_remove(struct sched *s, struct sched_tenant *t)
{
	size_t i = t->heap_at - 1;
	struct sched_slot last = s->heap[--s->heap_len];

	t->heap_at = 0;
	if (last.tenant == t)
		return;
	place(s, i, last);
	sift_up(s, i);
	sift_down(s, last.tenant->heap_at - 1);
}

/* Its tag has changed. */
static void heap_moved(struct sched *s, struct sched_tenant *t)
{
	s->heap[t->heap_at - 1].start_tag = t->start_tag;
	sift_up(s, t->heap_at - 1);
	sift_down(s, t->heap_at - 1);
}

/* The smallest tag among those without a lease: what is skipped holds one, so there are few. */
static const struct sched_slot *least_without(const struct sched *s, size_t i)
{
	const struct sched_slot *best = NULL;

	if (i >= s->heap_len)
		return NULL;
	if (!s->heap[i].tenant->holding)
		return &s->heap[i];
	for (size_t k = KIDS * i + 1; k <= KIDS * i + KIDS; k++) {
		const struct sched_slot *a = least_without(s, k);

		if (a && (!best || before(a, best)))
			best = a;
	}
	return best;
}

/* ---- caps and reservations */

static void earn(const struct sched *s, struct sched_tenant *t, uint64_t now)
{
	double most = (double)SCHED_BURST_QUANTA * (double)s->quantum;

	if (now > t->budget_at) {
		t->budget += (double)(now - t->budget_at) * t->cap / 100;
		t->budget_at = now;
	}
	if (t->budget > most)
		t->budget = most;
}

/* What is not worth a lease is nothing: the end of a budget is not approached in ever smaller steps. */
static bool used_up(const struct sched *s, struct sched_tenant *t, uint64_t now)
{
	if (!t->cap)
		return false;
	earn(s, t, now);
	return t->budget <= (double)s->quantum / 64;
}

/* When it will have used up its budget, if as many compute as now. */
static uint64_t cap_end(const struct sched *s, struct sched_tenant *t, uint64_t now)
{
	double loss = 1.0 / (s->holders ? s->holders : 1) - t->cap / 100.0;

	if (!t->cap || loss <= 0)
		return SCHED_NEVER;
	earn(s, t, now);
	return now + (t->budget > 0 ? (uint64_t)(t->budget / loss) : 0);
}

/* Owed by its reservation? Work earns that waits or runs beside others; being away or alone pays back what was overrun. */
static double owed(const struct sched *s, struct sched_tenant *t, uint64_t now)
{
	bool beside = (t->holding || t->heap_at) && (s->heap_len || s->holders > 1);
	double most = beside ? (double)SCHED_OWED_QUANTA * (double)s->quantum : 0;

	if (!t->reservation)
		return 0;
	if (now > t->owed_at && t->owed < most) {
		t->owed += (double)(now - t->owed_at) * t->reservation / 100;
		t->owed = t->owed > most ? most : t->owed;
	}
	if (now > t->owed_at)
		t->owed_at = now;
	return t->owed;
}

static void park(struct sched *s, struct sched_tenant *t, uint64_t now)
{
	double need = (double)s->quantum - t->budget;
	uint64_t at = now + 1 + (uint64_t)(need * 100 / t->cap);

	t->parked = true;
	t->next_parked = s->parked;
	s->parked = t;
	if (at < s->unpark_at)
		s->unpark_at = at;
}

static void unlink_parked(struct sched *s, struct sched_tenant *t)
{
	struct sched_tenant **p = &s->parked;

	while (*p != t)
		p = &(*p)->next_parked;
	*p = t->next_parked;
	t->parked = false;
}

/* ---- charging */

static void charge(struct sched *s, struct sched_client *c, uint64_t from, uint64_t to, uint64_t ns)
{
	struct sched_tenant *t = c->tenant;

	c->charged += ns;
	t->charged += ns;
	if (t->cap) {
		earn(s, t, to);
		t->budget -= (double)ns;
	}
	if (t->reservation)
		owed(s, t, to);
	if (c->owed_turn)
		t->owed -= (double)ns;
	if (!s->concurrent) /* what is not divided by share is no debt under one */
		t->start_tag += (double)ns / t->share;
	if (t->heap_at && used_up(s, t, to)) {
		heap_remove(s, t);
		park(s, t, to);
	} else if (t->heap_at) {
		heap_moved(s, t); /* another of its clients waits */
	}
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
	if (s->heap_len && s->heap[0].start_tag < least)
		least = s->heap[0].start_tag;
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

/* Somebody waits for one of the holders to go. */
static bool crowded(const struct sched *s)
{
	return s->heap_len > 0 && (!s->concurrent || s->holders == SCHED_HOLDERS_MAX);
}

/* Holders hold without end only while nobody waits. */
static void set_deadlines(struct sched *s, uint64_t now)
{
	if (!crowded(s))
		return; /* a deadline once set stands: at worst one early hand-over */
	for (unsigned i = 0; i < s->holders; i++) {
		struct sched_client *c = s->holder[i];
		uint64_t full = c->granted_at + s->quantum;

		if (!c->alone)
			continue;
		c->alone = false;
		full = full > now ? full : now;
		c->deadline = full < c->deadline ? full : c->deadline;
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
	else if (t->owed > 0)
		t->owed = 0;
	if (t->start_tag < floor)
		t->start_tag = floor;
}

static void enter(struct sched *s, struct sched_tenant *t, uint64_t now)
{
	owed(s, t, now); /* away it earned nothing */
	re_enter(s, t, now);
	heap_insert(s, t);
}

/* Those that have earned something compete again. */
static void unpark(struct sched *s, uint64_t now)
{
	struct sched_tenant *all = s->parked, *t;

	if (now < s->unpark_at)
		return;
	s->parked = NULL;
	s->unpark_at = SCHED_NEVER;
	while ((t = all)) {
		all = t->next_parked;
		t->parked = false;
		if (t->cap)
			earn(s, t, now);
		if (!t->cap || t->budget >= (double)s->quantum)
			enter(s, t, now);
		else
			park(s, t, now);
	}
	set_deadlines(s, now);
}

/* t has come: turns it would have gone before are over. */
static void end_lent(struct sched *s, struct sched_tenant *t, uint64_t now)
{
	bool is_owed = owed(s, t, now) > 0;

	for (unsigned i = 0; i < s->holders && !s->concurrent; i++) {
		struct sched_client *h = s->holder[i];
		uint64_t end = h->granted_at + s->quantum / SCHED_LENT_PARTS;

		if (h->tenant == t || h->owed_turn || (!is_owed && t->start_tag >= h->turn_tag))
			continue;
		end = end > now ? end : now;
		h->deadline = end < h->deadline ? end : h->deadline;
	}
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
	if (!t->heap_at && !t->parked) {
		if (used_up(s, t, now))
			park(s, t, now);
		else
			enter(s, t, now);
	}
	set_deadlines(s, now);
	if (t->heap_at)
		end_lent(s, t, now);
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
	if (!t->first && t->parked)
		unlink_parked(s, t);
	else if (!t->first)
		heap_remove(s, t);
}

/* ---- grant and release */

/* From when on others are admitted beside it. */
static uint64_t over_at(const struct sched *s, const struct sched_client *holder)
{
	if (holder->ending)
		return 0;
	return holder->deadline == SCHED_NEVER ? SCHED_NEVER : holder->deadline + s->quantum;
}

/* So they count for nothing in who comes next; one that says so and stays is an overrun a quantum later. */
static bool all_as_good_as_gone(const struct sched *s, uint64_t now)
{
	for (unsigned i = 0; i < s->holders; i++)
		if (!s->holder[i]->ending || now >= s->holder[i]->deadline + s->quantum)
			return false;
	return true;
}

static bool room(const struct sched *s, uint64_t now)
{
	if (s->concurrent)
		return s->holders < SCHED_HOLDERS_MAX;
	if (s->holders >= SCHED_OVERRUNS_MAX)
		return false;
	for (unsigned i = 0; i < s->holders; i++)
		if (now < over_at(s, s->holder[i]))
			return false;
	return true;
}

/* Who waits and goes first. places: also those that hold a lease already. */
static struct sched_tenant *first_waiting(struct sched *s, bool places, uint64_t now)
{
	const struct sched_slot *least;
	struct sched_tenant *best = NULL;

	for (struct sched_tenant *t = s->reserved; t; t = t->next_reserved)
		if (t->heap_at && (places || !t->holding) && owed(s, t, now) > 0 && (!best || t->owed > best->owed))
			best = t;
	if (best || !s->heap_len)
		return best;
	least = places ? &s->heap[0] : least_without(s, 0);
	return least ? least->tenant : NULL;
}

/* See the head of sched.h: what a reservation above the share has moved its tag away is no debt. */
static void pull_tag(struct sched *s, struct sched_tenant *t, double quanta)
{
	double most = s->vtime + quanta * (double)s->quantum / t->share;

	if (t->start_tag <= most)
		return;
	t->start_tag = most;
	if (t->heap_at)
		heap_moved(s, t);
}

static void begin_turn(struct sched *s, struct sched_client *c, uint64_t now)
{
	uint64_t end = cap_end(s, c->tenant, now);

	/* Who holds beside it is about to ask again. */
	c->alone = !crowded(s) && (s->concurrent || s->holders == 1);
	c->owed_turn = !c->alone && owed(s, c->tenant, now) > 0;
	if (c->owed_turn)
		pull_tag(s, c->tenant, SCHED_CREDIT_QUANTA);
	c->turn_tag = c->tenant->start_tag;
	c->ending = false;
	c->beside = s->concurrent;
	c->deadline = c->alone || end < now + s->quantum ? end : now + s->quantum;
}

static bool goes_before(struct sched *s, struct sched_tenant *t, struct sched_tenant *holder, uint64_t now)
{
	double mine = owed(s, t, now), its = owed(s, holder, now);

	if (mine > 0 || its > 0)
		return mine > 0 && mine >= its;
	return t->start_tag <= holder->start_tag;
}

bool sched_renew(struct sched *s, struct sched_client *c, uint64_t now)
{
	sched_account(s, now);
	unpark(s, now);
	if (c->state != SCHED_HOLDING || used_up(s, c->tenant, now) ||
	    (c->beside && !s->concurrent && s->holders > 1))
		return false;
	if (!s->concurrent && s->holders > 1 && now < c->deadline)
		return true; /* who ends beside it will ask again: the turn stays what it is */
	if (crowded(s) && goes_before(s, first_waiting(s, true, now), c->tenant, now))
		return false;
	begin_turn(s, c, now);
	return true;
}

struct sched_client *sched_pick(struct sched *s, uint64_t now)
{
	struct sched_tenant *t;
	struct sched_client *c;

	unpark(s, now);
	if (!sched_contended(s) || !room(s, now))
		return NULL;
	sched_account(s, now);
	t = first_waiting(s, s->concurrent || all_as_good_as_gone(s, now), now);
	if (!t)
		return NULL;
	c = t->first;
	dequeue(s, c);
	c->state = SCHED_HOLDING;
	c->granted_at = now;
	c->leases++;
	c->tenant->leases++;
	c->tenant->holding++;
	c->tenant->waited += now - c->asked_at;
	s->holder[s->holders++] = c;
	begin_turn(s, c, now);
	set_deadlines(s, now);
	return c;
}

void sched_ending(struct sched_client *c)
{
	c->ending = c->state == SCHED_HOLDING;
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

	if (!sched_contended(s) || s->concurrent || s->holders >= SCHED_OVERRUNS_MAX || !least_without(s, 0))
		return s->unpark_at;
	for (unsigned i = 0; i < s->holders; i++)
		if (over_at(s, s->holder[i]) > at)
			at = over_at(s, s->holder[i]);
	return at < s->unpark_at ? at : s->unpark_at;
}

/* ---- tenants' limits */

static void unlink_reserved(struct sched *s, struct sched_tenant *t)
{
	for (struct sched_tenant **p = &s->reserved; *p; p = &(*p)->next_reserved)
		if (*p == t) {
			*p = t->next_reserved;
			return;
		}
}

void sched_tenant_set_limits(struct sched *s, struct sched_tenant *t, uint32_t cap, uint32_t reservation, uint64_t now)
{
	sched_account(s, now);
	if (cap && !t->cap) {
		t->budget = (double)s->quantum;
		t->budget_at = now;
	}
	t->cap = cap;
	if (t->parked)
		s->unpark_at = now;
	unlink_reserved(s, t);
	owed(s, t, now);
	t->owed_at = now;
	if (!reservation || !t->reservation)
		t->owed = 0;
	if (t->reservation)
		pull_tag(s, t, 1);
	t->reservation = reservation;
	if (reservation) {
		t->next_reserved = s->reserved;
		s->reserved = t;
	}
	for (unsigned i = 0; i < s->holders; i++)
		if (s->holder[i]->tenant == t)
			s->holder[i]->deadline = now;
}

void sched_tenant_remove(struct sched *s, struct sched_tenant *t)
{
	unlink_reserved(s, t);
}

void sched_set_quantum(struct sched *s, uint64_t quantum_ns, uint64_t now)
{
	s->quantum = quantum_ns;
	for (unsigned i = 0; i < s->holders; i++) {
		struct sched_client *c = s->holder[i];

		if (c->deadline != SCHED_NEVER && c->deadline > c->granted_at + quantum_ns)
			c->deadline = c->granted_at + quantum_ns > now ? c->granted_at + quantum_ns : now;
	}
}

void sched_set_concurrent(struct sched *s, bool on)
{
	if (s->concurrent == on)
		return;
	s->concurrent = on;
	for (unsigned i = 0; i < s->holders; i++)
		s->holder[i]->deadline = 0;
}
