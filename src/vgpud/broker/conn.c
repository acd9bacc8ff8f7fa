/* SPDX-License-Identifier: Apache-2.0 */
/* A BAR2 from the keeper: whose it is, its header, its bells. */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include "wire/geometry.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define REFUSALS_WINDOW_NS 10000000000ull
#define REFUSALS_MAX 20u /* lines per window */
#define TOLD_WINDOW_NS 10000000000ull
#define TOLD_MAX 50u /* connections of a VM per window; their events leave room for others' in the ring */
#define BELLS_WINDOW_NS 10000000ull
#define BELLS_MAX 32u /* per window; a guest that opens and closes all channels rings 64 times */

struct bconn *bconn_by_id(struct broker *b, uint32_t id)
{
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

/* Peers can be refused without end; the log is not theirs to fill. */
static void log_refusal(struct broker *b, uint32_t conn, const char *text)
{
	uint64_t now = now_ns();

	if (now - b->refusals_since >= REFUSALS_WINDOW_NS) {
		if (b->refusals > REFUSALS_MAX)
			log_warning("%u more connections refused", b->refusals - REFUSALS_MAX);
		b->refusals_since = now;
		b->refusals = 0;
	}
	if (b->refusals++ < REFUSALS_MAX)
		log_warning("connection %u refused: %s", conn, text);
}

/* Programs can come and go without end, too. */
static bool worth_telling(struct vm *vm)
{
	uint64_t now = now_ns();

	if (now - vm->told_since >= TOLD_WINDOW_NS) {
		if (vm->told > TOLD_MAX)
			log_info("VM %s: %u more connections", vm->set.name, vm->told - TOLD_MAX);
		vm->told_since = now;
		vm->told = 0;
	}
	return vm->told++ < TOLD_MAX;
}

static void refuse(struct broker *b, uint32_t conn, uint32_t status, const char *text)
{
	struct ipc_handover h = {.conn = conn, .status = status};
	struct ipc_id m = {conn};

	snprintf(h.text, sizeof(h.text), "%s", text);
	log_refusal(b, conn, h.text);
	if (b->ready) /* until then an end is all that may be said */
		to_keeper(b, IPC_HANDOVER, &h, sizeof(h));
	to_keeper(b, IPC_CLOSE, &m, sizeof(m));
}

void conn_show_status(struct bconn *c, uint32_t status, uint32_t error)
{
	__atomic_store_n(&c->header->error, error, __ATOMIC_RELEASE);
	__atomic_store_n(&c->header->status, status, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < c->vectors; i++)
		irq_raise(c->irqs[i]);
}

static void fill_header(const struct bconn *c, struct vgpu_header *h)
{
	const struct vm_settings *s = &c->vm->set;

	*h = (struct vgpu_header){
		.magic = VGPU_MAGIC,
		.version = VGPU_LAYOUT_VERSION,
		.bar_size = c->bar_size,
		.vm_id = s->id,
		.priority = (uint32_t)s->priority,
		.weight = (uint32_t)s->weight,
		.quota = s->quota,
		.status = c->vm->quarantined ? VGPU_VM_QUARANTINED : VGPU_VM_UP,
		.error = c->vm->quarantined ? VGPU_ERR_QUARANTINED : VGPU_ERR_NONE,
		.channels = c->n_channels,
		.extents = vgpu_extent_count(c->bar_size),
		.wish_off = VGPU_WISH_OFF,
		.channel_off = VGPU_CHANNEL_OFF,
		.channel_stride = VGPU_CHANNEL_STRIDE,
		.extent_off = VGPU_EXTENT_OFF,
		.pool = pool_number(c->vm->pool),
		.devices = c->vm->device->known,
		.device = c->vm->device->info,
	};
	h->device.total_mem = s->quota;
	for (unsigned i = 0; i < c->n_channels; i++)
		h->channel[i] = channel_status(&c->channel[i]);
	if (c->vm->device->known)
		return;
	/* An earlier broker knew it; what it told the guest, or the guest itself, stands. */
	h->devices = c->header->devices;
	memcpy(&h->device, &c->header->device, sizeof(h->device));
}

void conn_show_header(struct bconn *c)
{
	struct vgpu_header h;

	fill_header(c, &h);
	memcpy((char *)c->header + sizeof(h.magic), (char *)&h + sizeof(h.magic), sizeof(h) - sizeof(h.magic));
	/* Last: a guest that sees the magic sees the rest. */
	__atomic_store_n(&c->header->magic, h.magic, __ATOMIC_RELEASE);
}

void conn_look(struct bconn *c)
{
	for (unsigned i = 0; i < c->n_channels; i++)
		channel_look(&c->channel[i]);
}

/* Edge-triggered and never read: the peer could make a read of its eventfd wait for ever. One that rings
 * without end is not heard until the window is over. */
static void on_bell(struct loop_io *io, uint32_t events)
{
	struct bconn *c = io->arg;
	uint64_t now = now_ns();

	if (now - c->bells_since >= BELLS_WINDOW_NS) {
		c->bells_since = now;
		c->bells_heard = 0;
	}
	if (++c->bells_heard >= BELLS_MAX) {
		c->muted = true;
		loop_mod(&c->broker->loop, io, 0);
		loop_timer_set(&c->broker->unmute_io, c->bells_since + BELLS_WINDOW_NS);
	}
	conn_look(c);
}

/* Their counters are not zero, so listening again brings each of them one event at once. */
static void on_unmute(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;

	loop_timer_set(io, 0);
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->muted)
			loop_mod(&b->loop, &c->bell_io, EPOLLIN | EPOLLET);
		c->muted = false;
	}
}

