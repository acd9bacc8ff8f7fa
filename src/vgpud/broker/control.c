/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.sock: one JSON object per line in, one per line out.
 *
 *   {"cmd": "show-vm", "name": "a"}  ->  {"ok": true, "data": {...}}  or  {"ok": false, "error": "..."}
 *
 * The peer's credentials decide: root and vgpud's own user may do everything, others who can open the
 * socket only look. Anything that is not in the table is refused.
 */
#include "vgpud/broker/broker.h"
#include "base/log.h"
#include "base/units.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096u
#define OUT_MAX_BYTES (4u << 20)
#define CLIENTS_MAX 64u
#define CLIENTS_ADMIN 16u /* of them kept for those who may do more than look */
#define TIMELINE_CELLS 24000u /* numbers in one answer: some 2 ms */

struct client {
	struct list node;
	struct broker *broker;
	struct loop_io io;
	struct buf in, out;
	bool admin, ended;
	uint32_t waits_for; /* VM whose socket the keeper is opening; 0: none */
};

/* ---- views ---- */

static const char *priority_name(uint32_t p)
{
	return p == 4 ? "high" : p == 2 ? "medium" : "low";
}

static double share_of(const struct vm *vm)
{
	double sum = 0;

	list_for_each(n, &vm->broker->vms)
		sum += list_entry(n, struct vm, node)->tenant.share;
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

static json_t *vm_view(const struct vm *vm, bool detail)
{
	unsigned connections = 0;
	uint64_t units = vm->units, launches = vm->launches, bytes = vm->bytes, unsupported = vm->unsupported;
	json_t *o;

	list_for_each(n, &vm->broker->conns)
		connections += list_entry(n, struct bconn, node)->vm == vm;
	list_for_each(n, &vm->broker->execs) {
		struct bexec *x = list_entry(n, struct bexec, node);

		if (x->vm != vm || !x->page)
			continue;
		units += atomic_load(&x->page->units_ended);
		launches += atomic_load(&x->page->launches);
		bytes += atomic_load(&x->page->bytes);
		unsupported += atomic_load(&x->page->unsupported);
	}
	o = json_pack("{s:I, s:s, s:s, s:I, s:f, s:I, s:I, s:I, s:s, s:f}", "id", (json_int_t)vm->set.id, "name",
		      vm->set.name, "priority", priority_name(vm->set.priority), "weight",
		      (json_int_t)vm->set.weight, "share", share_of(vm), "quota", (json_int_t)vm->set.quota,
		      "quota_used", (json_int_t)vm->quota_used, "connections", (json_int_t)connections, "status",
		      vm->quarantined ? "quarantined" : connections ? "up" : "down", "device_seconds",
		      (double)vm->device_ns / 1e9);
	if (!detail)
		return o;
	json_object_update_new(o, json_pack("{s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "bar_size",
		(json_int_t)vm->set.bar_size, "job_timeout_seconds", (double)vm->set.job_timeout_ns / 1e9,
		"hard_timeout_seconds", (double)vm->set.hard_timeout_ns / 1e9, "units", (json_int_t)units, "launches",
		(json_int_t)launches, "bytes", (json_int_t)bytes, "unsupported_calls", (json_int_t)unsupported,
		"faults", (json_int_t)vm->fault_count, "executors_started", (json_int_t)vm->spawned, "channels",
		vm_channels(vm)));
	return o;
}

/* ---- commands: data on success, else an error ---- */

static struct vgpu_err *need_vm(struct broker *b, json_t *q, struct vm **vm)
{
	const char *name = json_string_value(json_object_get(q, "name"));

	if (!name)
		return err_new("name: missing");
	*vm = vm_by_name(b, name);
	return *vm ? NULL : err_new("VM \"%.64s\" is not registered", name);
}

static struct vgpu_err *get_number(json_t *q, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
	json_t *v = json_object_get(q, key);

	if (!v)
		return NULL;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < min ||
	    (uint64_t)json_integer_value(v) > max)
		return err_new("%s: not a whole number from %llu to %llu", key, (unsigned long long)min,
			       (unsigned long long)max);
	*out = (uint64_t)json_integer_value(v);
	return NULL;
}

