/* SPDX-License-Identifier: Apache-2.0 */
/* The table of VMs: what may be registered, what it reserves, what it did. */
#include "vgpud/broker/commands.h"
#include "base/log.h"
#include "base/units.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct vm *vm_by_name(struct broker *b, const char *name)
{
	list_for_each(n, &b->vms) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (!strcmp(vm->set.name, name))
			return vm;
	}
	return NULL;
}

struct vm *vm_by_id(struct broker *b, uint32_t id)
{
	list_for_each(n, &b->vms) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm->set.id == id)
			return vm;
	}
	return NULL;
}

bool vm_connected(const struct vm *vm)
{
	list_for_each(n, &vm->broker->conns)
		if (list_entry(n, struct bconn, node)->vm == vm)
			return true;
	return false;
}

uint64_t bar_reserved(const struct broker *b)
{
	uint64_t sum = 0;

	list_for_each(n, &b->vms)
		sum += list_entry(n, struct vm, node)->set.bar_size;
	return sum;
}

struct vgpu_err *check_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	if (!n || s[n] || s[0] == '.' || s[0] == '-' || n > 48)
		return err_new("name: \"%.64s\" is not 1 to 48 of A-Z a-z 0-9 . _ -, beginning with a letter, "
			       "digit or _", s);
	return NULL;
}

/* Refuse with the numbers, so that the administrator sees what would fit. self: already counted; NULL: new. */
static struct vgpu_err *check_memory(struct device *d, const struct vm *self, struct vm_settings *s)
{
	struct broker *b = d->broker;
	uint64_t overhead = b->cfg.context_overhead, total = d->info.total_mem;
	uint64_t taken = device_reserved(d) - (self && vm_counts_on(self, d) ? self->set.quota + overhead : 0);
	uint64_t left = total > taken + overhead ? total - taken - overhead : 0;
	uint64_t bars = bar_reserved(b) - (self ? self->set.bar_size : 0);
	char t[5][24];

	if (!s->quota)
		s->quota = b->cfg.default_quota ? b->cfg.default_quota : left;
	if (!s->bar_size)
		s->bar_size = b->cfg.bar_size;
	if (!s->quota)
		return err_new("quota: none asked, so all that is left, and nothing is: %s of the device's %s are reserved by "
			       "other VMs: lower the quota of one (vgpu-admin show-quotas)",
			       units_size_text(taken, t[2], 24), units_size_text(total, t[1], 24));
	if (s->quota > left)
		return err_new("quota: %s asked, but of the device's %s %s are reserved by other VMs and %s go to this "
			       "VM's context: at most %s (%llu bytes) are left",
			       units_size_text(s->quota, t[0], 24), units_size_text(total, t[1], 24),
			       units_size_text(taken, t[2], 24), units_size_text(overhead, t[3], 24),
			       units_size_text(left, t[4], 24), (unsigned long long)left);
	if (s->bar_size > b->cfg.bar_budget - (bars < b->cfg.bar_budget ? bars : b->cfg.bar_budget))
		return err_new("bar-size: %s asked, but %s of bar-budget's %s are taken",
			       units_size_text(s->bar_size, t[0], 24), units_size_text(bars, t[1], 24),
			       units_size_text(b->cfg.bar_budget, t[2], 24));
	return NULL;
}

static struct vgpu_err *check_reservations(const struct device *d, const struct vm *self, const struct vm_settings *s)
{
	uint64_t others = device_reservations(d, self);

	if (s->reservation && others + s->reservation > 100)
		return err_new("reservation: %llu %% asked, but other VMs have reserved %llu %% of the device's time: "
			       "at most %llu %% are left", (unsigned long long)s->reservation, (unsigned long long)others,
			       (unsigned long long)(100 - others));
	return NULL;
}