int conns_init(struct broker *b)
{
	return loop_timer_init(&b->loop, &b->unmute_io, on_unmute, b);
}

static int conn_map(struct bconn *c, struct msg *m)
{
	void *p;

	c->memfd = msg_take_fd(m, 0);
	for (unsigned i = 0; i < c->vectors; i++) {
		c->bells[i] = msg_take_fd(m, 1 + i);
		c->irqs[i] = msg_take_fd(m, 1 + c->vectors + i);
	}
	/* Two mappings: what the guest writes is read-only here. */
	p = mmap(NULL, VGPU_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->header = p;
	p = mmap(NULL, VGPU_WISH_SIZE, PROT_READ, MAP_SHARED, c->memfd, (off_t)VGPU_WISH_OFF);
	if (p == MAP_FAILED)
		return -errno;
	c->wish = p;
	return loop_add(&c->broker->loop, &c->bell_io, c->bells[VGPU_VECTOR_VM], EPOLLIN | EPOLLET, on_bell, c);
}

static void conn_free(struct bconn *c)
{
	struct ipc_id m = {c->id};

	loop_del(&c->broker->loop, &c->bell_io);
	if (c->header)
		munmap(c->header, VGPU_HEADER_SIZE);
	if (c->wish)
		munmap((void *)c->wish, VGPU_WISH_SIZE);
	fd_closep(&c->memfd);
	for (unsigned i = 0; i < c->vectors; i++) {
		fd_closep(&c->bells[i]);
		fd_closep(&c->irqs[i]);
	}
	for (unsigned i = 0; i < c->n_channels; i++)
		free(c->channel[i].extents);
	to_keeper(c->broker, IPC_CLOSE, &m, sizeof(m));
	list_del(&c->node);
	vm_settle(c->vm);
	free(c);
}

static bool nothing_more(struct scrub_job *j)
{
	return false;
}

static void emptied(struct scrub_job *j, int rc)
{
	struct bconn *c = list_entry(j, struct bconn, scrub);

	if (rc)
		log_error("VM %s: connection %u: its memory is not given back at once: %s", c->vm->set.name, c->id,
			  strerror(-rc));
	c->vm->bar_used -= c->bar_size;
	if (c->logged) {
		log_info("VM %s: connection %u ended", c->vm->set.name, c->id);
		event_add(c->broker, "disconnected", c->vm->set.name, "connection %u", c->id);
	}
	conn_free(c);
}

/* Its memory is emptied before it is closed: who closes what is full gives it all back in one go, and that
 * would be the keeper. */
void conn_maybe_free(struct bconn *c)
{
	if (!c->gone || list_linked(&c->scrub.node))
		return;
	for (unsigned i = 0; i < c->n_channels; i++)
		if (c->channel[i].exec)
			return;
	if (!c->made) {
		conn_free(c);
		return;
	}
	for (unsigned i = 0; i < c->n_channels; i++)
		scrub_drop(&c->channel[i].scrub);
	c->scrub = (struct scrub_job){.owner = c->vm, .fd = c->memfd, .end = c->bar_size, .skip_holes = true,
				      .next = nothing_more, .done = emptied};
	scrub_add(&c->broker->scrub, &c->scrub);
}

void conn_gone(struct bconn *c)
{
	c->gone = true;
	for (unsigned i = 0; c->made && i < c->n_channels; i++)
		channel_event(&c->channel[i], CH_CLOSE);
	conn_maybe_free(c);
}

/* ---- admission ---- */

static bool hello_ok(const struct ipc_conn *m)
{
	return m->hello_len == sizeof(m->hello) && m->hello.magic == VGPU_UNIX_MAGIC &&
	       m->hello.version == VGPU_UNIX_VERSION && memchr(m->hello.tenant, 0, sizeof(m->hello.tenant));
}

static struct vm *only_vm(struct broker *b)
{
	return !list_empty(&b->vms) && b->vms.next == b->vms.prev ? list_entry(b->vms.next, struct vm, node) : NULL;
}

static unsigned count_connections(struct broker *b, const struct vm *vm, bool gone)
{
	unsigned n = 0;

	list_for_each(it, &b->conns) {
		const struct bconn *c = list_entry(it, struct bconn, node);

		n += c->vm == vm && c->gone == gone;
	}
	return n;
}

/* As it calls itself; NULL: nobody we know. */
static struct vm *named(struct broker *b, const struct ipc_conn *m)
{
	return m->hello.tenant[0] ? vm_by_name(b, m->hello.tenant) : only_vm(b);
}

/* Who is this? NULL and *status, text[]: nobody we serve. */
static struct vm *who_is(struct broker *b, struct ipc_conn *m, uint32_t *status, char *text, size_t len)
{
	struct vm *vm;

	if (m->transport == IPC_IVSHMEM) {
		vm = vm_by_id(b, m->vm);
		*status = VGPU_UNIX_NO_TENANT;
		snprintf(text, len, "VM %u is not registered", m->vm);
		return vm;
	}
	*status = VGPU_UNIX_BAD_HELLO;
	snprintf(text, len, "malformed hello, or not version %u", VGPU_UNIX_VERSION);
	if (!hello_ok(m))
		return NULL;
	vm = named(b, m);
	*status = VGPU_UNIX_NO_TENANT;
	snprintf(text, len, "tenant \"%.48s\" is not registered: vgpu-admin register-vm", m->hello.tenant);
	if (!vm || (vm->set.uid != UINT32_MAX && vm->set.uid != m->uid && m->uid != 0)) {
		if (vm) {
			*status = VGPU_UNIX_DENIED;
			snprintf(text, len, "user %u may not use tenant \"%s\"", m->uid, vm->set.name);
		}
		return NULL;
	}
	return vm;
}

/* Each local process has a BAR2 of its own; a registration reserved one. */
static bool bar_room(struct broker *b, const struct vm *vm, uint64_t need)
{
	uint64_t sum = 0;

	list_for_each(n, &b->vms) {
		const struct vm *o = list_entry(n, struct vm, node);
		uint64_t used = o == vm ? need : o->bar_used;

		sum += used > o->set.bar_size ? used : o->set.bar_size;
	}
	return sum <= b->cfg.bar_budget;
}

static bool admitted(struct broker *b, struct ipc_conn *m, struct vm *vm, uint32_t *status, char *text, size_t len)
{
	unsigned open = count_connections(b, vm, false), ended = count_connections(b, vm, true), full;

	if (vm->quarantined) {
		*status = VGPU_UNIX_QUARANTINED;
		snprintf(text, len, "tenant \"%s\" is quarantined: vgpu-admin clear-quarantine", vm->set.name);
		return false;
	}
	*status = VGPU_UNIX_BUSY;
	if (m->transport == IPC_IVSHMEM) {
		snprintf(text, len, "VM %s is connected already", vm->set.name);
		return open == 0;
	}
	snprintf(text, len, "tenant \"%s\" has all its %u channels taken", vm->set.name, VGPU_CHANNELS_MAX);
	if (open >= VGPU_CHANNELS_MAX)
		return false;
	*status = VGPU_UNIX_NO_MEMORY;
	snprintf(text, len, "shared memory: %u programs of tenant \"%.48s\" and other VMs take all of bar-budget",
		 open, vm->set.name);
	/* One that is still being emptied is no reason to refuse the next program of a row; more of them are. */
	full = open + (ended ? ended - 1 : 0);
	return bar_room(b, vm, (full + 1) * vm->set.bar_size);
}

static struct bconn *conn_alloc(struct broker *b, const struct ipc_conn *m, struct vm *vm)
{
	struct bconn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->broker = b;
	c->vm = vm;
	c->id = m->conn;
	c->transport = m->transport;
	c->uid = m->uid;
	c->memfd = -1;
	c->n_channels = m->transport == IPC_IVSHMEM ? VGPU_CHANNELS_MAX : 1;
	for (unsigned i = 0; i < c->n_channels; i++)
		c->channel[i] = (struct channel){.conn = c, .index = i};
	list_add_tail(&b->conns, &c->node);
	return c;
}

static void conn_new(struct broker *b, struct ipc_conn *m)
{
	uint32_t status;
	char text[128];
	struct vm *vm = who_is(b, m, &status, text, sizeof(text));
	struct ipc_make make = {.conn = m->conn};
	struct bconn *c;

	if (vm)
		vm_settle(vm);
	if (!vm || !admitted(b, m, vm, &status, text, sizeof(text))) {
		refuse(b, m->conn, status, text);
		return;
	}
	c = conn_alloc(b, m, vm);
	if (!c) {
		refuse(b, m->conn, VGPU_UNIX_NO_MEMORY, "out of memory");
		return;
	}
	make.vm = vm->set.id;
	make.vectors = 1 + c->n_channels;
	make.bar_size = vm->set.bar_size;
	to_keeper(b, IPC_MAKE, &make, sizeof(make));
}

static void conn_give(struct bconn *c)
{
	struct ipc_handover h = {.conn = c->id, .status = VGPU_UNIX_OK};

	conn_show_header(c);
	c->handed = true;
	c->logged = worth_telling(c->vm);
	if (c->logged) {
		log_info("VM %s: connection %u over %s", c->vm->set.name, c->id,
			 c->transport == IPC_UNIX ? "unix" : "ivshmem");
		event_add(c->broker, "connected", c->vm->set.name, "connection %u", c->id);
	}
	to_keeper(c->broker, IPC_HANDOVER, &h, sizeof(h));
}

/* Its memory, from the keeper: for a peer that waits for it, or one an earlier broker served. */
static void conn_made(struct bconn *c, struct ipc_conn *m, struct msg *fds, bool adopted)
{
	int rc = -ENOMEM;

	c->bar_size = m->bar_size;
	if (m->vectors == 1 + c->n_channels && fds->n_fds == 1 + 2 * m->vectors) {
		c->vectors = m->vectors;
		rc = conn_map(c, fds);
	}
	if (rc) {
		refuse(c->broker, c->id, VGPU_UNIX_NO_MEMORY, "no memory or descriptors for BAR2");
		conn_free(c);
		return;
	}
	c->made = true;
	c->vm->bar_used += c->bar_size;
	if (!adopted)
		conn_give(c);
}

/* It was let in, and stays whatever changed since: another VM beside its only one, the VM's user, a quarantine. Only a
 * state.db that is an older one may give its number to another VM, or to none. */
static struct vm *vm_of_adopted(struct broker *b, const struct ipc_conn *m)
{
	bool says = m->transport == IPC_UNIX && hello_ok(m);
	struct vm *vm = m->vm ? vm_by_id(b, m->vm) : says ? named(b, m) : NULL; /* 0: made by a vgpud that did not note it */

	return vm && says && m->hello.tenant[0] && strcmp(m->hello.tenant, vm->set.name) ? NULL : vm;
}

static void conn_adopt(struct broker *b, struct ipc_conn *m, struct msg *fds)
{
	struct vm *vm = vm_of_adopted(b, m);
	struct bconn *c = vm ? conn_alloc(b, m, vm) : NULL;

	if (!c) {
		refuse(b, m->conn, VGPU_UNIX_NO_TENANT, "its tenant is gone");
		return;
	}
	c->gone = m->gone;
	c->handed = m->handed;
	c->logged = m->handed;
	for (unsigned i = 0; i < c->n_channels; i++)
		c->channel[i].generation = m->ran[i];
	conn_made(c, m, fds, true);
}

/* What it computes on is not known yet, and would be missing in what it reads first. */
static bool conn_waits(struct broker *b, struct ipc_conn *m)
{
	char text[128];
	uint32_t status;
	const struct vm *vm = b->ready ? who_is(b, m, &status, text, sizeof(text)) : NULL;

	return !b->ready || (vm && device_awaited(vm->device));
}

static void conn_early(struct broker *b, const struct ipc_conn *m)
{
	struct early_conn *e = calloc(1, sizeof(*e));

	if (!e) {
		refuse(b, m->conn, VGPU_UNIX_DOWN, "vgpud is starting: try again");
		return;
	}
	e->conn = *m;
	list_add_tail(&b->early, &e->node);
}

void conn_announced(struct broker *b, struct msg *m)
{
	struct ipc_conn *k = (void *)m->payload;
	struct bconn *c = bconn_by_id(b, k->conn);
	struct ipc_id id = {k->conn};

	if (c && !c->made)
		conn_made(c, k, m, false);
	else if (!c && m->n_fds && !b->synced)
		conn_adopt(b, k, m);
	else if (!c && (k->gone || m->n_fds)) /* the peer left while its memory was being made */
		to_keeper(b, IPC_CLOSE, &id, sizeof(id));
	else if (!c && conn_waits(b, k))
		conn_early(b, k);
	else if (!c)
		conn_new(b, k);
}

static void settle_channel(struct channel *ch)
{
	/* With a process the guest may be at work: what the former broker wrote stays until READY. One whose process was
	 * adopted and has ended since has its state, and may be being zeroed already. */
	if (!ch->exec && ch->state == CH_FREE)
		channel_adopt(ch);
	channel_look(ch);
}

void conns_let_in(struct broker *b)
{
	list_for_each(n, &b->early) {
		struct early_conn *e = list_entry(n, struct early_conn, node);

		if (conn_waits(b, &e->conn))
			continue;
		list_del(&e->node);
		conn_new(b, &e->conn);
		free(e);
	}
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		for (unsigned i = 0; c->made && i < c->n_channels; i++)
			if (c->channel[i].state == CH_QUEUED)
				channel_period(&c->channel[i], now_ns());
	}
}

/* Everything is known now: adopted channels take their state, early peers are let in. */
void conns_settle(struct broker *b)
{
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->gone)
			conn_gone(c);
		else if (!c->handed)
			conn_give(c); /* the earlier broker ended just before */
		else
			for (unsigned i = 0; i < c->n_channels; i++)
				settle_channel(&c->channel[i]);
	}
	conns_let_in(b);
}
