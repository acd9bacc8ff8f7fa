/* SPDX-License-Identifier: Apache-2.0 */
/* What the control socket shows. */
#include "vgpud/broker/broker.h"

static double share_of(const struct vm *vm)
{
	double sum = 0;

	list_for_each(n, &vm->broker->vms) {
		const struct vm *o = list_entry(n, struct vm, node);

		sum += o->device == vm->device ? o->tenant.share : 0;
	}
	return sum > 0 ? vm->tenant.share / sum : 0;
}

static json_t *vm_channels(const struct vm *vm)
{
	json_t *a = json_array();

	list_for_each(n, &vm->broker->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		for (unsigned i = 0; c->vm == vm && i < c->n_channels; i++) {
			const struct channel *ch = &c->channel[i];

			if (ch->state == CH_FREE)
				continue;
			json_array_append_new(a, json_pack("{s:I, s:I, s:s, s:I, s:I, s:I}", "connection", (json_int_t)c->id,
				"channel", (json_int_t)i, "state", ch_names[ch->state], "generation",
				(json_int_t)ch->generation, "error", (json_int_t)ch->error, "pid",
				(json_int_t)(ch->exec ? ch->exec->pid : 0)));
		}
	}
	return a;
}

static void add_settings(json_t *o, const struct vm_settings *s)
{
	for (const struct setting *k = vm_setting; k->key; k++) {
		uint64_t v = setting_get(k, s);

		json_object_set_new(o, k->key, k->words ? json_string(priority_name(v))
					       : k->max == UINT32_MAX && v == UINT32_MAX ? json_null()
					       : json_integer((json_int_t)v));
	}
}

static void add_counters(json_t *o, const struct vm *vm)
{
	uint64_t units = vm->units, launches = vm->launches, bytes = vm->bytes, unsupported = vm->unsupported;

	list_for_each(n, &vm->broker->execs) {
		struct bexec *x = list_entry(n, struct bexec, node);

		if (x->vm != vm || !x->page)
			continue;
		units += atomic_load(&x->page->units_ended);
		launches += atomic_load(&x->page->launches);
		bytes += atomic_load(&x->page->bytes);
		unsupported += atomic_load(&x->page->unsupported);
	}
	json_object_update_new(o, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "units", (json_int_t)units,
		"launches", (json_int_t)launches, "bytes", (json_int_t)bytes, "unsupported_calls",
		(json_int_t)unsupported, "faults", (json_int_t)vm->fault_count, "executors_started",
		(json_int_t)vm->spawned, "leases", (json_int_t)vm->tenant.leases, "wait_seconds",
		(double)vm->tenant.waited / 1e9, "retired_channels", (json_int_t)vm->retired));
}

static unsigned channels_used(const struct vm *vm)
{
	unsigned used = 0;

	list_for_each(n, &vm->broker->conns) {
		const struct bconn *c = list_entry(n, struct bconn, node);

		for (unsigned i = 0; c->vm == vm && i < c->n_channels; i++)
			used += c->channel[i].state != CH_FREE;
	}
	return used;
}

json_t *vm_view(const struct vm *vm, bool detail)
{
	unsigned connections = 0;
	json_t *o;

	list_for_each(n, &vm->broker->conns)
		connections += list_entry(n, struct bconn, node)->vm == vm;
	o = json_pack("{s:I, s:s, s:I, s:f, s:I, s:I, s:s, s:f}", "id", (json_int_t)vm->set.id, "name", vm->set.name,
		      "channels_used", (json_int_t)channels_used(vm),
		      "share", share_of(vm), "quota_used", (json_int_t)vm->quota_used, "connections",
		      (json_int_t)connections, "status",
		      vm->quarantined ? "quarantined" : connections ? "up" : "down", "device_seconds",
		      (double)vm->device_ns / 1e9);
	json_object_set_new(o, "quarantined", json_boolean(vm->quarantined));
	json_object_update_new(o, json_pack("{s:s, s:s, s:s, s:s}", "pool", vm->pool->name, "device", vm->device->name, "next_device",
					    vm->next ? vm->next->name : "", "placed", vm->why));
	add_settings(o, &vm->set);
	add_counters(o, vm);
	times_add_quantiles(o, vm);
	if (detail)
		json_object_set_new(o, "channels", vm_channels(vm));
	return o;
}