static struct vgpu_err *get_priority(json_t *q, uint32_t *out)
{
	static const struct {
		const char *name;
		uint32_t value;
	} names[] = {{"high", 4}, {"medium", 2}, {"low", 1}};
	json_t *v = json_object_get(q, "priority");

	if (!v)
		return NULL;
	for (unsigned i = 0; json_is_string(v) && i < 3; i++)
		if (!strcmp(json_string_value(v), names[i].name)) {
			*out = names[i].value;
			return NULL;
		}
	return err_new("priority: must be high, medium or low");
}

static struct vgpu_err *unknown_keys(json_t *q, const char *const *known)
{
	const char *key;
	json_t *v;

	json_object_foreach(q, key, v) {
		bool ok = !strcmp(key, "cmd");

		for (unsigned i = 0; known[i]; i++)
			ok |= !strcmp(key, known[i]);
		if (!ok)
			return err_new("%.32s: no such setting", key);
	}
	return NULL;
}

static struct vgpu_err *read_settings(json_t *q, struct vm_settings *s)
{
	static const char *const known[] = {"name", "priority", "weight", "quota", "bar_size", "job_timeout_ns",
					    "hard_timeout_ns", "uid", NULL};
	const char *name = json_string_value(json_object_get(q, "name"));
	uint64_t weight = 50, uid = -1u;
	struct vgpu_err *e = unknown_keys(q, known);

	if (!e && (!name || strlen(name) >= sizeof(s->name)))
		e = err_new("name: missing or longer than %zu characters", sizeof(s->name) - 1);
	if (!e)
		e = get_priority(q, &s->priority);
	if (!e)
		e = get_number(q, "weight", 1, 100, &weight);
	if (!e)
		e = get_number(q, "quota", 0, 1ull << 50, &s->quota);
	if (!e)
		e = get_number(q, "bar_size", VGPU_BAR_MIN, VGPU_BAR_MAX, &s->bar_size);
	if (!e)
		e = get_number(q, "job_timeout_ns", 100000000, 86400000000000, &s->job_timeout_ns);
	if (!e)
		e = get_number(q, "hard_timeout_ns", 100000000, 86400000000000, &s->hard_timeout_ns);
	if (!e)
		e = get_number(q, "uid", 0, -2u, &uid);
	if (e)
		return e;
	strcpy(s->name, name);
	s->weight = (uint32_t)weight;
	s->uid = (uint32_t)uid;
	return NULL;
}

static struct vgpu_err *cmd_register(struct broker *b, json_t *q, json_t **data)
{
	struct vm_settings s = {.priority = 2};
	struct vgpu_err *e = read_settings(q, &s);
	struct vm *vm;

	if (!e && s.bar_size & (s.bar_size - 1))
		e = err_new("bar_size: must be a power of two, as PCI BARs are");
	if (!e)
		e = vm_add(b, &s, &vm);
	if (e)
		return e;
	e = state_put(b, &s);
	if (e) {
		vm_remove(vm);
		return e;
	}
	vm_listen(vm); /* answered by control_listening(), when its socket is there */
	return NULL;
}

static struct vgpu_err *cmd_remove(struct broker *b, json_t *q, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(b, q, &vm);

	if (e)
		return e;
	list_for_each(n, &b->conns)
		if (list_entry(n, struct bconn, node)->vm == vm)
			return err_new("VM \"%s\" is connected: shut it down or end its programs first", vm->set.name);
	e = state_delete(b, vm->set.id);
	if (e)
		return e;
	log_info("VM %s removed", vm->set.name);
	vm_remove(vm);
	*data = json_object();
	return NULL;
}

static struct vgpu_err *cmd_list(struct broker *b, json_t *q, json_t **data)
{
	*data = json_array();
	list_for_each(n, &b->vms)
		json_array_append_new(*data, vm_view(list_entry(n, struct vm, node), false));
	return NULL;
}

