/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's end of the keeper. */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEVICES_WAIT_NS 2000000000ull

void to_keeper(struct broker *b, uint16_t type, const void *p, size_t size)
{
	int rc = msg_send(&b->keeper, type, p, size, NULL, 0);

	if (rc == -EPIPE || rc == -ECONNRESET)
		return; /* read side reports it */
	if (rc) {
		log_error("keeper: %s", strerror(-rc));
		b->loop.stop = true;
	} else if (msg_pending(&b->keeper)) {
		loop_mod(&b->loop, &b->keeper_io, EPOLLIN | EPOLLOUT);
	}
}

/* error NULL: serving begins. */
void broker_ready(struct broker *b, const char *error)
{
	struct ipc_ready m = {.ok = !error};

	if (b->ready)
		return;
	snprintf(m.text, sizeof(m.text), "%s", error ? error : "");
	to_keeper(b, IPC_READY, &m, sizeof(m));
	b->ready = !error;
	if (!error) {
		b->keeper.state = IPC_S_RUN;
		conns_settle(b);
		devices_leave(b);
	}
}

static void on_control(struct broker *b, struct msg *m)
{
	int rc = control_start(b, msg_take_fd(m, 0));

	if (rc)
		log_error("control socket: %s", strerror(-rc));
}

static void on_gone(struct broker *b, struct msg *m)
{
	uint32_t id = ((struct ipc_id *)m->payload)->id;
	struct bconn *c = bconn_by_id(b, id);
	struct ipc_id close = {id};

	list_for_each(n, &b->early) {
		struct early_conn *e = list_entry(n, struct early_conn, node);

		if (e->conn.conn == id) {
			list_del(&e->node);
			free(e);
		}
	}
	if (c)
		conn_gone(c);
	else
		to_keeper(b, IPC_CLOSE, &close, sizeof(close));
}

static void on_exited(struct broker *b, struct msg *m)
{
	struct ipc_exited *x = (void *)m->payload;

	x->text[IPC_TEXT_LEN - 1] = 0;
	exec_exited(b, x);
}

static void on_listening(struct broker *b, struct msg *m)
{
	struct ipc_listening *r = (void *)m->payload;
	struct vm *vm = vm_by_id(b, r->vm);
	struct ipc_id unlisten = {r->vm};

	if (vm && r->rc == 0)
		vm->listening = true;
	else if (!vm && r->rc == 0 && b->ready)
		to_keeper(b, IPC_UNLISTEN, &unlisten, sizeof(unlisten)); /* removed, or renumbered, meanwhile */
	else if (vm)
		log_error("VM %s: its socket cannot be opened: %s", vm->set.name, strerror(-r->rc));
	control_listening(b, r->vm, r->rc);
	b->listening_pending--;
	if (!b->listening_pending && b->settled)
		broker_ready(b, NULL);
}

/* A former broker's device is not probed: a process of the driver's takes its time on a busy host, programs that begin
 * would wait for it, and one that is late would end everything. Executors say when a device fails. */
static void on_synced(struct broker *b, struct msg *m)
{
	b->synced = true;
	b->serving = ((struct ipc_synced *)m->payload)->serving;
	b->synced_at = now_ns();
	list_for_each(n, &b->devices) {
		struct device *d = list_entry(n, struct device, node);

		d->answered = d->absent || d->known;
		if (device_awaited(d))
			snprintf(d->reason, sizeof(d->reason), "its driver has not answered yet");
		if (!d->answered && device_probe(d, IPC_PROBE))
			broker_ready(b, "out of memory");
	}
	devices_settle(b);
}

static const struct device *overfull(const struct broker *b)
{
	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);

		if (d->known && device_reserved(d) > d->info.total_mem)
			return d;
	}
	return NULL;
}

static const struct device *any_known(const struct broker *b)
{
	list_for_each(n, &b->devices)
		if (list_entry(n, struct device, node)->known)
			return list_entry(n, struct device, node);
	return NULL;
}

bool devices_overfull(const struct broker *b, char *text, size_t len)
{
	const struct device *full = overfull(b), *d = full ? full : device_first(b);
	uint64_t bars = bar_reserved(b);

	if (!full && bars <= b->cfg.bar_budget)
		return false;
	snprintf(text, len, "registered VMs reserve %llu bytes of %s's %llu and %llu of "
		 "bar-budget's %llu: use the device they were made for, or raise bar-budget",
		 (unsigned long long)device_reserved(d), d->name, (unsigned long long)d->info.total_mem,
		 (unsigned long long)bars, (unsigned long long)b->cfg.bar_budget);
	return true;
}

/* One whose driver hangs keeps nobody from the others, once VMs are being served. */
static bool enough_answered(const struct broker *b)
{
	return devices_answered(b) || (b->serving && b->synced && (any_known(b) || now_ns() - b->synced_at >= DEVICES_WAIT_NS));
}

/* Stored VMs come back. A vgpud that begins refuses what cannot be served; one that has begun serves what it can. */
void devices_settle(struct broker *b)
{
	char text[IPC_TEXT_LEN];

	if (b->settled || !enough_answered(b))
		return;
	if (!b->serving && !any_known(b)) {
		broker_ready(b, device_first(b)->reason[0] ? device_first(b)->reason : "no device answers");
		return;
	}
	if (devices_overfull(b, text, sizeof(text))) {
		if (!b->serving) {
			broker_ready(b, text);
			return;
		}
		log_error("%s", text);
	}
	b->settled = true;
	list_for_each(n, &b->vms)
		vm_listen(list_entry(n, struct vm, node));
	if (!b->listening_pending)
		broker_ready(b, NULL);
}