static unsigned executors_on(const struct device *d)
{
	unsigned n = 0;

	list_for_each(it, &d->broker->execs) {
		const struct bexec *x = list_entry(it, struct bexec, node);

		n += x->vm && x->device == d;
	}
	return n;
}

static uint64_t shares_on(const struct device *d)
{
	uint64_t sum = 0;

	list_for_each(n, &d->broker->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		sum += vm->device == d ? vm->tenant.share : 0;
	}
	return sum;
}

static double handover_us(uint64_t n, uint64_t ns)
{
	return n ? (double)ns / (double)n / 1e3 : 0.0;
}

/* vgpud's devices that NVLink joins to it, as far as is known. */
static json_t *peers_of(const struct device *d)
{
	json_t *names = json_array();

	list_for_each(n, &d->broker->devices) {
		const struct device *o = list_entry(n, struct device, node);

		if (!o->doomed && device_linked(d, o))
			json_array_append_new(names, json_string(o->name));
	}
	return names;
}

/* Units taken from rings and not yet ended, as executors claim. */
static uint64_t in_flight(const struct device *d)
{
	uint64_t sum = 0;

	list_for_each(it, &d->broker->execs) {
		const struct bexec *x = list_entry(it, struct bexec, node);
		uint64_t ended, begun;

		if (x->device != d || !x->page)
			continue;
		ended = atomic_load(&x->page->units_ended); /* first: it never passes the other */
		begun = atomic_load(&x->page->units_begun);
		sum += begun > ended && begun - ended <= UINT32_MAX ? begun - ended : 0;
	}
	return sum;
}

json_t *device_view(const struct device *d)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:b, s:I, s:I}",
		"name", d->name, "model", d->info.name, "backend", d->cpu ? "softcuda" : "nvidia",
		"pool", d->pool->name, "policy", d->sched.concurrent ? "concurrent" : "exclusive",
		"state", device_state_name(d), "reason", d->reason, "uuid", d->id.uuid, "pci", d->pci, "numa_node",
		d->numa_node == PLACE_NODE_NONE ? json_null() : json_integer(d->numa_node), "peers", peers_of(d), "memory", (json_int_t)d->info.total_mem,
		"memory_reserved", (json_int_t)device_reserved(d), "reservation", (json_int_t)device_reservations(d, NULL), "shares",
		(json_int_t)shares_on(d), "vms", (json_int_t)device_vms(d), "executors", (json_int_t)executors_on(d), "handovers",
		(json_int_t)d->handovers, "handover_mean_us", handover_us(d->handovers, d->handover_wait_ns), "busy_seconds",
		(double)d->sched.busy / 1e9, "losses", (json_int_t)d->losses, "serves", device_serves(d), "waiting_vms",
		(json_int_t)d->sched.heap_len, "lease_holders", (json_int_t)d->sched.holders);

	json_object_update_new(o, json_pack("{s:f, s:I}", "handover_wait_seconds", (double)d->handover_wait_ns / 1e9, "units_in_flight",
					    (json_int_t)in_flight(d)));
	return o;
}

json_t *pool_view(const struct pool *p)
{
	json_t *devices = json_array(), *vms = json_array();
	uint64_t memory = 0, reserved = 0;

	list_for_each(n, &p->broker->devices) {
		const struct device *d = list_entry(n, struct device, node);

		if (d->pool != p || d->doomed)
			continue;
		json_array_append_new(devices, json_string(d->name));
		memory += d->info.total_mem;
		reserved += device_reserved(d);
	}
	list_for_each(n, &p->broker->vms)
		if (list_entry(n, struct vm, node)->pool == p)
			json_array_append_new(vms, json_string(list_entry(n, struct vm, node)->set.name));
	return json_pack("{s:s, s:s, s:I, s:I, s:o, s:o}", "name", p->name, "policy", p->concurrent ? "concurrent" : "exclusive", "memory",
			 (json_int_t)memory, "memory_reserved", (json_int_t)reserved, "devices", devices, "vms", vms);
}

