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
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096u
#define OUT_MAX_BYTES (4u << 20)
#define CLIENTS_MAX 64u
#define CLIENTS_ADMIN 16u /* of them kept for those who may do more than look */
#define ACCEPTS_MAX 16u   /* a turn */
/* Answering those who may only look takes so much of the broker's time at most; what is beyond waits for the next window. */
#define LOOK_WINDOW_NS 100000000ull
#define LOOK_NS 20000000ull
#define LOOK_FIRST_NS 10000000ull /* besides it, for users who had no answer yet in this window */
#define CLIENTS_USER 16u  /* of one user who may only look: the rest is others' */

struct client {
	struct list node;
	struct broker *broker;
	struct loop_io io;
	struct buf in, out;
	struct asker who;
	bool ended;
	bool deferred; /* its next line is for the next window */
	enum command_wait waits;
	const struct device *waits_device; /* WAIT_DEVICE */
	uint32_t waits_for;    /* WAIT_LISTENING, WAIT_MOVED: the VM whose socket the keeper is opening; RELOAD, UPGRADE: question */
	uint64_t events_since; /* WAIT_EVENT */
};

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

/* An error that quotes its asker may hold what is nothing for a terminal or a log, or have been cut within a character,
 * and JSON takes whole ones only. */
static json_t *error_text(const char *text)
{
	cleanup_mem char *plain = strdup(text);

	for (char *p = plain; p && *p; p++)
		if (*p < ' ' || *p == 0x7f || *p & 0x80)
			*p = '?';
	return plain ? json_string(plain) : NULL;
}

