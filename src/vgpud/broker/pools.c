/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools, named sets of devices, and where in its pool a VM lives. A device is in one pool, "default" unless another
 * has claimed it; a VM is on one device of its pool. One that is connected goes on where it is: `next` is where it
 * will be once it is not, with memory and time reserved there as here.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>

struct pool *pool_by_name(const struct broker *b, const char *name)
{
	list_for_each(n, &b->pools) {
		struct pool *p = list_entry(n, struct pool, node);

		if (!strcmp(p->name, name))
			return p;
	}
	return NULL;
}

struct device *device_by_name(const struct broker *b, const char *name)
{
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);

		if (!strcmp(d->name, name))
			return d;
	}
	return NULL;
}

struct pool *pool_new(struct broker *b, const char *name)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->broker = b;
	snprintf(p->name, sizeof(p->name), "%s", name);
	list_add_tail(&b->pools, &p->node);
	return p;
}

void pool_free(struct pool *p)
{
	list_del(&p->node);
	free(p);
}

unsigned pool_number(const struct pool *p)
{
	unsigned i = 0;

	list_for_each(n, &p->broker->pools) {
		if (list_entry(n, struct pool, node) == p)
			return i;
		i++;
	}
	return 0;
}

void pool_set_policy(struct pool *p, bool concurrent)
{
	p->concurrent = concurrent;
	list_for_each(n, &p->broker->devices) {
		struct device *d = list_entry(n, struct device, node);

		if (d->pool != p)
			continue;
		device_follow_policy(d);
		device_step(d, now_ns());
	}
}

void device_set_pool(struct device *d, struct pool *p)
{
	d->pool = p;
	device_follow_policy(d);
	device_step(d, now_ns());
}

/* ---- what is on a device ---- */

bool vm_counts_on(const struct vm *vm, const struct device *d)
{
	return vm->device == d || vm->next == d;
}

uint64_t device_reserved(const struct device *d)
{
	uint64_t sum = 0;

	list_for_each(n, &d->broker->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		sum += vm_counts_on(vm, d) ? vm->set.quota + d->broker->cfg.context_overhead : 0;
	}
	return sum;
}

static uint64_t shares_on(const struct device *d, const struct vm *but)
{
	uint64_t sum = 0;

	list_for_each(n, &d->broker->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		sum += vm != but && vm_counts_on(vm, d) ? vm->tenant.share : 0;
	}
	return sum;
}

uint64_t device_reservations(const struct device *d, const struct vm *but)
{
	uint64_t sum = 0;

	list_for_each(n, &d->broker->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		sum += vm != but && vm_counts_on(vm, d) ? vm->set.reservation : 0;
	}
	return sum;
}

unsigned device_vms(const struct device *d)
{
	unsigned n = 0;

	list_for_each(it, &d->broker->vms)
		n += vm_counts_on(list_entry(it, struct vm, node), d);
	return n;
}

/* ---- placement ---- */

/* Either may have been assigned when the other's UUID was not to be had. */
bool device_linked(const struct device *a, const struct device *b)
{
	return a != b && ((b->id.uuid[0] && strstr(a->peers, b->id.uuid)) || (a->id.uuid[0] && strstr(b->peers, a->id.uuid)));
}

static unsigned idle_peers(const struct device *d)
{
	unsigned n = 0;

	list_for_each(it, &d->broker->devices) {
		const struct device *o = list_entry(it, struct device, node);

		n += device_serves(o) && device_linked(d, o) && !device_vms(o);
	}
	return n;
}

static struct place_device describe(const struct device *d, const struct vm *self)
{
	uint64_t own = self && vm_counts_on(self, d) ? self->set.quota + d->broker->cfg.context_overhead : 0;

	return (struct place_device){.name = d->name, .in_service = device_serves(d), .cpu = d->cpu,
		.memory = d->info.total_mem, .reserved = device_reserved(d) - own, .shares = shares_on(d, self),
		.reservations = device_reservations(d, self), .node = d->numa_node, .idle_peers = idle_peers(d)};
}

struct vgpu_err *vm_choose(struct pool *p, const struct vm *self, const struct vm_settings *s, struct device **out, char *why)
{
	struct place_device d[DEVICES_MAX];
	struct device *which[DEVICES_MAX];
	struct place_request r = {.quota = s->quota ? s->quota : p->broker->cfg.default_quota,
				  .overhead = p->broker->cfg.context_overhead, .reservation = s->reservation,
				  .node = (uint32_t)s->numa_node};
	char t[24];
	unsigned n = 0;
	int i;

	list_for_each(it, &p->broker->devices) {
		struct device *o = list_entry(it, struct device, node);

		if (o->pool != p || n == DEVICES_MAX)
			continue;
		which[n] = o;
		d[n++] = describe(o, self);
	}
	if (!n)
		return err_new("pool \"%s\" has no device: add one with vgpu-admin add-to-pool", p->name);
	i = place_choose(d, n, &r, why);
	if (i < 0 && n == 1 && d[0].in_service)
		i = 0; /* the checks that follow know best what is missing */
	if (i < 0 && r.reservation)
		return err_new("pool \"%s\": no device has both %s and a reservation of %llu %% left: %s", p->name,
			       units_size_text(r.quota, t, sizeof(t)), (unsigned long long)r.reservation, why);
	if (i < 0)
		return err_new("pool \"%s\": no device has %s left for the quota: %s", p->name,
			       units_size_text(r.quota, t, sizeof(t)), why);
	*out = which[i];
	return NULL;
}

static bool at_rest(const struct vm *vm)
{
	list_for_each(n, &vm->broker->execs)
		if (list_entry(n, struct bexec, node)->vm == vm)
			return false;
	return !vm_connected(vm);
}

static void move(struct vm *vm, struct device *d)
{
	struct sched_tenant old = vm->tenant;

	sched_tenant_remove(&vm->device->sched, &vm->tenant);
	sched_tenant_init(&vm->tenant, old.share, vm);
	vm->tenant.leases = old.leases;
	vm->tenant.waited = old.waited;
	vm->tenant.charged = old.charged;
	vm->device = d;
	vm->next = NULL;
	sched_tenant_set_limits(&d->sched, &vm->tenant, (uint32_t)vm->set.cap, (uint32_t)vm->set.reservation, now_ns());
	if (vm->listening)
		log_info("VM %s is on %s now: %s", vm->set.name, d->name, vm->why);
}

void vm_go(struct vm *vm, struct pool *p, struct device *d, const char *why)
{
	vm->pool = p;
	snprintf(vm->why, sizeof(vm->why), "%s", why);
	vm->next = d == vm->device ? NULL : d;
	if (vm->next && at_rest(vm))
		move(vm, d);
}

void vm_settle(struct vm *vm)
{
	cleanup_err struct vgpu_err *e = NULL;
	struct device *d, *was = vm->device;
	char why[PLACE_WHY_LEN];

	if (!at_rest(vm) || device_awaited(vm->device))
		return;
	if (vm->next)
		move(vm, vm->next);
	if (!device_serves(vm->device)) {
		e = vm_choose(vm->pool, vm, &vm->set, &d, why);
		if (!e && d != vm->device)
			vm_go(vm, vm->pool, d, why);
	}
	if (vm->device == was)
		return;
	event_add(vm->broker, "moved", vm->set.name, "to %s", vm->device->name);
	state_place(vm);
}
