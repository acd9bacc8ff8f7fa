/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's hands: lease pages, doorbells, the timer.
 *
 * At its deadline a holder competes with those who wait: while its own tag is still the smallest it goes on
 * with a new deadline and never notices. Otherwise it is told to hand over at its next kernel boundary, and
 * who follows is granted when it says that its last kernels run, so that the wake-ups of the one happen beside
 * the kernels of the other. Only a holder that lost the comparison is interrupted, so a tenant with a
 * large share drains its pipeline once per turn, not once per quantum.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OF(c) list_entry(c, struct bexec, client)

static void tell_to_go(struct bexec *x, uint64_t now)
{
	x->revoked_at = now;
	atomic_store(&x->page->revoke, x->lease);
}

static void grant(struct bexec *x)
{
	hist_add(&x->vm->times[TIME_QUEUE_WAIT], x->client.granted_at - x->client.asked_at);
	x->revoked_at = 0;
	x->busy_seen = atomic_load(&x->page->busy_ns);
	atomic_store(&x->page->grant, x->lease);
	irq_raise(x->channel->conn->bells[VGPU_VECTOR_CHANNEL(x->channel->index)]);
}

static void released(struct bexec *x, uint64_t now)
{
	struct device *d = x->device;

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
	/* Side by side, time is charged to all who hold: who idles would pay for the others. */
	if (sched_contended(s) || (s->concurrent && s->holders > 1))
		return LEASE_CONTENDED;
	return x->client.tenant->cap ? LEASE_RETURN : LEASE_KEEP;
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

void device_step(struct device *d, uint64_t now)
{
	struct sched *s = &d->sched;
	struct sched_client *c;

	sched_account(s, now);
	look_at_holders(s, now);
	while ((c = sched_pick(s, now)))
		grant(OF(c));
	for (unsigned i = 0; i < s->holders; i++)
		atomic_store(&OF(s->holder[i])->page->waiters, waiters(s, OF(s->holder[i])));
	loop_timer_set(&d->timer, next_event(s));
}

void devices_step(struct broker *b, uint64_t now)
{
	list_for_each(n, &b->devices)
		device_step(list_entry(n, struct device, node), now);
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
	struct sched *s = &((struct device *)ctx)->sched;
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

/* The configuration may make all concurrent, a pool its own. */
void device_follow_policy(struct device *d)
{
	sched_set_concurrent(&d->sched, d->pool->concurrent || d->broker->cfg.policy == POLICY_CONCURRENT);
}

struct device *device_new(struct broker *b, const char *name, const struct ipc_device *id)
{
	struct device *d = calloc(1, sizeof(*d));
	struct sched_slot *heap = calloc(VMS_MAX, sizeof(*heap));

	if (!d || !heap || loop_timer_init(&b->loop, &d->timer, on_timer, d)) {
		free(d);
		free(heap);
		return NULL;
	}
	d->broker = b;
	d->pool = list_entry(b->pools.next, struct pool, node);
	d->id = *id;
	d->numa_node = PLACE_NODE_NONE;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->heap = heap;
	sched_init(&d->sched, b->cfg.quantum_ns, d->heap, VMS_MAX);
	device_follow_policy(d);
	d->sched.on_charge = on_charge;
	d->sched.ctx = d;
	list_add_tail(&b->devices, &d->node);
	return d;
}

int devices_init(struct broker *b)
{
	bool cpu = strstr(b->cfg.driver, "softcuda");

	if (!pool_new(b, POOL_DEFAULT))
		return -ENOMEM;
	for (uint32_t i = 0; i < b->cfg.devices; i++) {
		struct ipc_device id = {.ordinal = (uint32_t)b->cfg.device + i};
		char name[IPC_NAME_LEN];
		struct device *d;

		snprintf(name, sizeof(name), "%s%u", cpu ? "softcuda" : "cuda", id.ordinal);
		d = device_new(b, name, &id);
		if (!d)
			return -ENOMEM;
		d->cpu = cpu;
	}
	return 0;
}

void device_free(struct device *d)
{
	loop_del(&d->broker->loop, &d->timer);
	close(d->timer.fd);
	list_del(&d->node);
	free(d->heap);
	free(d);
}

void devices_reap(struct broker *b)
{
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);
		bool used = !d->doomed;

		list_for_each(it, &b->execs)
			used |= list_entry(it, struct bexec, node)->device == d;
		if (!used)
			device_free(d);
	}
}

struct device *device_absent(struct broker *b, const char *name)
{
	struct device *d = device_new(b, name, &(struct ipc_device){0});

	if (!d)
		return NULL;
	d->absent = true;
	snprintf(d->reason, sizeof(d->reason), "vgpud.conf does not name it any more");
	return d;
}

static void leave(struct device *d)
{
	list_for_each(n, &d->broker->vms) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm_counts_on(vm, d))
			vm_settle(vm);
	}
	if (device_vms(d))
		return;
	log_info("device %s is forgotten: %s", d->name, d->reason);
	event_add(d->broker, "device-removed", d->name, "%s", d->reason);
	d->doomed = true;
	state_forget_device(d);
}

void devices_leave(struct broker *b)
{
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);

		if (d->absent && !d->doomed)
			leave(d);
	}
	devices_reap(b);
}

void devices_end(struct broker *b)
{
	list_for_each(n, &b->devices)
		device_free(list_entry(n, struct device, node));
	list_for_each(n, &b->pools)
		pool_free(list_entry(n, struct pool, node));
}

void devices_reconfigured(struct broker *b)
{
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);

		sched_set_quantum(&d->sched, b->cfg.quantum_ns, now_ns());
		device_follow_policy(d);
		device_step(d, now_ns());
	}
}

struct device *device_first(const struct broker *b)
{
	return list_entry(b->devices.next, struct device, node);
}

bool devices_answered(const struct broker *b)
{
	list_for_each(n, &b->devices)
		if (!list_entry(n, struct device, node)->answered)
			return false;
	return true;
}

/* It may have given back later leases as well before we looked: asked for, and not needed after all. */
static bool gave_up(uint32_t gave, uint32_t lease)
{
	return (int32_t)(gave - lease) >= 0;
}

/* The executor kicked: did it give back, does it want? Its words are numbers to compare, no more. */
void exec_look(struct bexec *x)
{
	struct sched *s = &x->device->sched;
	uint64_t now = now_ns();
	uint32_t want, gave;

	if (!x->page || !x->vm)
		return;
	limits_look(x, now);
	want = atomic_load(&x->page->want);
	gave = atomic_load(&x->page->released);
	if (x->client.state == SCHED_HOLDING && gave_up(gave, x->lease))
		released(x, now);
	else if (x->revoked_at && atomic_load(&x->page->ending) == x->lease)
		sched_ending(&x->client);
	else if (x->client.state == SCHED_WAITING && gave_up(gave, x->lease))
		sched_client_remove(s, &x->client, now);
	if (x->client.state == SCHED_IDLE && want != x->lease && want != gave) {
		x->lease = want;
		reclaim_idle(s, now);
		sched_ask(s, &x->client, now);
	}
	device_step(x->device, now);
}

/* Reaped: whatever it held is free. */
void exec_lease_end(struct bexec *x)
{
	uint64_t now = now_ns();

	if (!x->page)
		return;
	sched_client_remove(&x->device->sched, &x->client, now);
	device_step(x->device, now);
}
