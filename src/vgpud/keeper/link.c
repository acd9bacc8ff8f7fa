/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's end of the broker: starting it, starting it again, doing what it asks. */
#include "vgpud/keeper/keeper.h"
#include "base/log.h"
#include "base/notify.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_DELAY_NS 20000000ull
/* Four deaths within this long: the cause is not going away, so the keeper ends instead of looping. */
#define DEATHS_WINDOW_NS 10000000000ull
#define END_WAIT_MS 2000

static void link_event(struct loop_io *io, uint32_t events);

void link_send(struct keeper *k, uint16_t type, const void *p, size_t size, const int *fds, unsigned n)
{
	int rc;

	if (k->link.fd < 0)
		return; /* between two brokers: the next one is told everything anew */
	rc = msg_send(&k->link, type, p, size, fds, n);
	if (rc == -EPIPE || rc == -ECONNRESET)
		return; /* its pidfd tells */
	if (rc) {
		log_error("broker does not take messages (%s): restarting it", strerror(-rc));
		kill(k->broker_pid, SIGKILL);
	} else if (msg_pending(&k->link)) {
		loop_mod(&k->loop, &k->link_io, EPOLLIN | EPOLLOUT);
	}
}

static void on_ready(struct keeper *k, struct msg *m)
{
	struct ipc_ready *r = (void *)m->payload;
	cleanup_err struct vgpu_err *e = NULL;
	char path[100];

	r->text[IPC_TEXT_LEN - 1] = 0;
	if (!r->ok) {
		log_error("%s", r->text);
		k->exit_status = 1;
		k->loop.stop = true;
		return;
	}
	k->link.state = IPC_S_RUN;
	if (!k->ready) {
		snprintf(path, sizeof(path), "%s/control.sock", k->cfg->run_dir);
		e = listen_socket(path, SOCK_STREAM, 0660, -1u, k->cfg->control_gid, &k->control_fd);
		if (!e)
			e = listener_open_guest(k);
		if (e) {
			log_error("%s", e->text);
			k->exit_status = 1;
			k->loop.stop = true;
			return;
		}
	}
	link_send(k, IPC_CONTROL, NULL, 0, &k->control_fd, 1);
	if (!k->ready) {
		log_info("ready on %s", k->cfg->run_dir);
		notify_state("READY=1");
	}
	k->ready = true;
}

static void on_listen(struct keeper *k, struct msg *m)
{
	struct ipc_listen *r = (void *)m->payload;
	struct ipc_listening a = {.vm = r->vm};

	r->name[IPC_NAME_LEN - 1] = 0;
	a.rc = listener_open(k, r->vm, r->name);
	link_send(k, IPC_LISTENING, &a, sizeof(a), NULL, 0);
}

static void on_unlisten(struct keeper *k, struct msg *m)
{
	uint32_t vm = ((struct ipc_id *)m->payload)->id;

	list_for_each(n, &k->listeners) {
		struct listener *l = list_entry(n, struct listener, node);

		if (vm && l->vm == vm)
			listener_close(l);
	}
}

static void on_make(struct keeper *k, struct msg *m)
{
	struct ipc_make *r = (void *)m->payload;
	struct conn *c = conn_find(k, r->conn);
	int rc;

	if (!c)
		return;
	rc = conn_make(c, r->vm, r->bar_size, r->vectors);
	if (rc)
		log_error("connection %u: no memory for its BAR2: %s", c->id, strerror(-rc));
	conn_announce(c);
}

static void on_handover(struct keeper *k, struct msg *m)
{
	struct ipc_handover *r = (void *)m->payload;
	struct conn *c = conn_find(k, r->conn);

	r->text[sizeof(r->text) - 1] = 0;
	if (c)
		conn_handover(c, r->status, r->text);
}

static void on_close(struct keeper *k, struct msg *m)
{
	struct conn *c = conn_find(k, ((struct ipc_id *)m->payload)->id);

	if (c)
		conn_close(c);
}

static void on_spawn(struct keeper *k, struct msg *m)
{
	struct ipc_spawn *r = (void *)m->payload;
	struct ipc_exited failed = {.exec = r->exec, .status = -1};

	if (child_spawn(k, r, failed.text, sizeof(failed.text)))
		link_send(k, IPC_EXITED, &failed, sizeof(failed), NULL, 0);
}

static void on_kill(struct keeper *k, struct msg *m)
{
	child_kill(k, ((struct ipc_id *)m->payload)->id);
}

static void on_assign(struct keeper *k, struct msg *m)
{
	child_assign(k, (struct ipc_spawn *)m->payload);
}

static void on_reload(struct keeper *k, struct msg *m)
{
	static struct vgpud_config fresh;
	const struct ipc_reserved *r = (void *)m->payload;
	cleanup_err struct vgpu_err *e = config_reload(k->cfg, k->from, r->bars, r->overhead_max, &fresh);
	struct ipc_reloaded a = {.ok = !e};

	if (!e) {
		*k->cfg = fresh;
		log_set_level(fresh.log_level);
		close(k->config_fd);
		e = seal_config(k);
	}
	if (e) {
		log_error("%s", e->text);
		snprintf(a.text, sizeof(a.text), "%.*s", IPC_TEXT_LEN - 1, e->text);
	}
	a.ok = !e;
	link_send(k, IPC_RELOADED, &a, sizeof(a), &k->config_fd, e ? 0 : 1);
}