json_t *connections_view(struct broker *b)
{
	json_t *a = json_array();

	list_for_each(n, &b->conns) {
		const struct bconn *c = list_entry(n, struct bconn, node);
		unsigned used = 0;

		for (unsigned i = 0; i < c->n_channels; i++)
			used += c->channel[i].state != CH_FREE;
		json_array_append_new(a, json_pack("{s:I, s:s, s:s, s:o, s:I, s:I, s:I}", "id", (json_int_t)c->id, "vm",
			c->vm->set.name, "transport", c->transport == IPC_UNIX ? "unix" : "ivshmem", "uid",
			c->transport == IPC_UNIX ? json_integer(c->uid) : json_null(), "channels",
			(json_int_t)c->n_channels, "channels_used", (json_int_t)used, "bar_size",
			(json_int_t)c->bar_size));
	}
	return a;
}

json_t *health_view(struct broker *b)
{
	json_t *problems = json_array();
	char text[IPC_TEXT_LEN];

	if (b->state_trouble[0])
		json_array_append_new(problems, json_pack("{s:s, s:s}", "what", "state", "text", b->state_trouble));
	if (devices_overfull(b, text, sizeof(text)))
		json_array_append_new(problems, json_pack("{s:s, s:s}", "what", "reserved", "text", text));
	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);

		if (!d->doomed && !device_serves(d))
			json_array_append_new(problems, json_pack("{s:s, s:s+++++}", "what", "device", "text", "device ", d->name, " is ",
								  device_state_name(d), ": ", d->reason));
	}
	list_for_each(n, &b->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		if (vm->quarantined)
			json_array_append_new(problems, json_pack("{s:s, s:s++}", "what", "quarantined", "text", "VM ",
								  vm->set.name, " is let in again by vgpu-admin clear-quarantine"));
		if (!vm->listening)
			json_array_append_new(problems, json_pack("{s:s, s:s++}", "what", "socket", "text", "VM ",
								  vm->set.name, ": its socket could not be opened"));
	}
	return json_pack("{s:b, s:o}", "healthy", json_array_size(problems) == 0, "problems", problems);
}

/* Of all VMs since the broker started, also of those that are gone. */
static json_t *faults_view(const struct broker *b)
{
	json_t *kinds = json_object();

	for (unsigned i = 0; i < FAULTS; i++)
		if (fault_names[i])
			json_object_set_new(kinds, fault_names[i], json_integer((json_int_t)b->faults[i]));
	return kinds;
}

void scheduler_view(json_t *o, struct broker *b)
{
	uint64_t busy = 0, waiting = 0, holders = 0;

	list_for_each(n, &b->devices) {
		struct sched *s = &list_entry(n, struct device, node)->sched;

		sched_account(s, now_ns());
		busy += s->busy;
		waiting += s->heap_len;
		holders += s->holders;
	}
	json_object_update_new(o, json_pack("{s:I, s:I, s:f, s:o}", "waiting_vms", (json_int_t)waiting, "lease_holders",
					    (json_int_t)holders, "busy_seconds", (double)busy / 1e9, "faults", faults_view(b)));
}

static const char *what_is_used(const struct broker *b)
{
	bool gpu = false, cpu = false;

	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);

		gpu |= !d->cpu && device_serves(d);
		cpu |= d->cpu && device_vms(d);
	}
	if (!gpu)
		return "the CPU (softcuda); no GPU is used";
	return cpu ? "GPUs; some VMs are on the CPU (softcuda) still: vgpu-admin move-vm" : "GPUs";
}