struct vgpu_err *vm_check(struct device *d, const struct vm *self, struct vm_settings *s)
{
	/* What it has is its own, even where less is there than VMs were promised. */
	bool less = self && vm_counts_on(self, d) && s->quota && s->quota <= self->set.quota && s->bar_size && s->bar_size <= self->set.bar_size;
	struct vgpu_err *e = d->known && !less ? check_memory(d, self, s) : NULL;

	return e ? e : check_reservations(d, self, s);
}

struct vgpu_err *vm_add(struct broker *b, struct vm_settings *s, const struct vm_home *home, struct vm **out)
{
	struct vgpu_err *e = check_name(s->name);
	struct device *d = home->device;
	char why[PLACE_WHY_LEN];
	struct vm *vm;

	if (!e && vm_by_name(b, s->name))
		e = err_new("name: \"%s\" is registered already", s->name);
	if (!e && list_count(&b->vms) >= VMS_MAX)
		e = err_new("name: %u VMs are registered already", VMS_MAX);
	snprintf(why, sizeof(why), "%s", home->why ? home->why : "");
	if (!e && !d)
		e = vm_choose(home->pool, NULL, s, &d, why);
	/* Stored VMs come before the devices are known; devices_settle() checks their sums. */
	if (!e)
		e = vm_check(d, NULL, s);
	if (e)
		return e;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_new("out of memory");
	sched_tenant_init(&vm->tenant, (uint32_t)(s->priority * s->weight), vm);
	if (!s->id)
		s->id = b->next_vm;
	if (s->id >= b->next_vm)
		b->next_vm = s->id + 1;
	sched_tenant_set_limits(&d->sched, &vm->tenant, (uint32_t)s->cap, (uint32_t)s->reservation, now_ns());
	vm->broker = b;
	vm->pool = home->pool;
	vm->device = d;
	vm->next = home->next;
	strcpy(vm->why, why);
	vm->set = *s;
	vm->tokens = (double)b->cfg.spawn_burst;
	vm->tokens_at = now_ns();
	list_add_tail(&b->vms, &vm->node);
	limits_changed(vm);
	*out = vm;
	return NULL;
}

static struct vgpu_err *check_change(struct vm *vm, const struct vm_settings *to)
{
	for (const struct setting *k = vm_setting; k->key; k++)
		if (k->down && setting_get(k, to) != setting_get(k, &vm->set) && vm_connected(vm))
			return err_new("%s: VM \"%s\" is connected, it changes only while it is not", k->key, vm->set.name);
	if (to->quota < vm->quota_used) {
		char t[2][24];

		return err_new("quota: %s asked, but VM \"%s\" uses %s", units_size_text(to->quota, t[0], 24),
			       vm->set.name, units_size_text(vm->quota_used, t[1], 24));
	}
	return NULL;
}

/* What the guest reads of its settings in its device. */
static void show_settings(struct vm *vm)
{
	list_for_each(n, &vm->broker->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->vm == vm && c->made)
			conn_show_header(c);
	}
	quota_publish(vm);
}

struct vgpu_err *vm_change(struct vm *vm, const struct vm_settings *to)
{
	struct vm_settings s = *to;
	struct vgpu_err *e = vm_check(vm->device, vm, &s);

	if (!e && vm->next)
		e = vm_check(vm->next, vm, &s);
	if (!e)
		e = check_change(vm, &s);
	if (e)
		return e;
	vm->set = s;
	sched_tenant_set_share(&vm->tenant, (uint32_t)(s.priority * s.weight));
	sched_tenant_set_limits(&vm->device->sched, &vm->tenant, (uint32_t)s.cap, (uint32_t)s.reservation, now_ns());
	device_step(vm->device, now_ns());
	limits_changed(vm);
	show_settings(vm);
	return NULL;
}

void vm_unlisten(struct vm *vm)
{
	struct ipc_id m = {vm->set.id};

	if (vm->listening)
		to_keeper(vm->broker, IPC_UNLISTEN, &m, sizeof(m));
	vm->listening = false;
}