static void on_upgrade(struct keeper *k, struct msg *m)
{
	k->reserved = *(struct ipc_reserved *)m->payload;
	upgrade_begin(k);
}

static void (*const handlers[IPC_TYPES])(struct keeper *, struct msg *) = {
	[IPC_UPGRADE] = on_upgrade,
	[IPC_RELOAD] = on_reload,
	[IPC_READY] = on_ready,	      [IPC_LISTEN] = on_listen, [IPC_UNLISTEN] = on_unlisten,
	[IPC_MAKE] = on_make,	      [IPC_HANDOVER] = on_handover, [IPC_CLOSE] = on_close,
	[IPC_SPAWN] = on_spawn,	      [IPC_KILL] = on_kill,
	[IPC_ASSIGN] = on_assign,
};

static void link_event(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;
	char why[128];
	struct msg m;
	int rc = 0;

	if (events & EPOLLOUT) {
		rc = msg_flush(&k->link);
		if (!msg_pending(&k->link))
			loop_mod(&k->loop, io, EPOLLIN);
	}
	while (!rc && !k->loop.stop && k->link.fd >= 0) {
		int got = msg_recv(&k->link, &m, why, sizeof(why));

		if (got == 1) {
			handlers[m.type](k, &m);
			msg_done(&m);
			continue;
		}
		if (got == -EPROTO)
			log_error("broker: %s", why);
		rc = got;
		if (!got)
			return;
	}
	if (rc && rc != -ECONNRESET)
		kill(k->broker_pid, SIGKILL);
	if (rc)
		loop_del(&k->loop, io); /* its pidfd does the rest */
}

static void broker_exited(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;
	uint64_t now = now_ns();
	int status = 0;

	if (waitpid(k->broker_pid, &status, WNOHANG) != k->broker_pid)
		return;
	link_event(&k->link_io, 0); /* its last words */
	if (k->loop.stop)
		return;
	loop_del(&k->loop, &k->link_io);
	msg_chan_fini(&k->link);
	loop_del(&k->loop, io);
	fd_closep(&io->fd);
	k->broker_pid = 0;
	if (k->upgrade.going) {
		upgrade_exec(k);
		loop_timer_set(&k->restart_io, now); /* it could not: a broker of our own version */
		return;
	}
	log_error("broker ended (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
		  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (!k->ready || now - k->broker_deaths[3] < DEATHS_WINDOW_NS) {
		log_error("%s", k->ready ? "the broker keeps ending: giving up" : "the broker could not start");
		k->exit_status = 1;
		k->loop.stop = true;
		return;
	}
	memmove(&k->broker_deaths[1], &k->broker_deaths[0], 3 * sizeof(uint64_t));
	k->broker_deaths[0] = now;
	loop_timer_set(&k->restart_io, now + RESTART_DELAY_NS);
}

static void replay(struct keeper *k)
{
	struct ipc_synced m = {k->ready};

	list_for_each(n, &k->conns) {
		struct conn *c = list_entry(n, struct conn, node);

		if (c->greeted)
			conn_announce(c);
	}
	list_for_each(n, &k->children)
		child_announce(list_entry(n, struct child, node));
	link_send(k, IPC_SYNCED, &m, sizeof(m), NULL, 0);
}

struct vgpu_err *link_start(struct keeper *k)
{
	int pair[2], pidfd, rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(errno, "socketpair");
	pidfd = broker_spawn(k, pair[1]);
	close(pair[1]);
	if (pidfd < 0) {
		close(pair[0]);
		return err_sys(-pidfd, "starting vgpu-broker");
	}
	msg_chan_init(&k->link, pair[0], &ipc_table, IPC_KEEPER, IPC_BROKER);
	k->link.state = IPC_S_START;
	rc = loop_add(&k->loop, &k->link_io, pair[0], EPOLLIN, link_event, k);
	if (!rc)
		rc = loop_add(&k->loop, &k->broker_io, pidfd, EPOLLIN, broker_exited, k);
	if (rc)
		return err_sys(-rc, "epoll");
	replay(k);
	return NULL;
}

/* The broker sees end of file, writes DEAD into every header and ends; killed if it does not. */
void link_end(struct keeper *k)
{
	if (!k->broker_pid)
		return;
	loop_del(&k->loop, &k->link_io);
	msg_chan_fini(&k->link);
	if (!wait_ended(k->broker_io.fd, k->broker_pid, END_WAIT_MS)) {
		kill(k->broker_pid, SIGKILL);
		if (!wait_ended(k->broker_io.fd, k->broker_pid, END_WAIT_MS))
			log_error("broker %d is killed but does not end", k->broker_pid);
	}
	k->broker_pid = 0;
}