/* ---- what the keeper is asked ---- */

static const struct {
	uint16_t message;
	enum command_wait wait;
} questions[KEEPER_QUESTIONS] = {[KEEPER_RELOAD] = {IPC_RELOAD, WAIT_RELOAD}, [KEEPER_UPGRADE] = {IPC_UPGRADE, WAIT_UPGRADE}};

static struct ipc_reserved reserved(const struct broker *b)
{
	struct ipc_reserved r = {bar_reserved(b), IPC_OVERHEAD_ANY};

	list_for_each(n, &b->devices) {
		const struct device *d = list_entry(n, struct device, node);
		uint64_t vms = device_vms(d), quotas = device_reserved(d) - vms * b->cfg.context_overhead;
		uint64_t room = d->info.total_mem > quotas ? d->info.total_mem - quotas : 0;

		if (d->known && vms && room / vms < r.overhead_max)
			r.overhead_max = room / vms;
	}
	return r;
}

static void ask_next(struct broker *b)
{
	struct ipc_reserved r = reserved(b);

	for (unsigned i = 0; i < KEEPER_QUESTIONS && !b->asking && !b->loop.stop; i++) {
		if (b->asked[i] == b->answered[i])
			continue;
		b->asking = i + 1;
		to_keeper(b, questions[i].message, &r, sizeof(r));
	}
}

uint32_t keeper_ask(struct broker *b, enum keeper_question q)
{
	uint32_t number = ++b->asked[q];

	ask_next(b);
	return number;
}

static void answered(struct broker *b, enum keeper_question q, const char *error)
{
	if (b->asking != q + 1u)
		return; /* what an earlier broker asked */
	b->asking = 0;
	control_answered(b, questions[q].wait, ++b->answered[q], error);
	ask_next(b);
}

/* At once for whatever happens from now on; what runs keeps what it was started with. */
static void on_reloaded(struct broker *b, struct msg *m)
{
	struct ipc_reloaded *r = (void *)m->payload;

	r->text[IPC_TEXT_LEN - 1] = 0;
	if (r->ok && (m->n_fds != 1 || pread(m->fds[0], &b->cfg, sizeof(b->cfg), 0) != (ssize_t)sizeof(b->cfg))) {
		b->loop.stop = true; /* the next broker reads it from its own descriptor */
		return;
	}
	if (r->ok) {
		log_set_level(b->cfg.log_level);
		devices_reconfigured(b);
		event_add(b, "reload-config", "", "the configuration was read anew");
	}
	answered(b, KEEPER_RELOAD, r->ok ? NULL : r->text);
}

/* The next broker finds every guest as it is now. */
static void on_upgraded(struct broker *b, struct msg *m)
{
	struct ipc_reloaded *r = (void *)m->payload;

	r->text[IPC_TEXT_LEN - 1] = 0;
	if (r->ok)
		b->loop.stop = true;
	answered(b, KEEPER_UPGRADE, r->ok ? NULL : r->text);
}

static void (*const handlers[IPC_TYPES])(struct broker *, struct msg *) = {
	[IPC_UPGRADED] = on_upgraded,
	[IPC_RELOADED] = on_reloaded,
	[IPC_CONTROL] = on_control,  [IPC_CONN] = conn_announced,   [IPC_GONE] = on_gone,
	[IPC_SPAWNED] = exec_spawned, [IPC_EXITED] = on_exited, [IPC_LISTENING] = on_listening,
	[IPC_SYNCED] = on_synced,
};

/* The keeper is gone, and with it every executor: tell the guests, end. */
static void keeper_gone(struct broker *b)
{
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (!c->made)
			continue;
		for (unsigned i = 0; i < c->n_channels; i++) {
			struct channel *ch = &c->channel[i];

			if (ch->state == CH_FREE)
				continue;
			ch->state = CH_DEAD;
			ch->error = VGPU_ERR_KEEPER_GONE;
			channel_show(ch);
		}
		conn_show_status(c, VGPU_VM_DEAD, VGPU_ERR_KEEPER_GONE);
	}
	b->loop.stop = true;
}

static void on_keeper(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;
	char why[128];
	struct msg m;
	int rc = 0;

	if (events & EPOLLOUT) {
		rc = msg_flush(&b->keeper);
		if (!msg_pending(&b->keeper))
			loop_mod(&b->loop, io, EPOLLIN);
	}
	while (!rc && !b->loop.stop) {
		int got = msg_recv(&b->keeper, &m, why, sizeof(why));

		if (!got)
			return;
		if (got == 1) {
			handlers[m.type](b, &m);
			msg_done(&m);
			continue;
		}
		if (got == -EPROTO)
			log_error("keeper: %s", why);
		rc = got;
	}
	if (rc)
		keeper_gone(b);
}

struct vgpu_err *keeper_link_start(struct broker *b)
{
	int rc;

	msg_chan_init(&b->keeper, IPC_BFD_SOCK, &ipc_table, IPC_BROKER, IPC_KEEPER);
	b->keeper.state = IPC_S_START;
	rc = loop_add(&b->loop, &b->keeper_io, IPC_BFD_SOCK, EPOLLIN, on_keeper, b);
	return rc ? err_sys(-rc, "link to the keeper") : NULL;
}
