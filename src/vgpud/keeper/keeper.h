/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: the one process with privileges. It owns what must outlive a broker — listeners, peers'
 * sockets, memories, wake-ups, children — and does what the broker asks by typed message. It decides
 * nothing and parses nothing a guest or a local user wrote: a hello is forwarded as bytes.
 */
#ifndef VGPUD_KEEPER_H
#define VGPUD_KEEPER_H
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "vgpud/config.h"
#include "vgpud/ipc.h"

/* A field that has to outlive an upgrade is a row of handover.c, too. */
struct listener {
	struct list node;
	struct keeper *keeper;
	struct loop_io io;
	uint32_t vm; /* 0: guest.sock */
	char path[108];
};

struct conn {
	struct list node;
	struct keeper *keeper;
	struct loop_io io; /* the peer's socket */
	uint32_t id, vm, transport, uid; /* vm: the listener's, or MAKE's; 0: the broker has not decided */
	bool made, gone, greeted; /* greeted: hello read, CONN sent */
	bool handed;		  /* HANDOVER was done */
	uint32_t ran[VGPU_CHANNELS_MAX]; /* generations, see struct ipc_conn */
	uint64_t accepted_at;	  /* ns */
	struct vgpu_unix_hello hello;
	uint32_t hello_len;
	int memfd;
	uint64_t bar_size;
	unsigned vectors;
	int bells[IPC_VECTORS_MAX], irqs[IPC_VECTORS_MAX];
};

/* Before it has any. */
static inline void conn_no_memory(struct conn *c)
{
	c->memfd = -1;
	for (unsigned i = 0; i < IPC_VECTORS_MAX; i++)
		c->bells[i] = c->irqs[i] = -1;
}

struct child {
	struct list node;
	struct keeper *keeper;
	struct loop_io io; /* pidfd */
	uint32_t id, conn, channel, generation;
	bool spare; /* has no channel yet */
	bool check;
	struct ipc_device device;
	pid_t pid;
	uint32_t uid_slot;
	int broker_sock, lease_fd, kick_fd; /* duplicates for the next broker */
};

struct keeper {
	struct loop loop;
	struct vgpud_config *cfg;
	const struct config_source *from;
	int config_fd, state_fd; /* memfds every broker gets */
	int lock_fd;
	char own_path[PATH_MAX]; /* what an upgrade starts */
	char *const *argv;
	/* Opened once: until an upgrade, what is started fits this program, whatever lies under the names by then. */
	int broker_fd, executor_fd;

	struct msg_chan link;
	struct loop_io link_io, broker_io, signal_io, restart_io, accept_io;
	pid_t broker_pid;
	uint64_t broker_started, broker_deaths[4]; /* ns */
	bool ready; /* READY was seen once: sockets are open */

	int control_fd;
	struct listener *guest;
	uint32_t upgrades; /* so many programs ran in this process before */
	struct ipc_reserved reserved; /* when an upgrade was asked for */
	struct upgrade {
		struct loop_io check_io, deadline_io;
		pid_t check_pid;
		int answer_fd; /* why not */
		bool going;    /* the broker was told to leave */
	} upgrade;
	struct list listeners, conns, children;
	bool deaf; /* listeners are not looked at until accept_io fires */
	uint32_t next_conn;
	int exit_status;
};

/* keeper/listen.c */
int listeners_init(struct keeper *k);
struct vgpu_err *listen_socket(const char *path, int type, mode_t mode, uint32_t uid, uint32_t gid, int *fd);
int listener_open(struct keeper *k, uint32_t vm, const char *name);
void listener_close(struct listener *l);
struct vgpu_err *listener_open_guest(struct keeper *k);
int listener_watch(struct listener *l);
int conn_watch(struct conn *c);
struct conn *conn_find(struct keeper *k, uint32_t id);
int conn_make(struct conn *c, uint32_t vm, uint64_t bar_size, unsigned vectors);
void conn_handover(struct conn *c, uint32_t status, const char *text);
void conn_announce(struct conn *c);
void conn_close(struct conn *c);

/* keeper/spawn.c */
int child_spawn(struct keeper *k, const struct ipc_spawn *s, char *why, size_t why_len);
void child_announce(struct child *c);
void child_assign(struct keeper *k, const struct ipc_spawn *s);
void child_kill(struct keeper *k, uint32_t id);
void children_end(struct keeper *k);
bool wait_ended(int pidfd, pid_t pid, int ms);
int broker_spawn(struct keeper *k, int sock);
int child_watch(struct child *c);
/* A program in this one's place, with nothing of ours but fds, which it finds from `first` on. Its process, reaped by
 * the caller, or -errno. */
pid_t spawn_plain(const char *path, char *const argv[], const int *fds, int n, int *pidfd);

/* keeper/upgrade.c */
int upgrade_init(struct keeper *k);
void upgrade_begin(struct keeper *k);
/* The broker is gone: becomes the new program. Returns only if that was not possible; nothing has changed then. */
void upgrade_exec(struct keeper *k);
/* Was this process made by upgrade_begin() or upgrade_exec()? */
enum upgrade_role { UPGRADE_NONE, UPGRADE_CHECK, UPGRADE_TAKE };
enum upgrade_role upgrade_role(void);
/* For CHECK: the process' exit status. */
int upgrade_check(struct keeper *k);
/* For TAKE: lists and descriptors of the former program; then, with a loop, they are watched. */
struct vgpu_err *upgrade_take(struct keeper *k);
struct vgpu_err *upgrade_watch(struct keeper *k);

/* keeper/main.c */
struct vgpu_err *seal_config(struct keeper *k); /* a new sealed memfd of *cfg */

/* keeper/link.c */
struct vgpu_err *link_start(struct keeper *k);
void link_send(struct keeper *k, uint16_t type, const void *p, size_t size, const int *fds, unsigned n);
void link_end(struct keeper *k);
#endif
