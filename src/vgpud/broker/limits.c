/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM may launch and copy per second, given out to its executors in portions: lease_page.h, "limits".
 * An executor that has used its portion up waits, with the rest of what its guest asked for left in the ring.
 */
#include "vgpud/broker/broker.h"
#include <unistd.h>

static uint64_t rate_of(const struct vm *vm, unsigned k)
{
	return k == LEASE_LAUNCHES ? vm->set.max_launches_per_second : vm->set.max_bytes_per_second;
}

static void allow(struct bexec *x, unsigned k, uint64_t upto)
{
	x->allowed[k] = upto;
	atomic_store(&x->page->allowed[k], upto);
}

/* Takes note of what it used; true: it has used up what it was given. */
static bool look(struct bexec *x, unsigned k, uint64_t now)
{
	uint64_t used = atomic_load(k == LEASE_LAUNCHES ? &x->page->launches : &x->page->bytes);

	if (x->allowed[k] == LEASE_NO_LIMIT)
		allow(x, k, used); /* the limit is new */
	if (used > x->allowed[k]) {
		limit_spend(&x->vm->limit[k], used - x->allowed[k], now);
		allow(x, k, used);
	}
	return used == x->allowed[k];
}

static unsigned count_waiting(const struct vm *vm, unsigned k)
{
	unsigned n = 0;

	list_for_each(it, &vm->broker->execs) {
		const struct bexec *x = list_entry(it, struct bexec, node);

		n += x->vm == vm && x->limited[k];
	}
	return n;
}

/* Who has waited longest comes first. */
static struct bexec *first_waiting(const struct vm *vm, unsigned k)
{
	struct bexec *first = NULL;

	list_for_each(it, &vm->broker->execs) {
		struct bexec *x = list_entry(it, struct bexec, node);

		if (x->vm == vm && x->limited[k] && (!first || x->limited[k] < first->limited[k]))
			first = x;
	}
	return first;
}

static void give(struct vm *vm, unsigned k, uint64_t now)
{
	unsigned waiting = count_waiting(vm, k);

	for (; waiting; waiting--) {
		uint64_t n = limit_portion(&vm->limit[k], waiting, now);
		struct bexec *x = first_waiting(vm, k);

		if (!n)
			return;
		limit_spend(&vm->limit[k], n, now);
		allow(x, k, x->allowed[k] + n);
		x->limited[k] = 0;
	}
}

static void set_timer(struct broker *b)
{
	uint64_t next = 0;

	list_for_each(it, &b->execs) {
		const struct bexec *x = list_entry(it, struct bexec, node);

		for (unsigned k = 0; x->vm && k < LEASE_LIMITS; k++) {
			uint64_t at = x->limited[k] ? limit_next(&x->vm->limit[k]) : 0;

			if (at && (!next || at < next))
				next = at;
		}
	}
	loop_timer_set(&b->limits_io, next);
}

/* Its words may have changed. */
void limits_look(struct bexec *x, uint64_t now)
{
	bool waits = false;

	for (unsigned k = 0; k < LEASE_LIMITS; k++) {
		if (!rate_of(x->vm, k) || !look(x, k, now))
			continue;
		if (!x->limited[k])
			x->limited[k] = now;
		give(x->vm, k, now);
		waits |= x->limited[k] != 0;
	}
	if (waits)
		set_timer(x->broker);
}

static void publish(struct bexec *x, uint64_t now)
{
	atomic_store(&x->page->queue_depth, (uint32_t)x->vm->set.queue_depth);
	for (unsigned k = 0; k < LEASE_LIMITS; k++)
		if (!rate_of(x->vm, k)) {
			allow(x, k, LEASE_NO_LIMIT);
			x->limited[k] = 0;
		}
	limits_look(x, now);
}

/* What an earlier broker allowed is over. */
void limits_begin(struct bexec *x, uint64_t now)
{
	for (unsigned k = 0; k < LEASE_LIMITS; k++)
		x->allowed[k] = LEASE_NO_LIMIT;
	publish(x, now);
}

void limits_changed(struct vm *vm)
{
	uint64_t now = now_ns();

	for (unsigned k = 0; k < LEASE_LIMITS; k++)
		if (rate_of(vm, k) != vm->limit[k].rate)
			limit_set(&vm->limit[k], rate_of(vm, k), now);
	list_for_each(it, &vm->broker->execs) {
		struct bexec *x = list_entry(it, struct bexec, node);

		if (x->vm == vm && x->page)
			publish(x, now);
	}
	set_timer(vm->broker);
}

/* Its last use counts as well: one large copy and a new program for the next would be no limit. */
void limits_end(struct bexec *x, uint64_t now)
{
	for (unsigned k = 0; x->page && k < LEASE_LIMITS; k++) {
		if (rate_of(x->vm, k))
			look(x, k, now);
		x->limited[k] = 0;
	}
}

static void on_timer(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;
	uint64_t n, now = now_ns();

	if (read(io->fd, &n, sizeof(n)) < 0)
		return; /* set anew meanwhile */
	list_for_each(it, &b->execs) {
		struct bexec *x = list_entry(it, struct bexec, node);

		for (unsigned k = 0; x->vm && k < LEASE_LIMITS; k++)
			if (x->limited[k])
				give(x->vm, k, now);
	}
	set_timer(b);
}

int limits_init(struct broker *b)
{
	return loop_timer_init(&b->loop, &b->limits_io, on_timer, b);
}