static struct vgpu_err *cmd_show(struct broker *b, json_t *q, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(b, q, &vm);

	if (!e)
		*data = vm_view(vm, true);
	return e;
}

static struct vgpu_err *cmd_status(struct broker *b, json_t *q, json_t **data)
{
	const struct device *d = &b->dev;
	unsigned vms = 0, executors = 0;

	list_for_each(n, &b->vms)
		vms++;
	list_for_each(n, &b->execs)
		executors++;
	*data = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s}", "version", VGPU_VERSION_STRING,
			  "device", b->dev.info.name, "device_memory", (json_int_t)b->dev.info.total_mem,
			  "device_memory_reserved", (json_int_t)device_reserved(b), "bar_budget",
			  (json_int_t)b->cfg.bar_budget, "bar_reserved", (json_int_t)bar_reserved(b), "vms",
			  (json_int_t)vms, "executors", (json_int_t)executors, "handovers", (json_int_t)d->handovers,
			  "handover_mean_us", d->handovers ? (double)d->handover_wait_ns / (double)d->handovers / 1e3 : 0.0,
			  "policy", "exclusive");
	return NULL;
}

/* Device time per VM in buckets, oldest first, all VMs over the same span: for pictures. */
static struct vgpu_err *cmd_timeline(struct broker *b, json_t *q, json_t **data)
{
	uint64_t now = now_ns(), last = now / BUCKET_NS, first = last, from = 0, vms_n = 0;
	json_t *vms = json_object();
	struct vgpu_err *e = get_number(q, "since_bucket", 0, INT64_MAX, &from);

	if (e) {
		json_decref(vms);
		return e;
	}
	device_step(b, now); /* charge up to now */
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
	*data = json_pack("{s:I, s:I, s:I, s:o}", "bucket_ms", (json_int_t)(BUCKET_NS / 1000000), "first_bucket",
			  (json_int_t)first, "now_ns", (json_int_t)now, "device_us", vms);
	return NULL;
}

static struct vgpu_err *cmd_clear(struct broker *b, json_t *q, json_t **data)
{
	struct vm *vm;
	struct vgpu_err *e = need_vm(b, q, &vm);

	if (e)
		return e;
	vm->quarantined = false;
	memset(vm->faults, 0, sizeof(vm->faults));
	list_for_each(n, &b->conns) {
		struct bconn *c = list_entry(n, struct bconn, node);

		if (c->vm == vm && c->made)
			conn_show_status(c, VGPU_VM_UP, VGPU_ERR_NONE);
	}
	*data = vm_view(vm, true);
	return NULL;
}

static const struct {
	const char *name;
	bool admin;
	struct vgpu_err *(*run)(struct broker *b, json_t *q, json_t **data);
} commands[] = {
	{"register-vm", true, cmd_register}, {"remove-vm", true, cmd_remove}, {"clear-quarantine", true, cmd_clear},
	{"list-vms", false, cmd_list},	     {"show-vm", false, cmd_show},    {"status", false, cmd_status},
	{"timeline", false, cmd_timeline},
};

static struct vgpu_err *run_command(struct client *c, json_t *q, json_t **data)
{
	const char *cmd = json_string_value(json_object_get(q, "cmd"));

	for (unsigned i = 0; cmd && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(cmd, commands[i].name))
			continue;
		if (commands[i].admin && !c->admin)
			return err_new("%s: only root or vgpud's own user may do this", cmd);
		return commands[i].run(c->broker, q, data);
	}
	return err_new("cmd: \"%.32s\" is unknown", cmd ? cmd : "");
}

/* ---- connections ---- */

static void client_end(struct client *c)
{
	loop_del(&c->broker->loop, &c->io);
	close(c->io.fd);
	buf_free(&c->in);
	buf_free(&c->out);
	list_del(&c->node);
	free(c);
}

static void reply(struct client *c, const struct vgpu_err *e, json_t *data)
{
	json_t *reply = e ? json_pack("{s:b, s:s}", "ok", 0, "error", e->text)
		  : json_pack("{s:b, s:o}", "ok", 1, "data", data);
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	if (!text || buf_printf(&c->out, "%s\n", text))
		c->ended = true;
	free(text);
	json_decref(reply);
}

