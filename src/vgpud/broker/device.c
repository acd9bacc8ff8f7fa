/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's hands: lease pages, futexes, the timer.
 *
 * At its deadline a holder competes with those who wait: while its own tag is still the smallest it goes on
 * with a new deadline and never notices. Otherwise it is told to hand over at its next kernel boundary, and
 * who follows is settled by then. Only a holder that lost the comparison is interrupted, so a tenant with a
 * large share drains its pipeline once per turn, not once per quantum.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OF(c) list_entry(c, struct bexec, client)

static void tell_to_go(struct bexec *x, uint64_t now)
{
	x->revoked_at = now;
	atomic_store(&x->page->revoke, x->lease);
}

static void grant(struct bexec *x)
{
	x->revoked_at = 0;
	x->busy_seen = atomic_load(&x->page->busy_ns);
	atomic_store(&x->page->grant, x->lease);
	syscall(SYS_futex, &x->page->grant, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void released(struct bexec *x, uint64_t now)
{
	struct device *d = &x->broker->dev;

	if (x->revoked_at) {
		d->handovers++;
		d->handover_wait_ns += now - x->revoked_at;
	}
	x->revoked_at = 0;
	sched_release(&d->sched, &x->client, now, now);
}

/* lease_page.h: revoke first, then look whether it works. true: it did not, and is no holder any more. One
 * that just began will see, or has seen, that its lease is revoked, and gives it back by itself. */
static bool take_back(struct bexec *x, uint64_t now)
{
	tell_to_go(x, now);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&x->page->active))
		return false;
	x->revoked_at = 0; /* not a hand-over: nothing ran */
	released(x, now);
	return true;
}

static uint32_t waiters(const struct sched *s, const struct bexec *x)
{
	return sched_contended(s) ? LEASE_CONTENDED : x->client.tenant->cap ? LEASE_RETURN : LEASE_KEEP;
}

static void look_at_holders(struct sched *s, uint64_t now)
{
	for (unsigned i = 0; i < s->holders;) {
		struct bexec *x = OF(s->holder[i]);
		bool look = !x->revoked_at && (now >= x->client.deadline || !sched_contended(s)), gone = false;

		if (look && !sched_renew(s, &x->client, now))
			gone = take_back(x, now);
		if (!gone)
			atomic_store(&x->page->waiters, waiters(s, x));
		i += !gone; /* the holder that was last lies in its place */
	}
}

static uint64_t next_event(const struct sched *s)
{
	uint64_t at = sched_next(s);

	for (unsigned i = 0; i < s->holders; i++)
		if (!OF(s->holder[i])->revoked_at && s->holder[i]->deadline < at)
			at = s->holder[i]->deadline;
	return at == SCHED_NEVER ? 0 : at;
}

void device_step(struct broker *b, uint64_t now)
{
	struct sched *s = &b->dev.sched;
	struct sched_client *c;

	sched_account(s, now);
	look_at_holders(s, now);
	while ((c = sched_pick(s, now)))
		grant(OF(c));
	for (unsigned i = 0; i < s->holders; i++)
		atomic_store(&OF(s->holder[i])->page->waiters, waiters(s, OF(s->holder[i])));
	loop_timer_set(&b->dev.timer, next_event(s));
}

/* Granted, and given a quantum to notice; see lease_page.h. */
static bool waking(const struct sched *s, struct bexec *x, uint64_t now)
{
	return atomic_load(&x->page->claimed) != x->lease && now - x->client.granted_at < s->quantum;
}

static void reclaim_idle(struct sched *s, uint64_t now)
{
	for (unsigned i = 0; i < s->holders;) {
		struct bexec *x = OF(s->holder[i]);

		if (x->revoked_at || atomic_load(&x->page->active) || waking(s, x, now) || !take_back(x, now))
			i++;
	}
}

/* While it was alone its own word for idle time is taken: nobody lost anything by it. */
static uint64_t busy_part(struct bexec *x, uint64_t now, uint64_t ns)
{
	uint64_t busy = atomic_load(&x->page->busy_ns), since = atomic_load(&x->page->active_since), part;

	if (atomic_load(&x->page->active) && since < now)
		busy += now - since;
	part = busy > x->busy_seen ? busy - x->busy_seen : 0;
	x->busy_seen = busy;
	return part < ns ? part : ns;
}

static void on_charge(void *ctx, struct sched_tenant *t, uint64_t from, uint64_t to, uint64_t ns)
{
	struct sched *s = &((struct broker *)ctx)->dev.sched;
	struct vm *vm = t->owner;

	if (!sched_contended(s) && s->holders == 1)
		ns = busy_part(OF(s->holder[0]), to, ns);
	vm_timeline_add(vm, to, ns);
	vm->device_ns += ns;
}

static void on_timer(struct loop_io *io, uint32_t events)
{
	uint64_t n;

	if (read(io->fd, &n, sizeof(n)) > 0)
		device_step(io->arg, now_ns());
}

int device_init(struct broker *b)
{
	sched_init(&b->dev.sched, b->cfg.quantum_ns, b->dev.heap, VMS_MAX);
	b->dev.sched.on_charge = on_charge;
	b->dev.sched.ctx = b;
	return loop_timer_init(&b->loop, &b->dev.timer, on_timer, b);
}

/* It may have given back later leases as well before we looked: asked for, and not needed after all. */
static bool gave_up(uint32_t gave, uint32_t lease)
{
	return (int32_t)(gave - lease) >= 0;
}

/* The executor kicked: did it give back, does it want? Its words are numbers to compare, no more. */
void exec_look(struct bexec *x)
{
	struct sched *s = &x->broker->dev.sched;
	uint64_t now = now_ns();
	uint32_t want, gave;

	if (!x->page || !x->vm)
		return;
	limits_look(x, now);
	want = atomic_load(&x->page->want);
	gave = atomic_load(&x->page->released);
	if (x->client.state == SCHED_HOLDING && gave_up(gave, x->lease))
		released(x, now);
	else if (x->client.state == SCHED_WAITING && gave_up(gave, x->lease))
		sched_client_remove(s, &x->client, now);
	if (x->client.state == SCHED_IDLE && want != x->lease && want != gave) {
		x->lease = want;
		reclaim_idle(s, now);
		sched_ask(s, &x->client, now);
	}
	device_step(x->broker, now);
}

/* Reaped: whatever it held is free. */
void exec_lease_end(struct bexec *x)
{
	uint64_t now = now_ns();

	if (!x->page)
		return;
	sched_client_remove(&x->broker->dev.sched, &x->client, now);
	device_step(x->broker, now);
}
