/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may compute now: start-time fair queuing of one device among tenants.
 *
 * Pure code: no clock, no I/O, no allocation; the caller passes `now` (ns, any monotonic origin) and
 * carries out what the functions return. One struct sched per device. Not thread-safe.
 *
 *   tenant  a VM. Has a share (priority x weight, any positive number) and a virtual start tag.
 *   client  one executor of a tenant. Clients of a tenant take turns within the tenant's share.
 *
 *   sched_ask()      a client wants the lease              -> it waits
 *   sched_pick()     is anybody to be granted now?         -> the client to grant
 *   sched_ending()   a holder told to hand over will be done in a moment -> the next sched_pick() may grant
 *   sched_release()  a holder is done (or was killed)      -> charged, the next sched_pick() may grant
 *   sched_renew()    a holder's deadline came, or nobody waits any more -> may it go on?
 *   sched_next()     when to call sched_pick() again although nothing happened
 *
 * A holder that hands over because its deadline came, and has more to do, must be asked for again
 * (sched_ask) BEFORE the next sched_pick(): otherwise it looks idle for an instant. A holder found
 * idle is released, with the instant its work ended, BEFORE the newcomer's sched_ask(): asking charges
 * holders up to now.
 *
 * Tags are device nanoseconds divided by share, so a tenant with twice the share advances half as
 * fast. A tenant that was away re-enters at the current virtual time: it gets no credit for having
 * been idle and owes nothing for having been alone. An absence shorter than SCHED_ABSENCE_QUANTA does
 * not count as one (a program that synchronises after each kernel is not idle, nor is one whose host
 * is too busy to ask at once), with the credit so kept bounded by SCHED_CREDIT_QUANTA of its own.
 *
 * Who comes while one with a larger tag holds the lease would have gone first had it come in time: that turn was
 * lent. It ends at once, but for SCHED_LENT_PARTS of a quantum that make the switch worth while.
 *
 * Reservation: at least so many percent of the device's time whenever it has work. What it is owed by that
 * accrues while it waits or holds beside others, and a tenant owed something goes before all tags. Such a turn is
 * taken off what it is owed, in full, and moves its tag like any other; a turn by its tag is not taken off. So
 * by its tag it gets what its share has more than its reservation, the larger of both in all, and the others divide
 * the rest by share, however long the kernels. A tag that a reservation above the share has carried away is taken
 * back to SCHED_CREDIT_QUANTA before the others: its share counts again once they leave. The sum over a device must
 * not exceed 100; the caller sees to it.
 * Cap: never more than so many percent, even if the device idles. A tenant that has used up its budget is
 * parked: it waits, but competes with nobody, until it has earned a quantum.
 *
 * A tenant may overrun in one place only: its other clients wait until that one is back, so that one tenant's
 * endless kernels never fill the places of others. sched_set_concurrent() admits everybody at once instead: no shares
 * are promised; caps hold, of the time that is split evenly among those who hold a lease.
 *
 * Waiting is bounded: with n tenants a tenant of share w out of a sum W gets its turn within W/w quanta + n of
 * the longest units, one that comes back from a short absence delaying it by SCHED_CREDIT_QUANTA at most.
 * (Reservations take their part first.)
 *
 * Charging: from grant to release by the caller's clock. Normally one client holds the lease, but for the
 * moment in which one is ending and the next wakes up. When a holder has overrun its deadline by one quantum
 * the next is admitted as well (a kernel cannot be stopped half-way; the hardware time-slices). The time they
 * spend together is split evenly, so who says that it is ending and goes on gets what any overrun gets.
 */
#ifndef VGPUD_SCHED_H
#define VGPUD_SCHED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHED_QUANTUM_NS 2000000ull
#define SCHED_CREDIT_QUANTA 16
#define SCHED_ABSENCE_QUANTA 10 /* with 1, two loaded cores cost a tenant owed 4/7 some 2.6 points */
#define SCHED_OVERRUNS_MAX 8 /* overrunning holders admitted side by side before newcomers just wait */
#define SCHED_HOLDERS_MAX 256 /* the same for `concurrent`, overrunning or not */
#define SCHED_OWED_QUANTA 16 /* a reservation's arrears, at most */
#define SCHED_LENT_PARTS 4 /* what is lent lasts a quarter of a quantum at least */
#define SCHED_BURST_QUANTA 4 /* what a cap's budget holds at most */
#define SCHED_NEVER UINT64_MAX

enum sched_state { SCHED_IDLE, SCHED_WAITING, SCHED_HOLDING };

struct sched_client {
	struct sched_tenant *tenant;
	struct sched_client *next; /* in the tenant's FIFO of waiting clients */
	enum sched_state state;
	uint64_t asked_at, granted_at;
	uint64_t deadline; /* while HOLDING; SCHED_NEVER while nobody else waits and no cap ends it */
	bool alone;	   /* nobody waited when its deadline was set */
	bool owed_turn;	   /* this turn is its reservation's */
	bool ending;	   /* its last kernels run: another may begin beside it */
	bool beside;	   /* admitted beside others by sched_set_concurrent() */
	double turn_tag;   /* its tenant's tag when this turn began */
	uint64_t charged;  /* ns of device time, all leases */
	uint64_t leases;
};