/* Its connections and executors are gone by now. */
void vm_remove(struct vm *vm)
{
	vm_unlisten(vm);
	sched_tenant_remove(&vm->device->sched, &vm->tenant);
	list_del(&vm->node);
	free(vm->timeline);
	free(vm);
}

void vm_listen(struct vm *vm)
{
	struct ipc_listen m = {.vm = vm->set.id};

	strcpy(m.name, vm->set.name);
	to_keeper(vm->broker, IPC_LISTEN, &m, sizeof(m));
	vm->broker->listening_pending++;
}

uint64_t vm_fault_limit(const struct vm *vm)
{
	return vm->set.fault_limit ? vm->set.fault_limit : vm->broker->cfg.fault_limit;
}

uint64_t vm_fault_window(const struct vm *vm)
{
	return vm->set.fault_window_ns ? vm->set.fault_window_ns : vm->broker->cfg.fault_window_ns;
}

void vm_remember_fault(struct vm *vm, uint64_t at)
{
	memmove(&vm->faults[1], &vm->faults[0], (CONFIG_FAULTS_MAX - 1) * sizeof(vm->faults[0]));
	vm->faults[0] = at;
	vm->fault_count++;
}

/* One more; true when that makes it too many. */
bool vm_fault(struct vm *vm, uint64_t now)
{
	uint64_t limit = vm_fault_limit(vm);

	vm_remember_fault(vm, now);
	return !vm->quarantined && vm->faults[limit - 1] && now - vm->faults[limit - 1] <= vm_fault_window(vm);
}

void vm_quarantine(struct vm *vm)
{
	vm->quarantined = true;
	list_for_each(n, &vm->broker->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->vm != vm || !c->made)
			continue;
		conn_show_status(c, VGPU_VM_QUARANTINED, VGPU_ERR_QUARANTINED);
		for (unsigned i = 0; i < c->n_channels; i++)
			channel_fail(&c->channel[i], VGPU_ERR_QUARANTINED);
	}
}

void vm_release(struct vm *vm)
{
	vm->quarantined = false;
	memset(vm->faults, 0, sizeof(vm->faults));
	list_for_each(n, &vm->broker->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->vm == vm && c->made)
			conn_show_status(c, VGPU_VM_UP, VGPU_ERR_NONE);
	}
}

bool vm_take_token(struct vm *vm, uint64_t now)
{
	const struct vgpud_config *c = &vm->broker->cfg;

	vm->tokens += (double)(now - vm->tokens_at) / 1e9 * (double)c->spawn_per_s;
	vm->tokens_at = now;
	if (vm->tokens > (double)c->spawn_burst)
		vm->tokens = (double)c->spawn_burst;
	if (vm->tokens < 1)
		return false;
	vm->tokens -= 1;
	return true;
}

/* ns of device time that ended at now, spread backwards over the buckets it covers. */
void vm_timeline_add(struct vm *vm, uint64_t now, uint64_t ns)
{
	uint64_t bucket = now / BUCKET_NS, in_bucket = now % BUCKET_NS;

	if (!vm->timeline)
		vm->timeline = calloc(TIMELINE_BUCKETS, sizeof(*vm->timeline));
	if (!vm->timeline)
		return;
	if (!vm->timeline_first)
		vm->timeline_first = vm->timeline_last = bucket;
	for (uint64_t k = vm->timeline_last + 1; k <= bucket && k <= vm->timeline_last + TIMELINE_BUCKETS; k++)
		vm->timeline[k % TIMELINE_BUCKETS] = 0;
	if (bucket > vm->timeline_last)
		vm->timeline_last = bucket;
	while (ns && bucket >= vm->timeline_first && bucket + TIMELINE_BUCKETS > vm->timeline_last) {
		uint64_t part = ns < in_bucket ? ns : in_bucket;

		vm->timeline[bucket % TIMELINE_BUCKETS] += (uint32_t)(part / 1000);
		ns -= part;
		in_bucket = BUCKET_NS;
		bucket--;
	}
}