/* For who has just installed it; NULL: nothing is missing. */
static json_t *what_next(const struct broker *b, unsigned vms)
{
	bool gpu = false;

	list_for_each(n, &b->devices)
		gpu |= !list_entry(n, struct device, node)->cpu;
	if (!gpu)
		return json_string(vms ? "to use a GPU: vgpu-admin scan-gpus, assign-gpu"
				       : "to use a GPU: vgpu-admin scan-gpus, assign-gpu; to let a VM in: register-vm");
	return vms ? json_null() : json_string("to let a VM in: vgpu-admin register-vm");
}

json_t *status_view(struct broker *b)
{
	uint64_t memory = 0, reserved = 0, handovers = 0, waited = 0;
	unsigned vms = list_count(&b->vms), executors = 0;
	json_t *devices = json_array();

	devices_step(b, now_ns()); /* charge up to now */
	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);

		if (d->doomed)
			continue;
		memory += d->info.total_mem;
		reserved += device_reserved(d);
		handovers += d->handovers;
		waited += d->handover_wait_ns;
		executors += executors_on(d);
		json_array_append_new(devices, device_view(d));
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "version", VGPU_VERSION_STRING,
			 "device", device_first(b)->info.name, "device_memory", (json_int_t)memory, "device_memory_reserved",
			 (json_int_t)reserved, "bar_budget", (json_int_t)b->cfg.bar_budget, "bar_reserved",
			 (json_int_t)bar_reserved(b), "vms", (json_int_t)vms, "executors", (json_int_t)executors, "handovers",
			 (json_int_t)handovers, "handover_mean_us", handover_us(handovers, waited), "use", what_is_used(b), "next", what_next(b, vms), "policy",
			 device_first(b)->sched.concurrent ? "concurrent" : "exclusive", "state",
			 b->state_trouble[0] ? b->state_trouble : "stored", "spare", spare_state(device_first(b)), "upgrades",
			 (json_int_t)b->cfg.upgrades, "events_since_ms", (json_int_t)b->events.since_ms, "devices", devices);
}

#define TIMELINE_CELLS 24000u /* numbers in one answer: some 2 ms */

/* Device time per VM in buckets, oldest first, all VMs over the same span: for pictures. */
json_t *timeline_view(struct broker *b, uint64_t from)
{
	uint64_t now = now_ns(), last = now / BUCKET_NS, first = last, vms_n = 0;
	json_t *vms = json_object();

	devices_step(b, now); /* charge up to now */
	list_for_each(n, &b->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);

		vms_n++;
		if (vm->timeline_first && vm->timeline_first < first)
			first = vm->timeline_first;
	}
	if (last - first >= TIMELINE_BUCKETS)
		first = last - TIMELINE_BUCKETS + 1;
	if (from > first && from <= last)
		first = from;
	/* With many VMs the newest part only: nobody is scheduled while the answer is made. */
	if (vms_n > 1 && (last - first + 1) * vms_n > TIMELINE_CELLS)
		first = last + 1 - (TIMELINE_CELLS / vms_n ? TIMELINE_CELLS / vms_n : 1);
	list_for_each(n, &b->vms) {
		const struct vm *vm = list_entry(n, struct vm, node);
		json_t *a = json_array();

		for (uint64_t k = first; k <= last; k++) {
			bool have = vm->timeline_first && k >= vm->timeline_first && k <= vm->timeline_last &&
				    k + TIMELINE_BUCKETS > vm->timeline_last;

			json_array_append_new(a, json_integer(have ? vm->timeline[k % TIMELINE_BUCKETS] : 0));
		}
		json_object_set_new(vms, vm->set.name, a);
	}
	return json_pack("{s:I, s:I, s:I, s:o}", "bucket_ms", (json_int_t)(BUCKET_NS / 1000000), "first_bucket",
			 (json_int_t)first, "now_ns", (json_int_t)now, "device_us", vms);
}