struct sched_tenant {
	uint32_t share;		/* > 0 */
	double start_tag;	/* virtual time at which its next quantum starts */
	uint64_t seq;		/* order of arrival among equal tags */
	size_t heap_at;		/* position + 1 in the heap; 0 = nothing of it waits */
	struct sched_client *first, *last;
	unsigned holding;	/* leases its clients hold */
	uint32_t cap, reservation; /* percent of the device's time; 0: none */
	double budget;		/* ns it may still use under its cap; negative: used in advance */
	uint64_t budget_at;	/* up to here it was earned */
	double owed;		/* ns under its reservation; negative: overrun */
	uint64_t owed_at;
	bool parked;
	struct sched_tenant *next_parked, *next_reserved;
	uint64_t released_at;	/* when it last gave a lease back */
	uint64_t charged;	/* ns of device time */
	uint64_t waited;	/* ns its clients spent between ask and grant */
	uint64_t leases;
	void *owner;		/* the caller's */
};

/* In the heap: the keys beside it, so that a comparison need not look at the tenant. */
struct sched_slot {
	double start_tag;
	uint64_t seq;
	struct sched_tenant *tenant;
};

struct sched {
	uint64_t quantum; /* ns */
	double vtime;	  /* start tag of the least-served active tenant */
	uint64_t seq;
	struct sched_slot *heap; /* waiting tenants, smallest start tag first; the caller's array */
	size_t heap_cap, heap_len;
	bool concurrent;
	struct sched_tenant *parked, *reserved;
	uint64_t unpark_at; /* earliest instant at which one of parked may compete again */
	struct sched_client *holder[SCHED_HOLDERS_MAX];
	unsigned holders;
	uint64_t accounted; /* up to here holders have been charged */
	uint64_t busy;	    /* ns during which somebody held the lease */
	/* Told of every charge, for time lines: of the wall time [from, to), `ns` is this tenant's. May be NULL. */
	void (*on_charge)(void *ctx, struct sched_tenant *t, uint64_t from, uint64_t to, uint64_t ns);
	void *ctx;
};

/* heap: room for every tenant that can exist at once; the caller owns it. */
void sched_init(struct sched *s, uint64_t quantum_ns, struct sched_slot *heap, size_t heap_cap);
void sched_tenant_init(struct sched_tenant *t, uint32_t share, void *owner);
/* Takes effect with the next charge. */
void sched_tenant_set_share(struct sched_tenant *t, uint32_t share);
/* Percent, 0: none. At once: a parked tenant is looked at again by the next sched_pick(), a holder by the next
 * sched_renew(), to which it is brought by setting its deadline to now. */
void sched_tenant_set_limits(struct sched *s, struct sched_tenant *t, uint32_t cap, uint32_t reservation, uint64_t now);
/* It has no clients any more and ends. */
void sched_tenant_remove(struct sched *s, struct sched_tenant *t);

/* Counts for turns that have begun as well: a shorter one may be over. */
void sched_set_quantum(struct sched *s, uint64_t quantum_ns, uint64_t now);
/* Takes effect with the next sched_renew() of each holder, which is due now. */
void sched_set_concurrent(struct sched *s, bool on);

void sched_client_init(struct sched_client *c, struct sched_tenant *t);
/* false: already waiting or holding, or more tenants than heap_cap; nothing changed. Holders' deadlines
 * may have been set: publish them again. */
bool sched_ask(struct sched *s, struct sched_client *c, uint64_t now);
/* Grant at most one lease; NULL if nobody waits or the device is taken. Call until NULL. */
struct sched_client *sched_pick(struct sched *s, uint64_t now);
/* The holder goes on (true, with a new deadline), or is to hand over (false). Call when its deadline came, or
 * when nobody waits. */
bool sched_renew(struct sched *s, struct sched_client *c, uint64_t now);
/* c, which lost sched_renew() or whose deadline was taken from it, says so; not of a lease that may go on. */
void sched_ending(struct sched_client *c);
/* `end` <= now: when its work ended (a holder found idle is not charged for idling). */
void sched_release(struct sched *s, struct sched_client *c, uint64_t end, uint64_t now);
/* Whatever it is doing, forget it (its executor died). */
void sched_client_remove(struct sched *s, struct sched_client *c, uint64_t now);
/* Charge the present holders up to `now`, so that figures are fresh. */
void sched_account(struct sched *s, uint64_t now);
/* Next instant at which sched_pick() could grant without a release; SCHED_NEVER if none. */
uint64_t sched_next(const struct sched *s);
static inline bool sched_contended(const struct sched *s)
{
	return s->heap_len > 0;
}
#endif