static void answer(struct client *c, const char *line)
{
	cleanup_err struct vgpu_err *e = NULL;
	json_t *q = json_loads(line, JSON_REJECT_DUPLICATES, NULL), *data = NULL;

	if (!json_is_object(q))
		e = err_new("not a JSON object");
	else
		e = run_command(c, q, &data);
	if (e || data)
		reply(c, e, data);
	else
		c->waits_for = c->broker->next_vm - 1;
	json_decref(q);
}

/* 0, or -errno: the peer does not take it. */
static int client_flush(struct client *c)
{
	while (c->out.len) {
		ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		buf_eat(&c->out, (size_t)n);
	}
	return loop_mod(&c->broker->loop, &c->io, c->out.len ? EPOLLOUT : EPOLLIN);
}

static char *line_end(const struct client *c)
{
	return c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
}

/* One line a turn: scheduling goes on between the questions of one who asks many at once. */
static void client_serve(struct client *c)
{
	char *nl = line_end(c);

	if (!c->ended && !c->waits_for && !c->out.len && nl) {
		*nl = 0;
		answer(c, c->in.data);
		buf_eat(&c->in, (size_t)(nl - c->in.data) + 1);
	}
	if (c->ended || client_flush(c))
		client_end(c);
	else if (!c->out.len && !c->waits_for && line_end(c))
		loop_mod(&c->broker->loop, &c->io, EPOLLOUT); /* called again at once */
}

static void client_event(struct loop_io *io, uint32_t events)
{
	struct client *c = io->arg;

	if (!(events & EPOLLOUT) && buf_read(&c->in, io->fd) <= 0)
		client_end(c);
	else
		client_serve(c);
}

/* A registration is over: the VM's socket is there, or it is not and the VM goes again. */
void control_listening(struct vm *vm, int rc)
{
	struct broker *b = vm->broker;
	cleanup_err struct vgpu_err *e = NULL, *gone = NULL;
	uint32_t id = vm->set.id;
	bool fresh = false;

	list_for_each(n, &b->clients)
		fresh |= list_entry(n, struct client, node)->waits_for == id;
	if (!fresh)
		return;
	if (rc) {
		e = err_sys(-rc, "VM %s: opening its socket in run-dir (see the log)", vm->set.name);
		gone = state_delete(b, id);
		if (gone)
			log_error("%s", gone->text);
	} else {
		log_info("VM %s registered: id %u, share %u, quota %llu", vm->set.name, id, vm->tenant.share,
			 (unsigned long long)vm->set.quota);
	}
	list_for_each(n, &b->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (c->waits_for != id)
			continue;
		c->waits_for = 0;
		reply(c, e, e ? NULL : vm_view(vm, true));
		if (client_flush(c))
			c->ended = true;
		client_serve(c);
	}
	if (rc)
		vm_remove(vm);
}

static unsigned count_clients(struct broker *b)
{
	unsigned n = 0;

	list_for_each(it, &b->clients)
		n++;
	return n;
}

static void on_accept(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = {.uid = -1u};
	socklen_t len = sizeof(peer);
	bool admin = false;
	struct client *c;

	if (fd < 0)
		return;
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		admin = peer.uid == 0 || peer.uid == geteuid();
	c = count_clients(b) < CLIENTS_MAX - (admin ? 0 : CLIENTS_ADMIN) ? calloc(1, sizeof(*c)) : NULL;
	if (!c || peer.uid == -1u || loop_add(&b->loop, &c->io, fd, EPOLLIN, client_event, c)) {
		free(c);
		close(fd);
		return;
	}
	c->broker = b;
	c->admin = admin;
	buf_init(&c->in, LINE_MAX_BYTES);
	buf_init(&c->out, OUT_MAX_BYTES);
	list_add_tail(&b->clients, &c->node);
}

int control_start(struct broker *b, int fd)
{
	return loop_add(&b->loop, &b->control_io, fd, EPOLLIN, on_accept, b);
}