static void reply(struct client *c, const struct vgpu_err *e, json_t *data)
{
	json_t *reply = e ? json_pack("{s:b, s:o, s:b, s:b}", "ok", 0, "error", error_text(e->text), "denied",
				      c->waits == WAIT_DENIED, "malformed", c->waits == WAIT_MALFORMED)
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
	json_error_t why = {.text = ""};
	json_t *q = json_loads(line, JSON_REJECT_DUPLICATES, &why), *data = NULL;

	c->waits = WAIT_MALFORMED;
	if (!json_is_object(q))
		e = err_new("not a JSON object: %.100s", q ? "another kind of value" : why.text);
	else
		e = command_run(c->broker, &c->who, q, &data, &c->waits);
	c->waits_for = c->broker->waited_for;
	c->waits_device = c->broker->waited_device;
	c->events_since = c->broker->events.last;
	if (e || c->waits == WAIT_NOT) {
		reply(c, e, data);
		c->waits = WAIT_NOT;
	}
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

static bool answered_in_window(const struct broker *b, uint32_t uid)
{
	for (unsigned i = 0; i < b->look_users; i++)
		if (b->look_uid[i] == uid)
			return true;
	return b->look_users == LOOK_USERS_MAX;
}

/* Who floods has had his answer; whoever comes behind him is not made to wait for the next window, and the next. */
static bool time_left(const struct broker *b, uint32_t uid)
{
	return b->look_ns < LOOK_NS || (b->look_ns < LOOK_NS + LOOK_FIRST_NS && !answered_in_window(b, uid));
}

/* true: the window's time is used up. */
static bool defer(struct client *c)
{
	struct broker *b = c->broker;
	uint64_t now = now_ns();

	if (c->who.admin)
		return false;
	if (now - b->look_since >= LOOK_WINDOW_NS) {
		b->look_since = now;
		b->look_ns = 0;
		b->look_users = 0;
	}
	if (time_left(b, c->who.uid))
		return false;
	if (!c->deferred) {
		c->deferred = true;
		loop_timer_set(&b->look_io, b->look_since + LOOK_WINDOW_NS);
	}
	loop_mod(&b->loop, &c->io, 0);
	return true;
}

/* In the order in which they were served last. */
static void on_look_window(struct loop_io *io, uint32_t events)
{
	struct broker *b = io->arg;

	loop_timer_set(io, 0);
	list_for_each(n, &b->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (c->deferred)
			loop_mod(&b->loop, &c->io, EPOLLOUT);
		c->deferred = false;
	}
}

static void answer_timed(struct client *c, const char *line)
{
	struct broker *b = c->broker;
	uint64_t begun = now_ns();

	answer(c, line);
	if (!c->who.admin)
		b->look_ns += now_ns() - begun;
	if (!c->who.admin && !answered_in_window(b, c->who.uid))
		b->look_uid[b->look_users++] = c->who.uid;
	list_del(&c->node);
	list_add_tail(&b->clients, &c->node);
}

/* One line a turn: scheduling goes on between the questions of one who asks many at once. */
static void client_serve(struct client *c)
{
	char *nl = line_end(c);

	if (c->waits == WAIT_EVENT && c->broker->events.last > c->events_since) {
		c->waits = WAIT_NOT;
		reply(c, NULL, events_after(&c->broker->events, c->events_since));
	}
	if (!c->ended && !c->waits && !c->out.len && nl) {
		if (defer(c))
			return;
		*nl = 0;
		answer_timed(c, c->in.data);
		buf_eat(&c->in, (size_t)(nl - c->in.data) + 1);
	}
	if (c->ended || client_flush(c))
		client_end(c);
	else if (!c->out.len && !c->waits && line_end(c))
		loop_mod(&c->broker->loop, &c->io, EPOLLOUT); /* called again at once */
}

/* What follows it cannot be told from a line of its own, so this is the last answer. */
static void line_too_long(struct client *c)
{
	cleanup_err struct vgpu_err *e = err_new("a line is longer than %u bytes", LINE_MAX_BYTES);

	c->waits = WAIT_MALFORMED;
	reply(c, e, NULL);
	client_flush(c);
	client_end(c);
}

static void client_event(struct loop_io *io, uint32_t events)
{
	struct client *c = io->arg;
	long n = events & EPOLLOUT ? 1 : buf_read(&c->in, io->fd);

	if (n == -ENOBUFS || (n > 0 && c->in.len == c->in.max && !line_end(c)))
		line_too_long(c);
	else if (n <= 0)
		client_end(c);
	else
		client_serve(c);
}

static void reply_late(struct client *c, const struct vgpu_err *e, json_t *data)
{
	c->waits = WAIT_NOT;
	reply(c, e, data);
	if (client_flush(c))
		c->ended = true;
	client_serve(c);
}

static bool waits_for_vm(const struct client *c, uint32_t id)
{
	return (c->waits == WAIT_LISTENING || c->waits == WAIT_MOVED) && c->waits_for == id;
}

void control_answered(struct broker *b, enum command_wait what, uint32_t number, const char *error)
{
	cleanup_err struct vgpu_err *e = error ? err_new("%s", error) : NULL;

	list_for_each(n, &b->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (c->waits == what && c->waits_for == number)
			reply_late(c, e, e ? NULL : json_object());
	}
}

void control_device(struct device *d, struct vgpu_err *e)
{
	list_for_each(n, &d->broker->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (c->waits == WAIT_DEVICE && c->waits_device == d)
			reply_late(c, e, e ? NULL : device_view(d));
	}
}

void control_event(struct broker *b)
{
	list_for_each(n, &b->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (c->waits == WAIT_EVENT)
			loop_mod(&b->loop, &c->io, EPOLLOUT); /* answered in its turn, with what there is by then */
	}
}

/* Who asked for a VM's socket is told what became of it. Only what a registration made goes again with it. */
static struct vgpu_err *no_socket(struct vm *vm, int rc, bool fresh)
{
	struct broker *b = vm->broker;
	cleanup_err struct vgpu_err *gone = NULL;
	struct vgpu_err *e;

	if (!fresh || vm_connected(vm)) /* local programs need no socket of its own */
		return err_sys(-rc, "VM %s has id %u now, but nobody can connect to it: opening its socket in run-dir "
			       "(see the log, then set-vm-id again)", vm->set.name, vm->set.id);
	e = err_sys(-rc, "VM %s: opening its socket in run-dir (see the log)", vm->set.name);
	gone = state_record(b, &(struct change){.who = &(struct asker){.uid = geteuid(), .pid = getpid()},
		.command = "remove-vm", .object = vm->set.name, .text = "its socket cannot be opened", .drop = vm->set.id});
	vm_remove(vm);
	state_copy(b);
	return e;
}

void control_listening(struct broker *b, uint32_t id, int rc)
{
	cleanup_err struct vgpu_err *e = NULL;
	struct vm *vm = vm_by_id(b, id);
	bool waited = false, fresh = false;
	json_t *view = NULL;

	list_for_each(n, &b->clients) {
		const struct client *c = list_entry(n, struct client, node);

		waited |= waits_for_vm(c, id);
		fresh |= waits_for_vm(c, id) && c->waits == WAIT_LISTENING;
	}
	if (!waited)
		return;
	if (!vm) {
		e = err_new("VM with id %u: removed, or given another id, before its socket was open", id);
	} else if (rc) {
		e = no_socket(vm, rc, fresh);
	} else {
		view = vm_view(vm, true);
		if (fresh)
			log_info("VM %s registered: id %u, share %u, quota %llu", vm->set.name, id, vm->tenant.share,
				 (unsigned long long)vm->set.quota);
	}
	/* Serving one of them goes on to its next line, which may remove the VM. */
	list_for_each(n, &b->clients) {
		struct client *c = list_entry(n, struct client, node);

		if (waits_for_vm(c, id))
			reply_late(c, e, json_incref(view));
	}
	json_decref(view);
}

static bool has_room(struct broker *b, const struct asker *who)
{
	unsigned all = 0, own = 0;

	list_for_each(it, &b->clients) {
		const struct client *c = list_entry(it, struct client, node);

		all++;
		own += c->who.uid == who->uid;
	}
	return who->admin ? all < CLIENTS_MAX : all < CLIENTS_MAX - CLIENTS_ADMIN && own < CLIENTS_USER;
}

/* false: nobody waits. */
static bool client_accept(struct broker *b, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = {.uid = -1u};
	socklen_t len = sizeof(peer);
	struct asker who;
	struct client *c;

	if (fd < 0)
		return false;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	who = (struct asker){peer.uid, peer.pid, peer.uid == 0 || peer.uid == geteuid()};
	c = has_room(b, &who) ? calloc(1, sizeof(*c)) : NULL;
	if (!c || peer.uid == -1u || loop_add(&b->loop, &c->io, fd, EPOLLIN, client_event, c)) {
		free(c);
		close(fd);
		return true;
	}
	c->broker = b;
	c->who = who;
	buf_init(&c->in, LINE_MAX_BYTES);
	buf_init(&c->out, OUT_MAX_BYTES);
	list_add_tail(&b->clients, &c->node);
	return true;
}

/* Several a turn: one by one, they would wait behind those who come only to be turned away. */
static void on_accept(struct loop_io *io, uint32_t events)
{
	for (unsigned i = 0; i < ACCEPTS_MAX && client_accept(io->arg, io->fd); i++)
		;
}

int control_init(struct broker *b)
{
	b->events.since_ms = wall_ms();
	return loop_timer_init(&b->loop, &b->look_io, on_look_window, b);
}

int control_start(struct broker *b, int fd)
{
	return loop_add(&b->loop, &b->control_io, fd, EPOLLIN, on_accept, b);
}
